//! All changes of the ledger, for one reader who projects them: steps from snapshot to snapshot (`store::feed`), told as messages
//! and tokens.
//!
//! Promises: every change that is committed after the reader's token comes at least once, and within one stream exactly once;
//! the versions of a balance come in order, without a gap; operations come whole. What cannot be promised any more ends
//! the stream with [`LedgerError::Compacted`]. Memory is bounded by one page, and a reader who does not read holds no
//! transaction, snapshot or lock.
//!
//! | step of [`Ledger::next`] | what it settles |
//! | --- | --- |
//! | 1 ready | a bookmark that is due, else the next operations of the page |
//! | 2 attach | a connection of its own, and whether the outbox goes on from where the reader is |
//! | 3 ahead | where the next step leads; while nothing has changed, wait for a commit, a hint or the time |
//! | 4 page | some rows of the step |
//!
//! Where the reader is, is decided by what was given out alone: so [`Ledger::next`] may be dropped at any await, and a lost
//! connection costs a new one.
//!
//! Must not know: gRPC, who the reader is, and what an event says.

mod token;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Timestamp;
use store::feed::{Ahead, Feed, FeedError};
use store::{Position, Store, StoreError, TokenKey};
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::token::{Place, Step, origin_of};
use crate::event::Event;
use crate::limits::{
    CONNECT_TIMEOUT, LEDGER_GAP, LEDGER_POLL, MAX_CHANGES_BYTES, MAX_LEDGER_ENTRIES, POLL_TIMEOUT,
};
use crate::measure::Measures;
use crate::pause::Pause;
use crate::wake::Hints;

/// What a reader of the ledger asks for. The caller has checked its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerOrder {
    /// Only accounts that begin with this.
    pub account_prefix: String,
    /// Time between bookmarks.
    pub bookmark_interval: Duration,
    /// Where to go on; none: from now.
    pub resume_token: Option<Bytes>,
}

/// One message to the reader.
#[derive(Debug, Clone)]
pub enum LedgerMessage {
    /// Whole operations of any balances.
    Entries(Vec<Event>),
    /// Everything up to the token was sent. Without a token to resume from, the first message.
    Bookmark {
        /// Resumes behind all that was sent.
        resume_token: Bytes,
        /// Age of the newest moment of which everything was sent.
        source_lag: Duration,
    },
}

/// Why a stream of the ledger ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The token was not made by this installation or for this prefix, or was changed.
    #[error("the resume token is not of this installation")]
    BadResumeToken,
    /// What lies between the reader and now may be gone, or the reader's token is of another history.
    #[error("changes are kept since {oldest:?}")]
    Compacted {
        /// No token from before it can be used.
        oldest: Timestamp,
    },
    /// More transactions are in progress than a token can hold.
    #[error("too many transactions are in progress")]
    TooManyInProgress,
    /// The relay is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// The ledger could not be read; not for lost connections, which are tried again.
    #[error("the ledger could not be read")]
    Store(#[source] Arc<StoreError>),
}

/// What a stream draws from.
pub(crate) struct Sources {
    pub(crate) store: Store,
    /// Read once in a process.
    pub(crate) token_key: Arc<OnceCell<TokenKey>>,
    pub(crate) hints: watch::Receiver<Hints>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) measures: Measures,
}

/// A stream of the ledger; gone when dropped.
pub struct Ledger {
    sources: Sources,
    committed: watch::Receiver<u64>,
    order: LedgerOrder,
    /// Where the reader is; none before the first contact with the database.
    place: Option<Place>,
    /// A connection on which the place is known to be good.
    feed: Option<Feed>,
    /// Rows of the step that were read and not given out, and whether the step has no more.
    page: VecDeque<Event>,
    page_is_last: bool,
    next_bookmark: Instant,
    /// The database's time when it was last asked; none once a bookmark has told it.
    heard: Option<(Timestamp, Instant)>,
    pause: Pause,
    has_ended: bool,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Why there is no step ahead for now.
enum Failed {
    /// Try again on a new connection.
    Lost(Arc<StoreError>),
    /// The end.
    Ended(LedgerError),
}

impl From<FeedError> for Failed {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Compacted { oldest } => Self::Ended(LedgerError::Compacted { oldest }),
            FeedError::TooManyInProgress => Self::Ended(LedgerError::TooManyInProgress),
            // Another server has the name soon, or this one is promoted.
            FeedError::Standby => Self::Lost(Arc::new(StoreError::Broken("the server is a standby"))),
            FeedError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        let is_transient = error.is_transient();
        let error = Arc::new(error);
        if is_transient { Self::Lost(error) } else { Self::Ended(LedgerError::Store(error)) }
    }
}

