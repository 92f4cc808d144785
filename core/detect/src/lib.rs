//! Judges what devices do: observations in, datapoints and violation events out.
//!
//! The cast, in the order in which an observation meets them:
//! - [`Engine`] is the surface: it knows the security profiles and the devices, and is told
//!   everything that happens and what time it is.
//! - a *plan* is what the profiles of a device come to: one *watch* per behavior, and one per
//!   metric that is only retained. Devices with the same profiles share a plan.
//! - a *window* holds what one watch counted in one clock-aligned period.
//! - *judge* compares a window with a behavior's criteria, which say what is normal.
//! - *alarm* turns judgements into the life of an alarm: clear, on, clear again.
//! - *explain* writes the sentence that tells a person why.
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
