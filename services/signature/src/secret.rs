//! Webhook signing secrets. Valid by construction, and never printed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

pub(crate) type HmacSha256 = Hmac<Sha256>;

/// Most secrets of one process: each costs one HMAC over every body, also over a stranger's.
pub const MAX_SECRETS: usize = 16;

/// A configuration of secrets that must not be used. Never carries a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none: every event would be refused.
    #[error("no webhook secret is configured")]
    None,
    /// One is empty or blank: anybody could sign.
    #[error("webhook secret {position} is empty or blank")]
    Blank {
        /// Its place in the list, from 1.
        position: usize,
    },
    /// One has a space or a control character inside: a slip in the configuration.
    #[error("webhook secret {position} has a space or a control character inside")]
    Characters {
        /// Its place in the list, from 1.
        position: usize,
    },
    /// There are too many.
    #[error("{actual} webhook secrets are configured; at most {limit} are allowed")]
    TooMany {
        /// Secrets allowed.
        limit: usize,
        /// Secrets given.
        actual: usize,
    },
}

/// One signing secret, not empty. Kept as a keyed MAC, not as text.
#[derive(Clone)]
pub struct Secret(HmacSha256);

impl Secret {
    /// A secret from its text as Stripe shows it (`whsec_…`); spaces and line ends around it are dropped.
    ///
    /// # Errors
    /// [`SecretError::Blank`] or [`SecretError::Characters`], at position 1.
    pub fn try_new(text: &str) -> Result<Self, SecretError> {
        Self::at(1, text)
    }

    fn at(position: usize, text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Blank { position });
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(SecretError::Characters { position });
        }
        // HMAC takes keys of any length, so this cannot fail; were it to, the secret would be unusable.
        let keyed = HmacSha256::new_from_slice(text.as_bytes());
        keyed.map(Self).map_err(|_| SecretError::Characters { position })
    }

    /// A fresh MAC under this secret.
    pub(crate) fn keyed(&self) -> HmacSha256 {
        self.0.clone()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// All secrets that an endpoint accepts: several endpoints, or one whose secret is being rotated. Never empty.
#[derive(Clone)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Secrets from their texts, one each.
    ///
    /// # Errors
    /// [`SecretError`] when there is none, too many, or one of them is unusable.
    pub fn try_new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, SecretError> {
        let texts: Vec<&str> = texts.into_iter().collect();
        if texts.is_empty() {
            return Err(SecretError::None);
        }
        if texts.len() > MAX_SECRETS {
            return Err(SecretError::TooMany { limit: MAX_SECRETS, actual: texts.len() });
        }
        let secrets = texts.into_iter().enumerate().map(|(index, text)| Secret::at(index + 1, text));
        secrets.collect::<Result<_, _>>().map(Self)
    }

    /// Secrets from one text, separated by commas. An empty place is refused, never skipped: it may be a secret
    /// that failed to be filled in.
    ///
    /// # Errors
    /// [`SecretError`] as for [`Secrets::try_new`]; a blank text is [`SecretError::None`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if text.trim().is_empty() {
            return Err(SecretError::None);
        }
        Self::try_new(text.split(','))
    }

    /// Whether this secret is among them; `serve` refuses the one that `dev` uses. Takes the same time
    /// wherever the difference is.
    #[must_use]
    pub fn contains(&self, secret: &Secret) -> bool {
        let probe = |secret: &Secret| secret.keyed().finalize().into_bytes();
        let wanted = probe(secret);
        self.0.iter().any(|own| bool::from(probe(own).ct_eq(&wanted)))
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Secret> {
        self.0.iter()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} redacted)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_blank_secrets_are_refused_by_position() {
        assert_eq!(Secrets::parse("").unwrap_err(), SecretError::None);
        assert_eq!(Secrets::parse(" \n").unwrap_err(), SecretError::None);
        assert_eq!(Secrets::try_new([]).unwrap_err(), SecretError::None);
        for (text, position) in [("a,", 2), (",a", 1), ("a,,b", 2), ("a, \t,b", 2), (",", 1)] {
            assert_eq!(Secrets::parse(text).unwrap_err(), SecretError::Blank { position }, "{text:?}");
        }
        assert_eq!(Secret::try_new("").unwrap_err(), SecretError::Blank { position: 1 });
    }

    #[test]
    fn a_secret_with_a_space_inside_is_a_slip() {
        assert_eq!(Secrets::parse("a,whsec b").unwrap_err(), SecretError::Characters { position: 2 });
        assert_eq!(Secrets::parse("a\0b").unwrap_err(), SecretError::Characters { position: 1 });
    }

    #[test]
    fn at_most_16_secrets_are_taken() {
        let of = |count: usize| Secrets::parse(&vec!["s"; count].join(","));
        assert!(of(16).is_ok());
        assert_eq!(of(17).unwrap_err(), SecretError::TooMany { limit: 16, actual: 17 });
    }

    #[test]
    fn a_file_with_a_line_end_holds_the_same_secret() {
        let secrets = Secrets::parse(" whsec_a , whsec_b\r\n").unwrap();
        assert!(secrets.contains(&Secret::try_new("whsec_b").unwrap()));
        assert!(!secrets.contains(&Secret::try_new("whsec_c").unwrap()));
    }

    #[test]
    fn secrets_are_never_printed() {
        let secrets = Secrets::parse("whsec_hidden").unwrap();
        let shown = format!("{secrets:?} {:?}", Secret::try_new("whsec_hidden").unwrap());
        assert!(!shown.contains("hidden") && !shown.contains("104"), "{shown}");
        assert!(!SecretError::Blank { position: 1 }.to_string().contains("hidden"));
    }
}
