//! What comes of running a function once.

use std::time::Duration;

use bytes::Bytes;
use picket_model::FunctionName;
use picket_store::RegistryError;
use serde_json::{Value, json};
use thiserror::Error;

use super::code::CodeError;
use crate::python::PythonError;

/// What a function answered, or how it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Names this run in the function's log. A UUID.
    pub request_id: String,
    /// The answer as JSON; with [`Invocation::function_error`] the error as JSON
    /// (`errorMessage`, `errorType`, often `stackTrace`).
    pub payload: Bytes,
    /// Set when the function failed: AWS's word for the kind of failure, always `Unhandled`.
    pub function_error: Option<String>,
    /// The end of what this run wrote to the log, at most 4 KB, lines ended by line feeds.
    pub log_tail: String,
    /// From handing over the event until the answer.
    pub duration: Duration,
    /// The most memory that the process was seen to hold, in bytes; 0 if it was never looked at.
    pub memory_max_bytes: u64,
}

impl Invocation {
    /// What went wrong in one line, for example `KeyError: 'thingName'`; `None` after success.
    pub fn failure(&self) -> Option<String> {
        self.function_error.as_ref()?;
        let error: Value = serde_json::from_slice(&self.payload).unwrap_or_default();
        let member = |name: &str| error.get(name).and_then(Value::as_str);
        Some(match (member("errorType"), member("errorMessage")) {
            (Some(kind), Some(message)) => format!("{kind}: {message}"),
            (Some(text), None) | (None, Some(text)) => text.to_owned(),
            (None, None) => "the function failed without saying why".to_owned(),
        })
    }
}

/// Why a function was not run.
#[derive(Debug, Error)]
pub enum InvokeError {
    /// There is no function of that name.
    #[error("function `{0}` does not exist")]
    NotFound(FunctionName),
    /// The event is not JSON.
    #[error("the event is not JSON: {0}")]
    EventNotJson(String),
    /// The event is larger than a function may be given.
    #[error("the event is {len} bytes long; at most {max} are allowed")]
    EventTooLarge {
        /// Length found, in bytes.
        len: usize,
        /// Length allowed, in bytes.
        max: usize,
    },
    /// The function, or the whole host, runs as much as it may. Trying again later helps.
    #[error("{0}")]
    Busy(String),
    /// The code cannot be unpacked.
    #[error("the code of function `{function}` cannot be used")]
    Code {
        /// The function.
        function: FunctionName,
        /// Why.
        #[source]
        source: CodeError,
    },
    /// There is no interpreter for it.
    #[error("there is no Python to run function `{function}`")]
    Python {
        /// The function.
        function: FunctionName,
        /// Why.
        #[source]
        source: PythonError,
    },
    /// The process could not be started.
    #[error("a process for function `{function}` cannot be started")]
    Start {
        /// The function.
        function: FunctionName,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store did not answer.
    #[error("function `{function}` cannot be read from the store")]
    Store {
        /// The function.
        function: FunctionName,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// How a run ended, seen from the process. [`Invocation`] is this plus what the host knows.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The handler's answer.
    Answer(Bytes),
    /// An error document that the function's runtime client wrote.
    Reported(Bytes),
    /// The host had to write the error document itself.
    Failed(Failure),
}

/// How a process failed without saying so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It still ran at its deadline.
    TimedOut { after: Duration },
    /// It did not ask for work.
    NotReady { after: Duration },
    /// It ended.
    Exited { how: String },
    /// It held more memory than allowed.
    OutOfMemory { held_bytes: u64, allowed_bytes: u64 },
    /// It answered with more than is allowed.
    AnswerTooLarge { max_bytes: usize },
}

impl Failure {
    /// AWS's name of the failure.
    pub(super) const fn error_type(&self) -> &'static str {
        match self {
            Self::TimedOut { .. } | Self::NotReady { .. } => "Sandbox.Timedout",
            Self::Exited { .. } => "Runtime.ExitError",
            Self::OutOfMemory { .. } => "Runtime.OutOfMemory",
            Self::AnswerTooLarge { .. } => "Function.ResponseSizeTooLarge",
        }
    }

    /// The failure in words, as AWS puts it where it does.
    pub(super) fn in_words(&self) -> String {
        let mib = |bytes: &u64| bytes.div_ceil(1024 * 1024);
        match self {
            Self::TimedOut { after } => {
                format!("Task timed out after {:.2} seconds", after.as_secs_f64())
            }
            Self::NotReady { after } => format!(
                "the process did not ask for work within {:.2} seconds of its start",
                after.as_secs_f64()
            ),
            Self::Exited { how } => format!("Runtime exited with error: {how}"),
            Self::OutOfMemory { held_bytes, allowed_bytes } => format!(
                "Runtime exited with error: signal: killed (it held {} MiB of memory; {} are \
                 allowed)",
                mib(held_bytes),
                mib(allowed_bytes)
            ),
            Self::AnswerTooLarge { max_bytes } => format!(
                "Response payload size exceeded maximum allowed payload size ({max_bytes} bytes)."
            ),
        }
    }

    /// The error document, as AWS shapes it.
    pub(super) fn document(&self, request_id: &str) -> Bytes {
        let message = match self {
            Self::AnswerTooLarge { .. } => self.in_words(),
            _ => format!("RequestId: {request_id} Error: {}", self.in_words()),
        };
        json!({ "errorType": self.error_type(), "errorMessage": message }).to_string().into()
    }
}
