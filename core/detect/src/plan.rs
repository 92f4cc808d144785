//! Plans: what the security profiles of a device come to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use picket_model::{
    Behavior, Comparison, Metric, ProfileName, SecurityProfile, Tripwires, WindowLen,
};
use sha2::{Digest, Sha256};

use crate::judge::{breaks_for_good, largest_normal};

/// A security profile, made ready once for all plans that it takes part in.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    behaviors: Vec<(Fingerprint, Arc<Behavior>)>,
    retained: Vec<Metric>,
}

impl Compiled {
    /// Makes a profile ready.
    pub(crate) fn new(profile: &SecurityProfile) -> Self {
        let behaviors = profile.behaviors.iter().map(|behavior| {
            (Fingerprint::of_behavior(&profile.name, behavior), Arc::new(behavior.clone()))
        });
        Self { behaviors: behaviors.collect(), retained: profile.retained_metrics.clone() }
    }

    /// Whether it has a behavior of this name.
    pub(crate) fn has_behavior(&self, name: &str) -> bool {
        self.behaviors.iter().any(|(_, behavior)| behavior.name.as_str() == name)
    }

    /// Lengths of the windows of its behaviors.
    pub(crate) fn window_lens(&self) -> impl Iterator<Item = WindowLen> {
        self.behaviors.iter().map(|(_, behavior)| behavior.criteria.window_or_default())
    }
}

/// Tells whether a watch is still the same: equal as long as profile, behavior name, metric and
/// criteria are.
///
/// INVARIANT (fingerprints last): snapshots hold fingerprints, so how they are made must not change
/// from one version to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint(pub(crate) u64);

impl Fingerprint {
    fn of_behavior(profile: &ProfileName, behavior: &Behavior) -> Self {
        let criteria = &behavior.criteria;
        let mut text = format!(
            "{profile}\0{}\0{}\0{}\0{}\0{}\0{}",
            behavior.name,
            behavior.metric,
            criteria.window_or_default().as_secs(),
            criteria.datapoints_to_alarm,
            criteria.datapoints_to_clear,
            criteria.comparison.operator(),
        );
        // Writing to a string cannot fail.
        let _ = match &criteria.comparison {
            Comparison::LessThan(limit)
            | Comparison::LessThanEquals(limit)
            | Comparison::GreaterThan(limit)
            | Comparison::GreaterThanEquals(limit) => write!(text, "\0{limit}"),
            Comparison::InCidrSet(nets) | Comparison::NotInCidrSet(nets) => {
                nets.iter().try_for_each(|net| write!(text, "\0{net}"))
            }
        };
        Self::of_text(&text)
    }

    fn of_retained(metric: Metric) -> Self {
        Self::of_text(&format!("retained\0{metric}"))
    }

    fn of_text(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        Self(digest.iter().take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }
}

/// One thing that is counted for a device: for a behavior, or to be retained.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// Tells whether a watch of another plan is the same.
    pub(crate) fingerprint: Fingerprint,
    /// What is measured.
    pub(crate) metric: Metric,
    /// How long its windows are.
    pub(crate) len: WindowLen,
    /// Whether the metric's datapoints are taken from this watch.
    pub(crate) emits: bool,
    /// Whether a window that breaks the criteria is judged at once.
    pub(crate) is_early: bool,
    /// The behavior with its profile; none for a metric that is only retained.
    pub(crate) judged: Option<Judged>,
}

/// The behavior of a watch.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Whose behavior it is.
    pub(crate) profile: ProfileName,
    /// What is normal.
    pub(crate) behavior: Arc<Behavior>,
}

impl Watch {
    fn of_behavior(
        profile: &ProfileName,
        fingerprint: Fingerprint,
        behavior: &Arc<Behavior>,
    ) -> Self {
        Self {
            fingerprint,
            metric: behavior.metric,
            len: behavior.criteria.window_or_default(),
            emits: false,
            is_early: breaks_for_good(behavior.metric, &behavior.criteria.comparison),
            judged: Some(Judged { profile: profile.clone(), behavior: Arc::clone(behavior) }),
        }
    }

