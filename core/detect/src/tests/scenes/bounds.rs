//! What a hostile device cannot do: make the engine's state grow.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use picket_model::limits::EVIDENCE_ELEMENTS_MAX;
use picket_model::{
    CustomValue, Evidence, Fact, ListeningPort, ListeningPorts, NetworkStats, Number, Observation,
    Published, Report, TcpConnection, TcpConnections, Timestamp,
};

use crate::tests::scene::{Scene, TEN, custom_name, device};
use crate::{Engine, EngineConfig, Verdict};

/// Everything that a report is judged by.
const PROFILE: &str = "out <= 9 @3600; in <= 9 @3600; pout <= 9 @300; pin <= 9 @5; out <= p50 @3600; \
    tcp in 22; udp not-in 53; dest in 10.0.0.0/8; tcp# <= 9 @300; load <= p90 @300; codes in 1; \
    users in pump; peers in 10.0.0.0/8; disagree <= 0; missing <= 5; ip in 10.0.0.0/8 @3600; \
    size <= 9 @3600; sent/t <= 9 @3600; out learned high";

/// A report with as much in every list as a large message holds, no two alike.
fn huge(n: u64) -> Report {
    let ports = |n: u64| {
        let port = |i: u64| ListeningPort {
            port: ((i * 7 + n) % 65_535 + 1) as u16,
            interface: Some(format!("eth{n}.{i}").into()),
        };
        Some(ListeningPorts { ports: Some((0..10_000).map(port).collect()), total: u64::MAX })
    };
    let address = |i: u64| IpAddr::V4(Ipv4Addr::from(3_000_000_000 + (i * 11 + n) as u32));
    let connection = |i: u64| TcpConnection {
        remote: SocketAddr::new(address(i), (i % 60_000) as u16 + 1),
        local_port: None,
        local_interface: None,
    };
    let connections = Some((0..10_000).map(connection).collect());
    let strings = (0..1_000).map(|i| format!("user-{n}-{i}").into()).collect();
    let number = |i: u64| Number::new(i as f64 + n as f64).unwrap();
    Report {
        id: n.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        listening_tcp_ports: ports(n),
        listening_udp_ports: ports(n + 1),
        tcp_connections: Some(TcpConnections { connections, total: u64::MAX }),
        network: NetworkStats {
            bytes_in: Some(u64::MAX),
            bytes_out: Some(n),
            packets_in: Some(n * n),
            packets_out: Some(u64::MAX),
        },
        custom: vec![
            (custom_name("load"), CustomValue::Number(number(7))),
            (custom_name("codes"), CustomValue::NumberList((0..1_000).map(number).collect())),
            (custom_name("users"), CustomValue::StringList(strings)),
            (custom_name("peers"), CustomValue::IpList((0..1_000).map(address).collect())),
        ],
    }
}

fn evidence(verdict: &Verdict) -> Option<&Evidence> {
    match verdict {
        Verdict::Event(event) => Some(&event.explanation.evidence),
        Verdict::Continued(more) => Some(&more.explanation.evidence),
        Verdict::Datapoint(_) | Verdict::Exported(_) => None,
    }
}

/// Lets a device report `n` times from a second of the scene on, every `every_ms`, and gives the
/// largest state that was stored.
fn largest_state(
    scene: &mut Scene,
    second: i64,
    (n, every_ms): (u64, i64),
    report: impl Fn(u64) -> Report,
) -> usize {
    let mut largest = 0;
    for n in 0..n {
        let at = Timestamp::from_millis(TEN + second * 1_000 + n as i64 * every_ms);
        let told = |fact| Observation { at, device: device("a"), slice: None, fact };
        scene.engine.observe(&told(Fact::Published(Published {
            count: 1,
            bytes_total: u64::MAX / 2,
            bytes_min: n,
            bytes_max: n,
            first_at: at,
            last_at: at,
            largest_topic: format!("t/{n}").into(),
            source: IpAddr::V4(Ipv4Addr::from(3_000_000_000 + n as u32)),
        })));
        scene.engine.observe(&told(Fact::ReportRefused { ran_backward: true }));
        for verdict in scene.engine.observe(&told(Fact::Reported(Arc::new(report(n))))) {
            let shown = match evidence(&verdict) {
                Some(Evidence::ListeningPorts(ports)) => ports.len(),
                Some(Evidence::Destinations(remotes)) => remotes.len(),
                _ => 0,
            };
            assert!(shown <= EVIDENCE_ELEMENTS_MAX, "{shown}");
        }
        let changes = scene.engine.take_changes();
        let states = changes.iter().filter_map(|(_, state)| state.as_ref().map(Vec::len));
        largest = states.max().unwrap_or(0).max(largest);
        scene.engine.advance(at);
    }
    largest
}

