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
/// Ignored: the session has no metadata of ours, or the payment was for something else.
pub const NOT_OURS: &str = "not_ours";

/// Parked: an object that the event names is not known yet.
pub const PREDECESSOR_MISSING: &str = "predecessor_missing";
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
/// Parked: `data.object` is not the object that the event's type promises.
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
/// Parked: `charge` is neither an id nor an object with one.
pub const CHARGE_UNUSABLE: &str = "charge_unusable";
/// Parked: the refund's id is missing or not an id.
pub const REFUND_ID_UNUSABLE: &str = "refund_id_unusable";
/// Parked: the dispute's id is missing or not an id.
pub const DISPUTE_ID_UNUSABLE: &str = "dispute_id_unusable";
/// Parked: the warning's id is missing or not an id.
pub const WARNING_ID_UNUSABLE: &str = "warning_id_unusable";
/// Parked: the customer's id is missing or not an id.
pub const CUSTOMER_UNUSABLE: &str = "customer_unusable";
/// Parked: an amount is missing, below 0 or not a whole number.
pub const AMOUNT_UNUSABLE: &str = "amount_unusable";
/// Parked: `status`, or another word of Stripe's that is kept, is missing or no word.
pub const STATUS_UNUSABLE: &str = "status_unusable";
/// Parked: the dispute's balance transactions are missing, too many, or one has no id or amount.
pub const BALANCE_TRANSACTIONS_UNUSABLE: &str = "balance_transactions_unusable";
/// Parked: the invoice's id, or that of its payment, is missing or not an id.
pub const INVOICE_UNUSABLE: &str = "invoice_unusable";
/// Parked: the invoice's lines are missing, or there are more than the event has.
pub const LINES_UNUSABLE: &str = "lines_unusable";
/// Parked: a line that a plan's price sells has no id or amount.
pub const LINE_UNUSABLE: &str = "line_unusable";
/// Parked: a line's period is missing or ends before it begins.
pub const PERIOD_UNUSABLE: &str = "period_unusable";
/// Parked: `billing_reason` is missing or unknown.
pub const BILLING_REASON_UNUSABLE: &str = "billing_reason_unusable";
/// Parked: the subscription is missing or not an id.
pub const SUBSCRIPTION_UNUSABLE: &str = "subscription_unusable";
