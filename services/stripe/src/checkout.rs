//! A Checkout session and what it grants: the events `checkout.session.completed` and
//! `checkout.session.async_payment_succeeded`.
//!
//! Promises: a grant comes only from a session in payment mode whose metadata names an account and a pack, and
//! whose subtotal and currency are the catalogue's price times the quantity. Everything else is ignored when it
//! is not ours, and parked when it is. Metadata never says how many credits a pack has.

use domain::AccountId;
use serde::Deserialize;
use store::{Checkout, Payment, Reading};

use crate::catalogue::Offer;
use crate::event::{ReadOptions, is_id};
use crate::reason;
use crate::view::{Field, OwnMetadata, Reference, is_object};

/// Most packs of one session: Stripe's own limit for the quantity of a line is 999,999.
pub const MAX_QUANTITY: i64 = 999_999;

/// Which of a session's events is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The buyer is through; the money may still be on its way.
    Completed,
    /// The money of a delayed payment has arrived.
    AsyncPaymentSucceeded,
}

/// The fields of a Checkout session that the rule needs, of any API version.
#[derive(Deserialize)]
struct Session {
    #[serde(default)]
    id: Field<String>,
    #[serde(default)]
    object: Field<String>,
    #[serde(default)]
    livemode: Field<bool>,
    #[serde(default)]
    mode: Field<String>,
    #[serde(default)]
    payment_status: Field<String>,
    // Before discounts and taxes, which are the seller's own business.
    #[serde(default)]
    amount_subtotal: Field<i64>,
    #[serde(default)]
    currency: Field<String>,
    #[serde(default)]
    payment_intent: Field<Reference>,
    #[serde(default)]
    metadata: Field<OwnMetadata>,
}

/// What a session of ours was made to sell.
struct Purchase<'a> {
    account: AccountId,
    offer: &'a Offer,
    quantity: i64,
}

type Parked = &'static str;

/// Reads the JSON text of a session.
pub(crate) fn read(json: &str, occasion: Occasion, options: &ReadOptions<'_>) -> Reading {
    let parsed = if is_object(json) { serde_json::from_str::<Session>(json).ok() } else { None };
    let Some(mut session) = parsed.filter(|session| is_session(session, options)) else {
        return Reading::Parked { reason: reason::OBJECT_UNUSABLE };
    };
    let metadata = match std::mem::take(&mut session.metadata).optional(()) {
        Ok(metadata) => metadata.unwrap_or_default(),
        Err(()) => return Reading::Parked { reason: reason::METADATA_UNUSABLE },
    };
    if metadata.is_empty() {
        return Reading::Ignored { reason: reason::NOT_OURS };
    }
    match &session.mode {
        Field::Value(mode) if mode == "payment" => {}
        Field::Value(mode) if mode == "subscription" || mode == "setup" => {
            return Reading::Ignored { reason: reason::MODE_NOT_HANDLED };
        }
        _ => return Reading::Parked { reason: reason::MODE_UNUSABLE },
    }
    let purchase = purchase(metadata, options);
    match purchase.and_then(|purchase| checkout(session, purchase, occasion)) {
        Ok(checkout) => Reading::Checkout(checkout),
        Err(reason) => Reading::Parked { reason },
    }
}

/// Whether it is a session at all, and of this livemode: a body that contradicts its envelope is no proof.
fn is_session(session: &Session, options: &ReadOptions<'_>) -> bool {
    let same_mode = match session.livemode {
        Field::Absent => true,
        Field::Value(livemode) => livemode == options.livemode,
        Field::Unusable => false,
    };
    same_mode && matches!(&session.object, Field::Value(object) if object == "checkout.session")
}

fn purchase<'a>(mut metadata: OwnMetadata, options: &ReadOptions<'a>) -> Result<Purchase<'a>, Parked> {
    let account = metadata.take("tallystick_account").required(reason::PURCHASE_UNKNOWN)?;
    let pack = metadata.take("tallystick_pack").required(reason::PURCHASE_UNKNOWN)?;
    let quantity = metadata.take("tallystick_quantity").optional(reason::QUANTITY_UNUSABLE)?;
    let account = AccountId::try_new(account).map_err(|_| reason::ACCOUNT_UNUSABLE)?;
    let offer = options.catalogue.lookup_pack(&pack).ok_or(reason::PACK_UNKNOWN)?;
    let quantity = quantity.map_or(Some(1), |text| parse_quantity(&text));
    Ok(Purchase { account, offer, quantity: quantity.ok_or(reason::QUANTITY_UNUSABLE)? })
}

/// Digits only; a sign, a space or a fraction is a slip of the seller's backend.
fn parse_quantity(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let quantity: i64 = if digits { text.parse().ok()? } else { return None };
    (1..=MAX_QUANTITY).contains(&quantity).then_some(quantity)
}

fn checkout(session: Session, purchase: Purchase<'_>, occasion: Occasion) -> Result<Checkout, Parked> {
    let Purchase { account, offer, quantity } = purchase;
    let session_id = session.id.required(reason::SESSION_ID_UNUSABLE)?;
    if !is_id(&session_id) {
        return Err(reason::SESSION_ID_UNUSABLE);
    }
    let grant = offer.grant(quantity).ok_or(reason::QUANTITY_UNUSABLE)?;
    let price = offer.subtotal(quantity).ok_or(reason::QUANTITY_UNUSABLE)?;
    let currency = session.currency.required(reason::CURRENCY_UNUSABLE)?;
    if currency != offer.currency() {
        return Err(reason::CURRENCY_MISMATCH);
    }
    let subtotal = session.amount_subtotal.required(reason::SUBTOTAL_UNUSABLE)?;
    if subtotal != price {
        return Err(reason::AMOUNT_MISMATCH);
    }
    let intent = session.payment_intent.optional(reason::PAYMENT_INTENT_UNUSABLE)?.map(Reference::into_id);
    if intent.as_deref().is_some_and(|intent| !is_id(intent)) {
        return Err(reason::PAYMENT_INTENT_UNUSABLE);
    }
    let status = session.payment_status.required(reason::PAYMENT_STATUS_UNUSABLE)?;
    Ok(Checkout {
        session_id,
        payment_intent: intent,
        account,
        unit: offer.unit().clone(),
        pack: offer.id().to_owned(),
        quantity,
        subtotal_minor_units: subtotal,
        currency,
        payment: payment(&status, occasion, price)?,
        grant,
    })
}

/// How far the payment is. Only `paid` is paid, whatever the event is called.
fn payment(status: &str, occasion: Occasion, price: i64) -> Result<Payment, Parked> {
    match (status, occasion) {
        ("paid", _) => Ok(Payment::Paid),
        ("no_payment_required", _) if price == 0 => Ok(Payment::Paid),
        ("no_payment_required", _) => Err(reason::AMOUNT_MISMATCH),
        ("unpaid", Occasion::Completed) => Ok(Payment::Pending),
        _ => Err(reason::PAYMENT_STATUS_UNUSABLE),
    }
}
