//! Finds filters by name and names by filter, without looking at all of them.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::str::Split;

use crate::{TopicFilter, TopicName};

/// Levels of a name or a filter, left to right.
type Levels<'t> = Split<'t, char>;

/// Values kept under topic filters, several under one filter with different keys.
///
/// A look-up costs as much as the levels of the name and the filters that match it, whatever else is
/// kept. `$share/GROUP/` is not looked at: the caller keeps shared filters in a trie of their own.
#[derive(Clone, Debug)]
pub struct FilterTrie<K, V> {
    root: FilterNode<K, V>,
    len: usize,
    parent_matches: bool,
}

#[derive(Clone, Debug)]
struct FilterNode<K, V> {
    children: BTreeMap<Box<str>, FilterNode<K, V>>,
    /// The child of `+`.
    any: Option<Box<FilterNode<K, V>>>,
    /// Filters that end here.
    here: Entries<K, V>,
    /// Filters that end here with `#`.
    below: Entries<K, V>,
}

/// The values under one filter.
///
/// Most filters are one client's alone, and a tree takes as much memory for one value as for eleven.
#[derive(Clone, Debug)]
struct Entries<K, V> {
    /// The one that was there first, as long as it is there.
    first: Option<Box<(K, V)>>,
    /// All others, as long as there are any.
    #[expect(clippy::box_collection, reason = "where there is none, a pointer is all it takes")]
    rest: Option<Box<BTreeMap<K, V>>>,
}

impl<K, V> Default for FilterNode<K, V> {
    fn default() -> Self {
        let (here, below) = Default::default();
        Self { children: BTreeMap::new(), any: None, here, below }
    }
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self { first: None, rest: None }
    }
}

impl<K: Ord, V> Entries<K, V> {
    fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    fn get(&self, key: &K) -> Option<&V> {
        match self.first.as_deref() {
            Some((first, value)) if first == key => Some(value),
            _ => self.rest.as_ref()?.get(key),
        }
    }

    /// The value under a key, made if it is missing.
    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.is_empty() {
            return &mut self.first.insert(Box::new((key, make()))).1;
        }
        match self.first.as_deref_mut() {
            Some((first, value)) if *first == key => value,
            _ => self.rest.get_or_insert_default().entry(key).or_insert_with(make),
        }
    }

    /// Keeps a value; returns the one that it replaces.
    fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.is_empty() {
            self.first = Some(Box::new((key, value)));
            return None;
        }
        match self.first.as_deref_mut() {
            Some((first, before)) if *first == key => Some(std::mem::replace(before, value)),
            _ => self.rest.get_or_insert_default().insert(key, value),
        }
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        if let Some(first) = self.first.take_if(|first| first.0 == *key) {
            return Some(first.1);
        }
        let removed = self.rest.as_mut()?.remove(key);
        self.rest.take_if(|rest| rest.is_empty());
        removed
    }

    fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let rest = self.rest.iter().flat_map(|rest| rest.iter());
        self.first.iter().map(|first| (&first.0, &first.1)).chain(rest)
    }
}

impl<K, V> Default for FilterTrie<K, V> {
    fn default() -> Self {
        Self { root: FilterNode::default(), len: 0, parent_matches: true }
    }
}

