//! What of a session's traffic lies in the dimensions that behaviors look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use picket_broker::Slice;
use picket_model::{
    DeviceName, DimensionName, DimensionOperator, Fact, MetricDimension, Observation, Tripwires,
};
use picket_mqtt::packet::{Packet, Publish, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, publish, will};
use crate::testbed::{ALLOW_ALL, Testbed, all_but};

fn dimension(name: &str, operator: DimensionOperator) -> Arc<MetricDimension> {
    Arc::new(MetricDimension { name: DimensionName::parse(name).unwrap(), operator })
}

/// Both sides of a dimension.
fn sides(name: &str, filters: &[&str]) -> [Slice; 2] {
    let filters: Vec<String> = filters.iter().copied().map(str::to_owned).collect();
    DimensionOperator::ALL
        .map(|operator| Slice { dimension: dimension(name, operator), filters: filters.clone() })
}

/// What was told of a device so far, slice by slice: published, bytes, received, denied.
fn sums(all: &[Observation], device: &str) -> BTreeMap<String, [u64; 4]> {
    let mut sums = BTreeMap::<_, [u64; 4]>::new();
    for observation in all.iter().filter(|it| it.device.as_str() == device) {
        let slice = observation.slice.as_ref().map_or("whole".to_owned(), |it| it.to_string());
        let what = match &observation.fact {
            Fact::Published(it) => [it.count, it.bytes_total, 0, 0],
            Fact::Received { count } => [0, 0, *count, 0],
            Fact::Denied(it) => [0, 0, 0, it.count],
            _ => {
                assert_eq!(observation.slice, None, "{:?}", observation.fact);
                continue;
            }
        };
        let sum = sums.entry(slice).or_default();
        sum.iter_mut().zip(what).for_each(|(sum, n)| *sum += n);
    }
    sums
}

/// Waits until what was told of a device is as wanted.
async fn told(bed: &Testbed, device: &str, wanted: &[(&str, [u64; 4])]) {
    let wanted = wanted.iter().map(|(slice, sum)| ((*slice).to_owned(), *sum)).collect();
    bed.observed(&format!("{wanted:?}"), |all| sums(all, device) == wanted).await;
}

