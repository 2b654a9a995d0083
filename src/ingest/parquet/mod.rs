//! Reads the rows of Parquet files.

use std::{fs::File, sync::Arc};

use ::parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    basic::{LogicalType, Type as Physical},
    errors::ParquetError,
};
use arrow::{
    array::AsArray as _,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType},
    record_batch::RecordBatch,
};
use qetl_core::Type;

use crate::{
    bad::Rows,
    problem::{DataProblem, shown},
    rows::batch_rows,
    spec::{ReadSpec, SourceFile},
    typed::{self, Columns, as_uuid, raw_text, read_as},
    value::unfit::Unfit,
};

/// The rows of one file.
pub(crate) struct ParquetRows {
    name: String,
    reader: ParquetRecordBatchReader,
    /// The nanoseconds of the INT96 columns among the wanted ones, to see that none are lost.
    nanoseconds: Option<ParquetRecordBatchReader>,
    pub(crate) columns: Columns,
    rows: u64,
    size: u64,
    pub(crate) warnings: Vec<String>,
}

/// The names of the file's columns.
pub(crate) fn names(file: &SourceFile) -> Result<Vec<String>, DataProblem> {
    Ok(Opened::new(file)?.metadata.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// The types that the file brings for the columns of the spec that have none; `None` also for one that is all NULL.
pub(crate) fn types(file: &SourceFile, spec: &ReadSpec) -> Result<Vec<Option<Type>>, DataProblem> {
    typed::types(file, spec, &Opened::new(file)?.schema())
}

struct Opened {
    source: File,
    metadata: ArrowReaderMetadata,
    /// The roots of type INT96, as a file's schema names them.
    int96: Vec<usize>,
    /// The roots that are UUIDs.
    uuids: Vec<usize>,
}

impl Opened {
    fn new(file: &SourceFile) -> Result<Self, DataProblem> {
        let source = File::open(&file.path).map_err(|error| DataProblem::unreadable(&file.name, &error))?;
        let metadata =
            guarded(|| ArrowReaderMetadata::load(&source, ArrowReaderOptions::new())).map_err(|error| damaged(&file.name, &error))?;
        let roots = metadata.parquet_schema().root_schema().get_fields().iter().enumerate();
        let is_int96 = |root: &::parquet::schema::types::Type| root.is_primitive() && root.get_physical_type() == Physical::INT96;
        let is_uuid = |root: &::parquet::schema::types::Type| root.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid);
        let int96 = roots.clone().filter(|(_, root)| is_int96(root)).map(|(index, _)| index).collect();
        let uuids = roots.filter(|(_, root)| is_uuid(root)).map(|(index, _)| index).collect();
        Ok(Self { source, metadata, int96, uuids })
    }

    /// The columns, UUIDs marked as such.
    fn schema(&self) -> Schema {
        let fields = self.metadata.schema().fields().iter().enumerate();
        let marked = |(index, field): (usize, &Arc<Field>)| if self.uuids.contains(&index) { as_uuid(field) } else { Field::clone(field) };
        Schema::new(fields.map(marked).collect::<Vec<_>>())
    }

    /// The types to read: text without copying it, decimals and INT96 timestamps in their widest range.
    fn hinted(&self) -> SchemaRef {
        let schema = self.metadata.schema();
        let fields = schema.fields().iter().enumerate().map(|(index, field)| {
            let ty =
                if self.int96.contains(&index) { DataType::Timestamp(TimeUnit::Microsecond, None) } else { read_as(field.data_type()) };
            Arc::new(Field::clone(field).with_data_type(ty))
        });
        Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
    }
}

impl ParquetRows {
    pub(crate) fn open(file: &SourceFile, spec: &ReadSpec) -> Result<Self, DataProblem> {
        let damaged = |error: ParquetError| damaged(&file.name, &error);
        let opened = Opened::new(file)?;
        let mut warnings = Vec::new();
        let (columns, places) = Columns::new(file, spec, &opened.schema(), &mut warnings)?;
        let metadata = Arc::clone(opened.metadata.metadata());
        let hinted = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new().with_schema(opened.hinted())).map_err(damaged)?;
        let limit = batch_rows(spec.columns.len());
        let reader = |source: File, metadata: ArrowReaderMetadata, places: &[usize]| {
            let mask = ProjectionMask::roots(metadata.parquet_schema(), places.iter().copied());
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata);
            guarded(|| builder.with_batch_size(limit).with_projection(mask).build()).map_err(damaged)
        };
        let int96: Vec<usize> = opened.int96.iter().filter(|place| places.contains(place)).copied().collect();
        let nanoseconds = if int96.is_empty() {
            None
        } else {
            let source = File::open(&file.path).map_err(|error| DataProblem::unreadable(&file.name, &error))?;
            Some(reader(source, opened.metadata.clone(), &int96)?)
        };
        let rows = hinted.metadata().file_metadata().num_rows();
        Ok(Self {
            name: file.name.clone(),
            size: opened.source.metadata().map_or(0, |metadata| metadata.len()),
            rows: u64::try_from(rows).unwrap_or(0),
            reader: reader(opened.source, hinted, &places)?,
            nanoseconds,
            columns,
            warnings,
        })
    }

    /// As far as the rows read tell.
    pub(crate) fn bytes_read(&self) -> u64 {
        let share = u128::from(self.size) * u128::from(self.columns.row) / u128::from(self.rows.max(1));
        u64::try_from(share).unwrap_or(self.size).min(self.size)
    }

    pub(crate) fn next_batch(&mut self) -> Result<Option<Rows>, DataProblem> {
        let Some(batch) = next(&mut self.reader, &self.name)? else {
            if self.columns.row != self.rows {
                let message = format!("the file says that it has {} rows, and has {}", self.rows, self.columns.row);
                return Err(DataProblem::new("qetl::ingest::corrupt", &self.name, message).help("write or copy the file again"));
            }
            return Ok(None);
        };
        let finer = self.finer_than_micros(&batch)?;
        self.columns.conform(&batch, &finer).map(Some)
    }

    /// INT96 timestamps are read as microseconds, for nanoseconds end in 2262; here it shows which have finer digits.
    fn finer_than_micros(&mut self, batch: &RecordBatch) -> Result<Vec<(String, usize, Unfit, String)>, DataProblem> {
        let mut finer = Vec::new();
        let Some(reader) = &mut self.nanoseconds else { return Ok(finer) };
        let Some(fine) = next(reader, &self.name)? else { return Ok(finer) };
        for (field, fine) in fine.schema_ref().fields().iter().zip(fine.columns()) {
            let coarse = batch.column_by_name(field.name()).and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>());
            let (Some(coarse), Some(nanos)) = (coarse, fine.as_primitive_opt::<TimestampNanosecondType>()) else { continue };
            // Both wrap around in the same way.
            let is_finer = |(coarse, fine): (Option<i64>, Option<i64>)| coarse.map(|micros| micros.wrapping_mul(1000)) != fine;
            let lost = coarse.iter().zip(nanos).enumerate().filter(|(_, pair)| is_finer(*pair));
            finer.extend(lost.map(|(index, _)| (field.name().clone(), index, Unfit::Finer, raw_text(fine, index))));
        }
        Ok(finer)
    }
}

fn next(reader: &mut ParquetRecordBatchReader, name: &str) -> Result<Option<RecordBatch>, DataProblem> {
    guarded(|| reader.next().transpose().map_err(ParquetError::from)).map_err(|error| damaged(name, &error))
}

fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    typed::guarded(read).unwrap_or_else(|| Err(ParquetError::General("its pages do not fit together".to_owned())))
}

fn damaged(file: &str, error: &ParquetError) -> DataProblem {
    let text = error.to_string();
    // The crate's words for its own kinds of errors mean nothing to a user.
    let text = ["Parquet error: ", "EOF: ", "Arrow: ", "External: "]
        .iter()
        .fold(text.as_str(), |text, kind| text.strip_prefix(kind).unwrap_or(text));
    DataProblem::new("qetl::ingest::corrupt", file, format!("not a Parquet file, or damaged or cut short: {}", shown(text)))
        .help("write or copy the file again, without gzip or zstd around it: Parquet compresses by itself; `format` names another format")
}

#[cfg(test)]
mod tests;
