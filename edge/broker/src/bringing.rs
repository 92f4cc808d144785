//! Retained messages on their way to new subscriptions, in portions.
//!
//! A filter may match more messages than a mailbox holds. They need not all lie there at once: they
//! wait where they are, and the next ones are taken when the client got on with those before. What
//! is remembered meanwhile is a filter and a topic.

use std::collections::VecDeque;

use picket_model::Timestamp;
use picket_mqtt::{TopicFilter, TopicName};

use crate::broker::Shared;
use crate::mailbox::Posted;
use crate::metrics::Dropped;
use crate::router::retained_delivery;
use crate::sessions::Lease;

/// Messages looked up at once: about what a client takes before it has to acknowledge, and few
/// enough not to hold up those who retain new ones.
const PORTION: usize = 100;

/// The filters whose retained messages a session is being brought. At most one for each of its
/// subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Bringing {
    /// In the order of subscribing. Nearly all connections subscribe once and are done with it soon.
    #[expect(clippy::box_collection, reason = "where there is none, a pointer is all it takes")]
    runs: Option<Box<VecDeque<Run>>>,
}

/// One filter's.
#[derive(Debug)]
struct Run {
    filter: TopicFilter,
    /// The topic of the last message that was brought.
    after: Option<TopicName>,
}

impl Bringing {
    /// Brings everything that matches a filter, from the beginning if it is being brought already.
    pub(crate) fn begin(&mut self, filter: TopicFilter) {
        self.forget(&filter);
        self.runs.get_or_insert_default().push_back(Run { filter, after: None });
    }

    /// Brings no more of a filter.
    pub(crate) fn forget(&mut self, filter: &TopicFilter) {
        if let Some(runs) = &mut self.runs {
            runs.retain(|run| run.filter != *filter);
        }
        self.give_back();
    }

    /// Whether everything was brought.
    pub(crate) fn is_over(&self) -> bool {
        self.runs.is_none()
    }

    /// The first filter has nothing more to bring.
    fn end_first(&mut self) {
        if let Some(runs) = &mut self.runs {
            runs.pop_front();
        }
        self.give_back();
    }

    fn give_back(&mut self) {
        self.runs.take_if(|runs| runs.is_empty());
    }
}

/// Moves retained messages to the session's mailbox as long as it has room to spare.
pub(crate) fn bring(shared: &Shared, lease: &mut Lease, now: Timestamp) {
    let Lease { bringing, mailbox, subscriptions, .. } = lease;
    while let Some(run) = bringing.runs.as_mut().and_then(|runs| runs.front_mut())
        && mailbox.has_room_to_spare()
    {
        let Some(subscription) = subscriptions.get(&run.filter) else {
            bringing.end_first();
            continue;
        };
        let found = shared.retained.matching(&run.filter, run.after.as_ref(), PORTION, now);
        let is_last = found.len() < PORTION;
        for message in found {
            if !mailbox.has_room_to_spare() {
                return;
            }
            let topic = message.topic.clone();
            match mailbox.post(retained_delivery(message, subscription)) {
                Posted::Full if !mailbox.is_empty() => return,
                // It is too large for the whole mailbox.
                Posted::Full => shared.metrics.drop_message(Dropped::QueueFull),
                // Nobody knows when there will be room again, and nobody would tell.
                Posted::AllFull => shared.metrics.drop_message(Dropped::AllQueuesFull),
                Posted::Waits(_) | Posted::Crowds(_) | Posted::NotKept | Posted::Closed => {}
            }
            run.after = Some(topic);
        }
        if is_last {
            bringing.end_first();
        }
    }
}
