//! Says why: the sentences that tell a person what a device did and what would have been normal.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{
    Behavior, Comparison, Continuation, DeviceName, Evidence, Explanation, Metric, MetricValue,
    ProfileName, Timestamp, ViolationEvent, ViolationEventKind, ViolationId,
};
use sha2::{Digest, Sha256};

use crate::judge::{offends, tests_largest};
use crate::plan::Judged;
use crate::verdict::Verdict;
use crate::windows::{Messages, Part, Span, Tally, Window};

/// Addresses or ranges that a sentence names before it says how many more there are.
const NAMED_MAX: usize = 5;

/// A datapoint that was judged, with all that its explanation needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    /// Who.
    pub(crate) device: &'a DeviceName,
    /// By which behavior of which profile.
    pub(crate) judged: &'a Judged,
    /// Start of the window.
    pub(crate) start: Timestamp,
    /// What decided: the window's end, or the observation that broke it.
    pub(crate) at: Timestamp,
    /// What the judgement rests on.
    pub(crate) basis: Basis<'a>,
}

/// What a judgement rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Basis<'a> {
    /// A window that ended.
    Window(&'a Window),
    /// A window that was broken for good before its end.
    Early {
        /// As it is by now.
        window: &'a Window,
        /// What broke it.
        part: Part<'a>,
    },
    /// How long the device has been away.
    Absence {
        /// Since when; none if it was connected.
        since: Option<Timestamp>,
    },
}

/// What a judgement did to the alarm, where it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Raised it.
    Raised,
    /// Cleared it.
    Cleared,
}

/// Why an alarm ended without being cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The security profile is gone.
    ProfileGone,
    /// The security profile watches the device no longer.
    NotWatched,
    /// The behavior is gone from the profile.
    BehaviorGone,
    /// The behavior's metric or criteria changed.
    BehaviorChanged,
    /// Nothing was seen of the device for too long.
    Silent {
        /// Since when.
        since: Timestamp,
    },
}

