//! Windows: what one watch counted of one device in one period of the clock.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use picket_model::limits::SOURCE_ADDRESSES_PER_WINDOW_MAX;
use picket_model::{
    Denied, Evidence, Fact, Metric, MetricValue, Observation, Published, Timestamp, WindowLen,
};

/// An open window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Place of its watch in the device's plan.
    pub(crate) watch: u32,
    /// Where it starts, on a multiple of its length.
    pub(crate) start: Timestamp,
    /// How far from normal it was when it was judged early, if it was: see
    /// [`crate::judge::Judgement::magnitude`].
    pub(crate) early: Option<u64>,
    /// What was counted.
    pub(crate) tally: Tally,
}

/// What was counted in a window. Its kind follows from the metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// Deliveries, connection attempts or disconnects.
    Count(Span),
    /// Messages sent.
    Messages(Box<Messages>),
    /// Denied requests.
    Denials(Box<Denials>),
    /// Addresses, sorted, each once, at most [`SOURCE_ADDRESSES_PER_WINDOW_MAX`].
    Addresses(Vec<IpAddr>),
}

/// How many, and when. Moments are milliseconds after the window's start: a window is at most an
/// hour long, so half the bytes do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// How many.
    pub(crate) count: u64,
    /// When the first came; without meaning while `count` is 0.
    pub(crate) first_ms: u32,
    /// When the last came; without meaning while `count` is 0.
    pub(crate) last_ms: u32,
}

/// Messages sent in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Messages {
    /// How many, and when.
    pub(crate) span: Span,
    /// Their payloads together.
    pub(crate) bytes_total: u64,
    /// The smallest payload; without meaning while there are none.
    pub(crate) bytes_min: u64,
    /// The largest payload.
    pub(crate) bytes_max: u64,
    /// Topic of the first of the largest ones.
    pub(crate) largest_topic: Option<Arc<str>>,
}

/// Denied requests in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Denials {
    /// How many, and when.
    pub(crate) span: Span,
    /// Action and resource of the last.
    pub(crate) last: Option<(Cow<'static, str>, Arc<str>)>,
}