#[test]
fn huge_reports_leave_nothing_of_their_lists_behind() {
    let mut scene = Scene::new(PROFILE);
    scene.play("0:01 on; pub 1; rep");
    // The windows keep 64 addresses each, and some reports are still to be summed.
    let largest = largest_state(&mut scene, 2, (20, 1_000), huge);
    assert!(largest < 8 * 1024, "{largest} bytes of state");
}

#[test]
fn reports_without_end_fill_their_rings_and_no_more() {
    let mut scene = Scene::new(PROFILE);
    scene.play("0:01 on; pub 1; rep");
    let small = |n: u64| Report {
        id: u64::MAX - n,
        network: NetworkStats {
            bytes_in: Some(u64::MAX - n),
            bytes_out: Some(u64::MAX - n),
            packets_in: Some(u64::MAX - n),
            packets_out: Some(u64::MAX - n),
        },
        ..Report::default()
    };
    // Four metrics with a ring each, at most 20 bytes an increment; the rest is small.
    let rings = 4 * picket_model::limits::INCREMENTS_PER_METRIC_MAX * 20;
    let largest = largest_state(&mut scene, 2, (6_000, 17), small);
    assert!(largest < rings + 8 * 1024, "{largest} bytes of state");
    let largest = largest_state(&mut scene, 7_200, (60, 600_000), small);
    assert!(largest < 8 * 1024, "{largest} bytes of state after the rings ran dry");
}

#[test]
fn a_sum_over_more_reports_than_are_kept_apart_is_still_the_sum() {
    let mut scene = Scene::new("out <= 9999 @3600");
    let mut sum = 0;
    for n in 0..5_000 {
        let at = Timestamp::from_millis(TEN + n * 500);
        let network = NetworkStats { bytes_out: Some(2), ..NetworkStats::default() };
        let report = Report { id: n as u64, network, ..Report::default() };
        let fact = Fact::Reported(Arc::new(report));
        scene.play(if n == 0 { "0:00 on" } else { "" });
        let observation = Observation { at, device: device("a"), slice: None, fact };
        sum += 2;
        for verdict in scene.engine.observe(&observation) {
            if let Verdict::Event(event) = verdict {
                assert_eq!(sum, 10_000);
                assert_eq!(event.value, Some(picket_model::MetricValue::Count(10_000)));
            }
        }
    }
    assert_eq!(sum, 10_000);
}

#[test]
fn facts_that_make_no_sense_do_no_harm() {
    let mut engine = Engine::new(EngineConfig::default());
    engine.set_profiles(Timestamp::from_millis(TEN), crate::tests::scene::profiles(PROFILE));
    let names = [picket_model::ProfileName::parse("p").unwrap()].into();
    for at in [0, i64::MIN, i64::MAX, TEN, -1, TEN - 1] {
        let at = Timestamp::from_millis(at);
        engine.assign(at, &device("a"), &names);
        for slice in [None, Some(Arc::new(crate::tests::scene::dimension("t")))] {
            let told = |fact| Observation { at, device: device("a"), slice: slice.clone(), fact };
            engine.observe(&told(Fact::Reported(Arc::new(huge(1)))));
            engine.observe(&told(Fact::ReportRefused { ran_backward: true }));
            engine.observe(&told(Fact::Received { count: u64::MAX }));
            engine.observe(&told(Fact::Received { count: 0 }));
        }
        engine.take_changes();
    }
}
