//! A small text form for profiles, timelines and verdicts, so that a test is a line of data.
//!
//! Profiles: behaviors separated by `;`, profiles by `|`. A behavior is `metric operator value`,
//! then optionally `@seconds`, `to-alarm/to-clear`, `export` and `mute`; its name is the metric's
//! word, with a number if there are several. `size/t` is the size of messages in the dimension t,
//! `size/!t` of the rest. A value is a number, a percentile (`out <= p90 @300`), or a list for `in`
//! and `not-in` (`tcp in 22,443`; `-` is the empty list); `out learned high` is an ML criteria.
//! `keep metric [export]` retains a metric. A profile may be given a name: `q: ...`; it is `p`
//! otherwise. The words for metrics are in [`words`]; `load`, `codes`, `users` and `peers` are custom.
//!
//! Timelines: steps separated by `;`, each `minute:second` after 10 o'clock, then what happens:
//! `on [address]`, `off`, `try`, `pub size [xN] [topic] [from=address]`, `recv N`, `deny N`,
//! `rep field=value...`, `refuse [backward]`, `now` (the engine is told the time),
//! `watch [profile...]`, `lost`, `restart`. The device is `a`, or `b` in `b:pub 10`. `pub/t 10` tells
//! the part of what happened that lies in the dimension t: nothing but that part is told by it.
//! A step without a time happens when the one before it did.
//!
//! Verdicts: `10:00` is `10:00`; `in-alarm!` was judged early; `again` is a continued alarm; notes
//! stand behind in brackets.

mod facts;
mod text;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_model::{DeviceName, Observation, ProfileName, SecurityProfile, Timestamp};

use crate::{Engine, EngineConfig, Verdict};

pub(super) use text::{Sort, texts_of, verdict_text};
pub(super) use words::{behavior, custom_name, dimension, profile, profiles, retained};

/// 2026-11-20T10:00:00Z.
pub(super) const TEN: i64 = 1_795_168_800_000;

pub(super) fn device(name: &str) -> DeviceName {
    DeviceName::parse(name).unwrap()
}

/// `minute:second[.millis]` after 10 o'clock.
fn time(text: &str) -> Option<Timestamp> {
    let (minutes, seconds) = text.split_once(':')?;
    let minutes: i64 = minutes.parse().ok()?;
    let seconds: f64 = seconds.parse().ok()?;
    Some(Timestamp::from_millis(TEN + minutes * 60_000 + (seconds * 1000.0).round() as i64))
}

/// An engine with a stage: what it was told, what it said, and what would be on disk.
pub(super) struct Scene {
    pub(super) engine: Engine,
    config: EngineConfig,
    profiles: Vec<Arc<SecurityProfile>>,
    stored: BTreeMap<DeviceName, Vec<u8>>,
    at: Timestamp,
}

impl Scene {
    /// Grace of a second, silence of two days.
    pub(super) fn new(text: &str) -> Self {
        Self::with_grace(text, 1_000)
    }

    pub(super) fn with_grace(text: &str, grace_ms: i64) -> Self {
        let config = EngineConfig { grace_ms, ..EngineConfig::default() };
        let mut engine = Engine::new(config);
        let profiles = profiles(text);
        engine.set_profiles(Timestamp::from_millis(TEN), profiles.clone());
        let stored = BTreeMap::new();
        Self { engine, config, profiles, stored, at: Timestamp::from_millis(TEN) }
    }

    /// Plays a timeline and gives the verdicts.
    pub(super) fn play(&mut self, timeline: &str) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for step in timeline.split(';').map(str::trim).filter(|step| !step.is_empty()) {
            let mut words: Vec<_> = step.split_whitespace().collect();
            if let Some(at) = time(words[0]) {
                self.at = at;
                words.remove(0);
            }
            let (name, verb) = words[0].split_once(':').unwrap_or(("a", words[0]));
            verdicts.extend(self.step(&device(name), verb, &words[1..]));
            for (name, state) in self.engine.take_changes() {
                match state {
                    Some(state) => self.stored.insert(name, state),
                    None => self.stored.remove(&name),
                };
            }
        }
        verdicts
    }

    /// Changes the profiles.
    pub(super) fn become_profiles(&mut self, at: &str, text: &str) -> Vec<Verdict> {
        self.at = time(at).unwrap();
        self.profiles = profiles(text);
        self.engine.set_profiles(self.at, self.profiles.clone())
    }

    /// Changes the profiles as while the engine is not running.
    pub(super) fn swap_profiles_unseen(&mut self, text: &str) {
        self.profiles = profiles(text);
    }

    fn step(&mut self, device: &DeviceName, verb: &str, words: &[&str]) -> Vec<Verdict> {
        match verb {
            "now" => return self.engine.advance(self.at),
            "lost" => {
                self.engine.sessions_lost(self.at);
                return Vec::new();
            }
            "restart" => {
                self.engine = Engine::new(self.config);
                self.engine.set_profiles(self.at, self.profiles.clone());
                for (name, state) in &self.stored {
                    self.engine.restore_device(name.clone(), state).unwrap();
                }
                return Vec::new();
            }
            "watch" => {
                let names = words.iter().map(|name| ProfileName::parse(*name).unwrap()).collect();
                return self.engine.assign(self.at, device, &names);
            }
            _ => {}
        }
        let mut verdicts = Vec::new();
        if !self.engine.knows(device) {
            let all: BTreeSet<_> = self.profiles.iter().map(|p| p.name.clone()).collect();
            verdicts.extend(self.engine.assign(self.at, device, &all));
        }
        let (verb, slice) = match verb.split_once('/') {
            Some((verb, name)) => (verb, Some(Arc::new(dimension(name)))),
            None => (verb, None),
        };
        let fact = facts::fact(verb, words, self.at);
        let observation = Observation { at: self.at, device: device.clone(), slice, fact };
        verdicts.extend(self.engine.observe(&observation));
        verdicts
    }
}

pub(super) fn texts(verdicts: &[Verdict], datapoints: bool) -> String {
    texts_of(verdicts, if datapoints { Sort::Datapoints } else { Sort::Alarms })
}

#[track_caller]
fn check_sort(sort: Sort, profiles: &str, timeline: &str, expected: &str) {
    let verdicts = Scene::new(profiles).play(timeline);
    assert_eq!(texts_of(&verdicts, sort), expected, "{profiles} | {timeline}");
}

/// Checks the alarms of a timeline.
#[track_caller]
pub(super) fn check(profiles: &str, timeline: &str, expected: &str) {
    check_sort(Sort::Alarms, profiles, timeline, expected);
}

/// Checks the datapoints of a timeline.
#[track_caller]
pub(super) fn check_points(profiles: &str, timeline: &str, expected: &str) {
    check_sort(Sort::Datapoints, profiles, timeline, expected);
}

/// Checks what a timeline exports.
#[track_caller]
pub(super) fn check_exports(profiles: &str, timeline: &str, expected: &str) {
    check_sort(Sort::Exports, profiles, timeline, expected);
}