#[tokio::test]
async fn every_message_is_told_in_its_slices() {
    let bed = Testbed::new().await;
    let slices = [sides("keys", &["keys/#", "dev/${iot:ClientId}/key"]), sides("rest", &["x"])];
    bed.broker.set_slices(slices.concat());
    let device = bed.device("device", &all_but("iot:*", "topic*/keys/denied*"));
    let mut peer = bed.tls_peer(&device, "device").await;
    peer.subscribe("#", QoS::AtLeastOnce).await;
    for (topic, payload) in
        [("keys/1", "1"), ("x", "22"), ("dev/device/key", "333"), ("dev/other/key", "4444")]
    {
        peer.publish(topic, payload).await;
        peer.message().await;
    }
    assert_eq!(peer.publish("keys/denied", "x").await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(peer.subscribe("keys/denied/#", QoS::AtMostOnce).await, ReasonCode::NOT_AUTHORIZED);
    told(
        &bed,
        "device",
        &[
            ("whole", [4, 10, 4, 2]),
            ("IN keys", [2, 4, 2, 2]),
            ("NOT_IN keys", [2, 6, 2, 0]),
            ("IN rest", [1, 2, 1, 0]),
            ("NOT_IN rest", [3, 8, 3, 2]),
        ],
    )
    .await;
}

#[tokio::test]
async fn slices_that_change_are_those_of_the_next_message() {
    let bed = Testbed::new().await;
    let mut peer = bed.plain_peer("device").await;
    peer.publish("a", "1").await;
    bed.broker.set_slices(sides("d", &["a"]).into());
    peer.publish("a", "1").await;
    bed.broker.set_slices(sides("d", &["b"]).into());
    peer.publish("a", "1").await;
    bed.broker.set_slices(Vec::new());
    peer.publish("a", "1").await;
    told(
        &bed,
        "device",
        &[("whole", [4, 4, 0, 0]), ("IN d", [1, 1, 0, 0]), ("NOT_IN d", [1, 1, 0, 0])],
    )
    .await;
}

#[tokio::test]
async fn a_tripwire_of_a_slice_is_told_before_the_message_is_acknowledged() {
    let bed = Testbed::new().await;
    bed.broker.set_slices(sides("keys", &["keys/#"]).into());
    let wires = Tripwires { message_bytes: Some(10), ..Tripwires::default() };
    let device = DeviceName::parse("device").unwrap();
    let limited = [(dimension("keys", DimensionOperator::In), wires)];
    bed.broker.set_tripwires(&device, Tripwires::default(), &limited);
    let mut peer = bed.plain_peer("device").await;
    peer.publish("other", "a payload over the limit").await;
    peer.publish("keys/1", "a payload over the limit").await;
    let is_slice = |it: &Observation| it.slice.as_ref() == Some(&limited[0].0);
    let all = bed.observed("the slice", |all| all.iter().any(is_slice)).await;
    let told = all.into_iter().find(is_slice).unwrap();
    let Fact::Published(published) = told.fact else { panic!("published") };
    assert_eq!((published.bytes_max, &*published.largest_topic), (24, "keys/1"));
}

/// Retained messages are deliveries as others are.
#[tokio::test]
async fn retained_messages_lie_in_slices() {
    let bed = Testbed::new().await;
    bed.broker.set_slices(sides("d", &["a/#"]).into());
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.retain("a/1", "x").await;
    publisher.retain("b", "x").await;
    let mut late = bed.plain_peer("late").await;
    late.subscribe("#", QoS::AtMostOnce).await;
    late.message().await;
    late.message().await;
    told(
        &bed,
        "late",
        &[("whole", [0, 0, 2, 0]), ("IN d", [0, 0, 1, 0]), ("NOT_IN d", [0, 0, 1, 0])],
    )
    .await;
}

#[tokio::test]
async fn a_denied_will_and_a_denied_delivery_lie_in_slices_and_a_denied_connect_in_none() {
    let bed = Testbed::new().await;
    bed.broker.set_slices([sides("d", &["a/#"]), sides("all", &["#"])].concat());
    let device = bed.device("mortal", &all_but("iot:Publish", "topic/a/gone"));
    let mut mortal = Peer::tls(&bed, Some(&device)).await;
    mortal.connect_v5("mortal", |it| it.will = Some(will("a/gone", "x"))).await;
    drop(mortal);
    let in_both = [("whole", [0, 0, 0, 1]), ("IN d", [0, 0, 0, 1]), ("IN all", [0, 0, 0, 1])];
    told(&bed, "mortal", &in_both).await;

    let device = bed.device("deaf", &all_but("iot:Receive", "topic/a/secret"));
    let mut deaf = bed.tls_peer(&device, "deaf").await;
    deaf.subscribe("a/#", QoS::AtMostOnce).await;
    bed.plain_peer("publisher").await.publish("a/secret", "x").await;
    told(&bed, "deaf", &in_both).await;

    let device = bed.device("stranger", &all_but("iot:Connect", "client/*"));
    let mut stranger = Peer::tls(&bed, Some(&device)).await;
    stranger.connect(connect("stranger", Version::V5)).await;
    stranger.closed().await;
    told(&bed, "stranger", &[("whole", [0, 0, 0, 1])]).await;
}

/// Many messages, taken in and handed out in large portions, in both directions.
#[tokio::test]
async fn slices_add_up_under_load() {
    let bed = Testbed::new().await;
    let slices = [sides("even", &["+/0"]), sides("own", &["${iot:ClientId}/+"])];
    bed.broker.set_slices(slices.concat());
    let device = bed.device("device", ALLOW_ALL);
    let mut receiver = bed.tls_peer(&device, "device").await;
    receiver.subscribe("#", QoS::AtLeastOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    let topics = ["device/0", "device/1", "publisher/0", "publisher/1"];
    for round in 0..25 {
        for topic in topics {
            let message: Publish = publish(topic, &round.to_string(), QoS::AtMostOnce);
            publisher.send(Packet::Publish(Box::new(message))).await;
        }
    }
    for _ in 0..100 {
        receiver.message().await;
    }
    let bytes = 4 * (10 + 2 * 15);
    told(
        &bed,
        "publisher",
        &[
            ("whole", [100, bytes, 0, 0]),
            ("IN even", [50, bytes / 2, 0, 0]),
            ("NOT_IN even", [50, bytes / 2, 0, 0]),
            ("IN own", [50, bytes / 2, 0, 0]),
            ("NOT_IN own", [50, bytes / 2, 0, 0]),
        ],
    )
    .await;
    told(
        &bed,
        "device",
        &[
            ("whole", [0, 0, 100, 0]),
            ("IN even", [0, 0, 50, 0]),
            ("NOT_IN even", [0, 0, 50, 0]),
            ("IN own", [0, 0, 50, 0]),
            ("NOT_IN own", [0, 0, 50, 0]),
        ],
    )
    .await;
}
