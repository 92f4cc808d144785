//! The sentence that tells a person what a device did and what would have been normal.

use picket_model::{Behavior, Metric, MetricValue, Quantity, Timestamp};

use crate::explain::{Basis, Occasion, Outcome, Ranked};
use crate::judge::tests_largest;
use crate::measured::Measured;
use crate::normal::{amount_of, elements_of, no_element, normal_value, part_in_words};
use crate::reports::{Disagreement, Trail};
use crate::tally::{Part, Tally};
use crate::watch::Judged;
use crate::words::{amount, clock, counted, fraction, list, number, printable, times};

/// The whole sentence: who did what, and what is normal.
pub(crate) fn of(occasion: &Occasion<'_>, outcome: Option<Outcome>) -> String {
    let Judged { behavior, .. } = occasion.judged;
    let criteria = &behavior.criteria;
    let (normal, run) = match outcome {
        Some(Outcome::Raised) => ("normal is", criteria.datapoints_to_alarm),
        Some(Outcome::Cleared) => ("normal again:", criteria.datapoints_to_clear),
        None => ("normal is", 1),
    };
    let datapoints = match occasion.basis {
        Basis::Report { .. } | Basis::Trailing { .. } | Basis::Disagreement { .. } => "reports",
        Basis::Window(_)
        | Basis::Early { .. }
        | Basis::Absence { .. }
        | Basis::Unreported { .. }
        | Basis::Fleet(_) => "windows",
    };
    let run = if run > 1 { format!(" ({run} {datapoints} in a row)") } else { String::new() };
    let did = what_it_did(occasion, behavior);
    let device = printable(occasion.device.as_str());
    format!("{device} {did}; {normal} {}{run}", normal_value(behavior))
}

/// What the device did, without saying who: "sent 131 messages in the 30 s window from ...".
fn what_it_did(occasion: &Occasion<'_>, behavior: &Behavior) -> String {
    let at = clock(occasion.at);
    let part = part_in_words(behavior);
    match occasion.basis {
        Basis::Window(tally) => in_window(occasion, behavior, tally, ""),
        Basis::Early { part: Part::Messages(published), .. }
            if behavior.metric == Metric::MessageByteSize =>
        {
            let sizes = Sizes {
                count: published.count,
                bytes_min: published.bytes_min,
                bytes_max: published.bytes_max,
                largest_topic: Some(&published.largest_topic),
            };
            sent_sizes(behavior, sizes, &format!("{part} at {at}"))
        }
        Basis::Early { tally, .. } => match tally {
            Tally::Addresses(_) => connected_from(occasion, &format!("{part} at {at}")),
            tally => in_window(occasion, behavior, Some(tally), &format!(", by {at}")),
        },
        Basis::Absence { since: Some(since) } => {
            let minutes = occasion.at.millis_since(since).unsigned_abs() / 60_000;
            let minutes = minutes_in_words(minutes);
            format!("had been disconnected for {minutes} at {at}, since {}", clock(since))
        }
        Basis::Absence { since: None } => format!("was connected at {at}"),
        Basis::Unreported { since, last_at, .. } => {
            let minutes = occasion.at.millis_since(since).max(0).unsigned_abs() / 60_000;
            let minutes = minutes_in_words(minutes);
            let last_at = clock(last_at);
            format!(
                "was connected at {at} and had not reported for {minutes}; its last report came at {last_at}"
            )
        }
        Basis::Report { .. } => format!("reported {} at {at}", reported(occasion, behavior)),
        Basis::Trailing { trail, .. } => {
            let Trail { sum, reports, .. } = trail;
            let len = behavior.criteria.window_or_default();
            let sum = amount_of(&behavior.metric, Quantity::Count(sum));
            let reports = counted(reports, "report", "reports");
            format!("reported {sum} over the {len} up to {at}, in {reports}")
        }
        Basis::Disagreement { disagreement, .. } => {
            let Disagreement { seen, said } = disagreement;
            let (beyond, seen) = (amount(disagreement.bytes(), "bytes"), amount(seen, "bytes"));
            let said = amount(said, "bytes");
            format!(
                "sent {beyond} beyond what its report of {at} says: the broker took {seen}, the \
                 report owns up to {said}"
            )
        }
        Basis::Fleet(ranked) => among_the_fleet(occasion, behavior, ranked),
    }
}

fn minutes_in_words(minutes: u64) -> String {
    match minutes {
        0 => "less than a minute".to_owned(),
        minutes => counted(minutes, "minute", "minutes"),
    }
}

fn window_in_words(behavior: &Behavior, start: Timestamp) -> String {
    let len = behavior.criteria.window_or_default();
    format!(" in the {len} window from {}", clock(start))
}

