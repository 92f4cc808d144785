//! Publishes the events of the registry: what the store wrote down with the changes goes to its
//! subscribers, and is forgotten after that.

use std::sync::Arc;
use std::time::Duration;

use picket_broker::Broker;
use picket_model::Change;
use picket_model::text::chain;
use picket_store::{Store, StoreError, registry_events};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::broadcast;
use tracing::{error, warn};

use crate::limits::{REGISTRY_EVENTS_AT_ONCE, REGISTRY_EVENTS_PACE};

/// Time until a store that failed is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// What is counted of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegistryEventMetrics {
    published: Counter,
    lost: Counter,
}

impl RegistryEventMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_registry_events_published",
            "Events of the registry that were published",
            metrics.published.clone(),
        );
        registry.register(
            "picket_registry_events_lost",
            "Events of the registry that there was no room for",
            metrics.lost.clone(),
        );
        metrics
    }
}

/// What [`run`] works with.
pub(crate) struct EventPublisher {
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    pub(crate) metrics: RegistryEventMetrics,
}

/// Publishes what waits until `stop` resolves or the store is closed.
///
/// INVARIANT (at least once): an event is forgotten after it was published; whoever is killed in
/// between publishes it again, with the same id.
pub(crate) async fn run(publisher: EventPublisher, stop: impl Future<Output = ()> + Send) {
    let mut stop = std::pin::pin!(stop);
    let mut changes = publisher.store.changes();
    let mut lost_before = None;
    loop {
        let looked = tokio::select! {
            looked = publisher.look(&mut lost_before) => looked,
            () = &mut stop => return,
        };
        let retry = match looked {
            Ok(()) => None,
            Err(StoreError::Closed) => return,
            Err(error) => {
                error!(error = %chain(&error), "events of the registry cannot be published; trying again");
                Some(RETRY)
            }
        };
        let again = async {
            match retry {
                Some(wait) => tokio::time::sleep(wait).await,
                None => registry_changed(&mut changes).await,
            }
        };
        tokio::select! {
            () = again => {}
            () = &mut stop => return,
        }
    }
}

impl EventPublisher {
    /// Publishes all that waits. `lost_before` is how many were lost when this was called last.
    async fn look(&self, lost_before: &mut Option<u64>) -> Result<(), StoreError> {
        loop {
            let store = self.store.clone();
            let read = tokio::task::spawn_blocking(move || {
                store.read(|tx| {
                    let events = registry_events::waiting(tx, REGISTRY_EVENTS_AT_ONCE)?;
                    Ok::<_, StoreError>((events, registry_events::lost(tx)?))
                })
            });
            let read = read.await.map_err(|panic| StoreError::Panicked(panic.to_string()))?;
            let (events, lost) = read?;
            let n_lost = lost.saturating_sub(lost_before.replace(lost).unwrap_or(lost));
            if n_lost > 0 {
                self.metrics.lost.inc_by(n_lost);
                warn!(
                    "{n_lost} events of the registry were lost: as many wait as there is room for"
                );
            }
            let Some(last) = events.last().map(|event| event.row) else { return Ok(()) };
            for event in &events {
                self.broker.publish_event(&event.topic, || event.payload().into());
            }
            // What was promised to sessions is kept before it is forgotten here.
            self.broker.committed().await;
            self.store.write(move |tx| registry_events::forget(tx, last)).await?;
            self.metrics.published.inc_by(events.len() as u64);
            tokio::time::sleep(REGISTRY_EVENTS_PACE).await;
        }
    }
}

/// Waits until an event was written, or may have been.
async fn registry_changed(changes: &mut broadcast::Receiver<Arc<[Change]>>) {
    loop {
        match changes.recv().await {
            Ok(changes) if !changes.contains(&Change::RegistryEvent) => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            // The store is gone; whoever looks at it next is told so.
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests;
