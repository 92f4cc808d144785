//! Messages that were sent above QoS 0 and are not yet acknowledged.

use std::collections::VecDeque;

use crate::packet::PacketId;
use crate::{Delivery, DeliveryNumber, QoS};

/// One message in flight.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) packet_id: PacketId,
    pub(super) stage: Stage,
}

/// How far the exchange is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// PUBLISH was sent: PUBACK or PUBREC must come. Kept to be sent again.
    Published(Delivery),
    /// PUBREL was sent: PUBCOMP must come. The message itself is no longer needed.
    Released(Option<DeliveryNumber>),
}

impl InFlight {
    /// Its number, where it is remembered.
    pub(super) const fn number(&self) -> Option<DeliveryNumber> {
        match &self.stage {
            Stage::Published(delivery) => delivery.number,
            Stage::Released(number) => *number,
        }
    }
}

/// What a PUBREC is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// A message that the client has from now on.
    Now(Option<DeliveryNumber>),
    /// One that it has said it has before.
    Again,
    /// Nothing that is in flight at QoS 2.
    Unknown,
}

/// All of them, in the order of sending.
///
/// INVARIANT (id order): packet ids are given out in a circle and grow from front to back, so the id
/// to be given out next is in use only if the front has it. Then the window counts as full until
/// the client acknowledges what it has left open for 65,534 messages.
#[derive(Debug, Default)]
pub(super) struct Window {
    items: VecDeque<InFlight>,
    last_id: u16,
    /// Of the messages that are kept to be sent again, as [`crate::Message::cost_bytes`] reckons.
    bytes: usize,
    /// How many at the back were not sent on this connection yet, after a resume.
    to_resend: usize,
}

/// Room kept by an empty window.
const CAPACITY_KEPT: usize = 16;

/// The id that follows in the circle; 0 is none.
const fn following(id: u16) -> PacketId {
    match PacketId::new(id.wrapping_add(1)) {
        Some(id) => id,
        None => PacketId::MIN,
    }
}

