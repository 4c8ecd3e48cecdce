//! NOTIFY and LISTEN, as hints between replicas.
//!
//! NOTIFY inside a business transaction takes a lock over the whole database until its commit, and so lines up
//! all commits. Here it is a transaction of its own, after the commit, on a connection of its own, without a
//! wait for the disk (nothing is lost when it is lost), and without a payload (equal ones fold into one). A replica that
//! is alone sends none: it costs the server and the process as much as a tenth of a lone caller's spend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::RngExt;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::Instant;

use crate::error::StoreError;

/// The channel of the hints.
pub const CHANNEL: &str = "tallystick_outbox";
/// How the names of listeners' connections begin in `pg_stat_activity`; what follows tells replicas apart.
const LISTENER: &str = "tallystick listener";
/// How long it counts whether others listen. One that comes lives by its own polls until then.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What tells this replica's hints and listener from those of others. Clones share it.
#[derive(Debug, Clone)]
pub struct OwnHints {
    /// The server process that sends this replica's hints, which its own listener leaves out: what they announce was
    /// polled right after the commit. None is known at first. Should another replica's server process ever have the same
    /// number, its hints wait for the safety poll.
    sent_by: Arc<AtomicU32>,
    /// The name of the listener's connection.
    listener: Arc<str>,
}

impl Default for OwnHints {
    fn default() -> Self {
        let name = format!("{LISTENER} {:016x}", rand::rng().random::<u64>());
        Self { sent_by: Arc::default(), listener: name.into() }
    }
}

impl OwnHints {
    fn are_sent_by(&self, process_id: u32) {
        self.sent_by.store(process_id, Ordering::Relaxed);
    }

    fn came_from(&self, process_id: u32) -> bool {
        self.sent_by.load(Ordering::Relaxed) == process_id
    }
}

/// Tells other replicas that there is something to poll.
#[derive(Debug)]
pub struct Notifier {
    connection: PgConnection,
    own: OwnHints,
    /// Whether others listen, and when that was looked up.
    others: Option<(bool, Instant)>,
}

impl Notifier {
    /// Opens a connection of its own.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the database cannot be reached.
    pub async fn connect(options: &PgConnectOptions, own: &OwnHints) -> Result<Self, StoreError> {
        let options = options.clone().application_name("tallystick notifier");
        let connection = options.connect().await.map_err(StoreError::during("connect the notifier"))?;
        let mut notifier = Self { connection, own: own.clone(), others: None };
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

    /// Sends one hint, unless nobody else listens. The caller debounces.
    ///
    /// # Errors
    /// [`StoreError::Database`]; connect anew then.
    pub async fn notify(&mut self) -> Result<(), StoreError> {
        if !self.others_listen().await? {
            return Ok(());
        }
        sqlx::query!("notify tallystick_outbox")
            .execute(&mut self.connection)
            .await
            .map_err(StoreError::during("notify"))?;
        Ok(())
    }

    async fn others_listen(&mut self) -> Result<bool, StoreError> {
        if let Some((listen, at)) = self.others
            && at.elapsed() < LOOK_AGAIN
        {
            return Ok(listen);
        }
        // Names of connections are shown to every role.
        let listen = sqlx::query_scalar!(
            r#"select exists (
                   select from pg_stat_activity
                   where datname = current_database() and application_name <> $1
                     and starts_with(application_name, $2)
               ) as "listen!""#,
            &*self.own.listener,
            LISTENER
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(StoreError::during("look for other listeners"))?;
        self.others = Some((listen, Instant::now()));
        Ok(listen)
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
        let options = options.clone().application_name(&own.listener);
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
