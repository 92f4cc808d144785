//! Snapshots: a device's state as bytes, so that it lasts over a restart.
//!
//! CBOR maps with numbered keys: a later version adds numbers, and an older one skips what it does
//! not know. Never give a number a second meaning. Behaviors are named by their fingerprint; only
//! an alarm that is on carries its behavior in full, because it has to be told that it ended even
//! if the behavior is gone by the time the snapshot is read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use picket_model::limits::SOURCE_ADDRESSES_PER_WINDOW_MAX;
use picket_model::{
    Behavior, BehaviorName, Comparison, Criteria, Metric, NameError, ProfileName, Timestamp,
    WindowLen,
};
use thiserror::Error;

use crate::alarm::Alarm;
use crate::device::{Device, PlanRef, WatchState};
use crate::plan::{Fingerprint, Judged, Plan};
use crate::windows::{Denials, Messages, Span, Tally, Window};

/// The version of snapshots written here. Grows only when an older reader would go wrong.
const VERSION: u32 = 1;

/// Latest moment that a snapshot may hold: the end of the year 9999.
const MILLIS_MAX: i64 = 253_402_300_799_999;

/// Why a device's state cannot be restored. Trying again does not help.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The bytes are no snapshot.
    #[error("the state of device `{device}` is damaged")]
    Decode {
        /// Whose state.
        device: String,
        /// What the decoder says.
        source: minicbor::decode::Error,
    },
    /// The bytes are a snapshot, but say something impossible.
    #[error("the state of device `{device}` is damaged: {problem}")]
    Invalid {
        /// Whose state.
        device: String,
        /// What is impossible.
        problem: RestoreProblem,
    },
    /// A newer Picket wrote it.
    #[error("the state of device `{device}` was written by a newer version (format {found})")]
    Newer {
        /// Whose state.
        device: String,
        /// The format's version.
        found: u32,
    },
}

/// What is impossible about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreProblem {
    /// Bytes follow the snapshot.
    #[error("it is longer than it should be")]
    Trailing,
    /// A moment before 1970 or after 9999.
    #[error("it holds a moment out of range")]
    Moment,
    /// A window does not start on a multiple of its length, or says something of another metric.
    #[error("it holds a window that does not fit its behavior")]
    Window,
    /// An alarm's behavior is not one.
    #[error("it holds an alarm without a valid behavior")]
    Behavior,
    /// A name is not one.
    #[error("it holds a name that is not allowed: {0}")]
    Name(#[from] NameError),
}

/// An alarm that was on when the snapshot was written, of a watch that is no more.
#[derive(Clone, Debug)]
pub(crate) struct Orphan {
    /// Whose alarm.
    pub(crate) fingerprint: Fingerprint,
    /// The behavior as it was.
    pub(crate) judged: Judged,
    /// When it was raised.
    pub(crate) started_at: Timestamp,
}

