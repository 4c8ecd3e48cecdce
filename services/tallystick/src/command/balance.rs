//! `tallystick balance`: reads a balance from the primary.

use clap::Args;
use proto::v1::GetBalanceRequest;
use time::OffsetDateTime;

use crate::client::{CallError, Client, ClientArgs};
use crate::error::Error;
use crate::output;
use crate::settings::span;

const EXAMPLES: &str = "\
Examples:
  tallystick balance user_1
  tallystick balance user_1 --json
  tallystick balance user_1 --min-version 7       wait until the balance has that version
  tallystick balance user_1 --at 2027-01-31T00:00:00Z
                                                  as it was at that time

An account that never had credits has 0, at version 0.";

/// What to read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BalanceArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    /// Wait until the balance has at least this version.
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    min_version: Option<i64>,
    /// The balance as it was at this time (RFC 3339).
    #[arg(long, value_parser = span::parse_time, value_name = "TIME", conflicts_with = "min_version")]
    at: Option<OffsetDateTime>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Reads.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: BalanceArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(GetBalanceRequest {
        account_id: args.account,
        unit: args.unit,
        min_version: args.min_version,
        at: args.at.map(span::timestamp),
    });
    let answer = client.service.get_balance(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("GetBalanceResponse", &answer));
    }
    output::line(&output::balance::table(&answer.balance.unwrap_or_default()))
}
