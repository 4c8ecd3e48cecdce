//! What every batch goes by, the same for all of a store.

use domain::{Rules, Threshold};

use crate::apply::EncodeEvent;

/// An installation's choices about the ledger.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How an entry is encoded for the outbox.
    pub encode: EncodeEvent,
    /// Whether accounts that come into being are sandbox accounts (`dev`).
    pub new_accounts_are_sandbox: bool,
    /// The choices of the rules.
    pub rules: Rules,
    /// Thresholds of accounts that have none of their own.
    pub thresholds: Vec<Threshold>,
}

impl Policy {
    /// The defaults: real accounts, no thresholds.
    #[must_use]
    pub fn new(encode: EncodeEvent) -> Self {
        Self { encode, new_accounts_are_sandbox: false, rules: Rules::default(), thresholds: Vec::new() }
    }
}
