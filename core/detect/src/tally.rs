//! Tallies: what is counted in a window, and how it adds up.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use picket_model::limits::SOURCE_ADDRESSES_PER_WINDOW_MAX;
use picket_model::{Denied, Evidence, Fact, Published, Quantity, Timestamp};

use crate::series::Counted;

/// What was counted in a window. Its kind follows from the series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// Deliveries, connection attempts or disconnects. The parts of a [`Span`], laid open so that
    /// the whole takes 16 bytes.
    Count {
        /// How many.
        count: u64,
        /// When the first came.
        first: Within,
        /// When the last came.
        last: Within,
    },
    /// Messages sent.
    Messages(Box<Messages>),
    /// Denied requests.
    Denials(Box<Denials>),
    /// Addresses.
    Addresses(Box<Addresses>),
    /// Increments that reports gave, added up.
    Total(u64),
    /// What the last report said.
    Last(Option<Reading>),
}

/// A moment within a window, in milliseconds after its start: a window is at most an hour long, so
/// three bytes do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Within([u8; 3]);

/// A [`Quantity`] in nine bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    bits: [u8; 8],
    is_number: bool,
}

/// How many, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// How many.
    pub(crate) count: u64,
    /// When the first came; without meaning while `count` is 0.
    pub(crate) first: Within,
    /// When the last came; without meaning while `count` is 0.
    pub(crate) last: Within,
}

/// Messages sent in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Messages {
    /// How many, and when.
    pub(crate) span: Span,
    /// Their payloads together.
    pub(crate) bytes_total: u64,
    /// The smallest payload; without meaning while there are none.
    pub(crate) bytes_min: u32,
    /// The largest payload.
    pub(crate) bytes_max: u32,
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

/// Addresses, sorted, each once, at most [`SOURCE_ADDRESSES_PER_WINDOW_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses(Vec<IpAddr>);

/// What one observation adds.
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
    /// An increment of a report.
    Increment(u64),
    /// A value of a report.
    Gauge(Reading),
}

impl<'a> Part<'a> {
    /// What something that the broker saw at `at` adds to a series, if anything. What reports add
    /// is [`crate::device`]'s business.
    pub(crate) fn of(counted: &Counted, fact: &'a Fact, at: Timestamp) -> Option<Self> {
        match (counted, fact) {
            (Counted::Messages, Fact::Published(published)) => {
                (published.count > 0).then_some(Self::Messages(published))
            }
            (Counted::Deliveries, Fact::Received { count }) => {
                (*count > 0).then_some(Self::Count(*count, at))
            }
            (Counted::Denials, Fact::Denied(denied)) => {
                (denied.count > 0).then_some(Self::Denials(denied))
            }
            (Counted::Attempts, Fact::ConnectionAttempted { .. })
            | (Counted::Disconnects, Fact::Disconnected { .. }) => Some(Self::Count(1, at)),
            (Counted::Addresses, Fact::Connected { source, .. }) => Some(Self::Address(*source)),
            (Counted::Addresses, Fact::Published(published)) => {
                Some(Self::Address(published.source))
            }
            _ => None,
        }
    }
}

impl Within {
    /// The moment `at` of the window that starts at `start`.
    ///
    /// INVARIANT (one second): a folded observation lies in one window, so the clamp changes
    /// nothing; should an edge ever break it, evidence is off by a second and nothing else.
    fn new(at: Timestamp, start: Timestamp) -> Self {
        let hour_ms = 3_600_000;
        Self::from_millis(u32::try_from(at.millis_since(start).clamp(0, hour_ms)).unwrap_or(0))
    }

    /// Takes milliseconds after the start; what is above two to the 24th is cut off.
    pub(crate) fn from_millis(millis: u32) -> Self {
        let [low, middle, high, _] = millis.to_le_bytes();
        Self([high, middle, low])
    }

    /// Milliseconds after the start.
    pub(crate) fn as_millis(self) -> u32 {
        let [high, middle, low] = self.0;
        u32::from_le_bytes([low, middle, high, 0])
    }

    /// The moment in the window that starts at `start`.
    pub(crate) fn after(self, start: Timestamp) -> Timestamp {
        start + i64::from(self.as_millis())
    }
}

impl Reading {
    /// Packs a quantity.
    pub(crate) fn new(quantity: Quantity) -> Self {
        let (bits, is_number) = match quantity {
            Quantity::Count(count) => (count, false),
            Quantity::Number(number) => (number.get().to_bits(), true),
        };
        Self { bits: bits.to_le_bytes(), is_number }
    }

    /// The quantity; `None` if the bits are no finite number, which those of a quantity are.
    pub(crate) fn quantity(self) -> Option<Quantity> {
        let bits = u64::from_le_bytes(self.bits);
        if self.is_number {
            picket_model::Number::new(f64::from_bits(bits)).map(Quantity::Number)
        } else {
            Some(Quantity::Count(bits))
        }
    }
}

