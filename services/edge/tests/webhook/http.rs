//! A running edge, and an HTTP client that says exactly the bytes that a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use edge::{ApiKey, EdgeConfig, EdgeLimits, WEBHOOK_PATH};
use signature::{Secret, Secrets, sign};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;

pub(crate) const NOW_S: i64 = 1_700_000_000;
pub(crate) const SECRET: &str = "whsec_edge";
/// An answer that takes longer than this has hung.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Starts an edge on a free port; it runs until the test ends.
pub(crate) async fn edge(channel: Channel, limits: EdgeLimits) -> SocketAddr {
    let config = EdgeConfig {
        secrets: Secrets::parse(&format!("whsec_older,{SECRET}")).unwrap(),
        api_key: Some(ApiKey::try_new("tsk_edge").unwrap()),
        limits,
        now_s: || NOW_S,
        measures: edge::Measures::default(),
        entropy: || [7; 24],
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = edge::router(config, channel);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

pub(crate) fn signature(body: &[u8]) -> String {
    signature_with(SECRET, NOW_S, body)
}

pub(crate) fn signature_with(secret: &str, at_s: i64, body: &[u8]) -> String {
    sign(&Secret::try_new(secret).unwrap(), u64::try_from(at_s).unwrap(), body)
}

/// A request's head; `headers` are whole lines.
pub(crate) fn head(method: &str, path: &str, headers: &[&str]) -> Vec<u8> {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n{lines}\r\n").into_bytes()
}

/// Posts a body with these further header lines.
pub(crate) async fn post(edge: SocketAddr, headers: &[&str], body: &[u8]) -> Reply {
    let length = format!("content-length: {}", body.len());
    let headers: Vec<&str> = headers.iter().copied().chain([length.as_str()]).collect();
    let request = [head("POST", WEBHOOK_PATH, &headers).as_slice(), body].concat();
    send(edge, &request).await
}

/// Posts a body with its right signature.
pub(crate) async fn post_signed(edge: SocketAddr, body: &[u8]) -> Reply {
    post(edge, &[&format!("Stripe-Signature: {}", signature(body))], body).await
}

/// Says these bytes and nothing more, and reads until the edge hangs up.
pub(crate) async fn send(edge: SocketAddr, request: &[u8]) -> Reply {
    let exchange = async {
        let mut stream = TcpStream::connect(edge).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.unwrap();
        String::from_utf8(reply).unwrap()
    };
    let reply = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, body: body.to_owned() }
}
