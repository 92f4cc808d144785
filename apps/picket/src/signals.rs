//! SIGTERM and ctrl-C: the two ways to ask the server to stop.

use tokio::signal::unix::{SignalKind, signal};
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
