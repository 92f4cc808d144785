//! Closing: what becomes of a device's windows when they end, and what is looked at on the tick.

use std::sync::Arc;

use picket_model::{Comparison, Datapoint, Metric, MetricValue, ProfileName, Quantity, Timestamp};

use crate::device::{CATCH_UP_MS, Device, Scope, Witness, settle};
use crate::explain::{Basis, Occasion, Ranked};
use crate::figure::{Figure, measure};
use crate::fleet::Fleet;
use crate::judge::{holds, judge};
use crate::measured::Measured;
use crate::plan::Plan;
use crate::verdict::{ExportPart, Exported, Sink, Verdict};
use crate::watch::{Feed, Judged, Test, Watch};
use crate::windows::{Counter, CountsFor, number_of, start_of};

/// A moment at which windows end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boundary {
    /// The moment.
    pub(crate) end: Timestamp,
    /// Whether the engine was running when it came: then devices that are connected and did nothing
    /// have zeros, and what passes by itself is looked at.
    pub(crate) is_live: bool,
}

impl Device {
    /// Judges everything that ends at a boundary. `ending` has the places of the watches whose
    /// windows do.
    pub(crate) fn close(
        &mut self,
        scope: Scope<'_>,
        boundary: Boundary,
        ending: &[(u32, u32)],
        fleets: &[Fleet],
        sink: &mut Sink<'_>,
    ) {
        let plan = Arc::clone(&self.plan.0);
        let Boundary { end, is_live } = boundary;
        for &(place, number) in ending {
            let watch = &plan.watches[place as usize];
            match watch.feed {
                Feed::Away if is_live => self.tick_away(scope, place, watch, end, sink),
                Feed::Unreported if is_live => self.tick_unreported(scope, place, watch, end, sink),
                Feed::Window | Feed::Report => {
                    self.close_window(scope, &plan, (place, number), is_live, fleets, sink);
                }
                Feed::Away | Feed::Unreported | Feed::Trailing(_) | Feed::Disagreement => {}
            }
        }
        self.windows.close(|open| {
            let len = match open.counter.counts_for() {
                CountsFor::Series(index) => plan.series[index as usize].len,
                CountsFor::Watch(place) => plan.watches[place as usize].len,
            };
            start_of(open.number, len) + len.as_millis() <= end
        });
    }

    /// Closes the windows of a watch that end before the window `until` starts, in order: those in
    /// which something was counted, and those that the device merely attended.
    pub(crate) fn close_before(
        &mut self,
        scope: Scope<'_>,
        plan: &Plan,
        place: u32,
        until: u32,
        sink: &mut Sink<'_>,
    ) {
        let watch = &plan.watches[place as usize];
        let Some(index) = watch.series else { return };
        let from = self.marks.get(place).from.max(scope.watermark.floor(watch.len.as_millis()));
        let Some(mut number) = number_of(from, watch.len) else { return };
        let attended_from = self.presence.stay().and_then(|since| {
            let bound = start_of(until, watch.len) - CATCH_UP_MS;
            number_of(since.max(from).max(bound), watch.len)
        });
        loop {
            let open = [Counter::series(index), Counter::watch(place)]
                .into_iter()
                .filter_map(|counter| self.windows.first_from(counter, number));
            let attended = attended_from.map(|attended_from| attended_from.max(number));
            match open.chain(attended).min() {
                Some(next) if next < until => number = next,
                _ => return,
            }
            self.close_window(scope, plan, (place, number), true, &[], sink);
            number += 1;
        }
    }

