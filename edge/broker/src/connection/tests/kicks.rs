//! Several who want a connection to go at the same moment: it goes once, for the first one's reason.

use bytes::{Buf, BytesMut};
use picket_model::Fact;
use picket_mqtt::ReasonCode;

use super::*;
use crate::operate::Dismissal;
use crate::sessions::claim;

/// Whose session is kept for 100 seconds, in MQTT 5.
const CONNECT: &[u8] = b"\x10\x13\0\x04MQTT\x05\0\x02\x58\x05\x11\0\0\0\x64\0\x01a";

/// Who wants the connection to go.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// Somebody with the same client id.
    Newcomer,
    Operator(Dismissal),
    /// The server, which stops.
    Server,
}

const ENDS_SESSION: Dismissal = Dismissal { ends_session: true, without_will: false };
const KEEPS_SESSION: Dismissal = Dismissal { ends_session: false, without_will: false };

impl By {
    const ALL: [Self; 4] =
        [Self::Newcomer, Self::Operator(KEEPS_SESSION), Self::Operator(ENDS_SESSION), Self::Server];

    /// What is told of it: to the client, and to whoever observes.
    fn told(self) -> (ReasonCode, DisconnectReason) {
        match self {
            Self::Newcomer => (ReasonCode::SESSION_TAKEN_OVER, DisconnectReason::DuplicateClientId),
            Self::Operator(_) => {
                (ReasonCode::ADMINISTRATIVE_ACTION, DisconnectReason::ApiInitiated)
            }
            Self::Server => (ReasonCode::SERVER_SHUTTING_DOWN, DisconnectReason::ServerInitiated),
        }
    }

    /// Makes the connection go and waits for its end; whether the session that it left goes on, where
    /// that shows.
    async fn kick(self, broker: &Broker) -> Option<bool> {
        let client = ClientId::parse("a").unwrap();
        match self {
            Self::Newcomer => {
                let policy = PolicyName::parse("open").unwrap();
                let principal = Principal::Anonymous { policy };
                Some(claim(broker.shared(), &client, &principal, false).await.resumed)
            }
            Self::Operator(dismissal) => {
                assert!(broker.dismiss(&client, dismissal).await);
                None
            }
            Self::Server => {
                assert!(broker.shutdown(Duration::from_secs(60)).await);
                None
            }
        }
    }
}

/// The packets that are there already, whole.
fn packets(bytes: &mut BytesMut) -> Vec<Packet> {
    let mut packets = Vec::new();
    while let Some(frame) = codec::frame(bytes, 1 << 16).unwrap() {
        packets.push(codec::decode(&frame, Version::V5).unwrap());
        let len = frame.len;
        bytes.advance(len);
    }
    packets
}

/// Has a connection kicked twice before it looks for the first time, and checks all that comes of it.
async fn check(first: By, second: By) {
    let case = format!("{first:?}, then {second:?}");
    let (broker, mut observed) = broker();
    let mut far = connecting(broker.clone(), CONNECT, 4096).await;
    let mut bytes = BytesMut::new();
    far.read_buf(&mut bytes).await.unwrap();
    assert!(matches!(packets(&mut bytes)[..], [Packet::ConnAck(_)]), "{case}");

    let hears_the_end = async { while far.read_buf(&mut bytes).await.unwrap() > 0 {} };
    // Each is polled once, in this order, before anybody else on this one thread gets on.
    let (of_first, of_second, ()) =
        tokio::join!(first.kick(&broker), second.kick(&broker), hears_the_end);

    let (code, reason) = first.told();
    let told: Vec<_> = packets(&mut bytes)
        .into_iter()
        .map(|packet| match packet {
            Packet::Disconnect(disconnect) => disconnect.reason,
            other => panic!("{case}: {other:?}"),
        })
        .collect();
    assert_eq!(told, [code], "{case}");
    let ends: Vec<_> = std::iter::from_fn(|| observed.try_recv().ok())
        .filter_map(|observation| match observation.fact {
            Fact::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [reason], "{case}");
    let goes_on = of_first.or(of_second).unwrap_or_else(|| broker.sessions().kept == 1);
    assert_eq!(goes_on, first != By::Operator(ENDS_SESSION), "{case}");
}

#[tokio::test]
async fn of_two_who_kick_at_once_the_first_ones_reason_counts() {
    for first in By::ALL {
        for second in By::ALL {
            if first != second {
                check(first, second).await;
            }
        }
    }
}
