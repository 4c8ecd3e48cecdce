//! The edge's table of answers, row by row, over real sockets, with a credits service that does as it is told.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod fake;
mod http;

use std::time::Duration;

use edge::{EdgeLimits, WEBHOOK_PATH};
use fake::{Behaviour, Fake, channel_to};
use http::{NOW_S, edge, head, post, post_signed, send, signature, signature_with};
use tonic::Code;

const BODY: &[u8] = br#"{"id":"evt_1","object":"event","type":"ping"}"#;
const INVALID: &str = r#"{"error":"invalid_webhook"}"#;

fn limits() -> EdgeLimits {
    EdgeLimits::default()
}

#[tokio::test]
async fn a_signed_event_is_forwarded_unchanged_and_answered_200() {
    let fake = Fake::new(Behaviour::Commit);
    let edge = edge(fake.serve().await, limits()).await;
    let reply = post_signed(edge, BODY).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"received":true}"#));
    let seen = fake.seen();
    assert_eq!(seen.len(), 1);
    let (metadata, request) = &seen[0];
    assert_eq!((&request.body[..], &request.signature), (BODY, &signature(BODY)));
    assert_eq!(request.received_at.unwrap().seconds, NOW_S);
    assert_eq!(metadata.get("authorization").unwrap(), "Bearer tsk_edge");
    let made = "00-07070707070707070707070707070707-0707070707070707-01";
    assert_eq!(metadata.get("traceparent").unwrap(), made);
    let timeout = metadata.get("grpc-timeout").unwrap().to_str().unwrap();
    let timeout_us: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
    assert!((1..=8_000_000).contains(&timeout_us), "{timeout}");
}

#[tokio::test]
async fn a_valid_traceparent_is_passed_on() {
    let fake = Fake::new(Behaviour::Commit);
    let edge = edge(fake.serve().await, limits()).await;
    let sign = format!("stripe-signature: {}", signature(BODY));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(post(edge, &[&sign, &format!("traceparent: {trace}")], BODY).await.status, 200);
    assert_eq!(fake.seen()[0].0.get("traceparent").unwrap(), trace);
}

#[tokio::test]
async fn whatever_is_wrong_with_the_signature_the_answer_is_one_fixed_400() {
    let fake = Fake::new(Behaviour::Commit);
    let edge = edge(fake.serve().await, limits()).await;
    let line = |value: &str| format!("stripe-signature: {value}");
    let good = line(&signature(BODY));
    let wrong = [
        vec![],
        vec![line("")],
        vec![line("bad_header")],
        vec![line("t=1700000000")],
        vec![line(&format!("t=1,{}", signature(BODY)))],
        vec![good.clone(), good.clone()],
        vec![line(&format!("{0},{0}", signature(BODY)))],
        vec![line(&signature_with("whsec_other", NOW_S, BODY))],
        vec![line(&signature_with(http::SECRET, NOW_S - 301, BODY))],
        vec![line(&signature_with(http::SECRET, NOW_S + 301, BODY))],
        vec![line(&signature(b"{}"))],
        vec![line(&format!("{},v0=\u{e9}", signature(BODY)))],
        vec![format!("signature: {}", signature(BODY))],
    ];
    for lines in wrong {
        let headers: Vec<&str> = lines.iter().map(String::as_str).collect();
        let reply = post(edge, &headers, BODY).await;
        assert_eq!((reply.status, reply.body.as_str()), (400, INVALID), "{lines:?}");
    }
    assert_eq!(post_signed(edge, b"").await.status, 400, "an empty body is no event, signed or not");
    assert!(fake.seen().is_empty(), "nothing of this may reach the service");
    assert_eq!(post(edge, &[&good], BODY).await.status, 200);
}

#[tokio::test]
async fn what_the_service_calls_no_event_is_the_same_400() {
    let fake = Fake::new(Behaviour::Refuse(Code::InvalidArgument));
    let edge = edge(fake.serve().await, limits()).await;
    let reply = post_signed(edge, b"not an event").await;
    assert_eq!((reply.status, reply.body.as_str()), (400, INVALID));
}

#[tokio::test]
async fn any_other_status_of_the_service_is_503() {
    let codes = (1..=16).map(Code::from_i32).filter(|code| *code != Code::InvalidArgument);
    for code in codes {
        let fake = Fake::new(Behaviour::Refuse(code));
        let edge = edge(fake.serve().await, limits()).await;
        assert_eq!(post_signed(edge, BODY).await.status, 503, "{code:?}");
        assert_eq!(fake.seen().len(), 1, "one try each");
    }
}

