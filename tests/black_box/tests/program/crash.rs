//! kill -9 of the service and of PostgreSQL in the middle of a load of grants and spends (I7): what was acknowledged is
//! there, what was refused is not, and a watcher goes on at its version without a gap.

use std::sync::Arc;

use black_box::history::{Tally, assert_truth, assert_watched, versions};
use black_box::journal::Journal;
use black_box::load::{Load, Plan};
use black_box::{Options, Program, Watcher, seed};
use harness::TestDatabase;
use postgres::Cluster;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::{LIMIT, assert_healthy};

/// Faults of one test. Each strikes after a number of acknowledged calls that chance chooses.
const ROUNDS: u32 = 3;
const WORKERS: usize = 8;

/// A service on a server of its own, under load and watched.
struct Scene {
    cluster: Arc<Cluster>,
    database: TestDatabase,
    options: Options,
    program: Program,
    accounts: Vec<String>,
    watcher: Watcher,
    load: Load,
    random: StdRng,
}

impl Scene {
    async fn set(test: &str) -> Self {
        let seed = seed::choose(test);
        let cluster = Arc::new(tokio::task::spawn_blocking(harness::cluster).await.unwrap());
        let database = harness::database_on(&cluster).await;
        // The same port again after a restart: callers and watchers come back to where they were.
        let addr = format!("127.0.0.1:{}", harness::free_port());
        let options = Options::credits_on(&database).grpc_addr(&addr);
        let program = Program::start(&options).await;
        let accounts: Vec<String> = (1..=4).map(|n| format!("user_{n}")).collect();
        let watcher = Watcher::start(&addr, None, &accounts);
        let plan =
            Plan { addrs: vec![addr], api_key: None, accounts: accounts.clone(), workers: WORKERS, seed };
        let load = Load::start(&plan);
        let random = seed::random(seed);
        Self { cluster, database, options, program, accounts, watcher, load, random }
    }

    /// Until some more calls were acknowledged, so that the next fault strikes in the middle of work.
    async fn go_on(&mut self) {
        let calls = self.random.random_range(30..300);
        self.load.more_acknowledged(calls, LIMIT).await;
    }

    async fn kill_service(&mut self) {
        self.program.process.kill9().await;
        self.program = Program::start(&self.options).await;
    }

    async fn kill_postgres(&mut self) {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || {
            cluster.kill().unwrap();
            cluster.start_again().unwrap();
        })
        .await
        .unwrap();
    }

    /// Ends the load and checks everything that anybody was told.
    async fn check(mut self) -> Tally {
        self.go_on().await;
        let calls = self.load.finish().await;
        assert_healthy(&mut self.program).await;
        let journal = Journal::read(self.database.url()).await;
        let tally = assert_truth(&calls, &journal);
        for (account, version) in versions(&self.accounts, &journal) {
            self.watcher.reaches(account, version, LIMIT).await;
        }
        let seen = self.watcher.finish();
        assert_watched(&seen, &journal);
        assert!(self.program.stop().await.success());
        eprintln!("{tally:?}, the watcher resumed {} times", seen.resumed);
        tally
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_under_load_loses_nothing_that_it_acknowledged() {
    let mut scene = Scene::set("crash of the service").await;
    for _ in 0..ROUNDS {
        scene.go_on().await;
        scene.kill_service().await;
    }
    let tally = scene.check().await;
    assert!(tally.unknown > 0, "no call was under way at any of the kills: {tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_killed_under_load_loses_nothing_that_was_acknowledged() {
    let mut scene = Scene::set("crash of PostgreSQL").await;
    for _ in 0..ROUNDS {
        scene.go_on().await;
        scene.kill_postgres().await;
    }
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_while_postgres_is_down_comes_back_with_it() {
    let mut scene = Scene::set("crash of both").await;
    scene.go_on().await;
    scene.cluster.kill().unwrap();
    scene.program.process.kill9().await;
    let cluster = Arc::clone(&scene.cluster);
    tokio::task::spawn_blocking(move || cluster.start_again().unwrap()).await.unwrap();
    scene.program = Program::start(&scene.options).await;
    scene.check().await;
}
