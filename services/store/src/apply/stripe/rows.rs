//! What is known of Stripe's objects, as it was read and as it will be written.

use std::collections::BTreeMap;

use domain::{GrantId, OperationId, Unit};

use crate::request::EventState;
use crate::stripe_event::{KeyKind, StripeKey};

/// A grant that a Stripe object has made.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(in crate::apply) account_id: String,
    pub(in crate::apply) operation_id: OperationId,
    pub(in crate::apply) event_id: String,
}

/// What an earlier delivery of an event came to.
#[derive(Debug, Clone)]
pub(super) struct Inbox {
    pub(super) state: EventState,
    pub(super) outcome: String,
    /// The first operation that it caused.
    pub(super) operation_id: Option<OperationId>,
}

/// What an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Link {
    /// `None`: none of ours.
    pub(crate) account_id: Option<String>,
    /// What a payment paid for.
    pub(crate) sale: Option<StripeKey>,
    /// The object was deleted.
    pub(crate) is_gone: bool,
}

/// A paid session or invoice, and all that is known of its money.
#[derive(Debug, Clone)]
pub(in crate::apply) struct Sale {
    pub(super) account_id: String,
    pub(super) currency: String,
    pub(super) captured: i64,
    pub(super) parts: Vec<Part>,
    pub(super) refunds: BTreeMap<String, RefundRow>,
    pub(super) disputes: BTreeMap<String, DisputeRow>,
}

/// One grant of a sale.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) unit: Unit,
    pub(super) grant_id: GrantId,
    /// What it granted; `None` in rows of an earlier version.
    pub(super) credits: Option<i64>,
    /// The invoice line that granted it.
    pub(super) line: Option<StripeKey>,
}

/// An invoice's line that granted.
#[derive(Debug, Clone)]
pub(in crate::apply) struct LineRow {
    pub(in crate::apply) invoice_id: String,
    pub(in crate::apply) line_id: String,
    pub(in crate::apply) account_id: String,
    pub(in crate::apply) subscription: Option<String>,
    pub(in crate::apply) plan: String,
    pub(in crate::apply) unit: Unit,
    pub(in crate::apply) grant_id: GrantId,
    pub(in crate::apply) credits: i64,
    pub(in crate::apply) period_start_s: i64,
    pub(in crate::apply) period_end_s: i64,
    pub(in crate::apply) ends_with_subscription: bool,
    pub(in crate::apply) taken_back: i64,
    pub(in crate::apply) refilled: i64,
}

impl LineRow {
    pub(super) fn key(&self) -> StripeKey {
        StripeKey::new(KeyKind::InvoiceLine, format!("{}/{}", self.invoice_id, self.line_id))
    }

    pub(super) fn sale(&self) -> StripeKey {
        StripeKey::new(KeyKind::Invoice, self.invoice_id.as_str())
    }

    pub(super) fn part(&self) -> Part {
        Part {
            unit: self.unit.clone(),
            grant_id: self.grant_id,
            credits: Some(self.credits),
            line: Some(self.key()),
        }
    }
}

/// A subscription as it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::apply) struct SubscriptionRow {
    pub(in crate::apply) account_id: String,
    pub(in crate::apply) customer: Option<String>,
    pub(in crate::apply) status: String,
    pub(in crate::apply) is_ended: bool,
    pub(in crate::apply) told_at_s: i64,
}

/// A refund as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::apply) struct RefundRow {
    pub(in crate::apply) amount: i64,
    pub(in crate::apply) currency: String,
    pub(in crate::apply) status: String,
}

/// A dispute as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::apply) struct DisputeRow {
    pub(in crate::apply) amount: i64,
    pub(in crate::apply) currency: String,
    pub(in crate::apply) status: String,
    pub(in crate::apply) transactions: BTreeMap<String, i64>,
}
