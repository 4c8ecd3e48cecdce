//! Identifiers, valid by construction, and the one error of bad input.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::limits::{DEFAULT_UNIT, MAX_ACCOUNT_ID_BYTES, MAX_UNIT_BYTES};

/// One field of a request that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// The field's name in the API.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a field. Carries limits, so that the message names them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// More bytes than allowed.
    #[error("is {actual} bytes long; at most {limit} are allowed")]
    TooLong {
        /// Bytes allowed.
        limit: usize,
        /// Bytes given.
        actual: usize,
    },
    /// More elements than allowed.
    #[error("has {actual} elements; at most {limit} are allowed")]
    TooMany {
        /// Elements allowed.
        limit: usize,
        /// Elements given.
        actual: usize,
    },
    /// A character outside the allowed set.
    #[error("may hold only {allowed}")]
    Characters {
        /// The set, in words.
        allowed: &'static str,
    },
    /// A number outside its range.
    #[error("is {actual}; must be between {min} and {max}")]
    OutOfRange {
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
        /// Value given.
        actual: i64,
    },
    /// A value that no enum constant has, or an unusable combination.
    #[error("{0}")]
    Rule(&'static str),
}

impl Invalid {
    /// A field and its problem.
    #[must_use]
    pub const fn new(field: &'static str, problem: Problem) -> Self {
        Self { field, problem }
    }

    /// The same problem under another field name.
    #[must_use]
    pub fn at(self, field: &'static str) -> Self {
        Self { field, ..self }
    }
}

/// Checks that `bytes` is between 1 and `limit`.
pub(crate) const fn check_length(field: &'static str, bytes: usize, limit: usize) -> Result<(), Invalid> {
    if bytes == 0 {
        return Err(Invalid::new(field, Problem::Empty));
    }
    if bytes > limit {
        return Err(Invalid::new(field, Problem::TooLong { limit, actual: bytes }));
    }
    Ok(())
}

/// An account: opaque text chosen by the caller, 1–128 bytes of `[A-Za-z0-9._:@/+-]`. Ordered by bytes, as
/// PostgreSQL's collation "C" orders it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

impl AccountId {
    /// # Errors
    /// [`Invalid`] for `account_id` when it is empty, too long or holds another character.
    pub fn try_new(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        check_length("account_id", text.len(), MAX_ACCOUNT_ID_BYTES)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:@/+-".contains(&b);
        if !text.bytes().all(allowed) {
            let problem = Problem::Characters { allowed: "letters, digits and . _ : @ / + -" };
            return Err(Invalid::new("account_id", problem));
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is counted: `[a-z][a-z0-9_]{0,31}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(String);

/// The default unit, `credits`.
impl Default for Unit {
    fn default() -> Self {
        Self(DEFAULT_UNIT.to_owned())
    }
}

impl Unit {
    /// Empty text means the default unit, `credits`.
    ///
    /// # Errors
    /// [`Invalid`] for `unit` when it is too long or not a lower-case name.
    pub fn try_new(text: impl Into<String>) -> Result<Self, Invalid> {
        let mut text = text.into();
        if text.is_empty() {
            text = DEFAULT_UNIT.to_owned();
        }
        check_length("unit", text.len(), MAX_UNIT_BYTES)?;
        let name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let starts_with_letter = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if !starts_with_letter || !text.bytes().all(name) {
            let allowed = "lower-case letters, digits and _, a letter first";
            return Err(Invalid::new("unit", Problem::Characters { allowed }));
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// From its UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID behind the text.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let hex = text.strip_prefix($prefix).filter(|hex| hex.len() == 32);
                let uuid = hex.and_then(|hex| Uuid::try_parse(hex).ok());
                let rule = concat!("must be ", $prefix, " and 32 hexadecimal digits");
                uuid.map(Self).ok_or(Invalid::new($field, Problem::Rule(rule)))
            }
        }
    };
}

prefixed_id!(
    /// One accepted command; `op_` and 32 hexadecimal digits.
    OperationId, "op_", "operation_id"
);
prefixed_id!(
    /// One grant (lot); `gr_` and 32 hexadecimal digits. It has the UUID of the operation that made it, since
    /// an operation makes at most one lot.
    GrantId, "gr_", "grant_id"
);
prefixed_id!(
    /// One hold; `ho_` and 32 hexadecimal digits. It has the UUID of the operation that made it.
    HoldId, "ho_", "hold_id"
);

/// How an entry is named within its balance: its version, and the first 8 bytes of its hash, which make a name of
/// another balance useless here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryRef {
    /// Version of the entry.
    pub version: i64,
    /// The first 8 bytes of its hash.
    pub digits: [u8; 8],
}

impl EntryRef {
    /// From the public id of an entry, `<unit>/<version>/<16 hexadecimal digits>`; the unit must be `unit`.
    ///
    /// # Errors
    /// [`Invalid`] for `entry_id` when the text has another form or names another unit.
    pub fn try_new(text: &str, unit: &Unit) -> Result<Self, Invalid> {
        let rule = "must be an entry_id of this unit, <unit>/<version>/<16 hexadecimal digits>";
        let parse = || {
            let mut parts = text.split('/');
            let (named, version, digits) = (parts.next()?, parts.next()?, parts.next()?);
            let is_number = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit());
            if parts.next().is_some() || named != unit.as_str() || !is_number {
                return None;
            }
            let mut bytes = [0; 8];
            hex::decode_to_slice(digits, &mut bytes).ok()?;
            let version = version.parse().ok().filter(|version| *version >= 1)?;
            Some(Self { version, digits: bytes })
        };
        parse().ok_or(Invalid::new("entry_id", Problem::Rule(rule)))
    }

    /// The public id of the entry, in its unit.
    #[must_use]
    pub fn id(&self, unit: &Unit) -> String {
        format!("{unit}/{}/{}", self.version, hex::encode(self.digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_ids_keep_to_their_alphabet_and_length() {
        for good in ["a", "user_1", "team/7:blue@x.io", &"a".repeat(128)] {
            assert!(AccountId::try_new(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "a\0", "ü", "a\n", &"a".repeat(129)] {
            assert!(AccountId::try_new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn units_are_lower_case_names_and_empty_means_credits() {
        assert_eq!(Unit::try_new("").unwrap().as_str(), "credits");
        for bad in ["Credits", "1a", "_a", "a-b", "a\0", &"a".repeat(33)] {
            assert!(Unit::try_new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefixed_ids_survive_their_text() {
        let id = GrantId::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.to_string().parse::<GrantId>().unwrap(), id);
        assert!("op_00000000000000000000000000000007".parse::<GrantId>().is_err());
        assert!("gr_7".parse::<GrantId>().is_err());
    }

    #[test]
    fn names_of_entries_survive_their_text_and_know_their_unit() {
        let unit = Unit::try_new("credits").unwrap();
        let name = EntryRef::try_new("credits/7/9f86d081884c7d65", &unit).unwrap();
        assert_eq!((name.version, name.id(&unit).as_str()), (7, "credits/7/9f86d081884c7d65"));
        for bad in [
            "",
            "credits/7",
            "gems/7/9f86d081884c7d65",
            "credits/0/9f86d081884c7d65",
            "credits/+7/9f86d081884c7d65",
        ] {
            assert!(EntryRef::try_new(bad, &unit).is_err(), "{bad}");
        }
    }
}
