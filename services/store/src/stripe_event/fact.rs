//! What events say beyond a paid session, as facts: each by the natural key of its Stripe object, so that the events that
//! say it may come twice and in any order.

use domain::{AccountId, Unit};

use super::{
    Checkout, Dispute, Invoice, InvoicePayment, KeyKind, PaymentRef, Refund, StripeKey, SubscriptionLink,
    SubscriptionState, Warning,
};

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
                keys.extend(refund.payment.refunds_keys());
            }
            Self::RefundHint(payment) => keys.extend(payment.refunds_keys()),
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
