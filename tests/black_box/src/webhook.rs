//! Stripe events as Stripe sends them: a body in the shape of its documentation, and its signature.

use serde_json::{Value, json};
use signature::{Secret, sign};

use crate::http::{self, Reply};

/// Where Stripe delivers.
pub const PATH: &str = "/api/v1/webhooks/stripe";
/// `dev`'s secret.
pub const DEV_SECRET: &str = "whsec_tallystick_dev";

/// A paid `checkout.session.completed` for one `starter` pack (1000 credits, USD 10.00).
pub fn paid_checkout(event_id: &str, session_id: &str, account: &str) -> Value {
    json!({
        "id": event_id,
        "object": "event",
        "api_version": "2025-03-31.basil",
        "created": now_s(),
        "data": { "object": {
            "id": session_id,
            "object": "checkout.session",
            "amount_subtotal": 1000,
            "amount_total": 1000,
            "currency": "usd",
            "customer": null,
            "livemode": false,
            "metadata": { "tallystick_account": account, "tallystick_pack": "starter" },
            "mode": "payment",
            "payment_intent": format!("pi_{session_id}"),
            "payment_status": "paid",
            "status": "complete",
        } },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": "checkout.session.completed",
    })
}

/// Seconds since 1970, by this machine's clock, which the program shares.
///
/// # Panics
/// Before 1970.
#[expect(clippy::disallowed_methods, reason = "Stripe signs by its own clock, which a test has to play")]
pub fn now_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock after 1970").as_secs()
}

/// The header line that signs a body.
///
/// # Panics
/// When the secret is empty.
pub fn signed(secret: &str, at_s: u64, body: &[u8]) -> String {
    let secret = Secret::try_new(secret).expect("a usable secret");
    format!("Stripe-Signature: {}", sign(&secret, at_s, body))
}

/// Delivers an event with a right signature.
///
/// # Panics
/// When the edge does not answer.
pub async fn deliver(edge: &str, secret: &str, event: &Value) -> Reply {
    let body = event.to_string().into_bytes();
    http::post(edge, PATH, &[signed(secret, now_s(), &body)], &body).await
}
