//! `tallystick bench hold`: how many pairs of a hold and its capture the service does, and how long they take.

use clap::Args;
use proto::v1::{CaptureHoldRequest, HoldCreditsRequest};

use super::calls::{CallArgs, Caller, measure};
use super::drive::{Refusal, Work};
use crate::error::Error;

const EXAMPLES: &str = "\
Examples:
  tallystick bench hold                            100,000 accounts, 64 pairs in flight
  tallystick bench hold --accounts 1               one hot account
  tallystick bench hold --rate 1000 --duration 5m --json
                                                   how long pairs take at a given load

A pair is a hold and, once it is answered, its final capture of all that is held; it counts once,
and its latency is that of both calls together. Each account is given credits first, once for
ever; a later run finds them. A pair that is cut off between the two leaves a hold behind, which
ends by itself.";

/// How long a hold whose capture never came stays open.
const TTL: prost_types::Duration = prost_types::Duration { seconds: 60, nanos: 0 };

/// Which pairs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("json", super::json_of_bench))]
pub(crate) struct HoldArgs {
    #[command(flatten)]
    pub(super) calls: CallArgs,
    /// Do not give the accounts credits: a run before has.
    #[arg(long, help_heading = "Accounts")]
    skip_funding: bool,
}

#[derive(Clone)]
struct Pair(Caller);

impl Work for Pair {
    async fn call(&mut self, number: u64) -> Result<(), Refusal> {
        let Self(caller) = self;
        let account = caller.account(number);
        let request = caller.client.request(HoldCreditsRequest {
            account_id: account.clone(),
            unit: caller.unit(),
            idempotency_key: caller.key(number),
            amount: caller.amount,
            ttl: Some(TTL),
            ..HoldCreditsRequest::default()
        });
        let held = caller.client.service.hold_credits(request).await;
        let held = held.map_err(|status| Refusal::of(&status))?.into_inner();
        let request = caller.client.request(CaptureHoldRequest {
            account_id: account,
            unit: caller.unit(),
            idempotency_key: format!("{}-capture", caller.key(number)),
            hold_id: held.hold.unwrap_or_default().hold_id,
            amount: caller.amount,
            r#final: true,
            ..CaptureHoldRequest::default()
        });
        caller.client.service.capture_hold(request).await.map(drop).map_err(|status| Refusal::of(&status))
    }
}

/// Measures.
///
/// # Errors
/// As [`measure`].
pub(crate) async fn run(args: HoldArgs) -> Result<(), Error> {
    measure("hold", args.calls, !args.skip_funding, Pair).await
}
