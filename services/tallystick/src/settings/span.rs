//! Points and spans of time as people write them on a command line.

use prost_types::Timestamp;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// For clap: a point in time (RFC 3339).
///
/// # Errors
/// A sentence for the user.
pub(crate) fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "must be a time like 2027-01-31T00:00:00Z (RFC 3339)".to_owned())
}

/// For clap: a whole number and a unit, `90s`, `30m`, `12h`, `30d` or `4w`.
///
/// # Errors
/// A sentence for the user.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let problem = || "must be a number and s, m, h, d or w, such as 30d".to_owned();
    let unit = text.chars().last().ok_or_else(problem)?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(problem()),
    };
    let digits = text.get(..text.len() - 1).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(problem());
    }
    let number: i64 = digits.parse().map_err(|_| problem())?;
    number.checked_mul(seconds).map(Duration::seconds).ok_or_else(|| "is too long".to_owned())
}

/// As the API carries it.
pub(crate) fn timestamp(time: OffsetDateTime) -> Timestamp {
    // Nanoseconds within a second always fit.
    Timestamp { seconds: time.unix_timestamp(), nanos: i32::try_from(time.nanosecond()).unwrap_or(0) }
}

/// The same span in the API's form.
pub(crate) fn duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: span.whole_seconds(), nanos: span.subsec_nanoseconds() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        assert_eq!(parse_span("90s").unwrap(), Duration::seconds(90));
        assert_eq!(parse_span("30d").unwrap(), Duration::days(30));
        assert_eq!(parse_span("2w").unwrap(), Duration::weeks(2));
        for text in ["", "d", "30", "-1d", "1.5h", "30 d", "5y", "日", "9999999999999999999w", "+1d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        assert_eq!(parse_span("9223372036854775807w").unwrap_err(), "is too long");
    }

    #[test]
    fn times_are_rfc_3339() {
        let time = parse_time("2027-01-31T01:00:00+01:00").unwrap();
        assert_eq!(timestamp(time), timestamp(parse_time("2027-01-31T00:00:00Z").unwrap()));
        assert_eq!(timestamp(parse_time("1969-12-31T23:59:59.5Z").unwrap()).nanos, 500_000_000);
        assert!(parse_time("tomorrow").is_err());
    }
}
