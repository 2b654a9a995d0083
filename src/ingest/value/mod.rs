//! Values from text: what each type accepts, exactly.

pub(crate) mod unfit;

pub(crate) mod digits;

pub(crate) mod number;

pub(crate) mod time;

pub(crate) mod pattern;

pub(crate) mod format;

use qetl_core::format::{ReaderOptions, TimestampUnit};

use digits::Digits;
use number::Number;
use pattern::Pattern;
use unfit::Unfit;

/// How the options of a flow read text.
pub(crate) struct Rules {
    nulls: Vec<String>,
    /// Quoted texts may mean NULL in text columns too.
    pub(crate) quoted_nulls: bool,
    pub(crate) digits: Digits,
    date: Option<Pattern>,
    timestamp: Option<Pattern>,
    pub(crate) unit: Option<TimestampUnit>,
    true_values: Vec<String>,
    false_values: Vec<String>,
}

impl Rules {
    pub(crate) fn new(options: &ReaderOptions) -> Self {
        let pattern = |pattern: &Option<String>| Pattern::new(pattern.as_ref()?);
        Self {
            nulls: options.null_values.clone(),
            quoted_nulls: options.quoted_nulls,
            digits: Digits { separator: options.decimal_separator, thousands: options.thousands_separator },
            date: pattern(&options.date_format),
            timestamp: pattern(&options.timestamp_format),
            unit: options.timestamp_unit,
            true_values: options.true_values.clone(),
            false_values: options.false_values.clone(),
        }
    }

    /// Whether a text means NULL.
    #[inline]
    pub(crate) fn is_null(&self, text: &str) -> bool {
        text.is_empty() || self.is_null_word(text)
    }

    /// Whether a text means NULL since the flow says so.
    #[inline]
    pub(crate) fn is_null_word(&self, text: &str) -> bool {
        !self.nulls.is_empty() && self.nulls.iter().any(|null| null == text)
    }

    /// Days since 1970-01-01. The flow's pattern goes before ISO 8601, so that a pattern such as `%Y-%d-%m` means what
    /// it says. A date with midnight behind it is a date.
    pub(crate) fn date(&self, text: &str) -> Result<i32, Unfit> {
        let by_pattern = self.date_by_pattern(text);
        if let Some(days) = by_pattern.ok().or_else(|| time::date(text.as_bytes())) {
            return Ok(days);
        }
        if let Some(days) = time::before_midnight(text).and_then(|day| self.date_by_pattern(day).ok()) {
            return Ok(days);
        }
        let by_times = self.timestamp.as_ref().and_then(|pattern| pattern.moment(text).ok());
        match by_times.map_or_else(|| time::date_at_midnight(text.as_bytes()), |moment| moment.date()) {
            Err(Unfit::NotA) => by_pattern,
            other => other,
        }
    }

    /// The same, by the flow's pattern alone.
    pub(crate) fn date_by_pattern(&self, text: &str) -> Result<i32, Unfit> {
        self.date.as_ref().ok_or(Unfit::NotA)?.moment(text)?.date()
    }

    /// The same, where nothing says that it is a date: a time of day, midnight too, says that it is none.
    pub(crate) fn plain_date(&self, text: &str) -> Option<i32> {
        self.date_by_pattern(text).ok().or_else(|| time::date(text.as_bytes()))
    }

    /// Microseconds since 1970-01-01T00:00:00Z, of a text or of a number by the flow's unit.
    pub(crate) fn timestamp(&self, text: &str, digits: Digits) -> Result<i64, Unfit> {
        match self.written_timestamp(text) {
            Err(unfit @ (Unfit::NotA | Unfit::ShortYear)) => match self.unit.and_then(|unit| Some((unit, digits.number(text).ok()?))) {
                Some((unit, number)) => since_1970(number, unit),
                None => Err(unfit),
            },
            other => other,
        }
    }

    /// A text without an offset is in UTC; a date alone is its midnight.
    pub(crate) fn written_timestamp(&self, text: &str) -> Result<i64, Unfit> {
        let by_pattern = self.timestamp_by_pattern(text);
        if !matches!(by_pattern, Err(Unfit::NotA | Unfit::ShortYear)) {
            return by_pattern;
        }
        match time::timestamp(text.as_bytes()) {
            Err(Unfit::NotA) => match self.date_by_pattern(text) {
                Ok(days) => Ok(i64::from(days) * time::DAY),
                Err(Unfit::ShortYear) => Err(Unfit::ShortYear),
                Err(_) => by_pattern,
            },
            other => other,
        }
    }

    pub(crate) fn timestamp_by_pattern(&self, text: &str) -> Result<i64, Unfit> {
        self.timestamp.as_ref().ok_or(Unfit::NotA)?.moment(text)?.instant()
    }

    pub(crate) fn boolean(&self, text: &str) -> Result<bool, Unfit> {
        let is_one_of = |values: &[String]| !values.is_empty() && values.iter().any(|own| own == text);
        match text.as_bytes() {
            _ if is_one_of(&self.true_values) => Ok(true),
            _ if is_one_of(&self.false_values) => Ok(false),
            b"1" | b"t" | b"T" => Ok(true),
            b"0" | b"f" | b"F" => Ok(false),
            _ => boolean_word(text).ok_or(Unfit::NotA),
        }
    }
}

