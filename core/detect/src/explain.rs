//! Says why: events with their evidence, and who they are about.

use std::net::SocketAddr;
use std::sync::Arc;

use picket_model::limits::EVIDENCE_ELEMENTS_MAX;
use picket_model::{
    Behavior, Continuation, DeviceName, Evidence, Explanation, ListeningPort, MetricValue, Note,
    Percentile, ProfileName, Quantity, TcpConnection, Timestamp, ViolationEvent,
    ViolationEventKind, ViolationId,
};
use sha2::{Digest, Sha256};

use crate::measured::{Element, Measured, offends};
use crate::reports::{Disagreement, Trail};
use crate::sentence;
use crate::tally::{Part, Tally};
use crate::verdict::Verdict;
use crate::watch::Judged;
use crate::words::{period, printable};

/// A datapoint that was judged, with all that its explanation needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion<'a> {
    /// Who.
    pub(crate) device: &'a DeviceName,
    /// By which behavior of which profile.
    pub(crate) judged: &'a Judged,
    /// Start of the window.
    pub(crate) start: Timestamp,
    /// What decided: the window's end, the observation that broke it, or the report.
    pub(crate) at: Timestamp,
    /// Whether it violates.
    pub(crate) violates: bool,
    /// The value.
    pub(crate) measured: Measured<'a>,
    /// What the judgement rests on.
    pub(crate) basis: Basis<'a>,
}

/// What a judgement rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Basis<'a> {
    /// A window that ended; none if nothing was counted in it.
    Window(Option<&'a Tally>),
    /// A window that was broken for good before its end.
    Early {
        /// As it is by now.
        tally: &'a Tally,
        /// What broke it.
        part: Part<'a>,
    },
    /// How long the device has been away.
    Absence {
        /// Since when; none if it was connected.
        since: Option<Timestamp>,
    },
    /// How long the device has not reported.
    Unreported {
        /// When the last report came.
        last_at: Timestamp,
        /// Its id.
        last_id: u64,
        /// What the time counts from: the last report, or the beginning of the stay after it.
        since: Timestamp,
    },
    /// A report.
    Report {
        /// Its id.
        id: u64,
    },
    /// The reports of a trailing window.
    Trailing {
        /// What they come to.
        trail: Trail,
        /// Id of the last.
        id: u64,
    },
    /// A report beside what the broker saw.
    Disagreement {
        /// What they say.
        disagreement: Disagreement,
        /// Id of the report.
        id: u64,
    },
    /// The devices of the profile in a window that ended.
    Fleet(Ranked),
}

/// How a device stands among the others of its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ranked {
    /// What it had.
    pub(crate) value: Quantity,
    /// What it is compared with.
    pub(crate) percentile: Percentile,
    /// What that came to.
    pub(crate) limit: Quantity,
    /// How many devices had a value.
    pub(crate) devices: u64,
}

/// What a judgement did to the alarm, where it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Raised it.
    Raised,
    /// Cleared it.
    Cleared,
}

/// Why an alarm ended without being cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The security profile is gone.
    ProfileGone,
    /// The security profile watches the device no longer.
    NotWatched,
    /// The behavior is gone from the profile.
    BehaviorGone,
    /// The behavior's metric or criteria changed.
    BehaviorChanged,
    /// Nothing was seen of the device for too long.
    Silent {
        /// Since when.
        since: Timestamp,
    },
    /// The device is seen, but no report of it was accepted for too long.
    Unreported {
        /// Since when.
        since: Timestamp,
    },
}

