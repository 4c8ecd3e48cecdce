//! `tallystick hold`: reserves credits for a job.

use clap::Args;
use proto::v1::HoldCreditsRequest;
use time::Duration;

use crate::client::{CallError, Client, ClientArgs};
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;
use crate::settings::span;

const EXAMPLES: &str = "\
Examples:
  tallystick hold user_1 200 --ttl 10m --reference job_17
  tallystick hold user_1 200 --ttl 1h --idempotency-key job_17 --json
  tallystick capture user_1 HOLD 150 --final      use some of it, give back the rest

Held credits are not available and do not expire. A hold that is neither captured nor released
ends by itself when its time is over; `tallystick extend` gives it more.

The idempotency key names the call for ever: called again with the same key and the same
values, the command does nothing more and answers as the first time. Without --idempotency-key
a new one is made and printed on standard error.";

/// What to hold.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HoldArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// How many, in the unit's smallest step.
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    amount: i64,
    /// When the hold ends by itself, from now: 90s, 10m, 12h, up to 30d.
    #[arg(long, value_parser = span::parse_span, value_name = "SPAN")]
    ttl: Duration,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Holds.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: HoldArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(HoldCreditsRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: args.write.key(args.client.json),
        amount: args.amount,
        ttl: Some(span::duration(args.ttl)),
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer = client.service.hold_credits(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("HoldCreditsResponse", &answer));
    }
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    let done = if answer.replayed { "already held" } else { "held" };
    let hold = answer.hold.unwrap_or_default();
    output::line(&format!("{done} {} as {}: {balance}", hold.amount, output::plain::shown(&hold.hold_id)))
}
