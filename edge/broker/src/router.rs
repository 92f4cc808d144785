//! Who gets a message: subscriptions in a trie, and the way from a topic to mailboxes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use picket_mqtt::packet::SubscribeOptions;
use picket_mqtt::trie::FilterTrie;
use picket_mqtt::{Delivery, Message, QoS, TopicFilter, TopicName};

use crate::authorize::PublishPermit;
use crate::mailbox::{Mailbox, Posted, SessionKey};
use crate::metrics::{Dropped, Metrics};

/// A session's interest in one filter.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) options: SubscribeOptions,
    /// MQTT 5's subscription identifier.
    pub(crate) id: Option<u32>,
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Router {
    tables: RwLock<Tables>,
    /// Grows with every change of the tables, under their lock: a [`Route`] is good for one version.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Tables {
    own: FilterTrie<SessionKey, Subscription>,
    /// By filter and group name.
    shared: FilterTrie<Box<str>, Group>,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<SessionKey, Subscription>,
    turn: Arc<AtomicUsize>,
}

/// Where the messages of one topic go, as long as no subscription changes.
#[derive(Debug)]
pub(crate) struct Route {
    version: u64,
    targets: Vec<Target>,
    groups: Vec<GroupTarget>,
}

#[derive(Debug)]
struct Target {
    mailbox: Arc<Mailbox>,
    qos_max: QoS,
    retain_as_published: bool,
    no_local: bool,
    subscription_ids: Option<Arc<[u32]>>,
}

/// A group of which one member gets each message.
#[derive(Debug)]
struct GroupTarget {
    members: Vec<Target>,
    turn: Arc<AtomicUsize>,
}

impl Router {
    /// Adds or replaces a subscription; true if it is new.
    pub(crate) fn subscribe(&self, filter: &TopicFilter, subscription: Subscription) -> bool {
        let session = subscription.mailbox.session;
        self.change(|tables| match filter.share_group() {
            None => tables.own.insert(filter, session, subscription).is_none(),
            Some(name) => {
                let group = tables.shared.entry(filter, name.into());
                group.members.insert(session, subscription).is_none()
            }
        })
    }

    /// Removes subscriptions of a session.
    pub(crate) fn unsubscribe<'a>(
        &self,
        session: SessionKey,
        filters: impl IntoIterator<Item = &'a TopicFilter>,
    ) {
        let mut filters = filters.into_iter().peekable();
        if filters.peek().is_none() {
            return;
        }
        self.change(|tables| {
            for filter in filters {
                let Some(name) = filter.share_group() else {
                    tables.own.remove(filter, &session);
                    continue;
                };
                let name: Box<str> = name.into();
                let group = tables.shared.entry(filter, name.clone());
                group.members.remove(&session);
                if group.members.is_empty() {
                    tables.shared.remove(filter, &name);
                }
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> T {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut tables);
        self.version.fetch_add(1, Ordering::Release);
        result
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a route is still what the subscriptions say.
    pub(crate) fn is_current(&self, route: &Route) -> bool {
        route.version == self.version.load(Ordering::Acquire)
    }

    /// Finds out where the messages of a topic go.
    pub(crate) fn route(&self, topic: &TopicName) -> Route {
        let tables = self.read();
        let version = self.version.load(Ordering::Acquire);
        let mut by_session: BTreeMap<SessionKey, Vec<&Subscription>> = BTreeMap::new();
        tables.own.matching(topic, |session, subscription| {
            by_session.entry(*session).or_default().push(subscription);
        });
        let mut groups = Vec::new();
        tables.shared.matching(topic, |_, group| {
            let members = group.members.values().filter_map(|member| Target::merge(&[member]));
            groups.push(GroupTarget { members: members.collect(), turn: Arc::clone(&group.turn) });
        });
        let targets = by_session.values().filter_map(|all| Target::merge(all)).collect();
        Route { version, targets, groups }
    }

    /// Delivers a message along its route. Gives a mailbox that the publisher had better wait for
    /// before it goes on.
    pub(crate) fn deliver<'a>(
        &self,
        _permit: PublishPermit,
        route: &'a Route,
        message: &Arc<Message>,
        flags: Flags,
        metrics: &Metrics,
    ) -> Option<&'a Arc<Mailbox>> {
        let mut crowded = None;
        let mut note = |posted: Posted, target: &'a Target| match posted {
            Posted::Full => {
                metrics.drop_message(Dropped::QueueFull);
                crowded = Some(&target.mailbox).filter(|it| it.is_crowded()).or(crowded);
            }
            Posted::Crowds => crowded = Some(&target.mailbox),
            Posted::Waits | Posted::NotKept | Posted::Closed => {}
        };
        for target in &route.targets {
            // mqtt-5 [MQTT-3.8.3-3]
            if target.no_local && flags.publisher == Some(target.mailbox.session) {
                continue;
            }
            note(target.post(message, flags), target);
        }
        for group in &route.groups {
            if let Some((posted, member)) = group.post(message, flags) {
                note(posted, member);
            }
        }
        crowded
    }
}

