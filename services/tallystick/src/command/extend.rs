//! `tallystick extend`: gives a hold a later end, as the heartbeat of a long job.

use clap::Args;
use proto::v1::ExtendHoldRequest;
use time::Duration;

use crate::client::{CallError, Client, ClientArgs};
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;
use crate::settings::span;

const EXAMPLES: &str = "\
Examples:
  tallystick extend user_1 ho_… --ttl 10m         ten minutes from now

A hold never gets shorter, and lives at most 30 days from its creation.

The idempotency key names the call for ever: called again with the same key and the same
values, the command does nothing more and answers as the first time. Without --idempotency-key
a new one is made and printed on standard error.";

/// What to extend.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExtendArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The hold.
    #[arg(value_name = "HOLD")]
    hold: String,
    /// Its new end, from now: 90s, 10m, 12h.
    #[arg(long, value_parser = span::parse_span, value_name = "SPAN")]
    ttl: Duration,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Extends.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: ExtendArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(ExtendHoldRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: args.write.key(args.client.json),
        hold_id: args.hold,
        ttl: Some(span::duration(args.ttl)),
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer = client.service.extend_hold(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("ExtendHoldResponse", &answer));
    }
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    let hold = answer.hold.unwrap_or_default();
    let done = if answer.replayed { "already extended" } else { "extended" };
    let ends = output::stamp::shown(hold.expires_at.as_ref());
    output::line(&format!("{done} to {ends}: {balance}"))
}
