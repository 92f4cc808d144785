//! Reports on their way in, as real agents send them.

use std::sync::Arc;

use bytes::Bytes;
use picket_broker::ReportConfig;
use picket_model::{DeviceName, Fact, Observation, Report};
use picket_mqtt::packet::{Packet, Publish, Version};
use picket_mqtt::{QoS, ReasonCode};
use picket_report::{Format, decode};

use crate::peer::{Peer, connect, publish};
use crate::testbed::{ALLOW_ALL, Testbed, all_but};

const LONG_JSON: &[u8] =
    include_bytes!("../../../../core/report/tests/samples/python-agent-2.0.0-long.json");
const LONG_CBOR: &[u8] =
    include_bytes!("../../../../core/report/tests/samples/python-agent-2.0.0-long.cbor");
const CUSTOM_JSON: &[u8] = include_bytes!(
    "../../../../core/report/tests/samples/embedded-c-demo-long-custom-metrics.json"
);
const SHORT_JSON: &[u8] = include_bytes!(
    "../../../../core/report/tests/samples/embedded-c-demo-short-custom-metrics.json"
);

async fn bed(min_interval_s: u32, delegates: &[&str]) -> Testbed {
    let delegates = delegates.iter().map(|name| DeviceName::parse(*name).unwrap()).collect();
    let reports = ReportConfig { min_interval_s, delegates };
    Testbed::configured(|config| config.reports = reports).await
}

fn topic(device: &str, rest: &str) -> String {
    format!("$aws/things/{device}/defender/metrics/{rest}")
}

fn message(device: &str, format: &str, payload: &[u8]) -> Publish {
    let publish = publish(&topic(device, format), "", QoS::AtLeastOnce);
    Publish { payload: Bytes::copy_from_slice(payload), ..publish }
}

/// A connected client of a device with certificate, which is attached to `things`, all registered.
async fn client(bed: &Testbed, client: &str, things: &[&str]) -> Peer {
    let device = bed.device(client, ALLOW_ALL);
    for thing in things {
        bed.registry.set_thing(thing, None);
        bed.registry.own(&device.id, thing);
    }
    let mut peer = bed.tls_peer(&device, client).await;
    peer.subscribe("$aws/things/+/defender/metrics/+/accepted", QoS::AtLeastOnce).await;
    peer.subscribe("$aws/things/+/defender/metrics/+/rejected", QoS::AtLeastOnce).await;
    peer
}

/// Waits for a JSON answer and gives it without its timestamp.
async fn answer(peer: &mut Peer) -> String {
    let message = peer.message().await;
    let topic = message.topic.to_string();
    let text = String::from_utf8(message.payload.to_vec()).unwrap();
    let (text, timestamp) = text.rsplit_once(",\"timestamp\":").unwrap();
    assert!(timestamp.trim_end_matches('}').parse::<u64>().is_ok(), "{timestamp}");
    format!("{} {text}", topic.rsplit_once('/').unwrap().1)
}

async fn send(peer: &mut Peer, device: &str, payload: &[u8]) -> String {
    assert_eq!(
        peer.publish_with(message(device, "json", payload)).await,
        ReasonCode::SUCCESS,
        "a report is a message like any"
    );
    answer(peer).await
}

/// Waits for the report of a device with an id.
async fn reported(bed: &Testbed, device: &str, id: u64) -> Arc<Report> {
    let told = bed.fact(device, |fact| matches!(fact, Fact::Reported(it) if it.id == id)).await;
    let Fact::Reported(report) = told.fact else { panic!("reported") };
    assert_eq!(told.slice, None);
    report
}

fn n_reports(all: &[Observation]) -> usize {
    all.iter().filter(|it| matches!(it.fact, Fact::Reported(_))).count()
}

const DENIED: &str = r#"rejected {"thingName":"pump","status":"REJECTED","statusDetails":{"ErrorCode":"AccessDenied","ErrorMessage":"who sent the report may not report for this device"}"#;

