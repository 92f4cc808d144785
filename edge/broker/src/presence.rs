//! That a device is connected, told to Detect once at the beginning and once at the end.

use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{ClientId, DeviceName, DisconnectReason, Fact, Observation};

use crate::broker::Shared;

/// A connection that Detect was told of.
///
/// Its end is told in any case: where the task ended without saying why, by a panic, dropping this
/// tells it.
pub(crate) struct Presence {
    shared: Arc<Shared>,
    /// Whom the connection was counted for when it began; its end is counted for the same.
    device: DeviceName,
    client: ClientId,
    is_over: bool,
}

impl Presence {
    /// Tells that a connection began.
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        device: &DeviceName,
        client: &ClientId,
        source: IpAddr,
    ) -> Self {
        let mut presence = Self {
            shared: Arc::clone(shared),
            device: device.clone(),
            client: client.clone(),
            // Given up before it was told, it has no end to tell.
            is_over: true,
        };
        let fact = Fact::Connected { client: client.clone(), source };
        shared.observe(presence.observation(fact)).await;
        presence.is_over = false;
        presence
    }

    /// Tells that it ended, and why.
    pub(crate) async fn end(mut self, reason: DisconnectReason) {
        self.is_over = true;
        self.shared.metrics.disconnect(reason);
        let fact = Fact::Disconnected { client: self.client.clone(), reason };
        self.shared.observe(self.observation(fact)).await;
    }

    fn observation(&self, fact: Fact) -> Observation {
        let (at, device) = ((self.shared.clock)(), self.device.clone());
        Observation { at, device, slice: None, fact }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The task that served the connection panicked, or the runtime is going down.
        let reason = DisconnectReason::ServerInitiated;
        self.shared.metrics.disconnect(reason);
        let fact = Fact::Disconnected { client: self.client.clone(), reason };
        let observation = self.observation(fact);
        let shared = Arc::clone(&self.shared);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { shared.observe(observation).await });
        }
    }
}
