//! One reader's stream from its first message to its end.
//!
//! | stage | what comes next |
//! | --- | --- |
//! | refused | the targets that are not watched, each with its reason |
//! | live | what the relay has, until it ends the stream, the process ends, or the stream is old |
//! | leaving | what is ready already, then GoAway with a token that covers all that was sent |
//! | left | SHUTTING_DOWN when the process ends; nothing for a stream that is old |

use std::time::Duration;

use proto::v1;
use proto::v1::watch_credits_response::Event as Sent;
use rand::RngExt;
use relay::Subscription;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Refused, proto_message, removed};
use crate::error::CallError;
use crate::limits::MAX_RECONNECT_PAUSE;
use crate::streams::StreamPermit;

/// Why a stream ends that could go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    ProcessEnds,
    Old,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Live,
    Leaving(Why),
    Left(Why),
    Ended,
}

/// An open stream; dropping it gives its permit back.
pub(super) struct Open {
    subscription: Subscription,
    refused: std::vec::IntoIter<<Refused as IntoIterator>::Item>,
    closing: CancellationToken,
    old_at: Instant,
    stage: Stage,
    _permit: StreamPermit,
}

type Next = Result<v1::WatchCreditsResponse, CallError>;

impl Open {
    /// The stream lives for `age` to twice that: load that came in one moment leaves in many.
    pub(super) fn new(
        subscription: Subscription,
        refused: Refused,
        closing: CancellationToken,
        age: Duration,
        permit: StreamPermit,
    ) -> Self {
        let old_at = Instant::now() + age + age.mul_f64(rand::rng().random());
        let stage = Stage::Live;
        Self { subscription, refused: refused.into_iter(), closing, old_at, stage, _permit: permit }
    }

    /// The next message, an error once, then nothing.
    pub(super) async fn next(&mut self) -> Option<Next> {
        if let Some((account, unit, error)) = self.refused.next() {
            let event = Sent::TargetChange(removed(&account, &unit, error));
            return Some(Ok(v1::WatchCreditsResponse { event: Some(event) }));
        }
        if self.stage == Stage::Live
            && let Some(next) = self.live().await
        {
            return self.checked(next);
        }
        match self.stage {
            Stage::Leaving(_) if self.subscription.owes() => {
                let next = self.relayed().await;
                self.checked(next)
            }
            Stage::Leaving(why) => {
                self.stage = Stage::Left(why);
                let pause = MAX_RECONNECT_PAUSE.mul_f64(rand::rng().random());
                let event = Sent::GoAway(v1::GoAway {
                    resume_token: self.subscription.close().unwrap_or_default(),
                    reconnect_after: prost_types::Duration::try_from(pause).ok(),
                });
                Some(Ok(v1::WatchCreditsResponse { event: Some(event) }))
            }
            Stage::Left(Why::ProcessEnds) => {
                self.stage = Stage::Ended;
                Some(Err(CallError::ShuttingDown))
            }
            Stage::Live | Stage::Left(Why::Old) | Stage::Ended => None,
        }
    }

    /// What the relay has; none when it is time to leave.
    async fn live(&mut self) -> Option<Option<Next>> {
        let closing = self.closing.clone();
        let why = tokio::select! {
            biased;
            () = closing.cancelled() => Why::ProcessEnds,
            () = sleep_until(self.old_at) => Why::Old,
            next = self.relayed() => return Some(next),
        };
        self.stage = Stage::Leaving(why);
        None
    }

    async fn relayed(&mut self) -> Option<Next> {
        let next = self.subscription.next().await?;
        Some(next.map_err(CallError::Subscription).and_then(proto_message))
    }

    fn checked(&mut self, next: Option<Next>) -> Option<Next> {
        if next.as_ref().is_none_or(Result::is_err) {
            self.stage = Stage::Ended;
        }
        next
    }
}
