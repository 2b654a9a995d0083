//! Single values on their way into a database and out of it, and rows of them as Arrow batches.
#![expect(clippy::wildcard_enum_match_arm, reason = "ingest gives arrays of few of Arrow's types")]

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, RecordBatch,
        StringViewArray, StringViewBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Date32Type, Decimal128Type, Field, Float64Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use qetl_core::Type;
use qetl_ingest::arrow_type;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// The digits, and how many of them stand behind the point.
    Decimal(i128, u8),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970.
    Timestamp(i64),
    Text(Cow<'a, str>),
}

impl Cell<'_> {
    /// NULL for nothing.
    pub(crate) fn option<'a>(cell: Option<impl Into<Cell<'a>>>) -> Cell<'a> {
        cell.map_or(Cell::Null, Into::into)
    }

    /// The type that holds the value; `None` for NULL.
    pub(crate) fn ty(&self) -> Option<Type> {
        match self {
            Cell::Null => None,
            Cell::Bool(_) => Some(Type::Bool),
            Cell::Int(_) => Some(Type::Int),
            Cell::Float(_) => Some(Type::Float),
            Cell::Decimal(_, scale) => Some(Type::Decimal { precision: 38, scale: *scale }),
            Cell::Date(_) => Some(Type::Date),
            Cell::Timestamp(_) => Some(Type::Timestamp),
            Cell::Text(_) => Some(Type::Text),
        }
    }
}

impl From<i64> for Cell<'_> {
    fn from(value: i64) -> Self {
        Cell::Int(value)
    }
}

impl From<f64> for Cell<'_> {
    fn from(value: f64) -> Self {
        Cell::Float(value)
    }
}

impl From<bool> for Cell<'_> {
    fn from(value: bool) -> Self {
        Cell::Bool(value)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(value: &'a str) -> Self {
        Cell::Text(value.into())
    }
}

impl From<String> for Cell<'_> {
    fn from(value: String) -> Self {
        Cell::Text(value.into())
    }
}

/// A date as ISO 8601 text.
pub(crate) fn date_text(days: i32) -> String {
    NaiveDate::from_epoch_days(days).unwrap_or_default().format("%Y-%m-%d").to_string()
}

/// An instant as qetl writes it everywhere.
pub(crate) fn timestamp_text(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A decimal with all the digits of its scale.
pub(crate) fn decimal_text(value: i128, scale: u8) -> String {
    if scale == 0 {
        return value.to_string();
    }
    let (sign, width) = (if value < 0 { "-" } else { "" }, usize::from(scale) + 1);
    let digits = format!("{:0>width$}", value.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    format!("{sign}{whole}.{fraction}")
}

/// The digits and the scale of a decimal's text.
pub(crate) fn parse_decimal(text: &str) -> Option<Cell<'static>> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) {
        return None;
    }
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some(Cell::Decimal(sign * value, u8::try_from(fraction.len()).ok()?))
}

