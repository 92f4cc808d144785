//! One device: what is kept of it, and what an observation does to that.
//!
//! What happens when a window ends is in [`crate::closing`], what a report does in
//! [`crate::reporting`].

use std::sync::Arc;

use picket_model::limits::REPORT_MISSING_AFTER_MS;
use picket_model::{DeviceName, Fact, Note, Observation, Timestamp};

use crate::alarm::Step;
use crate::explain::{Basis, Ending, Occasion, Outcome, invalidated};
use crate::figure::{Figure, measure};
use crate::judge::judge;
use crate::marks::{Early, Marks, WatchState};
use crate::measured::{Element, offends};
use crate::notes::Noted;
use crate::plan::Plan;
use crate::presence::Presence;
use crate::reports::Reports;
use crate::tally::Part;
use crate::verdict::Sink;
use crate::windows::{Counter, Windows, number_of, start_of};

/// How far back windows without any activity are filled in, at most: a day.
///
/// A running engine is told the time every few seconds and never comes near it. It keeps a call
/// that moves the time by years from making millions of zeros.
pub(crate) const CATCH_UP_MS: i64 = 86_400_000;

/// What the engine knows when it calls a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The device's name.
    pub(crate) name: &'a DeviceName,
    /// Windows that end here or before were judged.
    pub(crate) watermark: Timestamp,
}

/// State of one device. A million of them are in memory: what most devices have none of is not
/// there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// What is counted.
    pub(crate) plan: PlanRef,
    /// What is remarkable about its watches.
    pub(crate) marks: Marks,
    /// Windows in which something was counted.
    pub(crate) windows: Windows,
    /// Its connections.
    pub(crate) presence: Presence,
    /// When the latest observation was made.
    pub(crate) seen_at: Timestamp,
    /// Its own reports, and what they are held against.
    pub(crate) reports: Reports,
    /// Whether there is something to store.
    pub(crate) is_changed: bool,
}

/// A shared plan, compared by identity: two plans are equal where they are the same one.
#[derive(Clone, Debug)]
pub(crate) struct PlanRef(pub(crate) Arc<Plan>);

impl PartialEq for PlanRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for PlanRef {}

/// Who can tell what speaks for or against a device's word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness<'a> {
    /// Its connections.
    pub(crate) presence: &'a Presence,
    /// Its reports.
    pub(crate) reports: &'a Reports,
}

impl Witness<'_> {
    /// The notes to an event of `at`, in the order of their kinds.
    pub(crate) fn notes(&self, at: Timestamp) -> Vec<Note> {
        let missing = self.reports.last().filter(|last| {
            self.presence.connections > 0 && at.millis_since(last.at) >= REPORT_MISSING_AFTER_MS
        });
        let missing = missing.map(|last| Noted::missing(at, last.at).note());
        self.reports.notes.fresh(at).map(Noted::note).chain(missing).collect()
    }
}

impl Device {
    /// A device that nothing is known of but who watches it.
    pub(crate) fn new(plan: Arc<Plan>, now: Timestamp) -> Self {
        Self {
            plan: PlanRef(plan),
            marks: Marks::default(),
            windows: Windows::default(),
            presence: Presence::default(),
            seen_at: now,
            reports: Reports::default(),
            is_changed: false,
        }
    }

    /// Takes an observation in. Returns whether it came too late for a watch.
    pub(crate) fn observe(
        &mut self,
        scope: Scope<'_>,
        observation: &Observation,
        sink: &mut Sink<'_>,
    ) -> bool {
        let plan = Arc::clone(&self.plan.0);
        let Observation { at, fact, slice, .. } = observation;
        let at = *at;
        self.seen_at = self.seen_at.max(at);
        if slice.is_none() {
            match fact {
                Fact::Connected { .. } => self.presence.connect(at),
                Fact::Disconnected { .. } => self.disconnect(scope, &plan, at),
                Fact::Published(published) => {
                    self.reports.sent.add(at, published.bytes_total);
                }
                Fact::Reported(report) => return self.report(scope, &plan, at, report, sink),
                Fact::ReportRefused { ran_backward: true } => {
                    self.reports.notes.take(Noted::ran_backward(at));
                }
                Fact::ReportRefused { ran_backward: false }
                | Fact::ConnectionAttempted { .. }
                | Fact::Received { .. }
                | Fact::Denied(_) => {}
            }
        }
        let mut is_late = false;
        for (index, series) in (0..u32::MAX).zip(&plan.series) {
            if series.dimension.as_deref() == slice.as_deref()
                && let Some(part) = Part::of(&series.counted, fact, at)
            {
                is_late |= !self.count(scope, &plan, index, at, part, sink);
            }
        }
        is_late
    }