    /// Judges the window of a watch that has ended, and gives its datapoint.
    fn close_window(
        &mut self,
        scope: Scope<'_>,
        plan: &Plan,
        (place, number): (u32, u32),
        is_live: bool,
        fleets: &[Fleet],
        sink: &mut Sink<'_>,
    ) {
        let watch = &plan.watches[place as usize];
        let Some(index) = watch.series else { return };
        let (start, end) = (start_of(number, watch.len), start_of(number + 1, watch.len));
        let mut state = self.marks.get(place);
        if state.from >= end {
            return;
        }
        let is_whole = state.from <= start;
        let early = state.early.filter(|early| early.number == number);
        if early.is_some() {
            state.early = None;
            self.marks.set(place, state);
        }
        match watch.feed {
            // A report that is older than the watch may still come, as long as none came since.
            Feed::Report => {
                if let Some(last) = self.reports.last() {
                    self.marks.settle_beginning(place, end.min(last.at));
                }
            }
            _ => self.marks.settle_beginning(place, end),
        }
        let counter = if is_whole { Counter::series(index) } else { Counter::watch(place) };
        let tally = self.windows.get(counter, number);
        if tally.is_none() && !(is_live && self.attends(plan, index, end)) {
            return;
        }
        let about = About { scope, place, watch, at: end };
        // Of what devices say of themselves, each report is a datapoint.
        if watch.feed == Feed::Window {
            about.give(measure(watch, Figure::Kept, tally), sink);
            about.export_window(|figure| measure(watch, figure, tally), sink);
        }
        let Some(judged) = &watch.judged else { return };
        let comparison = &judged.behavior.criteria.comparison;
        let occasion = |at, violates, measured, basis| Occasion {
            device: scope.name,
            judged,
            start,
            at,
            violates,
            measured,
            basis,
        };
        let witness = Witness { presence: &self.presence, reports: &self.reports };
        match watch.test {
            Test::Nothing | Test::Train(_) => {}
            Test::Fleet(fleet) if is_whole => {
                let Some(ranked) = rank(watch, tally, fleets.get(fleet as usize)) else { return };
                let Some(violates) = fails(comparison, ranked) else { return };
                if self.marks.stay_fresh(violates) {
                    return;
                }
                let measured = Measured::Quantity(ranked.value);
                let occasion = occasion(end, violates, measured, Basis::Fleet(ranked));
                settle(&mut self.marks, witness, place, &occasion, sink);
            }
            Test::Alone => {
                let Some(measured) = measure(watch, Figure::Tested, tally) else { return };
                let Some(judgement) = judge(comparison, measured) else { return };
                if self.marks.stay_fresh(judgement.violates) {
                    return;
                }
                let basis = Basis::Window(tally);
                let Some(early) = early else {
                    if is_whole {
                        let occasion = occasion(end, judgement.violates, measured, basis);
                        settle(&mut self.marks, witness, place, &occasion, sink);
                    }
                    return;
                };
                // The window's one datapoint was judged; what is left to say is that it went
                // further.
                let Some(started_at) = state.alarm.started_at() else { return };
                if judgement.magnitude != early.magnitude {
                    let span = tally.map(|tally| tally.span()).filter(|span| span.count > 0);
                    let at = span.map_or(end, |span| span.last.after(start));
                    let occasion = occasion(at, judgement.violates, measured, basis);
                    sink.put(end, place, occasion.continued(started_at, witness.notes(at)));
                }
            }
            Test::Fleet(_) => {}
        }
    }

    /// Whether the device, which did nothing that the series counts, was there before the window
    /// ended.
    fn attends(&self, plan: &Plan, index: u32, end: Timestamp) -> bool {
        plan.series[index as usize].counts_zeros
            && self.presence.stay().is_some_and(|since| since < end)
    }

    /// Adds what the device had in the windows that end at a boundary to the populations that it is
    /// compared with.
    pub(crate) fn join_fleets(
        &self,
        boundary: Boundary,
        ending: &[(u32, u32)],
        fleets: &mut [Fleet],
    ) {
        let plan = &self.plan.0;
        for &(place, number) in ending {
            let watch = &plan.watches[place as usize];
            let (Test::Fleet(fleet), Some(index)) = (watch.test, watch.series) else { continue };
            let is_whole = self.marks.get(place).from <= start_of(number, watch.len);
            if !is_whole {
                continue;
            }
            let tally = self.windows.get(Counter::series(index), number);
            if tally.is_none() && !(boundary.is_live && self.attends(plan, index, boundary.end)) {
                continue;
            }
            let value = measure(watch, Figure::Ranked, tally).and_then(Measured::quantity);
            if let (Some(value), Some(fleet)) = (value, fleets.get_mut(fleet as usize)) {
                fleet.add(value);
            }
        }
    }

    /// Judges how long the device has been away, at a tick.
    ///
    /// A tick that fell into an absence which is over by now gives nothing: the device is back, and
    /// an alarm would be too late to be of use.
    fn tick_away(
        &mut self,
        scope: Scope<'_>,
        place: u32,
        watch: &Watch,
        at: Timestamp,
        sink: &mut Sink<'_>,
    ) {
        let begins = self.marks.get(place).from;
        if self.presence.since().is_none_or(|since| since >= at) || begins >= at {
            return;
        }
        self.marks.settle_beginning(place, at);
        let since = self.presence.absent_since().filter(|since| *since <= at);
        let millis = since.map_or(0, |since| at.millis_since(since).unsigned_abs());
        let measured = Measured::count(millis / 60_000);
        let about = About { scope, place, watch, at };
        about.give(Some(measured), sink);
        // Source: AWS guide, exported metrics: seconds, where criteria and values are minutes.
        about.export(ExportPart::Value, Some(Measured::count(millis / 1_000)), sink);
        self.settle_tick(about, measured, Basis::Absence { since }, sink);
    }