impl<K: Ord, V> FilterTrie<K, V> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one; says whether `a/#` matches `a`, as in [`TopicFilter::matches_with`].
    pub fn with(parent_matches: bool) -> Self {
        Self { parent_matches, ..Self::default() }
    }

    /// How many values there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps a value; returns the one that it replaces.
    pub fn insert(&mut self, filter: &TopicFilter, key: K, value: V) -> Option<V> {
        let replaced = self.root.descend(filter).insert(key, value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// The value under a filter and key, made if it is missing.
    pub fn entry(&mut self, filter: &TopicFilter, key: K) -> &mut V
    where
        V: Default,
    {
        let len = &mut self.len;
        self.root.descend(filter).entry(key, || {
            *len += 1;
            V::default()
        })
    }

    /// The value under a filter and key.
    pub fn get(&self, filter: &TopicFilter, key: &K) -> Option<&V> {
        let mut node = &self.root;
        for level in filter.levels() {
            node = match level {
                "#" => return node.below.get(key),
                "+" => node.any.as_deref()?,
                _ => node.children.get(level)?,
            };
        }
        node.here.get(key)
    }

    /// Forgets a value and returns it.
    pub fn remove(&mut self, filter: &TopicFilter, key: &K) -> Option<V> {
        let removed = self.root.remove(&mut filter.levels(), key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Gives every value whose filter matches to `found`, in no order that means anything.
    pub fn matching<'a>(&'a self, name: &TopicName, mut found: impl FnMut(&'a K, &'a V)) {
        // [MQTT-4.7.2-1]
        self.root.matching(name.levels(), name.is_hidden(), self.parent_matches, &mut found);
    }

    /// Gives every value whose filter covers another one, that is, matches whatever the other
    /// matches, to `found`, in no order that means anything.
    ///
    /// Level by level: `+/#` is not said to cover `#`, though there is no name between them.
    pub fn covering<'a>(&'a self, filter: &TopicFilter, mut found: impl FnMut(&'a K, &'a V)) {
        let is_hidden = filter.filter().starts_with('$');
        self.root.matching(filter.levels(), is_hidden, self.parent_matches, &mut found);
    }
}

impl<K: Ord, V> FilterNode<K, V> {
    fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.any.is_none()
            && self.here.is_empty()
            && self.below.is_empty()
    }

    /// The entries of a filter; the way to them is made.
    fn descend(&mut self, filter: &TopicFilter) -> &mut Entries<K, V> {
        let mut node = self;
        for level in filter.levels() {
            match level {
                "#" => return &mut node.below,
                "+" => node = node.any.get_or_insert_default(),
                _ => node = node.children.entry(level.into()).or_default(),
            }
        }
        &mut node.here
    }

    fn remove<'l>(&mut self, levels: &mut impl Iterator<Item = &'l str>, key: &K) -> Option<V> {
        match levels.next() {
            None => self.here.remove(key),
            Some("#") => self.below.remove(key),
            Some("+") => {
                let child = self.any.as_mut()?;
                let removed = child.remove(levels, key);
                if child.is_empty() {
                    self.any = None;
                }
                removed
            }
            Some(level) => {
                let child = self.children.get_mut(level)?;
                let removed = child.remove(levels, key);
                if child.is_empty() {
                    self.children.remove(level);
                }
                removed
            }
        }
    }

    /// The levels are those of a name, or of a filter that is to be covered.
    fn matching<'a>(
        &'a self,
        mut levels: Levels<'_>,
        wildcards_are_blind: bool,
        parent_matches: bool,
        found: &mut impl FnMut(&'a K, &'a V),
    ) {
        let level = levels.next();
        if !wildcards_are_blind && (parent_matches || level.is_some()) {
            self.below.iter().for_each(|(key, value)| found(key, value));
        }
        let Some(level) = level else {
            self.here.iter().for_each(|(key, value)| found(key, value));
            return;
        };
        if let Some(child) = self.children.get(level) {
            child.matching(levels.clone(), false, parent_matches, found);
        }
        // What stands for any number of levels is covered only by its like, found above.
        if let Some(any) = &self.any
            && !wildcards_are_blind
            && level != "#"
        {
            any.matching(levels, false, parent_matches, found);
        }
    }
}

/// Values kept under topic names, one each: retained messages.
#[derive(Clone, Debug)]
pub struct NameTrie<V> {
    root: NameNode<V>,
    len: usize,
}

#[derive(Clone, Debug)]
struct NameNode<V> {
    children: BTreeMap<Box<str>, NameNode<V>>,
    here: Option<V>,
}

