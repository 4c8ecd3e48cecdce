//! The job that keeps the outbox within its retention, in every replica; the database lets one at a time.

use rand::RngExt;
use store::Store;
use store::outbox::{Emptied, empty_oldest_slot};
use tokio_util::sync::CancellationToken;

use crate::limits::RETENTION_ROUND;

/// Empties outdated slots until shutdown.
pub(crate) async fn run(store: Store, shutdown: CancellationToken) {
    loop {
        // Jitter, so that replicas that started together do not meet.
        let pause = rand::rng().random_range(RETENTION_ROUND / 2..=RETENTION_ROUND);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
        match empty_oldest_slot(store.connect_options()).await {
            Ok(Emptied::Nothing | Emptied::Elsewhere) => {}
            Ok(Emptied::Slot(slot)) => tracing::info!(slot, "outbox slot emptied"),
            Ok(Emptied::TooYoung(slot)) => {
                tracing::warn!(slot, "outbox slot holds rows within the retention; was the clock set back?");
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "outbox slot not emptied; later again"
                );
            }
        }
    }
}
