//! A command on trial: loaded, settled and decided as a batch would, and nothing written.

use domain::{Command, DecideError, Denied, Operation, OperationId, Timestamp, decide, settle};
use sqlx::PgConnection;
use sqlx::types::Uuid;

use crate::apply::{self, Item};
use crate::error::StoreError;
use crate::request::Request;
use crate::store::Store;

/// Begins a transaction whose statements all see one moment, and which can write nothing.
pub(crate) const ONE_SNAPSHOT: &str = "begin isolation level repeatable read, read only";

/// What a command would do at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The balance as it stands, nothing due settled: its version, its hash, its figures.
    pub balance: domain::Balance,
    /// The operation that it would be, or the refusal.
    pub outcome: Result<Operation, Denied>,
    /// The figures that it would find: what is due has happened in them.
    pub settled: domain::Figures,
}

impl Store {
    /// Decides a command on a snapshot of the database and writes nothing. Its key is not looked up.
    ///
    /// # Errors
    /// [`StoreError`] when the database fails or a row cannot be used.
    pub async fn quote(&self, command: &Command) -> Result<Quote, StoreError> {
        let begun = self.pool().begin_with(ONE_SNAPSHOT).await;
        let mut tx = begun.map_err(StoreError::during("begin"))?;
        self.quote_in_tx(&mut tx, command).await
    }

    async fn quote_in_tx(&self, tx: &mut PgConnection, command: &Command) -> Result<Quote, StoreError> {
        let operation_id = OperationId::from_uuid(Uuid::now_v7());
        let request = Request::Command(command.clone());
        let item = Item { request, operation_id, commit_tried: false };
        let (balance, account, now) = apply::unlocked_in_tx(tx, &item, self.policy()).await?;
        let mut on_trial = balance.clone();
        settle(&mut on_trial, &command.context, operation_id, now)?;
        let settled = on_trial.figures;
        let outcome = match decide(&mut on_trial, &self.policy().rules, account, command, operation_id, now) {
            Ok(operation) => Ok(operation),
            Err(DecideError::Denied(denied)) => Err(denied),
            Err(DecideError::Broken(what)) => return Err(StoreError::Broken(what)),
        };
        Ok(Quote { balance, outcome, settled })
    }
}

/// For the loader: the moment of a transaction.
pub(crate) type Loaded = (domain::Balance, domain::AccountState, Timestamp);
