//! Events in the shape of Stripe's own, for `tallystick simulate` and for tests.
//!
//! A simulated session has the fields that Stripe documents for API version [`API_VERSION`]; amounts come from
//! the catalogue. Ids and times come in as parameters, so that the same parameters always give the same bytes.

use domain::AccountId;
use serde_json::{Value, json};

use crate::catalogue::Offer;

/// The API version that simulated events claim.
pub const API_VERSION: &str = "2025-03-31.basil";
/// How long a session stays open, in seconds: Stripe's default of 24 hours.
const SESSION_LIFE_S: i64 = 86_400;

/// Which event of a session is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutEvent {
    /// `checkout.session.completed`, paid by card.
    CompletedPaid,
    /// `checkout.session.completed`, paid by a method whose money is still on its way.
    CompletedUnpaid,
    /// `checkout.session.async_payment_succeeded`: that money has arrived.
    AsyncPaymentSucceeded,
}

impl CheckoutEvent {
    const fn event_type(self) -> &'static str {
        match self {
            Self::CompletedPaid | Self::CompletedUnpaid => "checkout.session.completed",
            Self::AsyncPaymentSucceeded => "checkout.session.async_payment_succeeded",
        }
    }

    const fn payment_status(self) -> &'static str {
        match self {
            Self::CompletedUnpaid => "unpaid",
            Self::CompletedPaid | Self::AsyncPaymentSucceeded => "paid",
        }
    }
}

/// One simulated purchase.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedCheckout<'a> {
    /// Makes the ids: the event's is `evt_<event>`; another one for the same session is another event.
    pub event: &'a str,
    /// The session's is `cs_test_<session>` (`cs_live_` in livemode), the payment intent's `pi_<session>`.
    pub session: &'a str,
    /// Who buys.
    pub account: &'a AccountId,
    /// What.
    pub pack: &'a Offer,
    /// How many, from 1.
    pub quantity: i64,
    /// Which event.
    pub kind: CheckoutEvent,
    /// When, in seconds since 1970.
    pub created_s: i64,
    /// Real money, or a test.
    pub livemode: bool,
}

impl SimulatedCheckout<'_> {
    /// The event's id.
    #[must_use]
    pub fn event_id(&self) -> String {
        format!("evt_{}", self.event)
    }

    /// The session's id.
    #[must_use]
    pub fn session_id(&self) -> String {
        format!("cs_{}_{}", if self.livemode { "live" } else { "test" }, self.session)
    }

    /// The raw body of the webhook, indented as Stripe's are.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let event = json!({
            "id": self.event_id(),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.created_s,
            "data": { "object": self.session_object() },
            "livemode": self.livemode,
            "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null },
            "type": self.kind.event_type(),
        });
        format!("{event:#}").into_bytes()
    }

    fn session_object(&self) -> Value {
        // Out of range only for a quantity that the reader refuses anyway.
        let amount = self.pack.unit_amount().saturating_mul(self.quantity);
        let method = if self.kind == CheckoutEvent::CompletedPaid { "card" } else { "customer_balance" };
        let mut session = json!({
            "id": self.session_id(),
            "object": "checkout.session",
            "amount_subtotal": amount,
            "amount_total": amount,
            "automatic_tax": { "enabled": false, "liability": null, "status": null },
            "created": self.created_s,
            "currency": self.pack.currency(),
            "custom_fields": [],
            "custom_text": { "after_submit": null, "shipping_address": null, "submit": null,
                "terms_of_service_acceptance": null },
            "customer_creation": "if_required",
            "customer_details": { "address": null, "email": "buyer@example.com", "name": "Example Buyer",
                "phone": null, "tax_exempt": "none", "tax_ids": [] },
            "discounts": [],
            "expires_at": self.created_s.saturating_add(SESSION_LIFE_S),
            "livemode": self.livemode,
            "metadata": {
                "tallystick_account": self.account.as_str(),
                "tallystick_pack": self.pack.id(),
                "tallystick_quantity": self.quantity.to_string(),
            },
            "mode": "payment",
            "payment_intent": format!("pi_{}", self.session),
            "payment_method_collection": "if_required",
            "payment_method_options": {},
            "payment_method_types": [method],
            "payment_status": self.kind.payment_status(),
            "phone_number_collection": { "enabled": false },
            "shipping_options": [],
            "status": "complete",
            "success_url": "https://example.com/payment/success?session_id={CHECKOUT_SESSION_ID}",
            "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
            "ui_mode": "hosted",
        });
        for name in ABSENT {
            session[name] = Value::Null;
        }
        session
    }
}

/// Fields that a plain session has without a value.
const ABSENT: [&str; 27] = [
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "client_secret",
    "collected_information",
    "consent",
    "consent_collection",
    "currency_conversion",
    "customer",
    "customer_email",
    "invoice",
    "invoice_creation",
    "locale",
    "payment_link",
    "payment_method_configuration_details",
    "permissions",
    "recovered_from",
    "saved_payment_method_options",
    "setup_intent",
    "shipping_address_collection",
    "shipping_cost",
    "submit_type",
    "subscription",
    "url",
];
