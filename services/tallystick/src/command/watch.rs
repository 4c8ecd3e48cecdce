//! `tallystick watch`: follows balances live, and goes on where it was when the connection breaks.

use clap::Args;
use client::{Update, WatchError, Watcher};
use proto::v1::watch_credits_response::Event;
use proto::v1::{
    Bookmark, Changes, Snapshot, TargetChange, TargetChangeState, WatchCreditsResponse, WatchMode,
    WatchTarget,
};

use crate::client::{CallError, ClientArgs, endpoint};
use crate::error::Error;
use crate::output;
use crate::output::stream::Columns;

mod progress;

use progress::Progress;

const EXAMPLES: &str = "\
Examples:
  tallystick watch user_1
  tallystick watch user_1 user_2 --unit minutes
  tallystick watch user_1 --after-version 0       all that ever happened, then what happens
  tallystick watch user_1 --latest                newest states alone, for a busy balance
  tallystick watch user_1 --until-version 5 --json
                                                  for scripts: ends once version 5 was seen

Lines come in the order of the versions, each once. When the connection breaks, the command says
so on standard error, connects again and goes on after the last version that it has shown. With
--json every message of the stream is one line: {\"snapshot\":…}, {\"changes\":…} or
{\"bookmark\":…}.";

/// What to watch.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    /// The accounts, at most 1000.
    #[arg(value_name = "ACCOUNT", required = true)]
    accounts: Vec<String>,
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    unit: String,
    /// Show every change after this version; without it the balance as it stands comes first.
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    after_version: Option<i64>,
    /// Show the newest state after each change, and not every change.
    #[arg(long)]
    latest: bool,
    /// End after this many snapshots and changes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End when every watched balance has been seen at this version or a later one.
    #[arg(long, value_name = "VERSION")]
    until_version: Option<i64>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Watches until it is told to stop.
///
/// # Errors
/// [`Error::Call`] when the service refuses, or is not there at the first try; [`Error::Watch`] when it breaks its
/// contract; [`Error::Config`].
pub(crate) async fn run(args: WatchArgs) -> Result<(), Error> {
    let columns = Columns::new(&args.accounts);
    let mut progress = Progress::new(&args.accounts);
    if !args.client.json {
        output::line(&columns.header())?;
    }
    let mut watcher = watcher(&args, &progress)?;
    let (mut lost, mut refusal) = (false, None);
    while let Some(update) = watcher.next().await {
        let update = update.map_err(|error| ended(error, &args.client.addr))?;
        remark(&update, &mut lost);
        if let Update::Removed { error, .. } = &update {
            refusal.clone_from(error);
        }
        let Some(event) = event(update) else { continue };
        show(&event, args.client.json, columns)?;
        progress.take(&event);
        let enough = args.count.is_some_and(|count| progress.shown() >= count);
        if enough || args.until_version.is_some_and(|version| progress.has_reached(version)) {
            return Ok(());
        }
    }
    // No target is left: the last one's error is the whole watch's.
    refusal.map_or(Ok(()), |error| Err(CallError::inside(&args.client.addr, error).into()))
}

fn watcher(args: &WatchArgs, progress: &Progress) -> Result<Watcher, Error> {
    let mode = if args.latest { WatchMode::Latest } else { WatchMode::EveryChange };
    let uri = endpoint("--addr", &args.client.addr)?.uri().to_string();
    let mut builder = Watcher::builder().endpoint(uri).mode(mode).fail_fast(true);
    if let Some(key) = args.client.api_key()? {
        builder = builder.api_key(key);
    }
    for account in progress.accounts() {
        let (account_id, unit) = (account.clone(), args.unit.clone());
        let after_version = args.after_version;
        builder = builder.target(WatchTarget { account_id, unit, after_version, ..WatchTarget::default() });
    }
    builder.build().map_err(|error| ended(error, &args.client.addr))
}

fn ended(error: WatchError, addr: &str) -> Error {
    match error {
        WatchError::Refused(status) => CallError::refused(addr)(*status).into(),
        WatchError::Unreachable { source, .. } => {
            CallError::Unreachable { addr: addr.to_owned(), error: Box::new(source) }.into()
        }
        WatchError::ContractBroken { .. } | WatchError::Config(_) => Error::Watch(Box::new(error)),
    }
}

/// What becomes of the stream, for the person at the terminal.
fn remark(update: &Update, lost: &mut bool) {
    match update {
        // Said once for all tries until the next stream.
        Update::Disconnected { why, .. } if !*lost => {
            output::note(&format!("stream lost ({}); connecting again", output::plain::shown(why)));
            *lost = true;
        }
        Update::Reconnected => {
            output::note("connected again");
            *lost = false;
        }
        Update::Stale if !*lost => output::note("no word from the service: what is shown may be old"),
        _ => {}
    }
}

/// The message that an update came as.
fn event(update: Update) -> Option<Event> {
    match update {
        Update::Snapshot { balance, reason } => {
            Some(Event::Snapshot(Snapshot { balance: Some(balance), reason: reason.into() }))
        }
        Update::Changes { account_id, unit, entries } => {
            Some(Event::Changes(Changes { account_id, unit, entries }))
        }
        Update::Bookmark { in_sync, source_lag, resume_token } => {
            let source_lag = source_lag.try_into().ok();
            Some(Event::Bookmark(Bookmark { in_sync, source_lag, resume_token }))
        }
        Update::Removed { account_id, unit, error } => {
            let state = TargetChangeState::Removed.into();
            Some(Event::TargetChange(TargetChange { account_id, unit, state, error }))
        }
        _ => None,
    }
}

fn show(event: &Event, json: bool, columns: Columns) -> Result<(), Error> {
    if json {
        let message = WatchCreditsResponse { event: Some(event.clone()) };
        return output::line(&output::json::encode("WatchCreditsResponse", &message));
    }
    match event {
        Event::Snapshot(snapshot) => output::line(&columns.snapshot(snapshot)),
        Event::Changes(changes) => {
            changes.entries.iter().try_for_each(|entry| output::line(&columns.entry(entry)))
        }
        Event::TargetChange(change) => {
            let why = change.error.as_ref().map_or("", |error| error.message.as_str());
            let said = format!("{} is not watched: {why}", change.account_id);
            output::note(&output::plain::shown(&said));
            Ok(())
        }
        // A bookmark changes nothing that a person sees.
        Event::Bookmark(_) | Event::GoAway(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{Balance, Entry, SnapshotReason};

    use super::*;

    #[test]
    fn an_update_is_shown_as_the_message_that_it_came_as() {
        let (account_id, unit) = ("a".to_owned(), "credits".to_owned());
        let balance = Balance { version: 3, ..Balance::default() };
        let reason = SnapshotReason::ResetDiverged;
        let snapshot = Snapshot { balance: Some(balance.clone()), reason: reason.into() };
        assert_eq!(event(Update::Snapshot { balance, reason }), Some(Event::Snapshot(snapshot)));
        let entries = vec![Entry { version: 4, ..Entry::default() }];
        let changes =
            Changes { account_id: account_id.clone(), unit: unit.clone(), entries: entries.clone() };
        let update = Update::Changes { account_id: account_id.clone(), unit: unit.clone(), entries };
        assert_eq!(event(update), Some(Event::Changes(changes)));
        let error = Some(proto::v1::Error { code: 7, ..proto::v1::Error::default() });
        let Some(Event::TargetChange(change)) = event(Update::Removed { account_id, unit, error }) else {
            panic!("not told");
        };
        assert_eq!((change.state(), change.error.unwrap().code), (TargetChangeState::Removed, 7));
        assert_eq!(event(Update::InSync), None);
    }

    #[test]
    fn how_a_watch_ended_is_told_as_of_any_call() {
        let status = tonic::Status::permission_denied("no");
        let error = ended(WatchError::Refused(Box::new(status)), "127.0.0.1:1");
        assert!(
            matches!(&error, Error::Call(call) if call.code() == tonic::Code::PermissionDenied),
            "{error}"
        );
        let (account, unit) = ("a".to_owned(), "credits".to_owned());
        let (expected, got) = ("version 5".to_owned(), "version 6".to_owned());
        let error = ended(WatchError::ContractBroken { account, unit, expected, got }, "127.0.0.1:1");
        assert!(error.to_string().contains("expected version 5, got version 6"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}
