//! Laws that hold for every timeline, tried on random ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{
    ClientId, Denied, DeviceName, DisconnectReason, Fact, Metric, Observation, ProfileName,
    Published, SecurityProfile, Timestamp, ViolationEventKind,
};
use proptest::prelude::*;

use super::oracle::Oracle;
use super::scene::{TEN, behavior, device, profile, verdict_text};
use crate::{Engine, EngineConfig, Verdict};

/// One step of a random timeline.
#[derive(Clone, Debug)]
struct Step {
    /// Time since the step before, in milliseconds.
    after_ms: i64,
    what: What,
    /// Whether the engine is told the time afterwards.
    advance: bool,
}

#[derive(Clone, Debug)]
enum What {
    /// An observation of a device, which arrives some milliseconds after it was made.
    Observe(usize, i64, Seen),
    Assign(usize, bool, bool),
    Profiles(usize),
    SessionsLost,
    Restart,
    Nothing,
}

#[derive(Clone, Debug)]
enum Seen {
    Attempt,
    Connect(usize),
    Disconnect,
    /// Messages: how many, smallest, largest, topic, address.
    Publish(u64, u64, u64, usize, usize),
    Receive(u64),
    Deny(u64, usize),
}

const DEVICES: [&str; 3] = ["a", "b", "c"];
const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.0.0.2", "192.0.2.1"];
const TOPICS: [&str; 3] = ["t/1", "t/2", "t/3"];