#[tokio::test]
async fn a_service_that_is_down_or_hangs_is_503_before_stripe_stops_waiting() {
    let limits = EdgeLimits { answer_timeout: Duration::from_millis(300), ..limits() };
    let hanging = edge(Fake::new(Behaviour::Hang).serve().await, limits).await;
    assert_eq!(post_signed(hanging, BODY).await.status, 503);
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let down = edge(channel_to(address), limits).await;
    assert_eq!(post_signed(down, BODY).await.status, 503);
}

#[tokio::test]
async fn nothing_is_answered_before_the_commit() {
    let fake = Fake::held();
    let edge = edge(fake.serve().await, limits()).await;
    let delivery = tokio::spawn(post_signed(edge, BODY));
    fake.entered.acquire().await.unwrap().forget();
    assert!(!delivery.is_finished());
    fake.permits.add_permits(1);
    assert_eq!(delivery.await.unwrap().status, 200);
}

#[tokio::test]
async fn beyond_the_limit_of_requests_the_answer_is_503_at_once() {
    let fake = Fake::held();
    let edge = edge(fake.serve().await, EdgeLimits { max_in_flight: 2, ..limits() }).await;
    let first = tokio::spawn(post_signed(edge, BODY));
    let second = tokio::spawn(post_signed(edge, BODY));
    fake.entered.acquire_many(2).await.unwrap().forget();
    assert_eq!(post_signed(edge, BODY).await.status, 503);
    assert_eq!(fake.seen().len(), 2, "the third never reached the service");
    fake.permits.add_permits(3);
    assert_eq!((first.await.unwrap().status, second.await.unwrap().status), (200, 200));
    assert_eq!(post_signed(edge, BODY).await.status, 200, "the places are free again");
}

#[tokio::test]
async fn a_body_up_to_the_limit_passes_and_a_larger_one_is_413() {
    let fake = Fake::new(Behaviour::Commit);
    let edge = edge(fake.serve().await, limits()).await;
    let exact = vec![b' '; 512 * 1024];
    assert_eq!(post_signed(edge, &exact).await.status, 200);
    for bytes in [512 * 1024 + 1, 3 * 1024 * 1024] {
        assert_eq!(post_signed(edge, &vec![b' '; bytes]).await.status, 413, "{bytes} bytes");
    }
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_large_body_without_a_declared_length_is_413_too() {
    let fake = Fake::new(Behaviour::Commit);
    let edge = edge(fake.serve().await, limits()).await;
    let sign = format!("stripe-signature: {}", signature(BODY));
    let mut request = head("POST", WEBHOOK_PATH, &[&sign, "transfer-encoding: chunked"]);
    for _ in 0..9 {
        request.extend_from_slice(format!("{:x}\r\n{}\r\n", 65536, " ".repeat(65536)).as_bytes());
    }
    request.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(send(edge, &request).await.status, 413);
    let mut small = head("POST", WEBHOOK_PATH, &[&sign, "transfer-encoding: chunked"]);
    let text = std::str::from_utf8(BODY).unwrap();
    small.extend_from_slice(format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).as_bytes());
    assert_eq!(send(edge, &small).await.status, 200);
}

#[tokio::test]
async fn a_sender_that_asks_first_is_told_413_before_it_sends() {
    let edge = edge(Fake::new(Behaviour::Commit).serve().await, limits()).await;
    let request = head("POST", WEBHOOK_PATH, &["content-length: 600000", "expect: 100-continue"]);
    assert_eq!(send(edge, &request).await.status, 413);
    let request = head("POST", WEBHOOK_PATH, &["content-length: 99999999999"]);
    assert_eq!(send(edge, &request).await.status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408() {
    let fake = Fake::new(Behaviour::Commit);
    let limits = EdgeLimits { body_timeout: Duration::from_millis(200), ..limits() };
    let edge = edge(fake.serve().await, limits).await;
    let sign = format!("stripe-signature: {}", signature(BODY));
    let mut request = head("POST", WEBHOOK_PATH, &[&sign, "content-length: 45"]);
    request.extend_from_slice(&BODY[..10]);
    assert_eq!(send(edge, &request).await.status, 408);
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn other_methods_are_405_and_other_paths_404_and_nothing_redirects() {
    let edge = edge(Fake::new(Behaviour::Commit).serve().await, limits()).await;
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        assert_eq!(send(edge, &head(method, WEBHOOK_PATH, &[])).await.status, 405, "{method}");
    }
    for path in
        ["/", "/api/v1/webhooks/stripe/", "/api//v1/webhooks/stripe", "/API/v1/webhooks/stripe", "/metrics"]
    {
        assert_eq!(send(edge, &head("POST", path, &["content-length: 0"])).await.status, 404, "{path}");
    }
}
