//! Episodes that change the database: another server takes over, with the end of the history or without it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use harness::Proxy;
use postgres::Cluster;
use tokio::sync::MutexGuard;
use tokio::time::sleep;

use super::Strike;
use crate::history::Event;
use crate::source::{ask, blocking};
use crate::world::World;

/// A standby of a small database is there before, however busy the machine.
const LIMIT: Duration = Duration::from_secs(90);

/// An asynchronous standby loses its connection to the primary, the primary goes on and dies, and the standby takes
/// over without what was written meanwhile.
pub(super) async fn failover(world: &World, strike: &Strike) {
    let _gate = world.source.gate.lock().await;
    let primary = world.source.primary();
    strike.begin(world, None, "");
    let replication = Proxy::start(address(&primary)).await;
    let (old, through) = (Arc::clone(&primary), replication.address());
    let standby = blocking(move || standby_of(&old, through)).await;
    let url = standby.superuser_url();
    // What is acknowledged before now lies before this place of the log.
    let kept_before = world.recorder.now();
    let place = world.source.ask("select pg_current_wal_insert_lsn()::text").await.expect("the place");
    let reached = format!("select (pg_last_wal_receive_lsn() >= '{}')::text", place.concat());
    harness::eventually("a standby that follows", LIMIT, async || {
        ask(&url, &reached).await.is_ok_and(|said| said.concat() == "true")
    })
    .await;
    replication.refuse();
    replication.cut();
    // Written, acknowledged, and lost.
    sleep(strike.span).await;
    blocking(move || primary.kill()).await.expect("the primary dies");
    ask(&url, "select pg_promote()::text").await.expect("the standby is promoted");
    harness::eventually("a primary", LIMIT, async || {
        ask(&url, "select pg_is_in_recovery()::text").await.is_ok_and(|said| said.concat() == "false")
    })
    .await;
    take_over(world, strike, standby, kept_before).await;
}

/// The database is dumped and restored into a new cluster, while the services are cut off; or, by chance, the dump is
/// older than the end of the history.
pub(super) async fn restore(world: &World, strike: &Strike) {
    let _gate = world.source.gate.lock().await;
    let is_stale = strike.chance < 0.5;
    strike.begin(world, None, if is_stale { "an older dump" } else { "nothing is lost" });
    let mut own = Vec::new();
    for replica in &world.replicas {
        own.push(replica.to_database.lock().await);
    }
    let dir = scratch("dump");
    fs::create_dir(&dir).expect("make a directory");
    let dump = dir.join("dump");
    let kept_before = if is_stale {
        let kept_before = world.recorder.now();
        dumped(world, &dump).await;
        sleep(strike.span).await;
        cut_off(world).await;
        kept_before
    } else {
        cut_off(world).await;
        let kept_before = world.recorder.now();
        dumped(world, &dump).await;
        kept_before
    };
    let name = world.source.name().to_owned();
    let restored = blocking(move || {
        let cluster = harness::cluster();
        let sql = format!("create database {name} owner {}", postgres::OWNER);
        run("psql", &["--no-psqlrc", "--quiet", "--command", &sql, "--dbname", &cluster.superuser_url()]);
        let url = cluster.superuser_url_of(&name);
        run(
            "pg_restore",
            &["--exit-on-error", "--dbname", &url, dump.to_str().expect("a path that is text")],
        );
        fs::remove_dir_all(&dir).expect("remove the dump");
        cluster
    });
    let restored = restored.await;
    take_over(world, strike, restored, kept_before).await;
    for replica in &world.replicas {
        replica.database.admit();
    }
    drop::<Vec<MutexGuard<'_, ()>>>(own);
}

/// Every replica goes to another server, and the old one ends.
async fn take_over(world: &World, strike: &Strike, primary: Cluster, kept_before: u64) {
    for replica in &world.replicas {
        replica.database.redirect(address(&primary));
        replica.database.cut();
    }
    let old = world.source.replace(Arc::new(primary));
    blocking(move || drop(old)).await;
    world.recorder.record(Event::Lost { strike: strike.number, kept_before });
    world.recorder.record(Event::Lift { strike: strike.number });
}

/// No service reaches the database, and what they had begun is over.
async fn cut_off(world: &World) {
    for replica in &world.replicas {
        replica.database.refuse();
        replica.database.cut();
    }
    let left = "select pg_terminate_backend(pid)::text from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'";
    harness::eventually("a database without clients", LIMIT, async || {
        world.source.ask(left).await.is_ok_and(|left| left.is_empty())
    })
    .await;
}

async fn dumped(world: &World, dump: &Path) {
    let (url, dump) = (world.source.superuser_url(), dump.to_owned());
    blocking(move || {
        let file = dump.to_str().expect("a path that is text");
        run("pg_dump", &["--format=custom", "--compress=0", "--file", file, "--dbname", &url]);
    })
    .await;
}

/// A standby that follows the primary through a proxy.
fn standby_of(primary: &Cluster, through: SocketAddr) -> Cluster {
    let seed = scratch("standby");
    fs::create_dir(&seed).expect("make a directory");
    let data = seed.join("cluster");
    let url = primary.superuser_url();
    let target = data.to_str().expect("a path that is text");
    run("pg_basebackup", &["--pgdata", target, "--checkpoint=fast", "--no-sync", "--dbname", &url]);
    for (name, url) in [("superuser.password", url.as_str()), ("owner.password", &primary.database_url())] {
        fs::write(seed.join(name), password(url)).expect("write a password");
    }
    let follow = format!(
        "primary_conninfo = 'host={} port={} user={} password={}'\n",
        through.ip(),
        through.port(),
        postgres::SUPERUSER,
        password(&url)
    );
    let settings = data.join("postgresql.auto.conf");
    let before = fs::read_to_string(&settings).unwrap_or_default();
    fs::write(&settings, before + &follow).expect("write the settings");
    fs::write(data.join("standby.signal"), "").expect("make a standby");
    let standby = harness::cluster_from(&seed);
    fs::remove_dir_all(&seed).expect("remove the backup");
    standby
}

fn address(cluster: &Cluster) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.port()))
}

/// Of `postgres://user:password@…`.
fn password(url: &str) -> &str {
    let user = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(user, _)| user);
    user.and_then(|user| user.split_once(':')).map_or("", |(_, password)| password)
}

fn scratch(purpose: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tallystick-chaos-{purpose}-{:016x}", rand::random::<u64>()))
}

/// Whether the programs of these episodes are there: some packages of PostgreSQL have the server alone.
pub(super) fn are_possible() -> bool {
    ["psql", "pg_dump", "pg_restore", "pg_basebackup"]
        .iter()
        .all(|name| harness::server_program(name).is_some())
}

fn run(name: &str, arguments: &[&str]) {
    let path = harness::server_program(name).unwrap_or_else(|| panic!("no {name} beside the server"));
    let output = Command::new(path).args(arguments).output().expect("run a program of PostgreSQL");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}
