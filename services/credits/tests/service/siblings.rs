//! Streams of one connection, one of which is not read. They share the window of what the client has not read.

use std::time::{Duration, Instant};

use credits::{Limits, ServerConfig};
use proto::v1;
use proto::v1::credit_service_client::CreditServiceClient;
use proto::v1::watch_credits_response::Event;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::batches::commands;
use crate::served::{LIMIT, Served, balance_of, config, grant, served_with};

/// The window of one stream: that which HTTP/2 begins with (RFC 9113, 6.9.2).
const WINDOW: u32 = 65_535;
/// Short, so that a test need not wait for 40 s.
const STUCK: Duration = Duration::from_secs(1);

async fn served() -> Served {
    served_with(ServerConfig { limits: Limits { stuck: STUCK, ..Limits::default() }, ..config() }).await
}

/// A connection of its own whose streams together may leave so much unread.
async fn client(served: &Served, window: u32) -> CreditServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(window);
    CreditServiceClient::new(endpoint.connect().await.unwrap())
}

async fn watch(
    client: &mut CreditServiceClient<Channel>,
    account: &str,
) -> Streaming<v1::WatchCreditsResponse> {
    try_watch(client, account).await.unwrap()
}

async fn try_watch(
    client: &mut CreditServiceClient<Channel>,
    account: &str,
) -> Result<Streaming<v1::WatchCreditsResponse>, tonic::Status> {
    let target = v1::WatchTarget { account_id: account.to_owned(), ..v1::WatchTarget::default() };
    let request = v1::WatchCreditsRequest { targets: vec![target], ..v1::WatchCreditsRequest::default() };
    client.watch_credits(request).await.map(tonic::Response::into_inner)
}

/// Changes of more bytes than the window of a stream.
async fn write_much(served: &Served, account: &str) {
    let wordy = |n: usize| {
        let mut grant = grant(account, &format!("{account}/{n}"), 1);
        (grant.reference, grant.reason) = ("r".repeat(255), "r".repeat(255));
        v1::Command { command: Some(v1::command::Command::Grant(grant)) }
    };
    let changes = (0..200).map(wordy).collect();
    served.client().apply_batch(commands(changes)).await.unwrap();
}

/// The next state of the balance, in whichever form.
async fn next_version(stream: &mut Streaming<v1::WatchCreditsResponse>) -> Result<i64, tonic::Status> {
    loop {
        let message = tokio::time::timeout(LIMIT, stream.message()).await.expect("a message in time");
        match message?.expect("the stream goes on").event.unwrap() {
            Event::Snapshot(snapshot) => return Ok(snapshot.balance.unwrap().version),
            Event::Changes(changes) => return Ok(changes.entries.last().unwrap().version),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_reads_goes_on_beside_one_that_does_not() {
    let served = served().await;
    let mut client = client(&served, 4 * WINDOW).await;
    let mut unread = watch(&mut client, "unread").await;
    let mut read = watch(&mut client, "read").await;
    assert_eq!(next_version(&mut read).await.unwrap(), 0);
    write_much(&served, "unread").await;
    let until = Instant::now() + 3 * STUCK;
    let mut version = 0;
    while Instant::now() < until {
        version += 1;
        served.client().grant_credits(grant("read", &format!("k{version}"), 1)).await.unwrap();
        assert_eq!(next_version(&mut read).await.unwrap(), version);
    }
    // The other one comes back and has missed nothing.
    while next_version(&mut unread).await.unwrap() < 200 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_window_another_one_used_up_gets_a_new_connection_in_bounded_time() {
    let served = served().await;
    let mut client = client(&served, WINDOW).await;
    let _unread = watch(&mut client, "unread").await;
    let mut read = watch(&mut client, "read").await;
    assert_eq!(next_version(&mut read).await.unwrap(), 0);
    write_much(&served, "unread").await;
    let began = Instant::now();
    served.client().grant_credits(grant("read", "k", 1)).await.unwrap();
    // Calls that are answered into the same window, and give up, do not make it look alive.
    let mut caller = client.clone();
    let calling = tokio::spawn(async move {
        loop {
            let mut request = tonic::Request::new(balance_of("read"));
            request.set_timeout(STUCK / 3);
            let _ = tokio::time::timeout(STUCK / 3, caller.get_balance(request)).await;
        }
    });
    // What was under way before may still come; then nothing does, until the connection is closed.
    while next_version(&mut read).await.is_ok() {}
    calling.abort();
    assert!(began.elapsed() < STUCK * 5, "closed after {:?}", began.elapsed());
    // A call that catches the channel with the old connection still in hand is cancelled.
    let mut again = harness::eventually_some("a new connection", LIMIT, || {
        let mut client = client.clone();
        async move { try_watch(&mut client, "read").await.ok() }
    })
    .await;
    assert_eq!(next_version(&mut again).await.unwrap(), 1);
}
