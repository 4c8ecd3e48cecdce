//! Connections whose clients do not do their part, how many there may be, and how they end with the server.

use std::time::Duration;

use credits::{Limits, ServerConfig};
use prost::Message;
use proto::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::served::{LIMIT, Served, config, grant, served_with};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer than any test: what happens does not happen because of it.
const NEVER: Duration = Duration::from_secs(3600);
/// Short, and long enough for the client of a busy machine.
const SOON: Duration = Duration::from_millis(500);

async fn served_within(limits: Limits) -> Served {
    served_with(ServerConfig { limits, ..config() }).await
}

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

/// Waits until the server has closed the connection, in whichever way.
async fn assert_closed(mut stream: TcpStream) {
    let mut told = Vec::new();
    let closed = tokio::time::timeout(LIMIT, stream.read_to_end(&mut told)).await;
    assert!(closed.is_ok(), "the connection is still open");
}

/// Waits until the server has ended in order.
async fn assert_ends(served: Served) {
    tokio::time::timeout(LIMIT, served.server).await.unwrap().unwrap().unwrap();
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header as HPACK literal without index (RFC 7541, 6.2.2).
fn header((name, value): (&str, &str)) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// What a client sends that watches `user_1` and lets the server send no byte of the stream.
fn watch_without_window() -> Vec<u8> {
    let target = v1::WatchTarget { account_id: "user_1".to_owned(), ..v1::WatchTarget::default() };
    let request = v1::WatchCreditsRequest { targets: vec![target], ..v1::WatchCreditsRequest::default() };
    let request = request.encode_to_vec();
    let length = u32::try_from(request.len()).unwrap().to_be_bytes();
    let message = [&[0], length.as_slice(), &request].concat();
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/tallystick.credits.v1.CreditService/WatchCredits"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let no_window = [0, 4, 0, 0, 0, 0];
    let headers = headers.map(header).concat();
    let frames = [frame(4, 0, 0, &no_window), frame(1, 4, 1, &headers), frame(0, 1, 1, &message)];
    [PREFACE, &frames.concat()].concat()
}

/// Calls under way, as the service counts them.
fn in_flight(measures: &credits::Measures) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    measures.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("rpc_in_flight "));
    line.unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_preface_is_hung_up_on() {
    let served = served_within(Limits { preface: SOON, ..Limits::default() }).await;
    let silent = connect(&served).await;
    let mut half = connect(&served).await;
    half.write_all(&PREFACE[..12]).await.unwrap();
    tokio::join!(assert_closed(silent), assert_closed(half));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_protocol_is_hung_up_on_at_once() {
    let served = served_within(Limits { preface: NEVER, ..Limits::default() }).await;
    let mut other = connect(&served).await;
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_closed(other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_comes_in_pieces_is_one() {
    let served = served_within(Limits { preface: NEVER, ..Limits::default() }).await;
    let mut stream = connect(&served).await;
    stream.set_nodelay(true).unwrap();
    for piece in [&PREFACE[..1], &PREFACE[1..20], &PREFACE[20..], &frame(4, 0, 0, &[])] {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut head = [0; 9];
    tokio::time::timeout(LIMIT, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], 4, "the server's first frame is not SETTINGS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_does_not_keep_a_server_that_ends() {
    let served = served_within(Limits { preface: NEVER, drain: NEVER, ..Limits::default() }).await;
    let silent = connect(&served).await;
    let mut half = connect(&served).await;
    half.write_all(&PREFACE[..12]).await.unwrap();
    served.shutdown.cancel();
    tokio::join!(assert_ends(served), assert_closed(silent), assert_closed(half));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_its_stream_is_cut_when_the_drain_is_over() {
    let config = ServerConfig { limits: Limits { drain: SOON, ..Limits::default() }, ..config() };
    let measures = config.measures.clone();
    let served = served_with(config).await;
    let mut stuck = connect(&served).await;
    stuck.write_all(&watch_without_window()).await.unwrap();
    harness::eventually("the watch is open", LIMIT, || async { in_flight(&measures) == "1" }).await;
    served.shutdown.cancel();
    assert_ends(served).await;
    assert_closed(stuck).await;
    harness::eventually("its call is over", LIMIT, || async { in_flight(&measures) == "0" }).await;
}

/// The call waits for a lock that the test holds until the server has begun to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_is_answered_after_the_end_began() {
    let served = served_within(Limits { drain: NEVER, ..Limits::default() }).await;
    let mut client = served.client();
    client.grant_credits(grant("user_1", "k0", 1)).await.unwrap();
    let mut lock = served.database.pool().begin().await.unwrap();
    sqlx::raw_sql("select 1 from accounts for update").execute(&mut *lock).await.unwrap();
    let waiting = tokio::spawn(async move { client.grant_credits(grant("user_1", "k1", 1)).await });
    harness::eventually("the call waits for the lock", LIMIT, || async {
        let waits = "select exists (select 1 from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock')";
        sqlx::query_scalar(waits).fetch_one(served.database.pool()).await.unwrap()
    })
    .await;
    served.shutdown.cancel();
    harness::eventually("nobody is let in", LIMIT, || async {
        TcpStream::connect(served.address).await.is_err()
    })
    .await;
    lock.rollback().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_ends(served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    // The only place is taken by the channel of `served`.
    let served = served_within(Limits { connections: 1, ..Limits::default() }).await;
    served.client().grant_credits(grant("user_1", "k", 1)).await.unwrap();
    let mut second = connect(&served).await;
    second.write_all(PREFACE).await.unwrap();
    let mut head = [0; 9];
    let early = tokio::time::timeout(Duration::from_millis(200), second.read_exact(&mut head)).await;
    assert!(early.is_err(), "it was served beyond the limit");
    drop(served.channel);
    tokio::time::timeout(LIMIT, second.read_exact(&mut head)).await.unwrap().unwrap();
}
