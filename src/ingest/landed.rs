//! What landing adds to rows, and the content of a batch: the same on every engine.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray},
    datatypes::{Field, Schema},
    error::ArrowError,
};
use qetl_core::plan::LANDING_COLUMNS;
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

/// The rows with what landing adds to them. `rows_before`: how many rows of the file stand before them; `loaded_at`:
/// microseconds since 1970.
pub fn with_place(batch: &RecordBatch, batch_id: i64, loaded_at: i64, file: &str, rows_before: i64) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let first = rows_before + 1;
    let numbers = Int64Array::from_iter_values(first..first + i64::try_from(rows).unwrap_or(i64::MAX));
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
