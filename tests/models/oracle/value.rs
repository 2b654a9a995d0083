//! Typed values, as tables hold them.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
};

/// A typed value. NULL equals NULL, NaN equals NaN, −0.0 is 0.0; all else is equal when it is the same.
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    /// Hundredths.
    Decimal(i128),
    Bool(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    Float(f64),
    /// A text that is no value of its column's type.
    Unreadable,
}

impl Value {
    /// Equal for equal values and ordered as they are: the variant, then its number or text.
    fn rank(&self) -> (u8, i128, &str) {
        match self {
            Value::Null => (0, 0, ""),
            Value::Int(value) => (1, i128::from(*value), ""),
            Value::Text(text) => (2, 0, text),
            Value::Decimal(value) => (3, *value, ""),
            Value::Bool(value) => (4, i128::from(*value), ""),
            Value::Date(days) => (5, i128::from(*days), ""),
            Value::Timestamp(micros) => (6, i128::from(*micros), ""),
            Value::Float(value) if value.is_nan() => (7, i128::MAX, ""),
            Value::Float(value) if *value < 0.0 => (7, -i128::from(value.abs().to_bits()), ""),
            Value::Float(value) => (7, i128::from(value.abs().to_bits()), ""),
            Value::Unreadable => (8, 0, ""),
        }
    }

    /// As `qetl query --format csv` prints it, before quoting: NULL and the empty text are both empty here.
    pub fn text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Int(value) => value.to_string(),
            Value::Text(text) => text.clone(),
            Value::Unreadable => "?!".to_owned(),
            Value::Decimal(value) => {
                let sign = if *value < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}", value.unsigned_abs() / 100, value.unsigned_abs() % 100)
            }
            Value::Bool(value) => value.to_string(),
            Value::Date(days) => date_text(i64::from(*days)),
            Value::Timestamp(micros) => {
                let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
                let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
                format!("{}T{:02}:{:02}:{:02}.{fraction:06}Z", date_text(day), second / 3600, second / 60 % 60, second % 60)
            }
            Value::Float(value) if value.is_nan() => "NaN".to_owned(),
            Value::Float(value) if value.is_infinite() => if *value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            Value::Float(value) if *value == 0.0 => "0".to_owned(),
            Value::Float(value) if (1e-7..1e21).contains(&value.abs()) => value.to_string(),
            Value::Float(value) => format!("{value:e}"),
        }
    }
}

/// ISO 8601, found by counting from 0001-01-01, the first day there is.
fn date_text(days: i64) -> String {
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut month, mut left) = (1, 1, days + 719_162);
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    for length in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
    }
}

/// A row's values in column order.
pub type Row = Vec<Value>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Int,
    Text,
    Decimal,
    Bool,
    Date,
    Timestamp,
    Float,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub ty: ColumnType,
}
