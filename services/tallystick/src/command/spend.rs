//! `tallystick spend`: takes credits from a balance, whole or not at all.

use clap::Args;
use proto::v1::SpendCreditsRequest;

use crate::client::{CallError, Client, ClientArgs};
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick spend user_1 30 --reference job_17
  tallystick spend user_1 30 --allow-partial
  tallystick spend user_1 30 --idempotency-key job_17 --json

The idempotency key names the spend for ever: called again with the same key and the same
values, the command takes nothing more and answers as the first time. Without --idempotency-key
a new one is made and printed on standard error.";

/// What to spend.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SpendArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// How many, in the unit's smallest step.
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    amount: i64,
    /// Take what there is when it is less; nothing at all is still refused.
    #[arg(long)]
    allow_partial: bool,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Spends.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: SpendArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(SpendCreditsRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: args.write.key(args.client.json),
        amount: args.amount,
        allow_partial: args.allow_partial,
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer =
        client.service.spend_credits(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("SpendCreditsResponse", &answer));
    }
    let done = if answer.replayed { "already spent" } else { "spent" };
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    output::line(&format!("{done} {}: {balance}", answer.spent))
}
