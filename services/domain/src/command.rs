//! What callers ask for. A command is valid by construction; whether it is accepted is `decide`'s business.

use std::collections::BTreeMap;

use crate::action::Action;
use crate::canonical::Canonical;
use crate::id::{AccountId, Invalid, Problem, Unit, check_length};
use crate::limits::*;

/// The version of the rules that fill in defaults and compute fingerprints. A stored operation keeps its
/// version, so that a retry after an upgrade is compared under the rules of its first try.
pub const RULE_VERSION: i16 = 1;

/// A caller's name for one wish: 1–255 bytes, no control characters; unique per account over all units and
/// RPCs, for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// # Errors
    /// [`Invalid`] for `idempotency_key` when it is empty, too long, holds control characters or starts with
    /// the service's own prefix.
    pub fn try_new(text: impl Into<String>) -> Result<Self, Invalid> {
        const FIELD: &str = "idempotency_key";
        let text = text.into();
        check_length(FIELD, text.len(), MAX_IDEMPOTENCY_KEY_BYTES)?;
        check_no_controls(FIELD, &text)?;
        if text.starts_with(RESERVED_KEY_PREFIX) {
            let rule = "must not start with tallystick:, which names the service's own keys";
            return Err(Invalid::new(FIELD, Problem::Rule(rule)));
        }
        Ok(Self(text))
    }

    /// The service's own key for the command that a Stripe object causes. Stripe's ids are at most 255 bytes,
    /// and the inbox refuses longer ones.
    #[must_use]
    pub fn for_stripe(object_kind: &str, object_id: &str) -> Self {
        Self(format!("{RESERVED_KEY_PREFIX}stripe:{object_kind}:{object_id}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_no_controls(field: &'static str, text: &str) -> Result<(), Invalid> {
    if text.chars().any(char::is_control) {
        let problem = Problem::Characters { allowed: "characters that are no control characters" };
        return Err(Invalid::new(field, problem));
    }
    Ok(())
}

/// Free text beside a command: at most 255 bytes without control characters; may be empty.
fn checked_text(field: &'static str, text: String) -> Result<String, Invalid> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Invalid::new(field, Problem::TooLong { limit: MAX_TEXT_BYTES, actual: text.len() }));
    }
    check_no_controls(field, &text)?;
    Ok(text)
}

/// Caller's own pairs, kept beside the journal: at most 16, together at most 2 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// # Errors
    /// [`Invalid`] for `metadata` when there are too many pairs or bytes, an empty key, or a NUL character
    /// (PostgreSQL's jsonb cannot hold one).
    pub fn try_new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Invalid> {
        const FIELD: &str = "metadata";
        let pairs: BTreeMap<String, String> = pairs.into_iter().collect();
        if pairs.len() > MAX_METADATA_PAIRS {
            let problem = Problem::TooMany { limit: MAX_METADATA_PAIRS, actual: pairs.len() };
            return Err(Invalid::new(FIELD, problem));
        }
        let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_METADATA_BYTES {
            let problem = Problem::TooLong { limit: MAX_METADATA_BYTES, actual: bytes };
            return Err(Invalid::new(FIELD, problem));
        }
        if pairs.keys().any(String::is_empty) {
            return Err(Invalid::new(FIELD, Problem::Rule("must not have an empty key")));
        }
        if pairs.iter().any(|(key, value)| key.contains('\0') || value.contains('\0')) {
            return Err(Invalid::new(FIELD, Problem::Rule("must not hold a NUL character")));
        }
        Ok(Self(pairs))
    }

    /// The pairs, ordered by key.
    #[must_use]
    pub const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// SHA-256 over the pairs, `None` when there are none. The journal is chained over this digest, so that the
    /// text itself can be erased.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        if self.0.is_empty() {
            return None;
        }
        let mut canonical = Canonical::new("tallystick.metadata.v1");
        self.feed(&mut canonical);
        Some(canonical.finish())
    }

    fn feed(&self, canonical: &mut Canonical) {
        canonical.count(self.0.len());
        for (key, value) in &self.0 {
            canonical.text(key).text(value);
        }
    }
}

/// What goes with every command and into its entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// Who asked: the principal's id. Never taken from the request.
    pub actor: String,
    /// For whom the actor asked.
    pub on_behalf_of: String,
    /// Why.
    pub reason: String,
    /// The caller's own reference: an order, a job.
    pub reference: String,
    /// The caller's own pairs.
    pub metadata: Metadata,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

