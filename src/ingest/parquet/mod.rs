//! Reads the rows of Parquet files.

mod normalise;

mod cast;

use std::{collections::BTreeMap, fs::File, sync::Arc};

use ::parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    basic::Type as Physical,
    errors::ParquetError,
};
use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType},
    record_batch::RecordBatch,
};
use qetl_core::Type;

use crate::{
    columns::{extra_columns, missing_columns},
    problem::{DataProblem, shown},
    rows::{batch_rows, rules},
    spec::{ReadColumn, ReadSpec, SourceFile, arrow_type},
    value::{Rules, unfit::Unfit},
};
use normalise::Own;

/// The rows of one file.
pub(crate) struct ParquetRows {
    name: String,
    reader: ParquetRecordBatchReader,
    /// The nanoseconds of the INT96 columns among the wanted ones, to see that none are lost.
    nanoseconds: Option<ParquetRecordBatchReader>,
    columns: Vec<ReadColumn>,
    schema: SchemaRef,
    rules: Rules,
    row: u64,
    rows: u64,
    size: u64,
    pub(crate) warnings: Vec<String>,
}

/// A value that does not fit: its index in the array, and why.
pub(crate) struct Misfit {
    pub(crate) index: usize,
    pub(crate) unfit: Unfit,
}

/// The types that the file brings for the columns of the spec that have none; `None` also for one that is all NULL.
pub(crate) fn types(file: &SourceFile, spec: &ReadSpec) -> Result<Vec<Option<Type>>, DataProblem> {
    let opened = Opened::new(file)?;
    let places = opened.places(file, spec, &mut Vec::new())?;
    let columns = spec.columns.iter().zip(places).map(|(column, place)| {
        if column.ty.is_some() {
            return Ok(None);
        }
        match normalise::own(opened.metadata.schema().field(place).data_type()) {
            Ok(Own::Type(ty)) => Ok(Some(ty)),
            Ok(Own::Nothing) => Ok(None),
            Ok(Own::Nested) => {
                Err(unsupported(file, column, "nested values").help("declare `schema_type = \"string\"` to get their JSON text"))
            }
            Err(what) => Err(unsupported(file, column, &what)),
        }
    });
    columns.collect()
}

fn unsupported(file: &SourceFile, column: &ReadColumn, what: &str) -> DataProblem {
    DataProblem::new("qetl::ingest::type", &file.name, format!("holds {what}, which no type of qetl's holds"))
        .of_column(&column.name)
        .help("leave the column out of `[input] columns`, or write it as another type")
}

struct Opened {
    source: File,
    metadata: ArrowReaderMetadata,
    /// The roots of type INT96, as a file's schema names them.
    int96: Vec<usize>,
}

impl Opened {
    fn new(file: &SourceFile) -> Result<Self, DataProblem> {
        let source = File::open(&file.path).map_err(|error| DataProblem::unreadable(&file.name, &error))?;
        let metadata =
            guarded(|| ArrowReaderMetadata::load(&source, ArrowReaderOptions::new())).map_err(|error| damaged(&file.name, &error))?;
        let roots = metadata.parquet_schema().root_schema().get_fields().iter().enumerate();
        let is_int96 = |root: &::parquet::schema::types::Type| root.is_primitive() && root.get_physical_type() == Physical::INT96;
        let int96: Vec<usize> = roots.filter(|(_, root)| is_int96(root)).map(|(index, _)| index).collect();
        Ok(Self { source, metadata, int96 })
    }

    /// Where the wanted columns stand in the file.
    fn places(&self, file: &SourceFile, spec: &ReadSpec, warnings: &mut Vec<String>) -> Result<Vec<usize>, DataProblem> {
        let names: Vec<String> = self.metadata.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut index = BTreeMap::new();
        for (place, name) in names.iter().enumerate() {
            if index.insert(name.as_str(), place).is_some() {
                return Err(DataProblem::new("qetl::ingest::header", &file.name, format!("the file has two columns `{}`", shown(name)))
                    .help("each column has its own name; rename one of them"));
            }
        }
        let wanted = spec.columns.iter().map(|column| (column.name.as_str(), index.get(column.name.as_str())));
        let missing: Vec<&str> = wanted.clone().filter(|(_, place)| place.is_none()).map(|(name, _)| name).collect();
        if !missing.is_empty() {
            return Err(missing_columns(&file.name, &missing, &names));
        }
        let places: Vec<usize> = wanted.filter_map(|(_, place)| place.copied()).collect();
        for place in &places {
            index.remove(names[*place].as_str());
        }
        let mut extra: Vec<usize> = index.into_values().collect();
        extra.sort_unstable();
        extra_columns(&file.name, spec, extra.iter().map(|place| names[*place].as_str()), warnings)?;
        Ok(places)
    }

