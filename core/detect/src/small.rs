//! Small forms of what most devices have none of: a million devices are in memory.

use picket_model::Timestamp;

/// A moment that may not be there, in the eight bytes of one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(i64);

impl Moment {
    /// None.
    pub(crate) const NONE: Moment = Moment(i64::MIN);

    /// The moment, if it is there.
    pub(crate) const fn get(self) -> Option<Timestamp> {
        if self.0 == i64::MIN { None } else { Some(Timestamp::from_millis(self.0)) }
    }
}

impl Default for Moment {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Option<Timestamp>> for Moment {
    fn from(moment: Option<Timestamp>) -> Self {
        moment.map_or(Self::NONE, |moment| Self(moment.as_millis()))
    }
}

/// A list that is mostly empty, in one word while it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RareList<T>(Option<Box<List<T>>>);

/// A list in a box of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List<T>(Vec<T>);

impl<T> RareList<T> {
    /// The elements.
    pub(crate) fn as_slice(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |list| &list.0)
    }

    /// The elements, to be changed in their places.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        self.0.as_mut().map_or(&mut [], |list| &mut list.0)
    }

    /// Puts an element at a place up to the length.
    pub(crate) fn insert(&mut self, place: usize, element: T) {
        let List(list) = &mut **self.0.get_or_insert_with(|| Box::new(List(Vec::new())));
        list.reserve_exact(1);
        list.insert(place.min(list.len()), element);
    }

    /// Takes the element at a place out, if there is one.
    pub(crate) fn remove(&mut self, place: usize) {
        if let Some(list) = &mut self.0
            && place < list.0.len()
        {
            list.0.remove(place);
            if list.0.is_empty() {
                self.0 = None;
            }
        }
    }
}

impl<T> Default for RareList<T> {
    fn default() -> Self {
        Self(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_takes_one_word() {
        assert_eq!(size_of::<RareList<u64>>(), 8);
        assert_eq!(Moment::default().get(), None);
        let moment = Some(Timestamp::from_millis(-7));
        assert_eq!(Moment::from(moment).get(), moment);
        let mut list = RareList::default();
        for element in [3, 1, 2] {
            list.insert(0, element);
        }
        list.remove(1);
        list.remove(7);
        assert_eq!(list.as_slice(), [2, 3]);
        list.remove(0);
        list.remove(0);
        assert_eq!(list, RareList::default());
    }
}
