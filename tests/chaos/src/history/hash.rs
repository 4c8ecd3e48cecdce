//! The beginning of an entry's hash, which is enough to tell two histories apart.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The first 8 bytes of an entry hash; zero: that of version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Hash(pub u64);

impl Hash {
    /// Of a whole hash; of an empty one, zero.
    pub fn of(whole: &[u8]) -> Self {
        let begin = whole.first_chunk::<8>().copied().unwrap_or_default();
        Self(u64::from_be_bytes(begin))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
    }
}
