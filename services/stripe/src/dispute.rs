//! A dispute as a fact: `charge.dispute.created`, `.updated`, `.closed`, `.funds_withdrawn`, `.funds_reinstated`.
//!
//! What is withheld follows from the balance transactions' `amount`; `net` has Stripe's fee in it.

use serde::Deserialize;
use store::{Dispute, Fact};

use crate::event::ReadOptions;
use crate::payment::{amount, id, parse, payment, word};
use crate::reason;
use crate::view::{Field, Reference};

/// Most balance transactions of one dispute; Stripe documents two.
const MAX_TRANSACTIONS: usize = 100;

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
    #[serde(default)]
    balance_transactions: Field<Vec<Transaction>>,
}

#[derive(Deserialize)]
struct Transaction {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    amount: Field<i64>,
}

/// Reads the JSON text of a dispute.
pub(crate) fn read(json: &str, options: &ReadOptions<'_>) -> Result<Fact, &'static str> {
    const REFUSAL: &str = reason::BALANCE_TRANSACTIONS_UNUSABLE;
    let view: View = parse(json, "dispute", options)?;
    // Missing is not empty: without them nobody can say what is withheld.
    let transactions = view.balance_transactions.required(REFUSAL)?;
    if transactions.len() > MAX_TRANSACTIONS {
        return Err(REFUSAL);
    }
    let transaction = |view: Transaction| -> Result<(String, i64), &'static str> {
        Ok((id(view.id, REFUSAL)?, view.amount.required(REFUSAL)?))
    };
    Ok(Fact::Dispute(Dispute {
        dispute_id: id(view.id, reason::DISPUTE_ID_UNUSABLE)?,
        payment: payment(view.payment_intent, view.charge)?,
        amount: amount(view.amount, reason::AMOUNT_UNUSABLE)?,
        currency: word(view.currency, reason::CURRENCY_UNUSABLE)?,
        status: word(view.status, reason::STATUS_UNUSABLE)?,
        transactions: transactions.into_iter().map(transaction).collect::<Result<_, _>>()?,
    }))
}
