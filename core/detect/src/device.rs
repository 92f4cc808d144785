//! One device: its connections, its open windows and its alarms.

use std::sync::Arc;

use picket_model::{Datapoint, DeviceName, Fact, Metric, MetricValue, Observation, Timestamp};

use crate::alarm::{Alarm, Step};
use crate::explain::{Basis, Occasion, Outcome};
use crate::judge::{Judgement, judge, judge_number, offends};
use crate::plan::{Plan, Watch};
use crate::verdict::{Sink, Verdict};
use crate::windows::{Part, Window};

/// How far back windows without any activity are filled in, at most: a day.
///
/// A running engine is told the time every few seconds and never comes near it. It keeps a call
/// that moves the time by years from making millions of zeros.
const CATCH_UP_MS: i64 = 86_400_000;

/// What the engine knows when it calls a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The device's name.
    pub(crate) name: &'a DeviceName,
    /// Windows that end here or before were judged.
    pub(crate) watermark: Timestamp,
}

/// State of one device. A hundred thousand of them are in memory: small vectors, no maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// What is counted.
    pub(crate) plan: PlanRef,
    /// One state per watch of the plan, in its order.
    pub(crate) states: Box<[WatchState]>,
    /// Windows in which something was counted, by watch and start.
    pub(crate) windows: Vec<Window>,
    /// Connections that are open.
    pub(crate) connections: u32,
    /// When the present or else the last stay began: the first of its connections.
    pub(crate) present_since: Option<Timestamp>,
    /// When the last connection ended; none while one is open.
    pub(crate) absent_since: Option<Timestamp>,
    /// When the latest observation was made.
    pub(crate) seen_at: Timestamp,
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

/// State of one watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchState {
    /// Counts only what happened at this moment or later: when the watch began, or the start of a
    /// window that was judged early, as windows are judged in order.
    pub(crate) from: Timestamp,
    /// The alarm; stays fresh for a metric that is only retained.
    pub(crate) alarm: Alarm,
}

impl WatchState {
    /// A watch that has its device's whole life in view.
    pub(crate) const FRESH: WatchState = WatchState { from: Timestamp::EPOCH, alarm: Alarm::FRESH };

    /// A watch that begins after `now`, in the middle of things.
    pub(crate) fn beginning_after(now: Timestamp) -> Self {
        Self { from: now + 1, ..Self::FRESH }
    }
}

impl Device {
    /// A device that nothing is known of but who watches it.
    pub(crate) fn new(plan: Arc<Plan>, now: Timestamp) -> Self {
        Self {
            states: vec![WatchState::FRESH; plan.watches.len()].into(),
            plan: PlanRef(plan),
            windows: Vec::new(),
            connections: 0,
            present_since: None,
            absent_since: None,
            seen_at: now,
        }
    }

    /// Takes an observation in. Returns whether it came too late for a watch.
    pub(crate) fn observe(
        &mut self,
        scope: Scope<'_>,
        observation: &Observation,
        sink: &mut Sink,
    ) -> bool {
        let plan = Arc::clone(&self.plan.0);
        let at = observation.at;
        self.seen_at = self.seen_at.max(at);
        match &observation.fact {
            Fact::Connected { .. } => self.connect(at),
            Fact::Disconnected { .. } => self.disconnect(scope, &plan, at),
            Fact::ConnectionAttempted { .. }
            | Fact::Published(_)
            | Fact::Received { .. }
            | Fact::Denied(_) => {}
        }
        let mut is_late = false;
        for (place, watch) in plan.watches.iter().enumerate() {
            if let Some(part) = Part::of(watch.metric, observation) {
                is_late |= !self.count(scope, watch, place, at, part, sink);
            }
        }
        is_late
    }

    fn connect(&mut self, at: Timestamp) {
        if self.connections == 0 {
            self.present_since = Some(at);
            self.absent_since = None;
        }
        self.connections = self.connections.saturating_add(1);
    }

    fn disconnect(&mut self, scope: Scope<'_>, plan: &Plan, at: Timestamp) {
        if self.connections == 1 {
            self.mark_presence(scope, plan, at);
            self.absent_since = Some(self.present_since.map_or(at, |since| since.max(at)));
        }
        self.connections = self.connections.saturating_sub(1);
    }

    /// Forgets the connections: they ended when the server did, which is no fault of the device.
    ///
    /// The windows that were open when the server stopped count as attended, later ones do not;
    /// the device is away since `now` and not since a moment that nobody knows.
    pub(crate) fn lose_connections(&mut self, scope: Scope<'_>, now: Timestamp) {
        let plan = Arc::clone(&self.plan.0);
        self.mark_presence(scope, &plan, scope.watermark);
        self.connections = 0;
        self.present_since = Some(now);
        self.absent_since = Some(now);
        self.seen_at = self.seen_at.max(now);
    }