/// The value as one of the type, when that loses nothing.
pub(crate) fn coerce(cell: Cell<'_>, ty: Type) -> Option<Cell<'_>> {
    if cell == Cell::Null || cell.ty() == Some(ty) {
        return Some(cell);
    }
    Some(match (ty, cell) {
        (Type::Bool, Cell::Int(value @ (0 | 1))) => Cell::Bool(value == 1),
        (Type::Int, Cell::Bool(value)) => Cell::Int(i64::from(value)),
        (Type::Int, Cell::Decimal(value, scale)) => Cell::Int(i64::try_from(rescaled(value, scale, 0)?).ok()?),
        (Type::Int, Cell::Float(value)) if value.fract() == 0.0 && value.abs() < 9e15 => Cell::Int(value as i64),
        (Type::Float, Cell::Int(value)) => Cell::Float(value as f64),
        (Type::Float, Cell::Decimal(value, scale)) => Cell::Float(decimal_text(value, scale).parse().ok()?),
        (Type::Decimal { scale, .. }, Cell::Int(value)) => Cell::Decimal(rescaled(value.into(), 0, scale)?, scale),
        (Type::Decimal { scale, .. }, Cell::Decimal(value, old)) => Cell::Decimal(rescaled(value, old, scale)?, scale),
        (Type::Decimal { .. }, Cell::Text(text)) => return coerce(parse_decimal(&text)?, ty),
        (Type::Date, Cell::Text(text)) => Cell::Date(NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?.to_epoch_days()),
        (Type::Timestamp, Cell::Text(text)) => {
            let parsed = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f");
            Cell::Timestamp(parsed.ok()?.and_utc().timestamp_micros())
        }
        (Type::Date, Cell::Timestamp(micros)) if micros.rem_euclid(86_400_000_000) == 0 => {
            Cell::Date(i32::try_from(micros.div_euclid(86_400_000_000)).ok()?)
        }
        (Type::Timestamp, Cell::Date(days)) => Cell::Timestamp(i64::from(days) * 86_400_000_000),
        (Type::Text, Cell::Int(value)) => Cell::from(value.to_string()),
        (Type::Text, Cell::Float(value)) => Cell::from(format!("{value:?}")),
        (Type::Text, Cell::Decimal(value, scale)) => Cell::from(decimal_text(value, scale)),
        (Type::Text, Cell::Bool(value)) => Cell::from(value.to_string()),
        (Type::Text, Cell::Date(days)) => Cell::from(date_text(days)),
        (Type::Text, Cell::Timestamp(micros)) => Cell::from(timestamp_text(micros)),
        _ => return None,
    })
}

/// The type that holds values of both without loss; text, if no other does.
pub(crate) fn joined(a: Option<Type>, b: Option<Type>) -> Option<Type> {
    let (Some(left), Some(right)) = (a, b) else { return a.or(b) };
    let digits = |ty: Type| match ty {
        Type::Int => Some((19, 0)),
        Type::Decimal { precision, scale } => Some((precision, scale)),
        Type::Text | Type::Float | Type::Bool | Type::Date | Type::Timestamp => None,
    };
    Some(match (left, right) {
        _ if left == right => left,
        (Type::Float, other) | (other, Type::Float) if other.is_numeric() => Type::Float,
        _ => match (digits(left), digits(right)) {
            (Some((p1, s1)), Some((p2, s2))) => {
                let scale = s1.max(s2);
                Type::Decimal { precision: ((p1 - s1).max(p2 - s2) + scale).min(38), scale }
            }
            _ => Type::Text,
        },
    })
}

fn rescaled(value: i128, old: u8, new: u8) -> Option<i128> {
    let power = |digits: u8| 10_i128.checked_pow(u32::from(digits));
    if new >= old {
        return value.checked_mul(power(new - old)?);
    }
    let factor = power(old - new)?;
    (value % factor == 0).then_some(value / factor)
}

/// The columns of a batch, to be taken value by value.
pub(crate) struct Cells<'a>(Vec<Values<'a>>);

