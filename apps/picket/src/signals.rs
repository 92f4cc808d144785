//! SIGTERM and ctrl-C: the two ways to ask the server to stop. SIGHUP asks it to read its
//! certificates again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::error;

/// Resolves when the process is asked to stop; gives the signal's name.
pub(crate) async fn wait() -> &'static str {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            error!(%error, "SIGTERM cannot be listened for; stop with ctrl-C");
            return interrupt().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        name = interrupt() => name,
    }
}

async fn interrupt() -> &'static str {
    if let Err(error) = tokio::signal::ctrl_c().await {
        error!(%error, "ctrl-C cannot be listened for");
        std::future::pending::<()>().await;
    }
    "ctrl-C"
}

/// SIGHUP, from when it is listened for on.
pub(crate) struct Hangups(Option<Signal>);

impl Hangups {
    /// Listens. Without that, SIGHUP would end the process.
    pub(crate) fn listen() -> Self {
        let signal = signal(SignalKind::hangup());
        Self(signal.inspect_err(|error| error!(%error, "SIGHUP cannot be listened for")).ok())
    }

    /// Waits for the next one. Safe to drop and call again: none is missed.
    pub(crate) async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
