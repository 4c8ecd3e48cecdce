//! Follows balances over `WatchCredits` for ever.
//!
//! Promises: each change once and in order, across lost connections; a service that breaks its contract ends the watch
//! loudly; memory is bounded by the targets and one message. Must not know: what credits are for, or a database.

mod backoff;
mod builder;
mod check;
mod error;
mod update;
mod watcher;

pub use builder::Builder;
pub use error::WatchError;
pub use update::Update;
pub use watcher::Watcher;
