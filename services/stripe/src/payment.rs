//! What refunds, disputes and warnings have in common: an object of a kind, of this livemode, that names its payment.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use store::PaymentRef;

use crate::event::{ReadOptions, is_id};
use crate::reason;
use crate::view::{Field, Reference, is_object};

type Parked = &'static str;

/// The fields by which an object is known for what it is.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    object: Field<String>,
    #[serde(default)]
    livemode: Field<bool>,
}

/// The object, when it is of this kind and its livemode, if it has one, is the installation's: a body that contradicts its
/// envelope is no proof.
pub(crate) fn parse<T: DeserializeOwned>(
    json: &str,
    kind: &str,
    options: &ReadOptions<'_>,
) -> Result<T, Parked> {
    if !is_object(json) {
        return Err(reason::OBJECT_UNUSABLE);
    }
    let known: Kind = serde_json::from_str(json).map_err(|_| reason::OBJECT_UNUSABLE)?;
    let is_kind = matches!(&known.object, Field::Value(object) if object == kind);
    let same_mode = match known.livemode {
        Field::Absent => true,
        Field::Value(livemode) => livemode == options.livemode,
        Field::Unusable => false,
    };
    if !is_kind || !same_mode {
        return Err(reason::OBJECT_UNUSABLE);
    }
    serde_json::from_str(json).map_err(|_| reason::OBJECT_UNUSABLE)
}

/// An id that must be there.
pub(crate) fn id(field: Field<String>, refusal: Parked) -> Result<String, Parked> {
    field.required(refusal).and_then(|id| if is_id(&id) { Ok(id) } else { Err(refusal) })
}

/// The id of another object, which may be missing.
pub(crate) fn reference<E>(field: Field<Reference>, refusal: E) -> Result<Option<String>, E>
where
    E: Copy,
{
    let id = field.optional(refusal)?.map(Reference::into_id);
    if id.as_deref().is_some_and(|id| !is_id(id)) { Err(refusal) } else { Ok(id) }
}

/// An amount of money, 0 or more.
pub(crate) fn amount(field: Field<i64>, refusal: Parked) -> Result<i64, Parked> {
    field.required(refusal).and_then(|amount| if amount >= 0 { Ok(amount) } else { Err(refusal) })
}

/// A word of Stripe's that is kept as it is: 1–64 visible ASCII characters.
pub(crate) fn word(field: Field<String>, refusal: Parked) -> Result<String, Parked> {
    let is_word = |word: &String| word.len() <= 64 && is_id(word);
    field.required(refusal).and_then(|word| if is_word(&word) { Ok(word) } else { Err(refusal) })
}

/// The payment that the object names: its intent, its charge, or both.
pub(crate) fn payment(intent: Field<Reference>, charge: Field<Reference>) -> Result<PaymentRef, Parked> {
    let intent = reference(intent, reason::PAYMENT_INTENT_UNUSABLE)?;
    let charge = reference(charge, reason::CHARGE_UNUSABLE)?;
    if intent.is_none() && charge.is_none() {
        return Err(reason::PAYMENT_INTENT_UNUSABLE);
    }
    Ok(PaymentRef { intent, charge })
}