/// What one observation adds to one metric.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// Something counted at one moment.
    Count(u64, Timestamp),
    /// Messages sent.
    Messages(&'a Published),
    /// Denied requests.
    Denials(&'a Denied),
    /// An address.
    Address(IpAddr),
}

impl<'a> Part<'a> {
    /// What `observation` adds to `metric`, if anything.
    pub(crate) fn of(metric: Metric, observation: &'a Observation) -> Option<Self> {
        let at = observation.at;
        match (metric, &observation.fact) {
            (Metric::MessageByteSize | Metric::MessagesSent, Fact::Published(published)) => {
                (published.count > 0).then_some(Self::Messages(published))
            }
            (Metric::MessagesReceived, Fact::Received { count }) => {
                (*count > 0).then_some(Self::Count(*count, at))
            }
            (Metric::AuthorizationFailures, Fact::Denied(denied)) => {
                (denied.count > 0).then_some(Self::Denials(denied))
            }
            (Metric::ConnectionAttempts, Fact::ConnectionAttempted { .. })
            | (Metric::Disconnects, Fact::Disconnected { .. }) => Some(Self::Count(1, at)),
            (Metric::SourceIpAddress, Fact::Connected { source, .. }) => {
                Some(Self::Address(*source))
            }
            (Metric::SourceIpAddress, Fact::Published(published)) => {
                Some(Self::Address(published.source))
            }
            _ => None,
        }
    }
}

impl Window {
    /// A window in which nothing was counted.
    pub(crate) fn empty(watch: u32, metric: Metric, start: Timestamp) -> Self {
        let tally = match metric {
            Metric::MessageByteSize | Metric::MessagesSent => Tally::Messages(Box::default()),
            Metric::AuthorizationFailures => Tally::Denials(Box::default()),
            Metric::SourceIpAddress => Tally::Addresses(Vec::new()),
            Metric::MessagesReceived
            | Metric::ConnectionAttempts
            | Metric::Disconnects
            | Metric::DisconnectDuration => Tally::Count(Span::default()),
        };
        Self { watch, start, early: None, tally }
    }

    /// Counts `part` in. `offends` says of an address whether it is outside the normal.
    pub(crate) fn add(&mut self, part: Part<'_>, offends: impl Fn(&IpAddr) -> bool) {
        let start = self.start;
        match (&mut self.tally, part) {
            (Tally::Count(span), Part::Count(count, at)) => span.add(start, count, at, at),
            (Tally::Messages(messages), Part::Messages(published)) => {
                messages.add(start, published);
            }
            (Tally::Denials(denials), Part::Denials(denied)) => denials.add(start, denied),
            (Tally::Addresses(addresses), Part::Address(address)) => {
                add_address(addresses, address, offends);
            }
            // The kind of the tally and of the part both follow from the watch's metric.
            (
                Tally::Count(_) | Tally::Messages(_) | Tally::Denials(_) | Tally::Addresses(_),
                Part::Count(..) | Part::Messages(_) | Part::Denials(_) | Part::Address(_),
            ) => {}
        }
    }

    /// The value that is kept for people to look at; none where there is none.
    pub(crate) fn datapoint(&self, metric: Metric) -> Option<MetricValue> {
        match &self.tally {
            Tally::Count(span) => Some(MetricValue::Count(span.count)),
            Tally::Denials(denials) => Some(MetricValue::Count(denials.span.count)),
            Tally::Messages(messages) if metric == Metric::MessagesSent => {
                Some(MetricValue::Count(messages.span.count))
            }
            Tally::Messages(messages) => {
                (messages.span.count > 0).then_some(MetricValue::Count(messages.bytes_max))
            }
            Tally::Addresses(addresses) => (!addresses.is_empty())
                .then(|| MetricValue::Addresses(addresses.iter().copied().collect())),
        }
    }

    /// What the window's judgement rests on.
    pub(crate) fn evidence(&self) -> Evidence {
        let start = self.start;
        match &self.tally {
            Tally::Count(span) if span.count > 0 => Evidence::Count {
                count: span.count,
                first_at: span.first_at(start),
                last_at: span.last_at(start),
            },
            Tally::Messages(messages) => match &messages.largest_topic {
                Some(topic) => Evidence::Messages {
                    count: messages.span.count,
                    first_at: messages.span.first_at(start),
                    last_at: messages.span.last_at(start),
                    largest_bytes: messages.bytes_max,
                    largest_topic: Arc::clone(topic),
                },
                None => Evidence::Nothing,
            },
            Tally::Denials(denials) => match &denials.last {
                Some((action, resource)) => Evidence::Denials {
                    count: denials.span.count,
                    first_at: denials.span.first_at(start),
                    last_at: denials.span.last_at(start),
                    last_action: action.clone().into_owned(),
                    last_resource: Arc::clone(resource),
                },
                None => Evidence::Nothing,
            },
            Tally::Addresses(addresses) => Evidence::Addresses(addresses.clone()),
            Tally::Count(_) => Evidence::Nothing,
        }
    }

    /// When the last thing in it happened; its end if the tally keeps no moments or is empty.
    pub(crate) fn last_at(&self, len: WindowLen) -> Timestamp {
        let span = match &self.tally {
            Tally::Count(span) => *span,
            Tally::Messages(messages) => messages.span,
            Tally::Denials(denials) => denials.span,
            Tally::Addresses(_) => Span::default(),
        };
        if span.count > 0 { span.last_at(self.start) } else { self.start + len.as_millis() }
    }
}

impl Span {
    fn add(&mut self, start: Timestamp, count: u64, first_at: Timestamp, last_at: Timestamp) {
        // INVARIANT (one second): a folded observation lies in one window, so the clamp changes
        // nothing; should an edge ever break it, evidence is off by a second and nothing else.
        let hour_ms = 3_600_000;
        let offset = |at: Timestamp| {
            u32::try_from(at.millis_since(start).clamp(0, hour_ms)).unwrap_or_default()
        };
        let (first_ms, last_ms) = (offset(first_at), offset(last_at));
        if self.count == 0 {
            *self = Self { count, first_ms, last_ms };
        } else {
            self.count = self.count.saturating_add(count);
            self.first_ms = self.first_ms.min(first_ms);
            self.last_ms = self.last_ms.max(last_ms);
        }
    }

    /// When the first came.
    pub(crate) fn first_at(&self, start: Timestamp) -> Timestamp {
        start + i64::from(self.first_ms)
    }

    /// When the last came.
    pub(crate) fn last_at(&self, start: Timestamp) -> Timestamp {
        start + i64::from(self.last_ms)
    }
}

impl Messages {
    fn add(&mut self, start: Timestamp, published: &Published) {
        let is_first = self.span.count == 0;
        self.span.add(start, published.count, published.first_at, published.last_at);
        self.bytes_total = self.bytes_total.saturating_add(published.bytes_total);
        self.bytes_min =
            if is_first { published.bytes_min } else { self.bytes_min.min(published.bytes_min) };
        if is_first || published.bytes_max > self.bytes_max {
            self.bytes_max = published.bytes_max;
            self.largest_topic = Some(Arc::clone(&published.largest_topic));
        }
    }
}

impl Denials {
    fn add(&mut self, start: Timestamp, denied: &Denied) {
        let is_last =
            self.span.count == 0 || denied.last_at >= start + i64::from(self.span.last_ms);
        self.span.add(start, denied.count, denied.first_at, denied.last_at);
        if is_last {
            let action = Cow::Borrowed(denied.last_action);
            self.last = Some((action, Arc::clone(&denied.last_resource)));
        }
    }
}

/// Adds an address to a sorted list, within the bound. Over the bound, one that is outside the
/// normal takes the place of one that is not; among equals the earlier one stays.
fn add_address(addresses: &mut Vec<IpAddr>, address: IpAddr, offends: impl Fn(&IpAddr) -> bool) {
    let Err(place) = addresses.binary_search(&address) else { return };
    if addresses.len() < SOURCE_ADDRESSES_PER_WINDOW_MAX {
        addresses.insert(place, address);
    } else if offends(&address)
        && let Some(normal) = addresses.iter().rposition(|kept| !offends(kept))
    {
        addresses[normal] = address;
        addresses.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn over_the_bound_addresses_outside_the_normal_are_kept_first() {
        let is_odd = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.octets()[3] % 2 == 1,
            IpAddr::V6(_) => false,
        };
        let address = |n: usize| IpAddr::V4(Ipv4Addr::new(10, 0, (n / 256) as u8, n as u8));
        let mut addresses = Vec::new();
        for n in (0..400).step_by(2) {
            add_address(&mut addresses, address(n), is_odd);
        }
        assert_eq!(addresses.len(), SOURCE_ADDRESSES_PER_WINDOW_MAX);
        for n in 0..400 {
            add_address(&mut addresses, address(n), is_odd);
        }
        assert_eq!(addresses.len(), SOURCE_ADDRESSES_PER_WINDOW_MAX);
        assert!(addresses.iter().all(is_odd));
        assert!(addresses.is_sorted());
    }
}
