//! Plans: what the security profiles of a device come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_model::catalogue::Source;
use picket_model::{
    Behavior, BehaviorName, Comparison, Metric, MetricDimension, Percentile, ProfileName,
    SecurityProfile, Timestamp, Tripwires, WindowLen,
};

use crate::fingerprint::Fingerprint;
use crate::judge::largest_normal;
use crate::series::Series;
use crate::watch::{Feed, Test, Watch};
use crate::windows::number_of;

/// A security profile, made ready once for all plans that it takes part in.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    behaviors: Vec<Prepared>,
    /// Each with whether it is exported.
    retained: Vec<(Metric, Option<Arc<MetricDimension>>, bool)>,
}

#[derive(Clone, Debug)]
struct Prepared {
    fingerprint: Fingerprint,
    behavior: Arc<Behavior>,
    dimension: Option<Arc<MetricDimension>>,
    test: Test,
}

/// Numbers given to the behaviors of all profiles that need one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// The percentiles of populations that are compared, by their numbers.
    pub(crate) fleets: Vec<Percentile>,
    /// Whose datapoints are counted for a model, by their numbers.
    pub(crate) trained: Vec<(ProfileName, BehaviorName)>,
}

impl Compiled {
    /// Makes a profile ready, and gives numbers to its behaviors.
    pub(crate) fn new(profile: &SecurityProfile, numbers: &mut Numbers) -> Self {
        let behaviors = profile.behaviors.iter().map(|behavior| Prepared {
            fingerprint: Fingerprint::of_behavior(&profile.name, behavior),
            dimension: behavior.dimension.clone().map(Arc::new),
            test: numbers.test_of(&profile.name, behavior),
            behavior: Arc::new(behavior.clone()),
        });
        let retained = profile.retained_metrics.iter().map(|retained| {
            (retained.metric.clone(), retained.dimension.clone().map(Arc::new), retained.export)
        });
        Self { behaviors: behaviors.collect(), retained: retained.collect() }
    }

    /// Whether it has a behavior of this name.
    pub(crate) fn has_behavior(&self, name: &str) -> bool {
        self.behaviors.iter().any(|it| it.behavior.name.as_str() == name)
    }

    /// Lengths of the windows of its behaviors.
    pub(crate) fn window_lens(&self) -> impl Iterator<Item = WindowLen> {
        self.behaviors.iter().map(|it| it.behavior.criteria.window_or_default())
    }

    /// The dimensions that its behaviors and retained metrics look at.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &MetricDimension> {
        let judged = self.behaviors.iter().filter_map(|it| it.dimension.as_deref());
        judged.chain(self.retained.iter().filter_map(|(_, dimension, _)| dimension.as_deref()))
    }
}

