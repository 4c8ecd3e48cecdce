//! Faults of PostgreSQL.

use std::sync::Arc;

use postgres::StopMode;
use sqlx::{Connection, PgConnection};

use super::Strike;
use super::freeze::{Frozen, children_of};
use crate::history::{Event, Nemesis};
use crate::source::blocking;
use crate::world::World;

/// What connections of services are called; those of the harness have no name.
const OF_SERVICES: &str = "select pid::text from pg_stat_activity where datname = current_database()
    and starts_with(application_name, 'tallystick') order by backend_start, pid";
const OF_TAILS: &str = "select pid::text from pg_stat_activity where datname = current_database()
    and application_name = 'tallystick tail' order by backend_start, pid";

/// kill -9 or immediate shutdown, and a start after a while.
pub(super) async fn stop(world: &World, strike: &Strike) {
    let _gate = world.source.gate.lock().await;
    let cluster = world.source.primary();
    strike.begin(world, None, "");
    let is_kill = strike.nemesis == Nemesis::KillPostgres;
    let stopped = Arc::clone(&cluster);
    blocking(move || if is_kill { stopped.kill() } else { stopped.stop(StopMode::Immediate) })
        .await
        .expect("PostgreSQL stops");
    strike.last(world).await;
    blocking(move || cluster.start_again()).await.expect("PostgreSQL starts again");
}

/// SIGSTOP of the postmaster and all its children.
pub(super) async fn freeze(world: &World, strike: &Strike) {
    let _gate = world.source.gate.lock().await;
    let Some(postmaster) = world.source.primary().pid() else { return };
    strike.begin(world, None, "");
    // The postmaster first: it could otherwise start another child between the listing and the signal.
    let _postmaster = Frozen::these(&[postmaster]);
    let _children = Frozen::these(&children_of(postmaster));
    strike.last(world).await;
}

/// SIGSTOP of one backend.
pub(super) async fn freeze_backend(world: &World, strike: &Strike) {
    let _gate = world.source.gate.lock().await;
    let pid = some_backend(world, strike, OF_SERVICES).await;
    strike.begin(world, None, &format!("{pid:?}"));
    let _backend = Frozen::these(&pid.into_iter().collect::<Vec<_>>());
    strike.last(world).await;
}

/// Ends connections of services.
pub(super) async fn terminate(world: &World, strike: &Strike) {
    let which = match strike.nemesis {
        Nemesis::TerminateTail => some_backend(world, strike, OF_TAILS).await,
        Nemesis::TerminateSome => some_backend(world, strike, OF_SERVICES).await,
        _ => None,
    };
    strike.begin(world, None, &format!("{which:?}"));
    let pids = which.map_or_else(|| "pid <> pg_backend_pid()".to_owned(), |pid| format!("pid = {pid}"));
    let end = format!(
        "select pg_terminate_backend(pid)::text from pg_stat_activity
         where datname = current_database() and starts_with(application_name, 'tallystick') and {pids}"
    );
    // A server that is down at the moment has ended them already.
    let _ = world.source.ask(&end).await;
    world.recorder.record(Event::Lift { strike: strike.number });
}

async fn some_backend(world: &World, strike: &Strike, which: &str) -> Option<i32> {
    let pids = world.source.ask(which).await.unwrap_or_default();
    let count = f64::from(u32::try_from(pids.len()).ok()?);
    let at = (strike.chance * count).floor();
    (0_u32..).zip(&pids).find(|(index, _)| f64::from(*index) >= at).and_then(|(_, pid)| pid.parse().ok())
}

/// A stranger's transaction that has an id, older than all that follow, and stays open.
pub(super) async fn idle_writer(world: &World, strike: &Strike) {
    let url = world.source.superuser_url();
    let opened = async {
        let mut connection = PgConnection::connect(&url).await?;
        let write = "begin; insert into accounts (account_id, created_at) values ('stranger', now())";
        sqlx::raw_sql(write).execute(&mut connection).await?;
        Ok::<_, sqlx::Error>(connection)
    };
    let opened = opened.await;
    strike.begin(world, None, if opened.is_ok() { "" } else { "not opened" });
    strike.last(world).await;
    // Rolled back with its connection.
    drop(opened);
}
