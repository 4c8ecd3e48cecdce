//! API keys: `tsk_` and 64 hexadecimal digits of 256 random bits. The service keeps SHA-256 hashes only; a plain hash
//! is enough, since a key has far too many bits to be guessed.
//!
//! Promises: a key or its hash appears in no output of this module but [`ApiKey::text`] and [`KeyHash`]'s Display;
//! looking a key up takes the same time for every key. Must not know: where the file lies, where bits come from.

use std::fmt;
use std::sync::Arc;

use domain::AccountId;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use toml::Spanned;

use crate::principal::{Accounts, Principal, Scope};

/// Most keys of one file: every call is compared with all of them.
pub const MAX_KEYS: usize = 1000;
/// Largest keys file, in bytes: [`MAX_KEYS`] keys with comments.
pub const MAX_KEYS_FILE_BYTES: usize = 1 << 20;
/// What every key starts with, so that scanners of leaked secrets know one.
const KEY_PREFIX: &str = "tsk_";
/// What every hash starts with: names the algorithm.
const HASH_PREFIX: &str = "sha256:";

/// A key in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

impl ApiKey {
    /// A key of 256 bits from a cryptographic random generator.
    #[must_use]
    pub const fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Reads a key as a caller presents it; `None` when it is not of a key's form.
    #[must_use]
    pub fn lookup(text: &str) -> Option<Self> {
        let mut bits = [0; 32];
        let digits = text.strip_prefix(KEY_PREFIX)?;
        hex::decode_to_slice(digits, &mut bits).ok()?;
        Some(Self(bits))
    }

    /// The key as it is given to its owner, once.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{KEY_PREFIX}{}", hex::encode(self.0))
    }

    /// What the keys file has of it: SHA-256 of its text in lower case.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.text().as_bytes()).into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// A key's hash; Display writes it as the keys file has it (`sha256:…`).
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    fn lookup(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text.strip_prefix(HASH_PREFIX)?, &mut hash).ok()?;
        Some(Self(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(redacted)")
    }
}

/// Why a keys file cannot be used. Lines count from 1; no message quotes a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The file is too large.
    #[error("the keys file is {actual} bytes long; at most {limit} are allowed")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
        /// Bytes given.
        actual: usize,
    },
    /// Not TOML, or not of the file's shape.
    #[error("line {line}: {message}")]
    Syntax {
        /// Line of the fault.
        line: usize,
        /// What the TOML parser says.
        message: String,
    },
    /// A field has no usable value.
    #[error("line {line}: {field} {problem}")]
    Field {
        /// Line of the value.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There are too many keys.
    #[error("the file has {actual} keys; at most {limit} are allowed")]
    TooMany {
        /// Keys allowed.
        limit: usize,
        /// Keys given.
        actual: usize,
    },
    /// There is none: every call would be refused.
    #[error("the file has no keys")]
    None,
}

/// The shape of the file: `[[keys]]` tables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    keys: Vec<Spanned<KeyEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: Spanned<String>,
    hash: Spanned<String>,
    scopes: Spanned<Vec<Spanned<String>>>,
    account: Option<Spanned<String>>,
    account_prefix: Option<Spanned<String>>,
}

/// The keys that a service accepts. Never empty.
#[derive(Clone)]
pub struct KeyRing(Vec<(KeyHash, Arc<Principal>)>);

