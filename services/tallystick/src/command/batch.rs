//! `tallystick batch`: sends the commands of a file, one JSON object a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use proto::v1::CommandResult;
use proto::v1::command_result::Result as Outcome;

use crate::client::{Client, ClientArgs};
use crate::error::Error;
use crate::output;

pub(in crate::command) mod lines;
pub(in crate::command) mod send;

use lines::{Line, Lines};

const EXAMPLES: &str = "\
Examples:
  tallystick batch commands.jsonl
  tallystick batch commands.jsonl --json > results.jsonl
  generate-commands | tallystick batch -

Each line is one command, with the field names of the proto files and a key of its own:
  {\"grant\":{\"account_id\":\"user_1\",\"idempotency_key\":\"g1\",\"amount\":1000,\"kind\":\"GRANT_KIND_PURCHASE\"}}
  {\"spend\":{\"account_id\":\"user_1\",\"idempotency_key\":\"s1\",\"amount\":30,\"reference\":\"job_17\"}}
  {\"hold\":{\"account_id\":\"user_1\",\"idempotency_key\":\"h1\",\"amount\":30,\"ttl\":\"600s\"}}
  {\"adjust\":{\"account_id\":\"user_1\",\"idempotency_key\":\"a1\",\"delta\":-5,\"reason\":\"ticket 43\"}}
The members are grant, spend, hold, capture, extend, release, reverse, revoke and adjust, with the
fields of the requests of the same names in docs/api.md.

A file is read to its end before anything is sent: a line that is no command stops it with
nothing done. Commands of one account are applied in the order of the file. A refused command
stops no other; one that could not be tried is tried again. The same file can be sent again at
any time: what was done is not done twice. With --json every result is one line:
{\"line\":1,\"result\":{\"grant\":{…}}}. Exits with 1 unless every command was done.";

/// Most commands of one call: the service's own limit.
const MAX_SIZE: u64 = 1000;
/// Most bytes of one call, a margin below the service's 1 MiB.
const MAX_CALL_BYTES: usize = 960 * 1024;

/// What to send.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BatchArgs {
    /// The file; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Most commands of one call.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=MAX_SIZE), value_name = "N")]
    size: u64,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// How the commands ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    done: u64,
    replayed: u64,
    failed: u64,
}

/// Sends.
///
/// # Errors
/// [`Error::File`] for a line that is no command, [`Error::Call`] for a service that is not there, [`Error::NotApplied`]
/// when not every command was done.
pub(crate) async fn run(args: BatchArgs) -> Result<(), Error> {
    let total = if is_file(&args.file) { Some(count(&args.file)?) } else { None };
    let mut lines = open(&args.file)?;
    let mut client = Client::connect(&args.client).await?;
    let bar = progress(total)?;
    let mut tally = Tally::default();
    let mut next = None;
    loop {
        let batch = take(&mut lines, &mut next, args.size)?;
        let Some(first) = batch.first().map(|line| line.number) else { break };
        let sent = send::send(&mut client, &args.client.addr, batch).await;
        let results = sent.inspect_err(|_| {
            bar.finish_and_clear();
            output::note(&format!("stopped at line {first}: what stands before it was answered"));
        })?;
        for (line, result) in results {
            tally.count(&result);
            bar.suspend(|| show(line, &result, args.client.json))?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if !args.client.json {
        output::line(&tally.sentence())?;
    }
    match tally.failed {
        0 => Ok(()),
        failed => Err(Error::NotApplied { failed, total: tally.total() }),
    }
}

/// What can be read twice.
fn is_file(path: &Path) -> bool {
    path != Path::new("-") && path.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn open(path: &Path) -> Result<Lines<Box<dyn BufRead>>, Error> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(path).map_err(|source| Error::File {
            setting: lines::SETTING,
            path: path.to_path_buf(),
            problem: format!("cannot be read: {source}"),
        });
        Box::new(BufReader::new(file?))
    };
    Ok(Lines::new(reader, path))
}

/// Reads the whole file, so that nothing is sent of one with a fault.
fn count(path: &Path) -> Result<u64, Error> {
    let mut lines = open(path)?;
    let mut count = 0;
    while lines.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The commands of the next call; `next` is one that was read and did not fit.
fn take(lines: &mut Lines<impl BufRead>, next: &mut Option<Line>, size: u64) -> Result<Vec<Line>, Error> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < size {
        let line = match next.take() {
            Some(line) => line,
            None => match lines.next()? {
                Some(line) => line,
                None => break,
            },
        };
        bytes += line.bytes();
        if bytes > MAX_CALL_BYTES && !batch.is_empty() {
            *next = Some(line);
            break;
        }
        batch.push(line);
    }
    Ok(batch)
}

/// A bar on a terminal, nothing elsewhere. Of a stream nobody knows the length.
fn progress(total: Option<u64>) -> Result<ProgressBar, Error> {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:32} {pos}/{len} commands, {per_sec}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} commands, {per_sec}"),
    };
    let style = ProgressStyle::with_template(template);
    let broken = |error: indicatif::style::TemplateError| io::Error::other(error.to_string());
    Ok(bar.with_style(style.map_err(broken).map_err(Error::io("draw the progress bar"))?))
}

/// Programs get every result, people what was not done.
fn show(line: u64, result: &CommandResult, json: bool) -> Result<(), Error> {
    if json {
        let result = output::json::encode("CommandResult", result);
        return output::line(&format!("{{\"line\":{line},\"result\":{result}}}"));
    }
    match &result.result {
        Some(Outcome::Error(error)) => {
            let (reason, message) =
                (output::plain::shown(&error.reason), output::plain::shown(&error.message));
            output::line(&format!("line {line}: {reason}: {message}"))
        }
        _ => Ok(()),
    }
}

impl Tally {
    fn count(&mut self, result: &CommandResult) {
        let replayed = match &result.result {
            Some(Outcome::Grant(grant)) => grant.replayed,
            Some(Outcome::Spend(spend)) => spend.replayed,
            Some(Outcome::Hold(hold)) => hold.replayed,
            Some(Outcome::Capture(capture)) => capture.replayed,
            Some(Outcome::Extend(extension)) => extension.replayed,
            Some(Outcome::Release(release)) => release.replayed,
            Some(Outcome::Reverse(reversal)) => reversal.replayed,
            Some(Outcome::Revoke(revocation)) => revocation.replayed,
            Some(Outcome::Adjust(adjustment)) => adjustment.replayed,
            Some(Outcome::Error(_)) | None => {
                self.failed += 1;
                return;
            }
        };
        if replayed {
            self.replayed += 1;
        } else {
            self.done += 1;
        }
    }

    const fn total(&self) -> u64 {
        self.done + self.replayed + self.failed
    }

    fn sentence(&self) -> String {
        let Self { done, replayed, failed } = self;
        format!("{} commands: {done} done, {replayed} done before, {failed} not done", self.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spends(count: usize, reference: &str) -> String {
        let line = |n| {
            format!(
                "{{\"spend\":{{\"account_id\":\"a\",\"idempotency_key\":\"{n}\",\"amount\":1,\"reference\":\"{reference}\"}}}}\n"
            )
        };
        (0..count).map(line).collect()
    }

    #[test]
    fn calls_are_bounded_by_commands_and_by_bytes_and_leave_nothing_out() {
        let text = spends(7, "");
        let mut lines = Lines::new(text.as_bytes(), Path::new("x"));
        let mut next = None;
        let mut sizes = Vec::new();
        loop {
            let batch = take(&mut lines, &mut next, 3).unwrap();
            if batch.is_empty() {
                break;
            }
            sizes.push(batch.len());
        }
        assert_eq!(sizes, [3, 3, 1]);

        let text = spends(100, &"r".repeat(30_000));
        let mut lines = Lines::new(text.as_bytes(), Path::new("x"));
        let (mut numbers, mut next) = (Vec::new(), None);
        loop {
            let batch = take(&mut lines, &mut next, 1000).unwrap();
            if batch.is_empty() {
                break;
            }
            assert!(batch.iter().map(Line::bytes).sum::<usize>() <= MAX_CALL_BYTES);
            numbers.extend(batch.iter().map(|line| line.number));
        }
        assert_eq!(numbers, (1..=100).collect::<Vec<u64>>());
    }

    #[test]
    fn a_tally_tells_what_was_done_and_what_was_done_before() {
        let grant = |replayed| proto::v1::GrantCreditsResponse { replayed, ..Default::default() };
        let mut tally = Tally::default();
        for outcome in [
            Some(Outcome::Grant(grant(true))),
            Some(Outcome::Grant(grant(false))),
            Some(Outcome::Spend(proto::v1::SpendCreditsResponse::default())),
            Some(Outcome::Error(proto::v1::Error::default())),
            None,
        ] {
            tally.count(&CommandResult { result: outcome });
        }
        assert_eq!(tally.sentence(), "5 commands: 2 done, 1 done before, 2 not done");
    }

    #[test]
    fn the_progress_bar_can_be_drawn() {
        assert!(progress(Some(3)).is_ok() && progress(None).is_ok());
    }
}
