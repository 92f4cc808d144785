//! What is exported, from the engine's values to a subscriber.

use std::sync::Arc;

use picket_detect::ExportPart;
use picket_model::{
    CustomMetricKind, CustomMetricName, DeviceName, DimensionName, DimensionOperator, Metric,
    MetricDimension, MetricValue, MetricsExport, Number,
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::limits::EXPORT_ELEMENTS_MAX;
use crate::testing::{Bed, PATIENCE};

/// A value as the engine gives it: `DEVICE METRIC[/[!]DIMENSION] PART AT VALUE`. Values are counts,
/// `f` and a number, lists of ports `p1,2`, of addresses `a192.0.2.1,..` or of texts `s..,..`. A
/// metric of ours has its kind in the value.
fn exported(line: &str) -> Exported {
    let [device, subject, part, at, value] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("five words: {line}")
    };
    let (metric, dimension) = match subject.split_once('/') {
        Some((metric, dimension)) => (metric, Some(dimension)),
        None => (subject, None),
    };
    let list = || value[1..].split(',').filter(|element| !element.is_empty());
    let (kind, value) = match value.as_bytes()[0] {
        b'f' => {
            let number = Number::new(value[1..].parse().unwrap()).unwrap();
            (CustomMetricKind::Number, MetricValue::Number(number))
        }
        b'p' => {
            let ports = list().map(|port| port.parse().unwrap()).collect();
            (CustomMetricKind::NumberList, MetricValue::Ports(ports))
        }
        b'a' => {
            let addresses = list().map(|address| address.parse().unwrap()).collect();
            (CustomMetricKind::IpAddressList, MetricValue::Addresses(addresses))
        }
        b's' => {
            let strings = list().map(Into::into).collect();
            (CustomMetricKind::StringList, MetricValue::Strings(strings))
        }
        _ => (CustomMetricKind::Number, MetricValue::Count(value.parse().unwrap())),
    };
    let dimension = dimension.map(|text| {
        let (name, operator) = match text.strip_prefix('!') {
            Some(name) => (name, DimensionOperator::NotIn),
            None => (text, DimensionOperator::In),
        };
        Arc::new(MetricDimension { name: DimensionName::parse(name).unwrap(), operator })
    });
    Exported {
        profile: ProfileName::parse("P").unwrap(),
        device: DeviceName::parse(device).unwrap(),
        metric: Metric::parse(metric)
            .unwrap_or_else(|| Metric::Custom(CustomMetricName::parse(metric).unwrap(), kind)),
        part: match part {
            "value" => ExportPart::Value,
            "min" => ExportPart::Min,
            "max" => ExportPart::Max,
            "total" => ExportPart::Total,
            _ => panic!("no part: {part}"),
        },
        dimension,
        at: Timestamp::from_secs(at.parse().unwrap()),
        value,
    }
}

/// The messages that hold these values.
fn messages(lines: &[&str], bytes_max: usize) -> Vec<String> {
    let mut buffer = Buffer::default();
    for line in lines {
        assert!(buffer.add(exported(line)), "there is room");
    }
    let mut written = Vec::new();
    for values in buffer.into_profiles().into_values() {
        let mut messages = Messages::new(values.into_iter(), bytes_max);
        while let Some((message, n)) = messages.next() {
            let json: Json = serde_json::from_str(&message).unwrap();
            assert_eq!(json["metrics"].as_array().unwrap().len(), n);
            written.push(message);
        }
    }
    written
}

