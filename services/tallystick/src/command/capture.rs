//! `tallystick capture`: uses credits of a hold.

use clap::Args;
use proto::v1::CaptureHoldRequest;

use crate::client::{CallError, Client, ClientArgs};
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick capture user_1 ho_… 40               use some, keep the rest held
  tallystick capture user_1 ho_… 40 --final       use some, give back the rest
  tallystick capture user_1 ho_… --final          use nothing more, give back the rest
  tallystick capture user_1 ho_… 90 --allow-overage
                                                  take what is beyond the hold from what is available

The idempotency key names the call for ever: called again with the same key and the same
values, the command does nothing more and answers as the first time. Without --idempotency-key
a new one is made and printed on standard error.";

/// What to capture.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CaptureArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The hold.
    #[arg(value_name = "HOLD")]
    hold: String,
    /// How many, in the unit's smallest step; may be left out with --final.
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true, required_unless_present = "last")]
    amount: Option<i64>,
    /// Close the hold: the rest goes back to its lots.
    #[arg(long = "final")]
    last: bool,
    /// Take what is beyond the hold from what is available, whole or not at all.
    #[arg(long)]
    allow_overage: bool,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Captures.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: CaptureArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(CaptureHoldRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: args.write.key(args.client.json),
        hold_id: args.hold,
        amount: args.amount.unwrap_or(0),
        r#final: args.last,
        allow_overage: args.allow_overage,
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer = client.service.capture_hold(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("CaptureHoldResponse", &answer));
    }
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    let done = if answer.replayed { "already captured" } else { "captured" };
    let hold = output::hold::state(&answer.hold.unwrap_or_default());
    output::line(&format!("{done} {}, hold {hold}: {balance}", answer.captured))
}
