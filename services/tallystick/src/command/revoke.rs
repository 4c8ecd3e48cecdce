//! `tallystick revoke`: takes a grant back, or undoes that.

use clap::Args;
use clap::ValueEnum;
use proto::v1::{RevokeGrantRequest, ShortfallPolicy};

use crate::client::{CallError, Client, ClientArgs};
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  tallystick revoke user_1 gr_… 1000              the whole purchase was refunded
  tallystick revoke user_1 gr_… 250               a quarter of it
  tallystick revoke user_1 gr_… 0                 the refund failed: give everything back
  tallystick revoke user_1 gr_… 1000 --shortfall forgiven

REVOKED is how much of the grant is revoked afterwards, not by how much it changes. What is no
longer in the lot is owed (taken from the other lots, then debt that later credits repay) or
forgiven.

The idempotency key names the call for ever: called again with the same key and the same
values, the command does nothing more and answers as the first time. Without --idempotency-key
a new one is made and printed on standard error.";

/// What to do about credits that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shortfall {
    /// Taken from the other lots; the rest is debt.
    Owed,
    /// Let go.
    Forgiven,
}

/// What to revoke.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RevokeArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The grant.
    #[arg(value_name = "GRANT")]
    grant: String,
    /// How much of it shall be revoked in all; 0 to the granted amount.
    #[arg(value_name = "REVOKED", allow_negative_numbers = true)]
    revoked: i64,
    /// What to do about credits that are gone [default: as the service is configured]
    #[arg(long, value_enum, value_name = "POLICY")]
    shortfall: Option<Shortfall>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Revokes.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: RevokeArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let request = client.request(RevokeGrantRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: args.write.key(args.client.json),
        grant_id: args.grant,
        revoked: args.revoked,
        shortfall_policy: match args.shortfall {
            None => ShortfallPolicy::Unspecified,
            Some(Shortfall::Owed) => ShortfallPolicy::Owed,
            Some(Shortfall::Forgiven) => ShortfallPolicy::Forgiven,
        }
        .into(),
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer = client.service.revoke_grant(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("RevokeGrantResponse", &answer));
    }
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    let done = if answer.replayed { "already revoked" } else { "revoked" };
    let grant = answer.grant.unwrap_or_default();
    output::line(&format!("{done} {} of {}: {balance}", grant.revoked, grant.amount))
}
