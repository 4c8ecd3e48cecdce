//! What can go wrong below the rules, and what a caller of `apply` may be told.

use domain::{DecideError, Denied, Invalid, OperationId};

/// The operation of a COMMIT, whose failure leaves open what happened.
pub(crate) const COMMIT: &str = "commit";

/// A database call that failed, with the operation's name for the one who reads the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or could not be reached.
    #[error("{operation}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// A stored row does not mean anything to the rules: corruption, or a newer version's row.
    #[error("stored row is not usable: {0}")]
    Corrupt(&'static str),
    /// A rule broke an invariant: a defect; nothing was written.
    #[error("invariant broken: {0}")]
    Broken(&'static str),
    /// A migration failed.
    #[error("migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// For `map_err`: names the operation.
    pub(crate) fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { operation, source }
    }

    /// Whether the same call may succeed when it is made again: lost connections, serialization, deadlock,
    /// timeouts, a server that starts, stops or has no resources (PostgreSQL manual, appendix A).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        match source {
            sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        }
    }

    /// Whether a statement took longer than it may.
    #[must_use]
    pub fn is_statement_timeout(&self) -> bool {
        self.has_code("57014")
    }

    /// Whether the failed call may have been committed all the same.
    #[must_use]
    pub fn may_have_committed(&self) -> bool {
        matches!(self, Self::Database { operation: COMMIT, .. })
    }

    /// Whether a lock was not granted in time.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.has_code("55P03")
    }

    fn has_code(&self, wanted: &str) -> bool {
        let Self::Database { source: sqlx::Error::Database(error), .. } = self else { return false };
        error.code().is_some_and(|code| code == wanted)
    }
}

fn is_transient_code(code: &str) -> bool {
    const WHOLE: [&str; 8] = [
        "25006", // read-only transaction: a primary that became a standby
        "25P03", // idle in transaction timeout
        "40001", // serialization failure
        "40P01", // deadlock detected
        "55P03", // lock not available
        "57014", // statement timeout
        "40003", // statement completion unknown
        "25P04", // transaction timeout
    ];
    let class = code.get(..2).unwrap_or_default();
    // 08 connection exception, 53 insufficient resources, 57P operator intervention.
    class == "08" || class == "53" || code.starts_with("57P") || WHOLE.contains(&code)
}

/// Why a command was not applied, as its caller may know it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The rules refuse it; nothing was written.
    #[error("denied: {0:?}")]
    Denied(Denied),
    /// The key belongs to another request; nothing was written.
    #[error("idempotency key was used for another request")]
    KeyReused {
        /// The operation of the first request, which stands.
        operation_id: OperationId,
    },
    /// The queue is full; nothing was written.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The account stayed locked by others; nothing was written.
    #[error("the account is locked by another writer")]
    Contended,
    /// The deadline passed while the command waited for its turn; nothing was written.
    #[error("the deadline passed before the command's turn came")]
    DeadlinePassed,
    /// The database could not be reached in time, and no commit was tried; nothing was written.
    #[error("the database is not available")]
    Unavailable,
    /// The deadline passed while a commit may have happened: ask again with the same key.
    #[error("the outcome is not known")]
    OutcomeUnknown,
    /// The service is stopping; nothing was written.
    #[error("the service is stopping")]
    Stopping,
    /// A defect; nothing was written. The cause is in the log.
    #[error("internal error")]
    Internal,
}

impl From<DecideError> for StoreError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Broken(what) => Self::Broken(what),
            DecideError::Denied(_) => Self::Broken("a settlement was denied"),
        }
    }
}

impl From<Invalid> for StoreError {
    fn from(_: Invalid) -> Self {
        Self::Corrupt("identifier")
    }
}
