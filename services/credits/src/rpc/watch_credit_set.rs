//! WatchCreditSet: WatchCredits for a reader whose balances change. The first message opens the stream; the others add and
//! remove targets, and each target is answered.

mod wishes;

use futures::StreamExt;
use proto::v1;
use proto::v1::watch_credit_set_request::Command;
use proto::v1::watch_credit_set_response::Event as Told;
use proto::v1::watch_credits_response::Event as Sent;
use tokio::time::timeout_at;
use tonic::{Request, Status, Streaming};

use self::wishes::misplaced;
pub(super) use self::wishes::{Wish, Wishes};
use super::CreditRpc;
use super::watch_credits::{Messages, Open, Place, parse, target_change};
use crate::caller::Caller;
use crate::error::CallError;
use crate::principal::Scope;

impl CreditRpc {
    pub(super) async fn watch_set(
        &self,
        request: Request<Streaming<v1::WatchCreditSetRequest>>,
    ) -> Result<Messages<v1::WatchCreditSetResponse>, Status> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let mut messages = request.into_inner();
        let first = tokio::select! {
            first = timeout_at(caller.deadline, messages.next()) => first,
            () = self.closing.cancelled() => return Err(CallError::ShuttingDown.into()),
        };
        let first = first.map_err(|_| CallError::DeadlinePassed)?.transpose()?;
        let Some(Command::Open(first)) = first.and_then(|first| first.command) else {
            return Err(misplaced("the first message must be open").into());
        };
        let mut order = parse(first, Place::Set("open"))?;
        let gate = self.gate(&caller);
        let mut refused = gate.refuse(&mut order.targets);
        let permit = self.enter(&caller)?;
        refused.extend(gate.settle(&mut order.targets).await?);
        let added = |target: &relay::Target| {
            target_change(&target.account, &target.unit, v1::TargetChangeState::Added)
        };
        let answers = order.targets.iter().map(added).collect();
        let subscription = self.relay.subscribe(order).map_err(CallError::from)?;
        let open = Open::new("WatchCreditSet", subscription, refused, self.exits(), permit)
            .hearing(answers, Wishes::new(messages, gate));
        Ok(Box::pin(
            open.into_stream()
                .map(|event| event.map(|event| v1::WatchCreditSetResponse { event: Some(told(event)) })),
        ))
    }
}

/// The same member, by its number.
fn told(sent: Sent) -> Told {
    match sent {
        Sent::Snapshot(snapshot) => Told::Snapshot(snapshot),
        Sent::Changes(changes) => Told::Changes(changes),
        Sent::Bookmark(bookmark) => Told::Bookmark(bookmark),
        Sent::TargetChange(change) => Told::TargetChange(change),
        Sent::GoAway(away) => Told::GoAway(away),
    }
}
