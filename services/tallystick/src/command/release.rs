//! `tallystick release`: gives a hold back to its lots.

use clap::Args;
use proto::v1::ReleaseHoldRequest;

use crate::client::{CallError, Client, ClientArgs};
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick release user_1 ho_…

What is left of the hold goes back to the lots it came from. What of them has expired meanwhile
expires now.

The idempotency key names the call for ever: called again with the same key and the same
values, the command does nothing more and answers as the first time. Without --idempotency-key
a new one is made and printed on standard error.";

/// What to release.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReleaseArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The hold.
    #[arg(value_name = "HOLD")]
    hold: String,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Releases.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: ReleaseArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(ReleaseHoldRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: args.write.key(args.client.json),
        hold_id: args.hold,
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer = client.service.release_hold(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("ReleaseHoldResponse", &answer));
    }
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    let done = if answer.replayed { "already released" } else { "released" };
    output::line(&format!("{done} {}: {balance}", answer.released))
}
