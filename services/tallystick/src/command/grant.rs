//! `tallystick grant`: puts a lot of credits into a balance.

use clap::{Args, ValueEnum};
use proto::v1::{GrantCreditsRequest, GrantKind};
use time::{Duration, OffsetDateTime};

use crate::client::{CallError, Client, ClientArgs};
use crate::clock;
use crate::command::write::WriteArgs;
use crate::error::Error;
use crate::output;
use crate::settings::span;

const EXAMPLES: &str = "\
Examples:
  tallystick grant user_1 1000
  tallystick grant user_1 50 --kind promotion --expires-in 30d --reason 'spring campaign'
  tallystick grant user_1 1000 --idempotency-key order_4711 --reference order_4711

The idempotency key names the grant for ever: called again with the same key and the same
values, the command does nothing and answers as the first time. Without --idempotency-key a new
one is made and printed on standard error.";

/// Where credits come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Given away.
    Promotion,
    /// Given back for something that went wrong.
    Compensation,
    /// Put in to correct a balance.
    Adjustment,
    /// Part of a subscription's period.
    Subscription,
    /// Bought.
    Purchase,
}

impl From<Kind> for GrantKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Promotion => Self::Promotion,
            Kind::Compensation => Self::Compensation,
            Kind::Adjustment => Self::Adjustment,
            Kind::Subscription => Self::Subscription,
            Kind::Purchase => Self::Purchase,
        }
    }
}

/// What to grant.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GrantArgs {
    /// The account; it comes into being with its first grant.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// How many, in the unit's smallest step.
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(crate) amount: i64,
    /// Where the credits come from.
    #[arg(long, value_enum, value_name = "KIND", default_value = "promotion")]
    kind: Kind,
    /// First key of the burn order: 0-100, lower is used first [default: 50]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// From when they can be used (RFC 3339); at once without it.
    #[arg(long, value_parser = span::parse_time, value_name = "TIME")]
    effective_at: Option<OffsetDateTime>,
    /// When what is left is lost (RFC 3339); never without it.
    #[arg(long, value_parser = span::parse_time, value_name = "TIME", conflicts_with = "expires_in")]
    expires_at: Option<OffsetDateTime>,
    /// The same, counted from now by this machine's clock: 90s, 30m, 12h, 30d, 4w.
    #[arg(long, value_parser = span::parse_span, value_name = "SPAN")]
    expires_in: Option<Duration>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Grants.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: GrantArgs) -> Result<(), Error> {
    let expires_at = expires_at(&args)?;
    let mut client = Client::connect(&args.client).await?;
    // A span is counted from now, so a later call has to name the time that this one had.
    let key = args.write.key_until(args.expires_in.and(expires_at), args.client.json);
    let request = client.request(GrantCreditsRequest {
        account_id: args.account,
        unit: args.write.unit.clone(),
        idempotency_key: key,
        amount: args.amount,
        kind: GrantKind::from(args.kind).into(),
        priority: args.priority,
        effective_at: args.effective_at.map(span::timestamp),
        expires_at: expires_at.map(span::timestamp),
        cost_basis: None,
        metadata: args.write.metadata(),
        reference: args.write.reference,
        reason: args.write.reason,
        on_behalf_of: String::new(),
    });
    let answer =
        client.service.grant_credits(request).await.map_err(CallError::refused(&args.client.addr))?;
    let answer = answer.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("GrantCreditsResponse", &answer));
    }
    let done = if answer.replayed { "already granted" } else { "granted" };
    let balance = output::balance::sentence(&answer.balance.unwrap_or_default());
    let amount = answer.grant.map_or(args.amount, |grant| grant.amount);
    output::line(&format!("{done} {amount}: {balance}"))
}

fn expires_at(args: &GrantArgs) -> Result<Option<OffsetDateTime>, Error> {
    let Some(span) = args.expires_in else { return Ok(args.expires_at) };
    let too_long =
        || Error::Config { setting: "--expires-in", problem: "ends after the year 9999".to_owned() };
    // Whole seconds, so that the printed time is the one that was sent.
    let now = clock::now().truncate_to_second();
    now.checked_add(span).map(Some).ok_or_else(too_long)
}
