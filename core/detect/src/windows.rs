//! Windows: what was counted of one device in one period of the clock.
//!
//! A million devices have a few open windows each, so a window that only counts takes 24 bytes and
//! no allocation of its own.

use std::net::IpAddr;

use picket_model::{Evidence, Timestamp, WindowLen};

use crate::series::Counted;
use crate::tally::{Addresses, Denials, Messages, Part, Span, Tally};

/// An open window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Whom it counts for: see [`Counter`].
    pub(crate) counter: Counter,
    /// Which one it is: see [`number_of`].
    pub(crate) number: u32,
    /// What was counted.
    pub(crate) tally: Tally,
}

/// Whom a window counts for, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counter(u32);

/// Whom a window counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountsFor {
    /// All watches of a series, by its place in the plan.
    Series(u32),
    /// A single watch, by its place in the plan, that began in the middle of the window and must
    /// not know what came before.
    Watch(u32),
}

impl Counter {
    /// Of a series, by its place in the plan.
    pub(crate) const fn series(place: u32) -> Self {
        Self(place << 1)
    }

    /// Of a single watch, by its place in the plan.
    pub(crate) const fn watch(place: u32) -> Self {
        Self(place << 1 | 1)
    }

    /// What it was made of.
    pub(crate) const fn counts_for(self) -> CountsFor {
        match self.0 & 1 {
            0 => CountsFor::Series(self.0 >> 1),
            _ => CountsFor::Watch(self.0 >> 1),
        }
    }
}

/// The number of the window that a moment lies in: how many windows of its length the epoch is ago.
/// `None` before the epoch, and so far in the future (the year 2650) that no clock says so.
pub(crate) fn number_of(at: Timestamp, len: WindowLen) -> Option<u32> {
    let number = u32::try_from(at.as_millis().div_euclid(len.as_millis())).ok();
    // There is always a next one.
    number.filter(|number| *number < u32::MAX)
}

/// Start of a window.
pub(crate) fn start_of(number: u32, len: WindowLen) -> Timestamp {
    Timestamp::from_millis(i64::from(number) * len.as_millis())
}

/// The open windows of a device, by counter and number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Windows(Vec<Window>);

impl Windows {
    /// The window, if it is open.
    pub(crate) fn get(&self, counter: Counter, number: u32) -> Option<&Tally> {
        self.find(counter, number).ok().map(|index| &self.0[index].tally)
    }

    /// The window, opened if need be.
    pub(crate) fn open(&mut self, counter: Counter, number: u32, counted: &Counted) -> &mut Tally {
        let index = self.find(counter, number).unwrap_or_else(|index| {
            // One at a time: the number of windows of a device hardly changes once all are open.
            self.0.reserve_exact(1);
            self.0.insert(index, Window { counter, number, tally: Tally::empty(counted) });
            index
        });
        &mut self.0[index].tally
    }

    /// The first open window with this counter and a number from `from` up.
    pub(crate) fn first_from(&self, counter: Counter, from: u32) -> Option<u32> {
        let index = match self.find(counter, from) {
            Ok(index) | Err(index) => index,
        };
        self.0.get(index).filter(|open| open.counter == counter).map(|open| open.number)
    }

    /// All open windows.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Window> {
        self.0.iter()
    }

    /// Closes every window that `ended` says has.
    pub(crate) fn close(&mut self, ended: impl Fn(&Window) -> bool) {
        self.0.retain(|open| !ended(open));
    }

    /// Gives every window the counter that it has in another plan, and closes those that have none.
    pub(crate) fn renumber(&mut self, counter: impl Fn(CountsFor) -> Option<Counter>) {
        let moved = std::mem::take(&mut self.0).into_iter().filter_map(|open| {
            counter(open.counter.counts_for()).map(|counter| Window { counter, ..open })
        });
        *self = moved.collect();
    }

    fn find(&self, counter: Counter, number: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&(counter, number), |open| (open.counter, open.number))
    }
}

