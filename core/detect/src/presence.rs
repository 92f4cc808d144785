//! Presence: whether a device is connected, and since when.

use picket_model::Timestamp;

use crate::small::Moment;

/// Connections of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Connections that are open.
    pub(crate) connections: u32,
    /// When the present or else the last stay began: the first of its connections.
    since: Moment,
    /// When the last connection ended; none while one is open.
    absent_since: Moment,
}

impl Presence {
    /// Takes it as it was: see [`Presence::since`] and [`Presence::absent_since`].
    pub(crate) fn new(
        connections: u32,
        since: Option<Timestamp>,
        absent_since: Option<Timestamp>,
    ) -> Self {
        Self { connections, since: since.into(), absent_since: absent_since.into() }
    }

    /// When the present or else the last stay began: the first of its connections.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.since.get()
    }

    /// When the last connection ended; none while one is open.
    pub(crate) fn absent_since(&self) -> Option<Timestamp> {
        self.absent_since.get()
    }

    /// Notes that a connection began.
    pub(crate) fn connect(&mut self, at: Timestamp) {
        if self.connections == 0 {
            self.since = Some(at).into();
            self.absent_since = Moment::NONE;
        }
        self.connections = self.connections.saturating_add(1);
    }

    /// Notes that a connection ended.
    pub(crate) fn disconnect(&mut self, at: Timestamp) {
        if self.connections == 1 {
            self.absent_since = Some(self.since().map_or(at, |since| since.max(at))).into();
        }
        self.connections = self.connections.saturating_sub(1);
    }

    /// Forgets the connections: they ended when the server did, which is no fault of the device. It
    /// is away since `now` and not since a moment that nobody knows.
    pub(crate) fn lose(&mut self, now: Timestamp) {
        *self = Self::new(0, Some(now), Some(now));
    }

    /// Lets nothing have begun after `now`.
    pub(crate) fn turn_back(&mut self, now: Timestamp) {
        let not_after = |moment: Option<Timestamp>| moment.map(|moment| moment.min(now));
        *self =
            Self::new(self.connections, not_after(self.since()), not_after(self.absent_since()));
    }

    /// When the present stay began, if there is one.
    pub(crate) fn stay(&self) -> Option<Timestamp> {
        self.since().filter(|_| self.connections > 0)
    }

    /// When the stay began in which the device was connected at `at`, as far as is known: only the
    /// last stay is.
    pub(crate) fn stay_at(&self, at: Timestamp) -> Option<Timestamp> {
        let was_open = self.connections > 0 || self.absent_since().is_some_and(|since| since > at);
        self.since().filter(|since| was_open && *since <= at)
    }
}
