//! The heads of balances, read for many streams at once: after a mass reconnect thousands of streams ask in the
//! same moment, and get their answers out of a few large reads.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use domain::{AccountId, EntryHash, Figures, Timestamp, Unit};
use store::{Store, StoreError, StoredBalance};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{HEADS_PER_READ, READS_AT_ONCE, WAITING_HEADS};

/// A balance to read, and the version whose hash is wanted with it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) account: AccountId,
    pub(crate) unit: Unit,
    /// 0: none.
    pub(crate) version: i64,
}

/// A balance as it is, zero when it has no entries, and what the journal has at the wanted version.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) balance: StoredBalance,
    pub(crate) hash_at: Option<EntryHash>,
}

type Answer = Result<Vec<Head>, Arc<StoreError>>;

#[derive(Debug)]
struct Ask {
    wanted: Vec<Wanted>,
    answer: oneshot::Sender<Answer>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoHeads {
    Store(Arc<StoreError>),
    Stopping,
}

/// Where streams ask.
#[derive(Debug, Clone)]
pub(crate) struct Heads(mpsc::Sender<Ask>);

impl Heads {
    /// Starts the reader.
    pub(crate) fn spawn(store: Store, tasks: &TaskTracker, shutdown: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_HEADS);
        tasks.spawn(serve(store, receiver, tasks.clone(), shutdown));
        Self(sender)
    }

    /// Reads the balances, at a moment after the call, from the primary. At most [`HEADS_PER_READ`].
    pub(crate) async fn read(&self, wanted: Vec<Wanted>) -> Result<Vec<Head>, NoHeads> {
        let (answer, receiver) = oneshot::channel();
        self.0.send(Ask { wanted, answer }).await.map_err(|_| NoHeads::Stopping)?;
        receiver.await.map_err(|_| NoHeads::Stopping)?.map_err(NoHeads::Store)
    }
}

/// Takes what is queued, up to a full read, whenever a reader is free: no artificial delay.
async fn serve(store: Store, mut asks: mpsc::Receiver<Ask>, tasks: TaskTracker, shutdown: CancellationToken) {
    let readers = Arc::new(Semaphore::new(READS_AT_ONCE));
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(ask) => ask,
            None => tokio::select! {
                ask = asks.recv() => match ask { Some(ask) => ask, None => return },
                () = shutdown.cancelled() => return,
            },
        };
        let Ok(permit) = Arc::clone(&readers).acquire_owned().await else { return };
        let mut keys = first.wanted.len();
        let mut batch = vec![first];
        while let Ok(ask) = asks.try_recv() {
            keys = keys.saturating_add(ask.wanted.len());
            if keys > HEADS_PER_READ {
                next = Some(ask);
                break;
            }
            batch.push(ask);
        }
        let store = store.clone();
        tasks.spawn(async move {
            answer(&store, batch).await;
            drop(permit);
        });
    }
}

async fn answer(store: &Store, batch: Vec<Ask>) {
    // A stream that has gone needs no answer.
    let batch: Vec<Ask> = batch.into_iter().filter(|ask| !ask.answer.is_closed()).collect();
    let read = read(store, &batch).await.map_err(Arc::new);
    if let Err(error) = &read {
        tracing::debug!(error = error as &dyn std::error::Error, streams = batch.len(), "heads not read");
    }
    for ask in batch {
        let heads = match &read {
            Ok(found) => Ok(ask.wanted.iter().map(|wanted| found.head(wanted)).collect()),
            Err(error) => Err(Arc::clone(error)),
        };
        // The stream may have gone meanwhile.
        let _ = ask.answer.send(heads);
    }
}

struct Found {
    balances: HashMap<(AccountId, Unit), StoredBalance>,
    hashes: HashMap<(AccountId, Unit, i64), EntryHash>,
}

impl Found {
    fn head(&self, wanted: &Wanted) -> Head {
        let key = (wanted.account.clone(), wanted.unit.clone());
        let balance = self.balances.get(&key).cloned();
        let hash_at = self.hashes.get(&(key.0.clone(), key.1.clone(), wanted.version)).copied();
        Head { balance: balance.unwrap_or_else(|| zero(key.0, key.1)), hash_at }
    }
}

async fn read(store: &Store, batch: &[Ask]) -> Result<Found, StoreError> {
    let wanted = || batch.iter().flat_map(|ask| &ask.wanted);
    let keys: BTreeSet<_> = wanted().map(|w| (w.account.clone(), w.unit.clone())).collect();
    let versions: BTreeSet<_> =
        wanted().filter(|w| w.version > 0).map(|w| (w.account.clone(), w.unit.clone(), w.version)).collect();
    let hashes = if versions.is_empty() {
        HashMap::new()
    } else {
        let versions: Vec<_> = versions.into_iter().collect();
        store.entry_hashes(&versions).await?.into_iter().collect()
    };
    let keys: Vec<_> = keys.into_iter().collect();
    let balances = store.balances(&keys).await?;
    let balances = balances.into_iter().map(|b| ((b.account.clone(), b.unit.clone()), b)).collect();
    Ok(Found { balances, hashes })
}

/// A balance without entries.
fn zero(account: AccountId, unit: Unit) -> StoredBalance {
    StoredBalance {
        account,
        unit,
        figures: Figures::default(),
        version: 0,
        hash: EntryHash::default(),
        next_due_at: None,
        last_effective_at: Timestamp::from_micros(0),
        is_due: false,
    }
}
