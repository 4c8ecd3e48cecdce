//! Whether anything can be sent over a connection.
//!
//! All answers and streams of a connection share one window of what its client has not read (RFC 9113, 5.2). A client
//! that reads some of its streams and not the others can use it up with the latter; then nothing moves, and neither
//! server nor client can tell why. The window is not to be seen from here. What is: hyper asks a body for more as
//! soon as the body's own window and the shared one have room. A body that gave something and is not asked again is
//! blocked; when one is blocked and none was asked for long, the connection is stuck, and only its end frees the others.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// What the bodies of one connection have in common.
#[derive(Debug)]
pub(super) struct Flow {
    began: Instant,
    /// When a body was asked last, in milliseconds since `began`.
    asked_ms: AtomicU64,
    /// Bodies that gave something and were not asked since.
    blocked: AtomicUsize,
}

impl Flow {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), asked_ms: AtomicU64::new(0), blocked: AtomicUsize::new(0) })
    }

    /// Passes a body on.
    pub(super) fn watch<B>(self: &Arc<Self>, body: B) -> Flowing<B> {
        Flowing { body, flow: Arc::clone(self), is_blocked: false }
    }

    /// Waits until the connection is stuck: a body has waited, and none was asked, for `limit`.
    pub(super) async fn stuck(&self, limit: Duration) {
        let mut look_at = Instant::now() + limit;
        loop {
            sleep_until(look_at).await;
            let asked_at = self.began + Duration::from_millis(self.asked_ms.load(Ordering::Relaxed));
            let is_blocked = self.blocked.load(Ordering::Relaxed) > 0;
            if is_blocked && Instant::now() >= asked_at + limit {
                return;
            }
            // What is idle is looked at rarely; what is blocked, when its time is up.
            let from = if is_blocked { asked_at } else { Instant::now() };
            look_at = from + limit;
        }
    }
}

/// A body that tells whether it is asked for more.
#[derive(Debug)]
pub(super) struct Flowing<B> {
    body: B,
    flow: Arc<Flow>,
    is_blocked: bool,
}

impl<B> Flowing<B> {
    fn block(&mut self, is_blocked: bool) {
        match (self.is_blocked, is_blocked) {
            (false, true) => self.flow.blocked.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.flow.blocked.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
        self.is_blocked = is_blocked;
    }
}

impl<B> Drop for Flowing<B> {
    fn drop(&mut self) {
        self.block(false);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Flowing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let asked_ms = u64::try_from(self.flow.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.flow.asked_ms.store(asked_ms, Ordering::Relaxed);
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let gave = matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_data());
        self.block(gave);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
