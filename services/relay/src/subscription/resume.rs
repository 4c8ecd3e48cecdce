//! A subscription and its tokens: the one that it goes on from, and those that it gives.

use std::sync::Arc;

use bytes::Bytes;
use store::TokenKey;

use super::Subscription;
use crate::error::SubscriptionError;
use crate::token;

impl Subscription {
    /// Takes the places of targets from a token.
    pub(super) async fn resume(&mut self, token: &[u8]) -> Result<(), SubscriptionError> {
        let Some(key) = self.token_key().await? else { return Ok(()) };
        let opened = token::open(&key, token).ok_or(SubscriptionError::BadResumeToken)?;
        for watched in &mut self.targets {
            if let Some(place) = opened.place(&watched.account, &watched.unit) {
                watched.resume(place);
            }
        }
        self.resume_token = None;
        Ok(())
    }

    /// The key of tokens; none for now when the database could not be asked.
    pub(super) async fn token_key(&mut self) -> Result<Option<TokenKey>, SubscriptionError> {
        match self.sources.token_key.get_or_try_init(|| self.sources.store.token_key()).await {
            Ok(key) => Ok(Some(*key)),
            Err(error) => self.try_later(Arc::new(error)).await.map(|()| None),
        }
    }

    /// Resumes every target after all that [`Subscription::next`] has given, and ends the stream. A token that was not
    /// looked at yet is given back. None while messages are ready (`next` gives them at once), and before the key of
    /// tokens was needed.
    pub fn close(&mut self) -> Option<Bytes> {
        if !self.outgoing.is_empty() {
            return None;
        }
        self.has_ended = true;
        // A token that was not looked at yet still says where the reader is.
        self.resume_token.take().or_else(|| self.seal(self.sources.token_key.get()?))
    }

    /// Whether messages are ready outside of the queue.
    #[must_use]
    pub fn owes(&self) -> bool {
        !self.outgoing.is_empty() && !self.has_ended
    }

    pub(super) fn seal(&self, key: &TokenKey) -> Option<Bytes> {
        let kept = self.targets.iter().enumerate().filter(|(target, _)| !self.removed.contains(target));
        token::seal(key, kept.filter_map(|(_, watched)| watched.place()))
    }
}
