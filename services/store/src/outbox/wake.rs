//! NOTIFY and LISTEN, as hints between replicas.
//!
//! NOTIFY inside a business transaction takes a lock over the whole database until its commit, and so lines up
//! all commits. Here it is a transaction of its own, after the commit, on a connection of its own, without a
//! wait for the disk (nothing is lost when it is lost), and without a payload (equal ones fold into one).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection};

use crate::error::StoreError;

/// The channel of the hints.
pub const CHANNEL: &str = "tallystick_outbox";

/// The server process that sends this replica's hints, which its own listener leaves out: what they announce was
/// polled right after the commit. Clones share it; none is known at first. Should another replica's server process ever
/// have the same number, its hints wait for the safety poll.
#[derive(Debug, Clone, Default)]
pub struct OwnHints(Arc<AtomicU32>);

impl OwnHints {
    fn are_sent_by(&self, process_id: u32) {
        self.0.store(process_id, Ordering::Relaxed);
    }

    fn came_from(&self, process_id: u32) -> bool {
        self.0.load(Ordering::Relaxed) == process_id
    }
}

/// Tells other replicas that there is something to poll.
#[derive(Debug)]
pub struct Notifier {
    connection: PgConnection,
}

impl Notifier {
    /// Opens a connection of its own.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the database cannot be reached.
    pub async fn connect(options: &PgConnectOptions, own: &OwnHints) -> Result<Self, StoreError> {
        let options = options.clone().application_name("tallystick notifier");
        let connection = options.connect().await.map_err(StoreError::during("connect the notifier"))?;
        let mut notifier = Self { connection };
        let session = sqlx::query!(
            r#"select set_config('synchronous_commit', 'off', false) as a,
                      set_config('statement_timeout', '5s', false) as b, pg_backend_pid() as "process_id!""#
        )
        .fetch_one(&mut notifier.connection)
        .await
        .map_err(StoreError::during("set up the notifier"))?;
        own.are_sent_by(u32::try_from(session.process_id).unwrap_or(0));
        Ok(notifier)
    }

    /// Sends one hint. The caller debounces.
    ///
    /// # Errors
    /// [`StoreError::Database`]; connect anew then.
    pub async fn notify(&mut self) -> Result<(), StoreError> {
        sqlx::query!("notify tallystick_outbox")
            .execute(&mut self.connection)
            .await
            .map_err(StoreError::during("notify"))?;
        Ok(())
    }
}

/// What a listener woke up for. Both mean: poll now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A hint.
    Hint,
    /// The connection was lost and is back: hints in between are lost.
    Reconnected,
}

/// Hears the hints of other replicas.
pub struct Listener {
    listener: PgListener,
    own: OwnHints,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Listener {
    /// Opens a connection of its own and listens.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the database cannot be reached.
    pub async fn connect(options: &PgConnectOptions, own: OwnHints) -> Result<Self, StoreError> {
        const LISTEN: &str = "listen for hints";
        let options = options.clone().application_name("tallystick listener");
        // A pool of one, because the driver's listener wants a pool to reconnect from.
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.connect_with(options).await.map_err(StoreError::during(LISTEN))?;
        let mut listener = PgListener::connect_with(&pool).await.map_err(StoreError::during(LISTEN))?;
        listener.listen(CHANNEL).await.map_err(StoreError::during(LISTEN))?;
        Ok(Self { listener, own })
    }

    /// Waits for the next hint of another replica. Hints that came meanwhile fold into one.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the connection is lost and does not come back; connect anew then.
    pub async fn heard(&mut self) -> Result<Heard, StoreError> {
        loop {
            let received = self.listener.try_recv().await.map_err(StoreError::during("listen for hints"))?;
            let Some(first) = received else { return Ok(Heard::Reconnected) };
            let mut foreign = !self.own.came_from(first.process_id());
            while let Some(next) = self.listener.next_buffered() {
                foreign |= !self.own.came_from(next.process_id());
            }
            if foreign {
                return Ok(Heard::Hint);
            }
        }
    }
}
