//! That a client is connected: told to Detect and to the subscribers of lifecycle events, once at
//! the beginning and once at the end.

use std::sync::Arc;

use picket_model::{ClientId, DeviceName, DisconnectReason, Fact, Observation, Timestamp};
use picket_mqtt::TopicFilter;

use crate::broker::Shared;
use crate::clients::{ConnectionDetails, Farewell};
use crate::lifecycle::{self, Happened, Subject};
use crate::mailbox::SessionKey;
use crate::ports::Principal;

/// Who connects.
pub(crate) struct Newcomer {
    /// Whom the connection is counted for when it begins; its end is counted for the same.
    pub(crate) device: DeviceName,
    pub(crate) client: ClientId,
    pub(crate) principal: Principal,
    pub(crate) session: SessionKey,
}

/// A connection that others were told of.
///
/// Its end is told in any case: where the task ended without saying why, by a panic, dropping this
/// tells it.
pub(crate) struct Presence {
    shared: Arc<Shared>,
    pub(crate) who: Newcomer,
    /// The connection's number among those of its client.
    version: u64,
    is_over: bool,
}

impl Presence {
    /// Tells that a connection began.
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        who: Newcomer,
        details: ConnectionDetails,
    ) -> Self {
        // Given up before it was told, it has no end to tell.
        let mut presence = Self { shared: Arc::clone(shared), who, version: 0, is_over: true };
        let source = details.source.ip();
        let fact = Fact::Connected { client: presence.who.client.clone(), source };
        shared.observe(presence.observation(fact)).await;
        let (at, now) = ((shared.clock)(), shared.monotonic.now());
        presence.version = shared.clients.connected(&presence.who.client, details, at, now);
        presence.is_over = false;
        presence.tell(Happened::Connected { source, version: presence.version });
        presence
    }

    /// Tells that the client subscribed.
    pub(crate) fn subscribed(&self, filters: &[TopicFilter]) {
        self.tell(Happened::Subscribed(filters));
    }

    /// Tells that subscriptions ended, and the connection did not.
    pub(crate) fn unsubscribed(&self, filters: &[TopicFilter]) {
        self.tell(Happened::Unsubscribed(filters));
    }

    /// Tells that it ended, why, and until when its session is kept.
    pub(crate) async fn end(mut self, reason: DisconnectReason, kept_until: Option<Timestamp>) {
        let fact = self.note_end(reason, kept_until);
        self.shared.observe(self.observation(fact)).await;
    }

    fn note_end(&mut self, reason: DisconnectReason, kept_until: Option<Timestamp>) -> Fact {
        self.is_over = true;
        let Self { shared, who, version, .. } = self;
        shared.metrics.disconnect(reason);
        let farewell = Farewell { at: (shared.clock)(), reason };
        shared.clients.disconnected(&who.client, farewell, kept_until, shared.monotonic.now());
        let (client, version) = (who.client.clone(), *version);
        self.tell(Happened::Disconnected { reason, version });
        Fact::Disconnected { client, reason }
    }

    fn tell(&self, happened: Happened<'_>) {
        let Newcomer { client, principal, session, .. } = &self.who;
        lifecycle::tell(&self.shared, Subject { client, principal, session: *session }, happened);
    }

    fn observation(&self, fact: Fact) -> Observation {
        let (at, device) = ((self.shared.clock)(), self.who.device.clone());
        Observation { at, device, slice: None, fact }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The task that served the connection panicked, or the runtime is going down.
        let fact = self.note_end(DisconnectReason::ServerInitiated, None);
        let observation = self.observation(fact);
        let shared = Arc::clone(&self.shared);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { shared.observe(observation).await });
        }
    }
}
