//! QuoteSpend: a spend on trial, which writes nothing.

use domain::{Action, Command, Context, IdempotencyKey, Spend};
use proto::v1::{Balance, QuoteSpendRequest, QuoteSpendResponse};
use store::{ApplyError, Quote};
use tonic::Request;

use super::CreditRpc;
use crate::caller::Caller;
use crate::encode::{figures, proto_crossing, proto_line, proto_timestamp};
use crate::error::CallError;
use crate::fields::Fields;
use crate::principal::Scope;
use crate::status::item_error;

impl CreditRpc {
    pub(super) async fn quote(
        &self,
        request: Request<QuoteSpendRequest>,
    ) -> Result<QuoteSpendResponse, CallError> {
        let caller = Caller::with_scope(&request, Scope::Read)?;
        let command = quote_command(request.into_inner())?;
        self.require(&command, &caller)?;
        let quote = caller.in_time(self.store.quote(&command)).await?;
        Ok(quoted(quote))
    }
}

fn quoted(quote: Quote) -> QuoteSpendResponse {
    let Quote { balance, outcome, settled } = quote;
    let left = |after| Balance {
        account_id: balance.account.to_string(),
        unit: balance.unit.to_string(),
        version: balance.version,
        entry_hash: if balance.version == 0 { Vec::new() } else { balance.hash.0.to_vec() }.into(),
        updated_at: balance.last_effective_at.map(proto_timestamp),
        ..figures(after)
    };
    match outcome {
        Ok(operation) => {
            let (own, last) = (operation.entries.first(), operation.entries.last());
            QuoteSpendResponse {
                balance: Some(left(last.map_or(settled, |entry| entry.after))),
                spent: own.map_or(0, |entry| entry.delta.available.saturating_neg()),
                lines: own.map(|entry| entry.lines.iter().map(proto_line).collect()).unwrap_or_default(),
                crossed: own
                    .map(|entry| entry.crossed.iter().map(proto_crossing).collect())
                    .unwrap_or_default(),
                error: None,
            }
        }
        Err(denied) => {
            let refusal =
                CallError::of(balance.account.clone(), balance.unit.clone())(ApplyError::Denied(denied));
            QuoteSpendResponse {
                balance: Some(left(settled)),
                error: Some(*item_error(refusal)),
                ..QuoteSpendResponse::default()
            }
        }
    }
}

fn quote_command(request: QuoteSpendRequest) -> Result<Command, CallError> {
    let mut fields = Fields::default();
    let account = fields.account(request.account_id);
    let unit = fields.unit(request.unit);
    let amount = fields.amount(request.amount);
    // Never looked up, since nothing is written.
    let key = fields.check(IdempotencyKey::try_new("quote"));
    let allow_partial = request.allow_partial;
    let command = fields.finish(|| {
        let action = Action::Spend(Spend { amount: amount?, allow_partial });
        Some(Command::try_new(account?, unit?, key?, Context::default(), action))
    })?;
    Ok(command?)
}
