//! A subscription's state as a fact: `customer.subscription.updated`, `.deleted`, `.paused`.

use serde::Deserialize;
use store::{Fact, SubscriptionState};

use crate::event::ReadOptions;
use crate::invoice::{Items, has_known_price, named};
use crate::payment::{id, parse, reference, word};
use crate::reason;
use crate::view::{Field, OwnMetadata, Reference};

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    customer: Field<Reference>,
    #[serde(default)]
    status: Field<String>,
    #[serde(default)]
    metadata: Field<OwnMetadata>,
    #[serde(default)]
    items: Field<Items>,
}

/// Reads the JSON text of a subscription; `is_deleted` says that its event is the one of its end.
pub(crate) fn read(
    json: &str,
    is_deleted: bool,
    created_s: i64,
    options: &ReadOptions<'_>,
) -> Result<Fact, &'static str> {
    let view: View = parse(json, "subscription", options)?;
    let status = word(view.status, reason::STATUS_UNUSABLE)?;
    Ok(Fact::Subscription(SubscriptionState {
        subscription: id(view.id, reason::SUBSCRIPTION_UNUSABLE)?,
        customer: reference(view.customer, reason::CUSTOMER_UNUSABLE)?,
        named: named(view.metadata)?,
        has_plan: has_known_price(&view.items, options),
        is_ended: is_deleted || matches!(status.as_str(), "canceled" | "incomplete_expired"),
        status,
        told_at_s: created_s,
    }))
}
