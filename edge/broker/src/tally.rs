//! Tallies: what a session's device did, folded into a few numbers per second.
//!
//! A device may send thousands of messages a second. The engine needs to know how many and how
//! large, not each one, so a session counts in plain integers and hands on one [`Observation`] per
//! kind of fact and second. What crosses a tripwire is handed on at once.

use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{Denied, DeviceName, Fact, Observation, Published, Timestamp};
use picket_policy::Action;

use crate::tripwires::Wires;

/// Length of the period whose facts are folded together.
const FOLD_MS: i64 = 1000;

/// Whether a tally has to be flushed now, or can wait until [`Tally::due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a tally that is not flushed when it asks for it delays an alarm"]
pub enum Flush {
    /// A tripwire was crossed, or a second ended: call [`Tally::flush`] before the next message.
    Now,
    /// Nothing urgent.
    Later,
}

/// The facts of one session that were not handed on yet.
///
/// INVARIANT (one second): all facts in `published`, `received` and `denied` lie in the second that
/// starts at `second`. A fact of another second first moves them to `ended`.
#[derive(Debug)]
pub struct Tally {
    device: DeviceName,
    source: IpAddr,
    wires: Arc<Wires>,
    second: Timestamp,
    published: Option<Published>,
    received: Option<Received>,
    denied: Option<Denied>,
    /// Facts of seconds that are over, in order.
    ended: Vec<Observation>,
    /// Counts towards the tripwires, which are about windows longer than a second.
    sent_to_wire: ToWire,
    received_to_wire: ToWire,
    denied_to_wire: ToWire,
    bytes_tripped: bool,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    count: u64,
    last_at: Timestamp,
}

/// A count on its way to a tripwire.
///
/// The session does not know where windows begin, so it counts on over the seconds and starts
/// again after each crossing. A crossing too early costs one flush; one too late waits at most for
/// the end of its second.
#[derive(Clone, Copy, Debug, Default)]
struct ToWire {
    count: u64,
    /// One flush a second is enough: a flood must reach the engine as a trickle.
    has_tripped: bool,
}

impl Tally {
    /// Starts at nothing. `wires` are those of `device`.
    pub fn new(device: DeviceName, source: IpAddr, wires: Arc<Wires>) -> Self {
        Self {
            device,
            source,
            wires,
            second: Timestamp::EPOCH,
            published: None,
            received: None,
            denied: None,
            ended: Vec::new(),
            sent_to_wire: ToWire::default(),
            received_to_wire: ToWire::default(),
            denied_to_wire: ToWire::default(),
            bytes_tripped: false,
        }
    }

    /// Counts an accepted PUBLISH with a payload of so many bytes.
    ///
    /// Allocates only for the topic of a message that is larger than all others of its second.
    pub fn published(&mut self, now: Timestamp, bytes: u64, topic: &str) -> Flush {
        self.enter(now);
        match &mut self.published {
            None => {
                self.published = Some(Published {
                    count: 1,
                    bytes_total: bytes,
                    bytes_min: bytes,
                    bytes_max: bytes,
                    first_at: now,
                    last_at: now,
                    largest_topic: topic.into(),
                    source: self.source,
                });
            }
            Some(published) => {
                published.count += 1;
                published.bytes_total = published.bytes_total.saturating_add(bytes);
                published.bytes_min = published.bytes_min.min(bytes);
                published.last_at = now;
                if bytes > published.bytes_max {
                    published.bytes_max = bytes;
                    if *published.largest_topic != *topic {
                        published.largest_topic = topic.into();
                    }
                }
            }
        }
        let mut tripped = self.sent_to_wire.add(1, |count| self.wires.trips_on_sent(count));
        if !self.bytes_tripped && self.wires.trips_on_bytes(bytes) {
            self.bytes_tripped = true;
            tripped = true;
        }
        self.urgency(tripped)
    }

