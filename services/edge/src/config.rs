//! What the edge is told: secrets, its key for the credits service, limits, and where time and randomness come
//! from. Nothing secret is printed by any `Debug` here.

use std::fmt;
use std::time::Duration;

use signature::Secrets;
use tonic::metadata::{Ascii, MetadataValue};

use crate::measure::Measures;

/// Bounds of what one stranger, or all of them together, can make the edge do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeLimits {
    /// Largest body, in bytes. Stripe's events are a few KiB.
    pub body_bytes: usize,
    /// How long a body may take to arrive. Stripe sends it in one go.
    pub body_timeout: Duration,
    /// How long a request may take from its headers to its answer. Below the 10 s that Stripe's hosted Checkout
    /// waits before it redirects the buyer.
    pub answer_timeout: Duration,
    /// Requests under way at once; beyond them 503 at once. Times `body_bytes` it bounds the memory (64 MiB).
    pub max_in_flight: usize,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            body_bytes: 512 * 1024,
            body_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(8),
            max_in_flight: 128,
        }
    }
}

/// Everything that the edge is told.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Webhook secrets of all endpoints, old and new.
    pub secrets: Secrets,
    /// The edge's own key for the credits service; `None` where that one runs without authentication.
    pub api_key: Option<ApiKey>,
    /// Bounds.
    pub limits: EdgeLimits,
    /// The clock: seconds since 1970.
    pub now_s: fn() -> i64,
    /// What is counted.
    pub measures: Measures,
    /// Random bytes for trace ids: 16 for the trace, 8 for the span. Need not be secret.
    pub entropy: fn() -> [u8; 24],
}

/// A key of the credits service, as the `authorization` metadata that carries it.
#[derive(Clone)]
pub struct ApiKey(MetadataValue<Ascii>);

/// A key that cannot be sent. Does not carry the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Nothing was given.
    #[error("the API key is empty or blank")]
    Blank,
    /// It holds a space or something outside visible ASCII.
    #[error("the API key holds a character that is not visible ASCII")]
    Characters,
}

impl ApiKey {
    /// A key from its text; spaces and line ends around it are dropped.
    ///
    /// # Errors
    /// [`ApiKeyError`] when nothing is left, or it cannot stand in a header.
    pub fn try_new(text: &str) -> Result<Self, ApiKeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ApiKeyError::Blank);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyError::Characters);
        }
        let value = MetadataValue::try_from(format!("Bearer {text}"));
        let mut value = value.map_err(|_| ApiKeyError::Characters)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// `Bearer …`, marked as sensitive.
    pub(crate) fn authorization(&self) -> MetadataValue<Ascii> {
        self.0.clone()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_and_never_printed() {
        assert_eq!(ApiKey::try_new(" \n").unwrap_err(), ApiKeyError::Blank);
        assert_eq!(ApiKey::try_new("a b").unwrap_err(), ApiKeyError::Characters);
        assert_eq!(ApiKey::try_new("a\0").unwrap_err(), ApiKeyError::Characters);
        let key = ApiKey::try_new("tsk_hidden\n").unwrap();
        assert_eq!(key.authorization().to_str().unwrap(), "Bearer tsk_hidden");
        assert!(!format!("{key:?} {:?}", key.authorization()).contains("hidden"));
    }

    #[test]
    fn the_default_answer_comes_before_stripe_stops_waiting() {
        let limits = EdgeLimits::default();
        assert!(limits.body_timeout < limits.answer_timeout);
        assert!(limits.answer_timeout < Duration::from_secs(10));
    }
}
