//! The whole write path against the reference model of the rules (`services/domain/tests/model/reference.rs`): random
//! commands over many accounts, two units each, clocks of their own, batches of all sizes, two processes, restarts, and
//! requests that poison their batch so that it is split.
//!
//! `TALLYSTICK_MODEL_COMMANDS` and `TALLYSTICK_MODEL_SEED` make a longer run, or one again:
//! `TALLYSTICK_MODEL_COMMANDS=1000000 cargo test --release -p tallystick-store --test model -- --nocapture`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[path = "apply/book.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod book;
#[path = "../../domain/tests/model/ledger.rs"]
#[expect(dead_code, reason = "the pure test's side")]
mod ledger;
#[path = "model/player.rs"]
mod player;
#[path = "../../domain/tests/model/reference.rs"]
mod reference;
#[path = "../../domain/tests/model/steps.rs"]
#[expect(dead_code, reason = "time and states are set for whole accounts here")]
mod steps;

use std::time::{Duration, Instant};

use book::{Book, account, command, operation, policy, soon};
use domain::{Action, Threshold, Unit};
use player::{Play, Player};
use steps::Dice;
use store::{ApplyError, Policy, Request, Store, StoreOptions};

const ACCOUNTS: usize = 40;
/// Rounds between two comparisons of everything.
const COMPARE: usize = 40;
/// Rounds between two restarts of one of the processes.
const RESTART: usize = 25;

fn open(url: &str) -> Store {
    let (at, rearm_at) = player::THRESHOLD;
    let threshold = |unit| Threshold::try_new("low", Unit::try_new(unit).unwrap(), at, rearm_at).unwrap();
    let thresholds = player::UNITS.map(threshold).to_vec();
    Store::open(StoreOptions {
        database_url: url.to_owned(),
        lanes: 2,
        read_connections: 4,
        policy: Policy { thresholds, ..policy() },
    })
    .unwrap()
}

/// A request whose row the database refuses, whatever its batch: the batch is split until it stands alone.
fn poison(number: usize) -> Request {
    let mut request = command("poison", &format!("p{number}"), Action::Grant(book::a_grant(1)));
    if let Request::Command(command) = &mut request {
        command.context.reference = "poison".to_owned();
    }
    request
}

async fn prepare(book: &Book) {
    sqlx::raw_sql(
        "create function refuse_poison() returns trigger language plpgsql as $$
         begin
             if new.reference = 'poison' then raise exception 'poison'; end if;
             return new;
         end $$;
         create trigger poison before insert on entries for each row execute function refuse_poison();",
    )
    .execute(book.pool())
    .await
    .unwrap();
    for number in 0..ACCOUNTS {
        sqlx::query("insert into accounts (account_id, sandbox, created_at) values ($1, true, now())")
            .bind(player::name(number))
            .execute(book.pool())
            .await
            .unwrap();
    }
}

/// Moves the clocks and sets the states of all accounts, as their players want them.
async fn set_accounts(book: &Book, players: &[Player]) {
    let names: Vec<String> = (0..players.len()).map(player::name).collect();
    let clocks: Vec<f64> = players.iter().map(Player::clock_s).collect();
    let states: Vec<i16> = players.iter().map(Player::state_code).collect();
    sqlx::query(
        "update accounts a set test_clock_at = to_timestamp(new.clock), state = new.state
         from unnest($1::text[], $2::float8[], $3::smallint[]) as new(id, clock, state) where a.account_id = new.id",
    )
    .bind(names)
    .bind(clocks)
    .bind(states)
    .execute(book.pool())
    .await
    .unwrap();
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_path_agrees_with_the_model() {
    let seed = setting("TALLYSTICK_MODEL_SEED").unwrap_or(7);
    let wanted = setting("TALLYSTICK_MODEL_COMMANDS").unwrap_or(6_000);
    println!("seed {seed}, {wanted} commands");
    let began = Instant::now();
    let book = Book::new().await;
    prepare(&book).await;
    let mut stores = [open(book.database.url()), open(book.database.url())];
    let mut dice = Dice::new(seed);
    let mut players: Vec<Player> = (0..ACCOUNTS).map(Player::new).collect();
    let (mut commands, mut accepted, mut poisoned, mut restarts, mut round) =
        (0_u64, 0_u64, 0_u64, 0_u64, 0_usize);
    let mut told = Instant::now();
    while commands < wanted {
        round += 1;
        players.iter_mut().for_each(|player| player.pass_time(&mut dice));
        set_accounts(&book, &players).await;
        let mut calls = Vec::new();
        for (number, player) in players.iter_mut().enumerate() {
            if dice.one_in(3) {
                continue;
            }
            let plays: Vec<Play> = player.plays(&mut dice);
            let requests: Vec<Request> = plays.iter().map(|play| play.request.clone()).collect();
            let store = stores[dice.below(2)].clone();
            calls.push(async move { (number, plays, store.apply_in_order(requests, soon()).await) });
        }
        let is_poisoned = dice.one_in(8);
        let spoil = async {
            match is_poisoned {
                true => Some(stores[dice.below(2)].apply(poison(round), soon()).await),
                false => None,
            }
        };
        let (answers, spoilt) = tokio::join!(futures::future::join_all(calls), spoil);
        if let Some(answer) = spoilt {
            assert_eq!(answer, Err(ApplyError::Internal));
            poisoned += 1;
        }
        for (number, plays, answers) in answers {
            for (play, answer) in plays.into_iter().zip(answers) {
                commands += 1;
                accepted += u64::from(answer.is_ok());
                let says = |what: String| format!("seed {seed}, round {round}, account {number}: {what}");
                players[number].hear(play, answer).map_err(says).unwrap();
            }
        }
        if round % COMPARE == 0 {
            compare(&book, &stores[0], &players, (seed, round)).await;
        }
        if round % RESTART == 0 {
            let which = dice.below(2);
            stores[which].drain().await;
            stores[which] = open(book.database.url());
            restarts += 1;
        }
        if told.elapsed() > Duration::from_secs(20) {
            told = Instant::now();
            println!("{commands} of {wanted} commands, {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    compare(&book, &stores[0], &players, (seed, round)).await;
    harness::assert_invariants(book.pool()).await;
    let verified = book.store.verify(|_| {}).await.unwrap();
    println!(
        "{commands} commands agree, {accepted} accepted, {} entries, {round} rounds, {poisoned} split batches, \
         {restarts} restarts, {:.0} s",
        verified.entries,
        began.elapsed().as_secs_f64()
    );
    assert_eq!(operation(book.apply(book::grant("poison", "clean", 1)).await).0.entries.len(), 1);
}

/// Settles everything and compares figures, lots, holds and crossings of all balances.
async fn compare(book: &Book, store: &Store, players: &[Player], (seed, round): (u64, usize)) {
    set_accounts(book, players).await;
    for (number, player) in players.iter().enumerate() {
        for unit in player::UNITS {
            let unit = Unit::try_new(unit).unwrap();
            store.settle(account(&player::name(number)), unit, soon()).await.unwrap();
        }
        let compared = player.compare(book.pool()).await;
        compared.map_err(|what| format!("seed {seed}, round {round}, account {number}: {what}")).unwrap();
    }
}
