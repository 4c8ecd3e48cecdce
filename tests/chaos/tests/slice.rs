//! A minute of chaos: every fault once, in a random order, and every validator over what was seen.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the functions that tests share panic too")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chaos::history::{Event, History, Nemesis};
use chaos::report::Report;
use chaos::validate::{Bounds, validate};
use chaos::{Progress, Settings};

/// Validators that every round gives something to look at; the others depend on what chance brings.
const ALWAYS: [&str; 13] = [
    "ordered",
    "unique",
    "reliable",
    "atomic",
    "resumed",
    "bookmarked",
    "current",
    "diverged",
    "converged",
    "keys",
    "streamed",
    "truthful",
    "audited",
];

fn begun(history: &History) -> BTreeSet<Nemesis> {
    let begun = history.records().filter_map(|(_, record)| match &record.event {
        Event::Begin { nemesis, .. } => Some(*nemesis),
        _ => None,
    });
    begun.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_once_and_nothing_that_anybody_was_told_contradicts_the_contract() {
    let seed = harness::seed::choose("chaos slice");
    let name = format!("slice-{seed}-{}", std::process::id());
    let settings = Settings {
        seed,
        // One round of faults, however long it takes.
        duration: Duration::ZERO,
        replicas: 2,
        nemeses: chaos::possible(),
        dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
        program: tokio::task::spawn_blocking(harness::program).await.unwrap().clone(),
        mutant: None,
        accounts: 5,
        writers: 6,
        pause: Duration::from_millis(20),
        wanderers: 4,
        command: format!("TALLYSTICK_TEST_SEED={seed} cargo test -p tallystick-chaos --test slice"),
    };
    let tell = |progress: &Progress| eprintln!("{:>6.1} s {}", progress.elapsed.as_secs_f64(), progress.what);
    chaos::run(&settings, tell).await.unwrap();
    let history = History::read(&settings.dir).unwrap();
    let verdict = validate(&history, &Bounds::default());
    let report = Report::new(&verdict, history.len(), settings.command.clone());
    assert!(report.passed, "{}history: {}", report.table(), settings.dir.display());
    let idle =
        verdict.findings.iter().filter(|(name, findings)| ALWAYS.contains(name) && findings.checked == 0);
    let idle: Vec<&str> = idle.map(|(name, _)| *name).collect();
    assert!(idle.is_empty(), "nothing to look at for {idle:?}: {}", settings.dir.display());
    assert!(begun(&history).into_iter().eq(settings.nemeses.iter().copied().collect::<BTreeSet<_>>()));
    std::fs::remove_dir_all(&settings.dir).unwrap();
}