fn in_window(
    occasion: &Occasion<'_>,
    behavior: &Behavior,
    tally: Option<&Tally>,
    suffix: &str,
) -> String {
    let part = part_in_words(behavior);
    let when = format!("{part}{}{suffix}", window_in_words(behavior, occasion.start));
    let count = tally.map_or(0, |tally| tally.span().count);
    match (&behavior.metric, tally) {
        (Metric::SourceIpAddress, _) => connected_from(occasion, &when),
        (Metric::MessageByteSize, Some(Tally::Messages(messages))) => {
            let sizes = Sizes {
                count,
                bytes_min: u64::from(messages.bytes_min),
                bytes_max: u64::from(messages.bytes_max),
                largest_topic: messages.largest_topic.as_deref(),
            };
            sent_sizes(behavior, sizes, &when)
        }
        (Metric::MessageByteSize | Metric::MessagesSent, _) => {
            format!("sent {}{when}", counted(count, "message", "messages"))
        }
        (Metric::AuthorizationFailures, tally) => {
            let requests = counted(count, "request", "requests");
            let last = match tally {
                Some(Tally::Denials(denials)) => denials.last.as_ref(),
                _ => None,
            };
            let last = last.map(|(action, resource)| {
                format!(", the last {action} on {}", printable(resource))
            });
            format!("had {requests} denied{when}{}", last.unwrap_or_default())
        }
        (Metric::ConnectionAttempts, _) => match count {
            0 => format!("did not try to connect{when}"),
            count => format!("tried to connect {}{when}", times(count)),
        },
        (Metric::Disconnects, _) => match count {
            0 => format!("did not disconnect{when}"),
            count => format!("disconnected {}{when}", times(count)),
        },
        (_, _) => format!("received {}{when}", counted(count, "message", "messages")),
    }
}

/// Messages whose sizes are told.
#[derive(Clone, Copy, Debug)]
struct Sizes<'a> {
    count: u64,
    bytes_min: u64,
    bytes_max: u64,
    largest_topic: Option<&'a str>,
}

/// "sent 1 message of 3,000 bytes to a/b at ...": names the size that was tested.
fn sent_sizes(behavior: &Behavior, sizes: Sizes<'_>, when: &str) -> String {
    let topic = sizes.largest_topic.map(printable).unwrap_or_default();
    let is_largest = tests_largest(&behavior.criteria.comparison);
    let size = amount(if is_largest { sizes.bytes_max } else { sizes.bytes_min }, "bytes");
    match (sizes.count, is_largest) {
        (1, _) => format!("sent 1 message of {size} to {topic}{when}"),
        (n, true) => {
            let n = number(n);
            format!("sent {n} messages{when}, the largest of {size} to {topic}")
        }
        (n, false) => format!("sent {} messages{when}, the smallest of {size}", number(n)),
    }
}

fn connected_from(occasion: &Occasion<'_>, when: &str) -> String {
    format!("connected from {}{when}", named_elements(occasion).1)
}

/// The elements that violate, or all if none does, ascending and each once, and how many there are.
fn named_elements(occasion: &Occasion<'_>) -> (usize, String) {
    let texts: Vec<String> = match occasion.value() {
        MetricValue::Count(count) => vec![number(count)],
        MetricValue::Number(number) => vec![fraction(number)],
        MetricValue::Addresses(list) => list.iter().map(ToString::to_string).collect(),
        MetricValue::Ports(list) => list.iter().map(ToString::to_string).collect(),
        MetricValue::Numbers(list) => list.into_iter().map(fraction).collect(),
        MetricValue::Strings(list) => list.iter().map(|string| printable(string)).collect(),
    };
    (texts.len(), list(&texts, "and"))
}

/// What a report says of the metric.
fn reported(occasion: &Occasion<'_>, behavior: &Behavior) -> String {
    match occasion.measured {
        Measured::Quantity(quantity) => amount_of(&behavior.metric, quantity),
        list if list.is_empty_list() => no_element(&behavior.metric),
        _ => {
            let (count, elements) = named_elements(occasion);
            elements_of(&behavior.metric, count, &elements)
        }
    }
}

/// "had 4,000 bytes out in the 5 min window from ..., where p90 of 12 devices was 300".
fn among_the_fleet(occasion: &Occasion<'_>, behavior: &Behavior, ranked: Ranked) -> String {
    let Ranked { value, percentile, limit, devices } = ranked;
    let part = part_in_words(behavior);
    let when = window_in_words(behavior, occasion.start);
    let had = amount_of(&behavior.metric, value);
    let limit = crate::words::quantity(limit);
    let devices = counted(devices, "device", "devices");
    format!("had {had}{part}{when}, where {} of {devices} was {limit}", percentile.as_str())
}
