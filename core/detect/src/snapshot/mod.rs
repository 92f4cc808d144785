//! Snapshots: a device's state as bytes, so that it lasts over a restart.
//!
//! CBOR maps with numbered keys: a later version adds numbers, and an older one skips what it does
//! not know. Never give a number a second meaning. Behaviors are named by their fingerprint; only
//! an alarm that is on carries its behavior in full, because it has to be told that it ended even
//! if the behavior is gone by the time the snapshot is read.

mod alarms;
mod reports;
mod windows;

use std::collections::BTreeSet;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use picket_model::{NameError, ProfileName, Timestamp};
use thiserror::Error;

use crate::alarm::Alarm;
use crate::device::{Device, PlanRef};
use crate::fingerprint::Fingerprint;
use crate::marks::{Early, Marks, WatchState};
use crate::plan::Plan;
use crate::presence::Presence;
use crate::reports::Reports;
use crate::snapshot::alarms::AlarmRecord;
use crate::snapshot::reports::ReportsRecord;
use crate::snapshot::windows::{SeriesRecord, WindowRecord};
use crate::watch::Judged;
use crate::windows::{Counter, CountsFor, Windows, number_of, start_of};

/// The version of snapshots written here. Grows only when an older reader would go wrong.
///
/// 1: each watch has its own windows. 2: watches that count the same share theirs.
const VERSION: u32 = 2;

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
    /// What is kept of reports is more than is ever kept.
    #[error("it holds reports that cannot be")]
    Reports,
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
    /// Windows that watches share; since version 2.
    #[n(9)]
    series: Option<Vec<SeriesRecord>>,
    #[n(10)]
    reports: Option<ReportsRecord>,
    /// Fingerprints of all watches, eight bytes each; since version 2.
    #[n(11)]
    #[cbor(with = "minicbor::bytes")]
    watched: Option<Vec<u8>>,
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
    /// Windows of its own; in version 1, all.
    #[n(4)]
    windows: Option<Vec<WindowRecord>>,
    /// The window that was judged early; since version 2.
    #[n(5)]
    early: Option<EarlyRecord>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct EarlyRecord {
    #[n(0)]
    start: i64,
    #[n(1)]
    magnitude: u64,
}

/// Writes a device's state.
pub(crate) fn encode(device: &Device, orphans: &[Orphan], watermark: Timestamp) -> Vec<u8> {
    let plan = &device.plan.0;
    let kept = plan.places().filter_map(|(place, watch)| {
        let state = device.marks.get(place);
        let own = CountsFor::Watch(place);
        let mine = device.windows.iter().filter(|open| open.counter.counts_for() == own);
        let windows: Vec<_> = mine.map(|open| windows::record(open, watch.len)).collect();
        let is_worth_keeping = state != WatchState::FRESH || !windows.is_empty();
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
                .map(|(started_at, judged)| alarms::record(started_at, judged)),
            windows: (!windows.is_empty()).then_some(windows),
            early: state.early.map(|Early { number, magnitude }| {
                let start = start_of(number, watch.len).as_millis();
                EarlyRecord { start, magnitude }
            }),
        })
    });
    let orphaned = orphans.iter().map(|orphan| WatchRecord {
        fingerprint: orphan.fingerprint.0,
        from: None,
        run: None,
        alarm: Some(alarms::record(orphan.started_at, &orphan.judged)),
        windows: None,
        early: None,
    });
    let (since, absent_since) = (device.presence.since(), device.presence.absent_since());
    let record = DeviceRecord {
        version: VERSION,
        watermark: watermark.as_millis(),
        profiles: plan.profiles.iter().map(ToString::to_string).collect(),
        connections: device.presence.connections,
        present_since: since.map(Timestamp::as_millis),
        absent_since: absent_since.map(Timestamp::as_millis),
        seen_at: device.seen_at.as_millis(),
        watches: kept.chain(orphaned).collect(),
        plan: plan.fingerprint.0,
        series: Some(windows::series(&device.windows, plan)),
        reports: (device.reports != Reports::default())
            .then(|| reports::record(&device.reports, plan)),
        watched: Some(
            plan.watches.iter().flat_map(|watch| watch.fingerprint.0.to_be_bytes()).collect(),
        ),
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
    let mut marks = Marks::default();
    if record.plan != plan.fingerprint.0 {
        // The profiles changed since: of a watch that is new, the window that is open now is not
        // wholly in view. Version 1 lists only watches that were not fresh.
        let (watched, _) = record.watched.as_deref().unwrap_or_default().as_chunks::<8>();
        let watched: BTreeSet<_> = watched.iter().map(|it| u64::from_be_bytes(*it)).collect();
        for (place, watch) in plan.places() {
            if !watched.contains(&watch.fingerprint.0) {
                marks.set(place, WatchState::beginning_after(watermark));
            }
        }
    }
    let (mut open, mut orphans) = (Vec::new(), Vec::new());
    for series in record.series.unwrap_or_default() {
        if let Some(index) = plan.series_position(Fingerprint(series.fingerprint)) {
            let of = &plan.series[index as usize];
            for record in series.windows {
                open.push(windows::restore(record, Counter::series(index), of)?.0);
            }
        }
    }
    for watch in record.watches {
        let fingerprint = Fingerprint(watch.fingerprint);
        let run = watch.run.unwrap_or(0);
        let Some(place) = plan.position(fingerprint) else {
            if let Some(alarm) = watch.alarm {
                let (started_at, judged) = alarms::restore(alarm)?;
                orphans.push(Orphan { fingerprint, judged, started_at });
            }
            continue;
        };
        let of = &plan.watches[place as usize];
        let from = moment(watch.from.unwrap_or(0))?;
        let mut state = WatchState {
            from,
            alarm: match watch.alarm {
                None => Alarm::Clear { violating: run },
                Some(alarm) => Alarm::On { started_at: moment(alarm.started_at)?, conforming: run },
            },
            early: watch.early.map(|early| restore_early(&early, of.len)).transpose()?,
        };
        for record in watch.windows.unwrap_or_default() {
            let index = of.series.ok_or(RestoreProblem::Window)?;
            let series = &plan.series[index as usize];
            let is_shared = from <= moment(record.start)?;
            let counter = if is_shared { Counter::series(index) } else { Counter::watch(place) };
            let (window, early) = windows::restore(record, counter, series)?;
            let number = window.number;
            state.early = state.early.or(early.map(|magnitude| Early { number, magnitude }));
            open.push(window);
        }
        marks.set(place, state);
    }
    let device = Device {
        marks,
        windows: open.into_iter().collect::<Windows>(),
        presence: Presence::new(
            record.connections,
            record.present_since.map(moment).transpose()?,
            record.absent_since.map(moment).transpose()?,
        ),
        seen_at: moment(record.seen_at)?,
        reports: match record.reports {
            Some(reports) => reports::restore(reports, &plan)?,
            None => Reports::default(),
        },
        is_changed: false,
        plan: PlanRef(plan),
    };
    Ok(Restored { device, orphans, watermark })
}

fn restore_early(
    early: &EarlyRecord,
    len: picket_model::WindowLen,
) -> Result<Early, RestoreProblem> {
    let number = number_of(moment(early.start)?, len).ok_or(RestoreProblem::Window)?;
    Ok(Early { number, magnitude: early.magnitude })
}

fn moment(millis: i64) -> Result<Timestamp, RestoreProblem> {
    let is_possible = (0..=MILLIS_MAX).contains(&millis);
    if is_possible { Ok(Timestamp::from_millis(millis)) } else { Err(RestoreProblem::Moment) }
}
