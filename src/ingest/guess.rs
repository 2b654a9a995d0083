//! Infers a column's type from all its values.

use qetl_core::Type;

use crate::{
    cells::{Cell, Sink},
    spec::ReadSpec,
    value::{Rules, boolean_word, digits::Digits, trimmed, unfit::Unfit},
};

// By the flow's own patterns, which go before numbers.
const OWN_DATE: u8 = 1;
const OWN_TIMESTAMP: u8 = 2;
const INT: u8 = 4;
const DECIMAL: u8 = 8;
const FLOAT: u8 = 16;
const BOOL: u8 = 32;
const DATE: u8 = 64;
const TIMESTAMP: u8 = 128;
const NUMBERS: u8 = INT | DECIMAL | FLOAT;

/// The types that hold all values of a column seen so far.
#[derive(Debug, Clone)]
pub(crate) struct Guess {
    possible: u8,
    /// Some value was not NULL.
    pub(crate) seen: bool,
    decimals: u32,
    whole: u32,
    /// All values are numbers that a decimal can hold.
    exact: bool,
    /// Some number has digits: `NaN` alone may be a name.
    has_digits: bool,
    /// Some number has an exponent without a point, as codes such as `12e4` have.
    has_code: bool,
    /// Some number cannot be taken for a code: it has a point, or JSON says that it is a number.
    has_point: bool,
    /// All values are digits and what may stand between them.
    looks_numeric: bool,
    /// The first of them that is no number as the flow reads it.
    foreign: Option<String>,
}

impl Guess {
    /// `key`: texts that differ are different keys, even where they are one number.
    fn new(key: bool) -> Self {
        let possible = if key { !(DECIMAL | FLOAT | BOOL) } else { u8::MAX };
        Self {
            possible,
            seen: false,
            decimals: 0,
            whole: 0,
            exact: true,
            has_digits: false,
            has_code: false,
            has_point: false,
            looks_numeric: true,
            foreign: None,
        }
    }

    /// A value of a column of text that would be a number if its separators were others.
    pub(crate) fn foreign_number(&self) -> Option<&str> {
        self.foreign.as_deref().filter(|_| self.looks_numeric && self.ty() == Type::Text)
    }

    /// The first type that holds all values, else text.
    pub(crate) fn ty(&self) -> Type {
        let scale = self.scale();
        let decimal = Type::Decimal { precision: 38, scale: scale.unwrap_or(0) };
        let is_number = self.has_digits && (!self.has_code || self.has_point);
        let order = [
            (OWN_DATE, Type::Date, true),
            (OWN_TIMESTAMP, Type::Timestamp, true),
            (INT, Type::Int, true),
            (DECIMAL, decimal, scale.is_some()),
            (FLOAT, Type::Float, is_number && self.possible & DECIMAL == 0),
            (BOOL, Type::Bool, true),
            (DATE, Type::Date, true),
            (TIMESTAMP, Type::Timestamp, true),
        ];
        let first = order.into_iter().find(|(bit, _, fits)| *fits && self.possible & bit != 0);
        first.filter(|_| self.seen).map_or(Type::Text, |(_, ty, _)| ty)
    }

    /// The same, with as few digits as the values have.
    pub(crate) fn least(&self) -> Type {
        let ty = self.ty();
        if let Type::Decimal { scale, .. } = ty {
            Type::Decimal { precision: (self.whole + self.decimals).clamp(1, 38) as u8, scale }
        } else {
            ty
        }
    }

    /// The most digits seen behind a point, if decimal(38, that) holds every value.
    pub(crate) fn decimals(&self) -> Option<u8> {
        matches!(self.ty(), Type::Int | Type::Decimal { .. } | Type::Float).then(|| self.scale())?
    }

    fn scale(&self) -> Option<u8> {
        (self.exact && self.whole + self.decimals <= 38).then_some(self.decimals as u8)
    }

