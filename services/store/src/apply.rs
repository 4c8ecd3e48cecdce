//! `apply`: the only write path. One transaction for a batch of requests of many callers.
//!
//! | phase | statements | what it settles |
//! | --- | --- | --- |
//! | 1 begin | 1 | READ COMMITTED: every statement below sees what was committed before it began |
//! | 2 lock (`lock.rs`) | 1, +1 when one is not there, +2 for new accounts | `for no key update` on one row per account, sorted; the clock |
//! | 3 read (`load.rs`) | 1, +1 where something is due one day, +3 with replays, +4 with Stripe events and +1 to +9 when they are about sales, +1 a further page of lots, +1 each for holds, for entries to reverse, for lots by id | keys with their answers, lots, holds, balances |
//! | 4 decide (`decision.rs`) | 0 | pure rules, request by request, in order of arrival |
//! | 5 write (`write.rs`) | 1, +1 each for new balances, new lots, metadata, new holds, changed holds, revocations, reversals; +3 with Stripe events, +1 when keys appear, +1 for each kind of fact | set-based: journal, keys, outbox, balances and lots in one statement |
//! | 6 commit | 1 | nothing is answered before it, not even a refusal |
//!
//! The number of round trips does not grow with the batch. Lock and read never share a statement: one that waited
//! for a lock still sees every other table as it was before the wait.
//!
//! Lock order of all writers: accounts, then Stripe keys (inbox ids and natural keys, by their hash); each
//! sorted. Idempotency keys need no lock of their own, they belong to one account. No network call runs here.

mod decision;
mod load;
mod lock;
#[cfg(feature = "mutants")]
mod mutant;
mod stripe;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use domain::{
    AccountId, Action, Balance, Command, Entry, Hold, Lot, Operation, OperationId, RULE_VERSION, Timestamp,
    Unit,
};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::error::{ApplyError, COMMIT, StoreError};
use crate::ledger_log;
use crate::measure::{Measures, Phase};
use crate::policy::Policy;
use crate::quote::Loaded;
use crate::request::{Answer, Request};
use crate::stripe_event::StripeKey;
use decision::Decisions;
use stripe::StripeState;
pub(crate) use stripe::{Link, links};

/// Encodes an entry as the outbox carries it.
pub type EncodeEvent = fn(&Entry) -> Vec<u8>;

/// Whether the batch waits for accounts that others have locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Leave them out; for batches of strangers.
    Skip,
    /// Wait up to `lock_timeout`; for batches of one account, so that nobody else waits with it.
    Block,
}

/// One request of a batch, with the operation id that it will have when it is accepted.
#[derive(Debug, Clone)]
pub struct Item {
    /// The wish.
    pub request: Request,
    /// Made once per request, before the first try: a later try that finds it stored knows it for its own.
    pub operation_id: OperationId,
    /// An earlier try may be committing at this moment, its connection lost: an account that it makes is not
    /// visible yet, so its row must be waited for, also by a request that makes none.
    pub commit_tried: bool,
}

/// What became of one request of a committed batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "the large variant is the usual one")]
pub enum Outcome {
    /// Decided; to be told to the caller.
    Decided(Result<Answer, ApplyError>),
    /// Its account is locked elsewhere; try again in a batch of its own.
    Busy,
}

/// A batch that failed, and whether its commit was tried.
#[derive(Debug)]
pub struct BatchError {
    /// Why.
    pub source: StoreError,
    /// COMMIT was sent: the batch may have been applied.
    pub commit_tried: bool,
}

/// (account, unit): one balance.
pub(crate) type BalanceKey = (AccountId, Unit);

/// A stored operation with its answer.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) operation_id: OperationId,
    pub(crate) rule_version: i16,
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) grants: Vec<Lot>,
    pub(crate) hold: Option<Hold>,
}

impl Stored {
    /// The operation as it was answered.
    fn operation(&self) -> Operation {
        Operation {
            id: self.operation_id,
            entries: self.entries.clone(),
            grants: self.grants.clone(),
            hold: self.hold.clone(),
        }
    }
}

/// Everything that was read under the locks.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: Timestamp,
    pub(crate) slot: i16,
    pub(crate) accounts: BTreeMap<AccountId, lock::Account>,
    pub(crate) created: Vec<String>,
    pub(crate) balances: BTreeMap<BalanceKey, Balance>,
    /// Those that had no row when they were read.
    pub(crate) new_balances: HashSet<BalanceKey>,
    pub(crate) stored: HashMap<(AccountId, String), Stored>,
    pub(crate) stripe: StripeState,
}

