//! What one session is subscribed to.

use picket_mqtt::TopicFilter;

use crate::router::Subscription;

/// Subscriptions by filter, in the order of the filters.
///
/// Most sessions have one or a few, and a tree takes as much memory for one as for eleven: half a
/// kilobyte. `subscriptions_max` bounds what has to move for a new one.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    sorted: Vec<(TopicFilter, Subscription)>,
}

impl Subscriptions {
    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Where a filter is, or else where it belongs.
    fn find(&self, filter: &TopicFilter) -> Result<usize, usize> {
        self.sorted.binary_search_by(|(it, _)| it.cmp(filter))
    }

    /// That of a filter.
    pub(crate) fn get(&self, filter: &TopicFilter) -> Option<&Subscription> {
        let at = self.find(filter).ok()?;
        self.sorted.get(at).map(|(_, subscription)| subscription)
    }

    /// Keeps one, in place of the filter's before.
    pub(crate) fn insert(&mut self, filter: TopicFilter, subscription: Subscription) {
        match self.find(&filter) {
            Ok(at) => self.sorted[at].1 = subscription,
            Err(at) => {
                if self.sorted.is_empty() {
                    // For many it is the only one.
                    self.sorted.reserve_exact(1);
                }
                self.sorted.insert(at, (filter, subscription));
            }
        }
    }

    /// Forgets a filter; false if it is not there.
    pub(crate) fn remove(&mut self, filter: &TopicFilter) -> bool {
        let found = self.find(filter);
        if let Ok(at) = found {
            self.sorted.remove(at);
        }
        found.is_ok()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TopicFilter, &Subscription)> {
        self.sorted.iter().map(|(filter, subscription)| (filter, subscription))
    }

    /// The filters.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.iter().map(|(filter, _)| filter)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_mqtt::TopicLimits;
    use picket_mqtt::packet::SubscribeOptions;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::budget::Budget;
    use crate::mailbox::{Mailbox, SessionKey};

    /// Takes steps like `b=1` and `-b`; gives what there is then, as `filter=id`.
    fn check(steps: &str, expected: &str) {
        let budget = Arc::new(Budget::new(0, Gauge::default()));
        let mailbox = Arc::new(Mailbox::new(SessionKey(1), 0, 0, budget));
        let limits = TopicLimits { bytes_max: 100, levels_max: 10 };
        let filter = |text: &str| TopicFilter::parse(text, &limits).unwrap();
        let mut subscriptions = Subscriptions::default();
        for step in steps.split_whitespace() {
            match step.split_once('=') {
                Some((text, id)) => {
                    let (mailbox, options) = (Arc::clone(&mailbox), SubscribeOptions::default());
                    let id = Some(id.parse().unwrap());
                    subscriptions.insert(filter(text), Subscription { mailbox, options, id });
                }
                None => {
                    let filter = filter(step.trim_start_matches('-'));
                    let was_there = subscriptions.get(&filter).is_some();
                    assert_eq!(subscriptions.remove(&filter), was_there, "{step}");
                    assert!(subscriptions.get(&filter).is_none(), "{step}");
                }
            }
        }
        let found = subscriptions.iter().map(|(filter, it)| format!("{filter}={}", it.id.unwrap()));
        let found: Vec<String> = found.collect();
        assert_eq!(found.join(" "), expected);
        assert_eq!(subscriptions.len(), found.len());
        assert_eq!(subscriptions.is_empty(), found.is_empty());
    }

    #[test]
    fn there_is_one_of_each_filter_in_the_order_of_the_filters() {
        check("", "");
        check("b=1 a/+=2 c=3 #=4", "#=4 a/+=2 b=1 c=3");
        check("b=1 a=2 b=3", "a=2 b=3");
        check("b=1 a=2 -b -c", "a=2");
        check("b=1 -b", "");
    }
}
