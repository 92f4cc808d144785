//! Metrics export: values of behaviors and metrics with `exportMetric` are published to their
//! profile's topic. Source: AWS guide "Exporting metrics".
//!
//! Dramatis personae:
//!
//! - [`Exports`] takes values from the shard once they are committed, and adds up in its *buffer*
//!   ([`buffer`]) what is counted in windows shorter than the period;
//! - [`run`] publishes what the buffer holds once for each period, in messages ([`message`]) that
//!   the broker takes.
//!
//! The buffer is memory: a crash loses what was not published yet, a period at the most
//! (docs/export.md). A stop publishes it first.

mod buffer;
mod message;
mod metrics;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picket_broker::{Broker, InternalPublish};
use picket_detect::Exported;
use picket_model::text::chain;
use picket_model::{ProfileName, Timestamp};
use picket_mqtt::{QoS, packet};
use picket_store::{Store, StoreError, profiles};
use tracing::{debug, warn};

use self::buffer::{Buffer, Series, Value};
use self::message::Messages;
use self::metrics::End;
pub(crate) use self::metrics::ExportMetrics;
use crate::clock;
use crate::limits::EXPORT_PACE;

/// How long after the end of a period its values are published: windows that end with it wait out
/// their grace, are judged, and are committed within a second or two.
const DELAY_MS: i64 = 5_000;

/// Where the shard puts what is to be exported. Clones share one buffer.
#[derive(Clone)]
pub(crate) struct Exports {
    buffer: Arc<Mutex<Buffer>>,
    metrics: ExportMetrics,
}

impl Exports {
    pub(crate) fn new(metrics: ExportMetrics) -> Self {
        Self { buffer: Arc::default(), metrics }
    }

    /// Takes values that are committed. Where there is no room they are dropped and counted; never
    /// waits.
    pub(crate) fn add(&self, values: Vec<Exported>) {
        if values.is_empty() {
            return;
        }
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let n_dropped =
            values.into_iter().map(|value| buffer.add(value)).filter(|&is_in| !is_in).count();
        self.metrics.count(End::NoRoom, n_dropped);
    }

    /// How many values wait.
    #[cfg(test)]
    pub(crate) fn n_waiting(&self) -> usize {
        let buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.n_values()
    }

    /// Everything that waits, and an empty buffer in its place.
    fn take(&self) -> Buffer {
        std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What [`run`] works with.
pub(crate) struct Exporter {
    pub(crate) exports: Exports,
    /// Knows the profiles' topics.
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    /// Length of a period, in milliseconds.
    pub(crate) interval_ms: i64,
    /// How long windows wait for stragglers, in milliseconds.
    pub(crate) grace_ms: i64,
    /// Largest payload that the broker takes.
    pub(crate) payload_bytes_max: usize,
    pub(crate) pace: Pace,
}

/// How fast one message follows another.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The server stops: as fast as it goes.
    is_hurried: AtomicBool,
}

/// Publishes once for each period, periods lying on the clock; when `stop` resolves, what waits is
/// published a last time.
pub(crate) async fn run(exporter: Exporter, stop: impl Future<Output = ()> + Send) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let wait = exporter.wait(clock::now());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut stop => break,
        }
        let publishing = exporter.publish();
        let mut publishing = std::pin::pin!(publishing);
        tokio::select! {
            () = &mut publishing => {}
            () = &mut stop => {
                exporter.pace.hurry();
                publishing.await;
                break;
            }
        }
    }
    // Nobody is spared any more, and the broker goes next.
    exporter.pace.hurry();
    exporter.publish().await;
}

impl Pace {
    fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
    }

    /// Waits between two messages.
    async fn rest(&self) {
        if self.is_hurried.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(EXPORT_PACE).await;
        }
    }
}

impl Exporter {
    /// Until the values of the period that runs are together.
    fn wait(&self, now: Timestamp) -> Duration {
        let delay = self.grace_ms + DELAY_MS;
        let next = (now - delay).floor(self.interval_ms) + self.interval_ms + delay;
        Duration::from_millis(u64::try_from(next.millis_since(now)).unwrap_or(0))
    }

    /// Publishes everything that waits.
    async fn publish(&self) {
        let buffer = self.exports.take();
        if buffer.n_dropped() > 0 {
            warn!(
                "{} values were not exported: as many wait as there is room for",
                buffer.n_dropped()
            );
        }
        let by_profile = buffer.into_profiles();
        if by_profile.is_empty() {
            return;
        }
        let topics = match self.topics(by_profile.keys().cloned().collect()).await {
            Ok(topics) => topics,
            Err(error) => {
                let n: usize = by_profile.values().map(Vec::len).sum();
                self.exports.metrics.count(End::Refused, n);
                warn!(error = %chain(&error), "{n} values were not exported: their topics cannot be read");
                return;
            }
        };
        for (profile, values) in by_profile {
            match topics.get(&profile) {
                Some(topic) => self.publish_profile(&profile, topic, values).await,
                // It was deleted or exports no more.
                None => self.exports.metrics.count(End::ProfileGone, values.len()),
            }
        }
    }

    /// The topics of those of the profiles that still export.
    async fn topics(
        &self,
        names: Vec<ProfileName>,
    ) -> Result<BTreeMap<ProfileName, String>, StoreError> {
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || {
            store.read(|tx| {
                let mut topics = BTreeMap::new();
                for name in names {
                    let profile = profiles::find(tx, &name)?;
                    if let Some(export) = profile.and_then(|profile| profile.export) {
                        topics.insert(name, export.mqtt_topic);
                    }
                }
                Ok(topics)
            })
        });
        read.await.map_err(|panic| StoreError::Panicked(panic.to_string()))?
    }

    async fn publish_profile(
        &self,
        profile: &ProfileName,
        topic: &str,
        values: Vec<(Series, Value)>,
    ) {
        let metrics = &self.exports.metrics;
        let mut messages = Messages::new(values.into_iter(), self.payload_bytes_max);
        while let Some((payload, n_values)) = messages.next() {
            let publish = InternalPublish {
                topic: topic.to_owned(),
                payload: payload.into(),
                qos: QoS::AtLeastOnce,
                retain: false,
                properties: packet::MessageProperties::default(),
            };
            match self.broker.publish(publish) {
                Ok(()) => {
                    metrics.count(End::Published, n_values);
                    metrics.messages.inc();
                    debug!(profile.name = %profile, "exported {n_values} values to `{topic}`");
                }
                Err(error) => {
                    metrics.count(End::Refused, n_values);
                    let topic = topic.escape_debug();
                    warn!(
                        profile.name = %profile, error = %chain(&error),
                        "{n_values} values of profile `{profile}` cannot be exported to `{topic}`"
                    );
                }
            }
            self.pace.rest().await;
        }
        if messages.n_too_large() > 0 {
            metrics.count(End::TooLarge, messages.n_too_large());
            warn!(
                profile.name = %profile,
                "{} values of profile `{profile}` were not exported: each is larger than a message may be",
                messages.n_too_large()
            );
        }
    }
}

#[cfg(test)]
mod tests;
