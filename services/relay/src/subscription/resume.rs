//! A subscription and its tokens: the one that it goes on from, and those that it gives.

use std::sync::Arc;

use bytes::Bytes;
use store::TokenKey;

use super::Subscription;
use super::watched::Watched;
use crate::error::SubscriptionError;
use crate::token;

impl Subscription {
    /// Takes the places of the order's targets from its token.
    pub(super) async fn resume(&mut self, token: &[u8]) -> Result<(), SubscriptionError> {
        let Some(key) = self.token_key().await? else { return Ok(()) };
        let opened = token::open(&key, token).ok_or(SubscriptionError::BadResumeToken)?;
        for watched in self.targets.range_mut(..self.first_added).map(|(_, watched)| watched) {
            if let Some(place) = opened.place(&watched.name.account, &watched.name.unit) {
                watched.resume(place);
            }
        }
        self.resume_token = None;
        Ok(())
    }

    /// The key of tokens; none for now when the database could not be asked.
    pub(super) async fn token_key(&mut self) -> Result<Option<TokenKey>, SubscriptionError> {
        if let Some(key) = self.sources.token_key.get() {
            return Ok(Some(*key));
        }
        // A task of its own: a reader that stands still here must not keep the others from the key.
        let (store, key) = (self.sources.store.clone(), Arc::clone(&self.sources.token_key));
        let read = tokio::spawn(async move { key.get_or_try_init(|| store.token_key()).await.copied() });
        match read.await {
            Ok(Ok(key)) => Ok(Some(key)),
            Ok(Err(error)) => self.try_later(Arc::new(error)).await.map(|()| None),
            Err(_) => Err(SubscriptionError::Stopping),
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
        token::seal(key, self.targets.values().filter_map(Watched::place))
    }
}
