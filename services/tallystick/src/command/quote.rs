//! `tallystick quote`: what a spend would do.

use clap::Args;
use proto::v1::QuoteSpendRequest;

use crate::client::{CallError, Client, ClientArgs};
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick quote user_1 30                      which lots would pay, and what would be left
  tallystick quote user_1 30 --json

Nothing is written. Exits with 0 also when the spend would be refused; `error` says so with --json.";

/// What to try.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QuoteArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// How many, in the unit's smallest step.
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    amount: i64,
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    /// As for `spend`: take what there is when it is less.
    #[arg(long, visible_alias = "partial")]
    allow_partial: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Asks.
///
/// # Errors
/// [`Error::Call`] for a bad request or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: QuoteArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(QuoteSpendRequest {
        account_id: args.account,
        unit: args.unit,
        amount: args.amount,
        allow_partial: args.allow_partial,
    });
    let answer = client.service.quote_spend(request).await;
    let answer = answer.map_err(CallError::refused(&args.client.addr))?.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("QuoteSpendResponse", &answer));
    }
    if let Some(error) = &answer.error {
        let (reason, message) = (output::plain::shown(&error.reason), output::plain::shown(&error.message));
        return output::line(&format!("would be refused: {reason}: {message}"));
    }
    for line in &answer.lines {
        output::line(&format!(
            "{:>16}  from {}",
            -line.available_delta,
            output::plain::shown(&line.grant_id)
        ))?;
    }
    for crossing in &answer.crossed {
        output::line(&format!("                  crosses {}", output::entry::crossing(crossing)))?;
    }
    let left = output::balance::sentence(&answer.balance.unwrap_or_default());
    output::line(&format!("would spend {}; then {left}", answer.spent))
}