/// A device as read from a snapshot.
#[derive(Debug)]
pub(crate) struct Restored {
    /// The device.
    pub(crate) device: Device,
    /// Alarms that have to be told that they ended.
    pub(crate) orphans: Vec<Orphan>,
    /// Windows that end here or before were judged.
    pub(crate) watermark: Timestamp,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct DeviceRecord {
    #[n(0)]
    version: u32,
    #[n(1)]
    watermark: i64,
    #[n(2)]
    profiles: Vec<String>,
    #[n(3)]
    connections: u32,
    #[n(4)]
    present_since: Option<i64>,
    #[n(5)]
    absent_since: Option<i64>,
    #[n(6)]
    seen_at: i64,
    #[n(7)]
    watches: Vec<WatchRecord>,
    /// Fingerprint of all watches, also of those that are fresh and hence not listed.
    #[n(8)]
    plan: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct WatchRecord {
    #[n(0)]
    fingerprint: u64,
    /// Absent where the watch has the device's whole life in view.
    #[n(1)]
    from: Option<i64>,
    /// Length of the run that has begun; absent if none has.
    #[n(2)]
    run: Option<u8>,
    /// Present while the alarm is on.
    #[n(3)]
    alarm: Option<AlarmRecord>,
    #[n(4)]
    windows: Option<Vec<WindowRecord>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct AlarmRecord {
    #[n(0)]
    started_at: i64,
    #[n(1)]
    profile: String,
    #[n(2)]
    behavior: String,
    #[n(3)]
    metric: String,
    #[n(4)]
    operator: String,
    #[n(5)]
    limit: Option<u64>,
    #[n(6)]
    nets: Option<Vec<String>>,
    #[n(7)]
    window_s: Option<u32>,
    #[n(8)]
    datapoints_to_alarm: u8,
    #[n(9)]
    datapoints_to_clear: u8,
    #[n(10)]
    suppress_alerts: bool,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct WindowRecord {
    #[n(0)]
    start: i64,
    #[n(1)]
    early: Option<u64>,
    #[n(2)]
    tally: TallyRecord,
}

#[derive(Encode, Decode)]
enum TallyRecord {
    #[n(0)]
    Count(#[n(0)] SpanRecord),
    #[n(1)]
    Messages(#[n(0)] MessagesRecord),
    #[n(2)]
    Denials(#[n(0)] DenialsRecord),
    #[n(3)]
    Addresses(#[n(0)] Vec<String>),
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SpanRecord {
    #[n(0)]
    count: u64,
    #[n(1)]
    first_ms: u32,
    #[n(2)]
    last_ms: u32,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct MessagesRecord {
    #[n(0)]
    span: SpanRecord,
    #[n(1)]
    bytes_total: u64,
    #[n(2)]
    bytes_min: u64,
    #[n(3)]
    bytes_max: u64,
    #[n(4)]
    largest_topic: Option<String>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct DenialsRecord {
    #[n(0)]
    span: SpanRecord,
    #[n(1)]
    action: Option<String>,
    #[n(2)]
    resource: Option<String>,
}

/// Writes a device's state.
pub(crate) fn encode(device: &Device, orphans: &[Orphan], watermark: Timestamp) -> Vec<u8> {
    let plan = &device.plan.0;
    let kept = plan.watches.iter().enumerate().filter_map(|(place, watch)| {
        let state = &device.states[place];
        let windows: Vec<_> = device
            .windows
            .iter()
            .filter(|window| usize::try_from(window.watch) == Ok(place))
            .map(window_record)
            .collect();
        let is_worth_keeping = *state != WatchState::FRESH || !windows.is_empty();
        is_worth_keeping.then(|| WatchRecord {
            fingerprint: watch.fingerprint.0,
            from: (state.from > Timestamp::EPOCH).then(|| state.from.as_millis()),
            run: match state.alarm {
                Alarm::Clear { violating: run } | Alarm::On { conforming: run, .. } => {
                    (run > 0).then_some(run)
                }
            },
            alarm: state
                .alarm
                .started_at()
                .zip(watch.judged.as_ref())
                .map(|(started_at, judged)| alarm_record(started_at, judged)),
            windows: (!windows.is_empty()).then_some(windows),
        })
    });
    let orphaned = orphans.iter().map(|orphan| WatchRecord {
        fingerprint: orphan.fingerprint.0,
        from: None,
        run: None,
        alarm: Some(alarm_record(orphan.started_at, &orphan.judged)),
        windows: None,
    });
    let record = DeviceRecord {
        version: VERSION,
        watermark: watermark.as_millis(),
        profiles: plan.profiles.iter().map(ToString::to_string).collect(),
        connections: device.connections,
        present_since: device.present_since.map(Timestamp::as_millis),
        absent_since: device.absent_since.map(Timestamp::as_millis),
        seen_at: device.seen_at.as_millis(),
        watches: kept.chain(orphaned).collect(),
        plan: plan.fingerprint().0,
    };
    let mut bytes = Vec::new();
    let Ok(()) = minicbor::encode(&record, &mut bytes) else {
        // A vector takes everything: its error type has no values.
        return Vec::new();
    };
    bytes
}

/// Reads the names of the profiles and the state, and fits them to the plan that `plan_for` gives.
pub(crate) fn decode(
    device: &str,
    bytes: &[u8],
    plan_for: impl FnOnce(&BTreeSet<ProfileName>) -> Arc<Plan>,
) -> Result<Restored, RestoreError> {
    let damaged = |source| RestoreError::Decode { device: device.to_owned(), source };
    let mut decoder = minicbor::Decoder::new(bytes);
    let record: DeviceRecord = decoder.decode().map_err(damaged)?;
    if record.version > VERSION {
        let found = record.version;
        return Err(RestoreError::Newer { device: device.to_owned(), found });
    }
    let is_all = decoder.position() == bytes.len();
    let restored = if is_all { restore(record, plan_for) } else { Err(RestoreProblem::Trailing) };
    restored.map_err(|problem| RestoreError::Invalid { device: device.to_owned(), problem })
}

fn restore(
    record: DeviceRecord,
    plan_for: impl FnOnce(&BTreeSet<ProfileName>) -> Arc<Plan>,
) -> Result<Restored, RestoreProblem> {
    let profiles = record.profiles.into_iter().map(ProfileName::parse);
    let plan = plan_for(&profiles.collect::<Result<_, _>>()?);
    let watermark = moment(record.watermark)?;
    // A watch that the snapshot does not list was fresh when it was written. But if the profiles
    // changed since, it may be new, and then the window that is open now is not wholly in its view.
    let unlisted = if record.plan == plan.fingerprint().0 {
        WatchState::FRESH
    } else {
        WatchState::beginning_after(watermark)
    };
    let mut states = vec![unlisted; plan.watches.len()];
    let (mut windows, mut orphans) = (Vec::new(), Vec::new());
    for watch in record.watches {
        let fingerprint = Fingerprint(watch.fingerprint);
        let alarm = watch.alarm.map(alarm).transpose()?;
        let run = watch.run.unwrap_or(0);
        let Some(place) = plan.position(fingerprint) else {
            orphans.extend(alarm.map(|(started_at, judged)| Orphan {
                fingerprint,
                judged,
                started_at,
            }));
            continue;
        };
        states[place] = WatchState {
            from: moment(watch.from.unwrap_or(0))?,
            alarm: match alarm {
                None => Alarm::Clear { violating: run },
                Some((started_at, _)) => Alarm::On { started_at, conforming: run },
            },
        };
        for open in watch.windows.unwrap_or_default() {
            windows.push(window(open, place, &plan)?);
        }
    }
    windows.sort_by_key(|open| (open.watch, open.start));
    windows.dedup_by_key(|open| (open.watch, open.start));
    let device = Device {
        plan: PlanRef(plan),
        states: states.into(),
        windows,
        connections: record.connections,
        present_since: record.present_since.map(moment).transpose()?,
        absent_since: record.absent_since.map(moment).transpose()?,
        seen_at: moment(record.seen_at)?,
    };
    Ok(Restored { device, orphans, watermark })
}

fn moment(millis: i64) -> Result<Timestamp, RestoreProblem> {
    let is_possible = (0..=MILLIS_MAX).contains(&millis);
    if is_possible { Ok(Timestamp::from_millis(millis)) } else { Err(RestoreProblem::Moment) }
}

fn alarm_record(started_at: Timestamp, judged: &Judged) -> AlarmRecord {
    let Behavior { name, metric, criteria, suppress_alerts } = &*judged.behavior;
    let (limit, nets) = match &criteria.comparison {
        Comparison::LessThan(limit)
        | Comparison::LessThanEquals(limit)
        | Comparison::GreaterThan(limit)
        | Comparison::GreaterThanEquals(limit) => (Some(*limit), None),
        Comparison::InCidrSet(nets) | Comparison::NotInCidrSet(nets) => {
            (None, Some(nets.iter().map(ToString::to_string).collect()))
        }
    };
    AlarmRecord {
        started_at: started_at.as_millis(),
        profile: judged.profile.to_string(),
        behavior: name.to_string(),
        metric: metric.to_string(),
        operator: criteria.comparison.operator().to_owned(),
        limit,
        nets,
        window_s: criteria.window.map(WindowLen::as_secs),
        datapoints_to_alarm: criteria.datapoints_to_alarm,
        datapoints_to_clear: criteria.datapoints_to_clear,
        suppress_alerts: *suppress_alerts,
    }
}

fn alarm(record: AlarmRecord) -> Result<(Timestamp, Judged), RestoreProblem> {
    let limit = record.limit.ok_or(RestoreProblem::Behavior);
    let nets = record.nets.ok_or(RestoreProblem::Behavior).and_then(|nets| {
        let nets = nets.iter().map(|net| net.parse());
        nets.collect::<Result<_, _>>().map_err(|_| RestoreProblem::Behavior)
    });
    let comparison = match record.operator.as_str() {
        "less-than" => Comparison::LessThan(limit?),
        "less-than-equals" => Comparison::LessThanEquals(limit?),
        "greater-than" => Comparison::GreaterThan(limit?),
        "greater-than-equals" => Comparison::GreaterThanEquals(limit?),
        "in-cidr-set" => Comparison::InCidrSet(nets?),
        "not-in-cidr-set" => Comparison::NotInCidrSet(nets?),
        _ => return Err(RestoreProblem::Behavior),
    };
    let window = record.window_s.map(|s| WindowLen::from_secs(s).ok_or(RestoreProblem::Behavior));
    let behavior = Behavior {
        name: BehaviorName::parse(record.behavior)?,
        metric: Metric::parse(&record.metric).ok_or(RestoreProblem::Behavior)?,
        criteria: Criteria {
            comparison,
            window: window.transpose()?,
            datapoints_to_alarm: record.datapoints_to_alarm,
            datapoints_to_clear: record.datapoints_to_clear,
        },
        suppress_alerts: record.suppress_alerts,
    };
    let profile = ProfileName::parse(record.profile)?;
    Ok((moment(record.started_at)?, Judged { profile, behavior: Arc::new(behavior) }))
}

fn window_record(window: &Window) -> WindowRecord {
    let tally = match &window.tally {
        Tally::Count(span) => TallyRecord::Count(span_record(*span)),
        Tally::Messages(messages) => TallyRecord::Messages(MessagesRecord {
            span: span_record(messages.span),
            bytes_total: messages.bytes_total,
            bytes_min: messages.bytes_min,
            bytes_max: messages.bytes_max,
            largest_topic: messages.largest_topic.as_deref().map(str::to_owned),
        }),
        Tally::Denials(denials) => {
            let (action, resource) = denials.last.clone().unzip();
            TallyRecord::Denials(DenialsRecord {
                span: span_record(denials.span),
                action: action.map(Cow::into_owned),
                resource: resource.map(|resource| resource.to_string()),
            })
        }
        Tally::Addresses(addresses) => {
            TallyRecord::Addresses(addresses.iter().map(IpAddr::to_string).collect())
        }
    };
    WindowRecord { start: window.start.as_millis(), early: window.early, tally }
}

fn window(record: WindowRecord, place: usize, plan: &Plan) -> Result<Window, RestoreProblem> {
    let watch = &plan.watches[place];
    let start = moment(record.start)?;
    let is_aligned = start.floor(watch.len.as_millis()) == start;
    if !is_aligned || watch.metric == Metric::DisconnectDuration {
        return Err(RestoreProblem::Window);
    }
    let tally = match record.tally {
        TallyRecord::Count(record) => Tally::Count(span(&record)),
        TallyRecord::Messages(record) => Tally::Messages(Box::new(Messages {
            span: span(&record.span),
            bytes_total: record.bytes_total,
            bytes_min: record.bytes_min,
            bytes_max: record.bytes_max,
            largest_topic: record.largest_topic.map(Arc::from),
        })),
        TallyRecord::Denials(record) => Tally::Denials(Box::new(Denials {
            span: span(&record.span),
            last: record.action.map(Cow::Owned).zip(record.resource.map(Arc::from)),
        })),
        TallyRecord::Addresses(texts) => {
            let addresses = texts.iter().map(|text| text.parse());
            let addresses: Result<BTreeSet<IpAddr>, _> = addresses.collect();
            let addresses = addresses.map_err(|_| RestoreProblem::Window)?;
            if addresses.len() > SOURCE_ADDRESSES_PER_WINDOW_MAX {
                return Err(RestoreProblem::Window);
            }
            Tally::Addresses(addresses.into_iter().collect())
        }
    };
    let watch_number = u32::try_from(place).map_err(|_| RestoreProblem::Window)?;
    let empty = Window::empty(watch_number, watch.metric, start);
    if std::mem::discriminant(&tally) != std::mem::discriminant(&empty.tally) {
        return Err(RestoreProblem::Window);
    }
    Ok(Window { early: record.early, tally, ..empty })
}

fn span_record(span: Span) -> SpanRecord {
    SpanRecord { count: span.count, first_ms: span.first_ms, last_ms: span.last_ms }
}

fn span(record: &SpanRecord) -> Span {
    Span { count: record.count, first_ms: record.first_ms, last_ms: record.last_ms }
}