/// The instant that so many of the unit since 1970 are.
pub(crate) fn since_1970(number: Number, unit: TimestampUnit) -> Result<i64, Unfit> {
    let scaled = match unit {
        TimestampUnit::S => number.to_scale(38, 6),
        TimestampUnit::Ms => number.to_scale(38, 3),
        TimestampUnit::Us => number.to_scale(38, 0),
        TimestampUnit::Ns => {
            number.to_scale(38, 0).and_then(|nanos| if nanos % 1000 == 0 { Ok(nanos / 1000) } else { Err(Unfit::Decimals) })
        }
    };
    let micros = scaled.map_err(|unfit| if unfit == Unfit::Decimals { Unfit::Finer } else { Unfit::Range })?;
    time::checked(i64::try_from(micros).map_err(|_| Unfit::Range)?)
}

/// The words `true` and `false`, in any case.
#[inline]
pub(crate) fn boolean_word(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
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
        check("%d/%m/%y", "1/2/24", Some("2024-02-01"));
        check("%Y%m%d", "20240131", Some("2024-01-31"));
        check("%Y%m%d", "240131", None);
        check("%d/%m/%y", "1/2/5", None);
        check("%F", "24-01-31", None);
        for (pattern, text) in [("%d/%m/%Y", "1/2/24"), ("%d/%m/%Y", "15/06/999"), ("%Y-%m-%d", "24-1-31"), ("%G-W%V-%u", "24-W05-1")] {
            assert_eq!(rules(pattern, "").date(text), Err(Unfit::ShortYear), "{pattern} {text}");
        }
        assert_eq!(rules("%d.%m.%Y %H:%M", "").date("31.12.2024 10:00"), Err(Unfit::TimeOfDay));
    }

    #[test]
    fn dates_with_midnight_behind_them() {
        let check = |text: &str, expected: Result<&str, Unfit>| {
            let expected = expected.map(|iso| time::date(iso.as_bytes()).unwrap());
            assert_eq!(rules("", "%d.%m.%Y %H:%M:%S").date(text), expected, "{text}");
        };
        for text in
            ["2024-01-31 00:00:00", "2024-01-31T00:00", "2024-01-31T00:00:00.000Z", "2024-01-31 00:00:00 UTC", "31.01.2024 00:00:00"]
        {
            check(text, Ok("2024-01-31"));
        }
        for text in ["2024-01-31 00:00:01", "2024-01-31T00:00:00+01:00", "31.01.2024 00:00:01"] {
            check(text, Err(Unfit::TimeOfDay));
        }
        check("2024-01-31 00", Err(Unfit::NotA));
        for (text, fits) in
            [("31/12/2024 00:00", true), ("31/12/2024T00:00:00.000", true), ("31/12/2024 00:00:01", false), ("31/12/2024 ", false)]
        {
            assert_eq!(rules("%d/%m/%Y", "").date(text).is_ok(), fits, "{text}");
        }
        assert_eq!(rules("", "").plain_date("2024-01-31 00:00:00"), None);
    }

    #[test]
    fn numbers_since_1970() {
        let check = |unit, text: &str, expected: Result<&str, Unfit>| {
            let options = ReaderOptions { timestamp_unit: Some(unit), ..ReaderOptions::default() };
            let expected = expected.map(|iso| time::timestamp(iso.as_bytes()).unwrap());
            assert_eq!(Rules::new(&options).timestamp(text, Digits::POINT), expected, "{text}");
        };
        use TimestampUnit::{Ms, Ns, S, Us};
        check(Ms, "1704103200123", Ok("2024-01-01T10:00:00.123Z"));
        check(S, "1704103200", Ok("2024-01-01T10:00:00Z"));
        check(S, "1704103200.123456", Ok("2024-01-01T10:00:00.123456Z"));
        check(S, "1704103200.1234567", Err(Unfit::Finer));
        check(Us, "-1", Ok("1969-12-31T23:59:59.999999Z"));
        check(Ns, "1704103200123456000", Ok("2024-01-01T10:00:00.123456Z"));
        check(Ns, "1704103200123456789", Err(Unfit::Finer));
        check(S, "1704103200123", Err(Unfit::Range));
        check(Ms, "2024-01-01T10:00", Ok("2024-01-01T10:00:00Z"));
        check(Ms, "x", Err(Unfit::NotA));
    }

    #[test]
    fn timestamps_by_pattern() {
        let check = |pattern: &str, text: &str, expected: Result<&str, Unfit>| {
            let expected = expected.map(|iso| time::timestamp(iso.as_bytes()).unwrap());
            assert_eq!(rules("", pattern).timestamp(text, Digits::POINT), expected, "{pattern} {text}");
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
        assert_eq!(rules("%d.%m.%Y", "").timestamp("02.01.1970", Digits::POINT), Ok(time::DAY));
        check("%d/%m/%Y %H:%M", "1/2/24 10:00", Err(Unfit::ShortYear));
    }

    #[test]
    fn booleans() {
        let options =
            ReaderOptions { true_values: vec!["yes".into()], false_values: vec!["no".into(), "2".into()], ..ReaderOptions::default() };
        let rules = Rules::new(&options);
        for (text, expected) in [
            ("TRUE", Ok(true)),
            ("f", Ok(false)),
            ("0", Ok(false)),
            ("yes", Ok(true)),
            ("2", Ok(false)),
            ("Yes", Err(Unfit::NotA)),
            ("", Err(Unfit::NotA)),
        ] {
            assert_eq!(rules.boolean(text), expected, "{text}");
        }
        assert_eq!(
            [boolean_word("True"), boolean_word("FALSE"), boolean_word("t"), boolean_word("1")],
            [Some(true), Some(false), None, None]
        );
        assert_eq!(trimmed(" \t5 "), "5");
    }
}