enum Values<'a> {
    Bool(&'a arrow::array::BooleanArray),
    Int(&'a arrow::array::Int64Array),
    Float(&'a arrow::array::Float64Array),
    Decimal(&'a arrow::array::Decimal128Array, u8),
    Date(&'a arrow::array::Date32Array),
    Timestamp(&'a arrow::array::TimestampMicrosecondArray),
    Text(&'a StringViewArray),
}

impl<'a> Cells<'a> {
    /// The batch's columns are of the types that ingest gives.
    pub(crate) fn of(batch: &'a RecordBatch) -> Self {
        let values = |array: &'a ArrayRef| match array.data_type() {
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Int64 => Values::Int(array.as_primitive::<Int64Type>()),
            DataType::Float64 => Values::Float(array.as_primitive::<Float64Type>()),
            DataType::Decimal128(_, scale) => Values::Decimal(array.as_primitive::<Decimal128Type>(), u8::try_from(*scale).unwrap_or(0)),
            DataType::Date32 => Values::Date(array.as_primitive::<Date32Type>()),
            DataType::Timestamp(..) => Values::Timestamp(array.as_primitive::<TimestampMicrosecondType>()),
            DataType::Utf8View => Values::Text(array.as_string_view()),
            other => unreachable!("ingest gives no {other}"),
        };
        Self(batch.columns().iter().map(values).collect())
    }

    pub(crate) fn width(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn cell(&self, row: usize, column: usize) -> Cell<'a> {
        macro_rules! cell {
            ($array:expr, $make:expr) => {
                if $array.is_null(row) { Cell::Null } else { $make($array.value(row)) }
            };
        }
        match &self.0[column] {
            Values::Bool(array) => cell!(array, Cell::Bool),
            Values::Int(array) => cell!(array, Cell::Int),
            Values::Float(array) => cell!(array, Cell::Float),
            Values::Decimal(array, scale) => cell!(array, |value| Cell::Decimal(value, *scale)),
            Values::Date(array) => cell!(array, Cell::Date),
            Values::Timestamp(array) => cell!(array, Cell::Timestamp),
            Values::Text(array) => cell!(array, |text: &'a str| Cell::Text(text.into())),
        }
    }
}

/// Rows of named columns in the making.
pub(crate) struct Builder {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
}

enum Column {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringViewBuilder),
}

impl Builder {
    pub(crate) fn new(columns: &[qetl_core::Column]) -> Self {
        let fields = columns.iter().map(|column| Field::new(&column.name, arrow_type(column.ty), true));
        let column = |column: &qetl_core::Column| match column.ty {
            Type::Bool => Column::Bool(BooleanBuilder::new()),
            Type::Int => Column::Int(Int64Builder::new()),
            Type::Float => Column::Float(Float64Builder::new()),
            Type::Decimal { .. } => Column::Decimal(Decimal128Builder::new().with_data_type(arrow_type(column.ty))),
            Type::Date => Column::Date(Date32Builder::new()),
            Type::Timestamp => Column::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(arrow_type(column.ty))),
            Type::Text => Column::Text(StringViewBuilder::new()),
        };
        Self { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns: columns.iter().map(column).collect(), rows: 0 }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a row, each of whose values is of its column's type already.
    pub(crate) fn push(&mut self, row: Vec<Cell<'_>>) {
        for (column, cell) in self.columns.iter_mut().zip(row) {
            match (column, cell) {
                (Column::Bool(builder), Cell::Bool(value)) => builder.append_value(value),
                (Column::Int(builder), Cell::Int(value)) => builder.append_value(value),
                (Column::Float(builder), Cell::Float(value)) => builder.append_value(value),
                (Column::Decimal(builder), Cell::Decimal(value, _)) => builder.append_value(value),
                (Column::Date(builder), Cell::Date(value)) => builder.append_value(value),
                (Column::Timestamp(builder), Cell::Timestamp(value)) => builder.append_value(value),
                (Column::Text(builder), Cell::Text(value)) => builder.append_value(value),
                (Column::Bool(builder), _) => builder.append_null(),
                (Column::Int(builder), _) => builder.append_null(),
                (Column::Float(builder), _) => builder.append_null(),
                (Column::Decimal(builder), _) => builder.append_null(),
                (Column::Date(builder), _) => builder.append_null(),
                (Column::Timestamp(builder), _) => builder.append_null(),
                (Column::Text(builder), _) => builder.append_null(),
            }
        }
        self.rows += 1;
    }

    /// The rows so far; it is empty afterwards.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let finish = |column: &mut Column| -> ArrayRef {
            match column {
                Column::Bool(builder) => Arc::new(builder.finish()),
                Column::Int(builder) => Arc::new(builder.finish()),
                Column::Float(builder) => Arc::new(builder.finish()),
                Column::Decimal(builder) => Arc::new(builder.finish()),
                Column::Date(builder) => Arc::new(builder.finish()),
                Column::Timestamp(builder) => Arc::new(builder.finish()),
                Column::Text(builder) => Arc::new(builder.finish()),
            }
        };
        self.rows = 0;
        RecordBatch::try_new(self.schema.clone(), self.columns.iter_mut().map(finish).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_as_they_are_read() {
        let check = |text: &str, value: i128, scale: u8| {
            assert_eq!(decimal_text(value, scale), text);
            assert_eq!(parse_decimal(text), Some(Cell::Decimal(value, scale)));
        };
        check("0.00", 0, 2);
        check("-0.05", -5, 2);
        check("12.30", 1230, 2);
        check("7", 7, 0);
        assert_eq!(parse_decimal("1e5"), None);
        assert_eq!(parse_decimal("."), None);
    }

    #[test]
    fn values_change_their_type_only_without_loss() {
        let decimal = Type::Decimal { precision: 38, scale: 2 };
        assert_eq!(coerce(Cell::Int(3), decimal), Some(Cell::Decimal(300, 2)));
        assert_eq!(coerce(Cell::Decimal(1234, 3), decimal), None);
        assert_eq!(coerce(Cell::Decimal(1230, 3), decimal), Some(Cell::Decimal(123, 2)));
        assert_eq!(coerce(Cell::from("1969-12-31T23:59:59.999999Z"), Type::Timestamp), Some(Cell::Timestamp(-1)));
        assert_eq!(coerce(Cell::from("2024-02-30"), Type::Date), None);
    }
}
