//! An early fraud warning as a fact: `radar.early_fraud_warning.created`. It only flags.

use serde::Deserialize;
use store::{Fact, Warning};

use crate::event::ReadOptions;
use crate::payment::{id, parse, payment, word};
use crate::reason;
use crate::view::{Field, Reference};

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    fraud_type: Field<String>,
    #[serde(default)]
    payment_intent: Field<Reference>,
    #[serde(default)]
    charge: Field<Reference>,
}

/// Reads the JSON text of a warning.
pub(crate) fn read(json: &str, options: &ReadOptions<'_>) -> Result<Fact, &'static str> {
    let view: View = parse(json, "radar.early_fraud_warning", options)?;
    Ok(Fact::Warning(Warning {
        warning_id: id(view.id, reason::WARNING_ID_UNUSABLE)?,
        payment: payment(view.payment_intent, view.charge)?,
        fraud_type: word(view.fraud_type, reason::STATUS_UNUSABLE)?,
    }))
}