impl Context {
    /// Checks the three texts that a request brings.
    ///
    /// # Errors
    /// [`Invalid`] for `reference`, `reason` or `on_behalf_of` over 255 bytes or with control characters.
    pub fn try_new(
        reference: String,
        reason: String,
        on_behalf_of: String,
        metadata: Metadata,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            actor: String::new(),
            on_behalf_of: checked_text("on_behalf_of", on_behalf_of)?,
            reason: checked_text("reason", reason)?,
            reference: checked_text("reference", reference)?,
            metadata,
            traceparent: None,
        })
    }
}

/// One wish of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Whose balance.
    pub account: AccountId,
    /// Which unit of it.
    pub unit: Unit,
    /// The caller's name for the wish.
    pub key: IdempotencyKey,
    /// What goes with it.
    pub context: Context,
    /// What it does.
    pub action: Action,
}

impl Command {
    /// # Errors
    /// [`Invalid`] for an amount, time or cost outside its limits.
    pub fn try_new(
        account: AccountId,
        unit: Unit,
        key: IdempotencyKey,
        context: Context,
        action: Action,
    ) -> Result<Self, Invalid> {
        action.check()?;
        // Money that appears or goes by hand must be explained.
        if matches!(action, Action::Adjust(_)) && context.reason.is_empty() {
            return Err(Invalid::new("reason", Problem::Empty));
        }
        Ok(Self { account, unit, key, context, action })
    }

    /// SHA-256 of the rule version, the RPC's name and the request with defaults filled in and maps sorted,
    /// without key, actor and trace: two requests with one fingerprint are the same wish.
    #[must_use]
    pub fn fingerprint(&self, rule_version: i16) -> [u8; 32] {
        let mut canonical = Canonical::new("tallystick.command");
        canonical.int(i64::from(rule_version)).text(self.action.rpc());
        canonical.text(self.account.as_str()).text(self.unit.as_str());
        self.action.feed(&mut canonical);
        let context = &self.context;
        canonical.text(&context.reference).text(&context.reason).text(&context.on_behalf_of);
        context.metadata.feed(&mut canonical);
        canonical.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Spend;

    fn spend(amount: i64, metadata: &[(&str, &str)]) -> Result<Command, Invalid> {
        let pairs = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Command::try_new(
            AccountId::try_new("user_1")?,
            Unit::try_new("")?,
            IdempotencyKey::try_new("k")?,
            Context { metadata: Metadata::try_new(pairs)?, ..Context::default() },
            Action::Spend(Spend { amount, allow_partial: false }),
        )
    }

    #[test]
    fn amounts_outside_their_range_name_the_field() {
        for bad in [0, -1, MAX_AMOUNT + 1, i64::MIN, i64::MAX] {
            assert_eq!(spend(bad, &[]).unwrap_err().field, "amount", "{bad}");
        }
        assert!(spend(1, &[]).is_ok() && spend(MAX_AMOUNT, &[]).is_ok());
    }

    #[test]
    fn the_fingerprint_ignores_the_order_of_metadata_and_who_asks() {
        let one = spend(5, &[("a", "1"), ("b", "2")]).unwrap();
        let mut two = spend(5, &[("b", "2"), ("a", "1")]).unwrap();
        two.context.actor = "other".to_owned();
        two.context.traceparent = Some("00-…".to_owned());
        assert_eq!(one.fingerprint(RULE_VERSION), two.fingerprint(RULE_VERSION));
        let other = spend(5, &[("a", "12"), ("b", "")]).unwrap();
        assert_ne!(one.fingerprint(RULE_VERSION), other.fingerprint(RULE_VERSION));
        assert_ne!(one.fingerprint(1), one.fingerprint(2));
    }

    #[test]
    fn keys_refuse_controls_and_the_services_own_prefix() {
        for bad in ["", "a\0b", "a\nb", "tallystick:x", &"k".repeat(256)] {
            assert!(IdempotencyKey::try_new(bad).is_err(), "{bad:?}");
        }
        assert!(IdempotencyKey::try_new("k".repeat(255)).is_ok());
    }

    #[test]
    fn metadata_is_limited_in_pairs_bytes_and_nul() {
        let many: Vec<_> = (0..17).map(|n| (n.to_string(), String::new())).collect();
        assert!(Metadata::try_new(many).is_err());
        assert!(Metadata::try_new([("k".to_owned(), "v".repeat(2048))]).is_err());
        assert!(Metadata::try_new([("k".to_owned(), "\0".to_owned())]).is_err());
        assert!(Metadata::try_new([(String::new(), "v".to_owned())]).is_err());
    }
}
