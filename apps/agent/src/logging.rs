//! Where log lines go and how they look.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::LevelFilter;

/// Sends log lines to standard error from now on. Below systemd the journal adds the time itself.
pub(crate) fn init(level: LevelFilter) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .log_internal_errors(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().init();
    } else {
        lines.init();
    }
}
