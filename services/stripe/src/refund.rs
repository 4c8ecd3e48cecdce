//! A refund as a fact: `refund.created`, `.updated`, `.failed`, and `charge.refund.updated` of older API versions.

use serde::Deserialize;
use store::{Fact, Refund};

use crate::event::ReadOptions;
use crate::payment::{amount, id, parse, payment, word};
use crate::reason;
use crate::view::{Field, Reference};

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    amount: Field<i64>,
    #[serde(default)]
    currency: Field<String>,
    #[serde(default)]
    status: Field<String>,
    #[serde(default)]
    payment_intent: Field<Reference>,
    #[serde(default)]
    charge: Field<Reference>,
}

/// Reads the JSON text of a refund.
pub(crate) fn read(json: &str, options: &ReadOptions<'_>) -> Result<Fact, &'static str> {
    let view: View = parse(json, "refund", options)?;
    Ok(Fact::Refund(Refund {
        refund_id: id(view.id, reason::REFUND_ID_UNUSABLE)?,
        payment: payment(view.payment_intent, view.charge)?,
        amount: amount(view.amount, reason::AMOUNT_UNUSABLE)?,
        currency: word(view.currency, reason::CURRENCY_UNUSABLE)?,
        status: word(view.status, reason::STATUS_UNUSABLE)?,
    }))
}
