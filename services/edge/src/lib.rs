//! The edge: the one process that faces the internet. It receives Stripe's webhooks, checks their signatures and
//! hands them to the credits service over gRPC.
//!
//! Promises: 200 only after the service has committed; 503 when nothing is known to be stored, so that Stripe retries; an
//! answer within [`EdgeLimits::answer_timeout`]; memory bounded by [`EdgeLimits`]. Bodies, secrets and signature
//! headers are never logged. Knows no database, no Stripe API key and no rule about credits; what an event means
//! is the service's business.

mod answer;
mod body;
mod config;
mod forward;
mod measure;
mod webhook;

pub use config::{ApiKey, ApiKeyError, EdgeConfig, EdgeLimits};
pub use measure::Measures;
pub use webhook::{WEBHOOK_PATH, router};
