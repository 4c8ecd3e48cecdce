//! `dev --data-dir`: its data and its PostgreSQL after a kill -9, and two of them in one directory.

use std::time::Duration;

use black_box::journal::Journal;
use black_box::scratch::DataDir;
use black_box::{Options, Program, Watcher, api, run};
use nix::sys::signal::{Signal, kill};

use crate::{LIMIT, assert_healthy};

#[tokio::test(flavor = "multi_thread")]
async fn data_survive_a_kill_of_dev_and_of_its_postgres_and_the_directory_belongs_to_one_dev_at_a_time() {
    let dir = DataDir::new();
    let options = Options::dev_in(&dir.path());
    let mut first = Program::start(&options).await;
    let addr = first.ready.grpc().to_owned();
    run(&["grant", "user_1", "1000", "--json", "--addr", &addr]).await.json();

    // A second one must not touch the server of the first.
    let refused = run(&["dev", "--data-dir", &dir.path(), "--grpc-addr", "127.0.0.1:0"]).await;
    assert_eq!((refused.code(), refused.stdout.len()), (1, 0), "{refused:?}");
    assert!(refused.stderr.contains(&dir.path()), "it names the directory: {}", refused.stderr);
    assert_healthy(&mut first).await;

    // Its PostgreSQL outlives it, and is adopted or replaced.
    let server = dir.server().expect("a PostgreSQL runs there");
    first.process.kill9().await;
    let mut second = Program::start(&options).await;
    let api = api::Api::at(second.ready.grpc());
    api.spend(api::spend("user_1", "after the kill", 1)).await.unwrap();
    assert_healthy(&mut second).await;

    // Its PostgreSQL dies under it: dev has it back by itself.
    let server = dir.server().unwrap_or(server);
    let watcher = Watcher::start(second.ready.grpc(), None, &["user_1".to_owned()]);
    watcher.reaches("user_1", 2, LIMIT).await;
    kill(server, Signal::SIGKILL).unwrap();
    harness::eventually("another PostgreSQL", LIMIT, || async {
        dir.server().is_some_and(|pid| pid != server)
    })
    .await;
    harness::eventually("a spend", LIMIT, || async {
        api.spend(api::spend("user_1", "after the crash", 2)).await.is_ok()
    })
    .await;
    watcher.reaches("user_1", 3, LIMIT).await;
    let journal = Journal::read(second.ready.text("database_url")).await;
    assert_eq!(journal.credits_of("user_1").last().unwrap().after.available, 997);

    // An orderly end leaves the data and no process.
    assert!(second.stop().await.success());
    harness::eventually("the end of PostgreSQL", Duration::from_secs(5), || async { dir.server().is_none() })
        .await;
    let third = Program::start(&options).await;
    let balance = api::Api::at(third.ready.grpc()).balance(api::balance_of("user_1")).await.unwrap();
    assert_eq!((balance.available, balance.version), (997, 3));
    assert!(third.stop().await.success());
}
