//! Why an event was ignored or parked: stable names that are stored with it.
//!
//! A name ending in `_unusable` says that a field which the rule needs is missing or has no usable value. All
//! other names are those of the API's `StripeOutcome`, in lower case, except [`NOT_OURS`].

/// Ignored: no rule for this event type.
pub const TYPE_NOT_HANDLED: &str = "type_not_handled";
/// Ignored: a test event at a live installation, or the other way round.
pub const LIVEMODE_MISMATCH: &str = "livemode_mismatch";
/// Ignored: the event belongs to a Connect account other than the configured one.
pub const UNEXPECTED_CONNECT_ACCOUNT: &str = "unexpected_connect_account";
/// Ignored: a session of mode subscription or setup grants nothing by itself.
pub const MODE_NOT_HANDLED: &str = "mode_not_handled";
/// Ignored: the session has no metadata of ours; it sold something else.
pub const NOT_OURS: &str = "not_ours";

/// Parked: the metadata is ours, but it does not name both an account and a pack.
pub const PURCHASE_UNKNOWN: &str = "purchase_unknown";
/// Parked: the catalogue has no such pack.
pub const PACK_UNKNOWN: &str = "pack_unknown";
/// Parked: the subtotal is not the catalogue's price times the quantity, or a priced session needed no payment.
pub const AMOUNT_MISMATCH: &str = "amount_mismatch";
/// Parked: the currency is not the catalogue's.
pub const CURRENCY_MISMATCH: &str = "currency_mismatch";
/// Parked: the event does not say whether it is real money.
pub const LIVEMODE_UNUSABLE: &str = "livemode_unusable";
/// Parked: `data.object` is not a Checkout session that can be read.
pub const OBJECT_UNUSABLE: &str = "object_unusable";
/// Parked: the metadata cannot be read, or repeats a key of ours.
pub const METADATA_UNUSABLE: &str = "metadata_unusable";
/// Parked: `mode` is missing or unknown.
pub const MODE_UNUSABLE: &str = "mode_unusable";
/// Parked: the session's id is missing or not an id.
pub const SESSION_ID_UNUSABLE: &str = "session_id_unusable";
/// Parked: `tallystick_account` is not an account id.
pub const ACCOUNT_UNUSABLE: &str = "account_unusable";
/// Parked: `tallystick_quantity` is not a whole number from 1, or buys more than one grant may hold.
pub const QUANTITY_UNUSABLE: &str = "quantity_unusable";
/// Parked: `amount_subtotal` is missing or not a whole number.
pub const SUBTOTAL_UNUSABLE: &str = "subtotal_unusable";
/// Parked: `currency` is missing or not a text.
pub const CURRENCY_UNUSABLE: &str = "currency_unusable";
/// Parked: `payment_intent` is neither an id nor an object with one.
pub const PAYMENT_INTENT_UNUSABLE: &str = "payment_intent_unusable";
/// Parked: `payment_status` is missing, unknown, or contradicts the event's type.
pub const PAYMENT_STATUS_UNUSABLE: &str = "payment_status_unusable";
