//! What a session must remember to keep its promises over the end of the server.

use crate::packet::PacketId;
use crate::{DeliveryNumber, QoS};

/// A fact that a session which outlives its connection has to remember.
///
/// Records stand among the packets in the order in which things happen. Whoever keeps them lets no
/// packet out behind one that [`Record::is_awaited`] before it is kept; all others may be kept when
/// there is time, but in order: a state that some of the first records make is one to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A QoS 2 publish of the client's was taken: until it is released its packet id stands for no
    /// other.
    Taken(PacketId),
    /// The client released it: the packet id may come again with another message.
    Freed(PacketId),
    /// A delivery leaves under a packet id.
    Sent {
        /// Which.
        number: DeliveryNumber,
        /// Its own until the exchange is over.
        packet_id: PacketId,
        /// Of the delivery.
        qos: QoS,
    },
    /// The client has the content of a QoS 2 delivery, which keeps its packet id until PUBCOMP.
    Released(DeliveryNumber),
    /// A delivery is over: the client has it, refused it, or cannot get it.
    Over(DeliveryNumber),
}

impl Record {
    /// Whether what is sent behind it must wait until it is kept.
    ///
    /// What is not awaited and gets lost makes a message of QoS 1 come again, or a step of an exchange
    /// of QoS 2, which the client knows by its packet id. What is awaited would make a QoS 2 message
    /// come twice, or never: the server would take a new one for the one before.
    pub const fn is_awaited(&self) -> bool {
        match self {
            Self::Taken(_) | Self::Freed(_) | Self::Released(_) => true,
            Self::Sent { qos, .. } => matches!(qos, QoS::ExactlyOnce),
            Self::Over(_) => false,
        }
    }
}
