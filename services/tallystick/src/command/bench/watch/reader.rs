//! One stream of `bench watch`: reads it, measures and checks what comes, and goes on in a new stream when it breaks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proto::v1::watch_credits_response::Event;
use proto::v1::{Entry, WatchCreditsRequest, WatchCreditsResponse, WatchTarget};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::super::accounts::Accounts;
use super::calls::Calls;
use super::checker::{Checker, Faults};
use super::times::Times;
use crate::client::{CallError, Client};
use crate::clock;
use crate::error::Error;

/// How long what was acknowledged may take to arrive after the load has ended.
const LAST_CALL: Duration = Duration::from_secs(10);
/// The pause before a stream that broke is opened again.
const PAUSE: Duration = Duration::from_millis(200);

/// What the readers of a run share.
pub(super) struct Shared {
    pub(super) accounts: Accounts,
    pub(super) calls: Arc<Calls>,
    /// Where the streams are read.
    pub(super) addr: String,
    /// Streams that may be opening at once.
    pub(super) opening: Semaphore,
    /// Told of every stream that has its snapshots.
    pub(super) open: mpsc::UnboundedSender<()>,
    /// The load has ended: what was acknowledged is what has to come.
    pub(super) ended: CancellationToken,
}

/// What a stream has shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) faults: Faults,
    /// Times that the stream broke.
    pub(super) reconnects: u64,
}

/// Reads the balances of one stream.
pub(super) struct Reader {
    client: Client,
    shared: Arc<Shared>,
    times: Arc<Mutex<Times>>,
    targets: Vec<(u64, Checker)>,
    places: HashMap<String, usize>,
    /// Targets without a snapshot.
    waiting: usize,
    told_open: bool,
    reconnects: u64,
}

/// How a stream ended.
enum End {
    /// All that has to come has come, or is late.
    Done,
    Broken,
}

impl Reader {
    /// For these accounts, none twice.
    pub(super) fn new(
        client: Client,
        shared: Arc<Shared>,
        times: Arc<Mutex<Times>>,
        accounts: impl Iterator<Item = u64>,
    ) -> Self {
        let targets: Vec<(u64, Checker)> = accounts.map(|account| (account, Checker::default())).collect();
        let named = targets.iter().enumerate();
        let places = named.map(|(place, (account, _))| (shared.accounts.name(*account), place)).collect();
        let waiting = targets.len();
        Self { client, shared, times, targets, places, waiting, told_open: false, reconnects: 0 }
    }

    /// Reads until the load has ended and all has come.
    ///
    /// # Errors
    /// [`Error::Call`] when the service refuses the stream for good.
    pub(super) async fn read(mut self) -> Result<Seen, Error> {
        let mut late = None;
        loop {
            match self.stream(&mut late).await {
                Ok(End::Done) => break,
                Ok(End::Broken) => {}
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
            self.reconnects += 1;
            tokio::time::sleep(PAUSE).await;
        }
        let mut faults = Faults::default();
        for (account, checker) in &self.targets {
            faults.add(checker.faults(self.shared.calls.newest(*account)));
        }
        Ok(Seen { faults, reconnects: self.reconnects })
    }

    /// One stream, from opening it to its end; `late` is when waiting for it makes no sense any more.
    async fn stream(&mut self, late: &mut Option<tokio::time::Instant>) -> Result<End, CallError> {
        let shared = Arc::clone(&self.shared);
        let mut permit = shared.opening.acquire().await.ok();
        let request = self.client.stream_request(self.request());
        let refused = || CallError::refused(&shared.addr);
        let mut service = self.client.service.clone();
        let mut stream = tokio::select! {
            opened = service.watch_credits(request) => opened.map_err(refused())?.into_inner(),
            () = is_late(&shared.ended, late) => return Ok(End::Done),
        };
        loop {
            // One that goes on after it broke has its snapshots and need not hear anything soon.
            if self.waiting == 0 {
                drop(permit.take());
                self.tell_open();
            }
            if shared.ended.is_cancelled() && self.is_complete() {
                return Ok(End::Done);
            }
            tokio::select! {
                message = stream.message() => {
                    let Some(message) = message.map_err(refused())? else { return Ok(End::Broken) };
                    self.take(&message);
                }
                () = shared.ended.cancelled(), if late.is_none() => {
                    *late = Some(tokio::time::Instant::now() + LAST_CALL);
                }
                () = is_late(&shared.ended, late) => return Ok(End::Done),
            }
        }
    }

    /// Says once that all snapshots are there.
    fn tell_open(&mut self) {
        if !std::mem::replace(&mut self.told_open, true) {
            // A run that was given up does not listen any more.
            let _ = self.shared.open.send(());
        }
    }

    fn request(&self) -> WatchCreditsRequest {
        let targets = self.targets.iter().map(|(account, checker)| WatchTarget {
            account_id: self.shared.accounts.name(*account),
            unit: self.shared.accounts.unit().to_owned(),
            after_version: checker.last(),
            ..WatchTarget::default()
        });
        WatchCreditsRequest { targets: targets.collect(), ..WatchCreditsRequest::default() }
    }

    fn is_complete(&self) -> bool {
        let newest = |account| self.shared.calls.newest(account);
        self.targets.iter().all(|(account, checker)| checker.is_complete(newest(*account)))
    }

    fn take(&mut self, message: &WatchCreditsResponse) {
        match &message.event {
            Some(Event::Snapshot(snapshot)) => {
                let Some(balance) = &snapshot.balance else { return };
                let Some(checker) = self.lookup(&balance.account_id) else { return };
                let is_first = checker.last().is_none();
                checker.snapshot(balance.version);
                self.waiting = self.waiting.saturating_sub(usize::from(is_first));
            }
            Some(Event::Changes(changes)) => {
                let (now, now_us) = (Instant::now(), clock::now_us());
                if let Some(checker) = self.lookup(&changes.account_id) {
                    changes.entries.iter().for_each(|entry| checker.entry(entry.version));
                }
                self.measure(&changes.entries, now, now_us);
            }
            Some(Event::Bookmark(_) | Event::TargetChange(_) | Event::GoAway(_)) | None => {}
        }
    }

    fn lookup(&mut self, account: &str) -> Option<&mut Checker> {
        let place = *self.places.get(account)?;
        self.targets.get_mut(place).map(|(_, checker)| checker)
    }

    fn measure(&self, entries: &[Entry], now: Instant, now_us: i64) {
        // Of times that a panic left behind, each is whole.
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            if let Some(known) = self.shared.calls.take_measured(&entry.reference, now) {
                times.take(&known, entry.recorded_at.as_ref(), now_us);
            }
        }
    }
}

/// Ready when waiting makes no sense any more, which is known once the load has ended.
async fn is_late(ended: &CancellationToken, late: &mut Option<tokio::time::Instant>) {
    ended.cancelled().await;
    let late = *late.get_or_insert_with(|| tokio::time::Instant::now() + LAST_CALL);
    tokio::time::sleep_until(late).await;
}