    pub(crate) fn see(&mut self, cell: Cell<'_>, rules: &Rules) {
        let is_nothing = match cell {
            Cell::Null => true,
            // Quoted, it is a value only of text, and says nothing of what the column is.
            Cell::Quoted(text) => text.is_empty() || rules.is_null_word(trimmed(text)),
            Cell::String(text) => text.is_empty(),
            Cell::Field(_) | Cell::Number(_) | Cell::Bool(_) | Cell::Nested(_) => false,
        };
        if is_nothing {
            return;
        }
        self.seen = true;
        let fits = match cell {
            Cell::Null | Cell::Field(_) | Cell::Quoted(_) => u8::MAX,
            Cell::Number(_) => NUMBERS | OWN_DATE | OWN_TIMESTAMP,
            Cell::Bool(_) => BOOL,
            Cell::String(_) => DATE | TIMESTAMP | OWN_DATE | OWN_TIMESTAMP,
            Cell::Nested(_) => 0,
        };
        self.possible &= fits;
        if self.possible != 0 {
            self.see_text(trimmed(cell.text()), rules, matches!(cell, Cell::Number(_)));
        }
        if self.looks_numeric && self.possible & NUMBERS == 0 {
            self.look_at(trimmed(cell.text()), rules.digits);
        }
    }

    #[cold]
    fn look_at(&mut self, text: &str, digits: Digits) {
        let is_between = |c: char| matches!(c, '.' | ',' | '\'' | ' ' | '\u{a0}' | '\u{202f}');
        let unsigned = text.trim_start_matches('-');
        self.looks_numeric = unsigned.starts_with(|c: char| c.is_ascii_digit())
            && unsigned.ends_with(|c: char| c.is_ascii_digit())
            && unsigned.chars().all(|c| c.is_ascii_digit() || is_between(c));
        if self.foreign.is_none() && self.looks_numeric && unsigned.contains(is_between) && digits.number(text).is_err() {
            self.foreign = Some(text.to_owned());
        }
    }

    fn see_text(&mut self, text: &str, rules: &Rules, is_json: bool) {
        if self.possible & NUMBERS != 0 {
            self.possible &= self.numbers(text, if is_json { Digits::POINT } else { rules.digits }, is_json) | !NUMBERS;
        }
        if self.possible & BOOL != 0 && boolean_word(text).is_none() {
            self.possible &= !BOOL;
        }
        if self.possible & OWN_DATE != 0 && rules.date_by_pattern(text).is_err() {
            self.possible &= !OWN_DATE;
        }
        if self.possible & OWN_TIMESTAMP != 0 && rules.timestamp_by_pattern(text).is_err() {
            self.possible &= !OWN_TIMESTAMP;
        }
        if self.possible & DATE != 0 && rules.plain_date(text).is_none() {
            self.possible &= !DATE;
        }
        if self.possible & TIMESTAMP != 0 && rules.written_timestamp(text).is_err() {
            self.possible &= !TIMESTAMP;
        }
    }

    /// Which number types hold the text, and nothing of it is lost.
    fn numbers(&mut self, text: &str, digits: Digits, is_json: bool) -> u8 {
        if digits.loses_characters(text) {
            return 0;
        }
        let Ok(number) = digits.number(text) else {
            self.exact = false;
            // A word; digits beyond those that can be told here are more than a float holds.
            let is_word = !text.bytes().any(|byte| byte.is_ascii_digit()) && digits.float(text).is_ok();
            return if is_word { FLOAT } else { 0 };
        };
        self.has_digits = true;
        self.has_point |= number.point || is_json;
        self.has_code |= number.power && !number.point && !is_json;
        self.decimals = self.decimals.max(number.decimals);
        self.whole = self.whole.max(number.whole_digits());
        let int = if number.plain && digits.integer(text).is_ok() { INT } else { 0 };
        let decimal = if number.power { 0 } else { DECIMAL };
        let float = self.possible & FLOAT != 0 && digits.float(text).is_ok_and(|float| number.is_float(float));
        int | decimal | if float { FLOAT } else { 0 }
    }
}

/// Guesses for the columns of a spec whose type is open.
pub(crate) struct Guesses {
    pub(crate) columns: Vec<Option<Guess>>,
    rules: Rules,
}

impl Guesses {
    pub(crate) fn new(spec: &ReadSpec, rules: Rules) -> Self {
        let columns = spec.columns.iter().map(|column| column.ty.is_none().then(|| Guess::new(column.key))).collect();
        Self { columns, rules }
    }

    /// Only text is left, whatever follows.
    pub(crate) fn settled(&self) -> bool {
        self.columns.iter().flatten().all(|guess| guess.possible == 0)
    }
}