impl Numbers {
    fn test_of(&mut self, profile: &ProfileName, behavior: &Behavior) -> Test {
        match &behavior.criteria.comparison {
            Comparison::Limit(..) | Comparison::Set(..) => Test::Alone,
            Comparison::Percentile(_, percentile) => {
                let number = u32::try_from(self.fleets.len()).unwrap_or(u32::MAX);
                self.fleets.push(*percentile);
                Test::Fleet(number)
            }
            Comparison::Learned(_) => {
                let number = u32::try_from(self.trained.len()).unwrap_or(u32::MAX);
                self.trained.push((profile.clone(), behavior.name.clone()));
                Test::Train(number)
            }
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
    /// What is counted in windows for them.
    pub(crate) series: Vec<Series>,
    /// Whether windows of some watch are compared with those of other devices.
    pub(crate) has_fleets: bool,
    /// Increments that have to be kept for later reports, with how long, in milliseconds.
    pub(crate) trailing: Vec<(Metric, u32)>,
    /// The smallest limits, for sessions.
    pub(crate) tripwires: Tripwires,
    /// The same for the dimensions that have some, in their order.
    pub(crate) slice_tripwires: Vec<(Arc<MetricDimension>, Tripwires)>,
    /// Longest time away that a behavior still takes for normal, in milliseconds. A device that is
    /// to be judged by it must not be forgotten before.
    pub(crate) absence_ms: i64,
    /// Tells whether another plan watches the same.
    pub(crate) fingerprint: Fingerprint,
}

impl Plan {
    /// The plan of a device that the profiles `names` watch.
    pub(crate) fn new(
        names: &BTreeSet<ProfileName>,
        profiles: &BTreeMap<ProfileName, Compiled>,
    ) -> Self {
        let present: Vec<_> =
            names.iter().filter_map(|name| profiles.get_key_value(name)).collect();
        let mut watches: Vec<_> = present
            .iter()
            .flat_map(|(name, profile)| {
                profile.behaviors.iter().map(move |it| {
                    let dimension = it.dimension.clone();
                    Watch::of_behavior(name, it.fingerprint, &it.behavior, dimension, it.test)
                })
            })
            .collect();
        choose_emitters(&mut watches);
        watches.extend(retained(&watches, &present));
        let series = assign_series(&mut watches);
        let trailing = trailing(&mut watches);
        Self {
            profiles: names.clone(),
            series,
            has_fleets: watches.iter().any(|watch| matches!(watch.test, Test::Fleet(_))),
            trailing,
            tripwires: tripwires(&watches, None),
            slice_tripwires: slice_tripwires(&watches),
            absence_ms: absence_ms(&watches),
            fingerprint: fingerprint(&watches),
            watches,
        }
    }

    /// Place of the watch that is the same as one of another plan.
    pub(crate) fn position(&self, fingerprint: Fingerprint) -> Option<u32> {
        let place = self.watches.iter().position(|watch| watch.fingerprint == fingerprint);
        place.and_then(|place| u32::try_from(place).ok())
    }

    /// Place of the series that is the same as one of another plan.
    pub(crate) fn series_position(&self, fingerprint: Fingerprint) -> Option<u32> {
        let place = self.series.iter().position(|series| series.fingerprint == fingerprint);
        place.and_then(|place| u32::try_from(place).ok())
    }

    /// Whether the device itself says what the watch at a place is about.
    pub(crate) fn is_device_side(&self, place: u32) -> bool {
        self.watches[place as usize].metric.source() == Source::Device
    }

    /// The watches with their places.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u32, &Watch)> {
        // No profile is so large that places would run out.
        (0..u32::MAX).zip(&self.watches)
    }

    /// Places of the watches whose windows end at `end`, with the numbers of these windows.
    pub(crate) fn ending_at(&self, end: Timestamp) -> impl Iterator<Item = (u32, u32)> {
        let ending = self.places().filter(move |(_, it)| end.floor(it.len.as_millis()) == end);
        ending.filter_map(move |(place, it)| Some((place, number_of(end - 1, it.len)?)))
    }
}

/// Gives every metric, narrowed or not, one watch that its datapoints come from: the one with the
/// shortest windows, because a series of values over windows of different lengths could not be
/// read. Values that reports bring do not depend on windows, so there the first one does.
fn choose_emitters(watches: &mut [Watch]) {
    for place in 0..watches.len() {
        let series = series_key(&watches[place]);
        let is_first = !watches[..place].iter().any(|watch| series_key(watch) == series);
        if !is_first {
            continue;
        }
        let same = watches.iter().enumerate().filter(|(_, watch)| series_key(watch) == series);
        let emitter = match watches[place].feed {
            Feed::Window | Feed::Away | Feed::Unreported => {
                same.min_by_key(|(_, watch)| watch.len).map(|(place, _)| place)
            }
            Feed::Report | Feed::Trailing(_) | Feed::Disagreement => Some(place),
        };
        if let Some(emitter) = emitter {
            watches[emitter].emits = true;
        }
    }
}

fn series_key(watch: &Watch) -> (Metric, Option<Arc<MetricDimension>>) {
    (watch.metric.clone(), watch.dimension.clone())
}

/// Watches for what is only retained, and for what is exported without being judged.
fn retained(watches: &[Watch], present: &[(&ProfileName, &Compiled)]) -> Vec<Watch> {
    let mut exports = BTreeMap::<_, BTreeSet<ProfileName>>::new();
    for (name, profile) in present {
        for (metric, dimension, is_exported) in &profile.retained {
            let exporters = exports.entry((metric.clone(), dimension.clone())).or_default();
            if *is_exported {
                exporters.insert((*name).clone());
            }
        }
    }
    let wanted = exports.into_iter().filter_map(|((metric, dimension), exporters)| {
        let emits = !watches.iter().any(|it| it.metric == metric && it.dimension == dimension);
        let exporters = exporters.into_iter().collect::<Box<[_]>>();
        (emits || !exporters.is_empty())
            .then(|| Watch { emits, ..Watch::of_retained(metric, dimension, exporters) })
    });
    wanted.collect()
}

/// Finds what has to be counted in windows; watches that need the same share it.
fn assign_series(watches: &mut [Watch]) -> Vec<Series> {
    let mut all = Vec::<Series>::new();
    for (place, watch) in (0..u32::MAX).zip(watches) {
        let Some(series) = Series::of(watch) else { continue };
        let found = all.iter().position(|it| it.fingerprint == series.fingerprint);
        let index = found.unwrap_or_else(|| {
            all.push(series);
            all.len() - 1
        });
        all[index].watches.push(place);
        watch.series = u32::try_from(index).ok();
    }
    all
}

/// Finds how long increments have to be kept, and tells the watches where.
fn trailing(watches: &mut [Watch]) -> Vec<(Metric, u32)> {
    let mut longest = BTreeMap::new();
    for watch in watches.iter_mut().filter(|watch| matches!(watch.feed, Feed::Trailing(_))) {
        // At most an hour: see `WindowLen`.
        let keep_ms = u32::try_from(watch.trailing_ms()).unwrap_or(u32::MAX);
        let kept = longest.entry(watch.metric.clone()).or_insert(0);
        *kept = keep_ms.max(*kept);
    }
    let trailing: Vec<_> = longest.into_iter().collect();
    for watch in watches.iter_mut().filter(|watch| matches!(watch.feed, Feed::Trailing(_))) {
        let slot = trailing.iter().position(|(metric, _)| *metric == watch.metric);
        watch.feed = Feed::Trailing(slot.and_then(|slot| u16::try_from(slot).ok()).unwrap_or(0));
    }
    trailing
}

fn tripwires(watches: &[Watch], dimension: Option<&MetricDimension>) -> Tripwires {
    let smallest = |metric: Metric| {
        watches
            .iter()
            .filter(|watch| watch.metric == metric && watch.dimension.as_deref() == dimension)
            .filter_map(|watch| largest_normal(watch.comparison()?))
            .min()
    };
    Tripwires {
        message_bytes: smallest(Metric::MessageByteSize),
        messages_sent: smallest(Metric::MessagesSent),
        messages_received: smallest(Metric::MessagesReceived),
        authorization_failures: smallest(Metric::AuthorizationFailures),
    }
}

fn slice_tripwires(watches: &[Watch]) -> Vec<(Arc<MetricDimension>, Tripwires)> {
    let dimensions: BTreeSet<_> =
        watches.iter().filter_map(|watch| watch.dimension.clone()).collect();
    dimensions
        .into_iter()
        .map(|dimension| (Arc::clone(&dimension), tripwires(watches, Some(&dimension))))
        .filter(|(_, tripwires)| *tripwires != Tripwires::default())
        .collect()
}

fn absence_ms(watches: &[Watch]) -> i64 {
    watches
        .iter()
        .filter(|watch| watch.metric == Metric::DisconnectDuration)
        .filter_map(|watch| largest_normal(watch.comparison()?))
        .max()
        .map_or(0, |minutes| i64::try_from(minutes).unwrap_or(i64::MAX).saturating_mul(60_000))
}

/// What a plan watches, as one fingerprint.
fn fingerprint(watches: &[Watch]) -> Fingerprint {
    let texts: Vec<_> =
        watches.iter().map(|watch| format!("{:016x}", watch.fingerprint.0)).collect();
    Fingerprint::of_text(&texts.join("\0"))
}
