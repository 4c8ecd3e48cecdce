//! The accept loop of the gRPC listener, and each connection from its preface to its end.
//!
//! Promises: connections, the time that their preface may take and what a stream buffers are bounded, whoever connects;
//! on shutdown nothing new is accepted, calls under way are answered, and after the drain time, or when the loop is
//! dropped, no connection is left; a connection over which nothing moves is closed. Must not know: what is served.
//!
//! tonic's `Server` bounds none of these. What it adds to hyper nothing here needs: the client's address in the
//! request's extensions, and a timer for `grpc-timeout` (`caller` keeps deadlines, with time for the way back; a
//! message that never comes whole is ended by the last resort of `stack`).

mod flow;

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceExt;

use self::flow::Flow;
use crate::limits::{
    ACCEPT_PAUSE, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Limits, MAX_HEADER_BYTES, MAX_HTTP2_STREAMS,
    MAX_SEND_BUFFER_BYTES, MAX_UNREAD_BYTES, MAX_UNREAD_BYTES_OF_ALL,
};

/// What every HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves until `closing`, then until every connection has ended, at most the drain time.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    limits: &Limits,
    closing: &CancellationToken,
) {
    let routes = routes.prepare();
    let permits = Arc::new(Semaphore::new(limits.connections));
    // Dropped with this future, it cuts what is left.
    let mut connections = JoinSet::new();
    loop {
        let (stream, permit) = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        let (routes, limits, closing) = (routes.clone(), *limits, closing.clone());
        connections.spawn(async move {
            connection(stream, routes, &limits, &closing).await;
            drop(permit);
        });
    }
    // New clients are refused at once instead of waiting for an answer.
    drop(listener);
    drain(connections, limits.drain).await;
}

/// The next connection with its place.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
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
}

async fn drain(mut connections: JoinSet<()>, limit: Duration) {
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, all_ended).await.is_err() {
        let (drain_s, cut) = (limit.as_secs_f64(), connections.len());
        tracing::warn!(drain_s, cut, "connections did not close in time");
        connections.shutdown().await;
    }
}

/// One connection. A connection that breaks is its client's business.
async fn connection(stream: TcpStream, routes: Routes, limits: &Limits, closing: &CancellationToken) {
    let _ = stream.set_nodelay(true);
    let introduced = tokio::select! {
        biased;
        () = closing.cancelled() => return,
        introduced = tokio::time::timeout(limits.preface, introduced(stream)) => introduced,
    };
    let Ok(Some(stream)) = introduced else {
        tracing::debug!("a connection did not begin as HTTP/2 in time");
        return;
    };
    let flow = Flow::new();
    let bodies = Arc::clone(&flow);
    let routes = ServiceExt::<http::Request<Incoming>>::map_response(
        routes,
        move |response: http::Response<tonic::body::Body>| response.map(|body| bodies.watch(body)),
    );
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
        .initial_stream_window_size(MAX_UNREAD_BYTES)
        .initial_connection_window_size(MAX_UNREAD_BYTES_OF_ALL)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = flow.stuck(limits.stuck) => {
            tracing::warn!("a connection was closed whose client does not read");
            return;
        }
        () = closing.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// The stream from its beginning, once its preface is there; `None` as soon as it begins with anything else. hyper
/// waits for the preface without a limit.
async fn introduced(mut stream: TcpStream) -> Option<impl AsyncRead + AsyncWrite + Unpin + Send> {
    let mut have = [0; PREFACE.len()];
    let mut length = 0;
    while length < have.len() {
        let read = stream.read(have.get_mut(length..)?).await.ok()?;
        length += read;
        if read == 0 || have.get(..length) != PREFACE.get(..length) {
            return None;
        }
    }
    let (read, write) = stream.into_split();
    Some(tokio::io::join(Cursor::new(PREFACE).chain(read), write))
}
