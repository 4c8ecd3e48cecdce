//! A paid invoice as a fact: `invoice.paid`. Each line that a plan's price sells grants that plan for the line's period.
//!
//! Read in both shapes: the subscription and prices lie at the invoice and its lines, or (since API version
//! 2025-03-31.basil) below `parent` and `pricing`. `invoice.payment_succeeded` says the same and has no rule, else every
//! period would be decided twice.

use domain::{AccountId, CostBasis};
use serde::Deserialize;
use store::{Fact, Invoice, InvoiceLine, PaymentRef, Rollover};

use crate::catalogue::{BillingReason, Offer};
use crate::event::ReadOptions;
use crate::payment::{amount, id, parse, reference, word};
use crate::reason;
use crate::view::{Field, OwnMetadata, Reference};

/// Most lines of an invoice; Stripe puts ten into an event.
const MAX_LINES: usize = 100;
/// Longest id of an invoice with that of its line: both are one reference in the journal.
const MAX_LINE_KEY_BYTES: usize = domain::MAX_TEXT_BYTES;

type Parked = &'static str;

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    customer: Field<Reference>,
    #[serde(default)]
    subscription: Field<Reference>,
    #[serde(default)]
    subscription_details: Field<SubscriptionDetails>,
    #[serde(default)]
    parent: Field<Parent>,
    #[serde(default)]
    billing_reason: Field<String>,
    #[serde(default)]
    amount_paid: Field<i64>,
    #[serde(default)]
    currency: Field<String>,
    #[serde(default)]
    payment_intent: Field<Reference>,
    #[serde(default)]
    charge: Field<Reference>,
    #[serde(default)]
    lines: Field<Lines>,
}

#[derive(Deserialize, Default)]
struct Parent {
    #[serde(default)]
    subscription_details: Field<SubscriptionDetails>,
}

#[derive(Deserialize, Default)]
struct SubscriptionDetails {
    #[serde(default)]
    subscription: Field<Reference>,
    #[serde(default)]
    metadata: Field<OwnMetadata>,
}

#[derive(Deserialize)]
struct Lines {
    #[serde(default)]
    data: Field<Vec<Line>>,
    #[serde(default)]
    has_more: Field<bool>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    amount: Field<i64>,
    #[serde(default)]
    quantity: Field<i64>,
    #[serde(default)]
    period: Field<Period>,
    #[serde(default)]
    proration: Field<bool>,
    #[serde(default)]
    price: Field<Reference>,
    #[serde(default)]
    plan: Field<Reference>,
    #[serde(default)]
    pricing: Field<Pricing>,
    #[serde(default)]
    parent: Field<LineParent>,
}

#[derive(Deserialize)]
struct Period {
    start: i64,
    end: i64,
}

#[derive(Deserialize)]
struct Pricing {
    #[serde(default)]
    price_details: Field<PriceDetails>,
}

#[derive(Deserialize)]
struct PriceDetails {
    #[serde(default)]
    price: Field<Reference>,
}

#[derive(Deserialize)]
struct LineParent {
    #[serde(default)]
    subscription_item_details: Field<Prorated>,
    #[serde(default)]
    invoice_item_details: Field<Prorated>,
}

#[derive(Deserialize)]
struct Prorated {
    #[serde(default)]
    proration: Field<bool>,
}

/// Reads the JSON text of an invoice.
pub(crate) fn read(json: &str, options: &ReadOptions<'_>) -> Result<Fact, Parked> {
    let view: View = parse(json, "invoice", options)?;
    let invoice_id = id(view.id, reason::INVOICE_UNUSABLE)?;
    let parent = view.parent.optional(reason::SUBSCRIPTION_UNUSABLE)?.unwrap_or_default();
    let nested = parent.subscription_details.optional(reason::SUBSCRIPTION_UNUSABLE)?.unwrap_or_default();
    let older = view.subscription_details.optional(reason::SUBSCRIPTION_UNUSABLE)?.unwrap_or_default();
    let subscription = reference(view.subscription, reason::SUBSCRIPTION_UNUSABLE)?
        .or(reference(nested.subscription, reason::SUBSCRIPTION_UNUSABLE)?);
    let named = match named(nested.metadata)? {
        Some(account) => Some(account),
        None => named(older.metadata)?,
    };
    let captured = amount(view.amount_paid, reason::AMOUNT_UNUSABLE)?;
    let currency = word(view.currency, reason::CURRENCY_UNUSABLE)?;
    let lines = view.lines.required(reason::LINES_UNUSABLE)?;
    let has_more = lines.has_more.optional(reason::LINES_UNUSABLE)?.unwrap_or(false);
    let lines = lines.data.required(reason::LINES_UNUSABLE)?;
    let sold: Vec<(Line, &Offer)> = lines.into_iter().filter_map(|line| with_plan(line, options)).collect();
    let has_plan = !sold.is_empty();
    if (has_more && has_plan) || sold.len() > MAX_LINES {
        // The event has the first lines only; what the others are, nobody can say.
        return Err(reason::LINES_UNUSABLE);
    }
    let mut granting = Vec::new();
    let is_due = |offer: &Offer, reason: &str| is_granting(offer, reason, captured);
    for (line, offer) in sold {
        let reason = view_word(&view.billing_reason)?;
        if is_due(offer, reason)? {
            granting.extend(granted(line, offer, &invoice_id, &currency)?);
        }
    }
    Ok(Fact::Invoice(Invoice {
        customer: reference(view.customer, reason::CUSTOMER_UNUSABLE)?,
        payment: PaymentRef {
            intent: reference(view.payment_intent, reason::PAYMENT_INTENT_UNUSABLE)?,
            charge: reference(view.charge, reason::CHARGE_UNUSABLE)?,
        },
        invoice_id,
        subscription,
        named,
        captured_minor_units: captured,
        currency,
        has_plan,
        lines: granting,
    }))
}

