//! What a device's own reports come to.

use picket_model::limits::{INCREMENTS_PER_METRIC_MAX, REPORT_IDS_REMEMBERED};
use picket_model::{Metric, Report, Timestamp};

use crate::notes::{NoteBook, Noted};
use crate::sent::SentBytes;
use crate::small::Moment;

/// What is kept of the reports of one device, and what they are held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reports {
    /// When the last one that was accepted came.
    last_at: Moment,
    /// Ids of the last ones, latest first.
    ids: [u64; REPORT_IDS_REMEMBERED],
    /// How many ids there are.
    n_ids: u8,
    /// Whether one said how many bytes left the device.
    pub(crate) said_bytes_out: bool,
    /// What the broker took from the device meanwhile.
    pub(crate) sent: SentBytes,
    /// Increments that may still be summed with those of a later report, oldest first.
    pub(crate) increments: Vec<Increment>,
    /// What speaks against the device's word.
    pub(crate) notes: NoteBook,
}

/// The last report that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastReport {
    /// When it came.
    pub(crate) at: Timestamp,
    /// Its id.
    pub(crate) id: u64,
}

/// An increment that a report gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Increment {
    /// How much.
    pub(crate) value: u64,
    /// How long before the last report it came, or the first that it was added up from, in
    /// milliseconds.
    pub(crate) age_ms: u32,
    /// Place of its metric in [`crate::plan::Plan::trailing`].
    pub(crate) slot: u16,
    /// How many reports it was added up from.
    pub(crate) reports: u16,
}

/// What the broker took from a device between two reports, and how much of it the device owns up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disagreement {
    /// Payload bytes that the broker took.
    pub(crate) seen: u64,
    /// Bytes out that the report says.
    pub(crate) said: u64,
}

/// Increments of a trailing window, added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trail {
    /// Their sum.
    pub(crate) sum: u64,
    /// How many reports gave them.
    pub(crate) reports: u64,
    /// When the first of these came.
    pub(crate) first_at: Timestamp,
}

impl Disagreement {
    /// Bytes that the device does not own up to.
    pub(crate) fn bytes(self) -> u64 {
        self.seen.saturating_sub(self.said)
    }
}

impl Reports {
    /// The last one that was accepted.
    pub(crate) fn last(&self) -> Option<LastReport> {
        self.last_at.get().map(|at| LastReport { at, id: self.ids[0] })
    }

    /// The ids that are remembered, latest first.
    pub(crate) fn ids(&self) -> &[u64] {
        &self.ids[..usize::from(self.n_ids).min(self.ids.len())]
    }

    /// Takes over the last report and the ids, latest first, as they were. `None` if there are more
    /// ids than are remembered, or none of a report.
    pub(crate) fn set_last(&mut self, at: Option<Timestamp>, ids: &[u64]) -> Option<()> {
        let is_known = at.is_some() != ids.is_empty();
        let n_ids = u8::try_from(ids.len()).ok().filter(|_| is_known)?;
        self.ids.get_mut(..ids.len())?.copy_from_slice(ids);
        (self.last_at, self.n_ids) = (at.into(), n_ids);
        Some(())
    }

    /// Whether a report of `at` is older than the last one, and hence counts for nothing.
    pub(crate) fn is_late(&self, at: Timestamp) -> bool {
        self.last().is_some_and(|last| at < last.at)
    }

    /// Lets nothing have come after `now`.
    pub(crate) fn turn_back(&mut self, now: Timestamp) {
        self.last_at = self.last_at.get().map(|at| at.min(now)).into();
        self.sent.turn_back();
        self.notes.forget_after(now);
    }

    /// Takes a report in that is not late, and notes what speaks against it. Gives what it says
    /// beside what the broker saw, if there was a report before to count from.
    pub(crate) fn take(
        &mut self,
        at: Timestamp,
        report: &Report,
        trailing: &[(Metric, u32)],
    ) -> Option<Disagreement> {
        self.check_id(at, report.id);
        self.keep_increments(at, report, trailing);
        self.remember(at, report.id);
        let said = report.network.bytes_out?;
        let seen = self.sent.take(at);
        if !std::mem::replace(&mut self.said_bytes_out, true) {
            return None;
        }
        let disagreement = Disagreement { seen, said };
        if disagreement.bytes() > 0 {
            self.notes.take(Noted::disagrees(at, seen, said));
        }
        Some(disagreement)
    }

    fn check_id(&mut self, at: Timestamp, id: u64) {
        let Some(last) = self.last() else { return };
        if self.ids().contains(&id) {
            self.notes.take(Noted::repeated(at, id));
        } else if id < last.id {
            self.notes.take(Noted::fell(at, id, last.id));
        }
    }

    fn remember(&mut self, at: Timestamp, id: u64) {
        self.last_at = Some(at).into();
        self.ids.rotate_right(1);
        self.ids[0] = id;
        self.n_ids = (usize::from(self.n_ids) + 1).min(REPORT_IDS_REMEMBERED) as u8;
    }

    /// Keeps the increments that behaviors sum over more than one report, and forgets those that
    /// are too old for every one of them.
    fn keep_increments(&mut self, at: Timestamp, report: &Report, trailing: &[(Metric, u32)]) {
        let aged_ms = self.last().map_or(0, |last| at.millis_since(last.at));
        let aged_ms = u32::try_from(aged_ms).unwrap_or(u32::MAX);
        if !self.increments.is_empty() {
            for increment in &mut self.increments {
                increment.age_ms = increment.age_ms.saturating_add(aged_ms);
            }
            self.increments.retain(|increment| {
                let kept = trailing.get(usize::from(increment.slot));
                kept.is_some_and(|(_, keep_ms)| increment.age_ms < *keep_ms)
            });
        }
        for (slot, (metric, keep_ms)) in (0..u16::MAX).zip(trailing) {
            if let Some(value) = increment(metric, report) {
                self.push(Increment { value, age_ms: 0, slot, reports: 1 }, *keep_ms);
            }
        }
    }

