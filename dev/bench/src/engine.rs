//! The engine by itself, on one core: reports judged, state of a device, and a window's end over a
//! whole fleet. Everything is in memory; what storing costs is part of `cargo xtask bench line`.

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use picket_detect::{Engine, EngineConfig, Verdict};
use picket_model::{
    Behavior, BehaviorName, ClientId, Comparison, Criteria, CustomMetricKind, CustomMetricName,
    CustomValue, DeviceName, Fact, ListeningPort, ListeningPorts, Metric, NetworkStats, Number,
    Observation, Operator, Percentile, ProfileName, Published, Quantity, Report, SecurityProfile,
    SetOperator, TcpConnection, TcpConnections, Timestamp, ValueSet, WindowLen,
};
use picket_report::{Format, Names};

use crate::{machine, say};

/// 2026-11-20T10:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_795_168_800_000);

/// The profile that watches every device.
const PROFILE: &str = "bench";

/// Devices whose reports are judged in turn: enough that none is still in a cache.
const REPORTERS: usize = 20_000;

/// Reports of each of them.
const ROUNDS: usize = 15;

/// Measures the engine and prints the figures beside their aims.
///
/// # Errors
/// When a name in this file is none, or the kernel does not tell how much memory is used.
pub(crate) fn run(devices: usize) -> Result<()> {
    // First, while no memory that others freed can be used again.
    state(devices)?;
    windows(devices)?;
    reports(&Decoded, "decoded before", "300,000")?;
    reports(&Json, "from JSON", "150,000")
}

/// How reports reach the engine.
trait Form {
    /// A report as it arrives.
    type Arrived;

    /// Makes a report arrive.
    fn arrive(&self, report: &Arc<Report>) -> Self::Arrived;

    /// Reads what arrived.
    fn read(&self, arrived: &Self::Arrived) -> Result<Arc<Report>>;
}

/// As they are in memory.
struct Decoded;

/// As devices send them.
struct Json;

impl Form for Decoded {
    type Arrived = Arc<Report>;

    fn arrive(&self, report: &Arc<Report>) -> Arc<Report> {
        Arc::clone(report)
    }

    fn read(&self, arrived: &Arc<Report>) -> Result<Arc<Report>> {
        Ok(Arc::clone(arrived))
    }
}

impl Form for Json {
    type Arrived = Vec<u8>;

    fn arrive(&self, report: &Arc<Report>) -> Vec<u8> {
        picket_report::encode(report, Format::Json, Names::Long)
    }

    fn read(&self, arrived: &Vec<u8>) -> Result<Arc<Report>> {
        Ok(Arc::new(picket_report::decode(Format::Json, arrived)?))
    }
}

/// Reports judged per second: 20 metrics, each judged by a behavior.
fn reports<F: Form>(form: &F, words: &str, aim: &str) -> Result<()> {
    let mut engine = engine(&reported_behaviors()?)?;
    let names = names(REPORTERS)?;
    for name in &names {
        engine.assign(START, name, &[profile_name()?].into());
    }
    let mut best = Duration::MAX;
    let mut n_verdicts = 0;
    for round in 0..ROUNDS {
        let at = START + 60_000 * (round as i64 + 1);
        engine.advance_with(at, &mut |_| n_verdicts += 1);
        let report = Arc::new(report(round as u64)?);
        let arrived: Vec<_> = names.iter().map(|name| (name, form.arrive(&report))).collect();
        let begun = Instant::now();
        for (name, arrived) in &arrived {
            let fact = Fact::Reported(form.read(arrived)?);
            n_verdicts += black_box(engine.observe(&observation(name, at, fact))).len();
        }
        best = best.min(begun.elapsed());
        black_box(engine.take_changes());
    }
    let per_second = REPORTERS as f64 / best.as_secs_f64();
    say(&format!(
        "reports judged: {per_second:.0} in a second of one core, {words}; 20 metrics, 20 \
         behaviors, {} verdicts each (aim {aim})",
        n_verdicts / (REPORTERS * ROUNDS)
    ));
    Ok(())
}

/// Bytes of memory that a device takes: 8 metrics, 10 behaviors, in the middle of a window.
fn state(devices: usize) -> Result<()> {
    let names = names(devices)?;
    let report = Arc::new(report(1)?);
    let before = resident_bytes()?;
    let mut engine = engine(&state_behaviors()?)?;
    engine.advance(START);
    for (n, name) in names.iter().enumerate() {
        engine.assign(START, name, &[profile_name()?].into());
        for fact in [connected()?, published(), Fact::Received { count: 3 }] {
            black_box(engine.observe(&observation(name, START + 10_000, fact)));
        }
        let reported = Fact::Reported(Arc::clone(&report));
        black_box(engine.observe(&observation(name, START + 20_000, reported)));
        // As the server does once a second.
        if n % 10_000 == 0 {
            black_box(engine.take_changes());
        }
    }
    let bytes = resident_bytes()?.saturating_sub(before) / names.len().max(1);
    say(&format!(
        "state of a device: {bytes} bytes, name apart; 8 metrics, 10 behaviors, {devices} devices \
         (aim 512)"
    ));
    Ok(())
}

