//! The clock and the randomness of the process: the one place that reads them. Everything else gets them as values.
//!
//! Neither decides anything about credits; that is the database's clock (docs/architecture.md).

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use uuid::Uuid;

/// The time of this machine, in UTC.
#[expect(clippy::disallowed_methods, reason = "the binary is where time comes from")]
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The same as seconds since 1970; 0 on a machine whose clock is before that.
#[expect(clippy::disallowed_methods, reason = "the binary is where time comes from")]
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same in microseconds.
#[expect(clippy::disallowed_methods, reason = "the binary is where time comes from")]
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// [`now_s`] as Stripe's signatures are judged by.
pub(crate) fn unix_s() -> i64 {
    i64::try_from(now_s()).unwrap_or(i64::MAX)
}

/// A new id that sorts by time (UUID version 7, RFC 9562): for idempotency keys.
pub(crate) fn new_key() -> String {
    Uuid::now_v7().to_string()
}

/// 32 lower-case letters and digits that nobody can guess: for the ids of simulated Stripe objects.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// A number in `0..below`, for jitter and shuffling; 0 when `below` is 0.
pub(crate) fn random_below(below: u64) -> u64 {
    if below == 0 { 0 } else { rand::random_range(0..below) }
}

/// Bytes of the thread's generator, which is a cryptographic one seeded by the operating system.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    rand::random()
}