impl Ledger {
    pub(crate) fn new(sources: Sources, order: LedgerOrder) -> Self {
        let now = Instant::now();
        let is_new = order.resume_token.is_none();
        Self {
            committed: sources.store.committed(),
            sources,
            // Who comes without a token gets one at once.
            next_bookmark: if is_new { now } else { now + order.bookmark_interval },
            order,
            place: None,
            feed: None,
            page: VecDeque::new(),
            page_is_last: false,
            heard: None,
            pause: Pause::default(),
            has_ended: false,
        }
    }

    /// The next message, an error once, then nothing.
    pub async fn next(&mut self) -> Option<Result<LedgerMessage, LedgerError>> {
        while !self.has_ended {
            if let Some(message) = self.ready() {
                if let LedgerMessage::Entries(events) = &message {
                    self.sources.measures.ledger_sent(events.len());
                }
                return Some(Ok(message));
            }
            let shutdown = self.sources.shutdown.clone();
            let failed = tokio::select! {
                advanced = self.advance() => match advanced {
                    Ok(()) => continue,
                    Err(failed) => failed,
                },
                () = shutdown.cancelled() => Failed::Ended(LedgerError::Stopping),
            };
            match failed {
                Failed::Ended(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
                Failed::Lost(error) => {
                    tracing::debug!(
                        error = &*error as &dyn std::error::Error,
                        "a ledger stream connects anew"
                    );
                    tokio::select! {
                        () = tokio::time::sleep(self.pause.next()) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
            }
        }
        None
    }

    /// Resumes behind all that [`Ledger::next`] has given, and ends the stream. None before a first bookmark was due.
    pub fn close(&mut self) -> Option<Bytes> {
        self.has_ended = true;
        match &self.place {
            // A token that was not looked at yet still says where the reader is.
            None => self.order.resume_token.take(),
            Some(place) => token::seal(self.sources.token_key.get()?, &self.order.account_prefix, place),
        }
    }

    /// What is there already.
    fn ready(&mut self) -> Option<LedgerMessage> {
        if let Some(bookmark) = self.bookmark() {
            return Some(bookmark);
        }
        let (mut events, mut bytes) = (Vec::new(), 0_usize);
        while let Some(event) = self.page.pop_front() {
            bytes = bytes.saturating_add(event.bytes.len());
            let ends_operation = event.ends_operation();
            events.push(event);
            if ends_operation && (bytes >= MAX_CHANGES_BYTES || events.len() >= MAX_LEDGER_ENTRIES) {
                break;
            }
        }
        let given = events.last().map(|last| Position {
            account_id: last.account.to_string(),
            unit: last.unit.to_string(),
            version: last.version,
        });
        self.given(given);
        (!events.is_empty()).then_some(LedgerMessage::Entries(events))
    }

    /// The place after what was given out, which is the next snapshot once its step is over.
    fn given(&mut self, last: Option<Position>) {
        let Some(place) = &mut self.place else { return };
        let Some(step) = &mut place.step else { return };
        if let Some(last) = last {
            step.after = last;
        }
        if self.page.is_empty() && self.page_is_last {
            place.from = step.to.clone();
            place.step = None;
            self.page_is_last = false;
        }
    }

    /// A bookmark that is due; only where the database was heard of since the last one, so that they stop with it.
    fn bookmark(&mut self) -> Option<LedgerMessage> {
        let now = Instant::now();
        let place = self.place.as_ref().filter(|_| now >= self.next_bookmark)?;
        let (database_time, heard_at) = self.heard?;
        let resume_token = token::seal(self.sources.token_key.get()?, &self.order.account_prefix, place)?;
        let behind_us = database_time.micros().saturating_sub(place.from.at.micros());
        let behind = Duration::from_micros(u64::try_from(behind_us).unwrap_or(0));
        self.heard = None;
        self.next_bookmark = now + self.order.bookmark_interval;
        let source_lag = behind.saturating_add(now.saturating_duration_since(heard_at));
        Some(LedgerMessage::Bookmark { resume_token, source_lag })
    }

    /// One thing that brings messages nearer. Nothing of the page is left.
    async fn advance(&mut self) -> Result<(), Failed> {
        let key = *self.sources.token_key.get_or_try_init(|| self.sources.store.token_key()).await?;
        let began = Instant::now();
        let feed = match self.feed.take() {
            Some(feed) => feed,
            None => self.attach(&key).await?,
        };
        let Some(place) = &mut self.place else { return Ok(()) };
        let Some(step) = &place.step else {
            // Before the look: what is committed after it wakes the wait.
            self.committed.borrow_and_update();
            self.sources.hints.borrow_and_update();
            let (feed, Ahead { target, now }) =
                in_time(POLL_TIMEOUT, feed.ahead(&place.from.snapshot)).await?;
            self.feed = Some(feed);
            self.heard = Some((now, Instant::now()));
            self.pause.reset();
            match target {
                Some(to) => place.step = Some(Step { to, after: Position::default() }),
                None => {
                    place.from.at = now;
                    self.wait(began).await;
                }
            }
            return Ok(());
        };
        let page =
            feed.page(&place.from.snapshot, &step.to.snapshot, &step.after, &self.order.account_prefix);
        let (feed, page) = in_time(POLL_TIMEOUT, page).await?;
        self.feed = Some(feed);
        self.pause.reset();
        self.page = page.rows.into_iter().map(Event::from).collect();
        self.page_is_last = page.is_last;
        self.heard = Some((page.now, Instant::now()));
        Ok(())
    }

    /// A connection that goes on from where the reader is: asked on every new one, which may lead to another server.
    async fn attach(&mut self, key: &TokenKey) -> Result<Feed, Failed> {
        let prefix = &self.order.account_prefix;
        let resumed = match (&self.place, &self.order.resume_token) {
            (Some(place), _) => Some(place.clone()),
            (None, Some(token)) => {
                let opened = token::open(key, prefix, token);
                Some(opened.ok_or(Failed::Ended(LedgerError::BadResumeToken))?)
            }
            (None, None) => None,
        };
        let feed = in_time(CONNECT_TIMEOUT, Feed::connect(self.sources.store.connect_options())).await?;
        let Some(place) = resumed else {
            let (feed, from) = in_time(POLL_TIMEOUT, feed.now()).await?;
            self.heard = Some((from.at, Instant::now()));
            self.place = Some(Place { origin: origin_of(feed.origin()), from, step: None });
            return Ok(feed);
        };
        if place.origin != origin_of(feed.origin()) {
            return Err(feed.another_history().await.into());
        }
        let (feed, now) = in_time(POLL_TIMEOUT, feed.goes_on_from(&place.from.snapshot)).await?;
        self.heard = Some((now, Instant::now()));
        self.place = Some(place);
        Ok(feed)
    }

    /// Until a look is worth it: a commit here, a hint from elsewhere, or the time is up.
    async fn wait(&mut self, began: Instant) {
        sleep_until(began + LEDGER_GAP).await;
        tokio::select! {
            Ok(()) = self.committed.changed() => {}
            Ok(()) = self.sources.hints.changed() => {}
            () = sleep_until(began + LEDGER_POLL) => {}
        }
    }
}

async fn in_time<T>(limit: Duration, call: impl Future<Output = Result<T, FeedError>>) -> Result<T, Failed> {
    match timeout(limit, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failed::Lost(Arc::new(StoreError::Broken("no answer in time")))),
    }
}
