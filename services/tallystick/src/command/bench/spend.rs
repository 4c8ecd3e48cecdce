//! `tallystick bench spend`: how many spends the service does, and how long they take.

use clap::Args;
use proto::v1::SpendCreditsRequest;

use super::calls::{CallArgs, Caller, measure};
use super::drive::{Refusal, Work};
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  tallystick bench spend                           100,000 accounts, 64 calls in flight
  tallystick bench spend --accounts 1              one hot account
  tallystick bench spend --rate 2000 --duration 5m --json
                                                   how long answers take at a given load

Each account is given credits first, once for ever; a later run finds them.";

/// Which spends.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("json", super::json_of_bench))]
pub(crate) struct SpendArgs {
    #[command(flatten)]
    pub(super) calls: CallArgs,
    /// Do not give the accounts credits: a run before has.
    #[arg(long, help_heading = "Accounts")]
    skip_funding: bool,
}

#[derive(Clone)]
struct Spend(Caller);

impl Work for Spend {
    async fn call(&mut self, number: u64) -> Result<(), Refusal> {
        let Self(caller) = self;
        let request = caller.client.request(SpendCreditsRequest {
            account_id: caller.account(number),
            unit: caller.unit(),
            idempotency_key: caller.key(number),
            amount: caller.amount,
            ..SpendCreditsRequest::default()
        });
        caller.client.service.spend_credits(request).await.map(drop).map_err(|status| Refusal::of(&status))
    }
}

/// Measures.
///
/// # Errors
/// As [`measure`].
pub(crate) async fn run(args: SpendArgs) -> Result<(), Error> {
    measure("spend", args.calls, !args.skip_funding, Spend).await
}