fn view_word(field: &Field<String>) -> Result<&str, Parked> {
    match field {
        Field::Value(word) => Ok(word),
        Field::Absent | Field::Unusable => Err(reason::BILLING_REASON_UNUSABLE),
    }
}

/// The account that the subscription's metadata name.
pub(crate) fn named(metadata: Field<OwnMetadata>) -> Result<Option<AccountId>, Parked> {
    let Some(mut metadata) = metadata.optional(reason::METADATA_UNUSABLE)? else { return Ok(None) };
    let account = metadata.take("tallystick_account").optional(reason::ACCOUNT_UNUSABLE)?;
    account.map(|account| AccountId::try_new(account).map_err(|_| reason::ACCOUNT_UNUSABLE)).transpose()
}

/// Whether the plan grants for an invoice of this reason. A reason that is not known is parked: somebody has paid.
fn is_granting(offer: &Offer, reason: &str, captured: i64) -> Result<bool, Parked> {
    if captured == 0 {
        return Ok(false);
    }
    match reason {
        "subscription_create" | "subscription_cycle" => Ok(true),
        "quote_accept" | "upcoming" | "automatic_pending_invoice_item_invoice" | "subscription" => Ok(false),
        other => match BillingReason::lookup(other) {
            Some(reason) => Ok(offer.plan().also_for.contains(&reason)),
            None => Err(reason::BILLING_REASON_UNUSABLE),
        },
    }
}

/// The line with the plan that its price sells.
fn with_plan<'a>(line: Line, options: &ReadOptions<'a>) -> Option<(Line, &'a Offer)> {
    let ids = [&line.price, &line.plan].into_iter().filter_map(|field| match field {
        Field::Value(Reference::Id(id) | Reference::Object { id }) => Some(id.as_str()),
        Field::Absent | Field::Unusable => None,
    });
    let newer = match &line.pricing {
        Field::Value(Pricing {
            price_details: Field::Value(PriceDetails { price: Field::Value(price) }),
        }) => Some(match price {
            Reference::Id(id) | Reference::Object { id } => id.as_str(),
        }),
        _ => None,
    };
    let offer = ids.chain(newer).find_map(|price| options.catalogue.lookup_plan_of_price(price))?;
    Some((line, offer))
}

fn is_prorated(line: &Line) -> bool {
    let is_true = |field: &Field<bool>| *field == Field::Value(true);
    let of = |field: &Field<Prorated>| matches!(field, Field::Value(details) if is_true(&details.proration));
    let parent = matches!(&line.parent, Field::Value(parent)
        if of(&parent.subscription_item_details) || of(&parent.invoice_item_details));
    is_true(&line.proration) || parent
}

/// What a line grants: nothing for a part of a period, a credit note or a free trial of a plan that costs.
fn granted(
    line: Line,
    offer: &Offer,
    invoice_id: &str,
    currency: &str,
) -> Result<Option<InvoiceLine>, Parked> {
    let is_prorated = is_prorated(&line);
    let paid = line.amount.required(reason::LINE_UNUSABLE)?;
    if is_prorated || paid < 0 || (paid == 0 && offer.unit_amount() > 0) {
        return Ok(None);
    }
    let line_id = id(line.id, reason::LINE_UNUSABLE)?;
    if invoice_id.len() + 1 + line_id.len() > MAX_LINE_KEY_BYTES {
        return Err(reason::LINE_UNUSABLE);
    }
    let quantity = line.quantity.optional(reason::QUANTITY_UNUSABLE)?.unwrap_or(1);
    let Period { start, end } = line.period.required(reason::PERIOD_UNUSABLE)?;
    if !(0..end).contains(&start) || end > domain::MAX_TIMESTAMP_US / 1_000_000 {
        return Err(reason::PERIOD_UNUSABLE);
    }
    if quantity < 1 {
        return Err(reason::QUANTITY_UNUSABLE);
    }
    let cost_basis = CostBasis::try_new(currency, paid).ok();
    let grant =
        offer.grant_for_period(quantity, (start, end), cost_basis).ok_or(reason::QUANTITY_UNUSABLE)?;
    Ok(Some(InvoiceLine {
        line_id,
        plan: offer.id().to_owned(),
        unit: offer.unit().clone(),
        period_start_s: start,
        period_end_s: end,
        grant,
        ends_with_subscription: offer.plan().ends_with_subscription,
        rollover: offer.plan().rollover.map(|terms| Rollover { percent: terms.percent, cap: terms.cap }),
    }))
}

/// Whether any of a subscription's items sells a plan of ours.
pub(crate) fn has_known_price(items: &Field<Items>, options: &ReadOptions<'_>) -> bool {
    let Field::Value(Items { data: Field::Value(data) }) = items else { return false };
    data.iter().any(|item| match &item.price {
        Field::Value(Reference::Id(id) | Reference::Object { id }) => {
            options.catalogue.lookup_plan_of_price(id).is_some()
        }
        Field::Absent | Field::Unusable => false,
    })
}

/// The items of a subscription.
#[derive(Deserialize)]
pub(crate) struct Items {
    #[serde(default)]
    data: Field<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    price: Field<Reference>,
}
