//! Values from text: what each type accepts, exactly.

pub(crate) mod unfit;

pub(crate) mod number;

pub(crate) mod time;

pub(crate) mod format;

use chrono::{
    Datelike as _, NaiveDate, NaiveTime,
    format::{Fixed, Item, Parsed, StrftimeItems},
};
use qetl_core::format::ReaderOptions;

use unfit::Unfit;

/// How the options of a flow read text.
pub(crate) struct Rules {
    nulls: Vec<String>,
    pub(crate) separator: u8,
    date: Option<Vec<Item<'static>>>,
    timestamp: Option<Vec<Item<'static>>>,
}

impl Rules {
    /// Patterns have been checked when the flow was: one that is malformed matches nothing.
    pub(crate) fn new(options: &ReaderOptions) -> Self {
        let items = |pattern: &Option<String>| StrftimeItems::new(pattern.as_ref()?).parse_to_owned().ok();
        Self {
            nulls: options.null_values.clone(),
            separator: options.decimal_separator,
            date: items(&options.date_format),
            timestamp: items(&options.timestamp_format),
        }
    }

    /// The rules for text in files whose numbers have a point, whatever the options say.
    pub(crate) fn with_point(options: &ReaderOptions) -> Self {
        Self { separator: b'.', ..Self::new(options) }
    }

    /// Whether an unquoted field means NULL.
    #[inline]
    pub(crate) fn is_null(&self, field: &str) -> bool {
        field.is_empty() || (!self.nulls.is_empty() && self.nulls.iter().any(|null| null == field))
    }

    /// Days since 1970-01-01. The flow's pattern goes before ISO 8601, so that a pattern such as `%Y-%d-%m` means what
    /// it says.
    pub(crate) fn date(&self, text: &str) -> Result<i32, Unfit> {
        let by_pattern = self.date.as_ref().and_then(|items| {
            let mut parsed = Parsed::new();
            chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
            // A pattern may read a time of day, but a date has none to keep it in.
            let whole = !has_time(&parsed) || parsed.to_naive_time() == Ok(NaiveTime::MIN);
            days(parsed.to_naive_date().ok().filter(|_| whole)?)
        });
        by_pattern.or_else(|| time::date(text.as_bytes())).ok_or(Unfit::NotA)
    }

    /// Microseconds since 1970-01-01T00:00:00Z. A text without an offset is in UTC; a date alone is its midnight.
    pub(crate) fn timestamp(&self, text: &str) -> Result<i64, Unfit> {
        if let Some(items) = &self.timestamp {
            let mut parsed = Parsed::new();
            // chrono passes over a zone's name (`%Z`) whatever it is; only UTC's can be told from it.
            let is_zoned = items.contains(&Item::Fixed(Fixed::TimezoneName));
            let is_utc = text.contains("UTC") || text.contains("GMT") || text.ends_with('Z');
            if (!is_zoned || is_utc)
                && chrono::format::parse(&mut parsed, text, items.iter()).is_ok()
                && let Some(instant) = instant(&parsed)
            {
                return instant;
            }
        }
        match time::timestamp(text.as_bytes()) {
            Err(Unfit::NotA) if self.date.is_some() => Ok(i64::from(self.date(text)?) * time::DAY),
            other => other,
        }
    }
}

fn days(date: NaiveDate) -> Option<i32> {
    (1..=9999).contains(&date.year()).then(|| time::days(date.year(), date.month(), date.day()))
}

/// What was read by a pattern, as an instant; `None` when it is not a moment at all.
fn instant(parsed: &Parsed) -> Option<Result<i64, Unfit>> {
    let offset = parsed.offset().unwrap_or(0);
    let local = match parsed.to_naive_datetime_with_offset(offset) {
        Ok(local) => local,
        Err(_) if has_time(parsed) => return None,
        Err(_) => parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN),
    };
    let nanos = local.and_utc().timestamp_subsec_nanos();
    if nanos >= 1_000_000_000 {
        return None;
    }
    if nanos % 1000 != 0 {
        return Some(Err(Unfit::Finer));
    }
    Some(time::checked(local.and_utc().timestamp_micros() - i64::from(offset) * 1_000_000))
}