    /// Opens the windows that the present stay, up to `until`, has a part in: they give a zero if
    /// nothing else happens in them.
    fn mark_presence(&mut self, scope: Scope<'_>, plan: &Plan, until: Timestamp) {
        for (place, watch) in plan.watches.iter().enumerate() {
            let Some(mut start) = self.first_attended(scope, watch, place, until) else { continue };
            while start <= until {
                self.window_at(watch, place, start);
                start = start + watch.len.as_millis();
            }
        }
    }

    /// Start of the first window not yet judged that the present stay has a part in, if the watch
    /// counts zeros at all.
    fn first_attended(
        &self,
        scope: Scope<'_>,
        watch: &Watch,
        place: usize,
        until: Timestamp,
    ) -> Option<Timestamp> {
        let since = self.present_since.filter(|_| watch.counts_zeros() && self.connections > 0)?;
        let from = since.max(self.open_from(scope, watch, place)).max(until - CATCH_UP_MS);
        (from <= until).then(|| from.floor(watch.len.as_millis()))
    }

    /// The moment from which on the watch counts: windows before it are judged, or were never its.
    fn open_from(&self, scope: Scope<'_>, watch: &Watch, place: usize) -> Timestamp {
        self.states[place].from.max(scope.watermark.floor(watch.len.as_millis()))
    }

    /// Whether the watch began in the middle of the window that starts at `start`: what came before
    /// is missing, so only what cannot be healed is judged.
    fn is_partial(&self, place: usize, start: Timestamp) -> bool {
        start < self.states[place].from
    }

    /// The open window of a watch that starts at `start`, opened if need be.
    fn window_at(&mut self, watch: &Watch, place: usize, start: Timestamp) -> &mut Window {
        let number = number(place);
        let found =
            self.windows.binary_search_by_key(&(number, start), |open| (open.watch, open.start));
        let index = found.unwrap_or_else(|index| {
            self.windows.insert(index, Window::empty(number, watch.metric, start));
            index
        });
        &mut self.windows[index]
    }

    /// Counts a part into its window, and judges the window at once if that broke it for good.
    /// Returns false if it came too late.
    fn count(
        &mut self,
        scope: Scope<'_>,
        watch: &Watch,
        place: usize,
        at: Timestamp,
        part: Part<'_>,
        sink: &mut Sink,
    ) -> bool {
        if at < self.open_from(scope, watch, place) {
            return false;
        }
        let start = at.floor(watch.len.as_millis());
        let comparison = watch.judged.as_ref().map(|judged| &judged.behavior.criteria.comparison);
        let window = self.window_at(watch, place, start);
        window.add(part, |address| comparison.is_some_and(|c| offends(c, address)));
        if !watch.is_early || window.early.is_some() {
            return true;
        }
        let Some(judged) = &watch.judged else { return true };
        let Some(judgement) = judge(&judged.behavior, window).filter(|found| found.violates) else {
            return true;
        };
        window.early = Some(judgement.magnitude);
        let window = window.clone();
        // Datapoints are judged in the order of their windows. An earlier window that still waits
        // for stragglers would otherwise clear, at its end, the alarm that is raised now.
        self.close(scope, watch, place, start, sink);
        let state = &mut self.states[place];
        state.from = state.from.max(start);
        let basis = Basis::Early { window: &window, part };
        let occasion = Occasion { device: scope.name, judged, start, at, basis };
        self.settle(place, &occasion, judgement, sink);
        true
    }

    /// Judges everything that ended at `until` or before.
    pub(crate) fn advance(&mut self, scope: Scope<'_>, until: Timestamp, sink: &mut Sink) {
        let plan = Arc::clone(&self.plan.0);
        for (place, watch) in plan.watches.iter().enumerate() {
            match watch.metric {
                Metric::DisconnectDuration => self.tick(scope, watch, place, until, sink),
                Metric::MessageByteSize
                | Metric::MessagesSent
                | Metric::MessagesReceived
                | Metric::AuthorizationFailures
                | Metric::ConnectionAttempts
                | Metric::Disconnects
                | Metric::SourceIpAddress => self.close(scope, watch, place, until, sink),
            }
        }
    }

