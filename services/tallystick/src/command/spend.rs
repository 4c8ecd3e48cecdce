//! `tallystick spend`: takes credits from a balance, whole or not at all.

use clap::Args;
use proto::v1::SpendCreditsRequest;

use crate::client::{CallError, Client, ClientArgs};
use crate::clock;
use crate::error::Error;
use crate::output;
use crate::settings::pairs;

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
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    /// Take what there is when it is less; nothing at all is still refused.
    #[arg(long)]
    allow_partial: bool,
    /// Your own reference, such as a job.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reference: String,
    /// Words for the journal.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// A pair of your own; may be given several times.
    #[arg(long, value_parser = pairs::parse, value_name = "KEY=VALUE")]
    metadata: Vec<(String, String)>,
    /// Names this spend, so that it can be repeated safely.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Spends.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: SpendArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let key = match args.idempotency_key {
        Some(key) => key,
        None => {
            let key = clock::new_key();
            output::repeat::tell(&key, None, args.client.json);
            key
        }
    };
    let request = client.request(SpendCreditsRequest {
        account_id: args.account,
        unit: args.unit,
        idempotency_key: key,
        amount: args.amount,
        allow_partial: args.allow_partial,
        reference: args.reference,
        metadata: args.metadata.into_iter().collect(),
        reason: args.reason,
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
