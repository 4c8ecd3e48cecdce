//! Hints between replicas: tell the others after a commit of ours, hear theirs. Never load-bearing: the safety
//! poll finds what a lost hint announced.

use std::convert::Infallible;

use store::outbox::{Listener, Notifier, OwnHints};
use store::{Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::limits::HINT_DEBOUNCE;
use crate::pause::Pause;

/// What the listener knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// Hints are being heard, so polls may be rare.
    pub(crate) are_heard: bool,
    /// Raised with every hint.
    pub(crate) count: u64,
}

/// Hears hints until shutdown.
pub(crate) async fn listen(
    store: Store,
    own: OwnHints,
    hints: watch::Sender<Hints>,
    shutdown: CancellationToken,
) {
    let mut pause = Pause::default();
    loop {
        let lost = tokio::select! {
            lost = listen_once(&store, &own, &hints, &mut pause) => lost,
            () = shutdown.cancelled() => return,
        };
        hints.send_modify(|hints| hints.are_heard = false);
        let Err(error) = lost;
        tracing::debug!(error = &error as &dyn std::error::Error, "no hints of other replicas");
        tokio::select! {
            () = tokio::time::sleep(pause.next()) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn listen_once(
    store: &Store,
    own: &OwnHints,
    hints: &watch::Sender<Hints>,
    pause: &mut Pause,
) -> Result<Infallible, StoreError> {
    let mut listener = Listener::connect(store.connect_options(), own.clone()).await?;
    pause.reset();
    loop {
        // Once right after connecting, and after a reconnect as after a hint: what was missed is polled now.
        hints.send_modify(|hints| *hints = Hints { are_heard: true, count: hints.count.wrapping_add(1) });
        listener.heard().await?;
    }
}

/// Tells other replicas of this process's commits until shutdown.
pub(crate) async fn notify(store: Store, own: OwnHints, shutdown: CancellationToken) {
    let mut committed = store.committed();
    let mut notifier: Option<Notifier> = None;
    let mut pause = Pause::default();
    loop {
        tokio::select! {
            changed = committed.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => return,
        }
        committed.borrow_and_update();
        match hint(&store, &own, notifier.take()).await {
            Ok(used) => {
                notifier = Some(used);
                pause.reset();
                // The first commit is told at once; those of the next few milliseconds share the next hint.
                tokio::time::sleep(HINT_DEBOUNCE).await;
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "hint not sent");
                tokio::select! {
                    () = tokio::time::sleep(pause.next()) => {}
                    () = shutdown.cancelled() => return,
                }
            }
        }
    }
}

async fn hint(store: &Store, own: &OwnHints, notifier: Option<Notifier>) -> Result<Notifier, StoreError> {
    let mut notifier = match notifier {
        Some(notifier) => notifier,
        None => Notifier::connect(store.connect_options(), own).await?,
    };
    notifier.notify().await?;
    Ok(notifier)
}