    fn disconnect(&mut self, scope: Scope<'_>, plan: &Plan, at: Timestamp) {
        if self.presence.connections == 1 {
            self.mark_presence(scope, plan, at);
        }
        self.presence.disconnect(at);
    }

    /// Forgets the connections, as after a restart. The windows that were open when the server
    /// stopped count as attended, later ones do not.
    pub(crate) fn lose_connections(&mut self, scope: Scope<'_>, now: Timestamp) {
        let plan = Arc::clone(&self.plan.0);
        self.mark_presence(scope, &plan, scope.watermark);
        self.presence.lose(now);
        self.seen_at = self.seen_at.max(now);
    }

    /// Takes back what lies after `now`: the clock was ahead. Alarms and runs stay.
    pub(crate) fn turn_back(&mut self, now: Timestamp) {
        self.windows = Windows::default();
        let marks = std::mem::take(&mut self.marks);
        for (place, state) in marks.iter() {
            let state = WatchState { from: state.from.min(now), early: None, ..*state };
            self.marks.set(place, state);
        }
        self.presence.turn_back(now);
        self.seen_at = self.seen_at.min(now);
        self.reports.turn_back(now);
    }

    /// Opens the windows that the present stay, up to `until`, has a part in: they give a zero if
    /// nothing else happens in them.
    fn mark_presence(&mut self, scope: Scope<'_>, plan: &Plan, until: Timestamp) {
        let Some(since) = self.presence.stay() else { return };
        for (index, series) in (0..u32::MAX).zip(&plan.series) {
            let len = series.len;
            let open_from = scope.watermark.floor(len.as_millis());
            let from = since.max(open_from).max(until - CATCH_UP_MS);
            let (true, Some(first), Some(last)) =
                (series.counts_zeros && from <= until, number_of(from, len), number_of(until, len))
            else {
                continue;
            };
            for number in first..=last {
                let start = start_of(number, len);
                for &place in &series.watches {
                    let begins = self.marks.get(place).from;
                    if begins <= start {
                        self.windows.open(Counter::series(index), number, &series.counted);
                    } else if begins <= until && begins < start + len.as_millis() {
                        self.windows.open(Counter::watch(place), number, &series.counted);
                    }
                }
            }
        }
    }

    /// Counts a part of what the broker saw into its window, and judges what that broke for good.
    /// Returns false if it came too late for a watch.
    fn count(
        &mut self,
        scope: Scope<'_>,
        plan: &Plan,
        index: u32,
        at: Timestamp,
        part: Part<'_>,
        sink: &mut Sink<'_>,
    ) -> bool {
        let series = &plan.series[index as usize];
        let len = series.len;
        let Some(number) = number_of(at, len) else { return false };
        if at < scope.watermark.floor(len.as_millis()) {
            return false;
        }
        let start = start_of(number, len);
        let mut is_in_time = true;
        let mut is_shared = false;
        for &place in &series.watches {
            let from = self.marks.get(place).from;
            if from <= start {
                is_shared = true;
            } else if from <= at {
                self.add(plan, index, Counter::watch(place), number, part);
            } else {
                is_in_time = false;
            }
        }
        if is_shared {
            self.add(plan, index, Counter::series(index), number, part);
        }
        for &place in &series.watches {
            if plan.watches[place as usize].is_early {
                self.judge_early(scope, plan, place, (at, number), part, sink);
            }
        }
        is_in_time
    }

