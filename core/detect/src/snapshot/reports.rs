//! What is kept of a device's reports, as records.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use picket_model::limits::INCREMENTS_PER_METRIC_MAX;
use picket_model::{Metric, NoteKind};

use crate::notes::{NoteBook, Noted};
use crate::plan::Plan;
use crate::reports::{Increment, Reports};
use crate::sent::SentBytes;
use crate::snapshot::{RestoreProblem, moment};

/// What is kept of reports, and what they are held against.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct ReportsRecord {
    #[n(0)]
    last_at: Option<i64>,
    /// Ids of the last reports, latest first.
    #[n(1)]
    ids: Vec<u64>,
    #[n(2)]
    said_bytes_out: bool,
    #[n(3)]
    sent_before: u64,
    #[n(4)]
    sent_latest: u32,
    #[n(5)]
    sent: Vec<u32>,
    #[n(6)]
    increments: Option<Vec<IncrementRecord>>,
    #[n(7)]
    notes: Option<Vec<NoteRecord>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct IncrementRecord {
    /// Code of the metric in the catalogue.
    #[n(0)]
    metric: u8,
    #[n(1)]
    value: u64,
    #[n(2)]
    age_ms: u32,
    #[n(3)]
    reports: u16,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct NoteRecord {
    #[n(0)]
    kind: String,
    #[n(1)]
    at: i64,
    #[n(2)]
    first: u64,
    #[n(3)]
    second: u64,
    #[n(4)]
    metric: Option<String>,
}

/// Writes what is kept of reports.
pub(super) fn record(reports: &Reports, plan: &Plan) -> ReportsRecord {
    let increments: Vec<_> = reports
        .increments
        .iter()
        .filter_map(|increment| {
            let (metric, _) = plan.trailing.get(usize::from(increment.slot))?;
            let Increment { value, age_ms, reports, .. } = *increment;
            Some(IncrementRecord { metric: metric.entry()?.code, value, age_ms, reports })
        })
        .collect();
    let notes: Vec<_> = reports
        .notes
        .iter()
        .map(|noted| NoteRecord {
            kind: noted.kind.as_str().to_owned(),
            at: noted.at.as_millis(),
            first: noted.numbers[0],
            second: noted.numbers[1],
            metric: noted.metric.as_deref().map(str::to_owned),
        })
        .collect();
    ReportsRecord {
        last_at: reports.last().map(|last| last.at.as_millis()),
        ids: reports.ids().to_vec(),
        said_bytes_out: reports.said_bytes_out,
        sent_before: reports.sent.older,
        sent_latest: reports.sent.latest,
        sent: reports.sent.buckets.to_vec(),
        increments: (!increments.is_empty()).then_some(increments),
        notes: (!notes.is_empty()).then_some(notes),
    }
}

/// Reads what is kept of reports, and fits it to a plan.
pub(super) fn restore(record: ReportsRecord, plan: &Plan) -> Result<Reports, RestoreProblem> {
    let buckets = record.sent.try_into().map_err(|_| RestoreProblem::Reports)?;
    let mut notes = NoteBook::default();
    for note in record.notes.unwrap_or_default() {
        notes.take(Noted {
            kind: NoteKind::parse(&note.kind).ok_or(RestoreProblem::Reports)?,
            at: moment(note.at)?,
            numbers: [note.first, note.second],
            metric: note.metric.map(Arc::from),
        });
    }
    let mut reports = Reports::default();
    reports.said_bytes_out = record.said_bytes_out;
    reports.sent = SentBytes { older: record.sent_before, latest: record.sent_latest, buckets };
    reports.increments = restore_increments(&record.increments.unwrap_or_default(), plan)?;
    reports.notes = notes;
    let last_at = record.last_at.map(moment).transpose()?;
    reports.set_last(last_at, &record.ids).ok_or(RestoreProblem::Reports)?;
    Ok(reports)
}

fn restore_increments(
    records: &[IncrementRecord],
    plan: &Plan,
) -> Result<Vec<Increment>, RestoreProblem> {
    if records.len() > INCREMENTS_PER_METRIC_MAX * Metric::BUILT_IN.len() {
        return Err(RestoreProblem::Reports);
    }
    let increments = records.iter().filter_map(|record| {
        let is_it = |metric: &Metric| metric.entry().is_some_and(|it| it.code == record.metric);
        let slot = plan.trailing.iter().position(|(metric, _)| is_it(metric))?;
        let IncrementRecord { value, age_ms, reports, .. } = *record;
        Some(Increment { value, age_ms, slot: u16::try_from(slot).ok()?, reports })
    });
    Ok(increments.collect())
}