/// What routing needs to know of a PUBLISH besides the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    /// Whose session published; `None` where the server itself did.
    pub(crate) publisher: Option<SessionKey>,
    /// The retain flag as published.
    pub(crate) retain: bool,
}

impl Route {
    /// Whether nobody gets the messages.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }
}

impl Target {
    /// One delivery for all subscriptions of a session that match, with the largest QoS of them.
    ///
    /// Source: mqtt-3.1.1 [MQTT-3.3.5-1], mqtt-5 [MQTT-3.3.4-2].
    fn merge(subscriptions: &[&Subscription]) -> Option<Self> {
        let first = subscriptions.first()?;
        let ids: Vec<u32> = subscriptions.iter().filter_map(|each| each.id).collect();
        let options = || subscriptions.iter().map(|each| each.options);
        Some(Self {
            mailbox: Arc::clone(&first.mailbox),
            qos_max: options().map(|each| each.qos).max().unwrap_or_default(),
            retain_as_published: options().any(|each| each.retain_as_published),
            no_local: options().all(|each| each.no_local),
            // mqtt-5 [MQTT-3.3.4-3] [MQTT-3.3.4-4]
            subscription_ids: (!ids.is_empty()).then(|| ids.into()),
        })
    }

    fn post(&self, message: &Arc<Message>, flags: Flags) -> Posted {
        self.mailbox.post(Delivery {
            message: Arc::clone(message),
            qos: message.qos.min(self.qos_max),
            // mqtt-3.1.1 [MQTT-3.3.1-9], mqtt-5 [MQTT-3.3.1-12] [MQTT-3.3.1-13]
            retain: flags.retain && self.retain_as_published,
            subscription_ids: self.subscription_ids.clone(),
        })
    }
}

impl GroupTarget {
    /// Gives the message to the member whose turn it is; to an absent one only if none is there.
    fn post(&self, message: &Arc<Message>, flags: Flags) -> Option<(Posted, &Target)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = |online: bool| {
            let (before, from) = self.members.split_at(turn % self.members.len().max(1));
            from.iter().chain(before).filter(move |member| member.mailbox.is_online() == online)
        };
        let mut last = None;
        for member in in_turn(true).chain(in_turn(false)) {
            let posted = member.post(message, flags);
            last = Some((posted, member));
            if matches!(posted, Posted::Waits | Posted::Crowds) {
                break;
            }
        }
        last
    }
}

/// The delivery of a retained message to a new subscription.
pub(crate) fn retained_delivery(message: Arc<Message>, subscription: &Subscription) -> Delivery {
    Delivery {
        qos: message.qos.min(subscription.options.qos),
        // mqtt-3.1.1 [MQTT-3.3.1-8], mqtt-5 [MQTT-3.3.1-8]
        retain: true,
        subscription_ids: subscription.id.map(|id| Arc::from([id])),
        message,
    }
}
