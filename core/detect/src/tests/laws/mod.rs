//! Laws that hold for every timeline, tried on random ones.
//!
//! A failure prints the timeline that it was shrunk to, and keeps its seed in
//! `proptest-regressions`. To look further than every day: `PROPTEST_CASES=20000`.

mod timeline;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_model::catalogue::Source;
use picket_model::{
    DeviceName, Explanation, Observation, ProfileName, SecurityProfile, Timestamp,
    ViolationEventKind,
};
use proptest::prelude::*;

use self::timeline::{DEVICES, ProfileText, Seen, Step, What, play, profiles_of};
use super::oracle::Oracle;
use super::scene::{TEN, device, verdict_text};
use crate::{Engine, EngineConfig, Verdict};

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

/// Takes the sentences out, which the oracle does not write, and holds that there are some.
fn without_sentences(verdicts: Vec<Verdict>) -> Vec<Verdict> {
    let strip = |explanation: &mut Explanation| {
        assert!(!std::mem::take(&mut explanation.sentence).is_empty());
        for note in &mut explanation.notes {
            assert!(!std::mem::take(&mut note.sentence).is_empty());
        }
    };
    let strip = |mut verdict| {
        match &mut verdict {
            Verdict::Event(event) => strip(&mut event.explanation),
            Verdict::Continued(more) => strip(&mut more.explanation),
            Verdict::Datapoint(_) | Verdict::Exported(_) => {}
        }
        verdict
    };
    verdicts.into_iter().map(strip).collect()
}

/// Holds that the engine said what the oracle says.
#[track_caller]
fn compare_verdicts(said: &[Verdict], expected: &[Verdict], when: &str) {
    let said = without_sentences(said.to_vec());
    if said != expected {
        let texts = |verdicts: &[Verdict]| {
            verdicts.iter().map(verdict_text).collect::<Vec<_>>().join("\n  ")
        };
        let (said_text, expected_text) = (texts(&said), texts(expected));
        if said_text == expected_text {
            assert_eq!(said, expected, "{when}");
        }
        panic!("{when}\nengine:\n  {said_text}\noracle:\n  {expected_text}");
    }
}

