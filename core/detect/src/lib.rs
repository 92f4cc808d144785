//! Judges what devices do: observations in, datapoints and violation events out.
//!
//! The cast, in the order in which an observation meets them:
//! - [`Engine`] is the surface: it knows the security profiles and the devices, and is told
//!   everything that happens and what time it is.
//! - a *plan* is what the profiles of a device come to: one *watch* per behavior, and one per
//!   metric that is only retained. Each watch says what it feeds on. Devices with the same profiles
//!   share a plan.
//! - a *device* has what is counted in *windows* (a window holds the *tally* of one *series*, which
//!   watches that count the same share), what its own *reports* come to, and *marks*: what is
//!   remarkable about its watches.
//! - *closing* judges what ends on the clock, *reporting* what a report says as it arrives; a *fleet*
//!   ranks the devices of a profile at a window's end.
//! - *judge* compares what was *measured* with a behavior's criteria, which say what is normal.
//! - *alarm* turns judgements into the life of an alarm: clear, on, clear again.
//! - *explain* makes the events, with a *sentence* that tells a person why, and *notes* about what
//!   speaks against the device's own word.
//! - *snapshot* makes a device's state last over restarts.
//!
//! How windows, early verdicts, zeros and alarms work is told in `docs/detect.md`.
//!
//! Architecture invariants: no clock, no IO, no randomness; the same calls give the same verdicts
//! in the same order; nothing that comes from outside makes this crate panic.

mod alarm;
mod closing;
mod device;
mod engine;
mod explain;
mod figure;
mod fingerprint;
mod fleet;
mod judge;
mod marks;
mod measured;
mod normal;
mod notes;
mod plan;
mod presence;
mod reporting;
mod reports;
mod sent;
mod sentence;
mod series;
mod small;
mod snapshot;
mod tally;
pub mod targets;
mod verdict;
mod watch;
mod windows;
mod words;

#[cfg(test)]
mod tests;

pub use engine::{Engine, EngineConfig};
pub use normal::normal_in_words;
pub use snapshot::{RestoreError, RestoreProblem};
pub use verdict::{ExportPart, Exported, Verdict};
