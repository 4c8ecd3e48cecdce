//! What every command that writes takes: the unit, the caller's notes, and the key by which it can be repeated.

use std::collections::HashMap;

use clap::Args;
use time::OffsetDateTime;

use crate::clock;
use crate::output;
use crate::settings::pairs;

/// Beside the command's own arguments.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// What is counted.
    #[arg(long, default_value = "credits", value_name = "UNIT")]
    pub(crate) unit: String,
    /// Your own reference, such as an order or a job.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) reference: String,
    /// Words for the journal.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(crate) reason: String,
    /// A pair of your own; may be given several times.
    #[arg(long, value_parser = pairs::parse, value_name = "KEY=VALUE")]
    metadata: Vec<(String, String)>,
    /// Names this call, so that it can be repeated safely.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

impl WriteArgs {
    /// The key that was given, or a new one, which is told before the call.
    pub(crate) fn key(&self, as_json: bool) -> String {
        self.key_until(None, as_json)
    }

    /// The same; a repetition has to name this end, too.
    pub(crate) fn key_until(&self, expires_at: Option<OffsetDateTime>, as_json: bool) -> String {
        self.idempotency_key.clone().unwrap_or_else(|| {
            let key = clock::new_key();
            output::repeat::tell(&key, expires_at, as_json);
            key
        })
    }

    /// The caller's pairs.
    pub(crate) fn metadata(&self) -> HashMap<String, String> {
        self.metadata.iter().cloned().collect()
    }
}