impl<V> Default for NameNode<V> {
    fn default() -> Self {
        Self { children: BTreeMap::new(), here: None }
    }
}

impl<V> Default for NameTrie<V> {
    fn default() -> Self {
        Self { root: NameNode::default(), len: 0 }
    }
}

impl<V> NameTrie<V> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many values there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps a value; returns the one that it replaces.
    pub fn insert(&mut self, name: &TopicName, value: V) -> Option<V> {
        let mut node = &mut self.root;
        for level in name.levels() {
            node = node.children.entry(level.into()).or_default();
        }
        let replaced = node.here.replace(value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// The value of a name.
    pub fn get(&self, name: &TopicName) -> Option<&V> {
        let mut node = &self.root;
        for level in name.levels() {
            node = node.children.get(level)?;
        }
        node.here.as_ref()
    }

    /// Forgets a value and returns it.
    pub fn remove(&mut self, name: &TopicName) -> Option<V> {
        let removed = self.root.remove(&mut name.levels());
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Gives the values whose names match to `found`, ordered by levels, until it breaks off. With
    /// `after`, only those behind that name, whether it is there or not.
    ///
    /// Beginning in the middle costs no more than beginning at the front.
    pub fn matching<'a>(
        &'a self,
        filter: &TopicFilter,
        after: Option<&TopicName>,
        mut found: impl FnMut(&'a V) -> ControlFlow<()>,
    ) {
        let after = after.map(TopicName::levels);
        // Whether it broke off is the caller's to know.
        let _ = self.root.matching(filter.levels(), after, true, &mut found);
    }

    /// Gives the values of all names, hidden ones too, in the same order and manner.
    pub fn after<'a>(
        &'a self,
        after: Option<&TopicName>,
        mut found: impl FnMut(&'a V) -> ControlFlow<()>,
    ) {
        let after = after.map(TopicName::levels);
        // Whether it broke off is the caller's to know.
        let _ = self.root.all(after, false, &mut found);
    }

    /// Forgets every value that `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        self.root.retain(&mut |value| {
            let kept = keep(value);
            self.len -= usize::from(!kept);
            kept
        });
    }
}

