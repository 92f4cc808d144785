//! Who gets a message: subscriptions in a trie, and the way from a topic to mailboxes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use picket_model::limits::MqttLimits;
use picket_mqtt::packet::SubscribeOptions;
use picket_mqtt::trie::FilterTrie;
use picket_mqtt::{Delivery, Message, QoS, Shared, TopicFilter, TopicName};

use crate::authorize::PublishPermit;
use crate::journal::Ticket;
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
#[derive(Debug)]
pub(crate) struct Router {
    tables: RwLock<Tables>,
    subscriptions_max: usize,
    /// Grows with every change of the tables, under their lock: a [`Route`] is good for one version.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Tables {
    own: FilterTrie<SessionKey, Subscription>,
    /// By filter and group name.
    shared: FilterTrie<Box<str>, Group>,
    /// Members of all groups together.
    n_members: usize,
}

/// All sessions together have as many subscriptions as they may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

#[derive(Debug, Default)]
struct Group {
    /// Its own, from its first member on.
    filter: Option<TopicFilter>,
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
    /// Of a message that was not retained and that no member was denied yet.
    shared: Arc<Shared>,
}

/// How often a message for a group is passed on from members that may not have it. Members of a
/// group usually have the same rights; of those that have none, a large group must not make each
/// message go all around.
const PASSED_ON_MAX: usize = 16;

impl Router {
    /// One without subscriptions, with its bound and its rule.
    pub(crate) fn new(limits: &MqttLimits) -> Self {
        let tables = Tables {
            own: FilterTrie::with(limits.parent_matches),
            shared: FilterTrie::with(limits.parent_matches),
            ..Tables::default()
        };
        Self {
            tables: RwLock::new(tables),
            subscriptions_max: limits.subscriptions_in_all_max,
            version: AtomicU64::new(0),
        }
    }

    /// Adds or replaces a subscription; true if it is new.
    ///
    /// # Errors
    /// [`TooMany`] if it is new and there are as many as there may be.
    pub(crate) fn subscribe(
        &self,
        filter: &TopicFilter,
        subscription: Subscription,
    ) -> Result<bool, TooMany> {
        let session = subscription.mailbox.session;
        self.change(|tables| {
            let is_new = !tables.has(filter, session);
            if is_new && tables.own.len() + tables.n_members >= self.subscriptions_max {
                return Err(TooMany);
            }
            match filter.share_group() {
                None => drop(tables.own.insert(filter, session, subscription)),
                Some(name) => {
                    let group = tables.shared.entry(filter, name.into());
                    group.filter.get_or_insert_with(|| filter.clone());
                    group.members.insert(session, subscription);
                    tables.n_members += usize::from(is_new);
                }
            }
            Ok(is_new)
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
                let was_member = group.members.remove(&session).is_some();
                tables.n_members -= usize::from(was_member);
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
        tables.shared.matching(topic, |_, group| groups.extend(GroupTarget::of(group)));
        let targets = by_session.values().filter_map(|all| Target::merge(all)).collect();
        Route { version, targets, groups }
    }

    /// Delivers a message along its route.
    pub(crate) fn deliver<'a>(
        &self,
        _permit: PublishPermit,
        route: &'a Route,
        message: &Arc<Message>,
        flags: Flags,
        metrics: &Metrics,
    ) -> Delivered<'a> {
        let (mut crowded, mut kept) = (None, Ticket::NOTHING);
        let mut note = |posted: Posted, target: &'a Target| match posted {
            Posted::Full => {
                metrics.drop_message(Dropped::QueueFull);
                crowded = Some(&target.mailbox).filter(|it| it.is_crowded()).or(crowded);
            }
            Posted::AllFull => metrics.drop_message(Dropped::AllQueuesFull),
            Posted::Crowds(ticket) => {
                crowded = Some(&target.mailbox);
                kept = kept.max(ticket);
            }
            Posted::Waits(ticket) => kept = kept.max(ticket),
            Posted::NotKept | Posted::Closed => {}
        };
        for target in &route.targets {
            // mqtt-5 [MQTT-3.8.3-3]
            if target.no_local && flags.publisher == Some(target.mailbox.session) {
                continue;
            }
            note(target.post(message, flags.retain, None), target);
        }
        for group in &route.groups {
            let shared = match flags.retain {
                false => Arc::clone(&group.shared),
                true => Arc::new(Shared { retain: true, ..Shared::clone(&group.shared) }),
            };
            if let Some((posted, member)) = group.post(message, &shared) {
                note(posted, member);
            }
        }
        Delivered { crowded, kept }
    }

    /// Passes a message for a group on, because the member that got it may not have it. False if
    /// nobody is left who takes it.
    pub(crate) fn pass_on(&self, delivery: &Delivery, from: SessionKey) -> bool {
        let Some(shared) = delivery.shared.as_deref() else { return false };
        let SessionKey(from) = from;
        let mut shared = shared.clone();
        shared.denied_to.push(from);
        if shared.denied_to.len() > PASSED_ON_MAX {
            return false;
        }
        let group = {
            let tables = self.read();
            let name = shared.filter.share_group().unwrap_or_default();
            tables.shared.get(&shared.filter, &name.into()).and_then(GroupTarget::of)
        };
        let Some(group) = group else { return false };
        let posted = group.post(&delivery.message, &Arc::new(shared));
        posted.is_some_and(|(posted, _)| posted.is_kept())
    }
}

