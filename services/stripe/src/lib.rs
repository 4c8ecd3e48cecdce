//! Stripe's events as Tallystick reads them, and the catalogue that prices them.
//!
//! Promises: [`read`] turns any bytes into an event and its meaning, or into a typed refusal, and never panics;
//! an amount of credits comes from the catalogue only, never from the event; whatever is not understood grants
//! nothing. Knows neither HTTP nor SQL nor a clock; of `store` it uses the event's types alone.
//!
//! Events are read with small views of our own, field by field, so that one of any API version is read.

mod catalogue;
mod charge;
mod checkout;
mod customer;
mod dispute;
mod event;
mod fraud_warning;
mod invoice;
mod invoice_payment;
mod nesting;
mod payment;
pub mod reason;
mod refund;
pub mod simulate;
mod subscription;
mod view;

pub use catalogue::{
    BillingReason, Catalogue, CatalogueError, MAX_CATALOGUE_BYTES, MAX_DISPLAY_NAME_BYTES, MAX_OFFERS,
    MAX_PRICES, MAX_SCALE, MAX_UNITS, Offer, PlanTerms, RolloverTerms, UnitInfo,
};
pub use checkout::MAX_QUANTITY;
pub use event::{MAX_EVENT_BYTES, MAX_ID_BYTES, MAX_TEXT_BYTES, NotAnEvent, ReadOptions, read};
pub use nesting::MAX_DEPTH;
