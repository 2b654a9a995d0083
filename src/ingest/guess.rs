//! Infers a column's type from all its values.

use qetl_core::Type;

use crate::{
    cells::{Cell, Sink},
    spec::ReadSpec,
    value::{Rules, boolean, number, number::Number, trimmed, unfit::Unfit},
};

const INT: u8 = 1;
const FLOAT: u8 = 2;
const BOOL: u8 = 4;
const DATE: u8 = 8;
const TIMESTAMP: u8 = 16;
const ALL: u8 = 31;

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
}

impl Default for Guess {
    fn default() -> Self {
        Self { possible: ALL, seen: false, decimals: 0, whole: 0, exact: true }
    }
}

impl Guess {
    /// The first of integer, float, boolean, date, timestamp that holds all values, else text.
    pub(crate) fn ty(&self) -> Type {
        let order = [(INT, Type::Int), (FLOAT, Type::Float), (BOOL, Type::Bool), (DATE, Type::Date), (TIMESTAMP, Type::Timestamp)];
        let first = order.into_iter().find(|(bit, _)| self.possible & bit != 0);
        first.filter(|_| self.seen).map_or(Type::Text, |(_, ty)| ty)
    }

    /// The most digits seen behind a point, if decimal(38, that) holds every value.
    pub(crate) fn decimals(&self) -> Option<u8> {
        let is_number = self.seen && self.possible & (INT | FLOAT) != 0;
        (is_number && self.exact && self.whole + self.decimals <= 38).then_some(self.decimals as u8)
    }

    pub(crate) fn see(&mut self, cell: Cell<'_>, rules: &Rules) {
        if matches!(cell, Cell::Null) {
            return;
        }
        self.seen = true;
        let fits = match cell {
            Cell::Null | Cell::Field(_) => ALL,
            Cell::Number(_) => INT | FLOAT | BOOL,
            Cell::Bool(_) => BOOL,
            Cell::String(_) => DATE | TIMESTAMP,
            Cell::Nested(_) => 0,
        };
        self.possible &= fits;
        if self.possible != 0 {
            self.see_text(trimmed(cell.text()), rules);
        }
    }

    fn see_text(&mut self, text: &str, rules: &Rules) {
        if self.possible & (INT | FLOAT) != 0 {
            self.possible &= self.numbers(text, rules) | !(INT | FLOAT);
        }
        if self.possible & BOOL != 0 && boolean(text).is_err() {
            self.possible &= !BOOL;
        }
        if self.possible & DATE != 0 && rules.date(text).is_err() {
            self.possible &= !DATE;
        }
        if self.possible & TIMESTAMP != 0 && rules.timestamp(text).is_err() {
            self.possible &= !TIMESTAMP;
        }
    }

    /// Which number types hold the text.
    fn numbers(&mut self, text: &str, rules: &Rules) -> u8 {
        if loses_characters(text.as_bytes()) {
            return 0;
        }
        match Number::parse(text.as_bytes(), rules.separator) {
            Ok(number) => {
                self.decimals = self.decimals.max(number.decimals);
                self.whole = self.whole.max(number.whole_digits());
                let int = if number.plain && number::integer(text.as_bytes()).is_ok() { INT } else { 0 };
                let past = number.is_past_exact_float() || (number.whole_digits() > 300 && number::float(text, rules.separator).is_err());
                int | if past { 0 } else { FLOAT }
            }
            // A plain integer of so many digits would lose some of them in a float.
            Err(Unfit::Digits) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => 0,
            Err(_) => {
                self.exact = false;
                if number::float(text, rules.separator).is_ok() { FLOAT } else { 0 }
            }
        }
    }
}

/// Texts that are more than a number, such as `007` (a code) or `+49151` (a telephone number): as a number they would
/// lose a character.
fn loses_characters(text: &[u8]) -> bool {
    match text {
        [b'+', ..] => true,
        [b'-', b'0', digit, ..] | [b'0', digit, ..] => digit.is_ascii_digit(),
        _ => false,
    }
}

