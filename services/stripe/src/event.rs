//! From the raw body of a webhook to the event's envelope, and on to the rule for its type.
//!
//! Decides what is an event at all, and that texts are safe to store: the id must be clean, since it is the
//! inbox's key; other texts of the envelope are cleaned, so that an event is stored rather than refused
//! ([`storable`]). The signature has been checked by the caller.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;
use store::{Reading, StripeEvent};

use crate::catalogue::Catalogue;
use crate::nesting::{MAX_DEPTH, is_too_deep};
use crate::view::{Field, is_object};
use crate::{
    charge, checkout, customer, dispute, fraud_warning, invoice, invoice_payment, reason, refund,
    subscription,
};

/// Largest body, in bytes: Stripe's events are a few KiB; the edge reads no more either.
pub const MAX_EVENT_BYTES: usize = 512 * 1024;
/// Longest id of an event, session or payment intent, in bytes: what Stripe's own limit for ids is.
pub const MAX_ID_BYTES: usize = 255;
/// Longest event type, API version or Connect account that is stored, in bytes; longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 255;
/// Latest creation time that is stored, in seconds since 1970: the end of the year 9999.
const MAX_CREATED_S: i64 = domain::MAX_TIMESTAMP_US / 1_000_000;

/// Why a signed body is not an event. Carries nothing of the body, so that it may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEvent {
    /// More bytes than any event has.
    #[error("the body is {actual} bytes long; at most {limit} are allowed")]
    TooLong {
        /// Bytes allowed.
        limit: usize,
        /// Bytes given.
        actual: usize,
    },
    /// Not UTF-8 text.
    #[error("the body is not UTF-8 from byte {valid_up_to}")]
    NotUtf8 {
        /// Bytes that were UTF-8.
        valid_up_to: usize,
    },
    /// Nested deeper than any event is.
    #[error("the body nests deeper than {limit} levels")]
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// Not a JSON object.
    #[error("the body is not a JSON object (line {line}, column {column})")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 0.
        column: usize,
    },
    /// A field of the envelope comes twice or is not of its type.
    #[error("the envelope has a repeated field, or one of another type (line {line}, column {column})")]
    Envelope {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 0.
        column: usize,
    },
    /// A thin event (`v2.core.event`), which carries no object.
    #[error("the body is a thin event (v2.core.event); thin events are off")]
    Thin,
    /// JSON of another kind: its `object` is not `event`.
    #[error("the body's object is not event")]
    Object,
    /// No `id`, or an empty one.
    #[error("the event has no id")]
    NoId,
    /// The `id` is too long.
    #[error("the event's id is {actual} bytes long; at most {limit} are allowed")]
    IdTooLong {
        /// Bytes allowed.
        limit: usize,
        /// Bytes given.
        actual: usize,
    },
    /// The `id` holds a space, a control character or a character outside ASCII.
    #[error("the event's id holds a character that no id has")]
    IdCharacters,
    /// No `type`, or an empty one.
    #[error("the event has no type")]
    NoType,
}

/// What this installation expects of events.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions<'a> {
    /// What is sold.
    pub catalogue: &'a Catalogue,
    /// Real money (true) or tests; events of the other kind are ignored.
    pub livemode: bool,
    /// The Connect account whose events are ours; `None`: only events that name none.
    pub connect_account: Option<&'a str>,
}

/// The fields of an event that every type has.
#[derive(Deserialize)]
struct Envelope<'a> {
    id: Option<String>,
    object: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    account: Option<String>,
    api_version: Option<String>,
    livemode: Option<bool>,
    // A thin event's is a text; it orders nothing, so it spoils nothing.
    #[serde(default)]
    created: Field<i64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Where the event's object lies.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

/// Reads the raw body of a signed event.
///
/// # Errors
/// [`NotAnEvent`] when the body is not one; it is then answered 400 and not stored.
pub fn read(body: Bytes, options: &ReadOptions<'_>) -> Result<(StripeEvent, Reading), NotAnEvent> {
    let json = checked_text(&body)?;
    let envelope = parse_envelope(json)?;
    let reading = meaning(&envelope, options);
    let event = StripeEvent {
        event_id: checked_id(envelope.id)?,
        event_type: envelope.event_type.map(storable).filter(|t| !t.is_empty()).ok_or(NotAnEvent::NoType)?,
        created_s: envelope.created.required(()).unwrap_or(0).clamp(0, MAX_CREATED_S),
        livemode: envelope.livemode.unwrap_or(false),
        api_version: envelope.api_version.map(storable),
        connect_account: envelope.account.map(storable),
        body: body.clone(),
    };
    Ok((event, reading))
}

fn checked_text(body: &[u8]) -> Result<&str, NotAnEvent> {
    if body.len() > MAX_EVENT_BYTES {
        return Err(NotAnEvent::TooLong { limit: MAX_EVENT_BYTES, actual: body.len() });
    }
    let json = std::str::from_utf8(body)
        .map_err(|error| NotAnEvent::NotUtf8 { valid_up_to: error.valid_up_to() })?;
    if is_too_deep(json) {
        return Err(NotAnEvent::TooDeep { limit: MAX_DEPTH });
    }
    Ok(json)
}

