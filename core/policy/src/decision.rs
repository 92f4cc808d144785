//! Decisions with their reasons.

use std::fmt;

use picket_model::PolicyName;

/// The answer to one request, with the statements that gave it.
///
/// A deny is also the answer when no decision could safely be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Some statement allows it and none denies it.
    Allowed {
        /// Every statement that allows it, in the order of the documents.
        by: Vec<StatementRef>,
    },
    /// A statement denies it; no other statement can allow it any more.
    ExplicitDeny {
        /// Every statement that denies it, in the order of the documents.
        by: Vec<StatementRef>,
    },
    /// No statement says anything about it.
    ImplicitDeny,
}

/// A statement of a policy's version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatementRef {
    /// The policy.
    pub policy: PolicyName,
    /// Its version that was in force.
    pub version: u32,
    /// Position in the document, counted from 0.
    pub statement: usize,
    /// The statement's own name, if it has one.
    pub sid: Option<String>,
}

impl Decision {
    /// Whether the request may go on.
    pub const fn is_allowed(&self) -> bool {
        match self {
            Self::Allowed { .. } => true,
            Self::ExplicitDeny { .. } | Self::ImplicitDeny => false,
        }
    }
}

impl fmt::Display for Decision {
    /// Writes a sentence for the log, for example "denied by statement 1 of policy `Isolate`
    /// version 2".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, by) = match self {
            Self::ImplicitDeny => return f.write_str("denied: no statement allows it"),
            Self::Allowed { by } => ("allowed", by),
            Self::ExplicitDeny { by } => ("denied", by),
        };
        for (i, statement) in by.iter().enumerate() {
            match i {
                0 => write!(f, "{verb} by {statement}")?,
                _ => write!(f, ", {statement}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for StatementRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement {}", self.statement + 1)?;
        if let Some(sid) = &self.sid {
            write!(f, " (`{}`)", sid.escape_debug())?;
        }
        write!(f, " of policy `{}` version {}", self.policy, self.version)
    }
}
