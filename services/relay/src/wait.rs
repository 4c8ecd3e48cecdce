//! Waiting for a version: a watch of one balance, and a read when it moves. Nobody polls the database for it.

use std::sync::Arc;

use domain::{AccountId, Unit};
use store::StoredBalance;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::WaitError;
use crate::heads::{NoHeads, Wanted};
use crate::mailbox::{Item, Mailbox};
use crate::pause::Pause;
use crate::relay::Relay;

impl Relay {
    /// The balance once it is at `min_version` or above, read from the primary after the call. Returns at once
    /// when it is.
    ///
    /// # Errors
    /// [`WaitError`]; [`WaitError::NotReached`] when the deadline passes first.
    pub async fn wait_for_version(
        &self,
        account: &AccountId,
        unit: &Unit,
        min_version: i64,
        deadline: Instant,
    ) -> Result<StoredBalance, WaitError> {
        let inner = &self.0;
        let _permit = inner.waiters.try_acquire().map_err(|_| WaitError::TooManyWaiters)?;
        // Watch first, read then: a change between the two is in the queue.
        let watch = inner.hub.watch(&[(account.clone(), unit.clone())]);
        let _reading = watch.mailbox.begin_reading(Instant::now());
        let mut late = WaitError::NotReached { reached: None };
        let waited = timeout_at(deadline, async {
            let mut pause = Pause::default();
            loop {
                match self.read(account, unit).await {
                    Ok(balance) if balance.version >= min_version => return Ok(balance),
                    Ok(balance) => {
                        late = WaitError::NotReached { reached: Some(balance.version) };
                        pause.reset();
                        moved(&watch.mailbox, min_version).await;
                    }
                    Err(NoHeads::Store(error)) if error.is_transient() => {
                        late = WaitError::Store(error);
                        sleep_until(Instant::now() + pause.next()).await;
                    }
                    Err(NoHeads::Store(error)) => return Err(WaitError::Store(error)),
                    Err(NoHeads::Stopping) => return Err(WaitError::Stopping),
                }
            }
        });
        tokio::select! {
            waited = waited => match waited {
                Ok(waited) => waited,
                Err(_) => Err(late),
            },
            () = inner.shutdown.cancelled() => Err(WaitError::Stopping),
        }
    }

    async fn read(&self, account: &AccountId, unit: &Unit) -> Result<StoredBalance, NoHeads> {
        let wanted = Wanted { account: account.clone(), unit: unit.clone(), version: 0 };
        let heads = self.0.heads.read(vec![wanted]).await?;
        heads.into_iter().next().map(|head| head.balance).ok_or(NoHeads::Stopping)
    }
}

/// Until the version has come by, or something was missed that may have been it.
async fn moved(mailbox: &Arc<Mailbox>, min_version: i64) {
    loop {
        if !mailbox.take_missed().is_empty() {
            return;
        }
        match mailbox.pop() {
            Some(Item::Changes(_, batch)) if batch.last_version() >= min_version => return,
            Some(_) => {}
            None => mailbox.changed().await,
        }
    }
}