impl KeyRing {
    /// Reads a keys file. Each `[[keys]]` has `id`, `hash`, `scopes`, and at most one of `account` and
    /// `account_prefix`; without either the key covers every account. An id may have several keys (rotation); a
    /// hash stands once.
    ///
    /// # Errors
    /// [`KeysError`] with the line and the field of the first fault.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        if text.len() > MAX_KEYS_FILE_BYTES {
            return Err(KeysError::TooLarge { limit: MAX_KEYS_FILE_BYTES, actual: text.len() });
        }
        let file: KeysFile = toml::from_str(text).map_err(|error| KeysError::Syntax {
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        if file.keys.is_empty() {
            return Err(KeysError::None);
        }
        if file.keys.len() > MAX_KEYS {
            return Err(KeysError::TooMany { limit: MAX_KEYS, actual: file.keys.len() });
        }
        let mut ring: Vec<(KeyHash, Arc<Principal>)> = Vec::with_capacity(file.keys.len());
        for entry in file.keys {
            let (at, (hash, principal)) =
                (entry.get_ref().hash.span().start, read_entry(text, entry.get_ref())?);
            if ring.iter().any(|(known, _)| known.0 == hash.0) {
                let problem = "stands in the file before".to_owned();
                return Err(KeysError::Field { line: line_at(text, at), field: "hash", problem });
            }
            ring.push((hash, Arc::new(principal)));
        }
        Ok(Self(ring))
    }

    /// Whose key this is.
    pub(crate) fn lookup(&self, key: &ApiKey) -> Option<Arc<Principal>> {
        let presented = key.hash();
        let mut place = u64::MAX;
        // Every hash is compared, so that the time taken tells nothing about which one matched.
        for (index, (hash, _)) in (0_u64..).zip(&self.0) {
            let matched: Choice = hash.0.ct_eq(&presented.0);
            place.conditional_assign(&index, matched);
        }
        let place = usize::try_from(place).ok()?;
        self.0.get(place).map(|(_, principal)| Arc::clone(principal))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys, redacted)", self.0.len())
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn read_entry(text: &str, entry: &KeyEntry) -> Result<(KeyHash, Principal), KeysError> {
    let fault = |offset: usize, field: &'static str, problem: &dyn fmt::Display| KeysError::Field {
        line: line_at(text, offset),
        field,
        problem: problem.to_string(),
    };
    let hash = KeyHash::lookup(entry.hash.get_ref()).ok_or_else(|| {
        fault(entry.hash.span().start, "hash", &"must be sha256: and 64 hexadecimal digits")
    })?;
    if entry.scopes.get_ref().is_empty() {
        return Err(fault(entry.scopes.span().start, "scopes", &"must not be empty"));
    }
    let mut scopes = Vec::new();
    for name in entry.scopes.get_ref() {
        let scope = Scope::lookup(name.get_ref()).ok_or_else(|| {
            fault(
                name.span().start,
                "scopes",
                &format!("must be of {}", Scope::ALL.map(Scope::name).join(", ")),
            )
        })?;
        scopes.push(scope);
    }
    let accounts = match (&entry.account, &entry.account_prefix) {
        (None, None) => Accounts::all(),
        (Some(account), None) => {
            let id = AccountId::try_new(account.get_ref().as_str());
            Accounts::account(id.map_err(|e| fault(account.span().start, "account", &e.problem))?)
        }
        (None, Some(prefix)) => Accounts::try_prefix(prefix.get_ref().as_str())
            .map_err(|error| fault(prefix.span().start, "account_prefix", &error))?,
        (Some(_), Some(prefix)) => {
            return Err(fault(prefix.span().start, "account_prefix", &"must not stand beside account"));
        }
    };
    let principal = Principal::try_new(entry.id.get_ref().as_str(), scopes, accounts);
    Ok((hash, principal.map_err(|error| fault(entry.id.span().start, "id", &error))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ApiKey {
        ApiKey::new([byte; 32])
    }

    fn file() -> String {
        format!(
            "[[keys]]\nid = \"billing\"\nhash = \"{}\"\nscopes = [\"read\", \"spend\"]\n\n[[keys]]\nid = \"team\"\n\
             hash = \"{}\"\nscopes = [\"read\"]\naccount_prefix = \"team_\"\n",
            key(1).hash(),
            key(2).hash()
        )
    }

    #[test]
    fn a_key_is_found_by_its_text_and_nothing_else_is() {
        let ring = KeyRing::parse(&file()).unwrap();
        let found = |text: &str| ApiKey::lookup(text).and_then(|key| ring.lookup(&key));
        assert_eq!(found(&key(1).text()).unwrap().id(), "billing");
        let team = found(&key(2).text()).unwrap();
        assert!(!team.covers(&AccountId::try_new("user_1").unwrap()));
        assert!(found(&key(3).text()).is_none());
        let text = key(1).text();
        for bad in ["", "tsk_", &text[4..], &text[..67], &format!("{text}0"), &format!("{text}\0")] {
            assert!(found(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_that_is_printed_holds_a_key_or_a_hash() {
        let ring = KeyRing::parse(&file()).unwrap();
        for printed in [format!("{:?}", key(1)), format!("{:?}", key(1).hash()), format!("{ring:?}")] {
            assert!(!printed.contains("0101") && !printed.contains(&key(1).hash().to_string()[7..20]));
        }
    }

    #[test]
    fn faults_name_their_line_and_field_and_no_hash() {
        let fault = |from: &str, to: &str| {
            assert!(file().contains(from));
            KeyRing::parse(&file().replacen(from, to, 1)).unwrap_err()
        };
        let at = |error: KeysError| match error {
            KeysError::Field { line, field, .. } => (line, field),
            KeysError::Syntax { line, .. } => (line, "syntax"),
            other => panic!("{other}"),
        };
        assert_eq!(at(fault("billing", "a b")), (2, "id"));
        assert_eq!(at(fault("billing", "tallystick")), (2, "id"));
        assert_eq!(at(fault("sha256:", "md5:")), (3, "hash"));
        assert_eq!(at(fault("[\"read\", \"spend\"]", "[]")), (4, "scopes"));
        assert_eq!(at(fault("\"spend\"", "\"everything\"")), (4, "scopes"));
        assert_eq!(at(fault("account_prefix", "account_prefx")), (10, "syntax"));
        assert_eq!(at(fault("\"team_\"", "\"\"")), (10, "account_prefix"));
        assert_eq!(at(fault("account_prefix", "account = \"a\"\naccount_prefix")), (11, "account_prefix"));
        assert_eq!(at(fault("account_prefix = \"team_\"", "account = \"a b\"")), (10, "account"));
        let doubled = fault(&key(2).hash().to_string(), &key(1).hash().to_string());
        assert_eq!(doubled.to_string(), "line 8: hash stands in the file before");
    }

    #[test]
    fn files_without_keys_or_with_too_much_are_refused() {
        assert_eq!(KeyRing::parse("").unwrap_err(), KeysError::None);
        let large = "#".repeat(MAX_KEYS_FILE_BYTES + 1);
        assert!(matches!(KeyRing::parse(&large), Err(KeysError::TooLarge { .. })));
        let one =
            |n: usize| format!("[[keys]]\nid = \"a\"\nhash = \"sha256:{n:064x}\"\nscopes = [\"read\"]\n");
        let many: String = (0..=MAX_KEYS).map(one).collect();
        assert!(matches!(KeyRing::parse(&many), Err(KeysError::TooMany { .. })));
    }
}