    /// Adds a part to a window of a series.
    pub(crate) fn add(
        &mut self,
        plan: &Plan,
        index: u32,
        counter: Counter,
        number: u32,
        part: Part<'_>,
    ) {
        let series = &plan.series[index as usize];
        let tally = self.windows.open(counter, number, &series.counted);
        tally.add(start_of(number, series.len), part, |address| {
            // A series of addresses has one watch.
            let watch = series.watches.first().map(|&place| &plan.watches[place as usize]);
            let comparison = watch.and_then(|watch| watch.comparison());
            comparison.is_some_and(|it| offends(it, Element::Address(*address)))
        });
    }

    /// Judges a window before its end, if `part` broke it for good.
    fn judge_early(
        &mut self,
        scope: Scope<'_>,
        plan: &Plan,
        place: u32,
        (at, number): (Timestamp, u32),
        part: Part<'_>,
        sink: &mut Sink<'_>,
    ) {
        let watch = &plan.watches[place as usize];
        let (Some(judged), Some(index)) = (&watch.judged, watch.series) else { return };
        let state = self.marks.get(place);
        if at < state.from || state.early.is_some_and(|early| early.number == number) {
            return;
        }
        let start = start_of(number, watch.len);
        let is_whole = state.from <= start;
        let counter = if is_whole { Counter::series(index) } else { Counter::watch(place) };
        let comparison = &judged.behavior.criteria.comparison;
        let tally = self.windows.get(counter, number);
        let judgement = measure(watch, Figure::Tested, tally)
            .and_then(|measured| judge(comparison, measured))
            .filter(|judgement| judgement.violates);
        let Some(judgement) = judgement else { return };
        // Datapoints are judged in the order of their windows. An earlier window that still waits
        // for stragglers would otherwise clear, at its end, the alarm that is raised now.
        self.close_before(scope, plan, place, number, sink);
        let mut state = self.marks.get(place);
        state.early = Some(Early { number, magnitude: judgement.magnitude });
        state.from = state.from.max(start);
        self.marks.set(place, state);
        let Some(tally) = self.windows.get(counter, number) else { return };
        let Some(measured) = measure(watch, Figure::Tested, Some(tally)) else { return };
        let basis = Basis::Early { tally, part };
        let occasion =
            Occasion { device: scope.name, judged, start, at, violates: true, measured, basis };
        let witness = Witness { presence: &self.presence, reports: &self.reports };
        settle(&mut self.marks, witness, place, &occasion, sink);
    }

    /// Ends the alarms that are on of those watches that `concerns` names.
    pub(crate) fn end_alarms(
        &mut self,
        name: &DeviceName,
        at: Timestamp,
        ending: Ending,
        concerns: impl Fn(&Plan, u32) -> bool,
        sink: &mut Sink<'_>,
    ) {
        let plan = &self.plan.0;
        let on: Vec<_> = self
            .marks
            .iter()
            .filter_map(|(place, state)| Some((place, *state, state.alarm.started_at()?)))
            .filter(|(place, ..)| concerns(plan, *place))
            .collect();
        for (place, state, started_at) in on {
            if let Some(judged) = &plan.watches[place as usize].judged {
                sink.put(at, place, invalidated(name, judged, started_at, at, ending));
            }
            self.marks.set(place, state.without_alarm());
        }
    }
}

/// Hands a datapoint's judgement to the alarm, and says what that changed.
pub(crate) fn settle(
    marks: &mut Marks,
    witness: Witness<'_>,
    place: u32,
    occasion: &Occasion<'_>,
    sink: &mut Sink<'_>,
) {
    let at = occasion.at;
    let mut state = marks.get(place);
    let criteria = &occasion.judged.behavior.criteria;
    let (alarm, step) = state.alarm.judged(occasion.violates, at, criteria);
    if alarm != state.alarm {
        state.alarm = alarm;
        marks.set(place, state);
        sink.note_change();
    }
    let verdict = match step {
        Step::Quiet => return,
        Step::Raised => occasion.event(at, Outcome::Raised, witness.notes(at)),
        Step::Continued { started_at } => occasion.continued(started_at, witness.notes(at)),
        Step::Cleared { started_at } => {
            occasion.event(started_at, Outcome::Cleared, witness.notes(at))
        }
    };
    sink.put(at, place, verdict);
}
