//! Reporting: what a report does to a device, judged as it arrives.

use picket_model::{Comparison, Quantity, Report, Timestamp};

use crate::closing::About;
use crate::device::{Device, Scope, Witness, settle};
use crate::explain::{Basis, Occasion};
use crate::judge::judge;
use crate::measured::Measured;
use crate::notes::Noted;
use crate::plan::Plan;
use crate::reports::Disagreement;
use crate::series::Counted;
use crate::tally::{Part, Reading};
use crate::verdict::{ExportPart, Sink};
use crate::watch::Feed;
use crate::windows::{Counter, number_of, start_of};

impl Device {
    /// Takes a report in and judges it. Returns whether it came too late for a watch.
    pub(crate) fn report(
        &mut self,
        scope: Scope<'_>,
        plan: &Plan,
        at: Timestamp,
        report: &Report,
        sink: &mut Sink<'_>,
    ) -> bool {
        if self.reports.is_late(at) {
            return true;
        }
        let disagreement = self.reports.take(at, report, &plan.trailing);
        self.note_empty_lists(plan, at, report);
        let mut is_late = false;
        for (place, watch) in plan.places() {
            let measured = match watch.feed {
                Feed::Report | Feed::Trailing(_) => Measured::of_report(&watch.metric, report),
                Feed::Disagreement => disagreement.map(|it| Measured::count(it.bytes())),
                Feed::Window | Feed::Away | Feed::Unreported => continue,
            };
            let Some(measured) = measured else { continue };
            if at < self.marks.get(place).from {
                is_late = true;
                continue;
            }
            let about = About { scope, place, watch, at };
            about.give(Some(measured), sink);
            about.export(ExportPart::Value, Some(measured), sink);
            self.judge_report(about, measured, disagreement, report.id, sink);
        }
        is_late | !self.count_report(scope, plan, at, report)
    }

    /// Judges what a report says of one metric.
    fn judge_report(
        &mut self,
        about: About<'_>,
        measured: Measured<'_>,
        disagreement: Option<Disagreement>,
        id: u64,
        sink: &mut Sink<'_>,
    ) {
        let About { scope, place, watch, at } = about;
        let Some(judged) = &watch.judged else { return };
        let from = self.marks.get(place).from;
        let (start, measured, basis) = match (watch.feed, disagreement) {
            (Feed::Trailing(slot), _) => {
                let within_ms = watch.trailing_ms();
                let trail = self.reports.trail(slot, within_ms, from);
                let Some(trail) = trail else { return };
                let start = at - watch.len.as_millis();
                (start, Measured::count(trail.sum), Basis::Trailing { trail, id })
            }
            (Feed::Disagreement, Some(disagreement)) => {
                (at, measured, Basis::Disagreement { disagreement, id })
            }
            _ => (at, measured, Basis::Report { id }),
        };
        let judgement = judge(&judged.behavior.criteria.comparison, measured);
        // When the watch began makes no difference any more to the next report.
        let (is_partial, whole_since) = match watch.feed {
            Feed::Trailing(_) => (at - watch.trailing_ms() < from, at - watch.trailing_ms()),
            _ => (false, at),
        };
        if watch.series.is_none() {
            self.marks.settle_beginning(place, whole_since);
        }
        let Some(judgement) = judgement else { return };
        if is_partial && !(judgement.violates && watch.breaks_for_good()) {
            return;
        }
        let violates = judgement.violates;
        if self.marks.stay_fresh(violates) {
            return;
        }
        let device = scope.name;
        let occasion = Occasion { device, judged, start, at, violates, measured, basis };
        let witness = Witness { presence: &self.presence, reports: &self.reports };
        settle(&mut self.marks, witness, place, &occasion, sink);
    }

    /// Counts a report into the windows in which devices are compared. Returns false if it came too
    /// late for one.
    fn count_report(
        &mut self,
        scope: Scope<'_>,
        plan: &Plan,
        at: Timestamp,
        report: &Report,
    ) -> bool {
        let mut is_in_time = true;
        for (index, series) in (0..u32::MAX).zip(&plan.series) {
            let part = match &series.counted {
                Counted::Increments(metric) => match quantity(metric, report) {
                    Some(Quantity::Count(count)) => Part::Increment(count),
                    Some(Quantity::Number(_)) | None => continue,
                },
                Counted::Gauge(metric) => match quantity(metric, report) {
                    Some(quantity) => Part::Gauge(Reading::new(quantity)),
                    None => continue,
                },
                Counted::Messages
                | Counted::Deliveries
                | Counted::Denials
                | Counted::Attempts
                | Counted::Disconnects
                | Counted::Addresses => continue,
            };
            let number = number_of(at, series.len)
                .filter(|_| at >= scope.watermark.floor(series.len.as_millis()));
            let Some(number) = number else {
                is_in_time = false;
                continue;
            };
            let start = start_of(number, series.len);
            // A window that began before its watch is not compared.
            if series.watches.iter().any(|&place| self.marks.get(place).from <= start) {
                self.add(plan, index, Counter::series(index), number, part);
            }
        }
        is_in_time
    }

    /// Notes lists that are empty at once although they violated just before.
    fn note_empty_lists(&mut self, plan: &Plan, at: Timestamp, report: &Report) {
        if self.marks.is_empty() {
            return;
        }
        let empty = self.marks.iter().find_map(|(place, state)| {
            let watch = &plan.watches[place as usize];
            let is_list = matches!(watch.comparison(), Some(Comparison::Set(..)));
            let is_new = watch.feed == Feed::Report && is_list && state.alarm.is_violating();
            let measured = Measured::of_report(&watch.metric, report).filter(|_| is_new)?;
            (measured.is_empty_list() && at >= state.from).then_some(&watch.metric)
        });
        if let Some(metric) = empty {
            self.reports.notes.take(Noted::empty(at, metric));
        }
    }
}

fn quantity(metric: &picket_model::Metric, report: &Report) -> Option<Quantity> {
    Measured::of_report(metric, report).and_then(Measured::quantity)
}
