//! Reads source files (CSV, JSON, Parquet, Arrow, Avro) into typed Arrow record batches, infers types, and hashes rows.
//!
//! Files are streamed: memory holds a block of text (or one record, if that is longer), or one batch as the file has it,
//! and one batch of ours. A value is
//! stored as it is written or refused with its place; nothing is rounded, replaced or turned into NULL on the way. This
//! crate knows no engine, no SQL and no catalog.

mod spec;

mod problem;

mod bad;

mod open;

mod encoding;

mod blocks;

mod value;

mod columns;

mod cells;

mod batch;

mod guess;

mod csv;

mod json;

mod parts;

mod typed;

mod parquet;

mod ipc;

mod avro;

mod constants;

mod rows;

mod dataset;

mod infer;

mod names;

mod fingerprint;

mod hash;

mod landed;

#[cfg(test)]
mod testing;

pub use bad::{BadRow, Misfits, Rows};
pub use constants::folder_value;
pub use dataset::DatasetRows;
pub use fingerprint::{fingerprint, text_hash};
pub use hash::RowHasher;
pub use infer::{Inferred, infer};
pub use landed::{Filled, Places, bad_rows, content_hash, with_place};
pub use names::{FileColumns, column_names, columns_of};
pub use problem::{DataProblem, Place, ProblemKind};
pub use rows::{RowReader, batch_rows, lines_of_rows, read};
pub use spec::{BadRows, ReadColumn, ReadSpec, SourceFile, arrow_type};