/// The end of a window: 10 behaviors, 3 of them percentiles.
fn windows(devices: usize) -> Result<()> {
    let names = names(devices)?;
    let mut engine = engine(&window_behaviors()?)?;
    engine.advance(START);
    for (n, name) in names.iter().enumerate() {
        engine.assign(START, name, &[profile_name()?].into());
        engine.observe(&observation(name, START + 1_000, connected()?));
        engine.observe(&observation(name, START + 2_000, messages(n as u64 % 977)));
        engine.observe(&observation(name, START + 3_000, Fact::Received { count: 3 }));
    }
    let mut n_verdicts = 0u64;
    let begun = machine::cpu_time(std::process::id())?;
    engine.advance_with(START + 301_001, &mut |verdict: Verdict| {
        black_box(verdict);
        n_verdicts += 1;
    });
    let took = machine::cpu_time(std::process::id())?.saturating_sub(begun);
    say(&format!(
        "end of a window: {:.2} s on one core over {devices} devices; 10 behaviors, 3 of them \
         percentiles, {n_verdicts} verdicts (aim 1 s over 1,000,000)",
        took.as_secs_f64()
    ));
    Ok(())
}

fn engine(behaviors: &[Behavior]) -> Result<Engine> {
    let profile = SecurityProfile {
        name: profile_name()?,
        description: None,
        behaviors: behaviors.to_vec(),
        alert_targets: Vec::new(),
        retained_metrics: Vec::new(),
        export: None,
        version: 1,
        created_at: START,
        modified_at: START,
    };
    let mut engine = Engine::new(EngineConfig::default());
    engine.set_profiles(START, vec![Arc::new(profile)]);
    Ok(engine)
}

fn profile_name() -> Result<ProfileName> {
    ProfileName::parse(PROFILE).context("a profile's name")
}

fn names(n: usize) -> Result<Vec<DeviceName>> {
    (0..n).map(|n| DeviceName::parse(format!("device-{n:07}")).context("a device's name")).collect()
}

fn observation(device: &DeviceName, at: Timestamp, fact: Fact) -> Observation {
    Observation { at, device: device.clone(), slice: None, fact }
}

fn behavior(name: &str, metric: Metric, comparison: Comparison) -> Result<Behavior> {
    let criteria = Criteria {
        comparison,
        window: Some(WindowLen::DEFAULT),
        datapoints_to_alarm: 1,
        datapoints_to_clear: 1,
    };
    let name = BehaviorName::parse(name).context("a behavior's name")?;
    Ok(Behavior { name, metric, dimension: None, criteria, suppress_alerts: false, export: false })
}

/// Normal up to more than any device here has.
fn limit() -> Comparison {
    Comparison::Limit(Operator::LessThanEquals, Quantity::Count(1 << 40))
}

fn number_limit() -> Result<Comparison> {
    let limit = Number::new(1e12).context("a number")?;
    Ok(Comparison::Limit(Operator::LessThan, Quantity::Number(limit)))
}

fn custom(n: usize, kind: CustomMetricKind) -> Result<Metric> {
    let name = CustomMetricName::parse(format!("custom-{n}")).context("a metric's name")?;
    Ok(Metric::Custom(name, kind))
}

/// What a report speaks of: ten built-in metrics and ten custom ones.
fn reported_behaviors() -> Result<Vec<Behavior>> {
    let counts = [
        Metric::BytesOut,
        Metric::BytesIn,
        Metric::PacketsOut,
        Metric::PacketsIn,
        Metric::ListeningTcpPortCount,
        Metric::ListeningUdpPortCount,
        Metric::EstablishedTcpConnectionCount,
    ];
    let mut behaviors = Vec::new();
    for metric in counts {
        behaviors.push(behavior(&format!("b{}", behaviors.len()), metric, limit())?);
    }
    let ports = || Comparison::Set(SetOperator::In, ValueSet::Ports((1..=1024).collect()));
    behaviors.push(behavior("tcp", Metric::ListeningTcpPorts, ports())?);
    behaviors.push(behavior("udp", Metric::ListeningUdpPorts, ports())?);
    let nets = vec!["10.0.0.0/8".parse()?, "192.0.2.0/24".parse()?];
    let nets = Comparison::Set(SetOperator::In, ValueSet::Cidrs(nets));
    behaviors.push(behavior("to", Metric::DestinationIpAddresses, nets)?);
    for n in 0..10 {
        let metric = custom(n, CustomMetricKind::Number)?;
        behaviors.push(behavior(&format!("c{n}"), metric, number_limit()?)?);
    }
    Ok(behaviors)
}

