//! WatchLedger: all changes of the ledger as a stream. Order, gaps and resuming are the relay's business; here are who may read
//! them, how many streams there may be, and how a stream ends.
//!
//! | stage | what comes next |
//! | --- | --- |
//! | live | what the relay has, until it ends the stream, the process ends, or the stream is old |
//! | leaving | GoAway with a token that covers all that was sent |
//! | left | SHUTTING_DOWN when the process ends; nothing for a stream that is old |

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use domain::{AccountId, Problem};
use futures::Stream;
use prost::Message as _;
use proto::v1;
use proto::v1::watch_ledger_response::Event as Sent;
use rand::RngExt;
use relay::{Event, Ledger, LedgerMessage, LedgerOrder, MAX_BOOKMARK_INTERVAL, MIN_BOOKMARK_INTERVAL};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::CreditRpc;
use crate::caller::Caller;
use crate::error::CallError;
use crate::fields::Fields;
use crate::limits::{DEFAULT_BOOKMARK_INTERVAL, MAX_RECONNECT_PAUSE, MAX_TOKEN_BYTES};
use crate::principal::Scope;
use crate::streams::StreamPermit;

/// The stream of one reader.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<v1::WatchLedgerResponse, Status>> + Send>>;

impl CreditRpc {
    pub(super) fn watch_all(&self, request: Request<v1::WatchLedgerRequest>) -> Result<Messages, CallError> {
        let caller = Caller::with_scope(&request, Scope::Ledger)?;
        let order = parse(request.into_inner())?;
        caller.require_prefix(&order.account_prefix)?;
        if self.closing.is_cancelled() {
            return Err(CallError::ShuttingDown);
        }
        let place = Arc::clone(&self.ledger_streams.places).try_acquire_owned();
        let place =
            place.map_err(|_| CallError::TooManyLedgerStreams { limit: self.ledger_streams.limit })?;
        let permit = self.streams.open(&caller.principal)?;
        let ledger = self.relay.watch_ledger(order)?;
        // The stream lives for `stream_age` to twice that: load that came in one moment leaves in many.
        let old_at = Instant::now() + self.stream_age + self.stream_age.mul_f64(rand::rng().random());
        let closing = self.closing.clone();
        let open = Open { ledger, closing, old_at, stage: Stage::Live, _permits: (permit, place) };
        Ok(Box::pin(futures::stream::unfold(open, |mut open| async {
            open.next().await.map(|message| (message.map_err(Status::from), open))
        })))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Live,
    /// It has said GoAway for the process.
    Left,
    Ended,
}

/// An open stream; dropping it gives its places and its connection back.
struct Open {
    ledger: Ledger,
    closing: CancellationToken,
    old_at: Instant,
    stage: Stage,
    _permits: (StreamPermit, OwnedSemaphorePermit),
}

impl Open {
    /// The next message, an error once, then nothing.
    async fn next(&mut self) -> Option<Result<v1::WatchLedgerResponse, CallError>> {
        match self.stage {
            Stage::Live => {}
            Stage::Left => {
                self.stage = Stage::Ended;
                return Some(Err(CallError::ShuttingDown));
            }
            Stage::Ended => return None,
        }
        self.stage = tokio::select! {
            biased;
            () = self.closing.cancelled() => Stage::Left,
            () = sleep_until(self.old_at) => Stage::Ended,
            next = self.ledger.next() => {
                let next = next.map(|next| next.map_err(CallError::Ledger).and_then(proto_message));
                if next.as_ref().is_none_or(Result::is_err) {
                    self.stage = Stage::Ended;
                }
                return next;
            }
        };
        let pause = MAX_RECONNECT_PAUSE.mul_f64(rand::rng().random());
        let event = Sent::GoAway(v1::GoAway {
            resume_token: self.ledger.close().unwrap_or_default(),
            reconnect_after: prost_types::Duration::try_from(pause).ok(),
        });
        Some(Ok(v1::WatchLedgerResponse { event: Some(event) }))
    }
}

fn proto_message(message: LedgerMessage) -> Result<v1::WatchLedgerResponse, CallError> {
    let event = match message {
        LedgerMessage::Entries(events) => {
            let entries = events.iter().map(decoded).collect::<Result<Vec<_>, _>>()?;
            Sent::Entries(v1::LedgerEntries { entries })
        }
        LedgerMessage::Bookmark { resume_token, source_lag } => {
            // A lag that no Duration holds is longer than any outbox keeps.
            let source_lag = prost_types::Duration::try_from(source_lag).ok();
            Sent::Bookmark(v1::LedgerBookmark { resume_token, source_lag })
        }
    };
    Ok(v1::WatchLedgerResponse { event: Some(event) })
}

fn decoded(event: &Event) -> Result<v1::Entry, CallError> {
    v1::Entry::decode(event.bytes.clone()).map_err(|_| CallError::Broken("an event is no encoded entry"))
}

fn parse(request: v1::WatchLedgerRequest) -> Result<LedgerOrder, CallError> {
    let v1::WatchLedgerRequest { resume_token, account_prefix, bookmark_interval } = request;
    let mut fields = Fields::default();
    if !account_prefix.is_empty() {
        // What accounts may begin with is what they may be.
        fields.check(AccountId::try_new(account_prefix.as_str()).map_err(|bad| bad.at("account_prefix")));
    }
    if resume_token.len() > MAX_TOKEN_BYTES {
        fields.violate("resume_token", Problem::Rule("must be at most 65536 bytes"));
    }
    let whole_s = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let range = (whole_s(MIN_BOOKMARK_INTERVAL), whole_s(MAX_BOOKMARK_INTERVAL));
    let interval = fields.span("bookmark_interval", bookmark_interval, range);
    fields.finish(|| {
        let bookmark_interval = interval?.unwrap_or(DEFAULT_BOOKMARK_INTERVAL);
        let resume_token = Some(resume_token).filter(|token| !token.is_empty());
        Some(LedgerOrder { account_prefix, bookmark_interval, resume_token })
    })
}
