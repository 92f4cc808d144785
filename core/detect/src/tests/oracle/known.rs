//! What the oracle knows of a device apart from what is counted: its presence and its word.

use std::collections::BTreeSet;
use std::sync::Arc;

use picket_model::{Fact, Note, NoteKind, Observation, ProfileName, Report};

use super::floor;
use super::watch::Watch;

pub(super) struct Known {
    pub(super) assigned: BTreeSet<ProfileName>,
    pub(super) watches: Vec<Watch>,
    pub(super) connections: u32,
    pub(super) present_since: Option<i64>,
    pub(super) absent_since: Option<i64>,
    pub(super) seen_at: i64,
    /// Messages, accepted and refused reports that tell the whole, in the order of arrival, but
    /// none that was late.
    pub(super) heard: Vec<Observation>,
    /// When a list was empty that had just violated.
    pub(super) emptied: Vec<i64>,
}

impl Known {
    pub(super) fn new(now: i64) -> Self {
        Self {
            assigned: BTreeSet::new(),
            watches: Vec::new(),
            connections: 0,
            present_since: None,
            absent_since: None,
            seen_at: now,
            heard: Vec::new(),
            emptied: Vec::new(),
        }
    }

    pub(super) fn open_stay(&self) -> Option<i64> {
        self.present_since.filter(|_| self.connections > 0)
    }

    pub(super) fn end_stay(&mut self, watermark: i64, last: i64) {
        let Some(since) = self.open_stay() else { return };
        for watch in &mut self.watches {
            let first = watch.clamped(since, watermark);
            watch.stays.push((first, last));
        }
    }

    /// The reports that were accepted and not late.
    pub(super) fn reports(&self) -> Vec<(i64, &Arc<Report>)> {
        let accepted = |seen| match seen {
            &Observation { at, fact: Fact::Reported(ref report), .. } => {
                Some((at.as_millis(), report))
            }
            _ => None,
        };
        self.heard.iter().filter_map(accepted).collect()
    }

    pub(super) fn last_report(&self) -> Option<i64> {
        self.reports().last().map(|(at, _)| *at)
    }

    /// What the broker took beyond what each report owns up to, with the moments of the reports;
    /// of reports that say how much left the device, but the first.
    pub(super) fn surplus(&self) -> Vec<(i64, u64)> {
        let bucket = |at: i64| floor(at, 5_000) / 5_000;
        let (mut uncounted, mut is_first, mut out) = (Vec::<(i64, u64)>::new(), true, Vec::new());
        for seen in &self.heard {
            let at = seen.at.as_millis();
            match &seen.fact {
                Fact::Published(published) => uncounted.push((bucket(at), published.bytes_total)),
                Fact::Reported(report) => {
                    let Some(said) = report.network.bytes_out else { continue };
                    let is_due = |(n, _): &&(i64, u64)| *n <= bucket(at) - 2;
                    let seen: u64 = uncounted.iter().filter(is_due).map(|(_, bytes)| bytes).sum();
                    uncounted.retain(|it| !is_due(&it));
                    if !is_first {
                        out.push((at, seen.saturating_sub(said)));
                    }
                    is_first = false;
                }
                _ => {}
            }
        }
        out
    }

    /// Whether the device is connected at a moment, as far as is known by now.
    pub(super) fn is_connected_at(&self, at: i64) -> bool {
        let has_come = self.present_since.is_some_and(|since| since <= at);
        let has_gone = self.connections == 0 && self.absent_since.is_none_or(|since| since <= at);
        has_come && !has_gone
    }

    /// The notes to an event of `at` that is decided now, without their sentences.
    pub(super) fn notes(&self, at: i64) -> Vec<Note> {
        let moments = |kind| -> Vec<i64> {
            match kind {
                NoteKind::BytesOutDisagrees => {
                    let surplus = self.surplus().into_iter();
                    surplus.filter(|(_, bytes)| *bytes > 0).map(|(at, _)| at).collect()
                }
                NoteKind::EmptyAfterViolation => self.emptied.clone(),
                NoteKind::CounterRanBackward => {
                    let is_backward = |seen: &&Observation| {
                        matches!(seen.fact, Fact::ReportRefused { ran_backward: true })
                    };
                    self.heard.iter().filter(is_backward).map(|it| it.at.as_millis()).collect()
                }
                NoteKind::ReportIdFell | NoteKind::ReportIdRepeated => {
                    let reports = self.reports();
                    let is_it = |n: usize| {
                        let id = reports[n].1.id;
                        let last_four = &reports[n.saturating_sub(4)..n];
                        let repeats = last_four.iter().any(|(_, report)| report.id == id);
                        let falls = last_four.last().is_some_and(|(_, last)| id < last.id);
                        if kind == NoteKind::ReportIdFell { falls && !repeats } else { repeats }
                    };
                    (0..reports.len()).filter(|n| is_it(*n)).map(|n| reports[n].0).collect()
                }
                NoteKind::ReportMissing => {
                    let old = self.last_report().filter(|last| at - last >= 15 * 60_000);
                    old.filter(|_| self.connections > 0).map(|_| at).into_iter().collect()
                }
            }
        };
        let is_told = |kind: &NoteKind| moments(*kind).iter().any(|noted| at - noted <= 3_600_000);
        let note = |kind| Note { kind, sentence: String::new() };
        NoteKind::ALL.into_iter().filter(is_told).map(note).collect()
    }
}