    fn of_retained(metric: Metric) -> Self {
        Self {
            fingerprint: Fingerprint::of_retained(metric),
            metric,
            len: WindowLen::DEFAULT,
            emits: true,
            is_early: false,
            judged: None,
        }
    }

    /// Whether a device that is connected and does nothing has a value: zero.
    pub(crate) fn counts_zeros(&self) -> bool {
        match self.metric {
            Metric::MessagesSent
            | Metric::MessagesReceived
            | Metric::AuthorizationFailures
            | Metric::ConnectionAttempts
            | Metric::Disconnects => true,
            Metric::MessageByteSize | Metric::SourceIpAddress | Metric::DisconnectDuration => false,
        }
    }
}

/// Everything that is counted and judged for a device; shared by devices with the same profiles.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The profiles that watch the device, also those that do not exist at the moment.
    pub(crate) profiles: BTreeSet<ProfileName>,
    /// By profile name, and in the order of the behaviors in the profile; retained metrics last.
    pub(crate) watches: Vec<Watch>,
    /// The smallest limits, for sessions.
    pub(crate) tripwires: Tripwires,
    /// Longest time away that a behavior still takes for normal, in milliseconds. A device that is
    /// to be judged by it must not be forgotten before.
    pub(crate) absence_ms: i64,
}

impl Plan {
    /// The plan of a device that the profiles `names` watch.
    pub(crate) fn new(
        names: &BTreeSet<ProfileName>,
        profiles: &BTreeMap<ProfileName, Compiled>,
    ) -> Self {
        let present = || names.iter().filter_map(|name| profiles.get_key_value(name));
        let mut watches: Vec<_> = present()
            .flat_map(|(name, profile)| {
                profile.behaviors.iter().map(move |(fingerprint, behavior)| {
                    Watch::of_behavior(name, *fingerprint, behavior)
                })
            })
            .collect();
        let retained: BTreeSet<_> =
            present().flat_map(|(_, profile)| profile.retained.iter().copied()).collect();
        choose_emitters(&mut watches, &retained);
        Self {
            profiles: names.clone(),
            tripwires: tripwires(&watches),
            absence_ms: absence_ms(&watches),
            watches,
        }
    }

    /// Tells whether another plan watches the same.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let texts: Vec<_> =
            self.watches.iter().map(|watch| format!("{:016x}", watch.fingerprint.0)).collect();
        Fingerprint::of_text(&texts.join("\0"))
    }

    /// Place of the watch that is the same as one of another plan.
    pub(crate) fn position(&self, fingerprint: Fingerprint) -> Option<usize> {
        self.watches.iter().position(|watch| watch.fingerprint == fingerprint)
    }
}

/// Gives every metric one watch that its datapoints come from: the one with the shortest windows,
/// because a series of values over windows of different lengths could not be read.
fn choose_emitters(watches: &mut Vec<Watch>, retained: &BTreeSet<Metric>) {
    for metric in Metric::ALL {
        let shortest =
            watches.iter_mut().filter(|watch| watch.metric == metric).min_by_key(|watch| watch.len);
        if let Some(watch) = shortest {
            watch.emits = true;
        } else if retained.contains(&metric) {
            watches.push(Watch::of_retained(metric));
        }
    }
}

fn tripwires(watches: &[Watch]) -> Tripwires {
    let smallest = |metric: Metric| {
        watches
            .iter()
            .filter(|watch| watch.metric == metric)
            .filter_map(|watch| {
                largest_normal(&watch.judged.as_ref()?.behavior.criteria.comparison)
            })
            .min()
    };
    Tripwires {
        message_bytes: smallest(Metric::MessageByteSize),
        messages_sent: smallest(Metric::MessagesSent),
        messages_received: smallest(Metric::MessagesReceived),
        authorization_failures: smallest(Metric::AuthorizationFailures),
    }
}

fn absence_ms(watches: &[Watch]) -> i64 {
    watches
        .iter()
        .filter(|watch| watch.metric == Metric::DisconnectDuration)
        .filter_map(|watch| largest_normal(&watch.judged.as_ref()?.behavior.criteria.comparison))
        .max()
        .map_or(0, |minutes| i64::try_from(minutes).unwrap_or(i64::MAX).saturating_mul(60_000))
}