#[tokio::test]
async fn what_agents_send_is_accepted_and_observed_whole() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    for (payload, id) in
        [(LONG_JSON, 1_795_162_837), (CUSTOM_JSON, 1_795_164_392), (SHORT_JSON, 1_795_164_393)]
    {
        let expected =
            format!(r#"accepted {{"thingName":"pump","reportId":{id},"status":"ACCEPTED""#);
        assert_eq!(send(&mut peer, "pump", payload).await, expected);
        assert_eq!(*reported(&bed, "pump", id).await, decode(Format::Json, payload).unwrap());
    }
    bed.counted(r#"reports_total{reason="accepted"}"#, 3).await;
}

#[tokio::test]
async fn a_cbor_report_is_answered_in_cbor() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    peer.publish_with(message("pump", "cbor", LONG_CBOR)).await;
    let answer = peer.message().await;
    assert_eq!(answer.topic.to_string(), topic("pump", "cbor/accepted"));
    let head = b"\xa4\x69thingName\x64pump\x68reportId\x1a\x6b\x00\x02\xf4\x66status\x68ACCEPTED";
    assert!(answer.payload.starts_with(head), "{:?}", answer.payload);
    let report = decode(Format::Cbor, LONG_CBOR).unwrap();
    assert_eq!(*reported(&bed, "pump", report.id).await, report);
    // JSON is no CBOR: the topic says what a report is.
    peer.publish_with(message("pump", "cbor", LONG_JSON)).await;
    let answer = peer.message().await;
    assert_eq!(answer.topic.to_string(), topic("pump", "cbor/rejected"));
    assert!(answer.payload.starts_with(b"\xa4\x69thingName"), "{:?}", answer.payload);
}

/// The clients that there are speak MQTT 3.1.1 and publish reports at QoS 0.
#[tokio::test]
async fn mqtt_3_1_1_at_qos_0_is_answered_too() {
    let bed = bed(300, &[]).await;
    let device = bed.device("pump", ALLOW_ALL);
    bed.registry.set_thing("pump", None);
    bed.registry.own(&device.id, "pump");
    let mut peer = Peer::tls(&bed, Some(&device)).await;
    peer.connect(connect("pump", Version::V311)).await;
    peer.subscribe(&topic("pump", "json/accepted"), QoS::AtLeastOnce).await;
    let report = Publish { qos: QoS::AtMostOnce, ..message("pump", "json", LONG_JSON) };
    peer.send(Packet::Publish(Box::new(Publish { packet_id: None, ..report }))).await;
    let expected = r#"accepted {"thingName":"pump","reportId":1795162837,"status":"ACCEPTED""#;
    assert_eq!(answer(&mut peer).await, expected);
}

#[tokio::test]
async fn a_report_is_a_message_for_ordinary_subscribers_too() {
    let bed = bed(0, &[]).await;
    let mut subscriber = bed.plain_peer("subscriber").await;
    subscriber.subscribe(&topic("+", "json"), QoS::AtMostOnce).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    send(&mut peer, "pump", LONG_JSON).await;
    assert_eq!(subscriber.message().await.payload, LONG_JSON);
    let sent = bed.fact("pump", |fact| matches!(fact, Fact::Published(_))).await;
    let Fact::Published(published) = sent.fact else { panic!("published") };
    assert_eq!((published.count, published.bytes_total), (1, LONG_JSON.len() as u64));
}

#[tokio::test]
async fn a_report_comes_behind_what_the_device_did_before() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    for n in 1..=20 {
        let report = format!(r#"{{"hed":{{"rid":{n},"v":"1.0"}},"met":{{}}}}"#);
        peer.send(Packet::Publish(Box::new(publish("t", "x", QoS::AtMostOnce)))).await;
        send(&mut peer, "pump", report.as_bytes()).await;
    }
    let all = bed.observed("the reports", |all| n_reports(all) == 20).await;
    let mut n_sent = 0;
    for observation in all.iter().filter(|it| it.device.as_str() == "pump") {
        match &observation.fact {
            Fact::Published(published) => n_sent += published.count,
            // The report's own message and all before it, and none that came later.
            Fact::Reported(report) => assert_eq!(n_sent, 2 * report.id),
            _ => {}
        }
    }
    assert!(all.is_sorted_by_key(|it| it.at));
}

