//! Gives every account of a run its credits, in batches. Each account's grant has one key for ever, so that a second run
//! finds them given, which costs little. Must not know: what they are spent on.

use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use proto::v1::command_result::Result as Outcome;
use proto::v1::{Command, CommandResult, GrantCreditsRequest, command};

use super::accounts::Accounts;
use super::meter;
use crate::client::Client;
use crate::command::batch::lines::Line;
use crate::command::batch::send;
use crate::error::Error;
use crate::output::{note, plain};

/// What each account is given: 10^8 spends of the largest amount, while several fundings still fit into a balance.
const CREDITS: i64 = 100_000_000_000_000;
/// Commands of a call: half of what the service takes, so that each call stays far below its deadline.
const BATCH: u64 = 500;
/// Calls at once: enough to keep the service busy, few enough that no other caller is refused for it.
const AT_ONCE: usize = 4;

/// Gives them.
///
/// # Errors
/// [`Error::Bench`] with what to do when the service refuses a grant, [`Error::Call`] when it does not answer.
pub(super) async fn fund(clients: &[Client], addr: &str, accounts: &Accounts) -> Result<(), Error> {
    let style = meter::style("{bar:32} {pos}/{len} accounts given credits, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(accounts.count()).with_style(style);
    let firsts = (0..accounts.count()).step_by(usize::try_from(BATCH).unwrap_or(usize::MAX));
    let calls = stream::iter(firsts.zip(clients.iter().cycle())).map(|(first, client)| {
        let (mut client, bar) = (client.clone(), &bar);
        async move {
            let count = BATCH.min(accounts.count() - first);
            let lines = (first..first + count).map(|index| line(accounts, index)).collect();
            let results = send::send(&mut client, addr, lines).await?;
            bar.inc(count);
            results.iter().map(|(index, result)| given(accounts, *index, result)).sum::<Result<u64, Error>>()
        }
    });
    let given =
        calls.buffer_unordered(AT_ONCE).try_fold(0, |sum, given| async move { Ok(sum + given) }).await;
    bar.finish_and_clear();
    let given = given?;
    if given > 0 {
        note(&format!("{given} of {} accounts were given credits; the others had them", accounts.count()));
    }
    Ok(())
}

fn line(accounts: &Accounts, index: u64) -> Line {
    let grant = GrantCreditsRequest {
        account_id: accounts.name(index),
        unit: accounts.unit().to_owned(),
        // A key is the account's over all its units.
        idempotency_key: format!("bench-fund-{}-{CREDITS}", accounts.unit()),
        amount: CREDITS,
        ..GrantCreditsRequest::default()
    };
    Line { number: index, command: Command { command: Some(command::Command::Grant(grant)) } }
}

/// 1 for credits that were given now, 0 for those of a run before.
fn given(accounts: &Accounts, index: u64, result: &CommandResult) -> Result<u64, Error> {
    match &result.result {
        Some(Outcome::Grant(grant)) => Ok(u64::from(!grant.replayed)),
        Some(Outcome::Error(error)) => Err(Error::Bench {
            problem: format!(
                "account {} could not be given credits: {}: {}",
                accounts.name(index),
                plain::shown(&error.reason),
                plain::shown(&error.message)
            ),
            hint: Some(
                "the key needs the scope \"grant\" and the unit must be in the catalogue; accounts that have credits \
                 need none: --skip-funding; other accounts: --account-prefix",
            ),
        }),
        Some(
            Outcome::Spend(_)
            | Outcome::Hold(_)
            | Outcome::Capture(_)
            | Outcome::Extend(_)
            | Outcome::Release(_)
            | Outcome::Reverse(_)
            | Outcome::Revoke(_)
            | Outcome::Adjust(_),
        )
        | None => Err(Error::bench(format!("account {}: the service gave no answer", accounts.name(index)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_funding_is_the_same_in_every_run_and_another_for_every_unit() {
        let names = |unit: &str, seed| {
            let args = crate::command::bench::accounts::NameArgs::of(unit, "bench_");
            args.accounts(10, seed).unwrap()
        };
        let key = |accounts: &Accounts| {
            let Some(command::Command::Grant(grant)) = line(accounts, 3).command.command else { panic!() };
            (grant.account_id, grant.idempotency_key)
        };
        assert_eq!(key(&names("credits", 1)), key(&names("credits", 2)));
        assert_ne!(key(&names("credits", 1)), key(&names("minutes", 1)));
    }
}
