//! WatchCredits: the changes of balances as a stream. Order, gaps and resuming are the relay's business; here are who
//! may watch what, how many streams there may be, and how a stream ends.

mod deliver;
mod open;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use domain::{AccountId, EntryHash, Problem, Unit};
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message as _;
use proto::v1;
use proto::v1::watch_credits_response::Event as Sent;
use relay::{
    Event, MAX_BOOKMARK_INTERVAL, MAX_TARGETS, MIN_BOOKMARK_INTERVAL, Message, Mode, Order, SnapshotReason,
    Target,
};
use tonic::{Request, Status};

use self::open::Open;
use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::proto_balance;
use crate::error::CallError;
use crate::fields::Fields;
use crate::limits::{DEFAULT_BOOKMARK_INTERVAL, MAX_SETTLING, MAX_TOKEN_BYTES};
use crate::principal::Scope;
use crate::status::item_error;

/// The stream of one reader.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<v1::WatchCreditsResponse, Status>> + Send>>;

/// Targets that are not watched, and why.
type Refused = Vec<(AccountId, Unit, CallError)>;

impl CreditRpc {
    pub(super) async fn watch(
        &self,
        request: Request<v1::WatchCreditsRequest>,
    ) -> Result<Messages, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let mut order = parse(request.into_inner())?;
        let refused = self.refuse(&mut order, &caller)?;
        if self.closing.is_cancelled() {
            return Err(CallError::ShuttingDown);
        }
        let permit = self.streams.open(&caller.principal)?;
        self.settle_due(&order.targets, &caller).await?;
        let subscription = self.relay.subscribe(order)?;
        let open = Open::new(subscription, refused, self.closing.clone(), self.stream_age, permit);
        Ok(Box::pin(futures::stream::unfold(open, |mut open| async {
            open.next().await.map(|message| (message.map_err(Status::from), open))
        })))
    }

    /// Takes out the targets that the caller may not watch: one of them costs the others nothing. When none is left, the
    /// call is refused as the first one is.
    fn refuse(&self, order: &mut Order, caller: &Caller) -> Result<Refused, CallError> {
        let mut refused = Refused::new();
        let mut kept = Vec::with_capacity(order.targets.len());
        for target in std::mem::take(&mut order.targets) {
            let checked =
                caller.require_account(&target.account).and_then(|()| self.units.require(&target.unit));
            match checked {
                Ok(()) => kept.push(target),
                Err(error) => refused.push((target.account, target.unit, error)),
            }
        }
        if kept.is_empty() {
            return Err(refused
                .into_iter()
                .next()
                .map_or(CallError::Broken("no targets"), |(_, _, error)| error));
        }
        order.targets = kept;
        Ok(refused)
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

pub(super) fn proto_message(message: Message) -> Result<v1::WatchCreditsResponse, CallError> {
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
        Message::Removed { account, unit, version, oldest } => {
            let error = CallError::HistoryNotAvailable { account: account.clone(), version, oldest };
            Sent::TargetChange(removed(&account, &unit, error))
        }
        Message::Current { account, unit } => {
            Sent::TargetChange(target_change(&account, &unit, v1::TargetChangeState::Current))
        }
        Message::Bookmark { in_sync, source_lag, resume_token } => {
            // A lag that no Duration holds is longer than any process lives.
            let source_lag = prost_types::Duration::try_from(source_lag).ok();
            Sent::Bookmark(v1::Bookmark { in_sync, source_lag, resume_token })
        }
    };
    Ok(v1::WatchCreditsResponse { event: Some(event) })
}

fn target_change(account: &AccountId, unit: &Unit, state: v1::TargetChangeState) -> v1::TargetChange {
    v1::TargetChange {
        account_id: account.to_string(),
        unit: unit.to_string(),
        state: state.into(),
        error: None,
    }
}

/// A target that is not watched, and why.
fn removed(account: &AccountId, unit: &Unit, error: CallError) -> v1::TargetChange {
    let change = target_change(account, unit, v1::TargetChangeState::Removed);
    v1::TargetChange { error: Some(*item_error(error)), ..change }
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
    let mode = match v1::WatchMode::try_from(request.mode) {
        Ok(v1::WatchMode::Unspecified | v1::WatchMode::EveryChange) => Mode::EveryChange,
        Ok(v1::WatchMode::Latest) => Mode::Latest,
        Err(_) => {
            fields.violate("mode", Problem::Rule("must be EVERY_CHANGE or LATEST, or unset"));
            Mode::default()
        }
    };
    if request.resume_token.len() > MAX_TOKEN_BYTES {
        fields.violate("resume_token", Problem::Rule("must be at most 65536 bytes"));
    }
    let resume_token = Some(request.resume_token).filter(|token| !token.is_empty());
    fields.finish(|| {
        let bookmark_interval = interval?.unwrap_or(DEFAULT_BOOKMARK_INTERVAL);
        Some(Order {
            targets,
            bookmark_interval,
            mode,
            require_history: request.require_history,
            resume_token,
            is_set: false,
        })
    })
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