#[tokio::test]
async fn a_report_that_cannot_be_read_is_refused_with_the_reason_and_observed() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    for (payload, id, message) in [
        (
            r#"{"hed":{"rid":7,"v":"1.0"},"met":{"ns":{"bi":-1}}}"#,
            r#""reportId":7,"#,
            "`metrics.network_stats.bytes_in` is negative",
        ),
        (r#"{"hed":{"v":"1.0"},"met":{}}"#, "", "`header.report_id` is missing"),
    ] {
        let expected = format!(
            r#"rejected {{"thingName":"pump",{id}"status":"REJECTED","statusDetails":{{"ErrorCode":"InvalidPayload","ErrorMessage":"{message}"}}"#
        );
        assert_eq!(send(&mut peer, "pump", payload.as_bytes()).await, expected);
    }
    let refused = |all: &[Observation]| {
        let facts = all.iter().filter(|it| it.device.as_str() == "pump").map(|it| &it.fact);
        let refused = facts.filter_map(|fact| match fact {
            Fact::ReportRefused { ran_backward } => Some(*ran_backward),
            _ => None,
        });
        refused.collect::<Vec<_>>()
    };
    let all = bed.observed("the refusals", |all| refused(all).len() == 2).await;
    assert_eq!(refused(&all), [true, false]);
    assert_eq!(n_reports(&all), 0);
    bed.counted(r#"reports_total{reason="refused"}"#, 2).await;
}

#[tokio::test]
async fn a_second_report_within_the_interval_is_throttled_before_it_is_read() {
    let bed = bed(300, &[]).await;
    let mut peer = client(&bed, "pump", &["pump", "valve"]).await;
    assert!(send(&mut peer, "pump", LONG_JSON).await.starts_with("accepted"));
    let throttled = send(&mut peer, "pump", b"not even a report").await;
    let (head, tail) = throttled.split_once("may come in ").unwrap();
    assert_eq!(
        head,
        r#"rejected {"thingName":"pump","status":"REJECTED","statusDetails":{"ErrorCode":"Throttled","ErrorMessage":"the report comes too soon; the next "#
    );
    assert!(tail.ends_with(r#" s"}"#), "{tail}");
    // Another device's turn is its own.
    assert!(send(&mut peer, "valve", LONG_JSON).await.starts_with("accepted"));
    bed.counted(r#"reports_total{reason="too_soon"}"#, 1).await;
    bed.counted(r#"reports_total{reason="refused"}"#, 0).await;
    let all = bed.observed("both", |all| n_reports(all) == 2).await;
    assert!(!all.iter().any(|it| matches!(it.fact, Fact::ReportRefused { .. })));
}

#[tokio::test]
async fn a_flood_is_answered_once_a_second() {
    let bed = bed(300, &[]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    peer.subscribe("end", QoS::AtMostOnce).await;
    assert!(send(&mut peer, "pump", LONG_JSON).await.starts_with("accepted"));
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        peer.send(Packet::Publish(Box::new(Publish {
            qos: QoS::AtMostOnce,
            packet_id: None,
            ..message("pump", "json", LONG_JSON)
        })))
        .await;
    }
    bed.counted(r#"reports_total{reason="too_soon"}"#, 200).await;
    // All answers were given by now, so there are no more of them than seconds that began.
    let seconds = begun.elapsed().as_secs();
    peer.send(Packet::Publish(Box::new(publish("end", "", QoS::AtMostOnce)))).await;
    let mut n_answers = 0;
    while *peer.message().await.topic != *"end" {
        n_answers += 1;
    }
    assert!((1..=2 + seconds).contains(&n_answers), "{n_answers} answers in {seconds} s");
    let all = bed.observed("all", |_| true).await;
    assert_eq!(n_reports(&all), 1);
}

async fn denied(bed: &Testbed, peer: &mut Peer, reporting: &str) {
    let answer = send(peer, "pump", LONG_JSON).await;
    assert_eq!(answer, DENIED);
    let denied = bed.fact(reporting, |fact| matches!(fact, Fact::Denied(_))).await;
    let Fact::Denied(denied) = denied.fact else { panic!("denied") };
    assert_eq!(denied.last_action, "iot:Publish");
    assert_eq!(&*denied.last_resource, topic("pump", "json"));
    let all = bed.observed("all", |_| true).await;
    assert_eq!(n_reports(&all), 0);
    assert!(!all.iter().any(|it| matches!(it.fact, Fact::ReportRefused { .. })));
    bed.counted(r#"reports_total{reason="denied"}"#, 1).await;
}

#[tokio::test]
async fn a_policy_alone_does_not_let_a_device_report_for_another() {
    let bed = bed(0, &[]).await;
    bed.registry.set_thing("pump", None);
    let mut peer = client(&bed, "valve", &["valve"]).await;
    denied(&bed, &mut peer, "valve").await;
}

#[tokio::test]
async fn a_client_id_alone_is_no_proof_of_a_registered_device() {
    let bed = bed(0, &[]).await;
    bed.registry.set_thing("pump", None);
    let mut peer = client(&bed, "pump", &[]).await;
    denied(&bed, &mut peer, "pump").await;
}

/// Its certificate is attached to one thing only, which it is therefore counted for; the client id
/// it chose is another's.
#[tokio::test]
async fn a_borrowed_client_id_is_no_proof_either() {
    let bed = bed(0, &["pump"]).await;
    bed.registry.set_thing("pump", None);
    let mut peer = client(&bed, "pump", &["valve"]).await;
    denied(&bed, &mut peer, "valve").await;
}

#[tokio::test]
async fn an_unregistered_device_reports_for_itself() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "stranger", &[]).await;
    assert!(send(&mut peer, "stranger", LONG_JSON).await.starts_with("accepted"));
    reported(&bed, "stranger", 1_795_162_837).await;
    assert_eq!(send(&mut peer, "pump", LONG_JSON).await, DENIED);
}

#[tokio::test]
async fn a_certificate_reports_for_its_things_under_any_client_id() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "agent-of-pump", &["pump", "valve"]).await;
    for device in ["pump", "valve"] {
        assert!(send(&mut peer, device, LONG_JSON).await.starts_with("accepted"), "{device}");
        reported(&bed, device, 1_795_162_837).await;
    }
}

#[tokio::test]
async fn a_gateway_reports_for_others_where_the_configuration_names_it() {
    let bed = bed(0, &["gateway"]).await;
    bed.registry.set_thing("pump", None);
    let mut peer = client(&bed, "gateway", &["gateway"]).await;
    assert!(send(&mut peer, "pump", LONG_JSON).await.starts_with("accepted"));
    reported(&bed, "pump", 1_795_162_837).await;
}

#[tokio::test]
async fn a_gateway_reports_for_a_thing_that_names_it_as_long_as_it_does() {
    let bed = bed(0, &[]).await;
    bed.registry.set_thing("pump", Some(("reportedBy", "gateway")));
    let mut peer = client(&bed, "gateway", &["gateway"]).await;
    assert!(send(&mut peer, "pump", LONG_JSON).await.starts_with("accepted"));
    bed.registry.set_thing("pump", Some(("reportedBy", "other")));
    assert_eq!(send(&mut peer, "pump", LONG_JSON).await, DENIED);
}

#[tokio::test]
async fn a_gateway_needs_the_policy_besides() {
    let bed = bed(0, &["gateway"]).await;
    bed.registry.set_thing("gateway", None);
    let device = bed.device("gateway", &all_but("iot:Publish", "topic/$aws/things/pump/*"));
    bed.registry.own(&device.id, "gateway");
    let mut peer = bed.tls_peer(&device, "gateway").await;
    let code = peer.publish_with(message("pump", "json", LONG_JSON)).await;
    assert_eq!(code, ReasonCode::NOT_AUTHORIZED);
    bed.fact("gateway", |fact| matches!(fact, Fact::Denied(_))).await;
    assert_eq!(bed.counter(r#"reports_total{reason="denied"}"#), 0);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_denies() {
    let bed = bed(0, &[]).await;
    bed.registry.set_thing("pump", Some(("reportedBy", "gateway")));
    let mut peer = client(&bed, "gateway", &["gateway"]).await;
    bed.registry.set_down(true);
    assert_eq!(send(&mut peer, "pump", LONG_JSON).await, DENIED);
}

#[tokio::test]
async fn a_certificate_that_is_detached_reports_no_more() {
    let bed = bed(0, &[]).await;
    let device = bed.device("agent", ALLOW_ALL);
    bed.registry.set_thing("pump", None);
    bed.registry.own(&device.id, "pump");
    let mut peer = bed.tls_peer(&device, "agent").await;
    peer.subscribe(&topic("pump", "json/+"), QoS::AtLeastOnce).await;
    assert!(send(&mut peer, "pump", LONG_JSON).await.starts_with("accepted"));
    let change = bed.registry.disown(&device.id);
    bed.changed(change);
    assert_eq!(send(&mut peer, "pump", LONG_JSON).await, DENIED);
}

#[tokio::test]
async fn a_device_cannot_use_up_the_turn_of_another() {
    let bed = bed(300, &[]).await;
    let mut thief = client(&bed, "valve", &["valve"]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    assert_eq!(send(&mut thief, "pump", LONG_JSON).await, DENIED);
    // It hears what the thief was told, and has its own turn.
    assert_eq!(answer(&mut peer).await, DENIED);
    assert!(send(&mut peer, "pump", LONG_JSON).await.starts_with("accepted"));
}

#[tokio::test]
async fn a_report_is_not_retained() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    let report = Publish { retain: true, ..message("pump", "json", LONG_JSON) };
    let code = peer.publish_with(report).await;
    assert_eq!(code, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
    assert_eq!(bed.counter("retained"), 0);
    assert_eq!(bed.counter("messages_in_total"), 0);
    bed.counted(r#"reports_total{reason="retained"}"#, 1).await;
    // The device sent it all the same.
    let sent = bed.fact("pump", |fact| matches!(fact, Fact::Published(_))).await;
    let Fact::Published(published) = sent.fact else { panic!("published") };
    assert_eq!((published.count, published.bytes_total), (1, LONG_JSON.len() as u64));
    assert!(send(&mut peer, "pump", LONG_JSON).await.starts_with("accepted"));
}

#[tokio::test]
async fn who_may_not_receive_the_answer_is_not_told() {
    let bed = bed(0, &[]).await;
    let device = bed.device("pump", &all_but("iot:Receive", "topic/$aws/things/*"));
    bed.registry.set_thing("pump", None);
    bed.registry.own(&device.id, "pump");
    let mut peer = bed.tls_peer(&device, "pump").await;
    peer.subscribe(&topic("pump", "json/+"), QoS::AtLeastOnce).await;
    peer.publish_with(message("pump", "json", LONG_JSON)).await;
    reported(&bed, "pump", 1_795_162_837).await;
    peer.expect_nothing().await;
}

#[tokio::test]
async fn only_the_server_answers() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    for rest in ["json/accepted", "json/rejected", "cbor/accepted"] {
        let code = peer.publish_with(message("pump", rest, b"{}")).await;
        assert_eq!(code, ReasonCode::TOPIC_NAME_INVALID, "{rest}");
    }
    peer.expect_nothing().await;
}

#[tokio::test]
async fn what_merely_looks_like_a_reports_topic_is_not_one() {
    let bed = bed(0, &[]).await;
    let mut peer = client(&bed, "pump", &["pump"]).await;
    for rest in ["xml", "json/x", "JSON"] {
        let code = peer.publish_with(message("pump", rest, LONG_JSON)).await;
        assert_eq!(code, ReasonCode::SUCCESS, "{rest}");
    }
    let code = peer.publish_with(message("a/b", "json", LONG_JSON)).await;
    assert_eq!(code, ReasonCode::SUCCESS);
    peer.expect_nothing().await;
    assert_eq!(n_reports(&bed.observed("all", |_| true).await), 0);
}