impl Tables {
    fn has(&self, filter: &TopicFilter, session: SessionKey) -> bool {
        match filter.share_group() {
            None => self.own.get(filter, &session).is_some(),
            Some(name) => {
                let group = self.shared.get(filter, &name.into());
                group.is_some_and(|group| group.members.contains_key(&session))
            }
        }
    }
}

/// What a publisher has to wait for.
#[derive(Debug)]
pub(crate) struct Delivered<'a> {
    /// A mailbox that had better have room again before the next message.
    pub(crate) crowded: Option<&'a Arc<Mailbox>>,
    /// Durable once the message is on the disk for every session that survives the server.
    pub(crate) kept: Ticket,
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

    fn post(&self, message: &Arc<Message>, retain: bool, shared: Option<Arc<Shared>>) -> Posted {
        self.mailbox.post(Delivery {
            message: Arc::clone(message),
            qos: message.qos.min(self.qos_max),
            // mqtt-3.1.1 [MQTT-3.3.1-9], mqtt-5 [MQTT-3.3.1-12] [MQTT-3.3.1-13]
            retain: retain && self.retain_as_published,
            subscription_ids: self.subscription_ids.clone(),
            shared,
            number: None,
        })
    }
}

impl GroupTarget {
    /// `None` of a group without members.
    fn of(group: &Group) -> Option<Self> {
        let filter = group.filter.clone()?;
        let members = group.members.values().filter_map(|member| Target::merge(&[member]));
        Some(Self {
            members: members.collect(),
            turn: Arc::clone(&group.turn),
            shared: Arc::new(Shared { filter, retain: false, denied_to: Vec::new() }),
        })
    }

    /// Gives the message to the member whose turn it is; to an absent one only if none is there, and
    /// to none that may not have it.
    fn post(&self, message: &Arc<Message>, shared: &Arc<Shared>) -> Option<(Posted, &Target)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = |online: bool| {
            let (before, from) = self.members.split_at(turn % self.members.len().max(1));
            from.iter().chain(before).filter(move |member| {
                let SessionKey(session) = member.mailbox.session;
                member.mailbox.is_online() == online && !shared.denied_to.contains(&session)
            })
        };
        let mut last = None;
        for member in in_turn(true).chain(in_turn(false)) {
            let posted = member.post(message, shared.retain, Some(Arc::clone(shared)));
            last = Some((posted, member));
            if posted.is_kept() {
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
        // mqtt-3.1.1 [MQTT-3.3.1-8], mqtt-5 section 3.3.1.3
        retain: true,
        subscription_ids: subscription.id.map(|id| Arc::from([id])),
        shared: None,
        number: None,
        message,
    }
}
