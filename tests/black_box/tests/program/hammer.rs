//! Two processes on one PostgreSQL hammer one team's account with holds, captures, releases and spends: figures exact, no
//! deadlock, and nobody starves.

use std::time::{Duration, Instant};

use black_box::journal::{Journal, rows};
use black_box::{Options, Program, api};
use proto::v1::{CaptureHoldRequest, HoldCreditsRequest, ReleaseHoldRequest, SpendCreditsRequest};
use sqlx::Row;
use tonic::{Code, Status};

const WORKERS: usize = 24;
const ROUNDS: usize = 40;
const CREDITS: i64 = 20_000;

/// What one worker took for good, and how long its calls took.
#[derive(Default)]
struct Work {
    taken: i64,
    refused: u32,
    waits: Vec<Duration>,
}

/// One worker's calls, each with a key of its own; the mix follows from its number and the round.
async fn work(addr: String, worker: usize) -> Work {
    let mut client = api::Api::at(&addr).client();
    let mut done = Work::default();
    for round in 0..ROUNDS {
        let key = |what: &str| format!("{worker}.{round}.{what}");
        let amount = 1 + i64::try_from((worker * 7 + round * 3) % 40).unwrap();
        let began = Instant::now();
        if (worker + round).is_multiple_of(3) {
            let spend = SpendCreditsRequest {
                account_id: "team".to_owned(),
                idempotency_key: key("spend"),
                amount,
                ..SpendCreditsRequest::default()
            };
            let answer = client.spend_credits(spend).await.map(|answer| answer.into_inner().spent);
            done.hear(began, answer);
            continue;
        }
        let hold = HoldCreditsRequest {
            account_id: "team".to_owned(),
            idempotency_key: key("hold"),
            amount,
            ttl: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
            ..HoldCreditsRequest::default()
        };
        let answer = client.hold_credits(hold).await;
        done.waits.push(began.elapsed());
        let hold_id = match answer {
            Ok(answer) => answer.into_inner().hold.unwrap().hold_id,
            Err(status) => {
                done.refuse(&status);
                continue;
            }
        };
        let began = Instant::now();
        if round.is_multiple_of(2) {
            let capture = CaptureHoldRequest {
                account_id: "team".to_owned(),
                idempotency_key: key("capture"),
                hold_id,
                amount: amount / 2,
                r#final: true,
                ..CaptureHoldRequest::default()
            };
            let answer = client.capture_hold(capture).await.map(|answer| answer.into_inner().captured);
            done.hear(began, answer);
        } else {
            let release = ReleaseHoldRequest {
                account_id: "team".to_owned(),
                idempotency_key: key("release"),
                hold_id,
                ..ReleaseHoldRequest::default()
            };
            done.hear(began, client.release_hold(release).await.map(|_| 0));
        }
    }
    done
}

impl Work {
    fn hear(&mut self, began: Instant, answer: Result<i64, Status>) {
        self.waits.push(began.elapsed());
        match answer {
            Ok(taken) => self.taken += taken,
            Err(status) => self.refuse(&status),
        }
    }

    /// The team may run out of credits; nothing else is a reason.
    fn refuse(&mut self, status: &Status) {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        self.refused += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_that_hammer_one_account_with_holds_and_spends_keep_it_exact_and_starve_nobody() {
    let database = harness::database().await;
    let options = Options::credits_on(&database);
    let (one, other) = tokio::join!(Program::start(&options), Program::start(&options));
    api::Api::at(one.ready.grpc()).grant(api::grant("team", "g", CREDITS)).await.unwrap();
    let addrs = [one.ready.grpc().to_owned(), other.ready.grpc().to_owned()];
    let workers = (0..WORKERS).map(|worker| tokio::spawn(work(addrs[worker % 2].clone(), worker)));
    let mut all = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        all.push(worker.await.unwrap());
    }

    let taken: i64 = all.iter().map(|work| work.taken).sum();
    let journal = Journal::read(database.url()).await;
    let last = journal.credits_of("team").last().unwrap();
    assert_eq!((last.after.available, last.after.held), (CREDITS - taken, 0));
    assert!(journal.credits_of("team").iter().all(|entry| entry.after.available >= 0));
    let mut waits: Vec<Duration> = all.iter().flat_map(|work| work.waits.clone()).collect();
    waits.sort_unstable();
    let share = |share: usize| waits[(waits.len() - 1) * share / 100];
    let slowest = |work: &Work| work.waits.iter().max().copied().unwrap_or_default();
    let mean = |work: &Work| work.waits.iter().sum::<Duration>() / u32::try_from(work.waits.len()).unwrap();
    let (worst, best) = (all.iter().map(mean).max().unwrap(), all.iter().map(mean).min().unwrap());
    println!(
        "{} calls of {WORKERS} workers through two processes: p50 {:?}, p99 {:?}, longest {:?}; mean of the slowest \
         worker {worst:?}, of the quickest {best:?}; {} refused",
        waits.len(),
        share(50),
        share(99),
        all.iter().map(slowest).max().unwrap(),
        all.iter().map(|work| work.refused).sum::<u32>(),
    );
    // A lock that one process keeps winning would leave the other's workers far behind.
    assert!(worst < 10 * best + Duration::from_millis(200), "{worst:?} against {best:?}");
    assert!(one.stop().await.success() && other.stop().await.success());
    let statistics = "select deadlocks from pg_stat_database where datname = current_database()";
    let deadlocks: i64 = rows(database.pool(), statistics).await[0].get(0);
    assert_eq!(deadlocks, 0);
}
