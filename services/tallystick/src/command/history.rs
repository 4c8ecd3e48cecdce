//! `tallystick history`: the journal of a balance, newest first.

use clap::{Args, ValueEnum};
use proto::v1::{EntryKind, ListEntriesRequest};
use time::OffsetDateTime;

use crate::client::{CallError, Client, ClientArgs};
use crate::error::Error;
use crate::output;
use crate::output::stream::Columns;
use crate::settings::span;

const EXAMPLES: &str = "\
Examples:
  tallystick history user_1                       the last 20 entries
  tallystick history user_1 --all --json          all of them, one object a line
  tallystick history user_1 --kind spend --since 2027-01-01T00:00:00Z
  tallystick history user_1 --reference job_17
  tallystick history user_1 --grant gr_0199f3a27c1e7d439a511f0c6f3f9b10
                                                  what became of one grant (`tallystick grants`)

Every version of the balance is one line. Entries that are written meanwhile are not shown.";

/// Entries asked for at once.
const PAGE_SIZE: u64 = 500;

/// What an entry did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A new lot.
    Grant,
    /// Credits used.
    Spend,
    /// The time of lots ended.
    Expiry,
    /// Scheduled lots became effective.
    Activation,
    /// Credits reserved.
    Hold,
    /// Held credits used.
    Capture,
    /// Held credits given back.
    Release,
    /// The time of a hold ended.
    HoldExpiry,
    /// A hold got a later end.
    HoldExtension,
    /// A spend or capture given back.
    Reversal,
    /// A grant taken back.
    Revocation,
    /// A revocation undone.
    Reinstatement,
    /// Corrected by hand.
    Adjustment,
}

impl From<Kind> for EntryKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Grant => Self::Grant,
            Kind::Spend => Self::Spend,
            Kind::Expiry => Self::Expiry,
            Kind::Activation => Self::Activation,
            Kind::Hold => Self::Hold,
            Kind::Capture => Self::Capture,
            Kind::Release => Self::Release,
            Kind::HoldExpiry => Self::HoldExpiry,
            Kind::HoldExtension => Self::HoldExtension,
            Kind::Reversal => Self::Reversal,
            Kind::Revocation => Self::Revocation,
            Kind::Reinstatement => Self::Reinstatement,
            Kind::Adjustment => Self::Adjustment,
        }
    }
}

/// Which entries.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HistoryArgs {
    /// The account.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    /// Show at most this many.
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Show all, back to the first.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Only entries of this kind; may be given several times.
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Only what was written at this time or later (RFC 3339).
    #[arg(long, value_parser = span::parse_time, value_name = "TIME")]
    since: Option<OffsetDateTime>,
    /// Only what was written before this time (RFC 3339).
    #[arg(long, value_parser = span::parse_time, value_name = "TIME")]
    until: Option<OffsetDateTime>,
    /// Only entries with exactly this reference.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reference: String,
    /// Only entries that touched this grant.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    grant: String,
    /// Only entries of this hold.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    hold: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Reads page by page, and shows each as it comes.
///
/// # Errors
/// [`Error::Call`] for a refusal or a service that is not there, [`Error::Config`].
pub(crate) async fn run(args: HistoryArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.client).await?;
    let columns = Columns::new(std::slice::from_ref(&args.account));
    if !args.client.json {
        output::line(&columns.header())?;
    }
    let mut left = if args.all { u64::MAX } else { args.limit };
    let mut page_token = String::new();
    loop {
        let request = client.request(ListEntriesRequest { page_token, ..query(&args, left) });
        let page = client.service.list_entries(request).await;
        let page = page.map_err(CallError::refused(&args.client.addr))?.into_inner();
        for entry in &page.entries {
            if args.client.json {
                output::line(&output::json::encode("Entry", entry))?;
            } else {
                output::line(&columns.entry(entry))?;
            }
        }
        left = left.saturating_sub(u64::try_from(page.entries.len()).unwrap_or(u64::MAX));
        if left == 0 || page.next_page_token.is_empty() {
            return Ok(());
        }
        page_token = page.next_page_token;
    }
}

fn query(args: &HistoryArgs, left: u64) -> ListEntriesRequest {
    ListEntriesRequest {
        account_id: args.account.clone(),
        unit: args.unit.clone(),
        // Small, so the fallback is unreachable.
        page_size: i32::try_from(left.min(PAGE_SIZE)).unwrap_or_default(),
        page_token: String::new(),
        kinds: args.kind.iter().map(|kind| EntryKind::from(*kind).into()).collect(),
        recorded_from: args.since.map(span::timestamp),
        recorded_until: args.until.map(span::timestamp),
        reference: args.reference.clone(),
        grant_id: args.grant.clone(),
        hold_id: args.hold.clone(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(words: &[&str]) -> HistoryArgs {
        let words = ["tallystick", "history", "user_1"].iter().chain(words);
        let Command::History(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("another command")
        };
        *args
    }

    #[test]
    fn filters_become_the_request_and_pages_are_no_larger_than_what_is_left() {
        let given = args(&[
            "--kind",
            "spend",
            "--kind",
            "expiry",
            "--since",
            "2027-01-01T00:00:00Z",
            "--grant",
            "gr_1",
        ]);
        let request = query(&given, 20);
        assert_eq!(request.kinds, [2, 3]);
        assert_eq!(request.recorded_from.unwrap().seconds, 1_798_761_600);
        assert_eq!((request.recorded_until, request.grant_id.as_str()), (None, "gr_1"));
        assert_eq!((request.page_size, query(&given, u64::MAX).page_size), (20, 500));
    }

    #[test]
    fn all_and_a_limit_exclude_each_other() {
        let both = ["tallystick", "history", "user_1", "--all", "--limit", "3"];
        assert_eq!(Cli::try_parse_from(both).unwrap_err().exit_code(), 2);
        assert!(args(&["--all"]).all);
    }
}
