//! `tallystick reverse`: gives a spend or capture back, whole or in part.

use clap::Args;
use proto::v1::ReverseSpendRequest;

use crate::client::{CallError, Client, ClientArgs};
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick history user_1 --kind spend --json   entry_id names the spend
  tallystick reverse user_1 credits/7/9f86d081884c7d65
  tallystick reverse user_1 credits/7/9f86d081884c7d65 20 --reason 'half of it failed'

Credits go back to the lots they came from; for lots that have expired meanwhile there is a new
one. Never more comes back than was taken.

The idempotency key names the call for ever: called again with the same key and the same
values, the command does nothing more and answers as the first time. Without --idempotency-key
a new one is made and printed on standard error.";

/// What to reverse.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReverseArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The entry of the spend or capture.
    #[arg(value_name = "ENTRY")]
    entry: String,
    /// How many, in the unit's smallest step; all that is left to give back without it.
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    amount: Option<i64>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Reverses.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: ReverseArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(ReverseSpendRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: args.write.key(args.client.json),
        entry_id: args.entry,
        amount: args.amount,
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer =
        client.service.reverse_spend(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("ReverseSpendResponse", &answer));
    }
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    let done = if answer.replayed { "already reversed" } else { "reversed" };
    output::line(&format!("{done} {}: {balance}", answer.reversed))
}
