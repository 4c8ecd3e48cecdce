//! What events say beyond a paid session, as facts: each by the natural key of its Stripe object, so that the events that
//! say it may come twice and in any order.

use domain::{AccountId, Grant, Unit};

use super::{Checkout, KeyKind, StripeKey};

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A Checkout session is completed, and so much of it is paid.
    Checkout(Checkout),
    /// A Checkout session will not be paid.
    SessionEnded(SessionEnded),
    /// A refund.
    Refund(Refund),
    /// Something of a charge was refunded; says less than the refund's own events.
    RefundHint(PaymentRef),
    /// A dispute.
    Dispute(Dispute),
    /// A warning of fraud.
    Warning(Warning),
    /// A customer was deleted.
    CustomerGone {
        /// The customer.
        customer: String,
    },
    /// A customer and a subscription are an account's.
    Link(SubscriptionLink),
    /// A paid invoice.
    Invoice(Invoice),
    /// What paid for an invoice.
    InvoicePayment(InvoicePayment),
    /// A subscription's state.
    Subscription(SubscriptionState),
}

/// How a sale was paid: what a refund or a dispute names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PaymentRef {
    /// The payment intent.
    pub intent: Option<String>,
    /// The charge.
    pub charge: Option<String>,
}

impl PaymentRef {
    /// The keys by which the sale is found.
    #[must_use]
    pub fn keys(&self) -> Vec<StripeKey> {
        let intent = self.intent.iter().map(|id| StripeKey::new(KeyKind::PaymentIntent, id.as_str()));
        intent.chain(self.charge.iter().map(|id| StripeKey::new(KeyKind::Charge, id.as_str()))).collect()
    }

    /// The key that appears with the first refund of the payment.
    #[must_use]
    pub fn refunds_key(&self) -> Option<StripeKey> {
        let id = self.charge.as_ref().or(self.intent.as_ref());
        id.map(|id| StripeKey::new(KeyKind::RefundsOf, id.as_str()))
    }
}

/// A session that ended without money. Never undoes a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnded {
    /// The session with what it would have sold.
    pub checkout: Checkout,
    /// How it ended.
    pub end: SessionEnd,
}

/// How a session ended without money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionEnd {
    /// Its time was over.
    Expired,
    /// The delayed payment failed.
    PaymentFailed,
}

/// A refund as its last event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The natural key.
    pub refund_id: String,
    /// Of what.
    pub payment: PaymentRef,
    /// How much, in minor units; 0 or more.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// Stripe's word, kept as it is.
    pub status: String,
}

/// A dispute as its last event tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The natural key.
    pub dispute_id: String,
    /// Of what.
    pub payment: PaymentRef,
    /// How much is disputed, in minor units; 0 or more.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// Stripe's word, kept as it is.
    pub status: String,
    /// Balance transactions: id and amount, below 0 withdrawn, above 0 reinstated, in the settlement's currency.
    pub transactions: Vec<(String, i64)>,
}

/// An early fraud warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The natural key.
    pub warning_id: String,
    /// Of what.
    pub payment: PaymentRef,
    /// Stripe's word, kept as it is.
    pub fraud_type: String,
}

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

