//! Targets that come and go on a live stream.

use domain::{AccountId, Unit};
use tokio::time::Instant;

use super::watched::Watched;
use super::{Subscription, Target};
use crate::error::AddError;
use crate::limits::MAX_TARGETS;

impl Subscription {
    /// Watches one more balance. Its changes are queued from now on; what came before, and then
    /// [`super::Message::Current`] where the order is a set, comes with [`Subscription::next`].
    ///
    /// # Errors
    /// [`AddError`]; the stream goes on as it was.
    pub fn add(&mut self, target: &Target) -> Result<(), AddError> {
        let Target { account, unit, after_version, after_hash } = target;
        if let Some(actual) = after_version.filter(|version| *version < 0) {
            return Err(AddError::NegativeVersion { actual });
        }
        if self.watch.find(account, unit).is_some() {
            return Err(AddError::Watched);
        }
        if self.targets.len() >= MAX_TARGETS {
            return Err(AddError::TooManyTargets);
        }
        if !self.watch.has_room() {
            return Err(AddError::TooManyWatches);
        }
        let (id, name) = self.watch.begin(account, unit).ok_or(AddError::TooManyWatches)?;
        self.targets.insert(id, Watched::new(name, *after_version, *after_hash));
        self.pending.insert(id);
        if self.is_set {
            self.fresh.insert(id);
        }
        // After the hub: a poll from here on has queued what the head, which is read later, may lack.
        self.bookmarks.asked_at = Instant::now();
        Ok(())
    }

    /// Watches a balance no more: no message of it follows. False when it was not watched.
    pub fn remove(&mut self, account: &AccountId, unit: &Unit) -> bool {
        let found = self.watch.find(account, unit);
        if let Some(target) = found {
            self.forget(target);
        }
        found.is_some()
    }

    pub(super) fn forget(&mut self, target: u32) {
        self.watch.end(target);
        self.targets.remove(&target);
        self.pending.remove(&target);
        self.behind.retain(|(other, _)| *other != target);
        self.doubtful.remove(&target);
        self.fresh.remove(&target);
        self.outgoing.retain(|(other, _)| *other != target);
    }
}
