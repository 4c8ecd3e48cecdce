//! From committed changes to streams: the relay follows the outbox, the hub hands each change to those who watch
//! its balance, and a subscription turns what one reader asked for into ordered messages.
//!
//! Promises, for one subscription (numbers of docs/api.md, WatchCredits):
//! 1 versions of a balance come in order, without a gap; 2 none twice; 3 nothing is skipped silently: a jump is
//! a Snapshot with its reason; 4 whole operations only; 5 resumable from a version or a token; 6 a bookmark passes through
//! the queue of the events, and bookmarks stop while the source is stale; 7 `in_sync` means at least as new as
//! when it was asked for; 8 a history that is not the reader's shows as a Snapshot, never as a silent mismatch.
//!
//! Stateless: there is no cursor to keep. Order, gaps and duplicates are decided by the dense version and the
//! entry hash of each balance; the journal, which is permanent, has everything that was missed. Start with
//! `subscription.rs`; `follow.rs` is the source.
//!
//! Must not know: gRPC, who the reader is, and what an event says.

mod error;
mod event;
mod follow;
mod heads;
mod hub;
mod ledger;
mod limits;
mod mailbox;
mod marks;
mod measure;
mod pause;
mod progress;
mod relay;
mod retention;
mod subscription;
mod token;
mod wait;
mod wake;

pub use error::{AddError, SubscribeError, SubscriptionError, WaitError};
pub use event::Event;
pub use ledger::{Ledger, LedgerError, LedgerMessage, LedgerOrder};
pub use limits::*;
pub use measure::Measures;
pub use progress::Health;
pub use relay::{Relay, RelayOptions, WakeUps};
pub use subscription::{Message, Mode, Order, SnapshotReason, Subscription, Target};