    /// Counts messages delivered to the device.
    pub fn received(&mut self, now: Timestamp, count: u64) -> Flush {
        if count == 0 {
            return Flush::Later;
        }
        self.enter(now);
        let before = self.received.map_or(0, |received| received.count);
        self.received = Some(Received { count: before.saturating_add(count), last_at: now });
        let tripped = self.received_to_wire.add(count, |count| self.wires.trips_on_received(count));
        self.urgency(tripped)
    }

    /// Counts a request that the policies denied; `resource` is its topic, filter or client id.
    pub fn denied(&mut self, now: Timestamp, action: Action, resource: &str) -> Flush {
        self.enter(now);
        let last_action = action.as_str();
        match &mut self.denied {
            None => {
                self.denied = Some(Denied {
                    count: 1,
                    first_at: now,
                    last_at: now,
                    last_action,
                    last_resource: resource.into(),
                });
            }
            Some(denied) => {
                denied.count += 1;
                denied.last_at = now;
                denied.last_action = last_action;
                if *denied.last_resource != *resource {
                    denied.last_resource = resource.into();
                }
            }
        }
        let tripped = self.denied_to_wire.add(1, |count| self.wires.trips_on_denied(count));
        self.urgency(tripped)
    }

    /// When what was counted has to be flushed at the latest; `None` if there is nothing.
    ///
    /// That is the end of the second, or the past if facts of an ended one are still here.
    pub fn due(&self) -> Option<Timestamp> {
        if !self.ended.is_empty() {
            return Some(self.second);
        }
        let is_empty = self.published.is_none() && self.received.is_none() && self.denied.is_none();
        (!is_empty).then(|| self.second.plus_millis(FOLD_MS))
    }

    /// Takes out everything, oldest first. What the caller does not take from the iterator is lost.
    pub fn flush(&mut self) -> impl Iterator<Item = Observation> + use<> {
        self.end_second();
        std::mem::take(&mut self.ended).into_iter()
    }

    /// Counts for another device from here on: the registry learned whose connection this is.
    pub fn recount_for(&mut self, device: DeviceName, wires: Arc<Wires>) {
        if device == self.device {
            return;
        }
        self.end_second();
        self.device = device;
        self.wires = wires;
        self.sent_to_wire = ToWire::default();
        self.received_to_wire = ToWire::default();
        self.denied_to_wire = ToWire::default();
        self.bytes_tripped = false;
    }

    /// INVARIANT (one second): kept here.
    fn enter(&mut self, now: Timestamp) {
        let second = now.floor(FOLD_MS);
        if second == self.second {
            return;
        }
        self.end_second();
        self.second = second;
        self.bytes_tripped = false;
        for wire in [&mut self.sent_to_wire, &mut self.received_to_wire, &mut self.denied_to_wire] {
            wire.has_tripped = false;
        }
    }

    /// Moves the counts of the second to `ended`.
    fn end_second(&mut self) {
        let published = self.published.take().map(|p| (p.last_at, Fact::Published(p)));
        let received = self.received.take().map(|r| (r.last_at, Fact::Received { count: r.count }));
        let denied = self.denied.take().map(|d| (d.last_at, Fact::Denied(d)));
        let mut facts = [published, received, denied];
        facts.sort_by_key(|fact| fact.as_ref().map(|(at, _)| *at));
        let device = &self.device;
        let observations = facts.into_iter().flatten().map(|(at, fact)| Observation {
            at,
            device: device.clone(),
            fact,
        });
        self.ended.extend(observations);
    }

    /// Everything is urgent until the tripwires are known: a device that connects and sends its
    /// worst at once must not gain a second by it.
    fn urgency(&self, tripped: bool) -> Flush {
        let is_urgent = tripped || !self.ended.is_empty() || !self.wires.are_known();
        if is_urgent { Flush::Now } else { Flush::Later }
    }
}

impl ToWire {
    /// Counts on, and says whether the tripwire was crossed for the first time in this second.
    fn add(&mut self, count: u64, trips: impl Fn(u64) -> bool) -> bool {
        self.count = self.count.saturating_add(count);
        if !trips(self.count) {
            return false;
        }
        self.count = 0;
        !std::mem::replace(&mut self.has_tripped, true)
    }
}

#[cfg(test)]
mod tests;
