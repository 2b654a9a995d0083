//! Times that a user types.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use qetl_runtime::{RunError, engine::At};

/// Microseconds since 1970 of a date (midnight, UTC) or an ISO 8601 time (UTC without an offset).
pub(crate) fn parse_time(text: &str) -> Result<i64, RunError> {
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let plain =
        || ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"].iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let with_offset = || DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z")).ok();
    let naive = date().or_else(plain).map(|time| time.and_utc().timestamp_micros());
    naive.or_else(|| with_offset().map(|time| time.timestamp_micros())).ok_or_else(|| {
        RunError::usage(
            format!("`{text}` is not a time"),
            "write a date or an ISO 8601 time, such as `2024-01-31` or `2024-01-31T10:00:00Z`",
        )
    })
}

/// What `--at` names: a number is a version.
pub(crate) fn parse_at(text: &str) -> Result<At, RunError> {
    match text.parse::<i64>() {
        Ok(version) => Ok(At::Version(version)),
        Err(_) => parse_time(text).map(At::Time),
    }
}

/// Microseconds since 1970 as people read it, UTC.
pub(crate) fn show_time(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Microseconds since 1970 as programs read it.
pub(crate) fn iso_time(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        let check = |text: &str, micros: i64| assert_eq!(parse_time(text).unwrap(), micros, "{text}");
        check("1970-01-02", 86_400_000_000);
        check("1970-01-01T00:00:01", 1_000_000);
        check("1970-01-01 00:00:01.5", 1_500_000);
        check("1970-01-01T01:00:00+01:00", 0);
        check("1970-01-01T00:00:00Z", 0);
        assert!(parse_time("yesterday").is_err());
        assert_eq!(parse_at("3").unwrap(), At::Version(3));
    }
}
