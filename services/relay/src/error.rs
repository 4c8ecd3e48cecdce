//! What can go wrong with a subscription, as its reader may know it.

use std::sync::Arc;
use std::time::Duration;

use domain::AccountId;
use store::StoreError;

use crate::limits::{
    MAX_BOOKMARK_INTERVAL, MAX_TARGETS, MAX_WATCHES, MIN_BOOKMARK_INTERVAL, SLOW_READER_AFTER,
};

/// Why a subscription was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// Nothing to watch.
    #[error("targets: must not be empty")]
    NoTargets,
    /// Too much to watch.
    #[error("targets: has {actual} elements; at most {MAX_TARGETS} are allowed")]
    TooManyTargets {
        /// Targets asked for.
        actual: usize,
    },
    /// A balance twice.
    #[error("targets[{index}]: names a balance that an earlier target names")]
    DuplicateTarget {
        /// Index of the later one.
        index: usize,
    },
    /// A version below 0.
    #[error("targets[{index}].after_version: is {actual}; must not be negative")]
    NegativeVersion {
        /// Index of the target.
        index: usize,
        /// Version asked for.
        actual: i64,
    },
    /// Outside of what is allowed.
    #[error(
        "bookmark_interval: is {actual:?}; must be between {MIN_BOOKMARK_INTERVAL:?} and {MAX_BOOKMARK_INTERVAL:?}"
    )]
    BookmarkInterval {
        /// Interval asked for.
        actual: Duration,
    },
    /// This process serves as many streams as it may.
    #[error("this process serves {limit} streams already")]
    TooManyStreams {
        /// Streams allowed.
        limit: usize,
    },
    /// This process watches as many balances as it may.
    #[error("this process watches {MAX_WATCHES} balances already")]
    TooManyWatches,
    /// The relay is stopping.
    #[error("the service is stopping")]
    Stopping,
}

/// Why a target was not added to a subscription, which goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// A version below 0.
    #[error("after_version: is {actual}; must not be negative")]
    NegativeVersion {
        /// Version asked for.
        actual: i64,
    },
    /// It is one of the targets already.
    #[error("the stream watches the balance already")]
    Watched,
    /// The subscription has as many targets as it may.
    #[error("the stream watches {MAX_TARGETS} balances already")]
    TooManyTargets,
    /// This process watches as many balances as it may.
    #[error("this process watches {MAX_WATCHES} balances already")]
    TooManyWatches,
}

/// Why a subscription ended. The reader resumes with the last version and hash of each balance.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscriptionError {
    /// The reader left its queue untouched.
    #[error("the reader took nothing for {} s", SLOW_READER_AFTER.as_secs())]
    SlowReader,
    /// The relay is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// The token was not made by this installation, or was changed.
    #[error("the resume token is not of this installation")]
    BadResumeToken,
    /// The reader wants every change, and the last of its balances is too far behind for that.
    #[error("changes are sent from version {oldest} on, not from {version}")]
    HistoryNotAvailable {
        /// Whose balance.
        account: AccountId,
        /// Version asked for.
        version: i64,
        /// First version from which changes are sent.
        oldest: i64,
    },
    /// The journal could not be used; not for lost connections, which are tried again.
    #[error("the journal could not be read")]
    Store(#[source] Arc<StoreError>),
}

/// Why waiting for a version ended without it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed first.
    #[error("the balance did not get there in time; it was at version {reached:?}")]
    NotReached {
        /// The version that it had when it was last read; none when there was no time to read it.
        reached: Option<i64>,
    },
    /// Too many callers wait already.
    #[error("too many callers wait for versions")]
    TooManyWaiters,
    /// The relay is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// The balance could not be read when it was last tried; lost connections are tried again until the
    /// deadline.
    #[error("the balance could not be read")]
    Store(#[source] Arc<StoreError>),
}
