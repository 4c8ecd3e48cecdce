//! The loop: open, read, check, tell; wait and open again.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use proto::v1::credit_service_client::CreditServiceClient;
use proto::v1::watch_credits_response::Event;
use proto::v1::{ErrorReason, TargetChangeState, WatchCreditsRequest, WatchCreditsResponse};
use tokio::time::{Instant, sleep_until};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use crate::backoff::{Backoff, bounded};
use crate::check::Places;
use crate::{Builder, Update, WatchError};

/// What the service sends by when nothing else is asked for.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

type Messages = Box<Streaming<WatchCreditsResponse>>;
type Told = Option<Result<Update, WatchError>>;

/// Follows balances until it is dropped, refused, or lied to.
pub struct Watcher {
    endpoints: Vec<Endpoint>,
    turn: usize,
    authorization: Option<MetadataValue<Ascii>>,
    places: Places,
    interval: Option<Duration>,
    token: Bytes,
    backoff: Backoff,
    state: State,
    /// The second half of a message that makes two updates.
    pending: Option<Update>,
    /// Give up when the first message does not come.
    fail_fast: bool,
    begun: bool,
    lost: bool,
    said_in_sync: bool,
    /// Unset: said, or nothing asked yet.
    stale_at: Option<Instant>,
}

enum State {
    Resting(Instant),
    Opening(BoxFuture<'static, Result<Messages, Unopened>>),
    Open(Messages),
    New,
    Ended,
}

/// Why there is no stream.
enum Unopened {
    Unreachable(String, tonic::transport::Error),
    Refused(Status),
}

enum Happened {
    Rested,
    Opened(Result<Messages, Unopened>),
    Message(Result<Option<WatchCreditsResponse>, Status>),
    Stale,
}

impl State {
    /// The next thing. Nothing is lost when the future is dropped: what is under way stays in the state.
    async fn step(&mut self) -> Happened {
        match self {
            Self::Resting(until) => {
                sleep_until(*until).await;
                Happened::Rested
            }
            Self::Opening(opening) => Happened::Opened(opening.await),
            Self::Open(messages) => Happened::Message(messages.message().await),
            Self::New => Happened::Rested,
            Self::Ended => std::future::pending().await,
        }
    }
}

impl Watcher {
    /// Begins to describe one.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        authorization: Option<MetadataValue<Ascii>>,
        places: Places,
        interval: Option<Duration>,
        fail_fast: bool,
    ) -> Self {
        Self {
            endpoints,
            turn: 0,
            authorization,
            places,
            interval,
            token: Bytes::new(),
            backoff: Backoff::new(),
            state: State::New,
            pending: None,
            fail_fast,
            begun: false,
            lost: false,
            said_in_sync: false,
            stale_at: None,
        }
    }

