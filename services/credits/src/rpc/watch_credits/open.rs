//! One reader's stream from its first message to its end.
//!
//! | stage | what comes next |
//! | --- | --- |
//! | answers | what became of targets that were asked for or refused, before anything else |
//! | live | what the relay has, until it ends the stream, the process ends, or the stream is old |
//! | leaving | what is ready already, then GoAway with a token that covers all that was sent |
//! | left | SHUTTING_DOWN when the process ends; nothing for a stream that is old |
//!
//! A reader that asks on a live stream (`wishes`) has its turn once it was answered and the relay has sent a message, or
//! has none to send (or, while the database is away, until it is back): neither keeps the other waiting, and nothing piles up, since a message that is not read yet stays in
//! HTTP/2.

use std::collections::VecDeque;
use std::time::Duration;

use futures::Stream;
use proto::v1;
use proto::v1::watch_credits_response::Event as Sent;
use rand::RngExt;
use relay::{Message, Subscription, SubscriptionError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Refused, proto_message, removed, target_change};
use crate::error::CallError;
use crate::limits::MAX_RECONNECT_PAUSE;
use crate::rpc::CreditRpc;
use crate::rpc::watch_credit_set::{Wish, Wishes};
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

/// What ends a stream.
pub(in crate::rpc) struct Exits {
    closing: CancellationToken,
    /// The stream lives for this to twice this: load that came in one moment leaves in many.
    age: Duration,
}

impl CreditRpc {
    pub(in crate::rpc) fn exits(&self) -> Exits {
        Exits { closing: self.closing.clone(), age: self.stream_age }
    }
}

/// An open stream; dropping it gives its permit back.
pub(in crate::rpc) struct Open {
    rpc: &'static str,
    subscription: Subscription,
    answers: VecDeque<v1::TargetChange>,
    wishes: Option<Wishes>,
    /// It is the reader's turn to ask, too.
    hears: bool,
    closing: CancellationToken,
    old_at: Instant,
    stage: Stage,
    _permit: StreamPermit,
}

type Next = Result<Sent, Status>;

impl Open {
    pub(in crate::rpc) fn new(
        rpc: &'static str,
        subscription: Subscription,
        refused: Refused,
        exits: Exits,
        permit: StreamPermit,
    ) -> Self {
        let Exits { closing, age } = exits;
        let mut open = Self {
            rpc,
            subscription,
            answers: VecDeque::new(),
            wishes: None,
            hears: false,
            closing,
            old_at: Instant::now() + age + age.mul_f64(rand::rng().random()),
            stage: Stage::Live,
            _permit: permit,
        };
        open.refuse(refused);
        open
    }

    /// The same stream, whose reader asks for more, after it was told what became of its first targets.
    pub(in crate::rpc) fn hearing(self, answers: Vec<v1::TargetChange>, wishes: Wishes) -> Self {
        let answers = self.answers.into_iter().chain(answers).collect();
        Self { answers, wishes: Some(wishes), ..self }
    }

    /// As a stream.
    pub(in crate::rpc) fn into_stream(self) -> impl Stream<Item = Next> + Send {
        futures::stream::unfold(self, |mut open| async { open.next().await.map(|next| (next, open)) })
    }

    /// The next message, an error once, then nothing.
    async fn next(&mut self) -> Option<Next> {
        if self.stage == Stage::Live
            && let Some(next) = self.live().await
        {
            return self.checked(next);
        }
        if let Some(change) = self.answers.pop_front() {
            return Some(Ok(Sent::TargetChange(change)));
        }
        match self.stage {
            Stage::Leaving(_) if self.subscription.owes() => {
                let next = self.subscription.next().await.map(|next| relayed(next, self.rpc));
                self.checked(next)
            }
            Stage::Leaving(why) => {
                self.stage = Stage::Left(why);
                let pause = MAX_RECONNECT_PAUSE.mul_f64(rand::rng().random());
                Some(Ok(Sent::GoAway(v1::GoAway {
                    resume_token: self.subscription.close().unwrap_or_default(),
                    reconnect_after: prost_types::Duration::try_from(pause).ok(),
                })))
            }
            Stage::Left(Why::ProcessEnds) => {
                self.stage = Stage::Ended;
                Some(Err(CallError::ShuttingDown.into()))
            }
            Stage::Live | Stage::Left(Why::Old) | Stage::Ended => None,
        }
    }

    /// What is to be told, or what the relay has; none when it is time to leave.
    async fn live(&mut self) -> Option<Option<Next>> {
        loop {
            if let Some(change) = self.answers.pop_front() {
                return Some(Some(Ok(Sent::TargetChange(change))));
            }
            let hears = self.hears && !self.subscription.owes();
            let why = tokio::select! {
                biased;
                () = self.closing.cancelled() => Why::ProcessEnds,
                () = sleep_until(self.old_at) => Why::Old,
                Some(wish) = next_wish(&mut self.wishes), if hears => {
                    self.hears = false;
                    match wish {
                        Ok(wish) => self.grant(wish),
                        Err(status) => return Some(Some(Err(status))),
                    }
                    continue;
                }
                next = next_message(&mut self.subscription, hears) => {
                    self.hears = true;
                    match next {
                        Some(Ok(None)) => continue,
                        Some(Ok(Some(message))) => return Some(Some(relayed(Ok(message), self.rpc))),
                        Some(Err(error)) => return Some(Some(relayed(Err(error), self.rpc))),
                        None => return Some(None),
                    }
                }
            };
            self.stage = Stage::Leaving(why);
            return None;
        }
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Add { targets, refused } => {
                self.answers.extend(refused);
                for target in targets {
                    let answer = match self.subscription.add(&target) {
                        Ok(()) => target_change(&target.account, &target.unit, v1::TargetChangeState::Added),
                        Err(why) => {
                            removed(&target.account, &target.unit, CallError::not_added(&target, why))
                        }
                    };
                    self.answers.push_back(answer);
                }
            }
            Wish::Remove(balances) => {
                for (account, unit) in balances {
                    self.subscription.remove(&account, &unit);
                    self.answers.push_back(target_change(&account, &unit, v1::TargetChangeState::Removed));
                }
            }
        }
    }

    fn refuse(&mut self, refused: Refused) {
        let refused = refused.into_iter().map(|(account, unit, error)| removed(&account, &unit, error));
        self.answers.extend(refused);
    }

    fn checked(&mut self, next: Option<Next>) -> Option<Next> {
        if next.as_ref().is_none_or(Result::is_err) {
            self.stage = Stage::Ended;
        }
        next
    }
}

/// None where nobody asks on the stream.
async fn next_wish(wishes: &mut Option<Wishes>) -> Option<Result<Wish, Status>> {
    match wishes {
        Some(wishes) => Some(wishes.next().await),
        None => None,
    }
}

/// Nothing when it is the reader's turn again, before a message came.
async fn next_message(
    subscription: &mut Subscription,
    waits: bool,
) -> Option<Result<Option<Message>, SubscriptionError>> {
    if waits { subscription.next().await.map(|next| next.map(Some)) } else { subscription.next_ready().await }
}

fn relayed(next: Result<Message, SubscriptionError>, rpc: &'static str) -> Next {
    next.map_err(CallError::Subscription)
        .and_then(|message| proto_message(message, rpc))
        .map_err(Status::from)
}