impl FromIterator<Window> for Windows {
    /// Of windows that are the same the first is kept.
    fn from_iter<T: IntoIterator<Item = Window>>(windows: T) -> Self {
        let mut windows: Vec<_> = windows.into_iter().collect();
        windows.sort_by_key(|open| (open.counter, open.number));
        windows.dedup_by_key(|open| (open.counter, open.number));
        Self(windows)
    }
}

impl Tally {
    /// Counts `part` in, in the window that starts at `start`. `offends` says of an address whether
    /// it is outside the normal.
    pub(crate) fn add(
        &mut self,
        start: Timestamp,
        part: Part<'_>,
        offends: impl Fn(&IpAddr) -> bool,
    ) {
        match (self, part) {
            (Self::Count { count, first, last }, Part::Count(n, at)) => {
                let mut span = Span { count: *count, first: *first, last: *last };
                span.add(start, n, at, at);
                (*count, *first, *last) = (span.count, span.first, span.last);
            }
            (Self::Messages(messages), Part::Messages(published)) => {
                messages.add(start, published);
            }
            (Self::Denials(denials), Part::Denials(denied)) => denials.add(start, denied),
            (Self::Addresses(addresses), Part::Address(address)) => {
                addresses.add(address, offends);
            }
            (Self::Total(total), Part::Increment(increment)) => {
                *total = total.saturating_add(increment);
            }
            (Self::Last(last), Part::Gauge(quantity)) => *last = Some(quantity),
            // The kind of the tally and of the part both follow from the series.
            (
                Self::Count { .. }
                | Self::Messages(_)
                | Self::Denials(_)
                | Self::Addresses(_)
                | Self::Total(_)
                | Self::Last(_),
                Part::Count(..)
                | Part::Messages(_)
                | Part::Denials(_)
                | Part::Address(_)
                | Part::Increment(_)
                | Part::Gauge(_),
            ) => {}
        }
    }

    /// A window in which nothing was counted.
    pub(crate) fn empty(counted: &Counted) -> Self {
        match counted {
            Counted::Messages => Self::Messages(Box::default()),
            Counted::Denials => Self::Denials(Box::default()),
            Counted::Addresses => Self::Addresses(Box::default()),
            Counted::Deliveries | Counted::Attempts | Counted::Disconnects => {
                let Span { count, first, last } = Span::default();
                Self::Count { count, first, last }
            }
            Counted::Increments(_) => Self::Total(0),
            Counted::Gauge(_) => Self::Last(None),
        }
    }

    /// How many were counted, and when; nothing where the tally keeps no moments.
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Count { count, first, last } => {
                Span { count: *count, first: *first, last: *last }
            }
            Self::Messages(messages) => messages.span,
            Self::Denials(denials) => denials.span,
            Self::Addresses(_) | Self::Total(_) | Self::Last(_) => Span::default(),
        }
    }

    /// What a judgement of the window that starts at `start` rests on.
    pub(crate) fn evidence(&self, start: Timestamp) -> Evidence {
        match self {
            Self::Count { .. } => self.span().evidence(start),
            Self::Messages(messages) => messages.evidence(start),
            Self::Denials(denials) => denials.evidence(start),
            Self::Addresses(addresses) => Evidence::Addresses(addresses.list().to_vec()),
            Self::Total(_) | Self::Last(_) => Evidence::Nothing,
        }
    }
}

/// Whether a tally is one of what is counted.
pub(crate) fn fits(tally: &Tally, counted: &Counted) -> bool {
    std::mem::discriminant(tally) == std::mem::discriminant(&Tally::empty(counted))
}

/// Sizes that the figures of docs/performance.md rest on.
const _: () = {
    assert!(size_of::<Tally>() == 16);
    assert!(size_of::<Window>() == 24);
    assert!(size_of::<Messages>() <= 48);
    assert!(size_of::<Denials>() <= 64);
    assert!(size_of::<Addresses>() == 24);
};
