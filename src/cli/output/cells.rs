//! Values as text: for people, for CSV (RFC 4180), for JSON.
#![expect(clippy::wildcard_enum_match_arm, reason = "Arrow has many types, and all but floats are written by Arrow's own formatter")]

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Float32Type, Float64Type},
    util::display::{ArrayFormatter, DurationFormat, FormatOptions},
};
use qetl_runtime::RunError;

/// The values of a batch, ready to be written.
pub(crate) struct Cells<'a> {
    columns: Vec<Column<'a>>,
}

struct Column<'a> {
    array: &'a ArrayRef,
    formatter: ArrayFormatter<'a>,
    kind: Kind,
}

/// What a column's values are in JSON, and in CSV's quoting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Float,
    /// Digits, or a boolean: written as they are.
    Bare,
    /// Dates, times, bytes.
    Other,
}

fn options() -> FormatOptions<'static> {
    FormatOptions::new()
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"))
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.6f"))
        .with_duration_format(DurationFormat::ISO8601)
}

impl<'a> Cells<'a> {
    pub(crate) fn new(batch: &'a RecordBatch) -> Result<Self, RunError> {
        let options: &'static FormatOptions<'static> = {
            static OPTIONS: std::sync::OnceLock<FormatOptions<'static>> = std::sync::OnceLock::new();
            OPTIONS.get_or_init(options)
        };
        let column = |array: &'a ArrayRef| {
            let formatter = ArrayFormatter::try_new(array.as_ref(), options).map_err(RunError::failed)?;
            Ok(Column { array, formatter, kind: kind(array.data_type()) })
        };
        Ok(Self { columns: batch.columns().iter().map(column).collect::<Result<_, RunError>>()? })
    }

    fn text(&self, column: usize, row: usize) -> Option<String> {
        let Column { array, formatter, kind } = &self.columns[column];
        if array.is_null(row) || array.data_type() == &DataType::Null {
            return None;
        }
        let float = |value: f64| {
            if value.is_infinite() { if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned() } else { format!("{value:?}") }
        };
        match kind {
            Kind::Float => match array.data_type() {
                DataType::Float64 => Some(float(array.as_primitive::<Float64Type>().value(row))),
                DataType::Float32 => Some(float(array.as_primitive::<Float32Type>().value(row).into())),
                _ => Some(formatter.value(row).to_string()),
            },
            Kind::Text | Kind::Bare | Kind::Other => Some(formatter.value(row).to_string()),
        }
    }

    /// For a table: NULL is said, and lines stay whole.
    pub(crate) fn shown(&self, column: usize, row: usize) -> String {
        self.text(column, row).map_or_else(|| "NULL".to_owned(), |text| text.replace('\r', "\\r").replace('\n', "\\n").replace('\t', "\\t"))
    }

    /// NULL is an empty unquoted field, empty text a quoted one.
    pub(crate) fn csv(&self, column: usize, row: usize, line: &mut String) {
        if let Some(text) = self.text(column, row) {
            line.push_str(&csv_text(&text));
        }
    }

    pub(crate) fn json(&self, column: usize, row: usize, line: &mut String) {
        let Some(text) = self.text(column, row) else { return line.push_str("null") };
        let is_number = match self.columns[column].kind {
            Kind::Bare => true,
            Kind::Float => text.chars().all(|c| matches!(c, '0'..='9' | '.' | '-' | '+' | 'e')),
            Kind::Text | Kind::Other => false,
        };
        if is_number { line.push_str(&text) } else { line.push_str(&serde_json::Value::from(text).to_string()) }
    }
}

fn kind(ty: &DataType) -> Kind {
    if ty.is_floating() {
        Kind::Float
    } else if ty.is_integer()
        || matches!(
            ty,
            DataType::Boolean | DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..)
        )
    {
        Kind::Bare
    } else if matches!(ty, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        Kind::Text
    } else {
        Kind::Other
    }
}

/// A text as a CSV field.
pub(crate) fn csv_text(text: &str) -> String {
    let quoted = text.is_empty() || text.contains([',', '"', '\n', '\r']) || text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn check(array: ArrayRef, csv: &[&str], json: &[&str]) {
        let batch = RecordBatch::try_from_iter([("x", array)]).unwrap();
        let cells = Cells::new(&batch).unwrap();
        for row in 0..batch.num_rows() {
            let (mut as_csv, mut as_json) = (String::new(), String::new());
            cells.csv(0, row, &mut as_csv);
            cells.json(0, row, &mut as_json);
            assert_eq!((as_csv.as_str(), as_json.as_str()), (csv[row], json[row]));
        }
    }

    #[test]
    fn values_are_written_as_the_contract_says() {
        check(
            Arc::new(StringArray::from(vec![None, Some(""), Some("a,\"b")])),
            &["", "\"\"", "\"a,\"\"b\""],
            &["null", "\"\"", r#""a,\"b""#],
        );
        let floats = Float64Array::from(vec![1.0, 0.1, f64::NAN, f64::NEG_INFINITY, 1e300]);
        check(Arc::new(floats), &["1.0", "0.1", "NaN", "-Infinity", "1e300"], &["1.0", "0.1", "\"NaN\"", "\"-Infinity\"", "1e300"]);
        let decimals = Decimal128Array::from(vec![-5, 12345]).with_precision_and_scale(38, 2).unwrap();
        check(Arc::new(decimals), &["-0.05", "123.45"], &["-0.05", "123.45"]);
        let times = TimestampMicrosecondArray::from(vec![1_704_103_200_000_000]).with_timezone("UTC");
        check(Arc::new(times), &["2024-01-01T10:00:00.000000Z"], &["\"2024-01-01T10:00:00.000000Z\""]);
    }
}
