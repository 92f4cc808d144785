//! What of a session outlives its connection, and how it is made again after the end of the server.

use std::collections::BTreeSet;

use super::inflight::{InFlight, Stage, Window};
use crate::packet::PacketId;
use crate::{Delivery, DeliveryNumber};

/// What of a session outlives its connection, besides its subscriptions and its queue.
///
/// What is in flight is this session's alone, also where it came by a shared subscription. Source:
/// mqtt-5 [MQTT-4.8.2-4] [MQTT-4.8.2-5].
#[derive(Debug, Default)]
pub struct SessionState {
    pub(super) window: Window,
    /// Packet ids of QoS 2 publishes that were received and not released.
    pub(super) unreleased: BTreeSet<PacketId>,
}

impl SessionState {
    /// Messages in flight towards the client.
    pub fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// Bytes of messages in flight that are kept to be sent again.
    pub const fn unacknowledged_bytes(&self) -> usize {
        self.window.bytes()
    }

    /// Makes the state again from what its records said: what was in flight in the order of its
    /// numbers, and the packet ids taken and not freed. `None` where that was never a state: packet ids
    /// that are in flight grow.
    pub fn restored(
        in_flight: impl IntoIterator<Item = Remembered>,
        unreleased: BTreeSet<PacketId>,
    ) -> Option<Self> {
        let in_flight = in_flight.into_iter().map(|remembered| match remembered {
            Remembered::Sent(packet_id, delivery) => {
                InFlight { packet_id, stage: Stage::Published(delivery) }
            }
            Remembered::Released(packet_id, number) => {
                InFlight { packet_id, stage: Stage::Released(Some(number)) }
            }
        });
        Some(Self { window: Window::restored(in_flight.collect())?, unreleased })
    }
}

/// A delivery in flight as its records tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It left under this packet id.
    Sent(PacketId, Delivery),
    /// The client has its content; PUBCOMP is missing.
    Released(PacketId, DeliveryNumber),
}
