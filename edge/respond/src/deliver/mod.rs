//! Emptying the outbox: everybody who subscribed is told, at least once.
//!
//! Dramatis personae:
//!
//! - an *entry* is a message for one notification topic, committed together with what it tells of;
//! - the *dispatcher* (`dispatcher`) makes one *delivery* of it for each subscription, all of them
//!   in one transaction;
//! - the *deliverator* (`deliverator`) makes *attempts* at the deliveries that are due, records
//!   how they ended, and gives up after [`Backoff`]'s bounds: a dead letter with the last error;
//! - [`Subscribers`] knows how to reach a subscriber; [`FunctionSubscribers`] does it for functions.
//!
//! Everything is in the store, nothing but attempts under way in memory: a server that is killed
//! makes those again. The message id is the same then (see [`message_id`](crate::message_id)).
//! That changes of the outbox are listened for only makes it quicker: it is looked at every
//! [`LOOK_AGAIN`] anyway.

mod backoff;
mod deliverator;
mod dispatcher;
mod function_subscribers;

use std::sync::Arc;
use std::time::Duration;

use picket_model::text::chain;
use picket_model::{Change, Timestamp};
use picket_store::limits::ENTRIES_KEPT_MS;
use picket_store::{Delivery, OutboxEntry, Store, StoreError, outbox};
use tokio::sync::broadcast;
use tokio::time::Instant;

pub use backoff::Backoff;
pub use function_subscribers::FunctionSubscribers;

use self::deliverator::Deliverator;
use crate::metrics::Metrics;
use crate::ports::Clock;

/// How often the outbox is looked at although nothing says that it changed.
pub const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How often old entries are deleted.
const CLEAN_EVERY: Duration = Duration::from_secs(3600);

/// Gives numbers from 0 up to 1, to spread attempts that failed together.
pub type Jitter = Box<dyn FnMut() -> f64 + Send>;

/// How deliveries are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverConfig {
    /// When to try again.
    pub backoff: Backoff,
    /// Attempts at the same time for one endpoint. Default 4: one that hangs holds up four
    /// deliveries of its own and none of others.
    pub attempts_per_endpoint_max: usize,
    /// Attempts at the same time in all. Default 64.
    pub attempts_max: usize,
    /// How long attempts under way may take when the server stops. Default 2 s; what is not done
    /// then is done again by the next start.
    pub stop_timeout: Duration,
}

impl Default for DeliverConfig {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            attempts_per_endpoint_max: 4,
            attempts_max: 64,
            stop_timeout: Duration::from_secs(2),
        }
    }
}

/// Why an attempt failed. The text ends up in the delivery's record: it should say what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptError {
    /// It may work later.
    Again(String),
    /// It will not work: the delivery is given up at once.
    Never(String),
    /// The server stops: it counts as not made.
    Stopping,
}

/// Who can be reached.
pub trait Subscribers: Send + Sync + 'static {
    /// Hands one subscriber its share of an entry, and says whether it took it.
    fn attempt(
        &self,
        delivery: &Delivery,
        entry: &OutboxEntry,
    ) -> impl Future<Output = Result<(), AttemptError>> + Send;
}

/// What [`run`] works with.
pub struct Deliverer<S> {
    /// Bounds.
    pub config: DeliverConfig,
    /// Where the outbox is.
    pub store: Store,
    /// Who is told.
    pub subscribers: S,
    /// The time.
    pub clock: Clock,
    /// See [`Jitter`].
    pub jitter: Jitter,
    /// Counters.
    pub metrics: Metrics,
}

/// Empties the outbox until `stop` resolves or the store is closed.
///
/// When the store fails it is tried again, once a second.
pub async fn run<S: Subscribers>(deliverer: Deliverer<S>, stop: impl Future<Output = ()> + Send) {
    let mut changes = deliverer.store.changes();
    let mut cleaned_at = None;
    let mut deliverator = Deliverator::new(deliverer);
    let mut stop = std::pin::pin!(stop);
    loop {
        if cleaned_at.is_none_or(|at: Instant| at.elapsed() > CLEAN_EVERY) {
            cleaned_at = Some(Instant::now());
            if let Err(error) = clean(deliverator.store(), deliverator.now()).await {
                tracing::warn!(error = %chain(&error), "old entries of the outbox cannot be deleted");
            }
        }
        let wait = match look(&mut deliverator).await {
            Ok(wait) => wait.min(LOOK_AGAIN),
            Err(StoreError::Closed) => break,
            Err(error) => {
                tracing::error!(error = %chain(&error), "the outbox cannot be read");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = outbox_changed(&mut changes) => {}
            () = deliverator.attempt_ended() => {}
            () = tokio::time::sleep(wait) => {}
            () = &mut stop => break,
        }
    }
    deliverator.stop().await;
}

/// Dispatches what is new, starts what is due, and says how long nothing else will be.
async fn look<S: Subscribers>(deliverator: &mut Deliverator<S>) -> Result<Duration, StoreError> {
    dispatcher::dispatch(deliverator.store(), deliverator.now()).await?;
    deliverator.start_due().await
}

async fn clean(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    const BATCH: usize = 1_000;
    let before = now.plus_millis(-ENTRIES_KEPT_MS);
    while store.write(move |tx| outbox::delete_older_than(tx, before, BATCH)).await? == BATCH {}
    Ok(())
}

/// Waits until something was put into the outbox, or may have been.
async fn outbox_changed(changes: &mut broadcast::Receiver<Arc<[Change]>>) {
    loop {
        match changes.recv().await {
            Ok(changes) if !changes.contains(&Change::Outbox) => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            // The store is gone; whoever looks at it next is told so.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
