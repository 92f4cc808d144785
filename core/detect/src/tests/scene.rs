//! A small text form for profiles, timelines and verdicts, so that a test is a line of data.
//!
//! Profiles: behaviors separated by `;`, profiles by `|`. A behavior is `metric operator value`,
//! then optionally `@seconds` and `to-alarm/to-clear`; its name is the metric's word, with a number
//! if there are several. `keep metric` retains a metric. A profile may be given a name: `q: ...`;
//! it is `p` otherwise.
//!
//! Timelines: steps separated by `;`, each `minute:second` after 10 o'clock, then what happens:
//! `on [address]`, `off`, `try`, `pub size [xN] [topic]`, `recv N`, `deny N`, `now` (the engine is
//! told the time), `watch [profile...]`, `lost`, `restart`. The device is `a`, or `b` in `b:pub 10`.
//! A step without a time happens when the one before it did.
//!
//! Verdicts: `10:00` is `10:00`; `in-alarm!` was judged early; `again` is a continued alarm.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{
    AlertTarget, Behavior, BehaviorName, ClientId, Comparison, Criteria, Datapoint, Denied,
    DeviceName, DisconnectReason, Fact, Metric, MetricValue, Observation, Operator, ProfileName,
    Published, Quantity, RetainedMetric, SecurityProfile, SetOperator, Timestamp, ValueSet,
    ViolationEventKind, WindowLen,
};

use crate::{Engine, EngineConfig, Verdict};

/// 2026-11-20T10:00:00Z.
pub(super) const TEN: i64 = 1_795_168_800_000;

pub(super) fn device(name: &str) -> DeviceName {
    DeviceName::parse(name).unwrap()
}

pub(super) fn metric(word: &str) -> Metric {
    match word {
        "size" => Metric::MessageByteSize,
        "sent" => Metric::MessagesSent,
        "received" => Metric::MessagesReceived,
        "denied" => Metric::AuthorizationFailures,
        "attempts" => Metric::ConnectionAttempts,
        "disconnects" => Metric::Disconnects,
        "ip" => Metric::SourceIpAddress,
        "away" => Metric::DisconnectDuration,
        word => panic!("no metric `{word}`"),
    }
}

fn metric_word(metric: &Metric) -> &'static str {
    match metric {
        Metric::MessageByteSize => "size",
        Metric::MessagesSent => "sent",
        Metric::MessagesReceived => "received",
        Metric::AuthorizationFailures => "denied",
        Metric::ConnectionAttempts => "attempts",
        Metric::Disconnects => "disconnects",
        Metric::SourceIpAddress => "ip",
        Metric::DisconnectDuration => "away",
        metric => panic!("no word for {metric}"),
    }
}

pub(super) fn behavior(text: &str, name: &str) -> Behavior {
    let mut words = text.split_whitespace();
    let metric = metric(words.next().unwrap());
    let operator = words.next().unwrap();
    let value = words.next().unwrap();
    let count = || Quantity::Count(value.replace('_', "").parse().unwrap());
    let nets = || ValueSet::Cidrs(value.split(',').map(|net| net.parse().unwrap()).collect());
    let comparison = match operator {
        "<" => Comparison::Limit(Operator::LessThan, count()),
        "<=" => Comparison::Limit(Operator::LessThanEquals, count()),
        ">" => Comparison::Limit(Operator::GreaterThan, count()),
        ">=" => Comparison::Limit(Operator::GreaterThanEquals, count()),
        "in" => Comparison::Set(SetOperator::In, nets()),
        "not-in" => Comparison::Set(SetOperator::NotIn, nets()),
        operator => panic!("no operator `{operator}`"),
    };
    let mut criteria =
        Criteria { comparison, window: None, datapoints_to_alarm: 1, datapoints_to_clear: 1 };
    for word in words {
        if let Some(secs) = word.strip_prefix('@') {
            criteria.window = Some(WindowLen::from_secs(secs.parse().unwrap()).unwrap());
        } else {
            let (alarm, clear) = word.split_once('/').unwrap();
            criteria.datapoints_to_alarm = alarm.parse().unwrap();
            criteria.datapoints_to_clear = clear.parse().unwrap();
        }
    }
    let name = BehaviorName::parse(name).unwrap();
    Behavior { name, metric, dimension: None, criteria, suppress_alerts: false, export: false }
}

pub(super) fn profile(
    name: &str,
    behaviors: Vec<Behavior>,
    retained_metrics: Vec<Metric>,
) -> Arc<SecurityProfile> {
    Arc::new(SecurityProfile {
        name: ProfileName::parse(name).unwrap(),
        description: None,
        behaviors,
        alert_targets: Vec::<AlertTarget>::new(),
        retained_metrics: retained_metrics
            .into_iter()
            .map(|metric| RetainedMetric { metric, dimension: None, export: false })
            .collect(),
        export: None,
        version: 1,
        created_at: Timestamp::EPOCH,
        modified_at: Timestamp::EPOCH,
    })
}

pub(super) fn profiles(text: &str) -> Vec<Arc<SecurityProfile>> {
    let profiles = text.split('|').filter(|text| !text.trim().is_empty());
    profiles
        .map(|text| {
            let (name, text) = text.split_once(": ").unwrap_or(("p", text));
            let (mut behaviors, mut retained) = (Vec::<Behavior>::new(), Vec::new());
            for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
                if let Some(word) = part.strip_prefix("keep ") {
                    retained.push(metric(word));
                    continue;
                }
                let word = part.split_whitespace().next().unwrap();
                let n = behaviors.iter().filter(|b| b.name.as_str().starts_with(word)).count();
                let name = if n == 0 { word.to_owned() } else { format!("{word}{}", n + 1) };
                behaviors.push(behavior(part, &name));
            }
            profile(name.trim(), behaviors, retained)
        })
        .collect()
}

