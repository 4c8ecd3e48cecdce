//! Resume tokens: what a stream has sent of each balance, in a form that any replica takes back.
//!
//! A token is a version byte, 16 bytes of HMAC-SHA256 over the rest, and for each balance the first 8 bytes of the
//! SHA-256 of its name, its version (8 bytes, big endian) and the first 4 bytes of the entry's hash there. It names
//! nobody, and grants nothing: whoever brings it names the balances, and rights are checked again. There is no stream
//! epoch in it: whether a history goes on is decided by the entry's hash.

use std::collections::HashMap;

use bytes::Bytes;
use domain::{AccountId, EntryHash, Unit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use store::TokenKey;
use store::tail::mutants::{self, Mutant};

use crate::limits::MAX_TARGETS;

/// The form of the token.
const FORM: u8 = 1;
const MAC_BYTES: usize = 16;
const NAME_BYTES: usize = 8;
const PLACE_BYTES: usize = NAME_BYTES + 8 + 4;
/// Longest token: some 20 kB.
const MAX_TOKEN_BYTES: usize = 1 + MAC_BYTES + MAX_TARGETS * PLACE_BYTES;

/// What is known of an entry's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fingerprint {
    Whole(EntryHash),
    /// Its first bytes, as a token has them.
    Prefix([u8; 4]),
}

impl Fingerprint {
    fn prefix(self) -> [u8; 4] {
        match self {
            Self::Whole(EntryHash([a, b, c, d, ..])) | Self::Prefix([a, b, c, d]) => [a, b, c, d],
        }
    }

    pub(crate) fn fits(&self, hash: &EntryHash) -> bool {
        match self {
            Self::Whole(whole) => whole == hash,
            Self::Prefix(prefix) => {
                hash.0.starts_with(prefix) || mutants::is(Mutant::TokenWithoutFingerprint)
            }
        }
    }
}

/// How far a reader is with a balance, by its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) version: i64,
    pub(crate) hash: Fingerprint,
}

type Name = [u8; NAME_BYTES];

fn name(account: &AccountId, unit: &Unit) -> Name {
    let mut digest = Sha256::new();
    digest.update(account.as_str());
    digest.update(b"\n");
    digest.update(unit.as_str());
    let mut name = Name::default();
    name.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
    name
}

fn mac(key: &TokenKey, places: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_ref()).ok()?;
    mac.update(b"tallystick.resume");
    mac.update(&[FORM]);
    mac.update(places);
    Some(mac)
}

/// Makes a token of how far a reader is. Nothing when the key cannot be used.
pub(crate) fn seal<'a>(
    key: &TokenKey,
    kept: impl Iterator<Item = (&'a AccountId, &'a Unit, Place)>,
) -> Option<Bytes> {
    let mut places = Vec::new();
    for (account, unit, place) in kept {
        places.extend(name(account, unit));
        places.extend(place.version.to_be_bytes());
        places.extend(place.hash.prefix());
    }
    let tag = mac(key, &places)?.finalize().into_bytes();
    let mut token = Vec::with_capacity(1 + MAC_BYTES + places.len());
    token.push(FORM);
    token.extend(tag.iter().take(MAC_BYTES));
    token.extend(places);
    Some(token.into())
}

/// What a token says, by balance.
#[derive(Debug)]
pub(crate) struct Opened(HashMap<Name, Place>);

impl Opened {
    /// What it says of a balance; nothing when it lacks it.
    pub(crate) fn place(&self, account: &AccountId, unit: &Unit) -> Option<Place> {
        self.0.get(&name(account, unit)).copied()
    }
}

/// Reads a token; nothing for one that this key did not make.
pub(crate) fn open(key: &TokenKey, token: &[u8]) -> Option<Opened> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (form, rest) = token.split_first()?;
    let (tag, places) = rest.split_at_checked(MAC_BYTES)?;
    if *form != FORM || !places.len().is_multiple_of(PLACE_BYTES) {
        return None;
    }
    mac(key, places)?.verify_truncated_left(tag).ok()?;
    let place = |bytes: &[u8]| {
        let (name, bytes) = bytes.split_first_chunk::<NAME_BYTES>()?;
        let (version, hash) = bytes.split_first_chunk::<8>()?;
        let hash = Fingerprint::Prefix(hash.try_into().ok()?);
        Some((*name, Place { version: i64::from_be_bytes(*version), hash }))
    };
    places.chunks_exact(PLACE_BYTES).map(place).collect::<Option<_>>().map(Opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::from([byte; 32])
    }

    fn names() -> (AccountId, Unit) {
        (AccountId::try_new("a").unwrap(), Unit::try_new("").unwrap())
    }

    fn token(version: i64, hash: u8) -> Bytes {
        let (account, unit) = names();
        seal(
            &key(1),
            [(&account, &unit, Place { version, hash: Fingerprint::Whole(EntryHash([hash; 32])) })]
                .into_iter(),
        )
        .unwrap()
    }

    #[test]
    fn a_token_says_what_was_sealed_and_nothing_of_other_balances() {
        let (account, unit) = names();
        let opened = open(&key(1), &token(7, 3)).unwrap();
        let place = opened.place(&account, &unit).unwrap();
        assert_eq!(place, Place { version: 7, hash: Fingerprint::Prefix([3; 4]) });
        assert!(place.hash.fits(&EntryHash([3; 32])) && !place.hash.fits(&EntryHash([4; 32])));
        assert!(opened.place(&AccountId::try_new("b").unwrap(), &unit).is_none());
        assert!(open(&key(1), &seal(&key(1), std::iter::empty()).unwrap()).is_some());
    }

    #[test]
    fn a_changed_cut_or_foreign_token_is_none_of_ours() {
        let token = token(7, 3);
        assert!(open(&key(2), &token).is_none());
        for at in 0..token.len() {
            let mut changed = token.to_vec();
            changed[at] ^= 1;
            assert!(open(&key(1), &changed).is_none(), "byte {at}");
            assert!(open(&key(1), &token[..at]).is_none(), "cut at {at}");
        }
        assert!(open(&key(1), &[token.as_ref(), &[0]].concat()).is_none());
        assert!(open(&key(1), &vec![FORM; MAX_TOKEN_BYTES + 1]).is_none());
    }
}
