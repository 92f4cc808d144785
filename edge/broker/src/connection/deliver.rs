//! Deliveries: what waits for the client, decided and counted as it leaves.

use std::cell::Cell;

use picket_mqtt::Delivery;
use picket_mqtt::session::{Record, Sent};
use picket_policy::Action;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::authorize::Receives;
use crate::bringing;
use crate::metrics::Dropped;
use crate::slices::SliceMask;
use crate::tally::Flush;
use crate::wire::OUTPUT_HIGH_BYTES;

thread_local! {
    /// The memory of what leaves a mailbox at once.
    static BATCH: Cell<Vec<Delivery>> = const { Cell::new(Vec::new()) };
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Hands out what waits, as far as the client takes it. True if more is to be handed out once
    /// this is written.
    pub(super) fn hand_out(&mut self) -> bool {
        if self.is_congested() {
            return self.wire.is_congested();
        }
        if self.watch.has_changed() {
            return false;
        }
        bringing::bring(&self.shared, &mut self.lease, self.now);
        let room = self.session.room();
        let unacknowledged = self.session.unacknowledged_bytes();
        let mailbox = &self.lease.mailbox;
        let mut batch = BATCH.take();
        let is_left = mailbox.take(&mut batch, room, OUTPUT_HIGH_BYTES, unacknowledged);
        // Messages come in runs of one topic: what lies in the same slices is counted at once.
        let (mut n_run, mut run_slices) = (0, SliceMask::NONE);
        for delivery in batch.drain(..) {
            let topic = &delivery.message.topic;
            let receiving = self.receiving.get_or_insert_default();
            let Receives { is_allowed, slices } =
                receiving.of(topic, &self.access, self.tally.slices(), &self.presence.who.client);
            if !is_allowed {
                self.shared.metrics.deny(Action::Receive);
                let flush = self.tally.denied(self.at, Action::Receive, topic.as_str(), slices);
                self.flush_now |= flush == Flush::Now;
                // Another member has it, or nobody, in the moment in which it is not here any more.
                let session = self.lease.mailbox.session;
                let journal = self.shared.journal.as_ref().zip(delivery.number);
                let whole = journal.map(|(journal, _)| journal.whole());
                if !self.shared.router.pass_on(&delivery, session) {
                    self.shared.metrics.drop_message(Dropped::ReceiveDenied);
                }
                if let Some((journal, number)) = journal {
                    journal.note(session, Record::Over(number));
                }
                drop(whole);
                continue;
            }
            match self.session.send(delivery, self.now, &mut self.out) {
                Sent::Yes => {
                    if slices != run_slices {
                        let n_ended = std::mem::take(&mut n_run);
                        let flush = self.tally.received(self.at, n_ended, run_slices);
                        self.flush_now |= flush == Flush::Now;
                        run_slices = slices;
                    }
                    n_run += 1;
                    self.counts.messages_out += 1;
                }
                Sent::Expired => self.shared.metrics.drop_message(Dropped::Expired),
                Sent::TooLarge => self.shared.metrics.drop_message(Dropped::TooLarge),
                Sent::NoRoom => self.shared.metrics.drop_message(Dropped::QueueFull),
            }
        }
        BATCH.set(batch);
        self.flush_now |= self.tally.received(self.at, n_run, run_slices) == Flush::Now;
        // Without room in the window, an acknowledgement brings us back here.
        let goes_on = self.session.room() > 0;
        if is_left { goes_on } else { !self.lease.bringing.is_over() }
    }
}