fn fact(seen: &Seen, at: Timestamp) -> Fact {
    let address = |n: usize| ADDRESSES[n].parse::<IpAddr>().unwrap();
    let client = ClientId::parse("client").unwrap();
    // INVARIANT (one second): the first part of a folded fact lies in the same second.
    let first_at = at.floor(1000);
    match *seen {
        Seen::Attempt => Fact::ConnectionAttempted { source: address(0), accepted: true },
        Seen::Connect(source) => Fact::Connected { client, source: address(source) },
        Seen::Disconnect => Fact::Disconnected { client, reason: DisconnectReason::ConnectionLost },
        Seen::Publish(count, min, max, topic, source) => Fact::Published(Published {
            count,
            bytes_total: min + max * (count - 1),
            bytes_min: if count == 1 { max } else { min },
            bytes_max: max,
            first_at,
            last_at: at,
            largest_topic: TOPICS[topic].into(),
            source: address(source),
        }),
        Seen::Receive(count) => Fact::Received { count },
        Seen::Deny(count, topic) => Fact::Denied(Denied {
            count,
            first_at,
            last_at: at,
            last_action: "iot:Subscribe",
            last_resource: TOPICS[topic].into(),
        }),
    }
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        1 => Just(Seen::Attempt),
        3 => (0..3usize).prop_map(Seen::Connect),
        2 => Just(Seen::Disconnect),
        8 => (1..4u64, 0..6u64, 0..6u64, 0..3usize, 0..3usize).prop_map(|(n, x, y, t, a)| {
            Seen::Publish(n, x.min(y), x.max(y), t, a)
        }),
        2 => (1..4u64).prop_map(Seen::Receive),
        2 => (1..4u64, 0..3usize).prop_map(|(n, t)| Seen::Deny(n, t)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let after_ms = prop_oneof![
        8 => 0..3_000i64,
        3 => 3_000..40_000i64,
        1 => 40_000..700_000i64,
    ];
    let what = prop_oneof![
        20 => (0..3usize, prop_oneof![3 => Just(0i64), 1 => 0..15_000i64], seen())
            .prop_map(|(device, back, seen)| What::Observe(device, back, seen)),
        2 => (0..3usize, any::<bool>(), any::<bool>()).prop_map(|(d, p, q)| What::Assign(d, p, q)),
        1 => (0..3usize).prop_map(What::Profiles),
        1 => Just(What::SessionsLost),
        2 => Just(What::Restart),
        4 => Just(What::Nothing),
    ];
    (after_ms, what, any::<bool>()).prop_map(|(after_ms, what, advance)| Step {
        after_ms,
        what,
        advance,
    })
}

fn behavior_text() -> impl Strategy<Value = String> {
    let number = (0..7usize, 0..4usize, 0..5u64).prop_map(|(metric, operator, limit)| {
        const METRICS: [&str; 7] =
            ["size", "size", "sent", "received", "denied", "attempts", "disconnects"];
        format!("{} {} {limit}", METRICS[metric], ["<", "<=", ">", ">="][operator])
    });
    let address = (any::<bool>(), 0..3usize).prop_map(|(is_in, net)| {
        let net = ["10.0.0.0/8", "10.0.0.1/32", "192.0.2.0/24"][net];
        format!("ip {} {net}", if is_in { "in" } else { "not-in" })
    });
    let away = (any::<bool>(), 0..3u64).prop_map(|(or_equal, limit)| {
        format!("away {} {limit}", if or_equal { "<=" } else { "<" })
    });
    let test = prop_oneof![6 => number, 1 => address, 1 => away];
    (test, 0..4usize, 1..4u8, 1..4u8).prop_map(|(test, window, alarm, clear)| {
        // Counts need a window; it does the others no harm.
        format!("{test} @{} {alarm}/{clear}", [5, 10, 30, 300][window])
    })
}

fn profile_pair() -> impl Strategy<Value = Vec<Arc<SecurityProfile>>> {
    let one = || {
        (
            prop::collection::vec(behavior_text(), 0..4),
            prop::collection::vec(0..8usize, 0..3),
            any::<bool>(),
        )
    };
    (one(), one()).prop_map(|pair| {
        let make = |name: &str, (texts, retained, _): (Vec<String>, Vec<usize>, bool)| {
            let behaviors =
                texts.iter().enumerate().map(|(n, text)| behavior(text, &format!("b{n}")));
            let retained = retained.iter().map(|n| Metric::BUILT_IN[*n].clone()).collect();
            profile(name, behaviors.collect(), retained)
        };
        let mut profiles = vec![make("p", pair.0)];
        profiles.push(profile("r", vec![], vec![Metric::ConnectionAttempts]));
        // Every other time the second profile does not exist.
        if pair.1.2 {
            profiles.push(make("q", pair.1));
        }
        profiles
    })
}

fn play() -> impl Strategy<Value = (i64, Vec<Vec<Arc<SecurityProfile>>>, Vec<Step>)> {
    (
        prop_oneof![Just(1_000i64), Just(12_000i64)],
        prop::collection::vec(profile_pair(), 3),
        prop::collection::vec(step(), 1..120),
    )
        .prop_map(|(grace_ms, mut profiles, steps)| {
            // Let the second set share the first profile with the first, so that a change of
            // profiles leaves something as it was.
            profiles[1][0] = Arc::clone(&profiles[0][0]);
            (grace_ms, profiles, steps)
        })
}

/// An engine, its disk, and what a step does to it.
struct Stage {
    config: EngineConfig,
    engine: Engine,
    profiles: Vec<Arc<SecurityProfile>>,
    stored: BTreeMap<DeviceName, Vec<u8>>,
    advanced_to: Timestamp,
    restarts: bool,
}

impl Stage {
    fn new(config: EngineConfig, restarts: bool) -> Self {
        Self {
            config,
            engine: Engine::new(config),
            profiles: Vec::new(),
            stored: BTreeMap::new(),
            advanced_to: Timestamp::EPOCH,
            restarts,
        }
    }

    fn commit(&mut self) {
        for (name, state) in self.engine.take_changes() {
            match state {
                Some(state) => self.stored.insert(name, state),
                None => self.stored.remove(&name),
            };
        }
    }

    /// Stops the engine and starts another one from what was stored.
    fn restart(&mut self) {
        self.engine = Engine::new(self.config);
        let verdicts = self.engine.set_profiles(self.advanced_to, self.profiles.clone());
        assert_eq!(verdicts, []);
        for (name, state) in &self.stored {
            self.engine.restore_device(name.clone(), state).unwrap();
        }
        assert_eq!(self.engine.advance(self.advanced_to), [], "judged twice after a restart");
        self.commit();
    }
}

fn without_sentences(verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let strip = |verdict| match verdict {
        Verdict::Event(mut event) => {
            assert!(!event.explanation.sentence.is_empty());
            event.explanation.sentence.clear();
            Verdict::Event(event)
        }
        Verdict::Continued(mut more) => {
            more.explanation.sentence.clear();
            Verdict::Continued(more)
        }
        Verdict::Datapoint(_) | Verdict::Exported(_) => verdict,
    };
    verdicts.into_iter().map(strip).collect()
}

/// Plays the steps to an engine and to the oracle and gives all verdicts.
fn compare(
    grace_ms: i64,
    profiles: &[Vec<Arc<SecurityProfile>>],
    steps: &[Step],
    restarts: bool,
) -> Vec<Verdict> {
    let config = EngineConfig { grace_ms, silence_ms: 600_000 };
    let mut stage = Stage::new(config, restarts);
    let mut oracle = Oracle::new(config);
    let mut now = Timestamp::from_millis(TEN);
    let mut all = Vec::new();
    stage.profiles = profiles[0].clone();
    stage.engine.set_profiles(now, profiles[0].clone());
    oracle.set_profiles(now, profiles[0].clone());
    for (n, step) in steps.iter().enumerate() {
        now = now + step.after_ms;
        let (said, expected) = match &step.what {
            What::Observe(nth, back_ms, seen) => {
                let device = device(DEVICES[*nth]);
                let everything: BTreeSet<_> =
                    ["p", "q"].map(|name| ProfileName::parse(name).unwrap()).into();
                if !stage.engine.knows(&device) && *nth != 2 {
                    assert_eq!(stage.engine.assign(now, &device, &everything), []);
                    oracle.assign(now, &device, &everything);
                }
                let at = now - *back_ms;
                let observation = Observation { at, device, slice: None, fact: fact(seen, at) };
                (stage.engine.observe(&observation), oracle.observe(&observation))
            }
            What::Assign(nth, p, q) => {
                let device = device(DEVICES[*nth]);
                let names = [("p", *p), ("q", *q)].into_iter().filter(|(_, is_in)| *is_in);
                let names = names.map(|(name, _)| ProfileName::parse(name).unwrap()).collect();
                (stage.engine.assign(now, &device, &names), oracle.assign(now, &device, &names))
            }
            What::Profiles(nth) => {
                stage.profiles = profiles[*nth].clone();
                let said = stage.engine.set_profiles(now, profiles[*nth].clone());
                (said, oracle.set_profiles(now, profiles[*nth].clone()))
            }
            What::SessionsLost => {
                // The witness is connected, so that losing sessions changes what is stored: an
                // engine that is restarted without losing them again has to know of it.
                let witness = device("witness");
                let names = BTreeSet::from([ProfileName::parse("r").unwrap()]);
                let said = stage.engine.assign(now, &witness, &names);
                assert_eq!(said, oracle.assign(now, &witness, &names));
                let fact = fact(&Seen::Connect(0), now);
                let observation = Observation { at: now, device: witness, slice: None, fact };
                let said = stage.engine.observe(&observation);
                assert_eq!(said, oracle.observe(&observation));
                stage.engine.sessions_lost(now);
                oracle.sessions_lost(now);
                stage.advanced_to = now;
                (stage.engine.advance(now), oracle.advance(now))
            }
            What::Restart if stage.restarts => {
                stage.restart();
                oracle.restart();
                (Vec::new(), Vec::new())
            }
            What::Restart | What::Nothing => (Vec::new(), Vec::new()),
        };
        assert_eq!(without_sentences(said.clone()), expected, "step {n}: {step:?}");
        all.extend(said);
        if step.advance {
            stage.advanced_to = now;
            let said = stage.engine.advance(now);
            let expected = oracle.advance(now);
            assert_eq!(without_sentences(said.clone()), expected, "advance after step {n}");
            all.extend(said);
        }
        stage.commit();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_says_what_the_naive_oracle_says((grace_ms, profiles, steps) in play()) {
        compare(grace_ms, &profiles, &steps, false);
    }

    #[test]
    fn an_engine_restored_at_any_moment_goes_on_as_if_nothing_had_been(
        (grace_ms, profiles, steps) in play()
    ) {
        compare(grace_ms, &profiles, &steps, true);
    }

    #[test]
    fn the_events_of_an_alarm_alternate((grace_ms, profiles, steps) in play()) {
        let mut on = BTreeMap::new();
        let mut lives = BTreeSet::new();
        for verdict in compare(grace_ms, &profiles, &steps, true) {
            match &verdict {
                Verdict::Event(event) => {
                    let key = (
                        event.profile.clone(),
                        event.behavior.name.clone(),
                        event.device.clone(),
                    );
                    if event.kind == ViolationEventKind::InAlarm {
                        prop_assert!(lives.insert(event.violation.clone()), "an id came twice");
                        let before = on.insert(key, event.violation.clone());
                        prop_assert_eq!(before, None, "{}", verdict_text(&verdict));
                    } else {
                        let before = on.remove(&key);
                        prop_assert_eq!(before.as_ref(), Some(&event.violation));
                    }
                }
                Verdict::Continued(more) => {
                    let key =
                        (more.profile.clone(), more.behavior.name.clone(), more.device.clone());
                    prop_assert_eq!(on.get(&key), Some(&more.violation));
                }
                Verdict::Datapoint(_) | Verdict::Exported(_) => {}
            }
        }
    }

    #[test]
    fn a_metric_has_one_datapoint_per_moment((grace_ms, profiles, steps) in play()) {
        // While the profiles stay the same: a change may bring another length of windows.
        let steps: Vec<_> = steps
            .into_iter()
            .filter(|step| !matches!(step.what, What::Assign(..) | What::Profiles(_)))
            .collect();
        let mut seen = BTreeSet::new();
        for verdict in compare(grace_ms, &profiles, &steps, false) {
            if let Verdict::Datapoint(datapoint) = verdict {
                let key = (datapoint.device.clone(), datapoint.metric.clone(), datapoint.at);
                prop_assert!(seen.insert(key), "{datapoint:?} came twice");
            }
        }
    }

    #[test]
    fn no_bytes_make_restoring_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        (grace_ms, profiles, steps) in play(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let config = EngineConfig { grace_ms, silence_ms: 600_000 };
        let now = Timestamp::from_millis(TEN);
        let mut fresh = Engine::new(config);
        fresh.set_profiles(now, profiles[0].clone());
        let _ = fresh.restore_device(device("noise"), &bytes);
        prop_assert!(fresh.restore_device(device("none"), &[]).is_err());

        // Real snapshots, damaged a little: what is still taken must not trip the engine later.
        let mut stage = Stage::new(config, false);
        stage.engine.set_profiles(now, profiles[0].clone());
        let all = ["p", "q"].map(|name| ProfileName::parse(name).unwrap()).into();
        for step in &steps {
            if let What::Observe(nth, back_ms, seen) = &step.what {
                let device = device(DEVICES[*nth]);
                stage.engine.assign(now, &device, &all);
                let at = now - *back_ms;
                stage.engine.observe(&Observation { at, device, slice: None, fact: fact(seen, at) });
            }
        }
        stage.commit();
        for (name, state) in &mut stage.stored {
            for (place, value) in &flips {
                let place = place.index(state.len());
                state[place] = *value;
            }
            let _ = fresh.restore_device(name.clone(), state);
        }
        for name in DEVICES {
            let seen = Seen::Publish(2, 1, 5, 0, 2);
            let device = device(name);
            fresh.observe(&Observation { at: now, device, slice: None, fact: fact(&seen, now) });
        }
        fresh.advance(now + 400_000);
        fresh.sessions_lost(now + 500_000);
        fresh.advance(now + 4_000_000);
        fresh.set_profiles(now, profiles[2].clone());
        fresh.take_changes();
    }
}

#[test]
fn random_timelines_reach_what_they_should_try() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut kinds = BTreeMap::<&str, usize>::new();
    for _ in 0..60 {
        let (grace_ms, profiles, steps) = play().new_tree(&mut runner).unwrap().current();
        for verdict in compare(grace_ms, &profiles, &steps, true) {
            let kind = match verdict {
                Verdict::Datapoint(_) => "datapoint",
                Verdict::Exported(_) => "exported",
                Verdict::Continued(more) if more.explanation.early => "continued early",
                Verdict::Continued(_) => "continued",
                Verdict::Event(event) => match event.kind {
                    ViolationEventKind::InAlarm if event.explanation.early => "early alarm",
                    ViolationEventKind::InAlarm => "alarm",
                    ViolationEventKind::Cleared => "cleared",
                    ViolationEventKind::Invalidated => "invalidated",
                },
            };
            *kinds.entry(kind).or_default() += 1;
        }
    }
    let expected = [
        "alarm",
        "cleared",
        "continued",
        "continued early",
        "datapoint",
        "early alarm",
        "invalidated",
    ];
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), expected, "{kinds:?}");
    assert!(kinds.values().all(|n| *n >= 10), "{kinds:?}");
}