/// Ten behaviors on eight metrics, four of the broker and four of reports.
fn state_behaviors() -> Result<Vec<Behavior>> {
    let p90 = Comparison::Percentile(Operator::LessThanEquals, Percentile::P90);
    let ports = Comparison::Set(SetOperator::In, ValueSet::Ports([22, 443, 1000].into()));
    Ok(vec![
        behavior("size", Metric::MessageByteSize, limit())?,
        behavior("sent", Metric::MessagesSent, limit())?,
        behavior("sent-p90", Metric::MessagesSent, p90.clone())?,
        behavior("received", Metric::MessagesReceived, limit())?,
        behavior("denied", Metric::AuthorizationFailures, limit())?,
        behavior("out", Metric::BytesOut, limit())?,
        behavior("out-p90", Metric::BytesOut, p90)?,
        behavior("in", Metric::BytesIn, limit())?,
        behavior("ports", Metric::ListeningTcpPorts, ports)?,
        behavior("connections", Metric::EstablishedTcpConnectionCount, limit())?,
    ])
}

/// Ten behaviors of the broker's metrics, three of them percentiles.
fn window_behaviors() -> Result<Vec<Behavior>> {
    let ranked = |percentile| Comparison::Percentile(Operator::LessThanEquals, percentile);
    let home = Comparison::Set(SetOperator::In, ValueSet::Cidrs(vec!["10.0.0.0/8".parse()?]));
    Ok(vec![
        behavior("size", Metric::MessageByteSize, limit())?,
        behavior("size-p99", Metric::MessageByteSize, ranked(Percentile::P99_99))?,
        behavior("sent", Metric::MessagesSent, limit())?,
        behavior("sent-p99", Metric::MessagesSent, ranked(Percentile::P99_99))?,
        behavior("received", Metric::MessagesReceived, limit())?,
        behavior("received-p99", Metric::MessagesReceived, ranked(Percentile::P99_99))?,
        behavior("denied", Metric::AuthorizationFailures, limit())?,
        behavior("attempts", Metric::ConnectionAttempts, limit())?,
        behavior("disconnects", Metric::Disconnects, limit())?,
        behavior("from", Metric::SourceIpAddress, home)?,
    ])
}

fn connected() -> Result<Fact> {
    let client = ClientId::parse("client").context("a client id")?;
    Ok(Fact::Connected { client, source: "10.0.0.7".parse()? })
}

fn published() -> Fact {
    messages(120)
}

fn messages(bytes: u64) -> Fact {
    // A topic of its own for each message, as the broker makes it.
    Fact::Published(Published {
        count: 1,
        bytes_total: bytes,
        bytes_min: bytes,
        bytes_max: bytes,
        first_at: START + 2_000,
        last_at: START + 2_000,
        largest_topic: Arc::from("plant/7/temperature"),
        source: [10, 0, 0, 7].into(),
    })
}

fn report(id: u64) -> Result<Report> {
    let ports = |list: &[u16]| {
        let ports = list.iter().map(|&port| ListeningPort { port, interface: None });
        Some(ListeningPorts { ports: Some(ports.collect()), total: list.len() as u64 })
    };
    let connection = |remote: &str| -> Result<TcpConnection> {
        Ok(TcpConnection { remote: remote.parse()?, local_port: None, local_interface: None })
    };
    let connections = vec![connection("10.0.0.1:443")?, connection("192.0.2.7:8883")?];
    let custom = (0..10).map(|n| {
        let name = CustomMetricName::parse(format!("custom-{n}")).context("a metric's name")?;
        let value = Number::new(n as f64 + 0.5).context("a number")?;
        Ok((name, CustomValue::Number(value)))
    });
    Ok(Report {
        id,
        listening_tcp_ports: ports(&[22, 443, 1000]),
        listening_udp_ports: ports(&[53, 123]),
        tcp_connections: Some(TcpConnections { total: 2, connections: Some(connections) }),
        network: NetworkStats {
            bytes_in: Some(2_000),
            bytes_out: Some(3_000),
            packets_in: Some(20),
            packets_out: Some(30),
        },
        custom: custom.collect::<Result<_>>()?,
    })
}

/// Memory of this process that is in use, in bytes.
fn resident_bytes() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).map(str::trim);
    let kib: usize = kib.context("the kernel does not tell the memory in use")?.parse()?;
    Ok(kib * 1024)
}
