//! The accept loop of the HTTP/1.1 listeners (edge and operations).
//!
//! Promises: connections, header sizes and the time that headers may take are bounded, whoever connects; on shutdown
//! nothing new is accepted, requests under way are answered, idle connections are closed.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What strangers can make one listener hold. `axum::serve` bounds neither.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListenerLimits {
    /// Connections at once; more wait in the kernel's queue. Each costs two small buffers.
    connections: usize,
    /// How long headers may take, and how long a connection may stay idle between requests.
    header_timeout: Duration,
}

/// Stripe opens a few connections, and sends a request's head in one go.
pub(crate) const LISTENER_LIMITS: ListenerLimits =
    ListenerLimits { connections: 1024, header_timeout: Duration::from_secs(15) };
/// Bytes buffered of one connection: headers are far smaller, bodies are read in parts.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// The pause after a failed accept (no file descriptors left): others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then until the requests under way are answered. The caller bounds that wait.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ListenerLimits,
    shutdown: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(limits.connections));
    while let Some((stream, permit)) = next(&listener, &permits, &shutdown).await {
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks is its client's business.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The next connection with its place; `None` at shutdown.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let accepted = async {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        accepted = accepted => accepted,
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_request_under_way_is_answered_after_the_shutdown_began() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (inside, way_out) = (Arc::clone(&entered), Arc::clone(&leave));
        let route = get(move || async move {
            inside.notify_one();
            way_out.notified().await;
            "done"
        });
        let shutdown = CancellationToken::new();
        let served =
            tokio::spawn(serve(listener, Router::new().route("/", route), LISTENER_LIMITS, shutdown.clone()));
        let mut idle = TcpStream::connect(addr).await.unwrap();
        let mut busy = TcpStream::connect(addr).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        entered.notified().await;
        shutdown.cancel();
        // The idle connection is closed while the other one is still busy.
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(!served.is_finished());
        leave.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        served.await.unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
    }

    /// A listener with these limits that says "done"; it ends with the test.
    async fn served(limits: ListenerLimits) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "done"));
        tokio::spawn(serve(listener, router, limits, CancellationToken::new()));
        addr
    }

    async fn ask(addr: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_hung_up_on() {
        let limits = ListenerLimits { header_timeout: Duration::from_millis(200), ..LISTENER_LIMITS };
        let mut stream = TcpStream::connect(served(limits).await).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x").await.unwrap();
        let mut answer = Vec::new();
        let hung_up = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(hung_up.is_ok(), "the connection is still open");
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_until_one_ends() {
        let addr = served(ListenerLimits { connections: 1, ..LISTENER_LIMITS }).await;
        let first = TcpStream::connect(addr).await.unwrap();
        let mut second = Box::pin(ask(addr));
        let early = tokio::time::timeout(Duration::from_millis(200), &mut second).await;
        assert!(early.is_err(), "it was served beyond the limit");
        drop(first);
        assert!(second.await.ends_with("done"));
    }
}
