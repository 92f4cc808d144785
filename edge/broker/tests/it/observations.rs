//! What Detect is told.

use picket_model::{DeviceName, DisconnectReason, Fact, Tripwires};
use picket_mqtt::packet::Packet;
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::publish;
use crate::testbed::{ALLOW_ALL, Testbed, all_but};

fn name(fact: &Fact) -> &'static str {
    match fact {
        Fact::ConnectionAttempted { .. } => "attempted",
        Fact::Connected { .. } => "connected",
        Fact::Disconnected { .. } => "disconnected",
        Fact::Published(_) => "published",
        Fact::Received { .. } => "received",
        Fact::Denied(_) => "denied",
        Fact::Reported(_) | Fact::ReportRefused { .. } => "report",
    }
}

#[tokio::test]
async fn a_life_is_told_in_order_and_added_up() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    peer.subscribe("t", QoS::AtMostOnce).await;
    for payload in ["1", "22", "333"] {
        peer.send(Packet::Publish(Box::new(publish("t", payload, QoS::AtMostOnce)))).await;
        peer.message().await;
    }
    peer.disconnect(ReasonCode::SUCCESS).await;
    let is_over = |fact: &Fact| matches!(fact, Fact::Disconnected { reason, .. } if *reason == DisconnectReason::ClientInitiated);
    bed.fact("device", is_over).await;
    let all = bed.observed("all", |_| true).await;
    let mut order: Vec<_> = all.iter().map(|it| name(&it.fact)).collect();
    order.dedup();
    assert_eq!(&order[..2], ["attempted", "connected"]);
    assert_eq!(order.last(), Some(&"disconnected"));
    assert!(all.is_sorted_by_key(|it| it.at));
    let (mut count, mut bytes, mut received) = (0, 0, 0);
    for observation in &all {
        match &observation.fact {
            Fact::Published(published) => {
                count += published.count;
                bytes += published.bytes_total;
                // INVARIANT (one second)
                let second = |at: picket_model::Timestamp| at.floor(1000);
                assert_eq!(second(published.first_at), second(observation.at));
            }
            Fact::Received { count } => received += count,
            _ => {}
        }
    }
    assert_eq!((count, bytes, received), (3, 6, 3));
}

#[tokio::test]
async fn what_is_counted_is_told_without_further_messages() {
    let bed = Testbed::new().await;
    let mut peer = bed.plain_peer("device").await;
    peer.publish("t", "x").await;
    bed.fact("device", |fact| matches!(fact, Fact::Published(_))).await;
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_tripwire_is_told_before_the_message_is_acknowledged() {
    let bed = Testbed::new().await;
    let device = DeviceName::parse("device").unwrap();
    let wires = Tripwires { message_bytes: Some(10), ..Tripwires::default() };
    bed.broker.set_tripwires(&device, wires, &[]);
    let mut peer = bed.plain_peer("device").await;
    peer.publish("t", "a payload over the limit").await;
    let told = bed.fact("device", |fact| matches!(fact, Fact::Published(_))).await;
    let Fact::Published(published) = told.fact else { panic!("published") };
    assert_eq!((published.bytes_max, &*published.largest_topic), (24, "t"));
}

#[tokio::test]
async fn an_attempt_that_is_denied_is_told_as_such() {
    let bed = Testbed::new().await;
    let device = bed.device("device", &all_but("iot:Connect", "client/*"));
    let mut peer = crate::peer::Peer::tls(&bed, Some(&device)).await;
    peer.connect(crate::peer::connect("device", picket_mqtt::packet::Version::V5)).await;
    peer.closed().await;
    let both = |all: &[picket_model::Observation]| all.len() == 2;
    let all = bed.observed("two observations", both).await;
    assert_eq!(all.iter().map(|it| name(&it.fact)).collect::<Vec<_>>(), ["attempted", "denied"]);
}