impl Occasion<'_> {
    /// The event of an alarm that was raised at `started_at`.
    pub(crate) fn event(
        &self,
        started_at: Timestamp,
        outcome: Outcome,
        notes: Vec<Note>,
    ) -> Verdict {
        let kind = match outcome {
            Outcome::Raised => ViolationEventKind::InAlarm,
            Outcome::Cleared => ViolationEventKind::Cleared,
        };
        let Judged { profile, behavior } = self.judged;
        Verdict::Event(Box::new(ViolationEvent {
            violation: violation_id(profile, behavior, self.device, started_at),
            kind,
            at: self.at,
            device: self.device.clone(),
            profile: profile.clone(),
            behavior: Arc::clone(behavior),
            value: Some(self.value()),
            explanation: self.explanation(Some(outcome), notes),
        }))
    }

    /// Says that an alarm that was raised at `started_at` stays on.
    pub(crate) fn continued(&self, started_at: Timestamp, notes: Vec<Note>) -> Verdict {
        let Judged { profile, behavior } = self.judged;
        Verdict::Continued(Box::new(Continuation {
            violation: violation_id(profile, behavior, self.device, started_at),
            device: self.device.clone(),
            profile: profile.clone(),
            behavior: Arc::clone(behavior),
            last_violated_at: self.at,
            last_value: self.value(),
            explanation: self.explanation(None, notes),
        }))
    }

    /// The number that was compared, or the elements: those outside the normal if it violates, all
    /// otherwise.
    pub(crate) fn value(&self) -> MetricValue {
        self.measured.judged_value(&self.judged.behavior.criteria.comparison, self.violates)
    }

    fn explanation(&self, outcome: Option<Outcome>, notes: Vec<Note>) -> Explanation {
        Explanation {
            sentence: sentence::of(self, outcome),
            window_start: self.start,
            window: self.judged.behavior.criteria.window_or_default(),
            early: matches!(self.basis, Basis::Early { .. }),
            evidence: self.evidence(),
            notes,
        }
    }

    fn evidence(&self) -> Evidence {
        let reports = |count, first_at, last_at, last_id| Evidence::Reports {
            count,
            first_at,
            last_at,
            last_id,
        };
        match self.basis {
            Basis::Window(Some(tally)) | Basis::Early { tally, .. } => tally.evidence(self.start),
            Basis::Window(None) | Basis::Absence { since: None } => Evidence::Nothing,
            Basis::Absence { since: Some(since) } => Evidence::Absence { since },
            Basis::Unreported { last_at, last_id, .. } => reports(1, last_at, last_at, last_id),
            Basis::Report { id } => match self.measured {
                Measured::Ports(list) => Evidence::ListeningPorts(self.listening_ports(list)),
                Measured::Destinations(list) => Evidence::Destinations(self.destinations(list)),
                Measured::Quantity(_)
                | Measured::Addresses(_)
                | Measured::Numbers(_)
                | Measured::Strings(_) => reports(1, self.at, self.at, id),
            },
            Basis::Trailing { trail, id } => reports(trail.reports, trail.first_at, self.at, id),
            Basis::Disagreement { id, .. } => reports(1, self.at, self.at, id),
            Basis::Fleet(Ranked { value, percentile, limit, devices }) => {
                Evidence::Fleet { value, percentile, limit, devices }
            }
        }
    }

    /// The ports that a person wants to see, each once, as many as there is room for.
    fn listening_ports(&self, list: &[ListeningPort]) -> Vec<(u16, Option<Box<str>>)> {
        let shown = list.iter().filter(|port| self.shows(Element::Port(port.port)));
        first_of(shown.map(|port| (port.port, port.interface.clone())))
    }

    /// The other ends that a person wants to see, each once, as many as there is room for.
    fn destinations(&self, list: &[TcpConnection]) -> Vec<SocketAddr> {
        let shown = list.iter().map(|connection| connection.remote);
        first_of(shown.filter(|remote| self.shows(Element::Address(remote.ip().to_canonical()))))
    }

    fn shows(&self, element: Element<'_>) -> bool {
        !self.violates || offends(&self.judged.behavior.criteria.comparison, element)
    }
}

/// The first different ones, up to the bound.
fn first_of<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut first = Vec::new();
    for item in items {
        if first.len() >= EVIDENCE_ELEMENTS_MAX {
            break;
        }
        if !first.contains(&item) {
            first.push(item);
        }
    }
    first
}

/// The event of an alarm that ends without being cleared.
pub(crate) fn invalidated(
    device: &DeviceName,
    judged: &Judged,
    started_at: Timestamp,
    at: Timestamp,
    ending: Ending,
) -> Verdict {
    let Judged { profile, behavior } = judged;
    let name = &behavior.name;
    let who = printable(device.as_str());
    let sentence = match ending {
        Ending::ProfileGone => {
            format!("security profile {profile}, which watched {who}, was deleted")
        }
        Ending::NotWatched => {
            format!("security profile {profile} no longer watches {who}")
        }
        Ending::BehaviorGone => {
            format!("behavior {name} was removed from security profile {profile}")
        }
        Ending::BehaviorChanged => {
            format!("behavior {name} of security profile {profile} was changed")
        }
        Ending::Silent { since } => {
            let silent = period(at.millis_since(since));
            format!("nothing was seen of {who} for {silent}, since {since}")
        }
        Ending::Unreported { since } => {
            let silent = period(at.millis_since(since));
            format!("no report of {who} was accepted for {silent}, since {since}")
        }
    };
    let window = behavior.criteria.window_or_default();
    Verdict::Event(Box::new(ViolationEvent {
        violation: violation_id(profile, behavior, device, started_at),
        kind: ViolationEventKind::Invalidated,
        at,
        device: device.clone(),
        profile: profile.clone(),
        behavior: Arc::clone(behavior),
        value: None,
        explanation: Explanation {
            sentence: format!("{sentence}; the alarm ends without being cleared"),
            window_start: at.floor(window.as_millis()),
            window,
            early: false,
            evidence: Evidence::Nothing,
            notes: Vec::new(),
        },
    }))
}

/// The name of an alarm's life: the same however often the same input is judged.
///
/// INVARIANT (violation ids last): notifications are told apart by them, so how they are made must
/// not change from one version to the next.
fn violation_id(
    profile: &ProfileName,
    behavior: &Behavior,
    device: &DeviceName,
    started_at: Timestamp,
) -> ViolationId {
    let behavior = &behavior.name;
    // Names hold no control characters, so the parts cannot run into each other.
    let text = format!("{profile}\0{behavior}\0{device}\0{}", started_at.as_millis());
    let digest = Sha256::digest(text.as_bytes());
    let mut half = [0; 16];
    half.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    ViolationId::from_digest(half)
}
