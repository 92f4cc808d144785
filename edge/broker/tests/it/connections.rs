//! What the broker's owner sees of single clients and does with them.

use std::time::Duration;

use bytes::Bytes;
use picket_broker::{
    AskError, ConnectionStatus, Dismissal, Farewell, InternalPublish, PublishError, SendError,
};
use picket_model::{ClientId, DisconnectReason};
use picket_mqtt::packet::{Ack, MessageProperties, Packet, Publish, Version};
use picket_mqtt::{QoS, ReasonCode, TopicLimits, TopicName};

use crate::peer::{Peer, connect, will};
use crate::testbed::{ALLOW_ALL, Testbed, all_but, soon};

fn client(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

fn message(topic: &str, payload: &str, qos: QoS) -> InternalPublish {
    InternalPublish {
        topic: topic.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retain: false,
        properties: MessageProperties::default(),
    }
}

fn topic(name: &str) -> TopicName {
    TopicName::parse(name, &TopicLimits { bytes_max: 99, levels_max: 9 }).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

/// A client whose session is kept for 100 seconds, with a will that waits for `delay_s`.
async fn persistent(bed: &Testbed, delay_s: u32) -> Peer {
    let mut peer = Peer::plain(bed.plain).await;
    peer.connect_v5("device", |it| {
        it.clean_start = false;
        it.properties.session_expiry_s = Some(100);
        let mut will = will("gone", "device");
        will.delay_s = Some(delay_s);
        it.will = Some(will);
    })
    .await;
    peer
}

#[tokio::test]
async fn a_connection_is_described_while_it_lasts_and_a_while_longer() {
    let bed = Testbed::new().await;
    assert_eq!(bed.broker.connection(&client("device")), None);
    let device = bed.device("device", ALLOW_ALL);
    bed.registry.set_thing("device", None);
    bed.registry.own(&device.id, "device");
    let mut peer = Peer::tls(&bed, Some(&device)).await;
    peer.connect_v5("device", |it| it.keep_alive_s = 77).await;
    let record = bed.broker.connection(&client("device")).unwrap();
    let ConnectionStatus::Connected { since } = record.status else { panic!("{record:?}") };
    assert!(!record.is_persistent);
    let details = record.details.unwrap();
    assert_eq!(details.thing.unwrap().as_str(), "device");
    assert_eq!((details.session_expiry_s, details.keep_alive_s), (0, 77));
    assert_eq!(details.source.ip().to_string(), "127.0.0.1");
    assert_ne!(details.source.port(), 0);
    assert_eq!(details.target, Some(bed.tls));

    peer.disconnect(ReasonCode::SUCCESS).await;
    let record = bed.broker.connection(&client("device")).unwrap();
    let ConnectionStatus::Away(Some(Farewell { at, reason })) = record.status else {
        panic!("{record:?}")
    };
    assert!(at >= since);
    assert_eq!(reason, DisconnectReason::ClientInitiated);
}

#[tokio::test]
async fn a_client_is_dismissed_with_its_session_and_without_its_will_as_asked() {
    let keeps = Dismissal::default();
    let ends = Dismissal { ends_session: true, ..keeps };
    let silent = Dismissal { without_will: true, ..keeps };
    let both = Dismissal { ends_session: true, without_will: true };
    // A will that waits for its delay is sent at once where the session ends.
    for (dismissal, delay_s, has_session, is_willed) in [
        (keeps, 0, true, true),
        (keeps, 50, true, false),
        (ends, 0, false, true),
        (ends, 50, false, true),
        (silent, 0, true, false),
        (silent, 50, true, false),
        (both, 50, false, false),
    ] {
        for is_connected in [true, false] {
            let bed = Testbed::new().await;
            let mut watcher = bed.plain_peer("watcher").await;
            watcher.subscribe("gone", QoS::AtMostOnce).await;
            let mut peer = persistent(&bed, delay_s).await;
            if is_connected {
                assert!(bed.broker.dismiss(&client("device"), dismissal).await);
                assert_eq!(peer.closed().await, Some(ReasonCode::ADMINISTRATIVE_ACTION));
            } else {
                drop(peer);
                bed.counted("sessions_kept", 1).await;
                if delay_s == 0 {
                    assert_eq!(watcher.received().await, "gone device");
                }
                assert!(bed.broker.dismiss(&client("device"), dismissal).await);
            }
            let case = format!("{dismissal:?} delay {delay_s} connected {is_connected}");
            if is_willed && (is_connected || delay_s > 0) {
                assert_eq!(watcher.received().await, "gone device", "{case}");
            } else {
                watcher.expect_nothing().await;
            }
            assert_eq!(bed.broker.sessions().kept, usize::from(has_session), "{case}");
            let mut back = Peer::plain(bed.plain).await;
            let mut wanted = connect("device", Version::V5);
            wanted.clean_start = false;
            assert_eq!(back.connect(wanted).await.session_present, has_session, "{case}");
            watcher.expect_nothing().await;
        }
    }
    let bed = Testbed::new().await;
    assert!(!bed.broker.dismiss(&client("nobody"), both).await);
}

#[tokio::test]
async fn subscriptions_are_told_of_present_and_absent_clients() {
    let bed = Testbed::new().await;
    let mut peer = persistent(&bed, 0).await;
    peer.subscribe("b/#", QoS::ExactlyOnce).await;
    peer.subscribe("$share/g/a", QoS::AtLeastOnce).await;
    let told = async || {
        let list = bed.broker.subscriptions(&client("device")).await?;
        let list = list.iter().map(|(filter, qos)| format!("{filter} {}", qos.as_u8()));
        Ok::<_, AskError>(list.collect::<Vec<_>>().join(", "))
    };
    let expected = Ok("$share/g/a 1, b/# 2".to_owned());
    assert_eq!(told().await, expected);
    drop(peer);
    bed.counted("sessions_kept", 1).await;
    assert_eq!(told().await, expected);
    let gone = Dismissal { ends_session: true, without_will: false };
    bed.broker.dismiss(&client("device"), gone).await;
    assert_eq!(told().await, Err(AskError::NoSession));
}

#[tokio::test]
async fn a_message_goes_to_one_client_without_a_subscription() {
    let bed = Testbed::new().await;
    let mut peer = bed.plain_peer("device").await;
    let mut other = bed.plain_peer("other").await;
    other.subscribe("#", QoS::AtMostOnce).await;
    let send = |qos| {
        let broker = bed.broker.clone();
        tokio::spawn(async move {
            broker.send(&client("device"), message("a/b", "hi", qos), MINUTE).await
        })
    };
    let sent = send(QoS::AtMostOnce);
    assert_eq!(peer.received().await, "a/b hi");
    assert_eq!(sent.await.unwrap(), Ok(()));
    // Confirmed once the client says so, not before.
    let sent = send(QoS::AtLeastOnce);
    let Packet::Publish(publish) = peer.expect().await else { panic!("no message") };
    let Publish { qos, packet_id: Some(packet_id), .. } = *publish else { panic!("no id") };
    assert_eq!(qos, QoS::AtLeastOnce);
    peer.expect_nothing().await;
    assert!(!sent.is_finished());
    peer.send(Packet::PubAck(Ack::new(packet_id, ReasonCode::SUCCESS))).await;
    assert_eq!(sent.await.unwrap(), Ok(()));
    other.expect_nothing().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_says_why() {
    let bed = Testbed::with(|limits| limits.inflight_max = 1).await;
    let device = bed.device("device", &all_but("iot:Receive", "topic/secret"));
    let mut peer = Peer::tls(&bed, Some(&device)).await;
    peer.connect_v5("device", |it| it.properties.packet_bytes_max = 50.try_into().ok()).await;
    let send = async |name: &str, message: InternalPublish, patience: Duration| {
        bed.broker.send(&client(name), message, patience).await
    };
    let at_most_once = |topic: &str, payload: &str| message(topic, payload, QoS::AtMostOnce);
    let check = async |name: &str, message: InternalPublish, why: SendError| {
        assert_eq!(send(name, message, MINUTE).await, Err(why));
    };
    check("nobody", at_most_once("t", "x"), SendError::NotConnected).await;
    check("device", at_most_once("secret", "x"), SendError::Denied).await;
    check("device", message("secret", "x", QoS::AtLeastOnce), SendError::Denied).await;
    check("device", at_most_once("t", &"x".repeat(60)), SendError::Unfit).await;
    let large = "x".repeat(128 * 1024 + 1);
    let (bytes, max) = (128 * 1024 + 1, 128 * 1024);
    let too_large = SendError::Message(PublishError::TooLarge { bytes, max });
    check("device", at_most_once("t", &large), too_large).await;
    for topic in ["", "a/#", "+", "a\u{0}b"] {
        let sent = send("device", at_most_once(topic, "x"), MINUTE).await;
        assert!(matches!(sent, Err(SendError::Message(PublishError::Topic(_)))), "{topic}");
    }
    bed.counted(r#"denied_total{action="iot:Receive"}"#, 2).await;
    // The first is not acknowledged, and the second finds no room before nobody waits any more.
    let moment = Duration::from_millis(50);
    for payload in ["first", "second"] {
        let sent = send("device", message("t", payload, QoS::AtLeastOnce), moment).await;
        assert_eq!(sent, Err(SendError::Unconfirmed));
    }
    assert_eq!(peer.received().await, "t first");
    peer.expect_nothing().await;
}

#[tokio::test]
async fn who_waits_for_a_client_that_goes_is_told() {
    let bed = Testbed::new().await;
    let mut peer = bed.plain_peer("device").await;
    let broker = bed.broker.clone();
    let sent = tokio::spawn(async move {
        broker.send(&client("device"), message("t", "x", QoS::AtLeastOnce), MINUTE).await
    });
    peer.expect().await;
    drop(peer);
    assert_eq!(soon("the answer", sent).await.unwrap(), Err(SendError::Unconfirmed));
}

#[tokio::test]
async fn retained_messages_are_told_page_by_page_as_long_as_their_publishers_may() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut peer = bed.tls_peer(&device, "device").await;
    let mut other = bed.plain_peer("other").await;
    for (name, payload) in [("b", "1"), ("a/b", "22"), ("a", "333"), ("$aws/x", "4")] {
        peer.retain(name, payload).await;
    }
    other.retain("c", "55555").await;
    let told = |after: Option<&str>, max| {
        let page = bed.broker.retained_after(after.map(topic).as_ref(), max);
        page.iter().map(|it| it.message.topic.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told(None, 9), "$aws/x a a/b b c");
    assert_eq!(told(None, 2), "$aws/x a");
    assert_eq!(told(Some("a"), 2), "a/b b");
    assert_eq!(told(Some("b"), 2), "c");
    assert_eq!(told(Some("c"), 2), "");
    let found = bed.broker.retained(&topic("a/b")).unwrap();
    assert_eq!(found.message.payload, "22");
    assert!(found.at.as_millis() > 1_700_000_000_000, "{}", found.at);
    assert_eq!(bed.broker.retained(&topic("nothing")), None);
    // While the registry is down nobody knows, so nothing is shown.
    bed.registry.set_down(true);
    bed.changed(picket_model::Change::Certificate(device.id.clone()));
    assert_eq!(told(None, 9), "c");
    bed.registry.set_down(false);
    bed.changed(bed.registry.set_policy("device", &all_but("iot:RetainPublish", "topic/a*")));
    assert_eq!(told(None, 9), "$aws/x b c");
    assert_eq!(bed.broker.retained(&topic("a/b")), None);
}