fn parse_envelope(json: &str) -> Result<Envelope<'_>, NotAnEvent> {
    if !is_object(json) {
        return Err(NotAnEvent::NotJson { line: 1, column: 0 });
    }
    let envelope: Envelope<'_> = serde_json::from_str(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            Category::Data => NotAnEvent::Envelope { line, column },
            Category::Syntax | Category::Eof | Category::Io => NotAnEvent::NotJson { line, column },
        }
    })?;
    match envelope.object.as_deref() {
        // Events always say so; a body without `object` is judged by its id and type alone.
        Some("event") | None => Ok(envelope),
        Some("v2.core.event") => Err(NotAnEvent::Thin),
        Some(_) => Err(NotAnEvent::Object),
    }
}

fn checked_id(id: Option<String>) -> Result<String, NotAnEvent> {
    let id = id.filter(|id| !id.is_empty()).ok_or(NotAnEvent::NoId)?;
    if id.len() > MAX_ID_BYTES {
        return Err(NotAnEvent::IdTooLong { limit: MAX_ID_BYTES, actual: id.len() });
    }
    if is_id(&id) { Ok(id) } else { Err(NotAnEvent::IdCharacters) }
}

/// Whether a text can be the id of a Stripe object: 1–255 visible ASCII characters.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A text as it is stored: control characters (PostgreSQL's text cannot hold NUL) become U+FFFD, and what is
/// longer than [`MAX_TEXT_BYTES`] is cut. The raw body keeps the original.
fn storable(text: String) -> String {
    let mut text = text.replace(char::is_control, "\u{FFFD}");
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    text.truncate(end);
    text
}

/// The rule for the event's type. Guards first: what is not of this installation is nobody's business.
fn meaning(envelope: &Envelope<'_>, options: &ReadOptions<'_>) -> Reading {
    if envelope.livemode.is_some_and(|livemode| livemode != options.livemode) {
        return Reading::Ignored { reason: reason::LIVEMODE_MISMATCH };
    }
    if envelope.account.as_deref() != options.connect_account {
        return Reading::Ignored { reason: reason::UNEXPECTED_CONNECT_ACCOUNT };
    }
    let Some(rule) = envelope.event_type.as_deref().and_then(rule) else {
        return Reading::Ignored { reason: reason::TYPE_NOT_HANDLED };
    };
    if envelope.livemode.is_none() {
        return Reading::Parked { reason: reason::LIVEMODE_UNUSABLE };
    }
    let Some(object) = object(envelope.data) else {
        return Reading::Parked { reason: reason::OBJECT_UNUSABLE };
    };
    let fact = match rule {
        Rule::Session(occasion) => return checkout::read(object, occasion, options),
        Rule::Refund => refund::read(object, options),
        Rule::RefundHint => charge::read(object, options),
        Rule::Dispute => dispute::read(object, options),
        Rule::Warning => fraud_warning::read(object, options),
        Rule::CustomerGone => customer::read(object, options),
        Rule::Invoice => invoice::read(object, options),
        Rule::InvoicePayment => invoice_payment::read(object, options),
        Rule::Subscription { is_deleted } => {
            let created_s = if let Field::Value(created_s) = envelope.created { created_s } else { 0 };
            subscription::read(object, is_deleted, created_s, options)
        }
    };
    match fact {
        Ok(fact) => Reading::Fact(fact),
        Err(reason) => Reading::Parked { reason },
    }
}

/// How an event is read.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Session(checkout::Occasion),
    Refund,
    RefundHint,
    Dispute,
    Warning,
    CustomerGone,
    Invoice,
    InvoicePayment,
    Subscription { is_deleted: bool },
}

fn rule(event_type: &str) -> Option<Rule> {
    use checkout::Occasion;
    Some(match event_type {
        "checkout.session.completed" => Rule::Session(Occasion::Completed),
        "checkout.session.async_payment_succeeded" => Rule::Session(Occasion::AsyncPaymentSucceeded),
        "checkout.session.async_payment_failed" => Rule::Session(Occasion::AsyncPaymentFailed),
        "checkout.session.expired" => Rule::Session(Occasion::Expired),
        // The last is what older API versions call an update.
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => Rule::Refund,
        "charge.refunded" => Rule::RefundHint,
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => Rule::Dispute,
        "radar.early_fraud_warning.created" => Rule::Warning,
        "customer.deleted" => Rule::CustomerGone,
        // invoice.payment_succeeded says the same again and must have no effect.
        "invoice.paid" => Rule::Invoice,
        "invoice_payment.paid" => Rule::InvoicePayment,
        "customer.subscription.updated" | "customer.subscription.paused" => {
            Rule::Subscription { is_deleted: false }
        }
        "customer.subscription.deleted" => Rule::Subscription { is_deleted: true },
        _ => return None,
    })
}

/// The JSON text of `data.object`.
fn object<'a>(data: Option<&'a RawValue>) -> Option<&'a str> {
    let data = data.map(RawValue::get).filter(|json| is_object(json))?;
    let data: Data<'a> = serde_json::from_str(data).ok()?;
    data.object.map(RawValue::get).filter(|json| is_object(json))
}