/// Checks what is published of these values: for each `NAME[/DIMENSION] SECOND VALUE`.
fn check(lines: &[&str], expected: &[&str]) {
    let [message] = &messages(lines, 1 << 20)[..] else { panic!("one message") };
    let json: Json = serde_json::from_str(message).unwrap();
    let told = json["metrics"].as_array().unwrap().iter().map(|item| {
        let dimension = match &item["dimension"] {
            Json::Null => String::new(),
            dimension => format!("/{} {}", dimension["operator"], dimension["name"]),
        };
        let name = item["name"].as_str().unwrap();
        format!(
            "{name}{dimension} {} {}",
            item["timestamp"].as_i64().unwrap() / 1000,
            item["value"]
        )
        .replace('"', "")
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn a_message_is_what_the_guide_shows() {
    let lines = [
        "pump-7 aws:num-messages-sent/!Firmware value 300 5",
        "pump-7 aws:listening-tcp-ports value 301 p22,443",
    ];
    assert_eq!(
        messages(&lines, 1 << 20),
        [concat!(
            r#"{"version":"1.0","metrics":["#,
            r#"{"name":"aws:num-messages-sent","thing":"pump-7","value":{"count":5},"version":1,"#,
            r#""timestamp":300000,"dimension":{"name":"Firmware","operator":"NOT_IN"}},"#,
            r#"{"name":"aws:listening-tcp-ports","thing":"pump-7","value":{"ports":[22,443]},"#,
            r#""version":1,"timestamp":301000}]}"#,
        )]
    );
}

#[test]
fn what_the_broker_counts_is_added_up() {
    check(
        &[
            "d aws:num-messages-sent value 60 5",
            "d aws:num-messages-sent value 180 7",
            "d aws:num-messages-sent value 120 1",
        ],
        &["aws:num-messages-sent 180 {count:13}"],
    );
    check(
        &[
            "d aws:num-disconnects value 60 18446744073709551615",
            "d aws:num-disconnects value 120 2",
        ],
        &["aws:num-disconnects 120 {count:18446744073709551615}"],
    );
}

#[test]
fn message_sizes_are_three_figures() {
    check(
        &[
            "d aws:message-byte-size min 60 10",
            "d aws:message-byte-size max 60 30",
            "d aws:message-byte-size total 60 40",
            "d aws:message-byte-size min 120 20",
            "d aws:message-byte-size max 120 20",
            "d aws:message-byte-size total 120 20",
        ],
        &[
            "aws:message-byte-size-min 120 {count:10}",
            "aws:message-byte-size-max 120 {count:30}",
            "aws:message-byte-size 120 {count:60}",
        ],
    );
}

#[test]
fn addresses_come_together_and_times_pass() {
    check(
        &[
            "d aws:source-ip-address value 60 a192.0.2.1,192.0.2.2",
            "d aws:source-ip-address value 120 a192.0.2.2,192.0.2.3",
            "d aws:disconnect-duration value 120 90",
            "d aws:disconnect-duration value 60 30",
        ],
        &[
            "aws:source-ip-address 120 {cidrs:[192.0.2.1/32,192.0.2.2/32,192.0.2.3/32]}",
            "aws:disconnect-duration 120 {count:90}",
        ],
    );
}

#[test]
fn what_devices_report_stays_apart() {
    check(
        &[
            "d aws:all-bytes-out value 60 5",
            "d aws:all-bytes-out value 61 7",
            // Another behavior on the same reports.
            "d aws:all-bytes-out value 61 7",
            "d aws:listening-udp-ports value 60 p1",
            "d aws:listening-udp-ports value 61 p",
            "d temperature value 60 f-1.5",
            "d temperature value 61 f2",
            "d firmware value 60 sa,b",
            "d peers value 60 a192.0.2.1",
            "d peers value 61 a192.0.2.2",
        ],
        &[
            "aws:all-bytes-out 60 {count:5}",
            "aws:all-bytes-out 61 {count:7}",
            "aws:listening-udp-ports 60 {ports:[1]}",
            "aws:listening-udp-ports 61 {ports:[]}",
            "firmware 60 {strings:[a,b]}",
            "peers 60 {cidrs:[192.0.2.1/32]}",
            "peers 61 {cidrs:[192.0.2.2/32]}",
            "temperature 60 {number:-1.5}",
            "temperature 61 {number:2}",
        ],
    );
}

#[test]
fn dimensions_and_devices_stay_apart() {
    check(
        &[
            "d aws:num-messages-sent value 60 1",
            "d aws:num-messages-sent/A value 60 2",
            "d aws:num-messages-sent/!A value 60 3",
            "d aws:num-messages-sent/A value 120 4",
            "e aws:num-messages-sent/A value 60 5",
        ],
        &[
            "aws:num-messages-sent 60 {count:1}",
            "aws:num-messages-sent/IN A 120 {count:6}",
            "aws:num-messages-sent/NOT_IN A 60 {count:3}",
            "aws:num-messages-sent/IN A 60 {count:5}",
        ],
    );
}

#[test]
fn a_value_that_fits_into_no_message_is_left_out() {
    let long = format!("d firmware value 60 s{}", "x".repeat(500));
    let lines = ["a temperature value 60 f1", &long, "e temperature value 60 f2"];
    let messages = messages(&lines, 200);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains(r#""thing":"a""#) && messages[1].contains(r#""thing":"e""#));
}

proptest! {
    #[test]
    fn messages_hold_every_value_once_and_no_more_bytes_than_they_may(
        // A value of its own takes at most 160 bytes with the frame.
        bytes_max in 160_usize..1_000,
        n in 0_usize..50,
    ) {
        let lines: Vec<_> =
            (0..n).map(|n| format!("device-{n:02} temperature value 60 f{n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let messages = messages(&lines, bytes_max);
        let mut things = Vec::new();
        for message in &messages {
            prop_assert!(message.len() <= bytes_max);
            let json: Json = serde_json::from_str(message).unwrap();
            for item in json["metrics"].as_array().unwrap() {
                things.push(item["thing"].as_str().unwrap().to_owned());
            }
        }
        let expected: Vec<_> = (0..n).map(|n| format!("device-{n:02}")).collect();
        prop_assert_eq!(things, expected);
        let len = |message: &String| message.len();
        for pair in messages.windows(2) {
            prop_assert!(len(&pair[0]) + 130 > bytes_max, "no message is left half empty");
        }
    }
}

#[test]
fn what_waits_is_bounded_and_a_drop_is_counted() {
    let exports = Exports::new(ExportMetrics::default());
    let value = |n: usize| Exported {
        at: Timestamp::from_millis(n as i64),
        ..exported("d temperature value 60 f1")
    };
    exports.add((0..EXPORT_ELEMENTS_MAX - 1).map(value).collect());
    let ports = |n| format!("d aws:listening-tcp-ports value {n} p1,2,3");
    exports.add(vec![exported(&ports(60))]);
    assert_eq!(exports.metrics.counted(End::NoRoom), 1, "four elements do not fit");
    exports.add(vec![value(EXPORT_ELEMENTS_MAX)]);
    assert_eq!(exports.metrics.counted(End::NoRoom), 1, "one does");
    exports.add(vec![value(EXPORT_ELEMENTS_MAX + 1), value(7)]);
    assert_eq!(exports.metrics.counted(End::NoRoom), 2, "what is there takes no more room");
    assert_eq!(exports.take().n_dropped(), 2);
    exports.add(vec![exported(&ports(61))]);
    assert_eq!(exports.metrics.counted(End::NoRoom), 2, "there is room again");
}

#[test]
fn addresses_that_come_together_are_bounded_too() {
    let mut buffer = Buffer::default();
    let mut addresses = (0_u32..).map(|n| std::net::IpAddr::V4(n.into()));
    let mut more = |n| Exported {
        value: MetricValue::Addresses(addresses.by_ref().take(n).collect()),
        ..exported("d aws:source-ip-address value 60 a")
    };
    assert!(buffer.add(more(EXPORT_ELEMENTS_MAX / 2)));
    assert!(buffer.add(more(EXPORT_ELEMENTS_MAX / 4)));
    assert!(!buffer.add(more(EXPORT_ELEMENTS_MAX / 2)));
    assert_eq!(buffer.n_dropped(), 1);
}

/// An exporter of what `exports` holds.
fn exporter(bed: &Bed, exports: &Exports) -> Exporter {
    Exporter {
        exports: exports.clone(),
        store: bed.store.clone(),
        broker: bed.broker.clone(),
        interval_ms: 300_000,
        grace_ms: 1_000,
        payload_bytes_max: 1_000,
        pace: Pace::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_of_the_profiles_topic_get_the_values() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, _observations) = Bed::new(dir.path()).await;
    let export = MetricsExport { mqtt_topic: "fleet/values".to_owned(), role_arn: String::new() };
    bed.watch("P", &[], |profile| profile.export = Some(export)).await;
    let mut subscriber = bed.connect("analyst").await;
    subscriber.subscribe("fleet/#").await;

    let exports = Exports::new(ExportMetrics::default());
    exports.add((0..50).map(|n| exported(&format!("d{n} temperature value 60 f1"))).collect());
    // Of profiles that are gone, or that export no more.
    exports.add(vec![Exported {
        profile: ProfileName::parse("Gone").unwrap(),
        ..exported("d temperature value 60 f1")
    }]);
    bed.watch("Silent", &[], |_| ()).await;
    exports.add(vec![Exported {
        profile: ProfileName::parse("Silent").unwrap(),
        ..exported("d temperature value 60 f1")
    }]);
    exporter(&bed, &exports).publish().await;

    let mut n_values = 0;
    let mut n_messages = 0;
    while n_values < 50 {
        let message = subscriber.message().await;
        assert_eq!(message.topic, "fleet/values");
        assert!(message.payload.len() <= 1_000 && !message.retain);
        let json: Json = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(json["version"], json!("1.0"));
        n_values += json["metrics"].as_array().unwrap().len();
        n_messages += 1;
    }
    assert_eq!(n_values, 50);
    assert_eq!(exports.metrics.counted(End::Published), 50);
    assert_eq!(exports.metrics.messages.get(), n_messages);
    assert_eq!(exports.metrics.counted(End::ProfileGone), 2);
    assert!(exports.take().into_profiles().is_empty(), "nothing is published twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_none_is_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, _observations) = Bed::new(dir.path()).await;
    let export = MetricsExport { mqtt_topic: "fleet/#".to_owned(), role_arn: String::new() };
    bed.watch("P", &[], |profile| profile.export = Some(export)).await;
    let exports = Exports::new(ExportMetrics::default());
    exports.add(vec![exported("d temperature value 60 f1")]);
    exporter(&bed, &exports).publish().await;
    assert_eq!(exports.metrics.counted(End::Refused), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_stop_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, _observations) = Bed::new(dir.path()).await;
    let export = MetricsExport { mqtt_topic: "fleet/values".to_owned(), role_arn: String::new() };
    bed.watch("P", &[], |profile| profile.export = Some(export)).await;
    let exports = Exports::new(ExportMetrics::default());
    exports.add(vec![exported("d temperature value 60 f1")]);
    run(exporter(&bed, &exports), std::future::ready(())).await;
    assert_eq!(exports.metrics.counted(End::Published), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_hurries_what_is_being_published() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, _observations) = Bed::new(dir.path()).await;
    let export = MetricsExport { mqtt_topic: "fleet/values".to_owned(), role_arn: String::new() };
    bed.watch("P", &[], |profile| profile.export = Some(export)).await;
    let exports = Exports::new(ExportMetrics::default());
    // One message each, so that at its usual pace this takes twice as long as anybody waits.
    let n_values = usize::try_from(2 * PATIENCE.as_millis() / EXPORT_PACE.as_millis()).unwrap();
    let value = |n: usize| exported(&format!("d{n} temperature value 60 f1"));
    exports.add((0..n_values).map(value).collect());
    let exporter = Exporter {
        interval_ms: 1,
        grace_ms: -DELAY_MS,
        payload_bytes_max: 200,
        ..exporter(&bed, &exports)
    };
    let first_is_out = async {
        while exports.metrics.counted(End::Published) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, run(exporter, first_is_out)).await.expect("hurried");
    assert_eq!(exports.metrics.counted(End::Published), n_values as u64);
}

#[tokio::test]
async fn values_are_published_a_little_after_the_end_of_each_period() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, _observations) = Bed::new(dir.path()).await;
    let exporter = exporter(&bed, &Exports::new(ExportMetrics::default()));
    let wait = |secs: i64, millis: i64| {
        exporter.wait(Timestamp::from_millis(secs * 1000 + millis)).as_millis()
    };
    // Periods of 300 s, a second of grace and five for the commit.
    assert_eq!(wait(600, 0), 6_000);
    assert_eq!(wait(605, 999), 1);
    assert_eq!(wait(606, 0), 300_000);
    assert_eq!(wait(899, 0), 7_000);
}
