//! Mitigation tasks: named actions, run for violations that somebody chose.
//!
//! Dramatis personae:
//!
//! - a *task* names violations, or a security profile whose violations are meant, and one to five
//!   *actions* as they were when it started;
//! - an *execution* is one action for one violation, and what it came to;
//! - [`steps`] is pure: what there is to do for a violation, after what was recorded of it;
//! - [`run`] does it, a little of each task in turn.
//!
//! Source: AWS guide "Mitigation actions", aws StartDetectMitigationActionsTask.
//!
//! INVARIANT (an execution happens once): what an action changes and the record that it did are in
//! one transaction, which looks at the records first. A server that is killed goes on with what is
//! not recorded, and does nothing twice.
//!
//! INVARIANT (canceled is canceled): the same transaction looks whether the task is still at work,
//! so nothing is done after CancelDetectMitigationActionsTask was answered.

mod actions;
mod runner;
mod steps;

pub use runner::{Runner, run};