    /// Closes the windows of a watch that end at `until` or before, in order: those in which
    /// something was counted, and those that the device merely attended.
    fn close(
        &mut self,
        scope: Scope<'_>,
        watch: &Watch,
        place: usize,
        until: Timestamp,
        sink: &mut Sink,
    ) {
        let len = watch.len.as_millis();
        let number = number(place);
        let mut attended = self.first_attended(scope, watch, place, until);
        loop {
            let index = self.windows.partition_point(|open| open.watch < number);
            let open = self.windows.get(index).filter(|open| open.watch == number);
            let opened = open.map(|open| open.start);
            let Some(start) = opened.into_iter().chain(attended).min() else { return };
            if start + len > until {
                return;
            }
            let window = if opened == Some(start) {
                self.windows.remove(index)
            } else {
                Window::empty(number, watch.metric, start)
            };
            attended = attended.map(|next| next.max(start + len));
            self.close_window(scope, watch, place, &window, sink);
        }
    }

    fn close_window(
        &mut self,
        scope: Scope<'_>,
        watch: &Watch,
        place: usize,
        window: &Window,
        sink: &mut Sink,
    ) {
        let end = window.start + watch.len.as_millis();
        if watch.emits
            && let Some(value) = window.datapoint(watch.metric)
        {
            put_datapoint(scope, watch, place, end, value, sink);
        }
        let Some(judged) = &watch.judged else { return };
        let Some(judgement) = judge(&judged.behavior, window) else { return };
        let start = window.start;
        let basis = Basis::Window(window);
        match window.early {
            // The window's one datapoint was judged; what is left to say is that it went further.
            Some(magnitude) => {
                let started_at = self.states[place].alarm.started_at();
                if let Some(started_at) = started_at.filter(|_| judgement.magnitude != magnitude) {
                    let at = window.last_at(watch.len);
                    let occasion = Occasion { device: scope.name, judged, start, at, basis };
                    let continued = occasion.continued(started_at, judgement.value);
                    sink.put(end, place, continued);
                }
            }
            None if self.is_partial(place, start) => {}
            None => {
                let occasion = Occasion { device: scope.name, judged, start, at: end, basis };
                self.settle(place, &occasion, judgement, sink);
            }
        }
    }

    /// Judges how long the device has been away, at every tick up to `until`.
    ///
    /// A tick that fell into an absence which is over by now gives nothing: the device is back, and
    /// an alarm would be too late to be of use.
    fn tick(
        &mut self,
        scope: Scope<'_>,
        watch: &Watch,
        place: usize,
        until: Timestamp,
        sink: &mut Sink,
    ) {
        let Some(present_since) = self.present_since else { return };
        let len = watch.len.as_millis();
        let from = scope.watermark.max(self.states[place].from).max(present_since);
        let mut at = from.max(until - CATCH_UP_MS).floor(len) + len;
        while at <= until {
            let since = self.absent_since.filter(|since| *since <= at);
            let minutes = since.map_or(0, |since| at.millis_since(since).unsigned_abs() / 60_000);
            if watch.emits {
                put_datapoint(scope, watch, place, at, MetricValue::Count(minutes), sink);
            }
            if let Some(judged) = &watch.judged
                && let Some(judgement) = judge_number(&judged.behavior.criteria.comparison, minutes)
            {
                let basis = Basis::Absence { since };
                let occasion = Occasion { device: scope.name, judged, start: at - len, at, basis };
                self.settle(place, &occasion, judgement, sink);
            }
            at = at + len;
        }
    }

    /// Hands a datapoint's judgement to the alarm, and says what that changed.
    fn settle(
        &mut self,
        place: usize,
        occasion: &Occasion<'_>,
        judgement: Judgement,
        sink: &mut Sink,
    ) {
        let criteria = &occasion.judged.behavior.criteria;
        let state = &mut self.states[place];
        let (alarm, step) = state.alarm.judged(judgement.violates, occasion.at, criteria);
        if alarm != state.alarm {
            state.alarm = alarm;
            sink.note_change();
        }
        let verdict = match step {
            Step::Quiet => return,
            Step::Raised => occasion.event(occasion.at, Outcome::Raised, judgement.value),
            Step::Continued { started_at } => occasion.continued(started_at, judgement.value),
            Step::Cleared { started_at } => {
                occasion.event(started_at, Outcome::Cleared, judgement.value)
            }
        };
        sink.put(occasion.at, place, verdict);
    }
}

fn put_datapoint(
    scope: Scope<'_>,
    watch: &Watch,
    place: usize,
    at: Timestamp,
    value: MetricValue,
    sink: &mut Sink,
) {
    let datapoint = Datapoint { device: scope.name.clone(), metric: watch.metric, at, value };
    sink.put(at, place, Verdict::Datapoint(datapoint));
}

/// Place of a watch as windows store it. A plan has a few hundred watches at most.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
