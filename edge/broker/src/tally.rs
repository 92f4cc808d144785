//! Tallies: what a session's device did, folded into a few numbers per second.
//!
//! A device may send thousands of messages a second. The engine needs to know how many and how
//! large, not each one, so a session counts in plain integers and hands on one [`Observation`] per
//! kind of fact and second. What crosses a tripwire is handed on at once.
//!
//! What behaviors with a dimension look at is told again, slice by slice, right after the whole of
//! its kind.

use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{DeviceName, Observation, Timestamp};
use picket_mqtt::TopicName;
use picket_policy::Action;

use self::counts::Counts;
use self::sliced::Sliced;
use self::to_wires::ToWires;
use crate::slices::{SliceMask, SliceSet};
use crate::tripwires::Wires;

mod counts;
mod sliced;
mod to_wires;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_sliced;

/// Length of the period whose facts are folded together.
const FOLD_MS: i64 = 1000;

/// Whether a tally has to be flushed now, or can wait until [`Tally::due`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a tally that is not flushed when it asks for it delays an alarm"]
pub(crate) enum Flush {
    /// A tripwire was crossed, or a second ended: call [`Tally::flush`] before the next message.
    Now,
    /// Nothing urgent.
    Later,
}

/// The facts of one session that were not handed on yet.
///
/// INVARIANT (one second): all facts in `whole` and `sliced` lie in the second that starts at
/// `second`. A fact of another second first moves them to `ended`.
#[derive(Debug)]
pub(crate) struct Tally {
    device: DeviceName,
    source: IpAddr,
    wires: Arc<Wires>,
    second: Timestamp,
    /// Only while there is something in it: most connections are idle in most seconds.
    whole: Option<Box<Counts>>,
    to_wires: ToWires,
    sliced: Sliced,
    /// Facts of seconds that are over, in order.
    ended: Vec<Observation>,
}

impl Tally {
    /// Starts at nothing. `wires` are those of `device`.
    pub(crate) fn new(
        device: DeviceName,
        source: IpAddr,
        wires: Arc<Wires>,
        slices: Arc<SliceSet>,
    ) -> Self {
        Self {
            device,
            source,
            wires,
            second: Timestamp::EPOCH,
            whole: None,
            to_wires: ToWires::default(),
            sliced: Sliced::new(slices),
            ended: Vec::new(),
        }
    }

    /// The address that everything counted comes from.
    pub(crate) const fn source(&self) -> IpAddr {
        self.source
    }

    /// The slices that are told apart: masks are of this set.
    pub(crate) const fn slices(&self) -> &Arc<SliceSet> {
        self.sliced.set()
    }

    /// Counts an accepted PUBLISH with a payload of so many bytes.
    pub(crate) fn published(
        &mut self,
        now: Timestamp,
        bytes: u64,
        topic: &TopicName,
        slices: SliceMask,
    ) -> Flush {
        self.enter(now);
        let source = self.source;
        self.whole.get_or_insert_default().published(now, bytes, topic, source);
        let mut tripped = self.to_wires.sent(bytes, &self.wires.get());
        if !slices.is_empty() {
            tripped |= self.sliced.add(slices, &self.wires, |counts, to_wires, limits| {
                counts.published(now, bytes, topic, source);
                to_wires.sent(bytes, limits)
            });
        }
        self.urgency(tripped)
    }

    /// Counts messages delivered to the device, all of the same slices.
    pub(crate) fn received(&mut self, now: Timestamp, count: u64, slices: SliceMask) -> Flush {
        if count == 0 {
            return Flush::Later;
        }
        self.enter(now);
        self.whole.get_or_insert_default().received(now, count);
        let mut tripped = self.to_wires.received(count, &self.wires.get());
        if !slices.is_empty() {
            tripped |= self.sliced.add(slices, &self.wires, |counts, to_wires, limits| {
                counts.received(now, count);
                to_wires.received(count, limits)
            });
        }
        self.urgency(tripped)
    }

    /// Counts a request that the policies denied; `resource` is its topic, filter or client id.
    pub(crate) fn denied(
        &mut self,
        now: Timestamp,
        action: Action,
        resource: &str,
        slices: SliceMask,
    ) -> Flush {
        self.enter(now);
        let whole = self.whole.get_or_insert_default();
        let resource = whole.last_denied(resource).unwrap_or_else(|| resource.into());
        whole.denied(now, action, &resource);
        let mut tripped = self.to_wires.denied(&self.wires.get());
        if !slices.is_empty() {
            tripped |= self.sliced.add(slices, &self.wires, |counts, to_wires, limits| {
                counts.denied(now, action, &resource);
                to_wires.denied(limits)
            });
        }
        self.urgency(tripped)
    }

    /// When what was counted has to be flushed at the latest; `None` if there is nothing.
    ///
    /// That is the end of the second, or the past if facts of an ended one are still here.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        if !self.ended.is_empty() {
            return Some(self.second);
        }
        self.whole.as_ref().map(|_| self.second.plus_millis(FOLD_MS))
    }

    /// Takes out everything, oldest first; of one second and kind the whole before its slices. What
    /// the caller does not take from the iterator is lost.
    pub(crate) fn flush(&mut self) -> impl Iterator<Item = Observation> + use<> {
        self.end_second();
        std::mem::take(&mut self.ended).into_iter()
    }

    /// Counts for another device from here on: the registry learned whose connection this is.
    pub(crate) fn recount_for(&mut self, device: DeviceName, wires: Arc<Wires>) {
        if device == self.device {
            return;
        }
        self.end_second();
        self.device = device;
        self.wires = wires;
        self.to_wires = ToWires::default();
        self.sliced.forget();
    }

    /// Tells other slices apart from here on. What was counted is told under the old ones.
    pub(crate) fn slice_by(&mut self, slices: Arc<SliceSet>) {
        self.end_second();
        self.sliced = Sliced::new(slices);
    }

    /// INVARIANT (one second): kept here.
    fn enter(&mut self, now: Timestamp) {
        let second = now.floor(FOLD_MS);
        if second == self.second {
            return;
        }
        self.end_second();
        self.second = second;
        self.to_wires.next_second();
        self.sliced.next_second();
    }

    /// Moves the counts of the second to `ended`.
    fn end_second(&mut self) {
        let Some(mut whole) = self.whole.take() else { return };
        let device = &self.device;
        let mut sliced = self.sliced.take();
        let mut kinds = [0, 1, 2];
        let mut whole = whole.take();
        kinds.sort_by_key(|&kind| whole[kind].as_ref().map(|(at, _)| *at));
        for kind in kinds {
            let whole = whole[kind].take().map(|fact| (None, fact));
            let slices = sliced.iter_mut().filter_map(|(dimension, facts)| {
                Some((Some(Arc::clone(dimension)), facts[kind].take()?))
            });
            let told = whole.into_iter().chain(slices);
            self.ended.extend(told.map(|(slice, (at, fact))| Observation {
                at,
                device: device.clone(),
                slice,
                fact,
            }));
        }
    }

    /// Everything is urgent until the tripwires are known: a device that connects and sends its
    /// worst at once must not gain a second by it.
    fn urgency(&self, tripped: bool) -> Flush {
        let is_urgent = tripped || !self.ended.is_empty() || !self.wires.are_known();
        if is_urgent { Flush::Now } else { Flush::Later }
    }
}
