//! The mutation gate of the stream: each deliberate defect must be caught by a test of this crate. A test here runs the
//! others again, in processes of their own, one defect in each.

use std::process::Stdio;
use std::time::Duration;

use store::tail::mutants::{Mutant, VARIABLE};
use tokio::process::Command;
use tokio::time::timeout;

/// The longest of these tests takes some 5 s. Who waits longer waits for something that does not come.
const LIMIT: Duration = Duration::from_secs(25);

/// By which test a defect must be caught.
const fn test_of(mutant: Mutant) -> &'static str {
    match mutant {
        Mutant::SequenceCursor | Mutant::XminHorizon => {
            "live::a_writer_that_stays_open_delays_nobody_and_is_delivered_when_it_commits"
        }
        Mutant::LimitOnAMovingSnapshot => "live::a_burst_arrives_whole_though_nothing_follows",
        Mutant::ReadBeforeSubscribe => {
            "attach::a_lone_change_that_is_committed_while_a_stream_attaches_arrives"
        }
        Mutant::BookmarkOutsideTheQueue => "bookmarks::a_due_bookmark_waits_behind_what_is_queued",
        Mutant::SilentDropOnOverflow => "live::a_queue_that_is_one_change_too_short_loses_none",
        Mutant::RelayOnAStandby => "bookmarks::a_standby_gives_nothing",
        Mutant::NotifyAsTheOnlyWakeUp => "attach::without_a_version_a_snapshot_comes_first_then_changes",
        Mutant::TokenWithoutFingerprint => {
            "tokens::a_token_of_another_history_with_the_same_versions_is_reset_and_says_so"
        }
        Mutant::SnapshotKeptOverAReconnect | Mutant::DuplicatesByVersionAlone => {
            "faults::a_failover_that_lost_a_tail_is_shown_on_live_streams"
        }
    }
}

/// What a test says that fails; nothing when it passes.
async fn failure(mutant: Option<Mutant>, test: &str) -> Option<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact"]).env(VARIABLE, mutant.map(Mutant::name).unwrap_or_default());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let Ok(output) = timeout(LIMIT, child.wait_with_output()).await else {
        return Some(format!("what it waits for did not come within {} s", LIMIT.as_secs()));
    };
    let output = output.unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        assert!(said.contains("1 passed"), "there is no test {test}: {said}");
        return None;
    }
    assert!(said.contains("test result: FAILED"), "{said}");
    let panic = said.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    Some(panic.unwrap_or_default().chars().take(80).collect())
}

#[tokio::test]
async fn every_defect_of_the_stream_is_caught() {
    println!("| mutant | caught by | which said |\n| --- | --- | --- |");
    let mut survivors = Vec::new();
    for few in Mutant::ALL.chunks(4) {
        // Some only wait, so several run at once. Each passes when nothing is wrong.
        let tried = few.iter().map(async |mutant| {
            let test = test_of(*mutant);
            assert_eq!(failure(None, test).await, None, "without a defect");
            (*mutant, failure(Some(*mutant), test).await)
        });
        for (mutant, caught) in futures::future::join_all(tried).await {
            let said = caught.as_deref().unwrap_or("nothing: it survived");
            println!("| {mutant:?} | {} | {said} |", test_of(mutant));
            survivors.extend(caught.is_none().then_some(mutant));
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}
