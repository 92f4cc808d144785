//! Violations: one alarm's life, its events, and why.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::{
    Behavior, DeviceName, MetricValue, Percentile, ProfileName, Quantity, Timestamp, ViolationId,
    WindowLen,
};

/// An alarm that is on: of one behavior, for one device.
///
/// Source: aws `ActiveViolation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The same in all events of this alarm's life.
    pub id: ViolationId,
    /// Who violates.
    pub device: DeviceName,
    /// The security profile.
    pub profile: ProfileName,
    /// The behavior as it was when it was last judged.
    pub behavior: Arc<Behavior>,
    /// When the alarm was raised.
    pub started_at: Timestamp,
    /// When a datapoint last violated.
    pub last_violated_at: Timestamp,
    /// The value that last violated.
    pub last_value: MetricValue,
    /// Why: of the last violating datapoint.
    pub explanation: Explanation,
    /// What a person made of it.
    pub verification: VerificationState,
    /// The person's words.
    pub verification_description: Option<String>,
}

/// An alarm that is on violated once more: what moves on in its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The alarm's life.
    pub violation: ViolationId,
    /// Who.
    pub device: DeviceName,
    /// The security profile.
    pub profile: ProfileName,
    /// The behavior as it was judged.
    pub behavior: Arc<Behavior>,
    /// When the datapoint violated.
    pub last_violated_at: Timestamp,
    /// The value that violated.
    pub last_value: MetricValue,
    /// Why.
    pub explanation: Explanation,
}

/// A change of an alarm's state. Source: aws `ViolationEvent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViolationEvent {
    /// The alarm's life that this belongs to.
    pub violation: ViolationId,
    /// What happened to the alarm.
    pub kind: ViolationEventKind,
    /// When: the end of the window that decided, or the message that could not be healed.
    pub at: Timestamp,
    /// Who.
    pub device: DeviceName,
    /// The security profile.
    pub profile: ProfileName,
    /// The behavior as it was judged.
    pub behavior: Arc<Behavior>,
    /// The value that decided: violating for in-alarm, conforming for cleared, none when
    /// invalidated.
    pub value: Option<MetricValue>,
    /// Why.
    pub explanation: Explanation,
}

/// What happened to an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViolationEventKind {
    /// Enough violating datapoints in a row.
    InAlarm,
    /// Enough conforming datapoints in a row.
    Cleared,
    /// The device is no longer watched, or no longer speaks.
    Invalidated,
}

impl ViolationEventKind {
    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InAlarm => "in-alarm",
            Self::Cleared => "alarm-cleared",
            Self::Invalidated => "alarm-invalidated",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::InAlarm, Self::Cleared, Self::Invalidated]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A person's judgement on a violation. Source: aws `VerificationState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VerificationState {
    /// Not judged yet.
    #[default]
    Unknown,
    /// The alarm was wrong.
    FalsePositive,
    /// The behavior was there and is harmless.
    BenignPositive,
    /// The device did turn.
    TruePositive,
}

impl VerificationState {
    /// All of them.
    pub const ALL: [VerificationState; 4] = [
        VerificationState::Unknown,
        VerificationState::FalsePositive,
        VerificationState::BenignPositive,
        VerificationState::TruePositive,
    ];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::FalsePositive => "FALSE_POSITIVE",
            Self::BenignPositive => "BENIGN_POSITIVE",
            Self::TruePositive => "TRUE_POSITIVE",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Why a datapoint was judged as it was, for people and for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// One sentence that a person understands without knowing the behavior.
    pub sentence: String,
    /// Start of the window that was judged.
    pub window_start: Timestamp,
    /// Its length.
    pub window: WindowLen,
    /// Whether the window was judged before its end, because nothing later could heal it.
    pub early: bool,
    /// What it rests on.
    pub evidence: Evidence,
    /// What else speaks for or against the device, or for or against its own word.
    pub notes: Vec<Note>,
}

/// Something that does not decide, but that whoever looks into an alarm wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// For machines.
    pub kind: NoteKind,
    /// For people: one sentence.
    pub sentence: String,
}

/// What a note is about. All of them are about what the device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// The broker took more from the device than its report owns up to.
    BytesOutDisagrees,
    /// A list that held violating elements is empty at once.
    EmptyAfterViolation,
    /// A counter of the device ran backward: an increment was negative.
    CounterRanBackward,
    /// A report's id is lower than one before: the device began anew, or an old report came again.
    ReportIdFell,
    /// A report's id was seen before.
    ReportIdRepeated,
    /// The device is connected and reports no more.
    ReportMissing,
}

impl NoteKind {
    /// All of them.
    pub const ALL: [NoteKind; 6] = [
        NoteKind::BytesOutDisagrees,
        NoteKind::EmptyAfterViolation,
        NoteKind::CounterRanBackward,
        NoteKind::ReportIdFell,
        NoteKind::ReportIdRepeated,
        NoteKind::ReportMissing,
    ];

    /// The word for it in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BytesOutDisagrees => "bytes-out-disagrees",
            Self::EmptyAfterViolation => "empty-after-violation",
            Self::CounterRanBackward => "counter-ran-backward",
            Self::ReportIdFell => "report-id-fell",
            Self::ReportIdRepeated => "report-id-repeated",
            Self::ReportMissing => "report-missing",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What a judgement rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Messages that the device sent in the window.
    Messages {
        /// How many.
        count: u64,
        /// When the first came.
        first_at: Timestamp,
        /// When the last came.
        last_at: Timestamp,
        /// Payload of the largest, in bytes.
        largest_bytes: u64,
        /// Topic of the largest.
        largest_topic: Arc<str>,
    },
    /// Something counted in the window.
    Count {
        /// How many.
        count: u64,
        /// When the first came.
        first_at: Timestamp,
        /// When the last came.
        last_at: Timestamp,
    },
    /// Denied requests.
    Denials {
        /// How many.
        count: u64,
        /// When the first came.
        first_at: Timestamp,
        /// When the last came.
        last_at: Timestamp,
        /// What the last asked for: `iot:Publish`.
        last_action: String,
        /// Of which topic, filter or client id.
        last_resource: Arc<str>,
    },
    /// Addresses that the device connected from.
    Addresses(Vec<IpAddr>),
    /// How long the device has been away.
    Absence {
        /// Since when.
        since: Timestamp,
    },
    /// What the device's reports say.
    Reports {
        /// How many reports were looked at.
        count: u64,
        /// When the first came.
        first_at: Timestamp,
        /// When the last came.
        last_at: Timestamp,
        /// Id of the last.
        last_id: u64,
    },
    /// Listening ports that a report names, with what they are bound to: those outside the normal
    /// if it violates.
    ListeningPorts(Vec<(u16, Option<Box<str>>)>),
    /// The other ends of TCP connections that a report names: those outside the normal if it
    /// violates.
    Destinations(Vec<SocketAddr>),
    /// The devices of a profile, compared with each other.
    Fleet {
        /// What this device had.
        value: Quantity,
        /// The percentile that it was compared with.
        percentile: Percentile,
        /// What that came to.
        limit: Quantity,
        /// How many devices had a value.
        devices: u64,
    },
    /// Nothing was measured: the judgement is about the watching itself (an invalidated alarm, a
    /// silent window).
    Nothing,
}
