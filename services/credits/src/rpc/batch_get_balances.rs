//! BatchGetBalances: many balances in one call, each with a result of its own.

use std::collections::{BTreeMap, BTreeSet};

use domain::Timestamp;
use futures::StreamExt;
use futures::future::join_all;
use proto::v1;
use proto::v1::balance_result::Result as Outcome;
use store::StoredBalance;
use tonic::Request;

use super::CreditRpc;
use super::settled::{Key, Settled};
use crate::caller::Caller;
use crate::encode::{empty_balance, proto_balance};
use crate::error::CallError;
use crate::fields::Fields;
use crate::limits::{MAX_PAST_READS, MAX_QUERIES};
use crate::principal::Scope;
use crate::status::item_error;

/// One balance, and how new, or of when.
struct Query {
    key: Key,
    min_version: i64,
    at: Option<Timestamp>,
}

/// What became of each wait.
type Waits = BTreeMap<(Key, i64), Result<StoredBalance, Box<v1::Error>>>;

impl CreditRpc {
    pub(super) async fn balances(
        &self,
        request: Request<v1::BatchGetBalancesRequest>,
    ) -> Result<v1::BatchGetBalancesResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let queries = request.into_inner().queries;
        let mut fields = Fields::default();
        fields.count("queries", queries.len(), MAX_QUERIES);
        fields.finish(|| Some(()))?;
        let queries: Vec<Result<Query, Box<v1::Error>>> =
            queries.into_iter().map(|query| self.query(query, &caller).map_err(item_error)).collect();

        let keys = queries.iter().flatten().map(|query| query.key.clone()).collect();
        let mut balances = self.settled_balances(keys, &caller).await?;
        let waits = self.await_versions(&queries, &balances, &caller).await?;
        // The waits bring the balances: a wait that took all the time must not cost the others their answer.
        let mut due = BTreeSet::new();
        for ((key, _), balance) in &waits {
            match balance {
                Ok(balance) if balance.is_due => drop(due.insert(key.clone())),
                Ok(balance) => keep_newer(&mut balances, key, balance),
                Err(_) => {}
            }
        }
        balances.extend(self.settled_balances(due, &caller).await?);

        let results = queries.into_iter().map(|query| async {
            let outcome = match query {
                Ok(query) => self.result(query, &balances, &waits, &caller).await,
                Err(error) => Err(error),
            };
            let outcome = outcome.map_or_else(|error| Outcome::Error(*error), Outcome::Balance);
            v1::BalanceResult { result: Some(outcome) }
        });
        let results = futures::stream::iter(results).buffered(MAX_PAST_READS).collect().await;
        Ok(v1::BatchGetBalancesResponse { results })
    }

    fn query(&self, query: v1::BalanceQuery, caller: &Caller) -> Result<Query, CallError> {
        let mut fields = Fields::default();
        let account = fields.account(query.account_id);
        let unit = fields.unit(query.unit);
        let min_version = fields.range("min_version", query.min_version.unwrap_or(0), 0, i64::MAX);
        let at = fields.at(query.at, query.min_version);
        let query =
            fields.finish(|| Some(Query { key: (account?, unit?), min_version: min_version?, at: at? }))?;
        caller.require_account(&query.key.0)?;
        self.units.require(&query.key.1)?;
        Ok(query)
    }

    /// Waits for all versions that are not there yet, at once.
    async fn await_versions(
        &self,
        queries: &[Result<Query, Box<v1::Error>>],
        balances: &Settled,
        caller: &Caller,
    ) -> Result<Waits, CallError> {
        let mut behind: BTreeMap<(Key, i64), i64> = BTreeMap::new();
        for query in queries.iter().flatten() {
            let Some(Ok(balance)) = balances.get(&query.key) else { continue };
            let version = balance.as_ref().map_or(0, |balance| balance.version);
            if version < query.min_version {
                behind.insert((query.key.clone(), query.min_version), version);
            }
        }
        if behind.is_empty() {
            return Ok(Waits::new());
        }
        let _permit = self.waiting.try_acquire().map_err(|_| CallError::Overloaded)?;
        let waits = behind.into_iter().map(|((key, min_version), version)| async move {
            let waited = self.await_version((&key.0, &key.1), version, min_version, caller).await;
            ((key, min_version), waited.map_err(item_error))
        });
        Ok(join_all(waits).await.into_iter().collect())
    }

    /// The answer to one query, whose balance is settled and new enough.
    async fn result(
        &self,
        query: Query,
        balances: &Settled,
        waits: &Waits,
        caller: &Caller,
    ) -> Result<v1::Balance, Box<v1::Error>> {
        let Query { key, min_version, at } = query;
        if let Some(Err(error)) = waits.get(&(key.clone(), min_version)) {
            return Err(error.clone());
        }
        let balance = match balances.get(&key) {
            Some(Ok(balance)) => balance.as_ref(),
            Some(Err(error)) => return Err(error.clone()),
            None => None,
        };
        match (at, balance) {
            (Some(at), _) => {
                self.past_balance(balance, (&key.0, &key.1), at, caller).await.map_err(item_error)
            }
            (None, Some(balance)) => Ok(proto_balance(balance)),
            (None, None) => Ok(empty_balance(&key.0, &key.1)),
        }
    }
}

/// Two waits of one balance may bring two states of it.
fn keep_newer(balances: &mut Settled, key: &Key, balance: &StoredBalance) {
    let known = balances.get(key).and_then(|known| known.as_ref().ok()).and_then(Option::as_ref);
    if known.is_none_or(|known| known.version < balance.version) {
        balances.insert(key.clone(), Ok(Some(balance.clone())));
    }
}
