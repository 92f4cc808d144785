//! Random profiles and random timelines.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use picket_model::{
    ClientId, CustomValue, Denied, DisconnectReason, Fact, ListeningPort, ListeningPorts,
    MetricDimension, NetworkStats, Number, Published, Report, SecurityProfile, TcpConnection,
    TcpConnections, Timestamp,
};
use proptest::prelude::*;

use crate::tests::scene::{behavior, custom_name, dimension, profile, retained};

/// One step of a random timeline.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Time since the step before, in milliseconds.
    pub(super) after_ms: i64,
    pub(super) what: What,
    /// Whether the engine is told the time afterwards.
    pub(super) advance: bool,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// An observation of a device, which arrives some milliseconds after it was made.
    Observe(usize, i64, Seen),
    Assign(usize, bool, bool),
    Profiles(usize),
    SessionsLost,
    Restart,
    Nothing,
}

#[derive(Clone, Debug)]
pub(super) enum Seen {
    Attempt,
    Connect(usize),
    Disconnect,
    /// Messages: how many, smallest, largest, topic, address; of which slice.
    Publish(u64, u64, u64, usize, usize, Option<usize>),
    Receive(u64, Option<usize>),
    Deny(u64, usize, Option<usize>),
    Report(Box<Said>),
    Refuse(bool),
}

/// What a report says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    id: u64,
    network: [Option<u64>; 4],
    tcp: Listening,
    udp: Listening,
    connections: Listening,
    /// Kind of its value, and the value; for each custom metric.
    custom: [Option<(u8, Vec<i8>)>; 4],
}

/// The list if there is one, and the total if it is not the list's length.
type Listening = Option<(Option<Vec<usize>>, Option<u64>)>;

pub(super) const DEVICES: [&str; 3] = ["a", "b", "c"];
const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.0.0.2", "192.0.2.1"];
const TOPICS: [&str; 3] = ["t/1", "t/2", "t/3"];
const SLICES: [&str; 2] = ["t", "!t"];
const PORTS: [(u16, &str); 4] = [(22, ""), (22, "eth0"), (80, ""), (443, "lo")];
const REMOTES: [&str; 5] = [
    "10.0.0.1:443",
    "10.0.0.1:8883",
    "[::ffff:10.0.0.2]:443",
    "192.0.2.1:443",
    "[2001:db8::1]:443",
];
const CUSTOM: [&str; 4] = ["load", "codes", "users", "peers"];

fn address(n: usize) -> IpAddr {
    ADDRESSES[n].parse().unwrap()
}

impl Seen {
    /// The part of what happened that is told.
    pub(super) fn slice(&self) -> Option<Arc<MetricDimension>> {
        match self {
            Seen::Publish(.., slice) | Seen::Receive(_, slice) | Seen::Deny(.., slice) => {
                slice.map(|n| Arc::new(dimension(SLICES[n])))
            }
            _ => None,
        }
    }

    pub(super) fn fact(&self, at: Timestamp) -> Fact {
        let client = ClientId::parse("client").unwrap();
        // INVARIANT (one second): the first part of a folded fact lies in the same second.
        let first_at = at.floor(1000);
        match *self {
            Seen::Attempt => Fact::ConnectionAttempted { source: address(0), accepted: true },
            Seen::Connect(source) => Fact::Connected { client, source: address(source) },
            Seen::Disconnect => {
                Fact::Disconnected { client, reason: DisconnectReason::ConnectionLost }
            }
            Seen::Publish(count, min, max, topic, source, _) => Fact::Published(Published {
                count,
                bytes_total: min + max * (count - 1),
                bytes_min: if count == 1 { max } else { min },
                bytes_max: max,
                first_at,
                last_at: at,
                largest_topic: TOPICS[topic].into(),
                source: address(source),
            }),
            Seen::Receive(count, _) => Fact::Received { count },
            Seen::Deny(count, topic, _) => Fact::Denied(Denied {
                count,
                first_at,
                last_at: at,
                last_action: "iot:Subscribe",
                last_resource: TOPICS[topic].into(),
            }),
            Seen::Report(ref said) => Fact::Reported(Arc::new(said.report())),
            Seen::Refuse(ran_backward) => Fact::ReportRefused { ran_backward },
        }
    }
}