/// Runs one batch in one transaction. The outcomes stand at the places of their items.
///
/// # Errors
/// [`BatchError`] when the transaction failed as a whole: nothing was written, unless `commit_tried`.
pub async fn run_batch(
    connection: &mut PgConnection,
    items: &[&Item],
    wait: Wait,
    policy: &Policy,
    measures: &Measures,
) -> Result<Vec<Outcome>, BatchError> {
    let before_commit = |source| BatchError { source, commit_tried: false };
    let begun = measures.phase(Phase::Begin, connection.begin()).await.map_err(StoreError::during("begin"));
    let mut tx = begun.map_err(before_commit)?;
    let decided = decide_in_tx(&mut tx, items, wait, policy, measures).await;
    let (outcomes, accepted) = decided.map_err(before_commit)?;
    let committed = measures.phase(Phase::Commit, tx.commit()).await.map_err(StoreError::during(COMMIT));
    committed.map_err(|source| BatchError { source, commit_tried: true })?;
    ledger_log::tell(&accepted);
    Ok(outcomes)
}

/// The outcomes; and what was accepted, when the ledger's log wants it after the commit.
async fn decide_in_tx(
    tx: &mut PgConnection,
    items: &[&Item],
    wait: Wait,
    policy: &Policy,
    measures: &Measures,
) -> Result<(Vec<Outcome>, Vec<Operation>), StoreError> {
    let wanted: BTreeSet<&AccountId> = items.iter().map(|item| item.request.account()).collect();
    let creating: BTreeSet<&AccountId> = items
        .iter()
        .filter(|item| item.commit_tried || item.request.may_create())
        .map(|item| item.request.account())
        .collect();
    #[cfg(feature = "mutants")]
    let early = mutant::early_balances_in_tx(tx, items).await?;
    let locking = lock::accounts_in_tx(tx, &wanted, &creating, wait, policy.new_accounts_are_sandbox);
    let locked = measures.phase(Phase::Lock, locking).await?;
    let mut state = measures.phase(Phase::Read, load::state_in_tx(tx, items, locked, wait, policy)).await?;
    #[cfg(feature = "mutants")]
    state.balances.extend(early);
    let mut decisions = Decisions::default();
    let mut outcomes = Vec::with_capacity(items.len());
    let deciding = async {
        for item in items {
            outcomes.push(decisions.decide(&mut state, &policy.rules, item)?);
        }
        Ok::<_, StoreError>(())
    };
    measures.phase(Phase::Decide, deciding).await?;
    measures.phase(Phase::Write, write::decisions_in_tx(tx, &state, &decisions, policy.encode)).await?;
    let accepted = if ledger_log::is_on() {
        decisions.accepted.into_iter().map(|accepted| accepted.operation).collect()
    } else {
        Vec::new()
    };
    Ok((outcomes, accepted))
}

/// The balance of one request as a batch would load it, with its account's state and time, without a lock: for trials in
/// a transaction that sees one snapshot.
pub(crate) async fn unlocked_in_tx(
    tx: &mut PgConnection,
    item: &Item,
    policy: &Policy,
) -> Result<Loaded, StoreError> {
    let account = item.request.account();
    let locked = lock::unlocked_account_in_tx(tx, account).await?;
    let state = load::state_in_tx(tx, &[item], locked, Wait::Skip, policy).await?;
    let now = lock::clock(&state.accounts, account, state.now);
    let account_state = state.accounts.get(account).map(lock::Account::state).unwrap_or_default();
    let key = (account.clone(), item.request.unit().clone());
    let mut balances = state.balances;
    let balance = balances.remove(&key).ok_or(StoreError::Broken("balance was not loaded"))?;
    Ok((balance, account_state, now))
}

impl Request {
    /// Whether an account that does not exist yet may come into being by this request.
    fn may_create(&self) -> bool {
        match self {
            Self::Command(command) => match &command.action {
                Action::Grant(_) => true,
                Action::Adjust(adjust) => adjust.delta > 0,
                _ => false,
            },
            Self::Settle { .. } => false,
            Self::Stripe(_) => true,
        }
    }
}

/// Whether a stored operation is the same wish as the command, under the rules of its first try.
pub(crate) fn is_same_wish(stored: &Stored, command: &Command) -> bool {
    stored.rule_version <= RULE_VERSION && command.fingerprint(stored.rule_version) == *stored.fingerprint
}

/// Locks an inbox id and natural keys for a writer of the inbox outside a batch, and reads the clock.
pub(crate) async fn lock_event_in_tx(
    tx: &mut PgConnection,
    event_id: &str,
    keys: &[StripeKey],
) -> Result<OffsetDateTime, StoreError> {
    stripe::lock_event_in_tx(tx, event_id, keys).await
}