    /// The types to read: text without copying it, decimals and INT96 timestamps in their widest range.
    fn hinted(&self) -> SchemaRef {
        let schema = self.metadata.schema();
        let fields = schema.fields().iter().enumerate().map(|(index, field)| {
            let ty = if self.int96.contains(&index) {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            } else {
                normalise::read_as(field.data_type())
            };
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
        let places = opened.places(file, spec, &mut warnings)?;
        for (column, place) in spec.columns.iter().zip(&places) {
            let ty = opened.metadata.schema().field(*place).data_type();
            let to = column.ty.unwrap_or(Type::Text);
            match normalise::own(ty) {
                Err(what) => return Err(unsupported(file, column, &what)),
                Ok(Own::Nothing) => {}
                Ok(Own::Nested) if to == Type::Text => {}
                Ok(Own::Nested) => return Err(unlike(file, column, "nested")),
                Ok(Own::Type(own)) if cast::can(own, to) => {}
                Ok(Own::Type(own)) => return Err(unlike(file, column, &own.to_string())),
            }
        }
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
            columns: spec.columns.clone(),
            schema: spec.schema(),
            rules: rules(file.format, spec),
            row: 0,
            warnings,
        })
    }

    /// As far as the rows read tell.
    pub(crate) fn bytes_read(&self) -> u64 {
        let share = u128::from(self.size) * u128::from(self.row) / u128::from(self.rows.max(1));
        u64::try_from(share).unwrap_or(self.size).min(self.size)
    }

    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, DataProblem> {
        let Some(batch) = next(&mut self.reader, &self.name)? else {
            if self.row != self.rows {
                let message = format!("the file says that it has {} rows, and has {}", self.rows, self.row);
                return Err(DataProblem::new("qetl::ingest::corrupt", &self.name, message).help("write or copy the file again"));
            }
            return Ok(None);
        };
        self.check_nanoseconds(&batch)?;
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            let Some((place, _)) = batch.schema_ref().column_with_name(&column.name) else {
                unreachable!("the projection has every wanted column");
            };
            arrays.push(self.column(index, column, batch.column(place), &batch.schema_ref().fields()[place])?);
        }
        self.row += batch.num_rows() as u64;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        Ok(Some(batch.unwrap_or_else(|error| unreachable!("the columns follow the schema: {error}"))))
    }

    fn column(&self, index: usize, column: &ReadColumn, array: &ArrayRef, field: &Arc<Field>) -> Result<ArrayRef, DataProblem> {
        let to = column.ty.unwrap_or(Type::Text);
        let refuse = |misfit: &Misfit, value: &str| {
            misfit.unfit.problem(&self.name, index, column, value).in_row(self.row + misfit.index as u64 + 1)
        };
        let array = match normalise::own(array.data_type()) {
            Ok(Own::Nothing) => arrow::array::new_null_array(&arrow_type(to), array.len()),
            Ok(Own::Nested) => cast::json(array, field).map_err(|error| damaged(&self.name, &error.into()).of_column(&column.name))?,
            Ok(Own::Type(own)) => {
                let normal = normalise::normalise(array, own);
                let normal = normal.map_err(|misfit| refuse(&misfit, &normalise::raw_text(array, misfit.index)))?;
                cast::cast(&normal, own, to, &self.rules).map_err(|misfit| {
                    let text = cast::text(&normal, own, misfit.index);
                    let unfit = crate::batch::widened(misfit.unfit, column.inferred, to, &text, self.rules.separator);
                    refuse(&Misfit { unfit, ..misfit }, &text)
                })?
            }
            Err(what) => unreachable!("refused when the file was opened: {what}"),
        };
        let null =
            if column.required { array.nulls().and_then(|nulls| (0..nulls.len()).find(|index| nulls.is_null(*index))) } else { None };
        match null {
            Some(index) => Err(refuse(&Misfit { index, unfit: Unfit::Null }, "")),
            None => Ok(array),
        }
    }

    /// INT96 timestamps are read as microseconds, for nanoseconds end in 2262; here it shows if one has finer digits.
    fn check_nanoseconds(&mut self, batch: &RecordBatch) -> Result<(), DataProblem> {
        let Some(reader) = &mut self.nanoseconds else { return Ok(()) };
        let Some(fine) = next(reader, &self.name)? else { return Ok(()) };
        for (field, fine) in fine.schema_ref().fields().iter().zip(fine.columns()) {
            let coarse = batch.column_by_name(field.name()).and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>());
            let (Some(coarse), Some(fine)) = (coarse, fine.as_primitive_opt::<TimestampNanosecondType>()) else { continue };
            // Both wrap around in the same way.
            let lost = coarse.iter().zip(fine).position(|(coarse, fine)| coarse.map(|micros| micros.wrapping_mul(1000)) != fine);
            if let Some((index, column)) = lost.zip(self.columns.iter().position(|column| column.name == *field.name())) {
                let value = normalise::raw_text(fine, index);
                let problem = Unfit::Finer.problem(&self.name, column, &self.columns[column], &value);
                return Err(problem.in_row(self.row + index as u64 + 1));
            }
        }
        Ok(())
    }
}

fn next(reader: &mut ParquetRecordBatchReader, name: &str) -> Result<Option<RecordBatch>, DataProblem> {
    guarded(|| reader.next().transpose().map_err(ParquetError::from)).map_err(|error| damaged(name, &error))
}

/// The Parquet reader panics on some damaged files.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    caught.unwrap_or_else(|_| Err(ParquetError::General("its pages do not fit together".to_owned())))
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

fn unlike(file: &SourceFile, column: &ReadColumn, own: &str) -> DataProblem {
    let to = column.ty.unwrap_or(Type::Text);
    DataProblem::new("qetl::ingest::type", &file.name, format!("is {own} in the file and {to} in the flow"))
        .of_column(&column.name)
        .help(format!("declare `schema_type = \"{own}\"`, or write the column as {to}"))
}

#[cfg(test)]
mod tests;
