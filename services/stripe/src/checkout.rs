//! A Checkout session and what it grants: the events `checkout.session.completed`, `.async_payment_succeeded`,
//! `.async_payment_failed` and `.expired`.
//!
//! A session in subscription mode links its customer and subscription to an account.
//!
//! Promises: a grant comes only from a session in payment mode whose metadata names an account and a pack, and
//! whose subtotal and currency are the catalogue's price times the quantity. Everything else is ignored when it
//! is not ours, and parked when it is. Metadata never says how many credits a pack has.

use domain::AccountId;
use serde::Deserialize;
use store::{
    Checkout, Fact, KeyKind, Payment, Reading, SessionEnd, SessionEnded, StripeKey, SubscriptionLink,
};

use crate::catalogue::Offer;
use crate::event::{ReadOptions, is_id};
use crate::payment::{id, reference};
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
    /// The delayed payment failed.
    AsyncPaymentFailed,
    /// Nobody paid in time.
    Expired,
}

impl Occasion {
    /// The session has ended well.
    const fn is_done(self) -> bool {
        matches!(self, Self::Completed | Self::AsyncPaymentSucceeded)
    }
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
    // What was captured: with them.
    #[serde(default)]
    amount_total: Field<i64>,
    #[serde(default)]
    currency: Field<String>,
    #[serde(default)]
    payment_intent: Field<Reference>,
    #[serde(default)]
    customer: Field<Reference>,
    #[serde(default)]
    subscription: Field<Reference>,
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
        return not_ours(session);
    }
    match &session.mode {
        Field::Value(mode) if mode == "payment" => {}
        Field::Value(mode) if mode == "subscription" && occasion.is_done() => {
            return match link(session, metadata) {
                Ok(link) => Reading::Fact(Fact::Link(link)),
                Err(reason) => Reading::Parked { reason },
            };
        }
        Field::Value(mode) if mode == "subscription" || mode == "setup" => {
            return Reading::Ignored { reason: reason::MODE_NOT_HANDLED };
        }
        _ => return Reading::Parked { reason: reason::MODE_UNUSABLE },
    }
    let purchase = purchase(metadata, options);
    match purchase.and_then(|purchase| checkout(session, purchase, occasion)) {
        Ok(checkout) => match occasion {
            Occasion::Completed | Occasion::AsyncPaymentSucceeded => Reading::Checkout(checkout),
            Occasion::AsyncPaymentFailed => ended(checkout, SessionEnd::PaymentFailed),
            Occasion::Expired => ended(checkout, SessionEnd::Expired),
        },
        Err(reason) => Reading::Parked { reason },
    }
}

fn ended(checkout: Checkout, end: SessionEnd) -> Reading {
    Reading::Fact(Fact::SessionEnded(SessionEnded { checkout, end }))
}

/// A session of mode subscription says whose its customer and subscription are; it grants nothing itself, its invoices do.
fn link(session: Session, mut metadata: OwnMetadata) -> Result<SubscriptionLink, Parked> {
    let account = metadata.take("tallystick_account").required(reason::PURCHASE_UNKNOWN)?;
    Ok(SubscriptionLink {
        account: AccountId::try_new(account).map_err(|_| reason::ACCOUNT_UNUSABLE)?,
        session_id: id(session.id, reason::SESSION_ID_UNUSABLE)?,
        customer: reference(session.customer, reason::CUSTOMER_UNUSABLE)?,
        subscription: reference(session.subscription, reason::SUBSCRIPTION_UNUSABLE)?
            .ok_or(reason::SUBSCRIPTION_UNUSABLE)?,
    })
}

/// A session that sold something else; what comes of its payment later is not ours either.
fn not_ours(session: Session) -> Reading {
    let intent = reference(session.payment_intent, ()).ok().flatten();
    Reading::NotOurs {
        keys: intent.map(|id| StripeKey::new(KeyKind::PaymentIntent, id)).into_iter().collect(),
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
    let intent = reference(session.payment_intent, reason::PAYMENT_INTENT_UNUSABLE)?;
    // Very old API versions have no total, nor had they taxes and discounts.
    let captured = session.amount_total.optional(reason::SUBTOTAL_UNUSABLE)?.unwrap_or(subtotal);
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
        captured_minor_units: captured.max(0),
        payment: payment(&status, occasion, price)?,
        grant,
    })
}

/// How far the payment is. Only `paid` is paid, whatever the event is called.
fn payment(status: &str, occasion: Occasion, price: i64) -> Result<Payment, Parked> {
    match (status, occasion) {
        ("paid", Occasion::Completed | Occasion::AsyncPaymentSucceeded) => Ok(Payment::Paid),
        ("no_payment_required", Occasion::Completed | Occasion::AsyncPaymentSucceeded) if price == 0 => {
            Ok(Payment::Paid)
        }
        ("no_payment_required", _) if price != 0 => Err(reason::AMOUNT_MISMATCH),
        ("unpaid", Occasion::Completed | Occasion::AsyncPaymentFailed | Occasion::Expired) => {
            Ok(Payment::Pending)
        }
        _ => Err(reason::PAYMENT_STATUS_UNUSABLE),
    }
}
