//! What never comes into the log, whatever a user's filter says.
//!
//! At TRACE the libraries below are free to print what they carry, in any version: header values (an API key), values of
//! a statement, bytes of a body. At DEBUG they print what they do, which is enough to find a fault.

use tracing::{Level, Metadata};

/// Libraries that see secrets, keys or bodies, by the crate that their targets begin with.
const CAPPED: [&str; 10] =
    ["h2", "hyper", "hyper_util", "tonic", "tower", "axum", "sqlx", "sqlx_core", "sqlx_postgres", "rustls"];

/// Whether a line or span may come into the log at all.
pub(crate) fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let library = target.split("::").next().unwrap_or_default();
    // Spans for an exporter repeat what the log says anyway.
    target != trace::TARGET && (*metadata.level() <= Level::DEBUG || !CAPPED.contains(&library))
}