/// Plays the steps to an engine and to the oracle and gives all verdicts.
fn compare(
    grace_ms: i64,
    texts: &[Vec<ProfileText>],
    steps: &[Step],
    restarts: bool,
) -> Vec<Verdict> {
    let config = EngineConfig { grace_ms, silence_ms: 600_000 };
    let profiles: Vec<_> = texts.iter().map(|texts| profiles_of(texts)).collect();
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
                let observation =
                    Observation { at, device, slice: seen.slice(), fact: seen.fact(at) };
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
                let fact = Seen::Connect(0).fact(now);
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
        compare_verdicts(&said, &expected, &format!("step {n}: {step:?}"));
        all.extend(said);
        if step.advance {
            stage.advanced_to = now;
            let is_idle = stage.engine.next_deadline().is_none_or(|deadline| now < deadline);
            let said = stage.engine.advance(now);
            compare_verdicts(&said, &oracle.advance(now), &format!("advance after step {n}"));
            assert!(!is_idle || said.is_empty(), "something was to do before the deadline");
            all.extend(said);
        }
        assert_eq!(stage.engine.take_training(), oracle.take_training(), "step {n}: {step:?}");
        stage.commit();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

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
    fn a_window_has_one_datapoint_of_a_series((grace_ms, profiles, steps) in play()) {
        // While the profiles stay the same: a change may bring another length of windows.
        let steps: Vec<_> = steps
            .into_iter()
            .filter(|step| !matches!(step.what, What::Assign(..) | What::Profiles(_)))
            .collect();
        let mut seen = BTreeSet::new();
        for verdict in compare(grace_ms, &profiles, &steps, false) {
            // Two reports may come at one moment, two windows never end at one.
            if let Verdict::Datapoint(datapoint) = verdict
                && datapoint.metric.source() == Source::Cloud
            {
                let series = (datapoint.metric.clone(), datapoint.dimension.clone());
                let key = (datapoint.device.clone(), series, datapoint.at);
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
        fresh.set_profiles(now, profiles_of(&profiles[0]));
        let _ = fresh.restore_device(device("noise"), &bytes);
        prop_assert!(fresh.restore_device(device("none"), &[]).is_err());

        // Real snapshots, damaged a little: what is still taken must not trip the engine later.
        let mut stage = Stage::new(config, false);
        stage.engine.set_profiles(now, profiles_of(&profiles[0]));
        let all = ["p", "q"].map(|name| ProfileName::parse(name).unwrap()).into();
        for step in &steps {
            if let What::Observe(nth, back_ms, seen) = &step.what {
                let device = device(DEVICES[*nth]);
                stage.engine.assign(now, &device, &all);
                let at = now - *back_ms;
                let (slice, fact) = (seen.slice(), seen.fact(at));
                stage.engine.observe(&Observation { at, device, slice, fact });
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
            let seen = Seen::Publish(2, 1, 5, 0, 2, None);
            let (device, slice, fact) = (device(name), seen.slice(), seen.fact(now));
            fresh.observe(&Observation { at: now, device, slice, fact });
        }
        fresh.advance(now + 400_000);
        fresh.sessions_lost(now + 500_000);
        fresh.advance(now + 4_000_000);
        fresh.set_profiles(now, profiles_of(&profiles[2]));
        fresh.take_changes();
    }
}

/// What a verdict is, what it rests on, and what is noted beside it: what a law has to meet.
fn sorts(verdict: &Verdict) -> Vec<String> {
    let explained = |what: &str, explanation: &Explanation| {
        let early = if explanation.early { " early" } else { "" };
        let evidence = format!("{:?}", explanation.evidence);
        let evidence = evidence.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let notes = explanation.notes.iter().map(|note| format!("note {}", note.kind.as_str()));
        let mut sorts: Vec<_> = notes.collect();
        sorts.extend([format!("{what}{early}"), format!("evidence {evidence}")]);
        sorts
    };
    match verdict {
        Verdict::Datapoint(datapoint) => vec![format!("datapoint {:?}", datapoint.metric.kind())],
        Verdict::Exported(exported) => vec![format!("exported {:?}", exported.part)],
        Verdict::Event(event) => {
            let sort = event.behavior.criteria.criteria_type().as_str();
            let event_sort = format!("{} {sort}", event.kind.as_str());
            explained(&event_sort, &event.explanation)
        }
        Verdict::Continued(more) => explained("continued", &more.explanation),
    }
}

#[test]
fn random_timelines_reach_what_they_should_try() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..200 {
        let (grace_ms, profiles, steps) = play().new_tree(&mut runner).unwrap().current();
        for verdict in compare(grace_ms, &profiles, &steps, true) {
            sorts(&verdict).into_iter().for_each(|sort| *counts.entry(sort).or_default() += 1);
        }
    }
    let rare: Vec<_> = counts.iter().filter(|(_, n)| **n < 5).collect();
    assert!(rare.is_empty(), "{rare:?} of {counts:#?}");
    let sorts: Vec<_> = counts.keys().map(String::as_str).collect();
    insta::assert_snapshot!(sorts.join("\n"), @r"
    alarm-cleared STATIC
    alarm-cleared STATISTICAL
    alarm-invalidated STATIC
    alarm-invalidated STATISTICAL
    continued
    continued early
    datapoint Addresses
    datapoint Count
    datapoint Delta
    datapoint Duration
    datapoint Gauge
    datapoint Increment
    datapoint Numbers
    datapoint Ports
    datapoint Size
    datapoint Strings
    evidence Absence
    evidence Addresses
    evidence Count
    evidence Denials
    evidence Destinations
    evidence Fleet
    evidence ListeningPorts
    evidence Messages
    evidence Nothing
    evidence Reports
    exported Max
    exported Min
    exported Total
    exported Value
    in-alarm STATIC
    in-alarm STATIC early
    in-alarm STATISTICAL
    note bytes-out-disagrees
    note counter-ran-backward
    note empty-after-violation
    note report-id-fell
    note report-id-repeated
    note report-missing
    ");
}
