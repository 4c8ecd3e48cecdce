//! `tallystick adjust`: corrects a balance by hand.

use clap::Args;
use proto::v1::AdjustCreditsRequest;
use time::OffsetDateTime;

use crate::client::{CallError, Client, ClientArgs};
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;
use crate::settings::span;

const EXAMPLES: &str = "\
Examples:
  tallystick adjust user_1 50 --reason 'ticket 4711'
  tallystick adjust user_1 -50 --reason 'granted twice by hand'

Adding makes a lot of kind adjustment; taking burns lots in their order, or is refused whole. A
reason is required, and the credential needs the scope adjust.

The idempotency key names the call for ever: called again with the same key and the same
values, the command does nothing more and answers as the first time. Without --idempotency-key
a new one is made and printed on standard error.";

/// What to adjust.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, mut_arg("reason", required))]
pub(crate) struct AdjustArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Credits to add, or with a minus to take, in the unit's smallest step.
    #[arg(value_name = "DELTA", allow_negative_numbers = true)]
    delta: i64,
    /// When what was added ends (RFC 3339); never without it.
    #[arg(long, value_parser = span::parse_time, value_name = "TIME")]
    expires_at: Option<OffsetDateTime>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// A correction must say why.
fn required(reason: clap::Arg) -> clap::Arg {
    reason.default_value(None::<&str>).required(true)
}

/// Adjusts.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: AdjustArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(AdjustCreditsRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: args.write.key(args.client.json),
        delta: args.delta,
        expires_at: args.expires_at.map(span::timestamp),
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer =
        client.service.adjust_credits(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("AdjustCreditsResponse", &answer));
    }
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    let done = if answer.replayed { "already adjusted by" } else { "adjusted by" };
    output::line(&format!("{done} {:+}: {balance}", args.delta))
}
