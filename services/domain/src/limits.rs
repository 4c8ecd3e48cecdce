//! Every limit of the rules, with its unit and its reason.

/// Smallest amount of one command, in the unit's smallest step.
pub const MIN_AMOUNT: i64 = 1;
/// Largest amount of one command, in the unit's smallest step: nine of them fit a balance.
pub const MAX_AMOUNT: i64 = 1_000_000_000_000_000;
/// Largest sum of the lots of one balance; below 2^53, so that JSON numbers carry it exactly.
pub const MAX_BALANCE: i64 = 9_000_000_000_000_000;
/// Most lots of one balance that may be open at once: bounds what one settlement can touch.
pub const MAX_OPEN_LOTS: i64 = 10_000;
/// Most holds of one balance that may be open at once: bounds what one settlement can touch.
pub const MAX_OPEN_HOLDS: i64 = 10_000;
/// Shortest time to the end of a hold, in microseconds.
pub const MIN_HOLD_TTL_US: i64 = 1_000_000;
/// Longest life of a hold from its creation, extensions included, in microseconds: 30 days.
pub const MAX_HOLD_LIFETIME_US: i64 = 30 * 24 * 3600 * 1_000_000;
/// Most raises of one grant's revocation that are kept apart; older ones are put together.
pub const MAX_RAISES: usize = 64;
/// Most thresholds of one account.
pub const MAX_THRESHOLDS: usize = 16;
/// Longest name of a threshold, in bytes.
pub const MAX_THRESHOLD_NAME_BYTES: usize = 64;
/// How long credits last that cannot return to their lot, in seconds, unless configured: 30 days.
pub const DEFAULT_REVERSAL_GRACE_S: i64 = 30 * 24 * 3600;
/// Longest account id, in bytes.
pub const MAX_ACCOUNT_ID_BYTES: usize = 128;
/// Longest unit name, in bytes.
pub const MAX_UNIT_BYTES: usize = 32;
/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Longest reference, reason or on-behalf-of text, in bytes.
pub const MAX_TEXT_BYTES: usize = 255;
/// Most metadata pairs of one command.
pub const MAX_METADATA_PAIRS: usize = 16;
/// Most bytes of all metadata keys and values together.
pub const MAX_METADATA_BYTES: usize = 2048;
/// Burn priorities run from 0 (first) to this (last).
pub const MAX_PRIORITY: u8 = 100;
/// The priority of a grant that names none.
pub const DEFAULT_PRIORITY: u8 = 50;
/// The unit of a request that names none.
pub const DEFAULT_UNIT: &str = "credits";
/// Keys that start with this are the service's own (one per Stripe object), so that no caller can take one.
pub const RESERVED_KEY_PREFIX: &str = "tallystick:";
/// The latest time that a grant may name, in microseconds since 1970: the end of the year 9999 (RFC 3339).
pub const MAX_TIMESTAMP_US: i64 = 253_402_300_799_999_999;
