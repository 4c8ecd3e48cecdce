//! Tokens of ledger streams: where a reader is, in a form that any replica takes back.
//!
//! A token is a version byte, 16 bytes of HMAC-SHA256 over the rest, and, numbers big endian:
//!
//! | bytes | what |
//! | ---: | --- |
//! | 8 | the stream epoch |
//! | 8 | of the SHA-256 of the server, timeline and outbox |
//! | 8 | of the SHA-256 of the prefix of accounts: a place is one of its own order |
//! | 8, then as the snapshot needs | the snapshot of which all was sent: when it was taken (microseconds since 1970), and itself |
//! | 1 | 1 when the reader is inside a step; then follow, and else nothing: |
//! | as above | the snapshot to which the step leads |
//! | 8, 1, … | the last version that was sent; the length of its account; account and unit |
//!
//! It grants nothing: rights are checked again. It names the account at which the reader is, who may read them all.

use bytes::Bytes;
use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use store::feed::{Mark, Origin, Snapshot};
use store::{Position, TokenKey};

/// The form of the token.
const FORM: u8 = 1;
const MAC_BYTES: usize = 16;

/// What a snapshot's ids mean something in, as a token holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OriginId {
    epoch: i64,
    source: [u8; 8],
}

/// Where a reader is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) origin: OriginId,
    /// Everything that it sees was sent.
    pub(super) from: Mark,
    /// What is being sent.
    pub(super) step: Option<Step>,
}

/// A step under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) to: Mark,
    /// The last that was sent of it.
    pub(super) after: Position,
}

pub(super) fn origin_of(origin: &Origin) -> OriginId {
    OriginId { epoch: origin.epoch, source: digest(&origin.source) }
}

fn digest(text: &str) -> [u8; 8] {
    let mut digest = [0; 8];
    digest.iter_mut().zip(Sha256::digest(text)).for_each(|(to, from)| *to = from);
    digest
}

fn mac(key: &TokenKey, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_ref()).ok()?;
    mac.update(b"tallystick.ledger");
    mac.update(&[FORM]);
    mac.update(body);
    Some(mac)
}

/// Makes a token. Nothing when the key cannot be used or a snapshot is too large for one.
pub(super) fn seal(key: &TokenKey, prefix: &str, place: &Place) -> Option<Bytes> {
    let mut body = Vec::new();
    body.extend(place.origin.epoch.to_be_bytes());
    body.extend(place.origin.source);
    body.extend(digest(prefix));
    write_mark(&mut body, &place.from)?;
    body.push(u8::from(place.step.is_some()));
    if let Some(step) = &place.step {
        write_mark(&mut body, &step.to)?;
        body.extend(step.after.version.to_be_bytes());
        body.push(u8::try_from(step.after.account_id.len()).ok()?);
        body.extend(step.after.account_id.as_bytes());
        body.extend(step.after.unit.as_bytes());
    }
    let tag = mac(key, &body)?.finalize().into_bytes();
    let mut token = Vec::with_capacity(1 + MAC_BYTES + body.len());
    token.push(FORM);
    token.extend(tag.iter().take(MAC_BYTES));
    token.extend(body);
    Some(token.into())
}

fn write_mark(body: &mut Vec<u8>, mark: &Mark) -> Option<()> {
    body.extend(mark.at.micros().to_be_bytes());
    mark.snapshot.write(body)
}

/// Reads a token; nothing for one that this key did not make, or for another prefix. The caller bounds its length.
pub(super) fn open(key: &TokenKey, prefix: &str, token: &[u8]) -> Option<Place> {
    let (form, rest) = token.split_first()?;
    let (tag, body) = rest.split_at_checked(MAC_BYTES)?;
    if *form != FORM {
        return None;
    }
    mac(key, body)?.verify_truncated_left(tag).ok()?;
    let (epoch, body) = body.split_first_chunk::<8>()?;
    let (source, body) = body.split_first_chunk::<8>()?;
    let (of_prefix, body) = body.split_first_chunk::<8>()?;
    if *of_prefix != digest(prefix) {
        return None;
    }
    let (from, body) = read_mark(body)?;
    let (is_inside, body) = body.split_first()?;
    let step = if *is_inside == 1 { Some(read_step(body)?) } else { None };
    let origin = OriginId { epoch: i64::from_be_bytes(*epoch), source: *source };
    Some(Place { origin, from, step })
}

fn read_mark(bytes: &[u8]) -> Option<(Mark, &[u8])> {
    let (at, bytes) = bytes.split_first_chunk::<8>()?;
    let (snapshot, rest) = Snapshot::read(bytes)?;
    Some((Mark { snapshot, at: Timestamp::from_micros(i64::from_be_bytes(*at)) }, rest))
}

fn read_step(bytes: &[u8]) -> Option<Step> {
    let (to, bytes) = read_mark(bytes)?;
    let (version, bytes) = bytes.split_first_chunk::<8>()?;
    let (length, bytes) = bytes.split_first()?;
    let (account, unit) = bytes.split_at_checked(usize::from(*length))?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let version = i64::from_be_bytes(*version);
    Some(Step { to, after: Position { account_id: text(account)?, unit: text(unit)?, version } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::from([byte; 32])
    }

    fn mark(text: &str) -> Mark {
        Mark { snapshot: Snapshot::parse(text).unwrap(), at: Timestamp::from_micros(7) }
    }

    fn places() -> [Place; 2] {
        let origin = origin_of(&Origin { epoch: 3, source: "1/00000001/16384".to_owned() });
        let from = mark("795:799:795,797");
        let after = Position { account_id: "a".repeat(128), unit: "credits".to_owned(), version: 9 };
        let step = Some(Step { to: mark("800:800:"), after });
        [Place { origin, from: from.clone(), step: None }, Place { origin, from, step }]
    }

    #[test]
    fn a_token_says_where_the_reader_is() {
        for place in places() {
            let token = seal(&key(1), "team_", &place).unwrap();
            assert_eq!(open(&key(1), "team_", &token), Some(place));
        }
    }

    #[test]
    fn a_changed_cut_or_foreign_token_or_one_of_another_prefix_is_none_of_ours() {
        for place in places() {
            let token = seal(&key(1), "team_", &place).unwrap();
            assert!(open(&key(2), "team_", &token).is_none());
            assert!(open(&key(1), "", &token).is_none());
            for at in 0..token.len() {
                let mut changed = token.to_vec();
                changed[at] ^= 1;
                assert!(open(&key(1), "team_", &changed).is_none(), "byte {at}");
                assert!(open(&key(1), "team_", &token[..at]).is_none(), "cut at {at}");
            }
            assert!(open(&key(1), "team_", &[token.as_ref(), &[0]].concat()).is_none());
        }
    }

    #[test]
    fn another_epoch_or_source_is_another_origin() {
        let of = |epoch, source: &str| origin_of(&Origin { epoch, source: source.to_owned() });
        assert_ne!(of(1, "1/00000001/2"), of(2, "1/00000001/2"));
        assert_ne!(of(1, "1/00000001/2"), of(1, "1/00000002/2"));
    }
}
