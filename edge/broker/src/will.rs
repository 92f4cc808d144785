//! Wills: what is published for clients that went without goodbye.
//!
//! Whether a will may be published is decided when it is sent, under the rights of that moment: the
//! watch on its client's access stays open as long as the will waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_model::{ClientId, Denied, Fact, Observation, Timestamp};
use picket_mqtt::packet::Will;
use picket_mqtt::{Message, TopicLimits};
use tracing::info;

use crate::access::AccessWatch;
use crate::authorize::{Denial, PublishPermit, publishable};
use crate::broker::Shared;
use crate::mailbox::SessionKey;
use crate::metrics::Dropped;
use crate::retained::{ClientOwner, Owner};
use crate::router::Flags;

/// A will that is due or waits for its delay.
pub(crate) struct LastWill {
    pub(crate) will: Will,
    pub(crate) client: ClientId,
    pub(crate) session: SessionKey,
    pub(crate) access: AccessWatch,
}

/// Wills that wait for their delay. At most one per session, so bounded as they are.
#[derive(Default)]
pub(crate) struct Wills {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: BTreeMap<(Timestamp, SessionKey), LastWill>,
    due_of: HashMap<SessionKey, Timestamp>,
}

impl Wills {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a will until it is due.
    pub(crate) fn wait(&self, will: LastWill, due: Timestamp) {
        let mut inner = self.lock();
        inner.due_of.insert(will.session, due);
        inner.waiting.insert((due, will.session), will);
    }

    /// Takes a session's will out: the client is back in time, or its session ended early.
    pub(crate) fn take(&self, session: SessionKey) -> Option<LastWill> {
        let mut inner = self.lock();
        let due = inner.due_of.remove(&session)?;
        inner.waiting.remove(&(due, session))
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.lock().waiting.keys().next().map(|(due, _)| *due)
    }

    /// Takes out the wills that are due.
    pub(crate) fn take_due(&self, now: Timestamp) -> Vec<LastWill> {
        let mut inner = self.lock();
        let mut due = Vec::new();
        while let Some(entry) = inner.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let will = entry.remove();
            inner.due_of.remove(&will.session);
            due.push(will);
        }
        due
    }
}

/// Publishes a will if its client still may.
pub(crate) async fn send(shared: &Shared, last: LastWill) {
    let LastWill { will, client, session, access } = last;
    let limits = TopicLimits::from(&shared.config.limits);
    // It was a proper topic when the client was let in.
    let Ok(topic) = publishable(&will.topic, &limits) else { return };
    let rights = access.get();
    match PublishPermit::decide(&rights, &topic, will.retain) {
        Ok(permit) => {
            let properties =
                (!will.properties.is_empty()).then(|| Box::new(will.properties.clone()));
            let now = shared.monotonic.now();
            let message = Message::received(topic, will.payload, will.qos, properties, now);
            let flags = Flags { publisher: Some(session), retain: will.retain };
            shared.publish(permit, Arc::new(message), flags, || {
                let owner = ClientOwner::new(access);
                shared.retained.watch(&owner);
                Owner::Client(owner)
            });
        }
        Err(Denial { action, decision }) => {
            info!(client.id = %client.as_str().escape_debug(), topic = %topic, "will not sent: {decision}");
            shared.metrics.deny(action);
            shared.metrics.drop_message(Dropped::WillDenied);
            let at = (shared.clock)();
            let denied = Denied {
                count: 1,
                first_at: at,
                last_at: at,
                last_action: action.as_str(),
                last_resource: topic.shared(),
            };
            let device = rights.device.clone();
            shared.observe(Observation { at, device, fact: Fact::Denied(denied) }).await;
        }
    }
}