    /// Keeps an increment, which belongs to the latest one where there are too many to keep each by
    /// itself.
    fn push(&mut self, increment: Increment, keep_ms: u32) {
        let mut same = self.increments.iter_mut().filter(|it| it.slot == increment.slot);
        let latest = same.next_back();
        let n = same.count() + usize::from(latest.is_some());
        // Half of the room is for increments as they came. Those in the other half are so far apart
        // that not more than it holds are kept at a time.
        let half = INCREMENTS_PER_METRIC_MAX / 2;
        let grain_ms = u32::try_from(half).map_or(u32::MAX, |half| keep_ms / half);
        if let Some(latest) = latest.filter(|latest| n >= half && latest.age_ms < grain_ms) {
            latest.value = latest.value.saturating_add(increment.value);
            latest.reports = latest.reports.saturating_add(1);
            return;
        }
        self.increments.reserve_exact(1);
        self.increments.push(increment);
    }

    /// Adds up the increments of a metric that came less than `within_ms` before the last report,
    /// and not before `from`.
    pub(crate) fn trail(&self, slot: u16, within_ms: i64, from: Timestamp) -> Option<Trail> {
        let last_at = self.last_at.get()?;
        let mut trail: Option<Trail> = None;
        for increment in self.increments.iter().filter(|increment| increment.slot == slot) {
            let age_ms = i64::from(increment.age_ms);
            let at = last_at - age_ms;
            if age_ms >= within_ms || at < from {
                continue;
            }
            let trail = trail.get_or_insert(Trail { sum: 0, reports: 0, first_at: at });
            trail.sum = trail.sum.saturating_add(increment.value);
            trail.reports += u64::from(increment.reports);
            trail.first_at = trail.first_at.min(at);
        }
        trail
    }

    /// Gives every increment the slot that its metric has in another plan.
    pub(crate) fn renumber(&mut self, old: &[(Metric, u32)], new: &[(Metric, u32)]) {
        if old == new {
            return;
        }
        self.increments.retain_mut(|increment| {
            let metric = old.get(usize::from(increment.slot)).map(|(metric, _)| metric);
            let slot = new.iter().position(|(other, _)| Some(other) == metric);
            increment.slot = slot.and_then(|slot| u16::try_from(slot).ok()).unwrap_or(u16::MAX);
            slot.is_some()
        });
    }
}

/// What a report says of a metric that is summed.
fn increment(metric: &Metric, report: &Report) -> Option<u64> {
    match metric {
        Metric::BytesOut => report.network.bytes_out,
        Metric::BytesIn => report.network.bytes_in,
        Metric::PacketsOut => report.network.packets_out,
        Metric::PacketsIn => report.network.packets_in,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use picket_model::NetworkStats;

    use super::*;

    fn report(id: u64, bytes_out: u64) -> Report {
        let network = NetworkStats { bytes_out: Some(bytes_out), ..NetworkStats::default() };
        Report { id, network, ..Report::default() }
    }

    #[test]
    fn a_trailing_sum_holds_what_is_less_than_its_length_old() {
        let trailing = [(Metric::BytesOut, 270_000)];
        let mut reports = Reports::default();
        let sums =
            [(0, 1), (100, 2), (269, 4), (270, 8), (369, 16), (370, 32)].map(|(at, bytes)| {
                let at = Timestamp::from_secs(at);
                reports.take(at, &report(1, bytes), &trailing);
                reports.trail(0, 270_000, Timestamp::EPOCH).unwrap().sum
            });
        assert_eq!(sums, [1, 3, 7, 14, 30, 60]);
        let from = Timestamp::from_secs(300);
        let trail = reports.trail(0, 270_000, from).unwrap();
        assert_eq!((trail.sum, trail.reports, trail.first_at), (48, 2, Timestamp::from_secs(369)));
        assert_eq!(reports.trail(1, 270_000, from), None);
    }

    #[test]
    fn a_flood_of_reports_stays_in_its_bound_and_in_the_sum() {
        let trailing = [(Metric::BytesOut, 3_240_000)];
        let mut reports = Reports::default();
        for second in 0..10_000 {
            reports.take(Timestamp::from_secs(second), &report(1, 1), &trailing);
            let Trail { sum, reports: n, .. } =
                reports.trail(0, 3_240_000, Timestamp::EPOCH).unwrap();
            let exact = (second as u64 + 1).min(3_240);
            assert!(reports.increments.len() <= INCREMENTS_PER_METRIC_MAX + 1);
            assert!(
                (exact.saturating_sub(9)..=exact).contains(&sum) && n == sum,
                "{sum} of {exact}"
            );
        }
    }

    #[test]
    fn an_id_among_the_last_four_is_repeated_and_a_lower_one_fell() {
        let mut reports = Reports::default();
        let mut said = Vec::new();
        for (at, id) in (0..).zip([5, 6, 7, 8, 9, 6, 5, 4, 4]) {
            reports.take(Timestamp::from_secs(at), &report(id, 0), &[]);
            let noted: Vec<_> = reports
                .notes
                .iter()
                .filter(|noted| noted.at == Timestamp::from_secs(at))
                .map(|noted| noted.kind.as_str())
                .collect();
            said.push(noted.join("+"));
        }
        assert_eq!(
            said.join(" ").trim(),
            "report-id-repeated report-id-fell report-id-fell report-id-repeated"
        );
    }
}