/// `minute:second[.millis]` after 10 o'clock.
fn time(text: &str) -> Option<Timestamp> {
    let (minutes, seconds) = text.split_once(':')?;
    let minutes: i64 = minutes.parse().ok()?;
    let seconds: f64 = seconds.parse().ok()?;
    Some(Timestamp::from_millis(TEN + minutes * 60_000 + (seconds * 1000.0).round() as i64))
}

fn time_text(at: Timestamp) -> String {
    let millis = at.as_millis() - TEN;
    let (minutes, seconds, millis) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    match millis {
        0 => format!("{minutes}:{seconds:02}"),
        millis => format!("{minutes}:{seconds:02}.{millis:03}"),
    }
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
        let fact = fact(verb, words, self.at);
        let observation = Observation { at: self.at, device: device.clone(), slice: None, fact };
        verdicts.extend(self.engine.observe(&observation));
        verdicts
    }
}

fn fact(verb: &str, words: &[&str], at: Timestamp) -> Fact {
    let first = words.first().copied();
    let number = || first.unwrap().parse::<u64>().unwrap();
    let client = ClientId::parse("client").unwrap();
    let home: IpAddr = "10.0.0.7".parse().unwrap();
    match verb {
        "on" => Fact::Connected { client, source: first.map_or(home, |ip| ip.parse().unwrap()) },
        "off" => Fact::Disconnected { client, reason: DisconnectReason::ClientInitiated },
        "try" => Fact::ConnectionAttempted { source: home, accepted: false },
        "recv" => Fact::Received { count: number() },
        "deny" => Fact::Denied(Denied {
            count: number(),
            first_at: at,
            last_at: at,
            last_action: "iot:Publish",
            last_resource: "secret/plans".into(),
        }),
        "pub" => {
            let count = words.iter().find_map(|word| word.strip_prefix('x'));
            let count = count.map_or(1, |count| count.parse().unwrap());
            let topic = words.iter().skip(1).find(|word| !word.starts_with('x'));
            Fact::Published(Published {
                count,
                bytes_total: number() * count,
                bytes_min: number(),
                bytes_max: number(),
                first_at: at,
                last_at: at,
                largest_topic: (*topic.unwrap_or(&"t")).into(),
                source: home,
            })
        }
        verb => panic!("no step `{verb}`"),
    }
}

fn value_text(value: &MetricValue) -> String {
    match value {
        MetricValue::Count(count) => count.to_string(),
        MetricValue::Number(number) => number.to_string(),
        MetricValue::Ports(ports) => ports.iter().map(u16::to_string).collect::<Vec<_>>().join("+"),
        MetricValue::Numbers(numbers) => {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
        }
        MetricValue::Strings(strings) => {
            strings.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
        }
        MetricValue::Addresses(addresses) => {
            addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join("+")
        }
    }
}

fn whose(device: &DeviceName, profile: &str, behavior: &str) -> String {
    let device = if device.as_str() == "a" { String::new() } else { format!("{device}:") };
    let profile = if profile == "p" { String::new() } else { format!("{profile}.") };
    format!("{device}{profile}{behavior}")
}

/// A verdict as text; datapoints and the rest apart.
pub(super) fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Datapoint(Datapoint { device, metric, at, value, .. }) => {
            let whose = whose(device, "p", metric_word(metric));
            format!("{} {whose}={}", time_text(*at), value_text(value))
        }
        Verdict::Event(event) => {
            let kind = match event.kind {
                ViolationEventKind::InAlarm => "in-alarm",
                ViolationEventKind::Cleared => "cleared",
                ViolationEventKind::Invalidated => "invalidated",
            };
            let early = if event.explanation.early { "!" } else { "" };
            let whose = whose(&event.device, event.profile.as_str(), event.behavior.name.as_str());
            let value = event.value.as_ref().map(value_text).unwrap_or_default();
            format!("{} {kind}{early} {whose} {value}", time_text(event.at)).trim_end().to_owned()
        }
        Verdict::Continued(more) => {
            let early = if more.explanation.early { "!" } else { "" };
            let whose = whose(&more.device, more.profile.as_str(), more.behavior.name.as_str());
            let at = time_text(more.last_violated_at);
            format!("{at} again{early} {whose} {}", value_text(&more.last_value))
        }
        Verdict::Exported(exported) => {
            let whose =
                whose(&exported.device, exported.profile.as_str(), metric_word(&exported.metric));
            let at = time_text(exported.at);
            format!("{at} {whose} {:?} {}", exported.part, value_text(&exported.value))
        }
    }
}

pub(super) fn texts(verdicts: &[Verdict], datapoints: bool) -> String {
    let wanted = verdicts.iter().filter(|v| matches!(v, Verdict::Datapoint(_)) == datapoints);
    wanted.map(verdict_text).collect::<Vec<_>>().join("; ")
}

/// Checks the alarms of a timeline.
#[track_caller]
pub(super) fn check(profiles: &str, timeline: &str, expected: &str) {
    let verdicts = Scene::new(profiles).play(timeline);
    assert_eq!(texts(&verdicts, false), expected, "{profiles} | {timeline}");
}

/// Checks the datapoints of a timeline.
#[track_caller]
pub(super) fn check_points(profiles: &str, timeline: &str, expected: &str) {
    let verdicts = Scene::new(profiles).play(timeline);
    assert_eq!(texts(&verdicts, true), expected, "{profiles} | {timeline}");
}
