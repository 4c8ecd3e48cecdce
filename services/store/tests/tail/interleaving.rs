//! Seeded interleavings: writers that begin, write, commit and roll back in a random order, some with a
//! transaction id taken before any lock, some held open to the end. No step waits for a lock: the driver knows
//! who holds which account.

use std::collections::BTreeMap;

use harness::TestDatabase;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sqlx::{Connection, PgConnection};

use crate::checker::Checker;

const WRITERS: usize = 5;
const ACCOUNTS: usize = 4;
const STEPS: usize = 45;

/// The connections of the writers, used for one interleaving after the other.
pub struct Stage {
    writers: Vec<PgConnection>,
}

impl Stage {
    pub async fn new(database: &TestDatabase) -> Self {
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(PgConnection::connect(database.url()).await.unwrap());
        }
        Self { writers }
    }
}

/// A transaction in progress: the versions that it has written, which are also the accounts that it has locked.
#[derive(Default)]
struct Open {
    versions: BTreeMap<String, i64>,
    held_to_the_end: bool,
}

pub struct Interleaving<'a> {
    stage: &'a mut Stage,
    random: StdRng,
    seed: u64,
    accounts: Vec<String>,
    open: Vec<Option<Open>>,
    steps_left: usize,
    pub checker: Checker,
}

impl<'a> Interleaving<'a> {
    pub fn new(stage: &'a mut Stage, seed: u64) -> Self {
        let accounts: Vec<String> = (0..ACCOUNTS).map(|n| format!("seed{seed}/{n}")).collect();
        Self {
            stage,
            random: StdRng::seed_from_u64(seed),
            seed,
            checker: Checker::new(&accounts),
            accounts,
            open: (0..WRITERS).map(|_| None).collect(),
            steps_left: STEPS,
        }
    }

    /// Plays on until a poll is due. False: that poll is the last, everything has ended.
    pub async fn play_to_next_poll(&mut self) -> bool {
        if self.steps_left == STEPS {
            let accounts: Vec<&str> = self.accounts.iter().map(String::as_str).collect();
            prepare(&mut self.stage.writers[0], &accounts).await;
        }
        while self.steps_left > 0 {
            self.steps_left -= 1;
            if self.random.random_bool(0.2) {
                return true;
            }
            let writer = self.random.random_range(0..WRITERS);
            self.step(writer).await;
        }
        for writer in 0..WRITERS {
            if self.open[writer].is_some() {
                self.end(writer).await;
            }
        }
        false
    }

    async fn step(&mut self, writer: usize) {
        match &self.open[writer] {
            None => self.begin(writer).await,
            Some(open) if open.held_to_the_end && self.random.random_bool(0.7) => {}
            Some(open) if !open.held_to_the_end && self.random.random_bool(0.35) => self.end(writer).await,
            Some(_) => self.write(writer).await,
        }
    }

    async fn begin(&mut self, writer: usize) {
        let takes_id_first = self.random.random_bool(0.4);
        let sql = if takes_id_first { "begin; select pg_current_xact_id()" } else { "begin" };
        sqlx::raw_sql(sql).execute(&mut self.stage.writers[writer]).await.unwrap();
        let held_to_the_end = self.random.random_bool(0.1);
        self.open[writer] = Some(Open { held_to_the_end, ..Open::default() });
    }

    /// Locks an account that no other transaction has, then appends one to three versions.
    async fn write(&mut self, writer: usize) {
        let others = || self.open.iter().enumerate().filter(|(n, _)| *n != writer);
        let is_free = |account: &&String| {
            !others().any(|(_, open)| open.as_ref().is_some_and(|open| open.versions.contains_key(*account)))
        };
        let free: Vec<&String> = self.accounts.iter().filter(is_free).collect();
        let Some(account) = free.choose(&mut self.random).map(|account| (*account).clone()) else { return };
        let rows = self.random.random_range(1..=3);
        let slot = i16::try_from((self.seed + u64::try_from(self.steps_left).unwrap()) % 16).unwrap();
        let committed = self.checker.committed(&account);
        let open = self.open[writer].as_mut().unwrap();
        let last = open.versions.get(&account).copied().unwrap_or(committed);
        let connection = &mut self.stage.writers[writer];
        lock(connection, &account).await;
        insert(connection, slot, &account, last + 1, last + rows).await;
        open.versions.insert(account, last + rows);
    }

    async fn end(&mut self, writer: usize) {
        let open = self.open[writer].take().unwrap();
        let commits = self.random.random_bool(0.75);
        let sql = if commits { "commit" } else { "rollback" };
        sqlx::raw_sql(sql).execute(&mut self.stage.writers[writer]).await.unwrap();
        if commits {
            self.checker.commit(open.versions);
        }
    }
}

pub async fn prepare(connection: &mut PgConnection, accounts: &[&str]) {
    sqlx::query("insert into accounts (account_id, created_at) select unnest($1::text[]), now()")
        .bind(accounts)
        .execute(connection)
        .await
        .unwrap();
}

async fn lock(connection: &mut PgConnection, account: &str) {
    sqlx::query("select account_id from accounts where account_id = $1 for no key update")
        .bind(account)
        .execute(connection)
        .await
        .unwrap();
}

pub async fn insert(connection: &mut PgConnection, slot: i16, account: &str, first: i64, last: i64) {
    sqlx::query(
        "insert into outbox (slot, account_id, unit, version, operation_index, operation_size, entry_hash, \
         event, created_at) select $1, $2, 'credits', version, 0, 1, decode(repeat('00', 32), 'hex'), '\\x01', \
         clock_timestamp() from generate_series($3, $4) as version",
    )
    .bind(slot)
    .bind(account)
    .bind(first)
    .bind(last)
    .execute(connection)
    .await
    .unwrap();
}

/// One transaction that waits for the lock and appends the next version.
pub async fn append_under_lock(
    connection: &mut PgConnection,
    account: &str,
    takes_id_first: bool,
    aborts: bool,
) {
    let mut tx = connection.begin().await.unwrap();
    if takes_id_first {
        sqlx::query("select pg_current_xact_id()::text").execute(&mut *tx).await.unwrap();
    }
    lock(&mut tx, account).await;
    let next: i64 =
        sqlx::query_scalar("select coalesce(max(version), 0) + 1 from outbox where account_id = $1")
            .bind(account)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    insert(&mut tx, 0, account, next, next).await;
    if aborts { tx.rollback().await.unwrap() } else { tx.commit().await.unwrap() }
}