impl Said {
    fn report(&self) -> Report {
        let ports = |listening: &Listening| {
            let (list, total) = listening.as_ref()?;
            let port = |n: &usize| {
                let (port, interface) = PORTS[*n % PORTS.len()];
                let interface = (!interface.is_empty()).then(|| interface.into());
                ListeningPort { port, interface }
            };
            let ports: Option<Vec<_>> = list.as_ref().map(|list| list.iter().map(port).collect());
            let n = ports.as_ref().map_or(0, |ports| ports.len() as u64);
            Some(ListeningPorts { ports, total: total.unwrap_or(n) })
        };
        let connections = self.connections.as_ref().map(|(list, total)| {
            let connection = |n: &usize| {
                let remote: SocketAddr = REMOTES[*n].parse().unwrap();
                TcpConnection { remote, local_port: None, local_interface: None }
            };
            let list: Option<Vec<_>> =
                list.as_ref().map(|list| list.iter().map(connection).collect());
            let n = list.as_ref().map_or(0, |list| list.len() as u64);
            TcpConnections { connections: list, total: total.unwrap_or(n) }
        });
        let number = |n: &i8| Number::new(f64::from(*n) / 2.0).unwrap();
        let custom = CUSTOM.iter().zip(&self.custom).filter_map(|(name, value)| {
            let (kind, values) = value.as_ref()?;
            let value = match kind {
                0 => CustomValue::Number(number(values.first().unwrap_or(&0))),
                1 => CustomValue::NumberList(values.iter().map(number).collect()),
                2 => {
                    CustomValue::StringList(values.iter().map(|n| format!("u{n}").into()).collect())
                }
                _ => CustomValue::IpList(
                    values.iter().map(|n| address(usize::from(n.unsigned_abs()) % 3)).collect(),
                ),
            };
            Some((custom_name(name), value))
        });
        let [bytes_out, bytes_in, packets_out, packets_in] = self.network;
        Report {
            id: self.id,
            listening_tcp_ports: ports(&self.tcp),
            listening_udp_ports: ports(&self.udp),
            tcp_connections: connections,
            network: NetworkStats { bytes_in, bytes_out, packets_in, packets_out },
            custom: custom.collect(),
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let increment = || prop_oneof![1 => Just(None), 3 => (0..6u64).prop_map(Some)];
    let listening = || {
        let list = prop::option::of(prop::collection::vec(0..5usize, 0..4));
        let total = prop_oneof![3 => Just(None), 1 => (0..5u64).prop_map(Some)];
        prop_oneof![1 => Just(None), 2 => (list, total).prop_map(Some)]
    };
    let custom = |kind: u8| {
        let kind = prop_oneof![9 => Just(kind), 1 => 0..4u8];
        let values = prop::collection::vec(-1..5i8, 0..3);
        prop_oneof![1 => Just(None), 2 => (kind, values).prop_map(Some)]
    };
    (
        prop_oneof![4 => 0..1_000u64, 1 => 0..4u64],
        [increment(), increment(), increment(), increment()],
        [listening(), listening(), listening()],
        [custom(0), custom(1), custom(2), custom(3)],
    )
        .prop_map(|(id, network, [tcp, udp, connections], custom)| Said {
            id,
            network,
            tcp,
            udp,
            connections,
            custom,
        })
}

fn seen() -> impl Strategy<Value = Seen> {
    let slice = || prop_oneof![2 => Just(None), 1 => (0..2usize).prop_map(Some)];
    prop_oneof![
        1 => Just(Seen::Attempt),
        3 => (0..3usize).prop_map(Seen::Connect),
        2 => Just(Seen::Disconnect),
        8 => (1..4u64, 0..6u64, 0..6u64, 0..3usize, 0..3usize, slice())
            .prop_map(|(n, x, y, t, a, slice)| Seen::Publish(n, x.min(y), x.max(y), t, a, slice)),
        2 => (1..4u64, slice()).prop_map(|(n, slice)| Seen::Receive(n, slice)),
        2 => (1..4u64, 0..3usize, slice()).prop_map(|(n, t, slice)| Seen::Deny(n, t, slice)),
        10 => said().prop_map(|said| Seen::Report(said.into())),
        1 => any::<bool>().prop_map(Seen::Refuse),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let after_ms = prop_oneof![
        16 => 0..3_000i64,
        6 => 3_000..40_000i64,
        2 => 40_000..700_000i64,
        // The edges of the trailing windows, of buckets, and of what is noted.
        4 => prop::sample::select(vec![
            1, 1_000, 4_499, 4_500, 4_501, 5_000, 9_000, 10_000, 27_000, 270_000, 300_000, 900_000,
        ]),
    ];
    let what = prop_oneof![
        40 => (0..3usize, prop_oneof![3 => Just(0i64), 1 => 0..15_000i64], seen())
            .prop_map(|(device, back, seen)| What::Observe(device, back, seen)),
        4 => (0..3usize, any::<bool>(), any::<bool>()).prop_map(|(d, p, q)| What::Assign(d, p, q)),
        2 => (0..3usize).prop_map(What::Profiles),
        1 => Just(What::SessionsLost),
        4 => Just(What::Restart),
        8 => Just(What::Nothing),
    ];
    (after_ms, what, any::<bool>()).prop_map(|(after_ms, what, advance)| Step {
        after_ms,
        what,
        advance,
    })
}

/// A profile as text: its name, its behaviors, what it retains.
pub(super) type ProfileText = (&'static str, Vec<String>, Vec<String>);

pub(super) fn profiles_of(texts: &[ProfileText]) -> Vec<Arc<SecurityProfile>> {
    let profile_of = |(name, behaviors, kept): &ProfileText| {
        let behaviors = behaviors.iter().enumerate();
        let behaviors = behaviors.map(|(n, text)| behavior(text, &format!("b{n}")));
        profile(name, behaviors.collect(), kept.iter().map(|text| retained(text)).collect())
    };
    texts.iter().map(profile_of).collect()
}

const COUNTED: [&str; 9] = [
    "size",
    "size/t",
    "sent",
    "sent/t",
    "sent/!t",
    "received/t",
    "denied",
    "attempts",
    "disconnects",
];
const SAID: [&str; 7] = ["out", "out", "in", "pin", "tcp#", "udp#", "conns#"];
const OPERATORS: [&str; 4] = ["<", "<=", ">", ">="];
const PERCENTILES: [&str; 11] =
    ["p0", "p0.01", "p0.1", "p1", "p10", "p50", "p90", "p99", "p99.9", "p99.99", "p100"];

fn behavior_text() -> impl Strategy<Value = String> {
    let operator = || prop::sample::select(&OPERATORS[..]);
    let number = |metrics: &'static [&'static str], most: u64| {
        (prop::sample::select(metrics), operator(), 0..most)
            .prop_map(|(metric, operator, limit)| format!("{metric} {operator} {limit}"))
    };
    let load = (operator(), 0..4u64).prop_map(|(operator, n)| format!("load {operator} {n}"));
    let percentile = (
        prop::sample::select(vec!["size", "size/t", "sent", "attempts", "out", "tcp#", "load"]),
        operator(),
        prop::sample::select(&PERCENTILES[..]),
    )
        .prop_map(|(metric, operator, which)| format!("{metric} {operator} {which}"));
    let learned = prop::sample::select(vec!["size", "sent/t", "out", "conns#", "load"])
        .prop_map(|metric| format!("{metric} learned high"));
    let set = |metrics: &'static [&'static str], sets: &'static [&'static str]| {
        (prop::sample::select(metrics), any::<bool>(), prop::sample::select(sets)).prop_map(
            |(metric, is_in, set)| {
                format!("{metric} {} {set}", if is_in { "in" } else { "not-in" })
            },
        )
    };
    let upper = (prop::sample::select(vec!["away", "missing"]), any::<bool>(), 0..3u64).prop_map(
        |(metric, or_equal, n)| format!("{metric} {} {n}", if or_equal { "<=" } else { "<" }),
    );
    let disagree = (0..8u64).prop_map(|n| format!("disagree <= {n}"));
    let test = prop_oneof![
        6 => number(&COUNTED, 5),
        6 => number(&SAID, 8),
        1 => load,
        3 => percentile,
        1 => learned,
        2 => set(&["ip", "ip/t", "dest", "peers"], &["10.0.0.0/8", "10.0.0.1/32", "192.0.2.0/24"]),
        2 => set(&["tcp", "udp"], &["22", "22,80", "-"]),
        1 => set(&["codes"], &["0.5,1", "-"]),
        1 => set(&["users"], &["u1,u2", "-"]),
        2 => upper,
        1 => disagree,
    ];
    let export = prop_oneof![4 => Just(""), 1 => Just(" export"), 1 => Just(" mute")];
    let run = || prop_oneof![2 => Just(1u8), 1 => 1..4u8];
    (test, 0..4usize, run(), run(), export).prop_map(|(test, window, alarm, clear, export)| {
        // What needs no window takes no harm from one.
        format!("{test} @{} {alarm}/{clear}{export}", [5, 10, 30, 300][window])
    })
}

fn retained_text() -> impl Strategy<Value = String> {
    const KEPT: [&str; 14] = [
        "size", "sent", "sent/t", "ip", "away", "attempts", "out", "pout", "tcp", "dest", "users",
        "load", "missing", "disagree",
    ];
    (prop::sample::select(&KEPT[..]), any::<bool>()).prop_map(|(word, is_exported)| {
        if is_exported { format!("{word} export") } else { word.to_owned() }
    })
}

fn profile_pair() -> impl Strategy<Value = Vec<ProfileText>> {
    let one = || {
        (
            prop::collection::vec(behavior_text(), 0..5),
            prop::collection::vec(retained_text(), 0..3),
            any::<bool>(),
        )
    };
    (one(), one()).prop_map(|(p, q)| {
        let mut profiles = vec![("p", p.0, p.1), ("r", vec![], vec!["attempts".to_owned()])];
        // Every other time the second profile does not exist.
        if q.2 {
            profiles.push(("q", q.0, q.1));
        }
        profiles
    })
}

/// Grace in milliseconds, three sets of profiles, and what happens.
pub(super) type Play = (i64, Vec<Vec<ProfileText>>, Vec<Step>);

pub(super) fn play() -> impl Strategy<Value = Play> {
    (
        prop_oneof![Just(1_000i64), Just(12_000i64)],
        prop::collection::vec(profile_pair(), 3),
        (any::<prop::sample::Index>(), behavior_text()),
        prop::collection::vec(step(), 1..120),
    )
        .prop_map(|(grace_ms, mut profiles, (place, other), steps)| {
            // The second set shares the first profile with the first, and the third all of it but
            // one behavior: a change of profiles leaves something as it was.
            profiles[1][0] = profiles[0][0].clone();
            profiles[2][0] = profiles[0][0].clone();
            let behaviors = &mut profiles[2][0].1;
            if !behaviors.is_empty() {
                let place = place.index(behaviors.len());
                behaviors[place] = other;
            }
            (grace_ms, profiles, steps)
        })
}
