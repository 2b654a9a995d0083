//! How numbers are written: their decimal point, and what stands between groups of three digits.

use std::borrow::Cow;

use super::{
    number::{self, Number},
    unfit::Unfit,
};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits {
    /// The decimal point.
    pub(crate) separator: u8,
    pub(crate) thousands: Option<char>,
}

impl Digits {
    /// As JSON and qetl itself write them.
    pub(crate) const POINT: Digits = Digits { separator: b'.', thousands: None };

    #[inline]
    pub(crate) fn integer(self, text: &str) -> Result<i64, Unfit> {
        match self.thousands {
            None => number::integer(text.as_bytes()),
            Some(between) => number::integer(self.ungrouped(text, between)?.as_bytes()),
        }
    }

    #[inline]
    pub(crate) fn number(self, text: &str) -> Result<Number, Unfit> {
        match self.thousands {
            None => Number::parse(text.as_bytes(), self.separator),
            Some(between) => Number::parse(self.ungrouped(text, between)?.as_bytes(), self.separator),
        }
    }

    pub(crate) fn float(self, text: &str) -> Result<f64, Unfit> {
        match self.thousands {
            None => number::float(text, self.separator),
            Some(between) => number::float(&self.ungrouped(text, between)?, self.separator),
        }
    }

    /// Whether the text is more than a number, such as `007` (a code), `+49151` (a telephone number) or `1.` (an ordinal):
    /// as a number it would lose a character.
    pub(crate) fn loses_characters(self, text: &str) -> bool {
        let grouped = self.thousands.and_then(|between| self.ungrouped(text, between).ok());
        let text = grouped.as_deref().unwrap_or(text).as_bytes();
        let zero = match text {
            [b'+', ..] => true,
            [b'-', b'0', digit, ..] | [b'0', digit, ..] => digit.is_ascii_digit(),
            _ => false,
        };
        zero || text.last() == Some(&self.separator)
    }

    /// The number without what stands between its groups of three digits.
    fn ungrouped(self, text: &str, between: char) -> Result<Cow<'_, str>, Unfit> {
        if !text.contains(between) {
            return Ok(Cow::Borrowed(text));
        }
        let unsigned = text.trim_start_matches(['-', '+']);
        let end = unsigned.find(char::from(self.separator)).unwrap_or(unsigned.len());
        let (whole, rest) = unsigned.split_at(end);
        let is_digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
        let mut groups = whole.split(between);
        let first = groups.next().unwrap_or_default();
        let fits = (1..=3).contains(&first.len()) && is_digits(first);
        if !fits || rest.contains(between) || !groups.all(|group| group.len() == 3 && is_digits(group)) {
            return Err(Unfit::Groups);
        }
        Ok(Cow::Owned(text.replace(between, "")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_three() {
        let check = |separator: u8, thousands: char, text: &str, expected: Result<i128, Unfit>| {
            let digits = Digits { separator, thousands: Some(thousands) };
            assert_eq!(digits.number(text).and_then(|number| number.to_scale(18, 2)), expected, "{text}");
        };
        check(b'.', ',', "1,234.50", Ok(123_450));
        check(b'.', ',', "1234.50", Ok(123_450));
        check(b'.', ',', "-12,345,678", Ok(-1_234_567_800));
        check(b',', '.', "1.234,56", Ok(123_456));
        check(b',', '\'', "1'234,5", Ok(123_450));
        check(b'.', '\u{202f}', "12\u{202f}345.6", Ok(1_234_560));
        for text in ["1,23", "1234,567", "1,2345", ",123", "1,234.5,6", "1,,234", "x,234", "1,234,"] {
            check(b'.', ',', text, Err(Unfit::Groups));
        }
    }

    #[test]
    fn what_numbers_would_lose() {
        let digits = Digits { separator: b'.', thousands: Some(',') };
        for text in ["007", "+49151", "00.5", "-01", "1.", "0,123"] {
            assert!(digits.loses_characters(text), "{text}");
        }
        for text in ["0", "0.5", "-0.5", "10", "1,234", ".5", "x"] {
            assert!(!digits.loses_characters(text), "{text}");
        }
    }
}