impl Occasion<'_> {
    /// The event of an alarm that was raised at `started_at`.
    pub(crate) fn event(
        &self,
        started_at: Timestamp,
        outcome: Outcome,
        value: MetricValue,
    ) -> Verdict {
        let kind = match outcome {
            Outcome::Raised => ViolationEventKind::InAlarm,
            Outcome::Cleared => ViolationEventKind::Cleared,
        };
        let Judged { profile, behavior } = self.judged;
        Verdict::Event(Box::new(ViolationEvent {
            violation: violation_id(profile, behavior, self.device, started_at),
            kind,
            at: self.at,
            device: self.device.clone(),
            profile: profile.clone(),
            behavior: Arc::clone(behavior),
            value: Some(value),
            explanation: self.explanation(Some(outcome)),
        }))
    }

    /// Says that an alarm that was raised at `started_at` stays on.
    pub(crate) fn continued(&self, started_at: Timestamp, value: MetricValue) -> Verdict {
        let Judged { profile, behavior } = self.judged;
        Verdict::Continued(Box::new(Continuation {
            violation: violation_id(profile, behavior, self.device, started_at),
            device: self.device.clone(),
            profile: profile.clone(),
            behavior: Arc::clone(behavior),
            last_violated_at: self.at,
            last_value: value,
            explanation: self.explanation(None),
        }))
    }

    fn explanation(&self, outcome: Option<Outcome>) -> Explanation {
        let (evidence, early) = match self.basis {
            Basis::Window(window) => (window.evidence(), false),
            Basis::Early { window, .. } => (window.evidence(), true),
            Basis::Absence { since: Some(since) } => (Evidence::Absence { since }, false),
            Basis::Absence { since: None } => (Evidence::Nothing, false),
        };
        Explanation {
            sentence: self.sentence(outcome),
            window_start: self.start,
            window: self.judged.behavior.criteria.window_or_default(),
            early,
            evidence,
        }
    }

    fn sentence(&self, outcome: Option<Outcome>) -> String {
        let behavior = &*self.judged.behavior;
        let criteria = &behavior.criteria;
        let (normal, run) = match outcome {
            Some(Outcome::Raised) => ("normal is", criteria.datapoints_to_alarm),
            Some(Outcome::Cleared) => ("normal again:", criteria.datapoints_to_clear),
            None => ("normal is", 1),
        };
        let run = if run > 1 { format!(" ({run} windows in a row)") } else { String::new() };
        let did = self.what_it_did();
        format!("{} {did}; {normal} {}{run}", self.device, normal_value(behavior))
    }

    /// What the device did, without saying who: "sent 131 messages in the 30 s window from ...".
    fn what_it_did(&self) -> String {
        match self.basis {
            Basis::Window(window) => self.in_window(window, ""),
            Basis::Early { part: Part::Messages(published), .. }
                if self.behavior().metric == Metric::MessageByteSize =>
            {
                let messages = Messages {
                    span: Span { count: published.count, ..Span::default() },
                    bytes_total: published.bytes_total,
                    bytes_min: published.bytes_min,
                    bytes_max: published.bytes_max,
                    largest_topic: Some(Arc::clone(&published.largest_topic)),
                };
                self.sent_sizes(&messages, &format!(" at {}", clock(self.at)))
            }
            Basis::Early { window, .. } => match &window.tally {
                Tally::Addresses(addresses) => {
                    self.connected_from(addresses, &format!(" at {}", clock(self.at)))
                }
                Tally::Count(_) | Tally::Messages(_) | Tally::Denials(_) => {
                    self.in_window(window, &format!(", by {}", clock(self.at)))
                }
            },
            Basis::Absence { since: Some(since) } => {
                let minutes = self.at.millis_since(since).unsigned_abs() / 60_000;
                let minutes = match minutes {
                    0 => "less than a minute".to_owned(),
                    minutes => counted(minutes, "minute", "minutes"),
                };
                format!(
                    "had been disconnected for {minutes} at {}, since {}",
                    clock(self.at),
                    clock(since)
                )
            }
            Basis::Absence { since: None } => format!("was connected at {}", clock(self.at)),
        }
    }

    fn in_window(&self, window: &Window, suffix: &str) -> String {
        let len = self.behavior().criteria.window_or_default();
        let when = format!(" in the {len} window from {}{suffix}", clock(self.start));
        match &window.tally {
            Tally::Addresses(addresses) => self.connected_from(addresses, &when),
            Tally::Messages(messages) if self.behavior().metric == Metric::MessageByteSize => {
                self.sent_sizes(messages, &when)
            }
            Tally::Messages(messages) => {
                format!("sent {}{when}", counted(messages.span.count, "message", "messages"))
            }
            Tally::Denials(denials) => {
                let requests = counted(denials.span.count, "request", "requests");
                match &denials.last {
                    Some((action, resource)) => {
                        let resource = printable(resource);
                        format!("had {requests} denied{when}, the last {action} on {resource}")
                    }
                    None => format!("had {requests} denied{when}"),
                }
            }
            Tally::Count(span) => self.counted_events(span.count, &when),
        }
    }

    fn counted_events(&self, count: u64, when: &str) -> String {
        match self.behavior().metric {
            Metric::ConnectionAttempts => match count {
                0 => format!("did not try to connect{when}"),
                count => format!("tried to connect {}{when}", times(count)),
            },
            Metric::Disconnects => match count {
                0 => format!("did not disconnect{when}"),
                count => format!("disconnected {}{when}", times(count)),
            },
            Metric::MessagesReceived
            | Metric::MessagesSent
            | Metric::MessageByteSize
            | Metric::AuthorizationFailures
            | Metric::SourceIpAddress
            | Metric::DisconnectDuration => {
                format!("received {}{when}", counted(count, "message", "messages"))
            }
        }
    }

    /// "sent 1 message of 3,000 bytes to a/b at ...": names the size that was tested.
    fn sent_sizes(&self, messages: &Messages, when: &str) -> String {
        let Messages { span, bytes_min, bytes_max, largest_topic, .. } = messages;
        let topic = largest_topic.as_deref().map(printable).unwrap_or_default();
        let is_largest = tests_largest(&self.behavior().criteria.comparison);
        let size = amount(if is_largest { *bytes_max } else { *bytes_min }, "bytes");
        match (span.count, is_largest) {
            (1, _) => format!("sent 1 message of {size} to {topic}{when}"),
            (n, true) => {
                let n = number(n);
                format!("sent {n} messages{when}, the largest of {size} to {topic}")
            }
            (n, false) => format!("sent {} messages{when}, the smallest of {size}", number(n)),
        }
    }

    fn connected_from(&self, addresses: &[IpAddr], when: &str) -> String {
        let comparison = &self.behavior().criteria.comparison;
        let offending: Vec<_> = addresses.iter().filter(|ip| offends(comparison, ip)).collect();
        let named = if offending.is_empty() { addresses.iter().collect() } else { offending };
        format!("connected from {}{when}", list(&named, "and"))
    }

    fn behavior(&self) -> &Behavior {
        &self.judged.behavior
    }
}