    /// What happens next. None after an error, and when no target is left. Cancel-safe.
    pub async fn next(&mut self) -> Told {
        if let Some(update) = self.pending.take() {
            return Some(Ok(update));
        }
        if matches!(self.state, State::New) {
            self.expect_bookmark();
        }
        while !matches!(self.state, State::Ended) {
            let stale_at = self.stale_at;
            let stale = async {
                match stale_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // What waits to be read goes first: a reader that was slow itself must not call the service stale.
            let happened = tokio::select! {
                biased;
                happened = self.state.step() => happened,
                () = stale => Happened::Stale,
            };
            let told = self.take(happened);
            if matches!(told, Some(Err(_))) {
                self.state = State::Ended;
            }
            if told.is_some() {
                return told;
            }
        }
        None
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, WatchError>> + Send {
        futures::stream::unfold(self, async |mut watcher| {
            let update = watcher.next().await?;
            Some((update, watcher))
        })
    }

    fn take(&mut self, happened: Happened) -> Told {
        match happened {
            Happened::Rested => {
                self.open();
                None
            }
            Happened::Opened(Ok(messages)) => {
                self.state = State::Open(messages);
                self.said_in_sync = false;
                std::mem::take(&mut self.lost).then_some(Ok(Update::Reconnected))
            }
            Happened::Message(Ok(Some(message))) => {
                self.begun = true;
                let told = self.message(message);
                if !matches!(told, Some(Err(_))) && matches!(self.state, State::Open(_)) {
                    self.backoff.reset();
                }
                told
            }
            Happened::Message(Ok(None)) => Some(Ok(self.lose("the service ended the stream", None))),
            Happened::Opened(Err(Unopened::Unreachable(endpoint, error))) => {
                Some(self.unreachable(endpoint, error))
            }
            Happened::Opened(Err(Unopened::Refused(status))) | Happened::Message(Err(status)) => {
                Some(self.failed(status))
            }
            Happened::Stale => {
                self.stale_at = None;
                Some(Ok(Update::Stale))
            }
        }
    }

    fn open(&mut self) {
        let message = WatchCreditsRequest {
            targets: self.places.ask(),
            resume_token: self.token.clone(),
            mode: self.places.mode().into(),
            require_history: self.places.require_history(),
            // The builder has refused what does not fit.
            bookmark_interval: self.interval.and_then(|interval| interval.try_into().ok()),
        };
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        let endpoint = self.endpoints[self.turn % self.endpoints.len()].clone();
        self.state = State::Opening(Box::pin(async move {
            let connected = endpoint.connect().await;
            let channel =
                connected.map_err(|error| Unopened::Unreachable(endpoint.uri().to_string(), error))?;
            let answer = CreditServiceClient::new(channel).watch_credits(request).await;
            Ok(Box::new(answer.map_err(Unopened::Refused)?.into_inner()))
        }));
    }

    fn message(&mut self, message: WatchCreditsResponse) -> Told {
        // A member that this version does not know is ignored.
        match message.event? {
            Event::Snapshot(snapshot) => {
                let taken = self.places.snapshot(snapshot);
                Some(taken.map(|(balance, reason)| Update::Snapshot { balance, reason }))
            }
            Event::Changes(changes) => Some(self.places.changes(&changes).map(|()| Update::Changes {
                account_id: changes.account_id,
                unit: changes.unit,
                entries: changes.entries,
            })),
            Event::Bookmark(bookmark) => {
                self.expect_bookmark();
                self.keep(&bookmark.resume_token);
                let update = Update::Bookmark {
                    in_sync: bookmark.in_sync,
                    source_lag: positive(bookmark.source_lag).unwrap_or_default(),
                    resume_token: bookmark.resume_token,
                };
                if !bookmark.in_sync || std::mem::replace(&mut self.said_in_sync, true) {
                    return Some(Ok(update));
                }
                self.pending = Some(update);
                Some(Ok(Update::InSync))
            }
            Event::TargetChange(change) if change.state() == TargetChangeState::Removed => {
                self.places.remove(&change.account_id, &change.unit);
                if self.places.is_empty() {
                    self.state = State::Ended;
                }
                let (account_id, unit, error) = (change.account_id, change.unit, change.error);
                Some(Ok(Update::Removed { account_id, unit, error }))
            }
            Event::TargetChange(_) => None,
            Event::GoAway(go_away) => {
                self.keep(&go_away.resume_token);
                self.backoff.reset();
                let after = positive(go_away.reconnect_after);
                Some(Ok(self.lose("the service asks to connect again", after)))
            }
        }
    }

    fn unreachable(
        &mut self,
        endpoint: String,
        source: tonic::transport::Error,
    ) -> Result<Update, WatchError> {
        if self.fail_fast && !self.begun {
            return Err(WatchError::Unreachable { endpoint, source });
        }
        self.failed(Status::unavailable(innermost(&source)))
    }

    fn failed(&mut self, status: Status) -> Result<Update, WatchError> {
        // Of an installation that was set up anew; the targets say themselves where they are.
        let is_of_the_token =
            |info: tonic_types::ErrorInfo| info.reason == ErrorReason::BadResumeToken.as_text();
        if !self.token.is_empty() && status.get_details_error_info().is_some_and(is_of_the_token) {
            self.token = Bytes::new();
            return Ok(self.lose("the service does not know the resume token", Some(Duration::ZERO)));
        }
        if is_permanent(status.code()) || (self.fail_fast && !self.begun) {
            return Err(WatchError::Refused(Box::new(status)));
        }
        let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let wait = self.backoff.after_failure(rand::random(), asked);
        Ok(self.lose(&format!("{:?}: {}", status.code(), status.message()), Some(wait)))
    }

    /// Rests, for as long as the service asked for or else by chance, and then takes the next endpoint.
    fn lose(&mut self, why: &str, wait: Option<Duration>) -> Update {
        let retry_in = wait.map_or_else(|| self.backoff.after_failure(rand::random(), None), bounded);
        self.state = State::Resting(Instant::now() + retry_in);
        self.turn = (self.turn + 1) % self.endpoints.len();
        self.lost = true;
        Update::Disconnected { why: why.to_owned(), retry_in }
    }

    fn keep(&mut self, token: &Bytes) {
        if !token.is_empty() {
            self.token = token.clone();
        }
    }

    fn expect_bookmark(&mut self) {
        let interval = self.interval.unwrap_or(DEFAULT_INTERVAL);
        self.stale_at = Instant::now().checked_add(interval.saturating_mul(3));
    }
}

/// What no retry changes.
fn is_permanent(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::OutOfRange
            | Code::NotFound
            | Code::Unimplemented
    )
}

fn positive(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| duration.try_into().ok())
}

/// `Connection refused`, and not the layers around it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
