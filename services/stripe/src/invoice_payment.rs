//! A payment of an invoice as a fact: `invoice_payment.paid`. Since API version 2025-03-31.basil nothing else links an
//! invoice and its payment intent.

use serde::Deserialize;
use store::{Fact, InvoicePayment, PaymentRef};

use crate::event::ReadOptions;
use crate::payment::{id, parse, payment, reference};
use crate::reason;
use crate::view::{Field, Reference};

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    invoice: Field<Reference>,
    #[serde(default)]
    payment: Field<Payment>,
}

#[derive(Deserialize)]
struct Payment {
    #[serde(default, rename = "type")]
    kind: Field<String>,
    #[serde(default)]
    payment_intent: Field<Reference>,
    #[serde(default)]
    charge: Field<Reference>,
}

/// Reads the JSON text of an invoice payment.
pub(crate) fn read(json: &str, options: &ReadOptions<'_>) -> Result<Fact, &'static str> {
    let view: View = parse(json, "invoice_payment", options)?;
    id(view.id, reason::INVOICE_UNUSABLE)?;
    let invoice = reference(view.invoice, reason::INVOICE_UNUSABLE)?.ok_or(reason::INVOICE_UNUSABLE)?;
    let paid = view.payment.required(reason::PAYMENT_INTENT_UNUSABLE)?;
    // Money that did not go through Stripe has no refunds or disputes there.
    let payment = match &paid.kind {
        Field::Value(kind) if kind == "payment_record" => PaymentRef::default(),
        _ => payment(paid.payment_intent, paid.charge)?,
    };
    Ok(Fact::InvoicePayment(InvoicePayment { invoice, payment }))
}