/// Whether any part of a time of day was read.
fn has_time(parsed: &Parsed) -> bool {
    let parts = [parsed.hour_div_12(), parsed.hour_mod_12(), parsed.minute(), parsed.second(), parsed.nanosecond()];
    parts.iter().any(Option::is_some)
}

pub(crate) fn boolean(text: &str) -> Result<bool, Unfit> {
    match text.as_bytes() {
        b"1" | b"t" | b"T" => Ok(true),
        b"0" | b"f" | b"F" => Ok(false),
        bytes if bytes.eq_ignore_ascii_case(b"true") => Ok(true),
        bytes if bytes.eq_ignore_ascii_case(b"false") => Ok(false),
        _ => Err(Unfit::NotA),
    }
}

/// The text without the blanks around it.
#[inline]
pub(crate) fn trimmed(text: &str) -> &str {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(text.as_bytes().first()) || blank(text.as_bytes().last()) { text.trim_matches([' ', '\t']) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(date: &str, timestamp: &str) -> Rules {
        let pattern = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let options = ReaderOptions { date_format: pattern(date), timestamp_format: pattern(timestamp), ..ReaderOptions::default() };
        Rules::new(&options)
    }

    #[test]
    fn dates_by_pattern() {
        let check = |pattern: &str, text: &str, expected: Option<&str>| {
            let read = rules(pattern, "").date(text).ok();
            assert_eq!(read, expected.and_then(|iso| time::date(iso.as_bytes())), "{pattern} {text}");
        };
        check("%d.%m.%Y", "31.12.2024", Some("2024-12-31"));
        check("%d.%m.%Y", "2024-12-31", Some("2024-12-31"));
        check("%Y-%d-%m", "2024-05-03", Some("2024-03-05"));
        check("%d.%m.%Y", "31.11.2024", None);
        check("%d.%m.%Y", "31.12.2024x", None);
        check("%Y", "2024", None);
        check("%d.%m.%Y", "01.01.12024", None);
        check("%d.%m.%Y %H:%M", "31.12.2024 00:00", Some("2024-12-31"));
        check("%d.%m.%Y %H:%M", "31.12.2024 10:00", None);
    }

    #[test]
    fn timestamps_by_pattern() {
        let check = |pattern: &str, text: &str, expected: Result<&str, Unfit>| {
            let expected = expected.map(|iso| time::timestamp(iso.as_bytes()).unwrap());
            assert_eq!(rules("", pattern).timestamp(text), expected, "{pattern} {text}");
        };
        check("%d.%m.%Y %H:%M", "31.12.2024 23:59", Ok("2024-12-31T23:59"));
        check("%d.%m.%Y %H:%M %z", "31.12.2024 23:59 +0100", Ok("2024-12-31T22:59"));
        check("%d.%m.%Y", "31.12.2024", Ok("2024-12-31"));
        check("%d.%m.%Y %H:%M:%S%.f", "31.12.2024 23:59:01.1234567", Err(Unfit::Finer));
        check("%d.%m.%Y %H:%M:%S", "31.12.2024 23:59:60", Err(Unfit::NotA));
        check("%s", "86400", Ok("1970-01-02"));
        check("%s %z", "86400 +0100", Ok("1970-01-02"));
        check("%d.%m.%Y %H", "31.12.2024 10", Err(Unfit::NotA));
        check("%d.%m.%Y %I:%M %p", "31.12.2024 11:59 PM", Ok("2024-12-31T23:59"));
        check("%d.%m.%Y %H:%M %Z", "31.12.2024 23:59 UTC", Ok("2024-12-31T23:59"));
        check("%d.%m.%Y %H:%M %Z", "31.12.2024 23:59 CET", Err(Unfit::NotA));
        check("%d.%m.%Y %H:%M", "2024-12-31T00:00:01Z", Ok("2024-12-31T00:00:01"));
        assert_eq!(rules("%d.%m.%Y", "").timestamp("02.01.1970"), Ok(time::DAY));
    }

    #[test]
    fn booleans() {
        for (text, expected) in [("TRUE", Ok(true)), ("f", Ok(false)), ("0", Ok(false)), ("yes", Err(Unfit::NotA)), ("", Err(Unfit::NotA))]
        {
            assert_eq!(boolean(text), expected, "{text}");
        }
        assert_eq!(trimmed(" \t5 "), "5");
    }
}
