//! An HTTP client that says exactly the bytes that a test wants: one request a connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer has hung: the edge answers within 8 s whatever happens.
const LIMIT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// `GET path` of `addr`; `None` when nobody answers there.
pub async fn try_get(addr: &str, path: &str) -> Option<Reply> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    timeout(LIMIT, exchange(addr, request.as_bytes())).await.ok().flatten()
}

/// `GET path` of `addr`.
///
/// # Panics
/// When nobody answers.
pub async fn get(addr: &str, path: &str) -> Reply {
    try_get(addr, path).await.unwrap_or_else(|| panic!("GET {addr}{path}: no answer"))
}

/// `POST path` of `addr` with these header lines and this body.
///
/// # Panics
/// When nobody answers within 20 s.
pub async fn post(addr: &str, path: &str, headers: &[String], body: &[u8]) -> Reply {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\ncontent-length: {length}\r\n{lines}\r\n"
    );
    let request = [head.as_bytes(), body].concat();
    let reply = timeout(LIMIT, exchange(addr, &request)).await.ok().flatten();
    reply.unwrap_or_else(|| panic!("POST {addr}{path}: no answer"))
}

async fn exchange(addr: &str, request: &[u8]) -> Option<Reply> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    stream.write_all(request).await.ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, body: body.to_owned() })
}
