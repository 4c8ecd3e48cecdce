//! Steps 4 and 5 of a subscription: targets are compared with their heads, and those that are behind are filled from the
//! journal.

use std::sync::Arc;
#[cfg(feature = "mutants")]
use std::time::Duration;

use store::StoredBalance;
#[cfg(feature = "mutants")]
use store::tail::mutants::{self, Mutant};

use super::journal::Page;
use super::watched::{Comparison, Watched};
use super::{Message, Mode, SnapshotReason, Subscription};
use crate::error::SubscriptionError;
use crate::heads::{NoHeads, Wanted};
use crate::limits::MAX_CATCH_UP;

impl Subscription {
    /// Reads the heads of all pending targets and decides for each.
    pub(super) async fn compare_pending(&mut self) -> Result<(), SubscriptionError> {
        self.pending.retain(|target| self.targets.contains_key(target));
        let asked: Vec<u32> = self.pending.iter().copied().collect();
        let wanted: Vec<Wanted> =
            asked.iter().filter_map(|target| self.targets.get(target)).map(Watched::wanted).collect();
        let heads = match self.sources.heads.read(wanted).await {
            Ok(heads) => heads,
            Err(NoHeads::Stopping) => return Err(SubscriptionError::Stopping),
            Err(NoHeads::Store(error)) => return self.try_later(error).await,
        };
        self.pause.reset();
        #[cfg(feature = "mutants")]
        self.forget_what_was_queued(&asked).await;
        for (target, head) in asked.into_iter().zip(heads) {
            let Some(watched) = self.targets.get_mut(&target) else { continue };
            self.behind.retain(|(other, _)| *other != target);
            let version = watched.version();
            let compared = match (watched.compare(&head), self.mode) {
                // What the reader has is in the journal: it gets the newest state instead of what lies between.
                (Comparison::Behind(_), Mode::Latest)
                | (Comparison::Snapshot(SnapshotReason::ResetTooOld), Mode::Latest) => {
                    watched.skip_to(&head);
                    Comparison::Snapshot(SnapshotReason::Conflated)
                }
                (compared, _) => compared,
            };
            self.pending.remove(&target);
            match compared {
                Comparison::Level => {}
                Comparison::Snapshot(SnapshotReason::ResetTooOld) if self.require_history => {
                    self.lose(target, head.balance, version)?;
                }
                Comparison::Behind(goal) => self.behind.push_back((target, goal)),
                Comparison::Snapshot(reason) => {
                    let snapshot = Message::Snapshot { balance: head.balance, reason };
                    self.outgoing.push_back((target, snapshot));
                }
            }
            if !matches!(compared, Comparison::Behind(_)) {
                self.say_current(target);
            }
        }
        Ok(())
    }

    /// The defect `ReadBeforeSubscribe`: when a target is read for the first time, nothing was queued before.
    #[cfg(feature = "mutants")]
    async fn forget_what_was_queued(&self, asked: &[u32]) {
        let is_new = |target: &u32| self.targets.get(target).is_some_and(|it| it.sent_hash().is_none());
        if mutants::is(Mutant::ReadBeforeSubscribe) && asked.iter().any(is_new) {
            tokio::time::sleep(Duration::from_millis(30)).await;
            self.watch.mailbox.forget();
        }
    }

    /// Changes of a target are not sent from so far back, and the reader wants nothing else.
    fn lose(&mut self, target: u32, balance: StoredBalance, version: i64) -> Result<(), SubscriptionError> {
        let oldest = balance.version.saturating_sub(MAX_CATCH_UP);
        let StoredBalance { account, unit, .. } = balance;
        self.forget(target);
        if self.targets.is_empty() && !self.is_set {
            return Err(SubscriptionError::HistoryNotAvailable { account, version, oldest });
        }
        self.outgoing.push_back((target, Message::Removed { account, unit, version, oldest }));
        Ok(())
    }

    /// What the reader has of the target is at least as new as when it was asked for: it was compared with the primary
    /// since then.
    fn say_current(&mut self, target: u32) {
        if self.fresh.remove(&target)
            && let Some(watched) = self.targets.get(&target)
        {
            self.outgoing.push_back((target, watched.current()));
        }
    }

    /// Sends one page of the journal of a target that is behind.
    pub(super) async fn fill(&mut self, target: u32, goal: i64) -> Result<(), SubscriptionError> {
        let Some(watched) = self.targets.get_mut(&target) else { return Ok(()) };
        match self.sources.journal.page(watched).await {
            Ok(Page::Events(messages)) => {
                self.sources.measures.refills.inc();
                for events in messages {
                    watched.advance(&events);
                    self.outgoing.push_back((target, watched.changes(events)));
                }
                if watched.version() >= goal {
                    self.behind.pop_front();
                    self.say_current(target);
                }
                self.pause.reset();
                Ok(())
            }
            // It was there a moment ago: another history, or a server that is restarting. Look again.
            Ok(Page::Broken) => {
                self.behind.pop_front();
                self.pending.insert(target);
                self.sleep().await;
                Ok(())
            }
            Err(error) => self.try_later(Arc::new(error)).await,
        }
    }
}
