//! Two replicas that are replaced one after the other under load: the client library's watchers lose nothing and see
//! nothing twice, and each process is gone in time, also with a client that never finishes its handshake.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use black_box::history::versions;
use black_box::journal::Journal;
use black_box::load::{Load, Plan};
use black_box::{Options, Program, seed};
use client::{Update, Watcher};
use proto::v1::WatchTarget;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::LIMIT;

const WATCHERS: usize = 40;
/// The default of `--grace`, within which a process ends whatever its clients do.
const GRACE: Duration = Duration::from_secs(10);

/// Versions of each account that one watcher was told, in the order in which they came.
type Seen = Arc<Mutex<BTreeMap<String, Vec<i64>>>>;

fn watch(addrs: &[String], first: usize, accounts: &[String]) -> Seen {
    let addr = |n: usize| format!("http://{}", addrs[(first + n) % addrs.len()]);
    let builder = Watcher::builder().bookmark_interval(Duration::from_secs(1));
    let builder = (0..addrs.len()).fold(builder, |builder, n| builder.endpoint(addr(n)));
    let target = |account: &String| WatchTarget {
        account_id: account.clone(),
        after_version: Some(0),
        ..WatchTarget::default()
    };
    let builder = accounts.iter().map(target).fold(builder, client::Builder::target);
    let mut watcher = builder.build().unwrap();
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some(update) = watcher.next().await {
            match update.unwrap() {
                Update::Changes { account_id, entries, .. } => {
                    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    noted.entry(account_id).or_default().extend(entries.iter().map(|entry| entry.version));
                }
                Update::Snapshot { reason, .. } => panic!("a jump: {reason:?}"),
                _ => {}
            }
        }
    });
    seen
}

fn newest(seen: &Seen, account: &str) -> i64 {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.get(account).and_then(|versions| versions.last()).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_replaced_under_load_cost_their_watchers_nothing_and_end_in_time() {
    let database = harness::database().await;
    let seed = seed::choose("rolling");
    let addrs: Vec<String> = (0..2).map(|_| format!("127.0.0.1:{}", harness::free_port())).collect();
    let options: Vec<Options> =
        addrs.iter().map(|addr| Options::credits_on(&database).grpc_addr(addr)).collect();
    let accounts: Vec<String> = (1..=4).map(|n| format!("user_{n}")).collect();
    let (one, other) = tokio::join!(Program::start(&options[0]), Program::start(&options[1]));
    let watchers: Vec<Seen> = (0..WATCHERS).map(|n| watch(&addrs, n, &accounts)).collect();
    let plan = Plan { addrs: addrs.clone(), api_key: None, accounts: accounts.clone(), workers: 4, seed };
    let load = Load::start(&plan);
    let mut running = Vec::new();
    for (program, options, addr) in [(one, &options[0], &addrs[0]), (other, &options[1], &addrs[1])] {
        load.more_acknowledged(100, LIMIT).await;
        // Half of a handshake, open until the test ends.
        let mut stuck = TcpStream::connect(addr).await.unwrap();
        stuck.write_all(b"PRI * HTTP/2").await.unwrap();
        let asked = Instant::now();
        assert!(program.stop().await.success());
        assert!(asked.elapsed() < GRACE, "{:?}", asked.elapsed());
        running.push((Program::start(options).await, stuck));
    }
    load.more_acknowledged(100, LIMIT).await;
    load.finish().await;
    let journal = Journal::read(database.url()).await;
    for (account, last) in versions(&accounts, &journal) {
        for seen in &watchers {
            harness::eventually("every watcher at the last version", LIMIT, async || {
                newest(seen, account) >= last
            })
            .await;
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(seen[account].iter().copied().eq(1..=last), "{account}: {:?}", seen[account]);
        }
    }
}
