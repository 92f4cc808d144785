//! Wills: what is published for clients that went without goodbye.
//!
//! Whether a will may be published is decided when it is sent, under the rights of that moment: the
//! watch on its client's access stays open as long as the will waits.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_model::{ClientId, Denied, Fact, Observation, Published, Timestamp};
use picket_mqtt::packet::Will;
use picket_mqtt::{Message, TopicLimits, TopicName};
use tracing::info;

use crate::access::{Access, AccessWatch};
use crate::authorize::{Denial, PublishPermit, publishable};
use crate::broker::Shared;
use crate::mailbox::SessionKey;
use crate::metrics::Dropped;
use crate::retained::Owner;
use crate::router::Flags;

/// A will that is due or waits for its delay.
pub(crate) struct LastWill {
    pub(crate) will: Will,
    pub(crate) client: ClientId,
    pub(crate) session: SessionKey,
    pub(crate) access: AccessWatch,
    /// Where its connection came from.
    pub(crate) source: IpAddr,
}

/// Bytes that a waiting will takes besides what its client gave: the watch on its client's rights
/// above all.
const OVERHEAD_BYTES: usize = 1024;

/// Wills that wait for their delay. One may outlive its session, so they have a bound of their own.
pub(crate) struct Wills {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<(Timestamp, SessionKey), LastWill>,
    due_of: HashMap<SessionKey, Timestamp>,
    bytes: usize,
}

impl LastWill {
    fn cost_bytes(&self) -> usize {
        let Will { topic, payload, properties, .. } = &self.will;
        OVERHEAD_BYTES + topic.len() + payload.len() + properties.cost_bytes()
    }
}

impl Inner {
    fn remove(&mut self, due: Timestamp, session: SessionKey) -> Option<LastWill> {
        self.due_of.remove(&session);
        let will = self.waiting.remove(&(due, session))?;
        self.bytes -= will.cost_bytes();
        Some(will)
    }
}

impl Wills {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a will until it is due. Gives it back if there is no room: then it had better be sent
    /// too early than never.
    pub(crate) fn wait(&self, will: LastWill, due: Timestamp) -> Option<LastWill> {
        let mut inner = self.lock();
        let bytes = inner.bytes + will.cost_bytes();
        if bytes > self.bytes_max {
            return Some(will);
        }
        inner.bytes = bytes;
        inner.due_of.insert(will.session, due);
        inner.waiting.insert((due, will.session), will);
        None
    }

    /// Takes a session's will out: the client is back in time, or its session ended early.
    pub(crate) fn take(&self, session: SessionKey) -> Option<LastWill> {
        let mut inner = self.lock();
        let due = *inner.due_of.get(&session)?;
        inner.remove(due, session)
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.lock().waiting.keys().next().map(|(due, _)| *due)
    }

    /// Takes out the wills that are due.
    pub(crate) fn take_due(&self, now: Timestamp) -> Vec<LastWill> {
        let mut inner = self.lock();
        let mut due = Vec::new();
        while let Some((&(at, session), _)) = inner.waiting.first_key_value()
            && at <= now
        {
            due.extend(inner.remove(at, session));
        }
        due
    }
}

/// Publishes a will if its client still may. Either way it counts for the device, as a PUBLISH does:
/// whoever connects and goes without goodbye must not send what nobody sees.
pub(crate) async fn send(shared: &Shared, last: LastWill) {
    let LastWill { will, client, session, access, source } = last;
    let limits = TopicLimits::from(&shared.config.limits);
    // It was a proper topic when the client was let in.
    let Ok(topic) = publishable(&will.topic, &limits) else { return };
    let rights = access.get();
    let at = (shared.clock)();
    match PublishPermit::decide(&rights, &topic, will.retain) {
        Ok(permit) => {
            let properties =
                (!will.properties.is_empty()).then(|| Box::new(will.properties.clone()));
            let bytes = will.payload.len() as u64;
            let published = Fact::Published(Published {
                count: 1,
                bytes_total: bytes,
                bytes_min: bytes,
                bytes_max: bytes,
                first_at: at,
                last_at: at,
                largest_topic: topic.shared(),
                source,
            });
            tell(shared, &rights, &client, &topic, at, published).await;
            let now = shared.monotonic.now();
            let message = Message::received(topic, will.payload, will.qos, properties, now);
            let flags = Flags { publisher: Some(session), retain: will.retain };
            shared.publish(permit, Arc::new(message), flags, || {
                Owner::Client(shared.retained.owner(access))
            });
        }
        Err(Denial { action, decision }) => {
            info!(
                client.id = %client.as_str().escape_debug(),
                topic = %topic.as_str().escape_debug(),
                "will not sent: {decision}"
            );
            shared.metrics.deny(action);
            shared.metrics.drop_message(Dropped::WillDenied);
            let denied = Fact::Denied(Denied {
                count: 1,
                first_at: at,
                last_at: at,
                last_action: action.as_str(),
                last_resource: topic.shared(),
            });
            tell(shared, &rights, &client, &topic, at, denied).await;
        }
    }
}

/// Tells Detect what became of a will: as a whole, and once for each slice that its topic lies in.
async fn tell(
    shared: &Shared,
    rights: &Access,
    client: &ClientId,
    topic: &TopicName,
    at: Timestamp,
    fact: Fact,
) {
    let slices = Arc::clone(&shared.slices.current());
    let lies_in = slices.named(slices.of_name(topic, client)).cloned().map(Some);
    for slice in std::iter::once(None).chain(lies_in) {
        let (device, fact) = (rights.device.clone(), fact.clone());
        shared.observe(Observation { at, device, slice, fact }).await;
    }
}
