//! Where log lines go and how they look.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use flood::FloodGate;

mod flood;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people: one line of text per event.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// Sends log events to standard error from now on; `RUST_LOG` says which (unset: `level`).
///
/// Standard output stays free for answers and for the line `picket ready`. Standard error may be
/// full or closed: then events are lost, and nothing else.
pub(crate) fn init(format: LogFormat, level: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // A line that cannot be written is lost. Saying so would be one more line for standard error,
    // and a panic of whoever logged it: a full disk would end the store's writer for good.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            lines.with_ansi(io::stderr().is_terminal()).finish().with(FloodGate::default()).init();
        }
        LogFormat::Json => {
            lines.json().flatten_event(true).finish().with(FloodGate::default()).init();
        }
    }
}
