//! What a batch leaves behind is what its entries did one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_model::{ClientId, PolicyName};
use picket_mqtt::packet::{PacketId, SubscribeOptions};
use picket_mqtt::{Message, QoS, TopicLimits, TopicName};
use proptest::prelude::*;

use super::*;
use crate::ports::Principal;

/// What can happen to a session.
#[derive(Clone, Debug)]
enum Step {
    Put(u32),
    End,
    Subscribe(usize, bool),
    Queue,
    /// The deliveries before the last.
    Sent(u64),
    Released(u64),
    Over(u64),
    Taken(u16),
    Freed(u16),
    /// The batch is closed.
    Close,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let back = || 0..6_u64;
    let step = prop_oneof![
        2 => (0..3_u32).prop_map(Step::Put),
        1 => Just(Step::End),
        3 => (0..3_usize, any::<bool>()).prop_map(|(filter, is_on)| Step::Subscribe(filter, is_on)),
        9 => Just(Step::Queue),
        5 => back().prop_map(Step::Sent),
        4 => back().prop_map(Step::Released),
        7 => back().prop_map(Step::Over),
        3 => (1..4_u16).prop_map(Step::Taken),
        3 => (1..4_u16).prop_map(Step::Freed),
        4 => Just(Step::Close),
    ];
    (0..3_u64, step)
}

/// A store as plain as can be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Disk(BTreeMap<u64, OnDisk>);

#[derive(Clone, Debug, Default, PartialEq)]
struct OnDisk {
    facts: Option<SessionFacts>,
    subscriptions: BTreeMap<TopicFilter, StoredOptions>,
    deliveries: BTreeMap<DeliveryNumber, Progress>,
    taken: BTreeSet<PacketId>,
}

impl Disk {
    fn commit(&mut self, batch: &Batch) {
        for (session, changes) in &batch.sessions {
            if changes.session == Some(SessionChange::Ended) {
                self.0.remove(session);
                continue;
            }
            let on_disk = self.0.entry(*session).or_default();
            if let Some(SessionChange::Put(facts)) = &changes.session {
                on_disk.facts = Some(facts.clone());
            }
            for (filter, options) in &changes.subscriptions {
                match options {
                    Some(options) => on_disk.subscriptions.insert(filter.clone(), *options),
                    None => on_disk.subscriptions.remove(filter),
                };
            }
            for (number, change) in &changes.deliveries {
                match change {
                    DeliveryChange::New { progress, .. } => {
                        on_disk.deliveries.insert(*number, *progress);
                    }
                    DeliveryChange::Moved(moved) => {
                        if let Some(progress) = on_disk.deliveries.get_mut(number) {
                            progress.sent = moved.sent.or(progress.sent);
                            progress.is_released |= moved.is_released;
                        }
                    }
                    DeliveryChange::Over => drop(on_disk.deliveries.remove(number)),
                }
            }
            for (id, is_taken) in &changes.taken {
                match is_taken {
                    true => on_disk.taken.insert(*id),
                    false => on_disk.taken.remove(id),
                };
            }
            if *on_disk == OnDisk::default() {
                self.0.remove(session);
            }
        }
    }
}

fn delivery() -> Delivery {
    let topic = TopicName::parse("t", &TopicLimits { bytes_max: 9, levels_max: 1 }).unwrap();
    let message = Message::received(topic, "x".into(), QoS::ExactlyOnce, None, Timestamp::EPOCH);
    Delivery {
        message: Arc::new(message),
        qos: QoS::ExactlyOnce,
        retain: false,
        subscription_ids: None,
        shared: None,
        number: None,
    }
}

fn append(batch: &mut Batch, session: u64, step: &Step, last: u64) {
    let number = |back: &u64| DeliveryNumber::new(last.saturating_sub(*back)).unwrap();
    let id = |id: &u16| PacketId::new(*id).unwrap();
    match step {
        Step::Put(expiry_s) => batch.put(
            session,
            SessionFacts {
                client: ClientId::parse("c").unwrap(),
                principal: Principal::Anonymous { policy: PolicyName::parse("p").unwrap() },
                expiry_s: *expiry_s,
                until: None,
            },
        ),
        Step::End => batch.end(session),
        Step::Subscribe(filter, is_on) => {
            let limits = TopicLimits { bytes_max: 9, levels_max: 2 };
            let filter = TopicFilter::parse(["a", "b/+", "#"][*filter], &limits).unwrap();
            let options = StoredOptions { options: SubscribeOptions::default(), id: None };
            batch.subscription(session, &filter, is_on.then_some(options));
        }
        Step::Queue => batch.queue(session, number(&0), delivery(), None),
        Step::Sent(back) => {
            let (packet_id, qos) = (PacketId::MIN, QoS::ExactlyOnce);
            batch.note(session, Record::Sent { number: number(back), packet_id, qos });
        }
        Step::Released(back) => batch.note(session, Record::Released(number(back))),
        Step::Over(back) => batch.note(session, Record::Over(number(back))),
        Step::Taken(taken) => batch.note(session, Record::Taken(id(taken))),
        Step::Freed(freed) => batch.note(session, Record::Freed(id(freed))),
        Step::Close => {}
    }
}

proptest! {
    #[test]
    fn a_batch_leaves_behind_what_its_entries_did_one_by_one(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (mut in_batches, mut one_by_one) = (Disk::default(), Disk::default());
        let mut batch = Batch::default();
        // Keys are never given twice, so that nothing comes for a session that is over.
        let mut keys = [0, 1, 2];
        let mut last = 6;
        for (who, step) in steps {
            let key = &mut keys[usize::try_from(who).unwrap()];
            last += u64::from(matches!(step, Step::Queue));
            append(&mut batch, *key, &step, last);
            let mut single = Batch::default();
            append(&mut single, *key, &step, last);
            one_by_one.commit(&single);
            if matches!(step, Step::End) {
                *key += 3;
            }
            if matches!(step, Step::Close) {
                in_batches.commit(&batch);
                // The disk did not say whether it has it, so it comes again.
                in_batches.commit(&batch);
                prop_assert_eq!(&in_batches, &one_by_one);
                batch = Batch::default();
            }
        }
        in_batches.commit(&batch);
        prop_assert_eq!(&in_batches, &one_by_one);
    }

    #[test]
    fn a_batch_whose_sessions_ended_holds_nothing_of_them(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut batch = Batch::default();
        for (last, (session, step)) in (6..).zip(steps.iter().filter(|(_, it)| !matches!(it, Step::End))) {
            append(&mut batch, *session, step, last);
        }
        (0..3).for_each(|session| batch.end(session));
        let mut ended = Batch::default();
        (0..3).for_each(|session| ended.end(session));
        prop_assert_eq!(batch.bytes(), ended.bytes());
    }
}

/// What a client that keeps up costs the disk: nothing.
#[test]
fn a_delivery_that_came_and_went_leaves_nothing_to_write() {
    let mut batch = Batch::default();
    for step in [Step::Queue, Step::Sent(0), Step::Released(0), Step::Over(0)] {
        append(&mut batch, 1, &step, 7);
    }
    assert!(batch.is_empty());
    assert_eq!(batch.bytes(), 0);
}
