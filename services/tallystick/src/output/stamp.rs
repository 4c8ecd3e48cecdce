//! Points in time as people read them: UTC, to the millisecond.

use prost_types::Timestamp;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// As wide as every stamp.
pub(crate) const WIDTH: usize = "2026-01-31T00:00:00.000Z".len();

/// The time as text; `-` when there is none, or one that no calendar has.
pub(crate) fn shown(stamp: Option<&Timestamp>) -> String {
    let time = stamp.and_then(|stamp| {
        let time = OffsetDateTime::from_unix_timestamp(stamp.seconds).ok()?;
        time.replace_nanosecond(u32::try_from(stamp.nanos).ok()?).ok()
    });
    time.and_then(|time| time.format(FORMAT).ok()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc_to_the_millisecond() {
        let stamp = Timestamp { seconds: 1_700_000_000, nanos: 123_999_999 };
        assert_eq!(shown(Some(&stamp)), "2023-11-14T22:13:20.123Z");
        assert_eq!(shown(Some(&stamp)).len(), WIDTH);
        assert_eq!(shown(None), "-");
        assert_eq!(shown(Some(&Timestamp { seconds: i64::MAX, nanos: 0 })), "-");
        assert_eq!(shown(Some(&Timestamp { seconds: 0, nanos: -1 })), "-");
    }
}
