//! Notes: what speaks for or against a device's own word, kept until an alarm wants to know.

use std::sync::Arc;

use picket_model::{Metric, Note, NoteKind, Timestamp};

use crate::normal::no_element;
use crate::small::RareList;
use crate::words::{amount, clock, number};

/// How long something is worth a note, in milliseconds: an hour.
const NOTED_FOR_MS: i64 = 3_600_000;

/// Something that was noted of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// What it is about.
    pub(crate) kind: NoteKind,
    /// When it was noted.
    pub(crate) at: Timestamp,
    /// Two numbers that the sentence needs: what was seen and what was said, or the id of the report
    /// and the one before.
    pub(crate) numbers: [u64; 2],
    /// What is missing, in words: "no listening TCP port".
    pub(crate) metric: Option<Arc<str>>,
}

/// The latest of each kind, in the order of the kinds: at most one for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoteBook(RareList<Noted>);

impl Noted {
    /// The broker took `seen` bytes from the device, which owns up to `said` of them.
    pub(crate) fn disagrees(at: Timestamp, seen: u64, said: u64) -> Self {
        let kind = NoteKind::BytesOutDisagrees;
        Self { kind, at, numbers: [seen, said], metric: None }
    }

    /// A list is empty that violated just before.
    pub(crate) fn empty(at: Timestamp, metric: &Metric) -> Self {
        let metric = Some(Arc::from(no_element(metric)));
        Self { kind: NoteKind::EmptyAfterViolation, at, numbers: [0, 0], metric }
    }

    /// A report was refused because an increment in it was negative.
    pub(crate) fn ran_backward(at: Timestamp) -> Self {
        Self { kind: NoteKind::CounterRanBackward, at, numbers: [0, 0], metric: None }
    }

    /// The id of a report was seen before.
    pub(crate) fn repeated(at: Timestamp, id: u64) -> Self {
        Self { kind: NoteKind::ReportIdRepeated, at, numbers: [id, 0], metric: None }
    }

    /// The id of a report is lower than the one before.
    pub(crate) fn fell(at: Timestamp, id: u64, before: u64) -> Self {
        Self { kind: NoteKind::ReportIdFell, at, numbers: [id, before], metric: None }
    }

    /// The device is connected and reports no more, since `last_at`.
    pub(crate) fn missing(at: Timestamp, last_at: Timestamp) -> Self {
        let last_ms = u64::try_from(last_at.as_millis()).unwrap_or(0);
        Self { kind: NoteKind::ReportMissing, at, numbers: [last_ms, 0], metric: None }
    }

    /// The note as people read it.
    pub(crate) fn note(&self) -> Note {
        let [first, second] = self.numbers;
        let at = clock(self.at);
        let sentence = match self.kind {
            NoteKind::BytesOutDisagrees => format!(
                "the report of {at} says that {} left the device, but the broker alone took {} \
                 from it",
                amount(second, "bytes"),
                amount(first, "bytes")
            ),
            NoteKind::EmptyAfterViolation => format!(
                "the report of {at} names {} right after one that violated: a device can end an \
                 alarm so without having changed",
                self.metric.as_deref().unwrap_or("nothing")
            ),
            NoteKind::CounterRanBackward => format!(
                "a report of {at} was refused because a counter in it ran backward: an increment \
                 was negative"
            ),
            NoteKind::ReportIdFell => format!(
                "the report of {at} has the id {first}, lower than {second} before it: the device \
                 began anew, or an old report came again"
            ),
            NoteKind::ReportIdRepeated => {
                format!("the report of {at} has the id {first}, which was seen before")
            }
            NoteKind::ReportMissing => {
                let last_at = Timestamp::from_millis(i64::try_from(first).unwrap_or(i64::MAX));
                let minutes = self.at.millis_since(last_at).unsigned_abs() / 60_000;
                format!(
                    "the device was connected at {at}, but its last report that was accepted is \
                     {} minutes old",
                    number(minutes)
                )
            }
        };
        Note { kind: self.kind, sentence }
    }
}

impl NoteBook {
    /// Takes what was noted, unless something later of its kind is known.
    pub(crate) fn take(&mut self, noted: Noted) {
        match self.0.as_slice().binary_search_by_key(&noted.kind, |known| known.kind) {
            Ok(index) => {
                let known = &mut self.0.as_mut_slice()[index];
                if known.at <= noted.at {
                    *known = noted;
                }
            }
            Err(index) => self.0.insert(index, noted),
        }
    }

    /// What is still worth telling beside an event of `at`.
    pub(crate) fn fresh(&self, at: Timestamp) -> impl Iterator<Item = &Noted> {
        self.iter().filter(move |noted| at.millis_since(noted.at) <= NOTED_FOR_MS)
    }

    /// Forgets what was noted after `now`.
    pub(crate) fn forget_after(&mut self, now: Timestamp) {
        let kept: Vec<_> = self.iter().filter(|noted| noted.at <= now).cloned().collect();
        self.0 = RareList::default();
        kept.into_iter().for_each(|noted| self.take(noted));
    }

    /// Everything.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Noted> {
        self.0.as_slice().iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_each_kind_is_told_for_an_hour() {
        let at = |minute: i64| Timestamp::from_secs(minute * 60);
        let mut book = NoteBook::default();
        book.take(Noted::repeated(at(1), 7));
        book.take(Noted::fell(at(30), 3, 7));
        book.take(Noted::fell(at(20), 4, 7));
        book.take(Noted::disagrees(at(90), 10, 3));
        let kinds = |minute| book.fresh(at(minute)).map(|it| it.kind.as_str()).collect::<Vec<_>>();
        assert_eq!(kinds(61), ["bytes-out-disagrees", "report-id-fell", "report-id-repeated"]);
        assert_eq!(kinds(90), ["bytes-out-disagrees", "report-id-fell"]);
        assert_eq!(kinds(91), ["bytes-out-disagrees"]);
        let fell = book.fresh(at(90)).nth(1).unwrap().note().sentence;
        assert!(fell.starts_with("the report of 00:30:00Z has the id 3, lower than 7"), "{fell}");
    }
}
