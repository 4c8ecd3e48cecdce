//! WatchCredits: the changes of balances as a stream. Order, gaps and resuming are the relay's business; here are who
//! may watch what, how many streams there may be, and how a stream ends.

mod deliver;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use domain::{AccountId, EntryHash, Problem, Unit};
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message as _;
use proto::v1;
use proto::v1::watch_credits_response::Event as Sent;
use relay::{
    Event, MAX_BOOKMARK_INTERVAL, MAX_TARGETS, MIN_BOOKMARK_INTERVAL, Message, SnapshotReason, Target,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::proto_balance;
use crate::error::CallError;
use crate::fields::Fields;
use crate::limits::{DEFAULT_BOOKMARK_INTERVAL, MAX_SETTLING};
use crate::principal::Scope;
use crate::streams::StreamPermit;

/// The stream of one reader.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<v1::WatchCreditsResponse, Status>> + Send>>;

/// What a reader asks for.
struct Order {
    targets: Vec<Target>,
    bookmark_interval: Duration,
}

/// An open stream; dropping it gives its permit back.
struct Open {
    subscription: relay::Subscription,
    closing: CancellationToken,
    has_ended: bool,
    _permit: StreamPermit,
}

impl CreditRpc {
    pub(super) async fn watch(
        &self,
        request: Request<v1::WatchCreditsRequest>,
    ) -> Result<Messages, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let Order { targets, bookmark_interval } = parse(request.into_inner())?;
        for target in &targets {
            caller.require_account(&target.account)?;
        }
        for target in &targets {
            self.units.require(&target.unit)?;
        }
        if self.closing.is_cancelled() {
            return Err(CallError::ShuttingDown);
        }
        let permit = self.streams.open(&caller.principal)?;
        self.settle_due(&targets, &caller).await?;
        let subscription = self.relay.subscribe(targets, bookmark_interval)?;
        let closing = self.closing.clone();
        let open = Open { subscription, closing, has_ended: false, _permit: permit };
        Ok(Box::pin(futures::stream::unfold(open, |mut open| async {
            open.next().await.map(|message| (message.map_err(Status::from), open))
        })))
    }

    /// Commits what is due of the targets, so that no first state shows credits that time has taken.
    async fn settle_due(&self, targets: &[Target], caller: &Caller) -> Result<(), CallError> {
        let keys: Vec<(AccountId, Unit)> =
            targets.iter().map(|target| (target.account.clone(), target.unit.clone())).collect();
        let balances = self.read_balances(&keys, caller).await?;
        let due = balances.into_iter().filter(|balance| balance.is_due).map(|balance| async move {
            let settled =
                self.store.settle(balance.account.clone(), balance.unit.clone(), caller.deadline).await;
            settled.map_err(CallError::of(balance.account, balance.unit))
        });
        futures::stream::iter(due).buffer_unordered(MAX_SETTLING).try_collect().await
    }
}

impl Open {
    /// The next message, an error once, then nothing.
    async fn next(&mut self) -> Option<Result<v1::WatchCreditsResponse, CallError>> {
        if self.has_ended {
            return None;
        }
        let next = tokio::select! {
            biased;
            () = self.closing.cancelled() => Some(Err(CallError::ShuttingDown)),
            next = self.subscription.next() => {
                next.map(|next| next.map_err(CallError::Subscription).and_then(proto_message))
            }
        };
        self.has_ended = next.as_ref().is_none_or(Result::is_err);
        next
    }
}

fn proto_message(message: Message) -> Result<v1::WatchCreditsResponse, CallError> {
    let event = match message {
        Message::Snapshot { balance, reason } => Sent::Snapshot(v1::Snapshot {
            balance: Some(proto_balance(&balance)),
            reason: proto_reason(reason).into(),
        }),
        Message::Changes { account, unit, events } => {
            let mut entries = events.iter().map(|event| decoded(event)).collect::<Result<Vec<_>, _>>()?;
            let _handed_over = deliver::traced(&mut entries);
            Sent::Changes(v1::Changes { account_id: account.to_string(), unit: unit.to_string(), entries })
        }
        Message::Bookmark { in_sync, source_lag } => {
            // A lag that no Duration holds is longer than any process lives.
            let source_lag = prost_types::Duration::try_from(source_lag).ok();
            Sent::Bookmark(v1::Bookmark { in_sync, source_lag })
        }
    };
    Ok(v1::WatchCreditsResponse { event: Some(event) })
}

fn decoded(event: &Event) -> Result<v1::Entry, CallError> {
    v1::Entry::decode(event.bytes.clone()).map_err(|_| CallError::Broken("an event is no encoded entry"))
}

const fn proto_reason(reason: SnapshotReason) -> v1::SnapshotReason {
    match reason {
        SnapshotReason::Initial => v1::SnapshotReason::Initial,
        SnapshotReason::ResetTooOld => v1::SnapshotReason::ResetTooOld,
        SnapshotReason::ResetDiverged => v1::SnapshotReason::ResetDiverged,
        SnapshotReason::Conflated => v1::SnapshotReason::Conflated,
    }
}

fn parse(request: v1::WatchCreditsRequest) -> Result<Order, CallError> {
    let mut fields = Fields::default();
    let count = request.targets.len();
    fields.count("targets", count, MAX_TARGETS);
    let mut seen = BTreeSet::new();
    let mut targets = Vec::with_capacity(count.min(MAX_TARGETS));
    for (index, target) in request.targets.into_iter().take(MAX_TARGETS).enumerate() {
        fields.enter("targets", index);
        let Some(target) = parse_target(&mut fields, target) else { continue };
        if !seen.insert((target.account.clone(), target.unit.clone())) {
            fields.leave();
            let problem = Problem::Rule("must not name a balance that an earlier target names");
            fields.violate(&format!("targets[{index}]"), problem);
        }
        targets.push(target);
    }
    fields.leave();
    let whole_s = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let range = (whole_s(MIN_BOOKMARK_INTERVAL), whole_s(MAX_BOOKMARK_INTERVAL));
    let interval = fields.span("bookmark_interval", request.bookmark_interval, range);
    fields
        .finish(|| Some(Order { targets, bookmark_interval: interval?.unwrap_or(DEFAULT_BOOKMARK_INTERVAL) }))
}

fn parse_target(fields: &mut Fields, target: v1::WatchTarget) -> Option<Target> {
    let account = fields.account(target.account_id);
    let unit = fields.unit(target.unit);
    let after_version = match target.after_version {
        None => Some(None),
        Some(version) => fields.range("after_version", version, 0, i64::MAX).map(Some),
    };
    let after_hash = if target.after_hash.is_empty() {
        Some(None)
    } else {
        let hash = <[u8; 32]>::try_from(&target.after_hash[..]).ok();
        let hash = hash.filter(|_| target.after_version.is_some_and(|version| version > 0));
        if hash.is_none() {
            let rule = "must be the 32 bytes of the entry at after_version, or empty";
            fields.violate("after_hash", Problem::Rule(rule));
        }
        hash.map(|hash| Some(EntryHash(hash)))
    };
    Some(Target { account: account?, unit: unit?, after_version: after_version?, after_hash: after_hash? })
}
