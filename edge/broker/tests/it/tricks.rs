//! Ways around a policy that lead nowhere.

use picket_mqtt::packet::{Connect, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect};
use crate::testbed::{Testbed, all_but};

const DENIED: ReasonCode = ReasonCode::NOT_AUTHORIZED;

/// Allows connecting under any id, and the rest only where the statement says.
fn only(actions: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[
        {{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}},
        {{"Effect":"Allow","Action":{actions},"Resource":"arn:aws:iot:us-east-1:123456789012:{resource}"}}]}}"#
    )
}

#[tokio::test]
async fn a_wildcard_asks_for_no_more_than_is_written_in_the_policy() {
    let bed = Testbed::new().await;
    let device = bed.device("device", &only(r#""iot:Subscribe""#, "topicfilter/a/b"));
    let mut peer = bed.tls_peer(&device, "device").await;
    for filter in [
        "#",
        "+",
        "+/+",
        "a/+",
        "+/b",
        "a/#",
        "a/b/#",
        "+/b/#",
        "a//b",
        "/a/b",
        "a/b/",
        "A/b",
        "a/c",
        "$share/g/a/+",
        "$share/g/#",
        "$share/a/b/x",
    ] {
        assert_eq!(peer.subscribe(filter, QoS::AtMostOnce).await, DENIED, "{filter}");
    }
    // The group is no part of what is decided.
    for filter in ["a/b", "$share/g/a/b", "$share/other/a/b"] {
        assert_eq!(peer.subscribe(filter, QoS::AtMostOnce).await, ReasonCode::SUCCESS, "{filter}");
    }
}

/// `*` in a policy allows to ask with wildcards; what comes is decided by the topic all the same.
#[tokio::test]
async fn a_wide_subscription_brings_only_what_may_be_received() {
    let bed = Testbed::new().await;
    let device = bed.device("device", &all_but("iot:Receive", "topic/secret*"));
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.retain("secret/kept", "x").await;
    let mut peer = bed.tls_peer(&device, "device").await;
    for filter in ["#", "+/+", "secret/#", "$share/g/secret/+"] {
        assert!(!peer.subscribe(filter, QoS::AtLeastOnce).await.is_error(), "{filter}");
        for topic in ["secret", "secret/a", "secret/a/b"] {
            publisher.publish(topic, "x").await;
        }
        peer.expect_nothing().await;
    }
    publisher.publish("open/a", "x").await;
    assert_eq!(peer.received().await, "open/a x");
}

#[tokio::test]
async fn a_client_id_with_wildcards_is_not_filled_into_policies() {
    let bed = Testbed::new().await;
    let actions = r#"["iot:Subscribe","iot:Publish","iot:Receive"]"#;
    let own = "topic*/${iot:ClientId}/data";
    let device = bed.device("device", &only(actions, own));
    for client in ["+", "#", "a/+", "*", "?", "$x", "${iot:ClientId}", "a#", "+/b"] {
        let mut peer = Peer::tls(&bed, Some(&device)).await;
        let connack = peer.connect(connect(client, Version::V5)).await;
        if client.starts_with('$') {
            assert_eq!(connack.code, ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
            continue;
        }
        assert_eq!(connack.code, ReasonCode::SUCCESS, "{client}");
        for filter in [format!("{client}/data"), "other/data".to_owned()] {
            let code = peer.subscribe(&filter, QoS::AtMostOnce).await;
            let is_refused = code == DENIED || code == ReasonCode::TOPIC_FILTER_INVALID;
            assert!(is_refused, "{client}: {filter} {code}");
        }
        assert_eq!(peer.publish("other/data", "x").await, DENIED, "{client}");
    }
    let mut honest = bed.tls_peer(&device, "honest").await;
    assert_eq!(honest.subscribe("honest/data", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    assert_eq!(honest.publish("honest/data", "x").await, ReasonCode::SUCCESS);
    assert_eq!(honest.received().await, "honest/data x");
    assert_eq!(honest.publish("other/data", "x").await, DENIED);
}

#[tokio::test]
async fn who_may_not_use_a_client_id_does_not_take_it_over() {
    let bed = Testbed::new().await;
    let owner = bed.device("owner", &all_but("iot:Connect", "client/other"));
    let thief = bed.device("thief", &all_but("iot:Connect", "client/owner"));
    let mut sleeper = Peer::tls(&bed, Some(&owner)).await;
    let kept = || {
        let mut wanted = Connect { clean_start: false, ..connect("owner", Version::V5) };
        wanted.properties.session_expiry_s = Some(100);
        wanted
    };
    sleeper.connect(kept()).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    for clean_start in [false, true] {
        let mut peer = Peer::tls(&bed, Some(&thief)).await;
        assert_eq!(peer.connect(Connect { clean_start, ..kept() }).await.code, DENIED);
    }
    // Without a certificate neither.
    let mut nobody = Peer::tls(&bed, None).await;
    assert_eq!(nobody.connect(kept()).await.code, DENIED);
    sleeper.expect_nothing().await;
    // Nor while the owner is away: the session and what waits in it stay the owner's.
    drop(sleeper);
    bed.counted("sessions_kept", 1).await;
    bed.plain_peer("publisher").await.publish("t", "for the owner").await;
    let mut peer = Peer::tls(&bed, Some(&thief)).await;
    assert_eq!(peer.connect(Connect { clean_start: true, ..kept() }).await.code, DENIED);
    let mut sleeper = Peer::tls(&bed, Some(&owner)).await;
    assert!(sleeper.connect(kept()).await.session_present);
    assert_eq!(sleeper.received().await, "t for the owner");
}
