//! The dispatcher: one delivery for each subscription.

use picket_model::Timestamp;
use picket_store::{Store, StoreError, outbox};

/// Entries that one transaction expands: a burst is done in few commits, and none is long.
const BATCH: usize = 100;

/// Makes the deliveries of all entries that have none yet. An entry whose topic has no
/// subscription is done thereby.
pub(super) async fn dispatch(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let reader = store.clone();
        // Most of the time there is nothing, and a transaction of the writer is dear.
        let is_empty = tokio::task::spawn_blocking(move || {
            reader.read(|tx| outbox::pending(tx, 1)).map(|entries| entries.is_empty())
        });
        if is_empty.await.map_err(|_| StoreError::Closed)?? {
            return Ok(());
        }
        store
            .write(move |tx| {
                for entry in outbox::pending(tx, BATCH)? {
                    let deliveries = outbox::expand(tx, &entry.id, now)?;
                    tracing::debug!(
                        entry.id = entry.id,
                        "{} subscribers of {}",
                        deliveries.len(),
                        entry.topic_arn
                    );
                }
                Ok::<_, StoreError>(())
            })
            .await?;
    }
}
