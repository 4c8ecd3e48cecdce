//! All SQL of Tallystick. `apply` is the only write path; start there.

mod stripe_event;

pub use stripe_event::{Checkout, Payment, Reading, StripeEvent};
