//! Wills.

use picket_broker::Dismissal;
use picket_model::{ClientId, Fact};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, will};
use crate::testbed::{Testbed, all_but};

/// A client with a will on `gone`, and one that waits for it.
async fn with_will(bed: &Testbed, delay_s: Option<u32>, expiry_s: u32) -> (Peer, Peer) {
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("gone", QoS::AtLeastOnce).await;
    let mut mortal = Peer::plain(bed.plain).await;
    mortal
        .connect_v5("mortal", |it| {
            let mut will = will("gone", "mortal");
            will.delay_s = delay_s;
            it.will = Some(will);
            it.properties.session_expiry_s = Some(expiry_s);
        })
        .await;
    (watcher, mortal)
}

#[tokio::test]
async fn a_lost_connection_sends_the_will() {
    let bed = Testbed::new().await;
    let (mut watcher, mortal) = with_will(&bed, None, 0).await;
    drop(mortal);
    assert_eq!(watcher.received().await, "gone mortal");
}

#[tokio::test]
async fn a_goodbye_does_not_unless_it_says_so() {
    let bed = Testbed::new().await;
    let (mut watcher, mortal) = with_will(&bed, None, 0).await;
    mortal.disconnect(ReasonCode::SUCCESS).await;
    watcher.expect_nothing().await;
    let (mut watcher, mortal) = with_will(&bed, None, 0).await;
    mortal.disconnect(ReasonCode::DISCONNECT_WITH_WILL).await;
    assert_eq!(watcher.received().await, "gone mortal");
}

#[tokio::test]
async fn an_operators_disconnect_sends_the_will() {
    let bed = Testbed::new().await;
    let (mut watcher, mut mortal) = with_will(&bed, None, 0).await;
    let dismiss = async |client: &str| {
        let client = ClientId::parse(client).unwrap();
        bed.broker.dismiss(&client, Dismissal::default()).await
    };
    assert!(dismiss("mortal").await);
    assert_eq!(mortal.closed().await, Some(ReasonCode::ADMINISTRATIVE_ACTION));
    assert_eq!(watcher.received().await, "gone mortal");
    assert!(!dismiss("nobody").await);
}

/// mqtt-5 [MQTT-3.1.3-9]
#[tokio::test]
async fn a_client_that_is_back_in_time_sends_no_will() {
    let bed = Testbed::new().await;
    let (mut watcher, mortal) = with_will(&bed, Some(1), 100).await;
    drop(mortal);
    let mut back = Peer::plain(bed.plain).await;
    let connack = back
        .connect_v5("mortal", |it| {
            it.clean_start = false;
            it.properties.session_expiry_s = Some(100);
        })
        .await;
    assert!(connack.session_present);
    // Another will, delayed as long but from later on, comes; the first would have come before it.
    let (mut other_watcher, other) = {
        let mut watcher = bed.plain_peer("other-watcher").await;
        watcher.subscribe("gone", QoS::AtLeastOnce).await;
        let mut other = Peer::plain(bed.plain).await;
        other
            .connect_v5("other", |it| {
                let mut will = will("gone", "other");
                will.delay_s = Some(1);
                it.will = Some(will);
                it.properties.session_expiry_s = Some(100);
            })
            .await;
        (watcher, other)
    };
    drop(other);
    assert_eq!(other_watcher.received().await, "gone other");
    assert_eq!(watcher.received().await, "gone other");
}

/// mqtt-5 [MQTT-3.1.2-8]
#[tokio::test]
async fn a_delayed_will_does_not_outlive_its_session() {
    let bed = Testbed::new().await;
    let (mut watcher, mortal) = with_will(&bed, Some(1000), 1000).await;
    drop(mortal);
    bed.plain_peer("mortal").await;
    assert_eq!(watcher.received().await, "gone mortal");
}

#[tokio::test]
async fn a_will_that_is_denied_when_it_is_due_is_not_sent() {
    let bed = Testbed::new().await;
    let device = bed.device("mortal", &all_but("iot:Publish", "topic/gone"));
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("gone", QoS::AtLeastOnce).await;
    let mut mortal = Peer::tls(&bed, Some(&device)).await;
    mortal.connect_v5("mortal", |it| it.will = Some(will("gone", "mortal"))).await;
    drop(mortal);
    bed.counted(r#"dropped_total{reason="will_denied"}"#, 1).await;
    let is_denial = |fact: &picket_model::Fact| matches!(fact, picket_model::Fact::Denied(denied) if &*denied.last_resource == "gone");
    bed.fact("mortal", is_denial).await;
    watcher.expect_nothing().await;
}

/// A device that connects and goes, again and again, sends as much as one that publishes.
#[tokio::test]
async fn a_will_counts_as_a_message_of_its_device() {
    let bed = Testbed::new().await;
    let (mut watcher, mortal) = with_will(&bed, None, 0).await;
    drop(mortal);
    assert_eq!(watcher.received().await, "gone mortal");
    let sent = bed.fact("mortal", |fact| matches!(fact, Fact::Published(_))).await;
    let Fact::Published(published) = sent.fact else { panic!("published") };
    assert_eq!((published.count, published.bytes_max), (1, "mortal".len() as u64));
    assert_eq!(&*published.largest_topic, "gone");
}
