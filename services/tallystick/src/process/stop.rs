//! When the process has to end: SIGTERM, SIGINT. A second signal ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Told once, to everybody who asks.
#[derive(Debug, Clone)]
pub(crate) struct Stop(CancellationToken);

impl Stop {
    /// Listens for the signals from now on.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses handlers.
    pub(crate) fn listen() -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(Error::io("listen for signals"));
        let (mut term, mut int) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
        let token = CancellationToken::new();
        let told = token.clone();
        tokio::spawn(async move {
            let name = either(&mut term, &mut int).await;
            tracing::info!(signal = name, "stopping; a second signal ends at once");
            told.cancel();
            let name = either(&mut term, &mut int).await;
            tracing::warn!(signal = name, "ended at once");
            std::process::exit(1);
        });
        Ok(Self(token))
    }

    /// Ready when the process has to end.
    pub(crate) async fn asked(&self) {
        self.0.cancelled().await;
    }

    /// Whether it has.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }
}

async fn either(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}
