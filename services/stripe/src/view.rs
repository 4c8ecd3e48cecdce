//! Small, tolerant views of Stripe's JSON: a field that has an unexpected shape spoils itself, not its object.
//!
//! Knows nothing about what the fields mean.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A field of an object that Stripe sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Field<T> {
    /// Missing, or null.
    #[default]
    Absent,
    /// There, but not what we expect.
    Unusable,
    /// As expected.
    Value(T),
}

impl<T> Field<T> {
    /// The value, or the given refusal when it is missing or unusable.
    pub(crate) fn required<E>(self, refusal: E) -> Result<T, E> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Absent | Self::Unusable => Err(refusal),
        }
    }

    /// The value if there is one, or the given refusal when it is unusable.
    pub(crate) fn optional<E>(self, refusal: E) -> Result<Option<T>, E> {
        match self {
            Self::Value(value) => Ok(Some(value)),
            Self::Absent => Ok(None),
            Self::Unusable => Err(refusal),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(match serde_json::from_str::<Option<T>>(raw.get()) {
            Ok(Some(value)) => Self::Value(value),
            Ok(None) => Self::Absent,
            Err(_) => Self::Unusable,
        })
    }
}

/// A reference to another object: its id, or the object itself where the API expands it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reference {
    Id(String),
    Object { id: String },
}

impl Reference {
    pub(crate) fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Object { id } => id,
        }
    }
}

/// The metadata pairs whose keys start with [`OwnMetadata::PREFIX`]. A key that comes twice is refused: nobody
/// can say which one was meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OwnMetadata(BTreeMap<String, Field<String>>);

impl OwnMetadata {
    /// What marks a key as ours.
    pub(crate) const PREFIX: &'static str = "tallystick_";

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the value of a key.
    pub(crate) fn take(&mut self, key: &str) -> Field<String> {
        self.0.remove(key).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for OwnMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = OwnMetadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metadata")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OwnMetadata, A::Error> {
                let mut own = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !key.starts_with(OwnMetadata::PREFIX) {
                        map.next_value::<IgnoredAny>()?;
                    } else if own.insert(key, map.next_value()?).is_some() {
                        return Err(A::Error::custom("a key comes twice"));
                    }
                }
                Ok(OwnMetadata(own))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Whether the text is a JSON object: derived views would also take an array for one.
pub(crate) fn is_object(json: &str) -> bool {
    json.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default)]
        amount: Field<i64>,
        #[serde(default)]
        intent: Field<Reference>,
        #[serde(default)]
        metadata: Field<OwnMetadata>,
    }

    fn sample(json: &str) -> Sample {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_field_of_another_shape_spoils_only_itself() {
        let read = sample(r#"{"amount":"10","intent":"pi_1"}"#);
        assert_eq!(read.amount, Field::Unusable);
        assert_eq!(read.intent, Field::Value(Reference::Id("pi_1".to_owned())));
        assert_eq!(sample(r#"{"amount":null}"#).amount, Field::Absent);
        for number in ["1.0", "1e3", "9223372036854775808", "true", "[]"] {
            assert_eq!(sample(&format!(r#"{{"amount":{number}}}"#)).amount, Field::Unusable, "{number}");
        }
    }

    #[test]
    fn a_reference_is_an_id_or_an_object_with_one() {
        let id = |json: &str| sample(json).intent.required(()).map(Reference::into_id);
        assert_eq!(id(r#"{"intent":"pi_1"}"#), Ok("pi_1".to_owned()));
        assert_eq!(id(r#"{"intent":{"object":"payment_intent","id":"pi_1"}}"#), Ok("pi_1".to_owned()));
        for bad in ["5", "{}", r#"{"id":5}"#, r#"{"id":"a","id":"b"}"#] {
            assert_eq!(id(&format!(r#"{{"intent":{bad}}}"#)), Err(()), "{bad}");
        }
    }

    #[test]
    fn only_our_own_metadata_is_kept_and_no_key_comes_twice() {
        let mut own =
            sample(r#"{"metadata":{"a":{"b":1},"tallystick_pack":"x"}}"#).metadata.required(()).unwrap();
        assert_eq!(own.take("tallystick_pack"), Field::Value("x".to_owned()));
        assert!(own.is_empty());
        let twice = sample(r#"{"metadata":{"tallystick_pack":"x","tallystick_pack":"x"}}"#);
        assert_eq!(twice.metadata, Field::Unusable);
        assert_eq!(sample(r#"{"metadata":[]}"#).metadata, Field::Unusable);
    }
}
