//! Marks: what is remarkable about the watches of a device.
//!
//! Most devices behave, and most watches had their device's whole life in view: then there is
//! nothing to keep. So states are kept only of watches where there is something to say, which costs
//! a device that behaves nothing.

use picket_model::Timestamp;

use crate::alarm::Alarm;
use crate::small::RareList;

/// State of one watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchState {
    /// Counts only what happened at this moment or later: when the watch began, or the start of a
    /// window that was judged early, as windows are judged in order. The epoch once it is so long
    /// ago that it makes no difference.
    pub(crate) from: Timestamp,
    /// The alarm; stays fresh for a metric that is only retained.
    pub(crate) alarm: Alarm,
    /// The window that was judged before its end, if one was that has not ended yet.
    pub(crate) early: Option<Early>,
}

/// A window that was judged before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Early {
    /// Its number: see [`crate::windows::number_of`].
    pub(crate) number: u32,
    /// How far from normal it was: see [`crate::judge::Judgement::magnitude`].
    pub(crate) magnitude: u64,
}

impl WatchState {
    /// A watch that has its device's whole life in view.
    pub(crate) const FRESH: WatchState =
        WatchState { from: Timestamp::EPOCH, alarm: Alarm::FRESH, early: None };

    /// A watch that begins after `now`, in the middle of things.
    pub(crate) fn beginning_after(now: Timestamp) -> Self {
        Self { from: now + 1, ..Self::FRESH }
    }

    /// The same watch with its alarm off.
    pub(crate) fn without_alarm(self) -> Self {
        Self { alarm: Alarm::FRESH, ..self }
    }
}

/// States of the watches of one device, by place in the plan; those that are fresh are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(RareList<(u32, WatchState)>);

impl Marks {
    /// Whether all watches are fresh.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    /// Whether a judgement changes nothing because all is well and was: by far the most do not.
    pub(crate) fn stay_fresh(&self, violates: bool) -> bool {
        !violates && self.is_empty()
    }

    /// State of a watch.
    pub(crate) fn get(&self, place: u32) -> WatchState {
        let marks = self.0.as_slice();
        if marks.is_empty() {
            return WatchState::FRESH;
        }
        match marks.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(index) => marks[index].1,
            Err(_) => WatchState::FRESH,
        }
    }

    /// Replaces the state of a watch.
    pub(crate) fn set(&mut self, place: u32, state: WatchState) {
        match self.0.as_slice().binary_search_by_key(&place, |(place, _)| *place) {
            Ok(index) if state == WatchState::FRESH => self.0.remove(index),
            Ok(index) => self.0.as_mut_slice()[index].1 = state,
            Err(_) if state == WatchState::FRESH => {}
            Err(index) => self.0.insert(index, (place, state)),
        }
    }

    /// Notes that the watch judged everything up to `until`: when it began makes no difference any
    /// more if that was before.
    pub(crate) fn settle_beginning(&mut self, place: u32, until: Timestamp) {
        let state = self.get(place);
        if state.from > Timestamp::EPOCH && state.from <= until {
            self.set(place, WatchState { from: Timestamp::EPOCH, ..state });
        }
    }

    /// All that are not fresh, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &WatchState)> {
        self.0.as_slice().iter().map(|(place, state)| (*place, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_watch_takes_no_room() {
        let begun = WatchState::beginning_after(Timestamp::from_secs(7));
        let mut marks = Marks::default();
        for place in [5, 1, 3] {
            marks.set(place, begun);
        }
        marks.set(3, WatchState::FRESH);
        marks.set(4, WatchState::FRESH);
        assert_eq!(marks.iter().map(|(place, _)| place).collect::<Vec<_>>(), [1, 5]);
        assert_eq!((marks.get(1), marks.get(3)), (begun, WatchState::FRESH));
        marks.settle_beginning(1, Timestamp::from_secs(7));
        assert_eq!(marks.get(1), begun);
        marks.settle_beginning(1, Timestamp::from_secs(8));
        marks.settle_beginning(5, Timestamp::from_secs(8));
        assert!(marks.is_empty());
    }
}