/// The event of an alarm that ends without being cleared.
pub(crate) fn invalidated(
    device: &DeviceName,
    judged: &Judged,
    started_at: Timestamp,
    at: Timestamp,
    ending: Ending,
) -> Verdict {
    let Judged { profile, behavior } = judged;
    let name = &behavior.name;
    let sentence = match ending {
        Ending::ProfileGone => {
            format!("security profile {profile}, which watched {device}, was deleted")
        }
        Ending::NotWatched => {
            format!("security profile {profile} no longer watches {device}")
        }
        Ending::BehaviorGone => {
            format!("behavior {name} was removed from security profile {profile}")
        }
        Ending::BehaviorChanged => {
            format!("behavior {name} of security profile {profile} was changed")
        }
        Ending::Silent { since } => {
            let silent = period(at.millis_since(since));
            format!("nothing was seen of {device} for {silent}, since {since}")
        }
    };
    let window = behavior.criteria.window_or_default();
    Verdict::Event(Box::new(ViolationEvent {
        violation: violation_id(profile, behavior, device, started_at),
        kind: ViolationEventKind::Invalidated,
        at,
        device: device.clone(),
        profile: profile.clone(),
        behavior: Arc::clone(behavior),
        value: None,
        explanation: Explanation {
            sentence: format!("{sentence}; the alarm ends without being cleared"),
            window_start: at.floor(window.as_millis()),
            window,
            early: false,
            evidence: Evidence::Nothing,
        },
    }))
}

/// The name of an alarm's life: the same however often the same input is judged.
///
/// INVARIANT (violation ids last): notifications are told apart by them, so how they are made must
/// not change from one version to the next.
fn violation_id(
    profile: &ProfileName,
    behavior: &Behavior,
    device: &DeviceName,
    started_at: Timestamp,
) -> ViolationId {
    let behavior = &behavior.name;
    // Names hold no control characters, so the parts cannot run into each other.
    let text = format!("{profile}\0{behavior}\0{device}\0{}", started_at.as_millis());
    let digest = Sha256::digest(text.as_bytes());
    let mut half = [0; 16];
    half.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    ViolationId::from_digest(half)
}

/// What a behavior takes for normal, in one line for people: "normal while message size <= 1,000
/// bytes in 5 min; alarm after 1, clear after 2".
pub fn normal_in_words(behavior: &Behavior) -> String {
    let criteria = &behavior.criteria;
    let metric = behavior.metric.in_words();
    let sized = |operator: &str, limit: u64| match behavior.metric {
        Metric::MessageByteSize | Metric::DisconnectDuration => {
            format!("{operator} {} {}", number(limit), behavior.metric.unit())
        }
        Metric::MessagesSent
        | Metric::MessagesReceived
        | Metric::AuthorizationFailures
        | Metric::ConnectionAttempts
        | Metric::Disconnects
        | Metric::SourceIpAddress => format!("{operator} {}", number(limit)),
    };
    let compared = match &criteria.comparison {
        Comparison::LessThan(limit) => sized("<", *limit),
        Comparison::LessThanEquals(limit) => sized("<=", *limit),
        Comparison::GreaterThan(limit) => sized(">", *limit),
        Comparison::GreaterThanEquals(limit) => sized(">=", *limit),
        Comparison::InCidrSet(nets) => format!("in {}", list(nets, "or")),
        Comparison::NotInCidrSet(nets) => format!("not in {}", list(nets, "or")),
    };
    let window = criteria.window_or_default();
    let period = match behavior.metric {
        Metric::DisconnectDuration => format!(", looked at every {window}"),
        Metric::MessageByteSize
        | Metric::MessagesSent
        | Metric::MessagesReceived
        | Metric::AuthorizationFailures
        | Metric::ConnectionAttempts
        | Metric::Disconnects
        | Metric::SourceIpAddress => format!(" in {window}"),
    };
    format!(
        "normal while {metric} {compared}{period}; alarm after {}, clear after {}",
        criteria.datapoints_to_alarm, criteria.datapoints_to_clear
    )
}

