//! `tallystick watch`: follows balances live, and goes on where it was when the connection breaks.

use std::time::Duration;

use clap::Args;
use proto::v1::watch_credits_response::Event;
use proto::v1::{WatchCreditsRequest, WatchCreditsResponse, WatchMode};

use crate::client::{CallError, Client, ClientArgs};
use crate::clock;
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

/// The first wait before connecting again; doubled each time up to the longest, with jitter so that many watchers of a
/// service that restarts do not come back at one instant.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

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
/// [`Error::Call`] when the service refuses, or is not there at the first try; [`Error::Config`].
pub(crate) async fn run(args: WatchArgs) -> Result<(), Error> {
    let columns = Columns::new(&args.accounts);
    let mut progress = Progress::new(&args.accounts, &args.unit, args.after_version);
    let mut backoff = FIRST_BACKOFF;
    let mut lost = false;
    if !args.client.json {
        output::line(&columns.header())?;
    }
    loop {
        let before = progress.shown();
        let why = match follow(&args, columns, &mut progress, &mut lost).await {
            Ok(Ended::Enough) => return Ok(()),
            Ok(Ended::ByService) => "the service ended it".to_owned(),
            Err(Error::Call(error)) if progress.has_begun() && error.is_transient() => error.to_string(),
            Err(error) => return Err(error),
        };
        // Said once for all tries until the next stream.
        if !lost {
            output::note(&format!("stream lost ({}); connecting again", output::plain::shown(&why)));
            lost = true;
        }
        if progress.shown() > before {
            backoff = FIRST_BACKOFF;
        }
        tokio::time::sleep(jittered(backoff)).await;
        backoff = backoff.saturating_mul(2).min(LONGEST_BACKOFF);
    }
}

/// Why a stream ended without a failure.
enum Ended {
    /// What was asked for has been shown.
    Enough,
    /// The service ended it, as it does before it stops.
    ByService,
}

/// One stream, from connecting to its end.
async fn follow(
    args: &WatchArgs,
    columns: Columns,
    progress: &mut Progress,
    lost: &mut bool,
) -> Result<Ended, Error> {
    let refused = || CallError::refused(&args.client.addr);
    let mut client = Client::connect(&args.client).await?;
    let request = client.stream_request(request(args, progress));
    let mut stream = client.service.watch_credits(request).await.map_err(refused())?.into_inner();
    if std::mem::take(lost) {
        output::note("connected again");
    }
    while let Some(message) = stream.message().await.map_err(refused())? {
        show(&message, args.client.json, columns)?;
        progress.take(&message);
        let enough = args.count.is_some_and(|count| progress.shown() >= count);
        if enough || args.until_version.is_some_and(|version| progress.has_reached(version)) {
            return Ok(Ended::Enough);
        }
    }
    Ok(Ended::ByService)
}

fn show(message: &WatchCreditsResponse, json: bool, columns: Columns) -> Result<(), Error> {
    if json {
        return output::line(&output::json::encode("WatchCreditsResponse", message));
    }
    match &message.event {
        Some(Event::Snapshot(snapshot)) => output::line(&columns.snapshot(snapshot)),
        Some(Event::Changes(changes)) => {
            changes.entries.iter().try_for_each(|entry| output::line(&columns.entry(entry)))
        }
        Some(Event::TargetChange(change)) => {
            let why = change.error.as_ref().map_or("", |error| error.message.as_str());
            let said = format!("{} is not watched: {why}", change.account_id);
            output::note(&output::plain::shown(&said));
            Ok(())
        }
        // A bookmark changes nothing that a person sees; after a GoAway the end follows, and the next stream. A later
        // version's message is for a later version.
        Some(Event::Bookmark(_) | Event::GoAway(_)) | None => Ok(()),
    }
}

fn request(args: &WatchArgs, progress: &Progress) -> WatchCreditsRequest {
    let mode = if args.latest { WatchMode::Latest } else { WatchMode::EveryChange };
    WatchCreditsRequest { mode: mode.into(), ..progress.request() }
}

/// Between half of the wait and all of it.
fn jittered(wait: Duration) -> Duration {
    let half = wait / 2;
    let jitter = clock::random_below(u64::try_from(half.as_millis()).unwrap_or(u64::MAX));
    half + Duration::from_millis(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_keeps_at_least_its_half_and_never_exceeds_itself() {
        for _ in 0..100 {
            let wait = jittered(LONGEST_BACKOFF);
            assert!(wait >= LONGEST_BACKOFF / 2 && wait <= LONGEST_BACKOFF, "{wait:?}");
        }
    }
}
