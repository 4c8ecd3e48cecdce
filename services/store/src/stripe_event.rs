//! A Stripe event on its way into the inbox, and what it means for the ledger.
//!
//! Crate `stripe` reads events and makes these values; `apply` decides them under the account's lock, from the
//! rows that it reads there. Nothing here knows Stripe's JSON.

mod fact;
mod money;
mod plan;

use bytes::Bytes;
use domain::{AccountId, Grant, Unit};

pub use fact::{Fact, SessionEnd, SessionEnded};
pub use money::{Dispute, PaymentRef, Refund, Warning};
pub(crate) use money::{is_live_refund, later_dispute_status, later_refund_status, withheld_by};
pub use plan::{Invoice, InvoiceLine, InvoicePayment, Rollover, SubscriptionLink, SubscriptionState};

/// What the inbox keeps of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeEvent {
    /// Stripe's event id, 1–255 bytes.
    pub event_id: String,
    /// Its type, such as `checkout.session.completed`.
    pub event_type: String,
    /// When Stripe made it: seconds since 1970. Orders nothing.
    pub created_s: i64,
    /// Real money, or a test.
    pub livemode: bool,
    /// The API version that rendered it.
    pub api_version: Option<String>,
    /// The Connect account that it belongs to.
    pub connect_account: Option<String>,
    /// The raw body, byte for byte.
    pub body: Bytes,
}

/// A Stripe object among natural keys: what it is and its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StripeKey {
    /// What it is.
    pub kind: KeyKind,
    /// Its id.
    pub id: String,
}

impl StripeKey {
    /// The key of an object.
    #[must_use]
    pub fn new(kind: KeyKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }
}

/// What a natural key names. The names are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// A Checkout session.
    CheckoutSession,
    /// A payment intent.
    PaymentIntent,
    /// A charge.
    Charge,
    /// A customer.
    Customer,
    /// A refund.
    Refund,
    /// The refunds of a charge: appears with the first of them.
    RefundsOf,
    /// A dispute.
    Dispute,
    /// A subscription.
    Subscription,
    /// An invoice.
    Invoice,
    /// A line of an invoice: both ids, with a slash between.
    InvoiceLine,
}

impl KeyKind {
    const ALL: [Self; 10] = [
        Self::CheckoutSession,
        Self::PaymentIntent,
        Self::Charge,
        Self::Customer,
        Self::Refund,
        Self::RefundsOf,
        Self::Dispute,
        Self::Subscription,
        Self::Invoice,
        Self::InvoiceLine,
    ];

    /// The kind of a name.
    #[must_use]
    pub fn lookup(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CheckoutSession => "checkout_session",
            Self::PaymentIntent => "payment_intent",
            Self::Charge => "charge",
            Self::Customer => "customer",
            Self::Refund => "refund",
            Self::RefundsOf => "refunds_of",
            Self::Dispute => "dispute",
            Self::Subscription => "subscription",
            Self::Invoice => "invoice",
            Self::InvoiceLine => "invoice_line",
        }
    }
}

/// What an event means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Nothing for us: stored, counted, answered 200.
    Ignored {
        /// Why, as a stable lower-case name such as `unknown_type` or `other_livemode`.
        reason: &'static str,
    },
    /// Meant for us but not usable (yet): kept with its body, and replayable.
    Parked {
        /// Why, as a stable lower-case name such as `amount_mismatch`.
        reason: &'static str,
    },
    /// A payment for something else: stored as ignored, and so is what comes of it later.
    NotOurs {
        /// The objects that are not ours.
        keys: Vec<StripeKey>,
    },
    /// A Checkout session in payment mode that names an account and a pack of the catalogue at its price.
    Checkout(Checkout),
    /// Anything else that is for us.
    Fact(Fact),
}

/// How far a Checkout session's payment is. Moves forward only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Payment {
    /// Completed, the money is still on its way.
    Pending,
    /// Paid, or nothing to pay.
    Paid,
}

/// The fact "this session is completed, and this much of it is paid".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The session: the natural key of the grant.
    pub session_id: String,
    /// Its payment intent, which may back no other grant.
    pub payment_intent: Option<String>,
    /// Whose credits.
    pub account: AccountId,
    /// Of what.
    pub unit: Unit,
    /// The catalogue's pack.
    pub pack: String,
    /// How many packs, ≥ 1.
    pub quantity: i64,
    /// What Stripe charged before tax, in the currency's minor unit; it equals the catalogue's price.
    pub subtotal_minor_units: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// What was captured with tax and discounts, in minor units: what refunds are a share of.
    pub captured_minor_units: i64,
    /// How far the payment is.
    pub payment: Payment,
    /// The lot to grant when it is paid: the catalogue's terms times the quantity.
    pub grant: Grant,
}