impl Sink for Guesses {
    #[inline]
    fn put(&mut self, column: usize, cell: Cell<'_>) -> Result<(), Unfit> {
        if let Some(guess) = &mut self.columns[column] {
            guess.see(cell, &self.rules);
        }
        Ok(())
    }

    fn put_none(&mut self, _column: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use qetl_core::format::ReaderOptions;

    fn guess(key: bool, rules: &Rules, cells: &[Cell<'_>]) -> (Type, Option<u8>) {
        let mut guess = Guess::new(key);
        for cell in cells {
            guess.see(*cell, rules);
        }
        (guess.ty(), guess.decimals())
    }

    fn check(cells: &[Cell<'_>], ty: Type, decimals: Option<u8>) {
        assert_eq!(guess(false, &Rules::new(&ReaderOptions::default()), cells), (ty, decimals), "{cells:?}");
    }

    fn cells<'a>(texts: &[&'a str]) -> Vec<Cell<'a>> {
        texts.iter().map(|text| if text.is_empty() { Cell::Null } else { Cell::Field(text) }).collect()
    }

    fn fields(texts: &[&str], ty: Type, decimals: Option<u8>) {
        check(&cells(texts), ty, decimals);
    }

    fn decimal(scale: u8) -> Type {
        Type::Decimal { precision: 38, scale }
    }

    #[test]
    fn csv_fields() {
        fields(&["1", "", "-20", " 3 "], Type::Int, Some(0));
        fields(&["0", "1"], Type::Int, Some(0));
        fields(&["1", "2.50", "0.5"], decimal(2), Some(2));
        fields(&["0", "0.5", "-0.5", ".5"], decimal(1), Some(1));
        fields(&["3.5215257120407011", "649686000000001631.440"], decimal(16), Some(16));
        fields(&["9223372036854775807"], Type::Int, Some(0));
        fields(&["9223372036854775808"], decimal(0), Some(0));
        fields(&["9007199254740993", "0.5"], decimal(1), Some(1));
        fields(&["12345678901234567890123456789012345678"], decimal(0), Some(0));
        fields(&["12345678901234567890123456789012345678", "0.5"], Type::Text, None);
        fields(&["123456789012345678901234567890123456789012345678901234567890"], Type::Text, None);
        fields(&["0.1234567890123456789012345678901234567890123"], Type::Text, None);
        fields(&["007", "8"], Type::Text, None);
        fields(&["00.5"], Type::Text, None);
        fields(&["-01"], Type::Text, None);
        fields(&["+4915112345678"], Type::Text, None);
        fields(&["1.", "2."], Type::Text, None);
        fields(&["true", "False"], Type::Bool, None);
        fields(&["F", "F"], Type::Text, None);
        fields(&["true", "1"], Type::Text, None);
        fields(&["2024-01-31", "2024-02-29"], Type::Date, None);
        fields(&["2024-01-31", "2024-02-29 10:00"], Type::Timestamp, None);
        fields(&["2024-01-31 00:00:00"], Type::Timestamp, None);
        fields(&["2024-01-31", "2024-02-30"], Type::Text, None);
        fields(&["1", "2024-01-31"], Type::Text, None);
        fields(&["", ""], Type::Text, None);
        fields(&[], Type::Text, None);
        fields(&[" "], Type::Text, None);
    }

    #[test]
    fn floats_where_something_asks_for_them() {
        fields(&["1.5e-3", "12"], Type::Float, Some(4));
        fields(&["1", "NaN", "-Infinity"], Type::Float, None);
        fields(&["1", "inf", "x"], Type::Text, None);
        fields(&["NaN", "Inf"], Type::Text, None);
        fields(&["1.0e300"], Type::Float, None);
        fields(&["1e400"], Type::Text, None);
        fields(&["12e4"], Type::Text, None);
        fields(&["12e4", "7"], Type::Text, None);
        fields(&["12e4", "1.5"], Type::Float, Some(1));
        // What the float nearest to it is not written as.
        fields(&["9007199254740993", "1.5e3"], Type::Text, None);
        fields(&["3.5215257120407011", "NaN"], Type::Text, None);
        check(&[Cell::Number("12e4"), Cell::Number("7")], Type::Float, Some(0));
        check(&[Cell::Number("3.5215257120407011"), Cell::Number("1e-7")], Type::Text, None);
    }

