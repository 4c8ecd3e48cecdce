//! `tallystick ledger`: follows all changes of the ledger, for projections and for looking on.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use proto::v1::watch_ledger_response::Event;
use proto::v1::{WatchLedgerRequest, WatchLedgerResponse};

use crate::client::{CallError, Client, ClientArgs};
use crate::clock;
use crate::error::Error;
use crate::output;
use crate::output::stream::Columns;

const EXAMPLES: &str = "\
Examples:
  tallystick ledger                               what happens from now on, of all accounts
  tallystick ledger --prefix team_                of the accounts that begin with team_
  tallystick ledger --take-token                  prints a token of now, and ends
  tallystick ledger --after-token TOKEN --json    all that was committed since

Changes come at least once: those after the last token come again when the connection breaks, which
the command says on standard error. With --json every message of the stream is one line:
{\"entries\":…}, {\"bookmark\":…} with a token, or {\"go_away\":…}. A token is good for 72 hours. A
projection begins so: take a token, export the journal, follow from the token. The credential
needs the scope ledger.";

/// Width of the column of accounts, whose names are not known before.
const ACCOUNT_WIDTH: usize = 20;

/// The first wait before connecting again; doubled each time up to the longest, with jitter so that many readers of a
/// service that restarts do not come back at one instant.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// A service may ask for more than our longest wait, but not for ever.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// What to follow.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LedgerArgs {
    /// Only accounts that begin with this.
    #[arg(long, default_value = "", value_name = "PREFIX", hide_default_value = true)]
    prefix: String,
    /// Go on after a token of a bookmark, of a stream with the same prefix; without one from now.
    #[arg(long, value_name = "TOKEN", value_parser = token, conflicts_with = "take_token")]
    after_token: Option<Token>,
    /// Print a token of now, and end.
    #[arg(long)]
    take_token: bool,
    /// End after this many entries.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// A token as the command line and JSON have it: base64.
#[derive(Debug, Clone)]
struct Token(Vec<u8>);

fn token(text: &str) -> Result<Token, &'static str> {
    STANDARD.decode(text.trim()).map(Token).map_err(|_| "is not base64")
}

/// Where the reader is, and how much it has shown.
struct Progress {
    token: Vec<u8>,
    shown: u64,
    /// Whether a stream has ever spoken: what fails before that is for the caller.
    has_begun: bool,
    /// How long a service that ends asked to wait.
    asked_pause: Duration,
}

/// Follows until it is told to stop.
///
/// # Errors
/// [`Error::Call`] when the service refuses, or is not there at the first try; [`Error::Config`].
pub(crate) async fn run(args: LedgerArgs) -> Result<(), Error> {
    let columns = Columns::of_width(ACCOUNT_WIDTH);
    let token = args.after_token.as_ref().map(|token| token.0.clone()).unwrap_or_default();
    let mut progress = Progress { token, shown: 0, has_begun: false, asked_pause: Duration::ZERO };
    let (mut backoff, mut lost) = (FIRST_BACKOFF, false);
    if !args.client.json && !args.take_token {
        output::line(&columns.header())?;
    }
    loop {
        let before = progress.token.clone();
        let why = match follow(&args, columns, &mut progress, &mut lost).await {
            Ok(true) => return Ok(()),
            Ok(false) => "the service ended it".to_owned(),
            Err(Error::Call(error)) if progress.has_begun && error.is_transient() => error.to_string(),
            Err(error) => return Err(error),
        };
        // Said once for all tries until the next stream.
        if !lost {
            output::note(&format!("stream lost ({}); connecting again", output::plain::shown(&why)));
            lost = true;
        }
        if progress.token != before {
            backoff = FIRST_BACKOFF;
        }
        tokio::time::sleep(jittered(backoff).max(std::mem::take(&mut progress.asked_pause))).await;
        backoff = backoff.saturating_mul(2).min(LONGEST_BACKOFF);
    }
}

