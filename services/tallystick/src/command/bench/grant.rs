//! `tallystick bench grant`: how many grants the service does, and how long they take.

use clap::Args;
use proto::v1::GrantCreditsRequest;

use super::calls::{CallArgs, Caller, measure};
use super::drive::{Refusal, Work};
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  tallystick bench grant                           100,000 accounts, 64 calls in flight
  tallystick bench grant --rate 500 --json         how long answers take at a given load

Every grant makes a lot that stays: use a database that can be thrown away.";

/// Which grants.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("json", super::json_of_bench))]
pub(crate) struct GrantArgs {
    #[command(flatten)]
    pub(super) calls: CallArgs,
}

#[derive(Clone)]
struct Grant(Caller);

impl Work for Grant {
    async fn call(&mut self, number: u64) -> Result<(), Refusal> {
        let Self(caller) = self;
        let request = caller.client.request(GrantCreditsRequest {
            account_id: caller.account(number),
            unit: caller.unit(),
            idempotency_key: caller.key(number),
            amount: caller.amount,
            ..GrantCreditsRequest::default()
        });
        caller.client.service.grant_credits(request).await.map(drop).map_err(|status| Refusal::of(&status))
    }
}

/// Measures.
///
/// # Errors
/// As [`measure`].
pub(crate) async fn run(args: GrantArgs) -> Result<(), Error> {
    measure("grant", args.calls, false, Grant).await
}
