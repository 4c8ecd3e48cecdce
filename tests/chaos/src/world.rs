//! Everything that runs in a run, as writers, readers and faults see it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use tonic::Status;
use tonic_types::StatusExt;

use crate::history::{Account, Hash, Recorder};
use crate::replica::Replica;
use crate::source::Source;

/// Tokens that may be given again, by any reader to any replica.
const KEPT_TOKENS: usize = 400;
/// Unit of all balances.
pub(crate) const UNIT: &str = "credits";

/// A token that some stream got.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) number: u64,
    pub(crate) bytes: Bytes,
    /// Where its stream was.
    pub(crate) places: Places,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Faults come.
    Storm,
    /// No more faults: readers stay where they are.
    Calm,
    /// No more writes.
    Written,
    /// Everything ends.
    End,
}

/// What a reader has, by account.
pub(crate) type Places = std::collections::BTreeMap<Account, (i64, Hash)>;

/// What all tasks share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) recorder: Recorder,
    pub(crate) source: Source,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) accounts: Account,
    pub(crate) phase: watch::Sender<Phase>,
    /// The reader that can be stuck is.
    pub(crate) stuck: watch::Sender<bool>,
    pub(crate) acknowledged: AtomicU64,
    numbers: AtomicU64,
    tokens: Mutex<VecDeque<Token>>,
}

impl World {
    pub(crate) fn new(
        recorder: Recorder,
        source: Source,
        replicas: Vec<Replica>,
        accounts: Account,
    ) -> Arc<Self> {
        Arc::new(Self {
            recorder,
            source,
            replicas,
            accounts,
            phase: watch::Sender::new(Phase::Storm),
            stuck: watch::Sender::new(false),
            acknowledged: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            tokens: Mutex::default(),
        })
    }

    /// A number of its own for a call, a stream or a token; from 1.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() >= phase
    }

    /// Numbers the token of a bookmark or GoAway; that of a bookmark may be given again later.
    pub(crate) fn take_token(&self, bytes: Bytes, places: Places, is_bookmark: bool) -> Token {
        let token = Token { number: self.number(), bytes, places };
        if is_bookmark && !token.bytes.is_empty() {
            let mut tokens = self.tokens();
            if tokens.len() == KEPT_TOKENS {
                tokens.pop_front();
            }
            tokens.push_back(token.clone());
        }
        token
    }

    /// One of the tokens, by chance: a number below 1. Newer ones rather than older: what they tell of may just have been
    /// lost.
    pub(crate) fn some_token(&self, chance: f64) -> Option<Token> {
        let tokens = self.tokens();
        let at = (chance.sqrt() * f64::from(u32::try_from(tokens.len()).unwrap_or(0))).floor();
        (0_u32..)
            .zip(tokens.iter())
            .find(|(index, _)| f64::from(*index) >= at)
            .map(|(_, token)| token.clone())
    }

    fn tokens(&self) -> MutexGuard<'_, VecDeque<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account as the service knows it.
pub(crate) fn account_id(account: Account) -> String {
    format!("chaos_{account}")
}

/// The account that the service speaks of.
pub(crate) fn account_of(id: &str) -> Account {
    id.strip_prefix("chaos_").and_then(|number| number.parse().ok()).unwrap_or(Account::MAX)
}

/// The reason of a status; empty when it is not the service's own.
pub(crate) fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
