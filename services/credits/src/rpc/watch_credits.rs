//! WatchCredits: the changes of balances as a stream. Order, gaps and resuming are the relay's business; here are who
//! may watch what, how many streams there may be, and how a stream ends. WatchCreditSet shares all of it.

mod deliver;
mod gate;
mod open;
mod order;

use std::pin::Pin;

use domain::{AccountId, Unit};
use futures::{Stream, StreamExt};
use prost::Message as _;
use proto::v1;
use proto::v1::watch_credits_response::Event as Sent;
use relay::{Event, Message, SnapshotReason};
use tonic::{Request, Status};

pub(super) use self::gate::Gate;
pub(super) use self::open::Open;
pub(super) use self::order::{Place, parse, parse_targets};
use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::proto_balance;
use crate::error::CallError;
use crate::principal::Scope;
use crate::status::item_error;
use crate::streams::StreamPermit;

/// The stream of one reader.
pub(crate) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Targets that are not watched, and why.
pub(super) type Refused = Vec<(AccountId, Unit, CallError)>;

impl CreditRpc {
    pub(super) async fn watch(
        &self,
        request: Request<v1::WatchCreditsRequest>,
    ) -> Result<Messages<v1::WatchCreditsResponse>, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let mut order = parse(request.into_inner(), Place::Call)?;
        let gate = self.gate(&caller);
        let refused = gate.refuse(&mut order.targets);
        if order.targets.is_empty() {
            return Err(first_of(refused).unwrap_or(CallError::Broken("no targets")));
        }
        let permit = self.enter(&caller)?;
        if let Some(error) = first_of(gate.settle(&mut order.targets).await?) {
            return Err(error);
        }
        let subscription = self.relay.subscribe(order)?;
        let open = Open::new("WatchCredits", subscription, refused, self.exits(), permit);
        Ok(Box::pin(
            open.into_stream()
                .map(|event| event.map(|event| v1::WatchCreditsResponse { event: Some(event) })),
        ))
    }

    /// Lets targets of this caller in.
    pub(super) fn gate(&self, caller: &Caller) -> Gate {
        Gate::new(self.store.clone(), self.units.clone(), caller.clone())
    }

    /// A place for one more stream.
    pub(super) fn enter(&self, caller: &Caller) -> Result<StreamPermit, CallError> {
        if self.closing.is_cancelled() {
            return Err(CallError::ShuttingDown);
        }
        self.streams.open(&caller.principal)
    }
}

fn first_of(refused: Refused) -> Option<CallError> {
    refused.into_iter().next().map(|(_, _, error)| error)
}

fn proto_message(message: Message, rpc: &'static str) -> Result<Sent, CallError> {
    Ok(match message {
        Message::Snapshot { balance, reason } => Sent::Snapshot(v1::Snapshot {
            balance: Some(proto_balance(&balance)),
            reason: proto_reason(reason).into(),
        }),
        Message::Changes { account, unit, events } => {
            let mut entries = events.iter().map(|event| decoded(event)).collect::<Result<Vec<_>, _>>()?;
            let _handed_over = deliver::traced(&mut entries, rpc);
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
    })
}

/// What became of a target, without an error.
pub(super) fn target_change(
    account: &AccountId,
    unit: &Unit,
    state: v1::TargetChangeState,
) -> v1::TargetChange {
    v1::TargetChange {
        account_id: account.to_string(),
        unit: unit.to_string(),
        state: state.into(),
        error: None,
    }
}

/// A target that is not watched, and why.
pub(super) fn removed(account: &AccountId, unit: &Unit, error: CallError) -> v1::TargetChange {
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