impl<V> NameNode<V> {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.here.is_none()
    }

    fn remove<'l>(&mut self, levels: &mut impl Iterator<Item = &'l str>) -> Option<V> {
        let Some(level) = levels.next() else { return self.here.take() };
        let child = self.children.get_mut(level)?;
        let removed = child.remove(levels);
        if child.is_empty() {
            self.children.remove(level);
        }
        removed
    }

    /// `after` is there where the way to this node is the beginning of the name that the search
    /// begins behind: its levels that follow.
    fn matching<'a>(
        &'a self,
        mut levels: Levels<'_>,
        after: Option<Levels<'_>>,
        is_first: bool,
        found: &mut impl FnMut(&'a V) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match levels.next() {
            None if after.is_none() => self.here.iter().try_for_each(found),
            None => ControlFlow::Continue(()),
            Some("#") => self.all(after, is_first, found),
            Some("+") => {
                let mut children = self.children_after(after, is_first);
                children.try_for_each(|(child, after)| {
                    child.matching(levels.clone(), after, false, found)
                })
            }
            Some(level) => {
                let Some(child) = self.children.get(level) else {
                    return ControlFlow::Continue(());
                };
                let Some(mut after) = after else {
                    return child.matching(levels, None, false, found);
                };
                match after.next() {
                    Some(first) if level < first => ControlFlow::Continue(()),
                    Some(first) if level == first => {
                        child.matching(levels, Some(after), false, found)
                    }
                    Some(_) | None => child.matching(levels, None, false, found),
                }
            }
        }
    }

    fn all<'a>(
        &'a self,
        after: Option<Levels<'_>>,
        is_first: bool,
        found: &mut impl FnMut(&'a V) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if after.is_none() {
            self.here.iter().try_for_each(&mut *found)?;
        }
        let mut children = self.children_after(after, is_first);
        children.try_for_each(|(child, after)| child.all(after, false, found))
    }

    /// The children that a search behind a name has to see, each with the levels that are left of
    /// that name.
    fn children_after<'a, 'n>(
        &'a self,
        after: Option<Levels<'n>>,
        is_first: bool,
    ) -> impl Iterator<Item = (&'a Self, Option<Levels<'n>>)> {
        let mut after = after;
        let first = after.as_mut().and_then(Iterator::next);
        let from = first.map_or(Bound::Unbounded, Bound::Included);
        // [MQTT-4.7.2-1]
        let is_seen = move |level: &str| !(is_first && level.starts_with('$'));
        let children = self.children.range::<str, _>((from, Bound::Unbounded));
        children.filter(move |(level, _)| is_seen(level)).map(move |(level, child)| {
            let is_on_the_way = first.is_some_and(|first| **level == *first);
            (child, after.clone().filter(|_| is_on_the_way))
        })
    }

    fn retain(&mut self, keep: &mut impl FnMut(&V) -> bool) {
        if self.here.as_ref().is_some_and(|value| !keep(value)) {
            self.here = None;
        }
        self.children.retain(|_, child| {
            child.retain(keep);
            !child.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::TopicLimits;

    const LIMITS: TopicLimits = TopicLimits { bytes_max: 99, levels_max: 9 };

    fn name() -> impl Strategy<Value = TopicName> {
        vec(prop_oneof![4 => Just("a"), 4 => Just("b"), 1 => Just("$a"), 1 => Just("")], 1..4)
            .prop_filter_map("empty", |levels| TopicName::parse(&levels.join("/"), &LIMITS).ok())
    }

    fn filter() -> impl Strategy<Value = TopicFilter> {
        let level = prop_oneof![
            3 => Just("a"), 3 => Just("b"), 1 => Just("$a"), 1 => Just(""), 3 => Just("+"), 2 => Just("#")
        ];
        vec(level, 1..4).prop_filter_map("invalid", |levels| {
            TopicFilter::parse(&levels.join("/"), &LIMITS).ok()
        })
    }

    proptest! {
        #[test]
        fn a_filter_trie_finds_what_a_scan_finds(
            filters in vec((filter(), 0..3), 0..20),
            removed in vec(any::<prop::sample::Index>(), 0..10),
            names in vec(name(), 1..8),
            parent_matches in any::<bool>(),
        ) {
            let mut trie = FilterTrie::with(parent_matches);
            let mut naive = BTreeMap::new();
            for (index, (filter, key)) in filters.iter().enumerate() {
                let replaced = trie.insert(filter, *key, index);
                prop_assert_eq!(replaced, naive.insert((filter.clone(), *key), index));
            }
            for index in removed {
                if filters.is_empty() { continue }
                let (filter, key) = index.get(&filters);
                prop_assert_eq!(trie.remove(filter, key), naive.remove(&(filter.clone(), *key)));
            }
            prop_assert_eq!(trie.len(), naive.len());
            for (filter, key) in &filters {
                prop_assert_eq!(trie.get(filter, key), naive.get(&(filter.clone(), *key)));
            }
            for name in &names {
                let mut found = Vec::new();
                trie.matching(name, |key, value| found.push((*value, *key)));
                found.sort_unstable();
                let mut expected: Vec<_> = naive.iter()
                    .filter(|((filter, _), _)| filter.matches_with(name, parent_matches))
                    .map(|((_, key), value)| (*value, *key)).collect();
                expected.sort_unstable();
                prop_assert_eq!(found, expected, "{}", name);
            }
            for ((filter, key), _) in naive {
                trie.remove(&filter, &key);
            }
            prop_assert!(trie.root.is_empty(), "empty nodes are given back");
        }

        #[test]
        fn what_covers_a_filter_matches_all_that_it_matches(
            filters in vec(filter(), 0..20),
            covered in filter(),
            names in vec(name(), 1..8),
        ) {
            let mut trie = FilterTrie::new();
            for (key, filter) in filters.iter().enumerate() {
                trie.insert(filter, key, ());
            }
            let mut found = BTreeSet::new();
            trie.covering(&covered, |key, ()| { found.insert(*key); });
            for (key, filter) in filters.iter().enumerate() {
                if found.contains(&key) {
                    let missed = names.iter().find(|it| covered.matches(it) && !filter.matches(it));
                    prop_assert_eq!(missed, None, "{} does not cover {}", filter, covered);
                }
                if filter == &covered || (filter.filter() == "#" && !covered.filter().starts_with('$')) {
                    prop_assert!(found.contains(&key), "{} covers {}", filter, covered);
                }
                // Without wildcards a filter is a name, and covered by what matches it.
                if let Ok(name) = TopicName::parse(covered.filter(), &LIMITS) {
                    prop_assert_eq!(found.contains(&key), filter.matches(&name));
                }
            }
        }

        #[test]
        fn a_name_trie_finds_what_a_scan_finds(
            names in vec(name(), 0..20),
            removed in vec(any::<prop::sample::Index>(), 0..10),
            filters in vec(filter(), 1..8),
            portion in 1_usize..4,
            others in vec(name(), 1..4),
        ) {
            let mut trie = NameTrie::new();
            let mut naive = BTreeSet::new();
            for name in &names {
                prop_assert_eq!(trie.insert(name, name.clone()).is_some(), !naive.insert(name.clone()));
            }
            for index in removed {
                if names.is_empty() { continue }
                let name = index.get(&names);
                prop_assert_eq!(trie.remove(name).is_some(), naive.remove(name));
            }
            prop_assert_eq!(trie.len(), naive.len());
            for filter in &filters {
                let mut expected: Vec<_> = naive.iter().filter(|it| filter.matches(it)).cloned().collect();
                expected.sort_by(|a, b| a.levels().cmp(b.levels()));
                // In one go, and in portions that begin where the last one broke off.
                for portion in [usize::MAX, portion] {
                    let mut found: Vec<TopicName> = Vec::new();
                    loop {
                        let before = found.len();
                        let after = found.last().cloned();
                        trie.matching(filter, after.as_ref(), |name| {
                            found.push(name.clone());
                            let is_full = found.len() - before == portion;
                            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                        });
                        if found.len() - before < portion { break }
                    }
                    prop_assert_eq!(&found, &expected, "{}", filter);
                }
                // Behind a name that need not be there.
                for name in &others {
                    let mut found = Vec::new();
                    trie.matching(filter, Some(name), |name| { found.push(name.clone()); ControlFlow::Continue(()) });
                    let mut expected = expected.clone();
                    expected.retain(|it| it.levels().gt(name.levels()));
                    prop_assert_eq!(found, expected, "{} after {}", filter, name);
                }
            }
            // Without a filter, hidden ones too.
            let mut all: Vec<_> = naive.iter().cloned().collect();
            all.sort_by(|a, b| a.levels().cmp(b.levels()));
            for name in others.iter().map(Some).chain([None]) {
                let mut found = Vec::new();
                trie.after(name, |name| { found.push(name.clone()); ControlFlow::Continue(()) });
                let is_behind = |it: &&TopicName| name.is_none_or(|name| it.levels().gt(name.levels()));
                prop_assert_eq!(found, all.iter().filter(is_behind).cloned().collect::<Vec<_>>());
            }
            trie.retain(|name| name.is_hidden());
            prop_assert_eq!(trie.len(), naive.iter().filter(|name| name.is_hidden()).count());
            trie.retain(|_| false);
            prop_assert!(trie.is_empty() && trie.root.is_empty());
        }
    }
}
