//! A refunded charge: `charge.refunded`. It says that there are refunds and how much in all, but not which of them fail
//! later; their own events do.

use serde::Deserialize;
use store::Fact;

use crate::event::ReadOptions;
use crate::payment::{id, parse, payment};
use crate::reason;
use crate::view::{Field, Reference};

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    payment_intent: Field<Reference>,
}

/// Reads the JSON text of a charge.
pub(crate) fn read(json: &str, options: &ReadOptions<'_>) -> Result<Fact, &'static str> {
    let view: View = parse(json, "charge", options)?;
    let charge = Reference::Id(id(view.id, reason::CHARGE_UNUSABLE)?);
    Ok(Fact::RefundHint(payment(view.payment_intent, Field::Value(charge))?))
}
