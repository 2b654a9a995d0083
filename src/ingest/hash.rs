//! Hashes rows: equal rows have equal hashes, whatever the order of their columns, and different rows different ones.
//!
//! # The format
//!
//! Hashes are stored, so this definition never changes. A row's hash is the xxh3-128 (seed 0) of its non-NULL columns,
//! one after the other in the byte order of their names, each as
//!
//! | bytes | what (numbers are little-endian) |
//! | --- | --- |
//! | 8 | xxh3-64 (seed 0) of the column's name |
//! | 1 | the class of its value |
//! | 1 | the value's scale, 0 but for decimals |
//! | 2 | 0 |
//! | 4 | the length of the value, n |
//! | n | the value |
//!
//! | class | values | encoded as |
//! | --- | --- | --- |
//! | 1 | integers and decimals | the unscaled integer at the least scale that holds it (5, 5.0 and 5.00 are 5 at scale 0), two's complement in 8 bytes, or in 16 if it does not fit |
//! | 2 | floats | IEEE 754 binary64; every NaN is 7ff8000000000000, −0.0 is 0.0 |
//! | 3 | booleans | 1 byte, 0 or 1 |
//! | 4 | text | UTF-8 |
//! | 5 | dates | days since 1970-01-01 in 4 bytes |
//! | 6 | timestamps | microseconds since 1970-01-01T00:00:00Z in 8 bytes |
//!
//! NULL leaves its column out, so a column that is added and is NULL in a row keeps the row's hash. As names are tagged
//! and values have their length, ('a', 'bc') and ('ab', 'c') differ.

use std::collections::HashMap;

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, LargeStringArray, StringArray,
        StringViewArray, TimestampMicrosecondArray,
    },
    error::ArrowError,
    record_batch::RecordBatch,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::value::number::canonical;

const NUMBER: u64 = 1;
const FLOAT: u64 = 2;
const BOOL: u64 = 3;
const TEXT: u64 = 4;
const DATE: u64 = 5;
const TIMESTAMP: u64 = 6;

/// Hashes rows over some of their columns, by a definition that never changes (it heads this module's source).
#[derive(Debug, Clone)]
pub struct RowHasher {
    /// Names and their tags, in the order of the names.
    columns: Vec<(String, u64)>,
}

impl RowHasher {
    /// Hashes over the columns of these names, in whatever order they are given and stand in the batches.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut columns: Vec<_> = columns.into_iter().map(|name| (name.to_owned(), xxh3_64(name.as_bytes()))).collect();
        columns.sort();
        Self { columns }
    }

    /// Adds the hash of each row to `hashes`. The batch has all the columns, and they have the types of
    /// [`crate::arrow_type`] (or other string types); else it is an error.
    pub fn hash(&self, batch: &RecordBatch, hashes: &mut Vec<u128>) -> Result<(), ArrowError> {
        let names = batch.schema_ref().fields().iter().map(|field| field.name().as_str());
        let arrays: HashMap<&str, &ArrayRef> = names.zip(batch.columns()).collect();
        let columns = self.columns.iter().map(|(name, tag)| {
            let array = *arrays.get(name.as_str()).ok_or_else(|| ArrowError::SchemaError(format!("no column `{name}` to hash")))?;
            Ok(Column { tag: *tag, nullable: array.null_count() > 0, values: Values::of(array)? })
        });
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
        let mut row = Row(Vec::with_capacity(columns.len() * 32));
        hashes.reserve(batch.num_rows());
        for index in 0..batch.num_rows() {
            row.0.clear();
            for column in &columns {
                column.add(index, &mut row);
            }
            hashes.push(xxh3_128(&row.0));
        }
        Ok(())
    }
}

struct Column<'a> {
    tag: u64,
    nullable: bool,
    values: Values<'a>,
}

