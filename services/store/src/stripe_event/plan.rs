//! Subscriptions, their invoices and what paid for them, as facts.

use domain::{AccountId, Grant, Unit};

use super::{KeyKind, PaymentRef, StripeKey};

/// A Checkout session of mode subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionLink {
    /// Whose.
    pub account: AccountId,
    /// The session that says so.
    pub session_id: String,
    /// The customer.
    pub customer: Option<String>,
    /// The subscription.
    pub subscription: String,
}

/// A paid invoice with what it grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// The natural key of the sale.
    pub invoice_id: String,
    /// Its subscription.
    pub subscription: Option<String>,
    /// Its customer.
    pub customer: Option<String>,
    /// The account that the subscription's metadata name.
    pub named: Option<AccountId>,
    /// What paid for it, where the invoice says so (API versions before 2025-03-31.basil).
    pub payment: PaymentRef,
    /// What was paid with tax, in minor units.
    pub captured_minor_units: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// A line is of a plan's price, whether it grants or not.
    pub has_plan: bool,
    /// The lines that grant; none when the policy grants nothing.
    pub lines: Vec<InvoiceLine>,
}

/// A line of an invoice that grants a plan's period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceLine {
    /// With the invoice's id the natural key of the grant.
    pub line_id: String,
    /// The catalogue's plan.
    pub plan: String,
    /// Of what.
    pub unit: Unit,
    /// The period, in seconds since 1970.
    pub period_start_s: i64,
    /// Its end; later than its start.
    pub period_end_s: i64,
    /// The lot.
    pub grant: Grant,
    /// What is left of the lot goes when the subscription ends.
    pub ends_with_subscription: bool,
    /// How what is left of earlier periods goes on.
    pub rollover: Option<Rollover>,
}

impl InvoiceLine {
    /// The natural key of the grant.
    #[must_use]
    pub fn key(&self, invoice_id: &str) -> StripeKey {
        StripeKey::new(KeyKind::InvoiceLine, format!("{invoice_id}/{}", self.line_id))
    }
}

/// How much of what is left of earlier periods goes on into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollover {
    /// Its share, 0–100.
    pub percent: i64,
    /// The most of it.
    pub cap: Option<i64>,
}

impl Rollover {
    /// How much of `left` goes on, rounded down.
    #[must_use]
    pub fn keeps(&self, left: i64) -> i64 {
        let share = i128::from(left.max(0)) * i128::from(self.percent.clamp(0, 100)) / 100;
        let share = i64::try_from(share).unwrap_or(i64::MAX);
        self.cap.map_or(share, |cap| share.min(cap.max(0)))
    }
}

/// A payment of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoicePayment {
    /// The invoice.
    pub invoice: String,
    /// What paid for it; empty for money that did not go through Stripe.
    pub payment: PaymentRef,
}

/// A subscription as an event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionState {
    /// The natural key.
    pub subscription: String,
    /// Its customer.
    pub customer: Option<String>,
    /// The account that its metadata name.
    pub named: Option<AccountId>,
    /// One of its items is of a plan's price.
    pub has_plan: bool,
    /// It has ended, and will not begin again.
    pub is_ended: bool,
    /// Stripe's word, kept as it is.
    pub status: String,
    /// When Stripe made the event; decides between two tellings that are no end.
    pub told_at_s: i64,
}
