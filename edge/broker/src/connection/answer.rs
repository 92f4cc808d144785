//! What the session is asked from outside, answered.

use picket_mqtt::packet::PacketId;
use picket_mqtt::session::{Output, Sent};
use picket_mqtt::{Delivery, QoS};
use picket_policy::Action;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::Connection;
use crate::asks::{Ask, Direct, NotSent};
use crate::authorize::Receives;
use crate::metrics::Dropped;
use crate::tally::Flush;

/// Somebody who waits for the client to acknowledge a message.
pub(super) struct Awaited {
    packet_id: PacketId,
    outcome: oneshot::Sender<Result<(), NotSent>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Answers what can be answered at this moment; the rest waits for a later turn.
    pub(super) fn answer(&mut self) {
        let mut later = Vec::new();
        for ask in self.lease.mailbox.asks.take() {
            match ask {
                Ask::Subscriptions(answer) => {
                    let subscriptions = self.lease.subscriptions.iter();
                    let list = subscriptions.map(|(filter, it)| (filter.clone(), it.options.qos));
                    // Whoever asked may have given up.
                    let _ = answer.send(list.collect());
                }
                Ask::Send(direct) if direct.outcome.is_closed() => {}
                Ask::Send(direct) if self.may_send(direct.message.qos) => self.send_direct(direct),
                Ask::Send(direct) => later.push(Ask::Send(direct)),
            }
        }
        if !later.is_empty() {
            self.lease.mailbox.asks.put_back(later);
        }
    }

    /// Whether there is room on the way to the client, and the rights are those in force.
    fn may_send(&self, qos: QoS) -> bool {
        let has_room = qos == QoS::AtMostOnce || self.session.room() > 0;
        has_room && !self.is_congested() && !self.watch.has_changed()
    }

    /// Sends a message to this client alone, if it may receive it: no subscription is needed.
    fn send_direct(&mut self, direct: Direct) {
        let Direct { message, outcome } = direct;
        let topic = &message.topic;
        let receiving = self.receiving.get_or_insert_default();
        let Receives { is_allowed, slices } =
            receiving.of(topic, &self.access, self.tally.slices(), &self.presence.who.client);
        if !is_allowed {
            self.shared.metrics.deny(Action::Receive);
            self.shared.metrics.drop_message(Dropped::ReceiveDenied);
            let flush = self.tally.denied(self.at, Action::Receive, topic.as_str(), slices);
            self.flush_now |= flush == Flush::Now;
            let _ = outcome.send(Err(NotSent::Denied));
            return;
        }
        let qos = message.qos;
        // Nobody was promised that it waits: it is not remembered over the end of the server.
        let delivery = Delivery {
            message,
            qos,
            retain: false,
            subscription_ids: None,
            shared: None,
            number: None,
        };
        let dropped = match self.session.send(delivery, self.now, &mut self.out) {
            Sent::Yes => None,
            Sent::Expired => Some(Dropped::Expired),
            Sent::TooLarge => Some(Dropped::TooLarge),
            Sent::NoRoom => Some(Dropped::QueueFull),
        };
        if let Some(dropped) = dropped {
            self.shared.metrics.drop_message(dropped);
            let _ = outcome.send(Err(NotSent::Unfit));
            return;
        }
        self.flush_now |= self.tally.received(self.at, 1, slices) == Flush::Now;
        self.counts.messages_out += 1;
        let packet_id = match self.out.last() {
            Some(Output::Publish(outgoing)) => outgoing.packet_id,
            Some(Output::Packet(_) | Output::Record(_)) | None => None,
        };
        match packet_id {
            None => drop(outcome.send(Ok(()))),
            Some(packet_id) => {
                self.awaited.retain(|awaited| !awaited.outcome.is_closed());
                self.awaited.push(Awaited { packet_id, outcome });
            }
        }
    }
}

impl<IO> Connection<IO> {
    /// Tells whoever waits for it that the client acknowledged a message.
    pub(super) fn acknowledged(&mut self, packet_id: PacketId) {
        if let Some(at) = self.awaited.iter().position(|it| it.packet_id == packet_id) {
            let _ = self.awaited.swap_remove(at).outcome.send(Ok(()));
        }
    }
}