/// One stream, from connecting to its end; whether what was asked for has been shown.
async fn follow(
    args: &LedgerArgs,
    columns: Columns,
    progress: &mut Progress,
    lost: &mut bool,
) -> Result<bool, Error> {
    let refused = || CallError::refused(&args.client.addr);
    let mut client = Client::connect(&args.client).await?;
    let request = client.stream_request(WatchLedgerRequest {
        resume_token: progress.token.clone().into(),
        account_prefix: args.prefix.clone(),
        bookmark_interval: prost_types::Duration::try_from(Duration::from_secs(1)).ok(),
    });
    let mut stream = client.service.watch_ledger(request).await.map_err(refused())?.into_inner();
    if std::mem::take(lost) {
        output::note("connected again; what came after the last token comes again");
    }
    while let Some(message) = stream.message().await.map_err(refused())? {
        progress.has_begun = true;
        if let Some(token) = token_of(&message) {
            progress.token = token.to_vec();
            progress.asked_pause = asked_pause(&message);
            if args.take_token {
                return output::line(&STANDARD.encode(token)).map(|()| true);
            }
        }
        show(&message, args.client.json, columns)?;
        if let Some(Event::Entries(entries)) = &message.event {
            progress.shown += u64::try_from(entries.entries.len()).unwrap_or(0);
        }
        if args.count.is_some_and(|count| progress.shown >= count) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Between half of the wait and all of it.
fn jittered(wait: Duration) -> Duration {
    let half = wait / 2;
    let jitter = clock::random_below(u64::try_from(half.as_millis()).unwrap_or(u64::MAX));
    half + Duration::from_millis(jitter)
}

/// What a GoAway asks for, within reason.
fn asked_pause(message: &WatchLedgerResponse) -> Duration {
    let Some(Event::GoAway(go_away)) = &message.event else { return Duration::ZERO };
    let asked = go_away.reconnect_after.and_then(|pause| Duration::try_from(pause).ok());
    asked.unwrap_or_default().min(LONGEST_ASKED)
}

/// The token of a bookmark, or of an end that has one.
fn token_of(message: &WatchLedgerResponse) -> Option<&[u8]> {
    let token = match &message.event {
        Some(Event::Bookmark(bookmark)) => &bookmark.resume_token,
        Some(Event::GoAway(go_away)) => &go_away.resume_token,
        Some(Event::Entries(_)) | None => return None,
    };
    Some(token.as_ref()).filter(|token| !token.is_empty())
}

fn show(message: &WatchLedgerResponse, json: bool, columns: Columns) -> Result<(), Error> {
    if json {
        return output::line(&output::json::encode("WatchLedgerResponse", message));
    }
    match &message.event {
        Some(Event::Entries(entries)) => {
            entries.entries.iter().try_for_each(|entry| output::line(&columns.entry(entry)))
        }
        // Tokens are for programs; a later version's message is for a later version.
        Some(Event::Bookmark(_) | Event::GoAway(_)) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{GoAway, LedgerBookmark, LedgerEntries};

    use super::*;

    #[test]
    fn a_wait_keeps_at_least_its_half_and_never_exceeds_itself() {
        for _ in 0..100 {
            let wait = jittered(LONGEST_BACKOFF);
            assert!(wait >= LONGEST_BACKOFF / 2 && wait <= LONGEST_BACKOFF, "{wait:?}");
        }
    }

    #[test]
    fn a_token_comes_from_bookmarks_and_ends_and_goes_through_the_command_line() {
        let of = |event| WatchLedgerResponse { event: Some(event) };
        let bookmark = LedgerBookmark { resume_token: vec![1, 255].into(), source_lag: None };
        assert_eq!(token_of(&of(Event::Bookmark(bookmark))), Some(&[1, 255][..]));
        assert_eq!(token_of(&of(Event::GoAway(GoAway::default()))), None);
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let go_away = |pause| of(Event::GoAway(GoAway { reconnect_after: pause, ..GoAway::default() }));
        for (pause, wait) in [(None, 0), (seconds(2), 2), (seconds(-2), 0), (seconds(900), 60)] {
            assert_eq!(asked_pause(&go_away(pause)), Duration::from_secs(wait));
        }
        assert_eq!(token_of(&of(Event::Entries(LedgerEntries::default()))), None);
        assert_eq!(token(" Af8=\n").unwrap().0, [1, 255]);
        assert!(token("Af8").is_err());
    }
}