impl Window {
    /// What was in flight, in the order of sending; `None` where the packet ids do not grow.
    ///
    /// INVARIANT (id order): checked here, for what comes in was read from somewhere.
    pub(super) fn restored(items: VecDeque<InFlight>) -> Option<Self> {
        let first = items.front().map_or(0, |item| item.packet_id.get());
        // How far behind the first in the circle, which has no 0.
        let behind = |item: &InFlight| {
            let id = u32::from(item.packet_id.get());
            (id + u32::from(u16::MAX) - u32::from(first)) % u32::from(u16::MAX)
        };
        if !items.iter().is_sorted_by(|a, b| behind(a) < behind(b)) {
            return None;
        }
        let cost_bytes = |item: &InFlight| match &item.stage {
            Stage::Published(delivery) => delivery.message.cost_bytes(),
            Stage::Released(_) => 0,
        };
        let bytes = items.iter().map(cost_bytes).sum();
        let last_id = items.back().map_or(0, |item| item.packet_id.get());
        Some(Self { items, last_id, bytes, to_resend: 0 })
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Bytes of messages kept to be sent again.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many more may be sent when `max` may be open.
    pub(super) fn room(&self, max: u16) -> usize {
        let next_is_in_use =
            self.items.front().is_some_and(|front| front.packet_id == following(self.last_id));
        if self.to_resend > 0 || next_is_in_use {
            return 0;
        }
        usize::from(max).saturating_sub(self.items.len())
    }

    /// Takes a delivery in and gives it its packet id. The caller has looked at [`Window::room`].
    pub(super) fn push(&mut self, delivery: Delivery) -> PacketId {
        let packet_id = following(self.last_id);
        self.last_id = packet_id.get();
        self.bytes += delivery.message.cost_bytes();
        self.items.push_back(InFlight { packet_id, stage: Stage::Published(delivery) });
        packet_id
    }

    // Clients acknowledge in order, so the search ends at the front.
    fn position(&self, packet_id: PacketId) -> Option<usize> {
        self.items.iter().position(|item| item.packet_id == packet_id)
    }

    /// Removes the message that a PUBACK, PUBCOMP or failed PUBREC ends, if it is of that kind.
    pub(super) fn finish(
        &mut self,
        packet_id: PacketId,
        fits: impl FnOnce(&Stage) -> bool,
    ) -> Option<InFlight> {
        let index = self.position(packet_id).filter(|&index| fits(&self.items[index].stage))?;
        if index >= self.items.len() - self.to_resend {
            self.to_resend -= 1;
        }
        let finished = self.items.remove(index);
        if let Some(InFlight { stage: Stage::Published(delivery), .. }) = &finished {
            self.bytes -= delivery.message.cost_bytes();
        }
        if self.items.is_empty() && self.items.capacity() > CAPACITY_KEPT {
            self.items.shrink_to(CAPACITY_KEPT);
        }
        finished
    }

    /// Moves a QoS 2 message on after its PUBREC; also fine if it was before.
    pub(super) fn release(&mut self, packet_id: PacketId) -> Recorded {
        let Some(item) = self.position(packet_id).and_then(|index| self.items.get_mut(index))
        else {
            return Recorded::Unknown;
        };
        match &item.stage {
            Stage::Published(delivery) if delivery.qos != QoS::ExactlyOnce => Recorded::Unknown,
            Stage::Published(delivery) => {
                let number = delivery.number;
                self.bytes -= delivery.message.cost_bytes();
                item.stage = Stage::Released(number);
                Recorded::Now(number)
            }
            Stage::Released(_) => Recorded::Again,
        }
    }

    /// Begins a new connection: everything that `keep` wants is to be sent again.
    ///
    /// Exchanges that only wait for PUBCOMP carry no content and stay.
    pub(super) fn resume(&mut self, mut keep: impl FnMut(&Delivery) -> bool) {
        let bytes = &mut self.bytes;
        self.items.retain(|item| match &item.stage {
            Stage::Published(delivery) => {
                let kept = keep(delivery);
                *bytes -= if kept { 0 } else { delivery.message.cost_bytes() };
                kept
            }
            Stage::Released(_) => true,
        });
        self.to_resend = self.items.len();
    }

    /// The next one to send again, as far as `max` may be open.
    pub(super) fn next_resend(&mut self, max: u16) -> Option<&InFlight> {
        let sent = self.items.len() - self.to_resend;
        if self.to_resend == 0 || sent >= usize::from(max) {
            return None;
        }
        self.to_resend -= 1;
        self.items.get(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, TopicLimits, TopicName};
    use std::sync::Arc;

    fn delivery() -> Delivery {
        let limits = TopicLimits { bytes_max: 10, levels_max: 2 };
        let topic = TopicName::parse("t", &limits).unwrap();
        let message = Message {
            topic,
            payload: bytes::Bytes::new(),
            qos: QoS::AtLeastOnce,
            properties: None,
            expires_at: None,
        };
        let qos = QoS::AtLeastOnce;
        Delivery {
            message: Arc::new(message),
            qos,
            retain: false,
            subscription_ids: None,
            shared: None,
            number: None,
        }
    }

    #[test]
    fn packet_ids_go_round_and_never_are_zero() {
        let mut window = Window::default();
        for expected in (1..=u16::MAX).chain(1..=3) {
            assert_eq!(window.push(delivery()).get(), expected);
            assert!(window.finish(PacketId::new(expected).unwrap(), |_| true).is_some());
        }
    }

    /// mqtt-3.1.1 [MQTT-2.3.1-4], mqtt-5 [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
    #[test]
    fn an_id_is_not_given_out_while_it_is_in_use() {
        let mut window = Window::default();
        let stuck = window.push(delivery());
        for _ in 2..=u16::MAX {
            let id = window.push(delivery());
            window.finish(id, |_| true);
        }
        assert_eq!(window.room(10), 0);
        window.finish(stuck, |_| true);
        assert_eq!(window.room(10), 10);
        assert_eq!(window.push(delivery()), stuck);
    }
}
