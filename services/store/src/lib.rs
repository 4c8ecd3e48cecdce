//! All SQL of Tallystick. `apply` is the only write path; start there.

mod apply;
mod durability;
mod error;
mod history;
mod inbox;
mod journal;
mod lane;
mod ledger_log;
mod lots;
mod measure;
pub mod outbox;
mod policy;
mod read;
mod request;
mod result;
mod row;
mod store;
mod stripe_event;
pub mod tail;

pub use apply::{BatchError, EncodeEvent, Item, Outcome, Wait, run_batch};
pub use durability::Durability;
pub use error::{ApplyError, StoreError};
pub use history::{EntryFilter, MAX_LOOKED_AT, Page};
pub use lots::StoredGrant;
pub use measure::{Measures, Phase};
pub use policy::Policy;
pub use read::StoredBalance;
pub use request::{Answer, EventAnswer, EventState, Request, StripeRequest, last_entry, own_entry};
pub use store::{Load, MIGRATOR, Store, StoreOptions, migrate};
pub use stripe_event::{Checkout, Payment, Reading, StripeEvent};
