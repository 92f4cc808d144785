//! Slices: the parts of a session's traffic that behaviors with a dimension look at.
//!
//! A dimension is a set of topic filters; a slice is one side of it. All sessions tell all slices
//! apart that any profile uses, so there is one set of them in the broker, with all its filters in
//! one trie: what is remembered of a topic is a mask, one bit for each slice. The client ids that
//! some filters speak of are filled in while matching, so that no session has filters of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use picket_model::limits::SLICES_MAX;
use picket_model::{ClientId, DimensionOperator, MetricDimension};
use picket_mqtt::trie::FilterTrie;
use picket_mqtt::{TopicFilter, TopicLimits, TopicName};
use tracing::error;

/// Stands for the client id in a dimension's filter. Source: AWS guide "Scoping metrics in security
/// profiles using dimensions".
const CLIENT_ID: &str = "${iot:ClientId}";

/// The owner of the slices has bounded their filters, and bounds of topics say nothing about them:
/// filled in, `${iot:ClientId}` is longer or shorter.
const FILTER_LIMITS: TopicLimits = TopicLimits { bytes_max: usize::MAX, levels_max: usize::MAX };

/// A part of what devices do: the messages whose topics lie on one side of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The dimension and its side.
    pub dimension: Arc<MetricDimension>,
    /// The topic filters of the dimension. `${iot:ClientId}` in one stands for the session's client
    /// id. One that is no topic filter matches nothing.
    pub filters: Vec<String>,
}

/// The slices in use.
#[derive(Debug, Default)]
pub(crate) struct SliceBook {
    current: ArcSwap<SliceSet>,
    last_version: AtomicU64,
}

/// Slices as sessions use them, at most [`SLICES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct SliceSet {
    slices: Vec<Slice>,
    /// Another number for every set: a remembered mask is good for one.
    pub(crate) version: u64,
    /// By slice and place among its filters.
    patterns: FilterTrie<(usize, usize), Option<Template>>,
    /// The slices of what matches no filter.
    not_in: SliceMask,
}

/// Which slices something lies in, by their places in their set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SliceMask(u64);

/// A filter with `${iot:ClientId}` in it. It is kept in the trie with `+` for the levels that have
/// it, so whatever is found there is looked at once more.
#[derive(Debug)]
struct Template(Box<str>);

impl SliceBook {
    /// Puts others in place of the slices in use. Sessions see them with their next packets.
    pub(crate) fn set(&self, mut slices: Vec<Slice>) {
        if slices.len() > SLICES_MAX {
            error!("{} slices are in use; only {SLICES_MAX} are counted", slices.len());
            slices.truncate(SLICES_MAX);
        }
        if self.current.load().slices != slices {
            let version = self.last_version.fetch_add(1, Ordering::Relaxed) + 1;
            self.current.store(Arc::new(SliceSet::new(slices, version)));
        }
    }

    /// The slices in use at this moment.
    pub(crate) fn current(&self) -> Guard<Arc<SliceSet>> {
        self.current.load()
    }
}