impl Fact {
    /// The account, when the fact names it itself.
    #[must_use]
    pub const fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Link(link) => Some(&link.account),
            Self::Invoice(Invoice { named, .. }) | Self::Subscription(SubscriptionState { named, .. }) => {
                named.as_ref()
            }
            Self::Checkout(checkout) | Self::SessionEnded(SessionEnded { checkout, .. }) => {
                Some(&checkout.account)
            }
            Self::Refund(_)
            | Self::RefundHint(_)
            | Self::Dispute(_)
            | Self::Warning(_)
            | Self::InvoicePayment(_)
            | Self::CustomerGone { .. } => None,
        }
    }

    /// Whether a fact of nobody that is known must be of somebody: it is about a plan of ours.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        match self {
            Self::Invoice(Invoice { has_plan, .. })
            | Self::Subscription(SubscriptionState { has_plan, .. }) => *has_plan,
            _ => false,
        }
    }

    /// Whether a fact of nobody that is known may be about something else altogether, and says which objects are.
    #[must_use]
    pub fn foreign(&self) -> Option<Vec<StripeKey>> {
        match self {
            Self::Invoice(invoice) if !invoice.has_plan => {
                let own = StripeKey::new(KeyKind::Invoice, invoice.invoice_id.as_str());
                Some(std::iter::once(own).chain(invoice.payment.keys()).collect())
            }
            Self::Subscription(subscription) if !subscription.has_plan => Some(Vec::new()),
            _ => None,
        }
    }

    /// The objects that are not ours when the fact's owner is not: what paid for an invoice goes with it.
    #[must_use]
    pub fn foreign_with_owner(&self) -> Vec<StripeKey> {
        if let Self::InvoicePayment(_) = self { self.keys() } else { self.owners() }
    }

    /// The unit, when the fact names one.
    #[must_use]
    pub fn unit(&self) -> Option<&Unit> {
        match self {
            Self::Checkout(checkout) | Self::SessionEnded(SessionEnded { checkout, .. }) => {
                Some(&checkout.unit)
            }
            Self::Invoice(invoice) => match invoice.lines.first() {
                Some(line) => Some(&line.unit),
                None => None,
            },
            _ => None,
        }
    }

    /// The objects that say whose fact it is, the first that is known; an event that comes before them waits for them.
    #[must_use]
    pub fn owners(&self) -> Vec<StripeKey> {
        match self {
            Self::Checkout(_) | Self::SessionEnded(_) => Vec::new(),
            Self::Refund(Refund { payment, .. })
            | Self::RefundHint(payment)
            | Self::Dispute(Dispute { payment, .. })
            | Self::Warning(Warning { payment, .. }) => payment.keys(),
            Self::CustomerGone { customer } => vec![StripeKey::new(KeyKind::Customer, customer.as_str())],
            Self::Link(_) => Vec::new(),
            Self::Invoice(Invoice { subscription, customer, has_plan, .. }) => {
                let subscription =
                    subscription.iter().map(|id| StripeKey::new(KeyKind::Subscription, id.as_str()));
                // A customer of ours may have subscriptions to other things.
                let customer = customer.iter().filter(|_| *has_plan);
                subscription
                    .chain(customer.map(|id| StripeKey::new(KeyKind::Customer, id.as_str())))
                    .collect()
            }
            Self::InvoicePayment(payment) => vec![StripeKey::new(KeyKind::Invoice, payment.invoice.as_str())],
            Self::Subscription(state) => {
                vec![StripeKey::new(KeyKind::Subscription, state.subscription.as_str())]
            }
        }
    }

    /// Every key that the fact is decided by, or makes appear: locked before anything of it is read.
    #[must_use]
    pub fn keys(&self) -> Vec<StripeKey> {
        let mut keys = self.owners();
        match self {
            Self::Checkout(checkout) | Self::SessionEnded(SessionEnded { checkout, .. }) => {
                keys.push(StripeKey::new(KeyKind::CheckoutSession, checkout.session_id.as_str()));
                let intent = checkout.payment_intent.iter();
                keys.extend(intent.map(|id| StripeKey::new(KeyKind::PaymentIntent, id.as_str())));
            }
            Self::Refund(refund) => {
                keys.push(StripeKey::new(KeyKind::Refund, refund.refund_id.as_str()));
                keys.extend(refund.payment.refunds_key());
            }
            Self::RefundHint(payment) => keys.extend(payment.refunds_key()),
            Self::Dispute(dispute) => {
                keys.push(StripeKey::new(KeyKind::Dispute, dispute.dispute_id.as_str()))
            }
            Self::Link(link) => {
                keys.push(StripeKey::new(KeyKind::Subscription, link.subscription.as_str()));
                keys.extend(link.customer.iter().map(|id| StripeKey::new(KeyKind::Customer, id.as_str())));
            }
            Self::Invoice(invoice) => {
                keys.push(StripeKey::new(KeyKind::Invoice, invoice.invoice_id.as_str()));
                keys.extend(invoice.lines.iter().map(|line| line.key(&invoice.invoice_id)));
                keys.extend(invoice.payment.keys());
            }
            Self::InvoicePayment(payment) => keys.extend(payment.payment.keys()),
            Self::Warning(_) | Self::CustomerGone { .. } | Self::Subscription(_) => {}
        }
        keys
    }

    /// The keys that the fact makes appear for events that are decided with it.
    #[must_use]
    pub fn awaited(&self) -> Vec<StripeKey> {
        if let Self::Link(_) = self { self.keys() } else { Vec::new() }
    }
}

/// Of two words for a refund's state the one that stands: pending < requires_action < succeeded < failed, canceled. A word
/// that is not known stands below all, and between equals the later in the alphabet, so that no order matters.
pub(crate) fn later_refund_status<'a>(one: &'a str, other: &'a str) -> &'a str {
    later(one, other, |status| match status {
        "pending" => 1,
        "requires_action" => 2,
        "succeeded" => 3,
        "failed" | "canceled" => 4,
        // Not known.
        _ => 0,
    })
}

