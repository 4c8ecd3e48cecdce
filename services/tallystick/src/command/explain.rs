//! `tallystick explain`: where a balance comes from.

use clap::Args;
use proto::v1::ExplainBalanceRequest;

use crate::client::{CallError, Client, ClientArgs};
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick explain user_1
  tallystick explain user_1 --json

The terms sum to what the balance has (available, held and scheduled) less what it owes. The
whole journal is read: a second for a million entries, about.";

/// What to explain.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Explains.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: ExplainArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(ExplainBalanceRequest { account_id: args.account, unit: args.unit });
    let answer = client.service.explain_balance(request).await;
    let answer = answer.map_err(CallError::refused(&args.client.addr))?.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("ExplainBalanceResponse", &answer));
    }
    for term in &answer.terms {
        output::line(&output::term::row(term))?;
    }
    let balance = answer.balance.unwrap_or_default();
    output::line(&output::term::sum(&balance))?;
    output::line(&output::plain::shown(&answer.text))
}