/// Guesses for the columns of a spec whose type is open.
pub(crate) struct Guesses {
    pub(crate) columns: Vec<Option<Guess>>,
    rules: Rules,
}

impl Guesses {
    pub(crate) fn new(spec: &ReadSpec, rules: Rules) -> Self {
        let columns = spec.columns.iter().map(|column| column.ty.is_none().then(Guess::default)).collect();
        Self { columns, rules }
    }

    /// Only text is left, whatever follows.
    pub(crate) fn settled(&self) -> bool {
        self.columns.iter().flatten().all(|guess| guess.possible == 0)
    }

    /// The same guesses for files that are read by other rules.
    pub(crate) fn with_rules(&mut self, rules: Rules) {
        self.rules = rules;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use qetl_core::format::ReaderOptions;

    fn check(cells: &[Cell<'_>], ty: Type, decimals: Option<u8>) {
        let rules = Rules::new(&ReaderOptions::default());
        let mut guess = Guess::default();
        for cell in cells {
            guess.see(*cell, &rules);
        }
        assert_eq!((guess.ty(), guess.decimals()), (ty, decimals), "{cells:?}");
    }

    fn fields(texts: &[&str], ty: Type, decimals: Option<u8>) {
        let cells: Vec<Cell<'_>> = texts.iter().map(|text| if text.is_empty() { Cell::Null } else { Cell::Field(text) }).collect();
        check(&cells, ty, decimals);
    }

    #[test]
    fn csv_fields() {
        fields(&["1", "", "-20", " 3 "], Type::Int, Some(0));
        fields(&["0", "1"], Type::Int, Some(0));
        fields(&["1", "2.50", "0.5"], Type::Float, Some(2));
        fields(&["1e-3", "12"], Type::Float, Some(3));
        fields(&["1", "NaN"], Type::Float, None);
        fields(&["1", "inf", "x"], Type::Text, None);
        fields(&["true", "F", "1"], Type::Bool, None);
        fields(&["2024-01-31", "2024-02-29"], Type::Date, None);
        fields(&["2024-01-31", "2024-02-29 10:00"], Type::Timestamp, None);
        fields(&["2024-01-31", "2024-02-30"], Type::Text, None);
        fields(&["1", "2024-01-31"], Type::Text, None);
        fields(&["007", "8"], Type::Text, None);
        fields(&["00.5"], Type::Text, None);
        fields(&["-01"], Type::Text, None);
        fields(&["+4915112345678"], Type::Text, None);
        fields(&["0", "0.5", "-0.5"], Type::Float, Some(1));
        fields(&["9223372036854775807"], Type::Int, Some(0));
        fields(&["9223372036854775808"], Type::Text, None);
        fields(&["9007199254740993", "0.5"], Type::Text, None);
        fields(&["123456789012345678901234567890123456789012345678901234567890"], Type::Text, None);
        fields(&["1e400"], Type::Text, None);
        fields(&["1e300"], Type::Float, None);
        fields(&["0.1234567890123456789012345678901234567890123"], Type::Float, None);
        fields(&["", ""], Type::Text, None);
        fields(&[], Type::Text, None);
        fields(&[" "], Type::Text, None);
        check(&[Cell::Field("")], Type::Text, None);
    }

    #[test]
    fn json_values() {
        check(&[Cell::Number("1"), Cell::Number("2")], Type::Int, Some(0));
        check(&[Cell::Number("1"), Cell::Number("2.25")], Type::Float, Some(2));
        check(&[Cell::Number("1"), Cell::Bool("true")], Type::Bool, None);
        check(&[Cell::Number("2"), Cell::Bool("true")], Type::Text, None);
        check(&[Cell::String("1")], Type::Text, None);
        check(&[Cell::String("true")], Type::Text, None);
        check(&[Cell::String("2024-01-31"), Cell::Null], Type::Date, None);
        check(&[Cell::Nested("[1]")], Type::Text, None);
    }
}
