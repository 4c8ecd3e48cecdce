//! `tallystick account`: what operators look up and change about an account.

use clap::{Args, Subcommand};
use proto::v1::{
    Account, AccountState, EraseAccountDataRequest, GetAccountRequest, SetTestClockRequest, Threshold,
    UpdateAccountRequest,
};
use time::OffsetDateTime;

use crate::client::{CallError, Client, ClientArgs};
use crate::error::Error;
use crate::output;
use crate::settings::span;

const EXAMPLES: &str = "\
Examples:
  tallystick account show user_1
  tallystick account freeze user_1 --reason 'fraud review 17'
  tallystick account unfreeze user_1 --reason 'review passed'
  tallystick account thresholds user_1 low:100:200 --reason 'support asked'
  tallystick account erase user_1 --reason 'request of 2027-01-31'
  tallystick account clock user_1 2027-02-01T00:00:00Z

The credential needs the scope admin. Every change is audited with its reason.";

/// What to do.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AccountCommand {
    /// Show an account: state, thresholds, test clock
    Show(ShowArgs),
    /// Let nothing be spent, held or captured; credits may still come in
    Freeze(ChangeArgs),
    /// Take a freeze or a closure back
    Unfreeze(ChangeArgs),
    /// Let nothing change any more but by time
    Close(ChangeArgs),
    /// Set the account's own thresholds; without any, the installation's hold
    Thresholds(ThresholdsArgs),
    /// Blank metadata and stored Stripe events; the journal stays sound
    Erase(ChangeArgs),
    /// Move the clock of a sandbox account forward, and settle what is due by it
    Clock(ClockArgs),
}

/// Which account.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which account, and why.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Words for the audit.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which thresholds.
#[derive(Debug, Args)]
pub(crate) struct ThresholdsArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Name, value, and where it is armed again: low:100:200. At most 16.
    #[arg(value_name = "NAME:AT:REARM", value_parser = threshold)]
    thresholds: Vec<(String, i64, i64)>,
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    /// Words for the audit.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which time.
#[derive(Debug, Args)]
pub(crate) struct ClockArgs {
    /// A sandbox account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Its new time (RFC 3339).
    #[arg(value_name = "TIME", value_parser = span::parse_time)]
    now: OffsetDateTime,
    #[command(flatten)]
    client: ClientArgs,
}

fn threshold(text: &str) -> Result<(String, i64, i64), String> {
    let problem = || "must be NAME:AT:REARM with two whole numbers, such as low:100:200".to_owned();
    let mut parts = text.rsplitn(3, ':');
    let (rearm_at, at, name) = (parts.next(), parts.next(), parts.next());
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).ok_or_else(problem);
    let (at, rearm_at) = (number(at)?, number(rearm_at)?);
    name.map(|name| (name.to_owned(), at, rearm_at)).ok_or_else(problem)
}

impl AccountCommand {
    fn client(&self) -> &ClientArgs {
        match self {
            Self::Show(args) => &args.client,
            Self::Freeze(args) | Self::Unfreeze(args) | Self::Close(args) | Self::Erase(args) => &args.client,
            Self::Thresholds(args) => &args.client,
            Self::Clock(args) => &args.client,
        }
    }

    /// Whether its user is a program.
    pub(crate) fn wants_json(&self) -> bool {
        self.client().json
    }

    /// Does it.
    ///
    /// # Errors
    /// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
    pub(crate) async fn run(self) -> Result<(), Error> {
        let client = Client::connect(self.client()).await?;
        match self {
            Self::Show(args) => show(client, args).await,
            Self::Freeze(args) => set_state(client, args, AccountState::Frozen).await,
            Self::Unfreeze(args) => set_state(client, args, AccountState::Active).await,
            Self::Close(args) => set_state(client, args, AccountState::Closed).await,
            Self::Thresholds(args) => set_thresholds(client, args).await,
            Self::Erase(args) => erase(client, args).await,
            Self::Clock(args) => set_clock(client, args).await,
        }
    }
}

async fn show(mut client: Client, args: ShowArgs) -> Result<(), Error> {
    let request = client.request(GetAccountRequest { account_id: args.account });
    let answer = client.admin.get_account(request).await;
    let answer = answer.map_err(CallError::refused(&args.client.addr))?.into_inner();
    tell(&args.client, &answer.account.unwrap_or_default())
}

async fn set_state(client: Client, args: ChangeArgs, state: AccountState) -> Result<(), Error> {
    let account = Account { account_id: args.account, state: state.into(), ..Account::default() };
    update(client, &args.client, account, "state", args.reason).await
}

async fn set_thresholds(client: Client, args: ThresholdsArgs) -> Result<(), Error> {
    let threshold = |(name, at, rearm_at)| Threshold { name, unit: args.unit.clone(), at, rearm_at };
    let thresholds = args.thresholds.into_iter().map(threshold).collect();
    let account = Account { account_id: args.account, thresholds, ..Account::default() };
    update(client, &args.client, account, "thresholds", args.reason).await
}

async fn update(
    mut client: Client,
    args: &ClientArgs,
    account: Account,
    path: &str,
    reason: String,
) -> Result<(), Error> {
    let update_mask = Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
    let request = client.request(UpdateAccountRequest { account: Some(account), update_mask, reason });
    let answer = client.admin.update_account(request).await;
    let answer = answer.map_err(CallError::refused(&args.addr))?.into_inner();
    tell(args, &answer.account.unwrap_or_default())
}

fn tell(args: &ClientArgs, account: &Account) -> Result<(), Error> {
    if args.json {
        return output::line(&output::json::encode("Account", account));
    }
    output::line(&output::account::table(account))
}

async fn erase(mut client: Client, args: ChangeArgs) -> Result<(), Error> {
    let request = EraseAccountDataRequest { account_id: args.account, reason: args.reason };
    let answer = client.admin.erase_account_data(client.request(request)).await;
    let answer = answer.map_err(CallError::refused(&args.client.addr))?.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("EraseAccountDataResponse", &answer));
    }
    output::line(&format!("blanked the metadata of {} entries", answer.erased_entries))
}

async fn set_clock(mut client: Client, args: ClockArgs) -> Result<(), Error> {
    let request = SetTestClockRequest { account_id: args.account, now: Some(span::timestamp(args.now)) };
    let answer = client.admin.set_test_clock(client.request(request)).await;
    let answer = answer.map_err(CallError::refused(&args.client.addr))?.into_inner();
    if args.client.json {
        return output::line(&output::json::encode("SetTestClockResponse", &answer));
    }
    let now = output::stamp::shown(answer.now.as_ref());
    output::line(&format!("it is {now}; {} operations became due", answer.settled_operations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_name_and_two_numbers() {
        assert_eq!(threshold("low:100:200"), Ok(("low".to_owned(), 100, 200)));
        assert_eq!(threshold("a:b:1:2"), Ok(("a:b".to_owned(), 1, 2)));
        for bad in ["", "low", "low:1", "low:1:x", "1:2"] {
            assert!(threshold(bad).is_err(), "{bad}");
        }
    }
}