    #[test]
    fn keys_are_what_they_are_written_as() {
        let rules = Rules::new(&ReaderOptions::default());
        for (texts, ty) in [
            (["1", "20"], Type::Int),
            (["1.10", "1.1"], Type::Text),
            (["1.5e3", "1"], Type::Text),
            (["true", "TRUE"], Type::Text),
            (["2024-01-31", ""], Type::Date),
        ] {
            assert_eq!(guess(true, &rules, &cells(&texts)).0, ty, "{texts:?}");
        }
    }

    #[test]
    fn what_is_quoted_and_means_null_says_nothing() {
        let rules = Rules::new(&ReaderOptions { null_values: vec!["NULL".into()], ..ReaderOptions::default() });
        let quoted = [Cell::Quoted("10.5"), Cell::Quoted(""), Cell::Quoted("NULL")];
        assert_eq!(guess(false, &rules, &quoted), (decimal(1), Some(1)));
        let mut open = Guess::new(false);
        quoted[1..].iter().for_each(|cell| open.see(*cell, &rules));
        assert!(!open.seen);
        check(&[Cell::Number("1"), Cell::String("")], Type::Int, Some(0));
        check(&[Cell::String("2024-01-31"), Cell::String("")], Type::Date, None);
    }

    #[test]
    fn own_patterns_go_before_numbers() {
        let rules = |date: &str, timestamp: &str| {
            let pattern = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Rules::new(&ReaderOptions { date_format: pattern(date), timestamp_format: pattern(timestamp), ..ReaderOptions::default() })
        };
        let check = |rules: &Rules, cells: &[Cell<'_>], ty| assert_eq!(guess(false, rules, cells).0, ty, "{cells:?}");
        check(&rules("%Y%m%d", ""), &cells(&["20240131", ""]), Type::Date);
        check(&rules("%Y%m%d", ""), &[Cell::Number("20240131")], Type::Date);
        check(&rules("%Y%m%d", ""), &cells(&["20240131", "20241301"]), Type::Int);
        check(&rules("%Y%m%d", ""), &cells(&["20240131", "5"]), Type::Int);
        check(&rules("", "%Y%m%d%H%M%S"), &cells(&["20240131102030"]), Type::Timestamp);
        check(&rules("%d/%m/%Y", ""), &cells(&["1/2/24", "15/06/99"]), Type::Text);
    }

    #[test]
    fn numbers_of_another_flow_are_told() {
        let rules = Rules::new(&ReaderOptions::default());
        let check = |texts: &[&str], expected: Option<&str>| {
            let mut guess = Guess::new(false);
            cells(texts).iter().for_each(|cell| guess.see(*cell, &rules));
            assert_eq!(guess.foreign_number(), expected, "{texts:?}");
        };
        check(&["7", "2499,50", "1.234,56"], Some("2499,50"));
        check(&["1'234.50"], Some("1'234.50"));
        check(&["2499,50", "x"], None);
        check(&["007", "1.2.3"], Some("1.2.3"));
        check(&["2024-01-31"], None);
        check(&["1.5"], None);
    }

    #[test]
    fn groups_of_three() {
        let rules = Rules::new(&ReaderOptions { thousands_separator: Some(','), ..ReaderOptions::default() });
        assert_eq!(guess(false, &rules, &cells(&["1,234.50", "99.00"])), (decimal(2), Some(2)));
        assert_eq!(guess(false, &rules, &cells(&["1,234", "12"])).0, Type::Int);
        assert_eq!(guess(false, &rules, &cells(&["1,23"])).0, Type::Text);
    }

    #[test]
    fn json_values() {
        check(&[Cell::Number("1"), Cell::Number("2")], Type::Int, Some(0));
        check(&[Cell::Number("1"), Cell::Number("2.25")], decimal(2), Some(2));
        check(&[Cell::Number("1e2"), Cell::Number("NaN")], Type::Float, None);
        check(&[Cell::Bool("false"), Cell::Bool("true")], Type::Bool, None);
        check(&[Cell::Number("1"), Cell::Bool("true")], Type::Text, None);
        check(&[Cell::String("1")], Type::Text, None);
        check(&[Cell::String("true")], Type::Text, None);
        check(&[Cell::String("2024-01-31"), Cell::Null], Type::Date, None);
        check(&[Cell::Nested("[1]")], Type::Text, None);
    }
}
