//! What landing adds to rows, and the content of a batch: the same on every engine.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray},
    datatypes::{Field, Schema},
    error::ArrowError,
};
use qetl_core::plan::{BAD_COLUMNS, LANDING_COLUMNS};
use xxhash_rust::xxh3::xxh3_128;

use crate::arrow_type;

/// What a row counts for in the sum that is the hash of a batch's content; `place`: its place among all rows, for batches in
/// which order counts.
pub fn content_hash(row: u128, place: Option<u64>) -> u128 {
    let Some(place) = place else { return row };
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&row.to_le_bytes());
    bytes[16..].copy_from_slice(&place.to_le_bytes());
    xxh3_128(&bytes)
}

/// How many rows of a batch stand before those of each of its files, as these come to be known.
#[derive(Debug, Default)]
pub struct Places {
    /// The files in their order, with how many rows each has.
    files: Vec<(String, u64)>,
}

impl Places {
    pub fn add(&mut self, file: &str, rows: u64) {
        self.files.push((file.to_owned(), rows));
    }

    /// How many rows there are so far.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|(_, rows)| rows).sum()
    }

    /// The place of each file's first row.
    pub fn firsts(&self) -> BTreeMap<String, u64> {
        let mut first = 0;
        let place = |(file, rows): &(String, u64)| {
            first += rows;
            (file.clone(), first - rows)
        };
        self.files.iter().map(place).collect()
    }
}

/// The rows with what landing adds to them. `numbers`: those of the rows in their file; `loaded_at`: microseconds since 1970.
pub fn with_place(batch: &RecordBatch, batch_id: i64, loaded_at: i64, file: &str, numbers: Int64Array) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let added: [Arc<dyn Array>; 4] = [
        Arc::new(Int64Array::from_value(batch_id, rows)),
        Arc::new(TimestampMicrosecondArray::from_value(loaded_at, rows).with_timezone("UTC")),
        Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(file, rows))),
        Arc::new(numbers),
    ];
    let fields = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .chain(LANDING_COLUMNS.iter().map(|(name, ty)| Field::new(*name, arrow_type(*ty), true)))
        .collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().iter().cloned().chain(added).collect())
}

/// How many of the rows do not fit.
pub fn bad_rows(rows: &RecordBatch) -> u64 {
    rows.column_by_name(BAD_COLUMNS[0].0).map_or(0, |texts| (texts.len() - texts.null_count()) as u64)
}

/// Of each column of a batch, whether some row has a value in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filled(Vec<bool>);

impl Filled {
    /// Looks at more rows, whose first columns these are.
    pub fn see(&mut self, rows: &RecordBatch, columns: usize) {
        self.0.resize(columns.max(self.0.len()), false);
        for (filled, column) in self.0.iter_mut().zip(rows.columns()) {
            *filled = *filled || column.null_count() < column.len();
        }
    }

    /// Takes what others have in the same columns.
    pub fn add(&mut self, other: &Filled) {
        self.0.resize(self.0.len().max(other.0.len()), false);
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= *other);
    }

    /// Whether the column has a value.
    pub fn has(&self, column: usize) -> bool {
        self.0.get(column).copied().unwrap_or(false)
    }
}
