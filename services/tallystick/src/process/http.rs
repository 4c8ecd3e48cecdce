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

/// Connections of one listener; more wait in the kernel's queue. Each costs two small buffers.
const MAX_CONNECTIONS: usize = 1024;
/// How long headers may take, and how long a connection may stay idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes buffered of one connection: headers are far smaller, bodies are read in parts.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// The pause after a failed accept (no file descriptors left): others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then until the requests under way are answered. The caller bounds that wait.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some((stream, permit)) = next(&listener, &permits, &shutdown).await {
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
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
        let served = tokio::spawn(serve(listener, Router::new().route("/", route), shutdown.clone()));
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
}