enum Values<'a> {
    Int(&'a Int64Array),
    Decimal(&'a Decimal128Array, u8),
    Float(&'a Float64Array),
    Bool(&'a BooleanArray),
    View(&'a StringViewArray),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
}

impl<'a> Values<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        let any = array.as_any();
        let decimal = || {
            let array = any.downcast_ref::<Decimal128Array>()?;
            Some(Values::Decimal(array, u8::try_from(array.scale()).ok()?))
        };
        None.or_else(|| any.downcast_ref().map(Values::View))
            .or_else(|| any.downcast_ref().map(Values::Int))
            .or_else(decimal)
            .or_else(|| any.downcast_ref().map(Values::Float))
            .or_else(|| any.downcast_ref().map(Values::Bool))
            .or_else(|| any.downcast_ref().map(Values::Date))
            .or_else(|| any.downcast_ref().map(Values::Timestamp))
            .or_else(|| any.downcast_ref().map(Values::Text))
            .or_else(|| any.downcast_ref().map(Values::LargeText))
            .ok_or_else(|| ArrowError::SchemaError(format!("columns of type {} are not hashed", array.data_type())))
    }

    fn is_null(&self, index: usize) -> bool {
        match self {
            Values::Int(array) => array.is_null(index),
            Values::Decimal(array, _) => array.is_null(index),
            Values::Float(array) => array.is_null(index),
            Values::Bool(array) => array.is_null(index),
            Values::View(array) => array.is_null(index),
            Values::Text(array) => array.is_null(index),
            Values::LargeText(array) => array.is_null(index),
            Values::Date(array) => array.is_null(index),
            Values::Timestamp(array) => array.is_null(index),
        }
    }
}

impl Column<'_> {
    #[inline]
    fn add(&self, index: usize, row: &mut Row) {
        if self.nullable && self.values.is_null(index) {
            return;
        }
        let tag = self.tag;
        match &self.values {
            Values::Int(array) => row.fixed(tag, NUMBER, array.value(index).to_le_bytes()),
            Values::Decimal(array, scale) => row.decimal(tag, array.value(index), *scale),
            Values::Float(array) => row.fixed(tag, FLOAT, canonical(array.value(index)).to_bits().to_le_bytes()),
            Values::Bool(array) => row.fixed(tag, BOOL, [u8::from(array.value(index))]),
            Values::View(array) => row.text(tag, array.value(index)),
            Values::Text(array) => row.text(tag, array.value(index)),
            Values::LargeText(array) => row.text(tag, array.value(index)),
            Values::Date(array) => row.fixed(tag, DATE, array.value(index).to_le_bytes()),
            Values::Timestamp(array) => row.fixed(tag, TIMESTAMP, array.value(index).to_le_bytes()),
        }
    }
}

/// A row's encoding.
struct Row(Vec<u8>);

impl Row {
    #[inline]
    fn head(&mut self, tag: u64, class: u64, scale: u8, length: usize) {
        // Arrow's values are shorter than 4 GiB.
        let head = class | u64::from(scale) << 8 | (length as u64) << 32;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&tag.to_le_bytes());
        bytes[8..].copy_from_slice(&head.to_le_bytes());
        self.0.extend_from_slice(&bytes);
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, tag: u64, class: u64, value: [u8; N]) {
        self.head(tag, class, 0, N);
        self.0.extend_from_slice(&value);
    }

    #[inline]
    fn text(&mut self, tag: u64, text: &str) {
        self.head(tag, TEXT, 0, text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    #[inline]
    fn decimal(&mut self, tag: u64, value: i128, mut scale: u8) {
        let mut value = value;
        while scale > 0 && i64::try_from(value).is_err() {
            if value % 10 != 0 {
                self.head(tag, NUMBER, scale, 16);
                self.0.extend_from_slice(&value.to_le_bytes());
                return;
            }
            (value, scale) = (value / 10, scale - 1);
        }
        let Ok(mut small) = i64::try_from(value) else {
            self.head(tag, NUMBER, scale, 16);
            self.0.extend_from_slice(&value.to_le_bytes());
            return;
        };
        while scale > 0 && small % 10 == 0 {
            (small, scale) = (small / 10, scale - 1);
        }
        self.head(tag, NUMBER, scale, 8);
        self.0.extend_from_slice(&small.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn hashes(columns: &[(&str, ArrayRef)]) -> Vec<u128> {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, Arc::clone(array), true))).unwrap();
        let mut hashes = Vec::new();
        RowHasher::new(columns.iter().map(|(name, _)| *name)).hash(&batch, &mut hashes).unwrap();
        hashes
    }

    fn text(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringViewArray::from(values.to_vec()))
    }

    fn decimal(values: &[i128], scale: i8) -> ArrayRef {
        Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, scale).unwrap())
    }

    fn ints(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn the_stored_format_is_kept() {
        let columns: [(&str, ArrayRef); 7] = [
            ("id", ints(&[1, -2])),
            ("amount", decimal(&[1250, i128::from(i64::MAX) * 1000 + 1], 2)),
            ("ratio", Arc::new(Float64Array::from(vec![Some(-0.0), Some(f64::NAN)]))),
            ("open", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("name", text(&[Some("Zoë"), Some("")])),
            ("day", Arc::new(Date32Array::from(vec![Some(19_782), None]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), Some(0)]).with_timezone("UTC"))),
        ];
        let found = hashes(&columns).iter().map(|hash| format!("{hash:032x}")).collect::<Vec<_>>();
        // As computed by another implementation of the format.
        assert_eq!(found, ["7ea502af94e2bd14befc56f135b35681", "2df232149282ead4fb07237db07d8dca"]);
    }

    #[test]
    fn the_definition_by_hand() {
        let mut bytes = Vec::new();
        bytes.extend(xxh3_64(b"a").to_le_bytes());
        bytes.extend([NUMBER as u8, 1, 0, 0, 8, 0, 0, 0]);
        bytes.extend(125i64.to_le_bytes());
        bytes.extend(xxh3_64(b"b").to_le_bytes());
        bytes.extend([TEXT as u8, 0, 0, 0, 2, 0, 0, 0]);
        bytes.extend(b"xy");
        assert_eq!(hashes(&[("b", text(&[Some("xy")])), ("a", decimal(&[1250], 2))]), [xxh3_128(&bytes)]);
        assert_eq!(hashes(&[("a", text(&[None]))]), [xxh3_128(b"")]);
    }

    #[test]
    fn equal_values_have_equal_hashes() {
        let check = |one: ArrayRef, other: ArrayRef| assert_eq!(hashes(&[("x", one)]), hashes(&[("x", other)]));
        check(ints(&[5, 0, -100, i64::MIN]), decimal(&[500, 0, -10_000, i128::from(i64::MIN) * 100], 2));
        check(decimal(&[15, 10i128.pow(30)], 1), decimal(&[15 * 10i128.pow(7), 10i128.pow(37)], 8));
        let floats = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        check(floats(&[0.0, f64::NAN]), floats(&[-0.0, -f64::NAN]));
        check(text(&[Some("ü")]), Arc::new(StringArray::from(vec!["ü"])));
        check(text(&[Some("ü")]), Arc::new(LargeStringArray::from(vec!["ü"])));
        let (a, b) = (ints(&[1]), text(&[Some("2")]));
        assert_eq!(hashes(&[("a", Arc::clone(&a)), ("b", Arc::clone(&b))]), hashes(&[("b", Arc::clone(&b)), ("a", Arc::clone(&a))]));
        assert_eq!(hashes(&[("a", Arc::clone(&a)), ("new", text(&[None]))]), hashes(&[("a", a)]));
    }

    #[test]
    fn different_rows_have_different_hashes() {
        let pair = |a: Option<&str>, b: Option<&str>| hashes(&[("a", text(&[a])), ("b", text(&[b]))])[0];
        let mut all = vec![
            pair(Some("a"), Some("bc")),
            pair(Some("ab"), Some("c")),
            pair(Some("a"), None),
            pair(None, Some("a")),
            pair(Some("a"), Some("")),
            pair(None, None),
            pair(Some(""), None),
            hashes(&[("a", ints(&[1]))])[0],
            hashes(&[("a", decimal(&[1], 1))])[0],
            hashes(&[("a", decimal(&[10i128.pow(20)], 0))])[0],
            hashes(&[("a", text(&[Some("1")]))])[0],
            hashes(&[("a", Arc::new(Date32Array::from(vec![1])))])[0],
            hashes(&[("a", Arc::new(Float64Array::from(vec![1.0])))])[0],
        ];
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn refuses_what_it_cannot_hash() {
        let batch = RecordBatch::try_from_iter([("a", ints(&[1]))]).unwrap();
        assert!(RowHasher::new(["b"]).hash(&batch, &mut Vec::new()).is_err());
        let batch = RecordBatch::try_from_iter([("a", Arc::new(arrow::array::Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
        assert!(RowHasher::new(["a"]).hash(&batch, &mut Vec::new()).is_err());
    }
}
