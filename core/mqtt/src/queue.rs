//! What waits for one client, bounded by count and by bytes.

use std::collections::VecDeque;

use thiserror::Error;

use crate::{Delivery, QoS};

/// Deliveries in their order.
///
/// INVARIANT (bounded queue): `len() <= messages_max` and `bytes() <= bytes_max`. A delivery that
/// would break it is refused, so the oldest stay: they are what an absent client missed first.
#[derive(Debug)]
pub struct DeliveryQueue {
    items: VecDeque<Delivery>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

/// The queue has no room for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the queue is full")]
pub struct QueueFull;

/// Room kept by an empty queue, in deliveries; a burst's worth of memory is given back.
const CAPACITY_KEPT: usize = 64;

impl DeliveryQueue {
    /// An empty one with its bounds.
    pub const fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { items: VecDeque::new(), bytes: 0, messages_max, bytes_max }
    }

    /// How many deliveries wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that wait, as [`crate::Message::cost_bytes`] reckons.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more than `part` of `whole` of one of the bounds is used.
    pub fn is_above(&self, part: usize, whole: usize) -> bool {
        let is_above =
            |used: usize, max: usize| used.saturating_mul(whole) > max.saturating_mul(part);
        is_above(self.items.len(), self.messages_max) || is_above(self.bytes, self.bytes_max)
    }

    /// Whether a delivery can be appended.
    pub fn has_room_for(&self, delivery: &Delivery) -> bool {
        self.items.len() < self.messages_max
            && self.bytes + delivery.message.cost_bytes() <= self.bytes_max
    }

    /// Appends a delivery.
    ///
    /// # Errors
    /// [`QueueFull`]; the delivery is dropped.
    pub fn push(&mut self, delivery: Delivery) -> Result<(), QueueFull> {
        if !self.has_room_for(&delivery) {
            return Err(QueueFull);
        }
        self.bytes += delivery.message.cost_bytes();
        self.items.push_back(delivery);
        Ok(())
    }

    /// Moves deliveries to `into`, oldest first: at most `acknowledged_max` above QoS 0, and none
    /// once `bytes_max` bytes were moved. Returns whether some are left.
    ///
    /// A delivery above QoS 0 that must wait holds back those behind it: order is kept.
    pub fn take(
        &mut self,
        into: &mut Vec<Delivery>,
        acknowledged_max: usize,
        bytes_max: usize,
    ) -> bool {
        let (mut room, mut moved) = (acknowledged_max, 0);
        while let Some(first) = self.items.front() {
            let needs_room = first.qos > QoS::AtMostOnce;
            if moved >= bytes_max || (needs_room && room == 0) {
                return true;
            }
            let bytes = first.message.cost_bytes();
            room -= usize::from(needs_room);
            moved += bytes;
            self.bytes -= bytes;
            into.extend(self.items.pop_front());
        }
        if self.items.capacity() > CAPACITY_KEPT {
            self.items.shrink_to(CAPACITY_KEPT);
        }
        false
    }

    /// Drops everything and says how many that were.
    pub fn clear(&mut self) -> usize {
        let dropped = self.items.len();
        self.items = VecDeque::new();
        self.bytes = 0;
        dropped
    }

    /// Keeps what `keep` wants and says how many were dropped.
    pub fn retain(&mut self, mut keep: impl FnMut(&Delivery) -> bool) -> usize {
        let before = self.items.len();
        let mut bytes = 0;
        self.items.retain(|delivery| {
            let kept = keep(delivery);
            bytes += if kept { delivery.message.cost_bytes() } else { 0 };
            kept
        });
        self.bytes = bytes;
        before - self.items.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picket_model::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{Message, TopicLimits, TopicName};

    fn delivery(payload_bytes: usize, qos: u8) -> Delivery {
        let topic = TopicName::parse("t", &TopicLimits { bytes_max: 9, levels_max: 1 }).unwrap();
        let qos = QoS::from_u8(qos).unwrap();
        let payload = vec![0; payload_bytes].into();
        let message = Message::received(topic, payload, qos, None, Timestamp::EPOCH);
        Delivery {
            message: Arc::new(message),
            qos,
            retain: false,
            subscription_ids: None,
            shared: None,
            number: None,
        }
    }

    proptest! {
        #[test]
        fn the_bounds_hold_and_the_bytes_add_up(
            sizes in prop::collection::vec((0usize..300, 0u8..3, 0usize..8, 0usize..900), 1..60),
        ) {
            let mut queue = DeliveryQueue::new(8, 1_500);
            let mut naive = VecDeque::new();
            for (size, qos, room, bytes_max) in sizes {
                let item = delivery(size, qos);
                let bytes: usize = naive.iter().map(|item: &Delivery| item.message.cost_bytes()).sum();
                let fits = naive.len() < 8 && bytes + item.message.cost_bytes() <= 1_500;
                prop_assert_eq!(queue.push(item.clone()).is_ok(), fits);
                if fits {
                    naive.push_back(item);
                }
                if size % 3 == 0 {
                    let mut taken = Vec::new();
                    let left = queue.take(&mut taken, room, bytes_max);
                    let acknowledged = taken.iter().filter(|item| item.qos > QoS::AtMostOnce).count();
                    prop_assert!(acknowledged <= room);
                    prop_assert_eq!(&taken, &naive.drain(..taken.len()).collect::<Vec<_>>());
                    prop_assert_eq!(left, !naive.is_empty());
                }
                prop_assert_eq!(queue.len(), naive.len());
                let bytes: usize = naive.iter().map(|item| item.message.cost_bytes()).sum();
                prop_assert_eq!(queue.bytes(), bytes);
            }
        }
    }

    #[test]
    fn an_acknowledged_message_without_room_holds_back_what_follows() {
        let mut queue = DeliveryQueue::new(9, 9_999);
        for qos in [0, 1, 0] {
            queue.push(delivery(0, qos)).unwrap();
        }
        let mut taken = Vec::new();
        assert!(queue.take(&mut taken, 0, 9_999));
        assert_eq!(taken.len(), 1);
        assert!(!queue.take(&mut taken, 1, 9_999));
        assert_eq!(taken.len(), 3);
    }
}
