//! The job that leaves marks in the ledger for readers who are far behind, in every replica; one left twice does no harm.

use rand::RngExt;
use store::Store;
use store::feed::leave_mark;
use tokio_util::sync::CancellationToken;

use crate::limits::MARK_ROUND;

/// Leaves marks until shutdown, but only looks where this process has committed since: every change has one that has.
pub(crate) async fn run(store: Store, shutdown: CancellationToken) {
    let mut committed = store.committed();
    loop {
        // Jitter, so that replicas that started together do not meet.
        let pause = rand::rng().random_range(MARK_ROUND / 2..=MARK_ROUND);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
        tokio::select! {
            changed = committed.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => return,
        }
        committed.borrow_and_update();
        if let Err(error) = leave_mark(store.pool()).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "no mark left in the ledger; later again"
            );
        }
    }
}