impl SliceSet {
    fn new(slices: Vec<Slice>, version: u64) -> Self {
        let mut patterns = FilterTrie::new();
        let mut not_in = SliceMask::NONE;
        for (at, slice) in slices.iter().enumerate() {
            match slice.dimension.operator {
                DimensionOperator::In => {}
                DimensionOperator::NotIn => not_in.insert(at),
            }
            for (place, text) in slice.filters.iter().enumerate() {
                if let Some((filter, template)) = pattern(text) {
                    patterns.insert(&filter, (at, place), template);
                }
            }
        }
        Self { slices, version, patterns, not_in }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// The names of the slices, in the order of masks.
    pub(crate) fn dimensions(&self) -> impl Iterator<Item = &Arc<MetricDimension>> {
        self.slices.iter().map(|slice| &slice.dimension)
    }

    /// The names of the slices of a mask, in their order.
    pub(crate) fn named(&self, mask: SliceMask) -> impl Iterator<Item = &Arc<MetricDimension>> {
        mask.indices().filter_map(|at| self.slices.get(at)).map(|slice| &slice.dimension)
    }

    /// The slices that a client's messages of a topic lie in.
    pub(crate) fn of_name(&self, name: &TopicName, client: &ClientId) -> SliceMask {
        if self.is_empty() {
            return SliceMask::NONE;
        }
        let (mut matched, client) = (SliceMask::NONE, fillable(client));
        self.patterns.matching(name, |(at, _), template| {
            if template.as_ref().is_none_or(|it| it.matches(name.levels(), client)) {
                matched.insert(*at);
            }
        });
        self.sides(matched)
    }

    /// The slices that a client's request for all topics of a filter lies in: a filter is in a
    /// dimension if one of the dimension's covers it.
    pub(crate) fn of_filter(&self, filter: &TopicFilter, client: &ClientId) -> SliceMask {
        if self.is_empty() {
            return SliceMask::NONE;
        }
        let (mut matched, client) = (SliceMask::NONE, fillable(client));
        self.patterns.covering(filter, |(at, _), template| {
            if template.as_ref().is_none_or(|it| it.matches(filter.levels(), client)) {
                matched.insert(*at);
            }
        });
        self.sides(matched)
    }

    /// From the slices with a filter that matches to those that the topic lies in.
    const fn sides(&self, matched: SliceMask) -> SliceMask {
        // One operator or the other: whatever differs from what is wanted is out.
        SliceMask((matched.0 ^ self.not_in.0) & self.all())
    }

    const fn all(&self) -> u64 {
        match self.slices.len() {
            0 => 0,
            len => u64::MAX >> (SLICES_MAX - len),
        }
    }
}

impl SliceMask {
    /// None of them.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The places of the slices, ascending.
    pub(crate) fn indices(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let at = rest.trailing_zeros() as usize;
            rest &= rest.checked_sub(1)?;
            Some(at)
        })
    }

    const fn insert(&mut self, at: usize) {
        self.0 |= 1 << at;
    }
}

/// A dimension's filter as it is kept in the trie; `None` if it can match nothing.
fn pattern(text: &str) -> Option<(TopicFilter, Option<Template>)> {
    let parse = |text: &str| TopicFilter::parse(text, &FILTER_LIMITS).ok();
    // No message has such a topic: it is the form of a shared subscription.
    let parse = |text: &str| parse(text).filter(|filter| filter.share_group().is_none());
    if !text.contains(CLIENT_ID) {
        return Some((parse(text)?, None));
    }
    // Whether it is a filter does not depend on the client id, as there are none with wildcards.
    parse(&text.replace(CLIENT_ID, "x"))?;
    let wildcard = |level| if str::contains(level, CLIENT_ID) { "+" } else { level };
    let levels: Vec<&str> = text.split('/').map(wildcard).collect();
    Some((parse(&levels.join("/"))?, Some(Template(text.into()))))
}

/// The client id as it is filled in. One that could be taken for more than a part of a level is
/// not, lest a client widen a filter by its name: such filters match nothing of it.
fn fillable(client: &ClientId) -> Option<&str> {
    Some(client.as_str()).filter(|id| !id.contains(['+', '#', '/', '$']))
}

impl Template {
    /// Whether the levels are what the trie's wildcards were put for.
    fn matches<'l>(&self, mut levels: impl Iterator<Item = &'l str>, client: Option<&str>) -> bool {
        let Some(client) = client else { return false };
        for wanted in self.0.split('/') {
            // `#` may stand for no level at all.
            let Some(level) = levels.next() else { return wanted == "#" };
            let is_filled = wanted.contains(CLIENT_ID);
            if is_filled && !is_filled_in(wanted, client, level) {
                return false;
            }
        }
        true
    }
}

/// Whether a level is what comes of a template's with the client id filled in.
fn is_filled_in(template: &str, client: &str, level: &str) -> bool {
    let mut rest = Some(level);
    for (n, part) in template.split(CLIENT_ID).enumerate() {
        let after_client = if n == 0 { rest } else { rest.and_then(|it| it.strip_prefix(client)) };
        rest = after_client.and_then(|it| it.strip_prefix(part));
    }
    rest == Some("")
}

#[cfg(test)]
mod tests;