impl Span {
    /// Adds `count` that came between two moments of the window that starts at `start`.
    pub(crate) fn add(
        &mut self,
        start: Timestamp,
        count: u64,
        first_at: Timestamp,
        last_at: Timestamp,
    ) {
        let (first, last) = (Within::new(first_at, start), Within::new(last_at, start));
        if self.count == 0 {
            *self = Self { count, first, last };
        } else {
            self.count = self.count.saturating_add(count);
            self.first = self.first.min(first);
            self.last = self.last.max(last);
        }
    }

    /// What a judgement rests on.
    pub(crate) fn evidence(self, start: Timestamp) -> Evidence {
        if self.count == 0 {
            return Evidence::Nothing;
        }
        Evidence::Count {
            count: self.count,
            first_at: self.first.after(start),
            last_at: self.last.after(start),
        }
    }
}

impl Messages {
    /// Adds the messages of one second.
    pub(crate) fn add(&mut self, start: Timestamp, published: &Published) {
        // No payload comes near four gigabytes: see `MqttLimits::payload_bytes_max`.
        let size = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let (bytes_min, bytes_max) = (size(published.bytes_min), size(published.bytes_max));
        let is_first = self.span.count == 0;
        self.span.add(start, published.count, published.first_at, published.last_at);
        self.bytes_total = self.bytes_total.saturating_add(published.bytes_total);
        self.bytes_min = if is_first { bytes_min } else { self.bytes_min.min(bytes_min) };
        if is_first || bytes_max > self.bytes_max {
            self.bytes_max = bytes_max;
            self.largest_topic = Some(Arc::clone(&published.largest_topic));
        }
    }

    /// What a judgement rests on.
    pub(crate) fn evidence(&self, start: Timestamp) -> Evidence {
        match &self.largest_topic {
            Some(topic) => Evidence::Messages {
                count: self.span.count,
                first_at: self.span.first.after(start),
                last_at: self.span.last.after(start),
                largest_bytes: u64::from(self.bytes_max),
                largest_topic: Arc::clone(topic),
            },
            None => Evidence::Nothing,
        }
    }
}

impl Denials {
    /// Adds the denials of one second.
    pub(crate) fn add(&mut self, start: Timestamp, denied: &Denied) {
        let is_last = self.span.count == 0 || denied.last_at >= self.span.last.after(start);
        self.span.add(start, denied.count, denied.first_at, denied.last_at);
        if is_last {
            let action = Cow::Borrowed(denied.last_action);
            self.last = Some((action, Arc::clone(&denied.last_resource)));
        }
    }

    /// What a judgement rests on.
    pub(crate) fn evidence(&self, start: Timestamp) -> Evidence {
        match &self.last {
            Some((action, resource)) => Evidence::Denials {
                count: self.span.count,
                first_at: self.span.first.after(start),
                last_at: self.span.last.after(start),
                last_action: action.clone().into_owned(),
                last_resource: Arc::clone(resource),
            },
            None => Evidence::Nothing,
        }
    }
}

impl Addresses {
    /// Takes a list that is sorted, has each address once, and keeps the bound.
    pub(crate) fn from_sorted(addresses: Vec<IpAddr>) -> Self {
        Self(addresses)
    }

    /// The addresses.
    pub(crate) fn list(&self) -> &[IpAddr] {
        &self.0
    }

    /// Adds an address, within the bound. Over the bound, one that is outside the normal takes the
    /// place of one that is not; among equals the earlier one stays.
    pub(crate) fn add(&mut self, address: IpAddr, offends: impl Fn(&IpAddr) -> bool) {
        let Err(place) = self.0.binary_search(&address) else { return };
        if self.0.len() < SOURCE_ADDRESSES_PER_WINDOW_MAX {
            self.0.reserve_exact(1);
            self.0.insert(place, address);
        } else if offends(&address)
            && let Some(normal) = self.0.iter().rposition(|kept| !offends(kept))
        {
            self.0[normal] = address;
            self.0.sort_unstable();
        }
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
        let mut addresses = Addresses::default();
        for n in (0..400).step_by(2) {
            addresses.add(address(n), is_odd);
        }
        assert_eq!(addresses.list().len(), SOURCE_ADDRESSES_PER_WINDOW_MAX);
        for n in 0..400 {
            addresses.add(address(n), is_odd);
        }
        assert_eq!(addresses.list().len(), SOURCE_ADDRESSES_PER_WINDOW_MAX);
        assert!(addresses.list().iter().all(is_odd));
        assert!(addresses.list().is_sorted());
    }

    #[test]
    fn a_moment_within_a_window_keeps_its_order() {
        for millis in [0, 1, 255, 256, 65_535, 65_536, 3_600_000] {
            assert_eq!(Within::from_millis(millis).as_millis(), millis);
        }
        assert!(Within::from_millis(256) > Within::from_millis(255));
    }
}