/// Whether the money of a refund in this state has left or will leave: only what failed or was canceled has not. A word
/// that is not known counts.
pub(crate) fn is_live_refund(status: &str) -> bool {
    !matches!(status, "failed" | "canceled")
}

/// Of two words for a dispute's state the one that stands: an inquiry (`warning_…`) < a dispute < lost < won.
pub(crate) fn later_dispute_status<'a>(one: &'a str, other: &'a str) -> &'a str {
    later(one, other, |status| match status {
        "warning_needs_response" => 1,
        "warning_under_review" => 2,
        "warning_closed" => 3,
        "prevented" => 4,
        "needs_response" => 6,
        "under_review" => 7,
        "lost" => 8,
        "won" => 9,
        "" => 0,
        // Not known: more than an inquiry, so that money that was withdrawn counts.
        _ => 5,
    })
}

/// What a dispute withholds, in the sale's minor units. An inquiry, and one that was prevented, withhold nothing; one
/// that is lost withholds all when no transaction says how much.
pub(crate) fn withheld_by(status: &str, amount: i64, transactions: impl IntoIterator<Item = i64>) -> i64 {
    if status.starts_with("warning_") || status == "prevented" {
        return 0;
    }
    let (mut withdrawn, mut reinstated) = (0_i128, 0_i128);
    for transaction in transactions.into_iter().map(i128::from) {
        if transaction < 0 {
            withdrawn = withdrawn.saturating_sub(transaction);
        } else {
            reinstated = reinstated.saturating_add(transaction);
        }
    }
    if withdrawn == 0 && status == "lost" {
        return amount;
    }
    domain::withheld(amount, withdrawn, reinstated)
}

fn later<'a>(one: &'a str, other: &'a str, rank: fn(&str) -> u8) -> &'a str {
    if (rank(one), one) >= (rank(other), other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of the words gives the last.
    fn settle(words: &[&str], later: for<'a> fn(&'a str, &'a str) -> &'a str) -> String {
        let mut ends = Vec::new();
        for start in 0..words.len() {
            let rotated = words.iter().cycle().skip(start).take(words.len());
            let reversed = words.iter().rev().cycle().skip(start).take(words.len());
            ends.push(rotated.fold("", |stands, word| later(stands, word)));
            ends.push(reversed.fold("", |stands, word| later(stands, word)));
        }
        ends.dedup();
        assert_eq!(ends.len(), 1, "{words:?}: {ends:?}");
        ends.first().copied().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_refunds_state_moves_forward_in_any_order() {
        for (words, stands, live) in [
            (&["pending", "succeeded"][..], "succeeded", true),
            (&["pending", "requires_action", "succeeded", "failed"], "failed", false),
            (&["canceled", "pending"], "canceled", false),
            (&["failed", "canceled", "succeeded"], "failed", false),
            (&["of_a_later_version"], "of_a_later_version", true),
            (&["of_a_later_version", "pending"], "pending", true),
        ] {
            assert_eq!(settle(words, later_refund_status), stands);
            assert_eq!(is_live_refund(stands), live, "{stands}");
        }
    }

    #[test]
    fn a_disputes_state_may_go_from_lost_to_won_and_never_back() {
        for (words, stands) in [
            (&["warning_needs_response", "warning_closed"][..], "warning_closed"),
            (&["warning_under_review", "needs_response", "under_review"], "under_review"),
            (&["needs_response", "lost", "won"], "won"),
            (&["needs_response", "of_a_later_version"], "needs_response"),
            (&["warning_closed", "of_a_later_version"], "of_a_later_version"),
        ] {
            assert_eq!(settle(words, later_dispute_status), stands);
        }
    }

    #[test]
    fn what_a_dispute_withholds_follows_its_transactions_by_sign() {
        for (what, status, transactions, withheld) in [
            ("an inquiry only flags", "warning_needs_response", &[-1000][..], 0),
            ("nothing withdrawn yet", "needs_response", &[], 0),
            ("withdrawn", "needs_response", &[-1000], 1000),
            ("won, and not reinstated yet", "won", &[-1000], 1000),
            ("won and reinstated", "won", &[-1000, 1000], 0),
            ("lost, then won by half", "won", &[-1000, 500], 500),
            ("lost without a word on money", "lost", &[], 1000),
            ("won without a word on money", "won", &[], 0),
            ("an unknown state with money gone", "of_a_later_version", &[-1000], 1000),
        ] {
            assert_eq!(withheld_by(status, 1000, transactions.iter().copied()), withheld, "{what}");
        }
    }
}
