//! Whether anything can be sent over a connection.
//!
//! All answers and streams of a connection share one window of what its client has not read (RFC 9113, 5.2). A client
//! that reads some of its streams and not the others can use it up with the latter; then nothing moves, and neither
//! server nor client can tell why. The window is not to be seen from here. What is: hyper asks a body for more when what it
//! gave before has found room, and only then; for its first chunk, and when it wakes with nothing waiting, it is asked in any
//! case. So a body that gave something and is not asked again is blocked, and one that is asked again shows that
//! something moved. When one is blocked and nothing has moved for long, the connection is stuck, and only its end frees
//! the others.

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
    /// When something moved last, or began to wait while nothing else did; in milliseconds since `began`.
    moved_ms: AtomicU64,
    /// Bodies that gave something and were not asked since.
    blocked: AtomicUsize,
}

impl Flow {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), moved_ms: AtomicU64::new(0), blocked: AtomicUsize::new(0) })
    }

    /// Passes a body on.
    pub(super) fn watch<B>(self: &Arc<Self>, body: B) -> Flowing<B> {
        Flowing { body, flow: Arc::clone(self), is_blocked: false }
    }

    fn moved(&self) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Waits until the connection is stuck: a body has waited, and nothing has moved, for `limit`.
    pub(super) async fn stuck(&self, limit: Duration) {
        let mut look_at = Instant::now() + limit;
        loop {
            sleep_until(look_at).await;
            let is_blocked = self.blocked.load(Ordering::Acquire) > 0;
            let moved_at = self.began + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
            if is_blocked && Instant::now() >= moved_at + limit {
                return;
            }
            // What is idle is looked at rarely; what is blocked, when its time is up.
            let from = if is_blocked { moved_at } else { Instant::now() };
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
    /// It has given something.
    fn block(&mut self) {
        // Before it counts, so that nobody takes an old time for its own.
        if self.flow.blocked.load(Ordering::Relaxed) == 0 {
            self.flow.moved();
        }
        self.flow.blocked.fetch_add(1, Ordering::Release);
        self.is_blocked = true;
    }

    /// What it gave is on its way, or is not wanted any more. Whether it was blocked.
    fn unblock(&mut self) -> bool {
        let was_blocked = std::mem::take(&mut self.is_blocked);
        if was_blocked {
            self.flow.blocked.fetch_sub(1, Ordering::Relaxed);
        }
        was_blocked
    }
}

impl<B> Drop for Flowing<B> {
    fn drop(&mut self) {
        self.unblock();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Flowing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.unblock() {
            self.flow.moved();
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(&polled, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            self.block();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
