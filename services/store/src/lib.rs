//! All SQL of Tallystick. `apply` is the only write path; start there.

mod accounts;
mod apply;
mod durability;
mod error;
mod explain;
mod export;
pub mod feed;
mod history;
mod holds;
mod inbox;
mod journal;
mod lane;
mod ledger_log;
mod lots;
mod measure;
pub mod outbox;
mod policy;
mod quote;
mod read;
mod request;
mod result;
mod row;
mod store;
mod stripe_event;
mod sweep;
pub mod tail;
mod token_key;
mod verify;

pub use accounts::{AccountChange, AccountError, By, ClockMoved, Erased, StoredAccount};
pub use apply::{BatchError, EncodeEvent, Item, Outcome, Wait, run_batch};
pub use durability::Durability;
pub use error::{ApplyError, StoreError};
pub use explain::{Explanation, Term};
pub use export::Position;
pub use history::{EntryFilter, MAX_LOOKED_AT, Page, Unknown};
pub use holds::StoredHold;
pub use inbox::{EventFilter, EventPage, InboxLevel, Owner, ParkedEvent, Replay, StoredEvent, Unapplied};
pub use lots::StoredGrant;
pub use measure::{Measures, Phase};
pub use policy::Policy;
pub use quote::Quote;
pub use read::StoredBalance;
pub use request::{Answer, EventAnswer, EventState, Request, StripeRequest, last_entry, own_entry};
pub use store::{Load, MIGRATOR, Store, StoreOptions, migrate};
pub use stripe_event::{
    Checkout, Dispute, Fact, Invoice, InvoiceLine, InvoicePayment, KeyKind, Payment, PaymentRef, Reading,
    Refund, Rollover, SessionEnd, SessionEnded, StripeEvent, StripeKey, SubscriptionLink, SubscriptionState,
    Warning,
};
pub use sweep::{Sweeper, Swept};
pub use token_key::TokenKey;
pub use verify::{Verified, VerifyError};