/// What would be normal, as the end of a sentence: "a message size of at most 1,000 bytes".
fn normal_value(behavior: &Behavior) -> String {
    let (fewer, unit) = match behavior.metric {
        Metric::MessageByteSize | Metric::DisconnectDuration => ("less", behavior.metric.unit()),
        Metric::MessagesSent
        | Metric::MessagesReceived
        | Metric::AuthorizationFailures
        | Metric::ConnectionAttempts
        | Metric::Disconnects
        | Metric::SourceIpAddress => ("fewer", ""),
    };
    let limited = |limit: u64| match unit {
        "" => number(limit),
        unit => amount(limit, unit),
    };
    let compared = match &behavior.criteria.comparison {
        Comparison::LessThan(limit) => format!("{fewer} than {}", limited(*limit)),
        Comparison::LessThanEquals(limit) => format!("at most {}", limited(*limit)),
        Comparison::GreaterThan(limit) => format!("more than {}", limited(*limit)),
        Comparison::GreaterThanEquals(limit) => format!("at least {}", limited(*limit)),
        Comparison::InCidrSet(nets) if nets.is_empty() => "no address".to_owned(),
        Comparison::InCidrSet(nets) => format!("an address in {}", list(nets, "or")),
        Comparison::NotInCidrSet(nets) if nets.is_empty() => "any address".to_owned(),
        Comparison::NotInCidrSet(nets) => format!("no address in {}", list(nets, "or")),
    };
    match behavior.metric {
        Metric::MessageByteSize => format!("a message size of {compared}"),
        Metric::MessagesSent
        | Metric::MessagesReceived
        | Metric::AuthorizationFailures
        | Metric::ConnectionAttempts
        | Metric::Disconnects
        | Metric::SourceIpAddress
        | Metric::DisconnectDuration => compared,
    }
}

/// "no messages", "1 message", "1,234 messages".
fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        count => format!("{} {many}", number(count)),
    }
}

/// "once", "2 times".
fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", number(count)) }
}

/// "0 bytes", "1 byte", "3,000 bytes".
fn amount(count: u64, unit: &str) -> String {
    let unit = if count == 1 { unit.strip_suffix('s').unwrap_or(unit) } else { unit };
    format!("{} {unit}", number(count))
}

/// Digits in groups of three: "3,000".
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "a", "a or b", "a, b, c, d, e and 3 more".
fn list(items: &[impl ToString], last: &str) -> String {
    let mut text = String::new();
    for (place, item) in items.iter().take(NAMED_MAX).enumerate() {
        let is_last = place > 0 && place + 1 == items.len();
        let between = match place {
            0 => String::new(),
            _ if is_last => format!(" {last} "),
            _ => ", ".to_owned(),
        };
        text.push_str(&between);
        text.push_str(&item.to_string());
    }
    if items.len() > NAMED_MAX {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {} more", items.len() - NAMED_MAX);
    }
    text
}

/// Time of day in UTC, milliseconds only where there are some: "10:05:07.120Z", "10:05:00Z".
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    let time = text.split_once('T').map_or(text.as_str(), |(_, time)| time);
    time.strip_suffix(".000Z").map_or_else(|| time.to_owned(), |whole| format!("{whole}Z"))
}

/// A long time in whole days or hours, a short one in minutes: "2 days", "1 hour", "5 minutes".
fn period(millis: i64) -> String {
    let minutes = millis.unsigned_abs() / 60_000;
    if minutes >= 2 * 24 * 60 {
        counted(minutes / (24 * 60), "day", "days")
    } else if minutes >= 60 {
        counted(minutes / 60, "hour", "hours")
    } else {
        counted(minutes, "minute", "minutes")
    }
}

/// A topic or the like, without characters that would garble a log or a mail.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}
