//! One byte encoding for everything that is hashed: fixed widths, big endian, every text and list preceded by
//! its length, every option by a flag. No two different values share an encoding.

use sha2::{Digest, Sha256};

/// Feeds values to SHA-256 in the canonical encoding.
pub(crate) struct Canonical(Sha256);

impl Canonical {
    /// `domain` separates the kinds of things that are hashed.
    pub(crate) fn new(domain: &str) -> Self {
        let mut hasher = Self(Sha256::new());
        hasher.text(domain);
        hasher
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        // A length beyond u64 cannot exist in memory, so the fallback is unreachable.
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.0.update(length.to_be_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        self.0.update(value.to_be_bytes());
        self
    }

    pub(crate) fn count(&mut self, value: usize) -> &mut Self {
        self.0.update(u64::try_from(value).unwrap_or(u64::MAX).to_be_bytes());
        self
    }

    pub(crate) fn optional_int(&mut self, value: Option<i64>) -> &mut Self {
        match value {
            None => self.int(0),
            Some(value) => self.int(1).int(value),
        }
    }

    pub(crate) fn optional_bytes(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.int(0),
            Some(value) => self.int(1).bytes(value),
        }
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
