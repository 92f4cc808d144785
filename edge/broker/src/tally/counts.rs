//! What happened in one second, of the whole or of a slice.

use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{Denied, Fact, Published, Timestamp};
use picket_mqtt::TopicName;
use picket_policy::Action;

/// The facts of one second, folded.
#[derive(Debug, Default)]
pub(super) struct Counts {
    published: Option<Published>,
    received: Option<Received>,
    denied: Option<Denied>,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    count: u64,
    last_at: Timestamp,
}

/// What [`Counts::take`] gives: of each kind a fact and when its last part happened.
pub(super) type Facts = [Option<(Timestamp, Fact)>; 3];

impl Counts {
    /// Adds a message of so many bytes.
    pub(super) fn published(
        &mut self,
        now: Timestamp,
        bytes: u64,
        topic: &TopicName,
        source: IpAddr,
    ) {
        match &mut self.published {
            None => {
                self.published = Some(Published {
                    count: 1,
                    bytes_total: bytes,
                    bytes_min: bytes,
                    bytes_max: bytes,
                    first_at: now,
                    last_at: now,
                    largest_topic: topic.shared(),
                    source,
                });
            }
            Some(published) => {
                published.count += 1;
                published.bytes_total = published.bytes_total.saturating_add(bytes);
                published.bytes_min = published.bytes_min.min(bytes);
                published.last_at = now;
                if bytes > published.bytes_max {
                    published.bytes_max = bytes;
                    published.largest_topic = topic.shared();
                }
            }
        }
    }

    /// Adds deliveries.
    pub(super) fn received(&mut self, now: Timestamp, count: u64) {
        let before = self.received.map_or(0, |received| received.count);
        self.received = Some(Received { count: before.saturating_add(count), last_at: now });
    }

    /// Adds a denied request.
    pub(super) fn denied(&mut self, now: Timestamp, action: Action, resource: &Arc<str>) {
        let last_action = action.as_str();
        match &mut self.denied {
            None => {
                self.denied = Some(Denied {
                    count: 1,
                    first_at: now,
                    last_at: now,
                    last_action,
                    last_resource: Arc::clone(resource),
                });
            }
            Some(denied) => {
                denied.count += 1;
                denied.last_at = now;
                denied.last_action = last_action;
                denied.last_resource = Arc::clone(resource);
            }
        }
    }

    /// What the last denied request was for, if that is what is asked about: runs of the same one
    /// share its text.
    pub(super) fn last_denied(&self, resource: &str) -> Option<Arc<str>> {
        let denied = self.denied.as_ref()?;
        (*denied.last_resource == *resource).then(|| Arc::clone(&denied.last_resource))
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Facts {
        let Self { published, received, denied } = std::mem::take(self);
        [
            published.map(|it| (it.last_at, Fact::Published(it))),
            received.map(|it| (it.last_at, Fact::Received { count: it.count })),
            denied.map(|it| (it.last_at, Fact::Denied(it))),
        ]
    }
}