    /// Judges how long a connected device that reports has not done so, at a tick.
    fn tick_unreported(
        &mut self,
        scope: Scope<'_>,
        place: u32,
        watch: &Watch,
        at: Timestamp,
        sink: &mut Sink<'_>,
    ) {
        if self.marks.get(place).from >= at {
            return;
        }
        self.marks.settle_beginning(place, at);
        let (last, stay) = (self.reports.last(), self.presence.stay_at(at));
        let (Some(last), Some(stay)) = (last, stay) else { return };
        let since = last.at.max(stay);
        let minutes = u64::try_from(at.millis_since(since) / 60_000).unwrap_or(0);
        let measured = Measured::count(minutes);
        let about = About { scope, place, watch, at };
        about.give(Some(measured), sink);
        about.export(ExportPart::Value, Some(measured), sink);
        let basis = Basis::Unreported { last_at: last.at, last_id: last.id, since };
        self.settle_tick(about, measured, basis, sink);
    }

    fn settle_tick(
        &mut self,
        about: About<'_>,
        measured: Measured<'_>,
        basis: Basis<'_>,
        sink: &mut Sink<'_>,
    ) {
        let About { scope, place, watch, at } = about;
        let Some(judged) = &watch.judged else { return };
        let Some(judgement) = judge(&judged.behavior.criteria.comparison, measured) else { return };
        let occasion = Occasion {
            device: scope.name,
            judged,
            start: at - watch.len.as_millis(),
            at,
            violates: judgement.violates,
            measured,
            basis,
        };
        let witness = Witness { presence: &self.presence, reports: &self.reports };
        settle(&mut self.marks, witness, place, &occasion, sink);
    }
}

/// What a datapoint is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// Which device.
    pub(crate) scope: Scope<'a>,
    /// Place of the watch.
    pub(crate) place: u32,
    /// The watch.
    pub(crate) watch: &'a Watch,
    /// End of the window, or when the report came.
    pub(crate) at: Timestamp,
}

impl About<'_> {
    /// Gives the datapoint, if it is kept, and counts it for a model.
    pub(crate) fn give(&self, measured: Option<Measured<'_>>, sink: &mut Sink<'_>) {
        let Some(measured) = measured else { return };
        if let Test::Train(number) = self.watch.test {
            sink.train(number);
        }
        if self.watch.emits {
            let datapoint = Datapoint {
                device: self.scope.name.clone(),
                metric: self.watch.metric.clone(),
                dimension: self.watch.dimension.clone(),
                at: self.at,
                value: measured.to_value(),
            };
            sink.put(self.at, self.place, Verdict::Datapoint(datapoint));
        }
    }

    /// Gives one figure to the profiles that publish it.
    pub(crate) fn export(
        &self,
        part: ExportPart,
        measured: Option<Measured<'_>>,
        sink: &mut Sink<'_>,
    ) {
        if self.watch.exports.is_empty() {
            return;
        }
        let Some(value) = measured.map(Measured::to_value) else { return };
        for profile in &self.watch.exports {
            let exported = self.exported(profile, part, value.clone());
            sink.put(self.at, self.place, Verdict::Exported(Box::new(exported)));
        }
    }

    /// Gives the figures of a window to the profiles that publish them.
    fn export_window<'a>(
        &self,
        figure: impl Fn(Figure) -> Option<Measured<'a>>,
        sink: &mut Sink<'_>,
    ) {
        if self.watch.exports.is_empty() {
            return;
        }
        if self.watch.metric != Metric::MessageByteSize {
            return self.export(ExportPart::Value, figure(Figure::Kept), sink);
        }
        let figures = [
            (ExportPart::Min, Figure::Smallest),
            (ExportPart::Max, Figure::Kept),
            (ExportPart::Total, Figure::Ranked),
        ];
        for profile in &self.watch.exports {
            for (part, which) in figures {
                let Some(value) = figure(which).map(Measured::to_value) else { continue };
                let exported = self.exported(profile, part, value);
                sink.put(self.at, self.place, Verdict::Exported(Box::new(exported)));
            }
        }
    }

    fn exported(&self, profile: &ProfileName, part: ExportPart, value: MetricValue) -> Exported {
        Exported {
            profile: profile.clone(),
            device: self.scope.name.clone(),
            metric: self.watch.metric.clone(),
            part,
            dimension: self.watch.dimension.clone(),
            at: self.at,
            value,
        }
    }
}

/// How a window stands among those of the fleet; none if the fleet is not compared.
fn rank(
    watch: &Watch,
    tally: Option<&crate::tally::Tally>,
    fleet: Option<&Fleet>,
) -> Option<Ranked> {
    let fleet = fleet?;
    let Some(Judged { behavior, .. }) = &watch.judged else { return None };
    let Comparison::Percentile(_, percentile) = behavior.criteria.comparison else { return None };
    Some(Ranked {
        value: measure(watch, Figure::Ranked, tally)?.quantity()?,
        percentile,
        limit: fleet.limit()?,
        devices: fleet.devices(),
    })
}

/// Whether a ranked value fails the criteria.
fn fails(comparison: &Comparison, ranked: Ranked) -> Option<bool> {
    let Comparison::Percentile(operator, _) = comparison else { return None };
    let (value, limit): (Quantity, Quantity) = (ranked.value, ranked.limit);
    holds(*operator, value, limit).map(|holds| !holds)
}
