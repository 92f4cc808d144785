//! What is written down in one go: of each session, what became of it since the last time.
//!
//! Entries of one session are brought together as they come: a delivery that was queued, sent and
//! acknowledged within one batch leaves nothing to write.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use picket_model::{ClientId, Timestamp};
use picket_mqtt::packet::{PacketId, SubscribeOptions};
use picket_mqtt::session::Record;
use picket_mqtt::{Delivery, DeliveryNumber, TopicFilter};

use crate::ports::Principal;

/// Bytes of memory to reckon with for an entry, besides the message that it holds.
const ENTRY_BYTES: usize = 128;

/// Changes of sessions that become durable together. Applying it once more changes nothing.
#[derive(Debug, Default)]
pub struct Batch {
    /// By the keys of the sessions.
    pub sessions: BTreeMap<u64, SessionChanges>,
    bytes: usize,
}

/// What became of one session. What does not stand here stays as it is stored.
#[derive(Debug, Default)]
pub struct SessionChanges {
    /// The session itself.
    pub session: Option<SessionChange>,
    /// By filter; `None` where it was removed.
    pub subscriptions: BTreeMap<TopicFilter, Option<StoredOptions>>,
    /// By number.
    pub deliveries: BTreeMap<DeliveryNumber, DeliveryChange>,
    /// Packet ids of QoS 2 publishes; true of one that was taken, false of one that is free again.
    pub taken: BTreeMap<PacketId, bool>,
}

/// What became of a session itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// It is there, like this.
    Put(SessionFacts),
    /// It is over, with all that belongs to it.
    Ended,
}

/// A session without what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Whose it is.
    pub client: ClientId,
    /// For whom alone it goes on.
    pub principal: Principal,
    /// Seconds that it outlives its connection.
    pub expiry_s: u32,
    /// When it is over, by the wall clock; `None` while it has a connection.
    pub until: Option<Timestamp>,
}

/// How a filter is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredOptions {
    /// As the client gave them, with the QoS that was granted.
    pub options: SubscribeOptions,
    /// MQTT 5's subscription identifier.
    pub id: Option<u32>,
}

/// What became of a delivery.
#[derive(Clone, Debug)]
pub enum DeliveryChange {
    /// It is new.
    New {
        /// Itself. Its message's expiry is that of the broker's own clock.
        delivery: Delivery,
        /// When the message expires, by the wall clock.
        expires_at: Option<Timestamp>,
        /// How far it is by now.
        progress: Progress,
    },
    /// It got on.
    Moved(Progress),
    /// It is over.
    Over,
}

/// How far a delivery got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// It was sent under this packet id.
    pub sent: Option<PacketId>,
    /// The client has its content.
    pub is_released: bool,
}

impl DeliveryChange {
    fn bytes(&self) -> usize {
        match self {
            Self::New { delivery, .. } => ENTRY_BYTES + delivery.message.cost_bytes(),
            Self::Moved(_) | Self::Over => ENTRY_BYTES,
        }
    }
}

impl SessionChanges {
    /// Whether everything that was to be written has become unnecessary.
    fn is_empty(&self) -> bool {
        self.session.is_none()
            && self.subscriptions.is_empty()
            && self.deliveries.is_empty()
            && self.taken.is_empty()
    }
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Bytes of memory to reckon with.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes of a session that is not over.
    fn of(&mut self, session: u64) -> Option<&mut SessionChanges> {
        let changes = self.sessions.entry(session).or_default();
        (changes.session != Some(SessionChange::Ended)).then_some(changes)
    }

    pub(super) fn put(&mut self, session: u64, facts: SessionFacts) {
        if let Some(changes) = self.of(session) {
            let before = changes.session.replace(SessionChange::Put(facts));
            self.bytes += if before.is_none() { ENTRY_BYTES } else { 0 };
        }
    }

    pub(super) fn end(&mut self, session: u64) {
        let ended = SessionChanges { session: Some(SessionChange::Ended), ..Default::default() };
        let before = self.sessions.insert(session, ended).unwrap_or_default();
        let entries = before.subscriptions.len() + before.taken.len();
        let entries = entries + usize::from(before.session.is_some());
        self.bytes -= entries * ENTRY_BYTES;
        self.bytes -= before.deliveries.values().map(DeliveryChange::bytes).sum::<usize>();
        self.bytes += ENTRY_BYTES;
    }

    pub(super) fn subscription(
        &mut self,
        session: u64,
        filter: &TopicFilter,
        options: Option<StoredOptions>,
    ) {
        if let Some(changes) = self.of(session) {
            let before = changes.subscriptions.insert(filter.clone(), options);
            self.bytes += if before.is_none() { ENTRY_BYTES } else { 0 };
        }
    }

    pub(super) fn queue(
        &mut self,
        session: u64,
        number: DeliveryNumber,
        delivery: Delivery,
        expires_at: Option<Timestamp>,
    ) {
        if let Some(changes) = self.of(session) {
            let progress = Progress::default();
            let new = DeliveryChange::New { delivery, expires_at, progress };
            let bytes = new.bytes();
            changes.deliveries.insert(number, new);
            self.bytes += bytes;
        }
    }

    pub(super) fn note(&mut self, session: u64, record: Record) {
        match record {
            Record::Taken(id) => self.take(session, id, true),
            Record::Freed(id) => self.take(session, id, false),
            Record::Sent { number, packet_id, qos: _ } => {
                self.progress(session, number, |progress| progress.sent = Some(packet_id));
            }
            Record::Released(number) => {
                self.progress(session, number, |progress| progress.is_released = true);
            }
            Record::Over(number) => self.over(session, number),
        }
    }

    fn take(&mut self, session: u64, id: PacketId, is_taken: bool) {
        if let Some(changes) = self.of(session) {
            let before = changes.taken.insert(id, is_taken);
            self.bytes += if before.is_none() { ENTRY_BYTES } else { 0 };
        }
    }

    fn progress(
        &mut self,
        session: u64,
        number: DeliveryNumber,
        change: impl FnOnce(&mut Progress),
    ) {
        let Some(changes) = self.of(session) else { return };
        match changes.deliveries.entry(number) {
            Entry::Vacant(vacant) => {
                let mut progress = Progress::default();
                change(&mut progress);
                vacant.insert(DeliveryChange::Moved(progress));
                self.bytes += ENTRY_BYTES;
            }
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                DeliveryChange::New { progress, .. } | DeliveryChange::Moved(progress) => {
                    change(progress);
                }
                DeliveryChange::Over => {}
            },
        }
    }

    fn over(&mut self, session: u64, number: DeliveryNumber) {
        let Some(changes) = self.of(session) else { return };
        let before = changes.deliveries.remove(&number);
        let bytes = before.as_ref().map_or(0, DeliveryChange::bytes);
        // Never written, it need not be taken back.
        let is_stored = !matches!(before, Some(DeliveryChange::New { .. }));
        if is_stored {
            changes.deliveries.insert(number, DeliveryChange::Over);
        }
        let is_empty = changes.is_empty();
        self.bytes = self.bytes - bytes + if is_stored { ENTRY_BYTES } else { 0 };
        if is_empty {
            self.sessions.remove(&session);
        }
    }
}
