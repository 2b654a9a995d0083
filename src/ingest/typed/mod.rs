//! What the formats share that bring types of their own: Parquet, Arrow, Avro.

mod normalise;

mod cast;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef},
    datatypes::{FieldRef, Schema, SchemaRef},
    error::ArrowError,
    record_batch::RecordBatch,
};
use qetl_core::Type;

use crate::{
    batch::widened,
    columns::{extra_columns, missing_columns},
    problem::{DataProblem, shown},
    rows::{batch_rows, rules},
    spec::{ReadColumn, ReadSpec, SourceFile, arrow_type},
    value::{Rules, unfit::Unfit},
};
use normalise::Own;
pub(crate) use normalise::{raw_text, read_as, unpacked};

/// A value that does not fit: its index in the array, and why.
struct Misfit {
    index: usize,
    unfit: Unfit,
}

/// The types that a file with this schema brings for the columns of the spec that have none; `None` also for one that is
/// all NULL.
pub(crate) fn types(file: &SourceFile, spec: &ReadSpec, schema: &Schema) -> Result<Vec<Option<Type>>, DataProblem> {
    let places = places(file, spec, schema, &mut Vec::new())?;
    let columns = spec.columns.iter().zip(places).map(|(column, place)| {
        if column.ty.is_some() {
            return Ok(None);
        }
        match normalise::own(schema.field(place).data_type()) {
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

/// Where the wanted columns stand in the file.
fn places(file: &SourceFile, spec: &ReadSpec, schema: &Schema, warnings: &mut Vec<String>) -> Result<Vec<usize>, DataProblem> {
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
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

/// Makes the arrays of one file the wanted columns.
pub(crate) struct Columns {
    name: String,
    wanted: Vec<ReadColumn>,
    schema: SchemaRef,
    rules: Rules,
    /// How many rows have been made.
    pub(crate) row: u64,
}

impl Columns {
    /// Also where each wanted column stands in the file. Refuses what can fit in no row.
    pub(crate) fn new(
        file: &SourceFile,
        spec: &ReadSpec,
        schema: &Schema,
        warnings: &mut Vec<String>,
    ) -> Result<(Self, Vec<usize>), DataProblem> {
        let places = places(file, spec, schema, warnings)?;
        for (column, place) in spec.columns.iter().zip(&places) {
            let to = column.ty.unwrap_or(Type::Text);
            match normalise::own(schema.field(*place).data_type()) {
                Err(what) => return Err(unsupported(file, column, &what)),
                Ok(Own::Nothing) => {}
                Ok(Own::Nested) if to == Type::Text => {}
                Ok(Own::Nested) => return Err(unlike(&file.name, "file", column, "nested")),
                Ok(Own::Type(own)) if cast::can(own, to) => {}
                Ok(Own::Type(own)) => return Err(unlike(&file.name, "file", column, &own.to_string())),
            }
        }
        let (name, wanted) = (file.name.clone(), spec.columns.clone());
        Ok((Self { name, wanted, schema: spec.schema(), rules: rules(file.format, spec), row: 0 }, places))
    }

    /// For the rows of a dataset, whose columns have these types and are the wanted ones.
    pub(crate) fn of_dataset(name: &str, spec: &ReadSpec, own: &[Type]) -> Result<Self, DataProblem> {
        for (column, own) in spec.columns.iter().zip(own) {
            if !cast::can(*own, column.ty.unwrap_or(Type::Text)) {
                return Err(unlike(name, "dataset", column, &own.to_string()));
            }
        }
        let rules = Rules::with_point(&Default::default());
        Ok(Self { name: name.to_owned(), wanted: spec.columns.clone(), schema: spec.schema(), rules, row: 0 })
    }

    /// The next rows of the file. The batch holds every wanted column, and no other counts.
    pub(crate) fn conform(&mut self, batch: &RecordBatch) -> Result<RecordBatch, DataProblem> {
        let mut arrays = Vec::with_capacity(self.wanted.len());
        for (index, column) in self.wanted.iter().enumerate() {
            let Some((place, _)) = batch.schema_ref().column_with_name(&column.name) else {
                unreachable!("the projection has every wanted column");
            };
            arrays.push(self.column(index, column, batch.column(place), &batch.schema_ref().fields()[place])?);
        }
        self.row += batch.num_rows() as u64;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        Ok(batch.unwrap_or_else(|error| unreachable!("the columns follow the schema: {error}")))
    }

    fn column(&self, index: usize, column: &ReadColumn, array: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, DataProblem> {
        let to = column.ty.unwrap_or(Type::Text);
        let array = &unpacked(array);
        let refuse = |misfit: &Misfit, value: &str| self.refuse(misfit.unfit, index, misfit.index, value);
        let array = match normalise::own(array.data_type()) {
            Ok(Own::Nothing) => arrow::array::new_null_array(&arrow_type(to), array.len()),
            Ok(Own::Nested) => cast::json(array, field).map_err(|error| {
                let message = format!("its nested values cannot be written as JSON text: {}", shown(&error.to_string()));
                DataProblem::new("qetl::ingest::type", &self.name, message)
                    .of_column(&column.name)
                    .help("leave the column out of `[input] columns`, or write it as another type")
            })?,
            Ok(Own::Type(own)) => {
                let normal = normalise::normalise(array, own);
                let normal = normal.map_err(|misfit| refuse(&misfit, &raw_text(array, misfit.index)))?;
                cast::cast(&normal, own, to, &self.rules).map_err(|misfit| {
                    let text = cast::text(&normal, own, misfit.index);
                    let unfit = widened(misfit.unfit, column.inferred, to, &text, self.rules.separator);
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

    /// The problem of a wanted column's value in the next rows.
    pub(crate) fn refuse(&self, unfit: Unfit, column: usize, index: usize, value: &str) -> DataProblem {
        unfit.problem(&self.name, column, &self.wanted[column], value).in_row(self.row + index as u64 + 1)
    }

    /// The number of the wanted column of this name.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.wanted.iter().position(|column| column.name == name)
    }
}

/// A batch as the file has it, handed on in batches of our size.
pub(crate) struct Pieces {
    rest: Option<RecordBatch>,
    limit: usize,
}

impl Pieces {
    pub(crate) fn new(spec: &ReadSpec) -> Self {
        Self { rest: None, limit: batch_rows(spec.columns.len()) }
    }

    pub(crate) fn put(&mut self, batch: RecordBatch) {
        self.rest = Some(batch);
    }

    pub(crate) fn next(&mut self) -> Option<RecordBatch> {
        let rest = self.rest.take().filter(|rest| rest.num_rows() > 0)?;
        let count = rest.num_rows().min(self.limit);
        if count < rest.num_rows() {
            self.rest = Some(rest.slice(count, rest.num_rows() - count));
        }
        Some(rest.slice(0, count))
    }
}

/// The libraries that read these formats panic on some damaged files.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(read)).ok()
}

fn unsupported(file: &SourceFile, column: &ReadColumn, what: &str) -> DataProblem {
    DataProblem::new("qetl::ingest::type", &file.name, format!("holds {what}, which no type of qetl's holds"))
        .of_column(&column.name)
        .help("leave the column out of `[input] columns`, or write it as another type")
}

fn unlike(name: &str, what: &str, column: &ReadColumn, own: &str) -> DataProblem {
    let to = column.ty.unwrap_or(Type::Text);
    DataProblem::new("qetl::ingest::type", name, format!("is {own} in the {what} and {to} in the flow"))
        .of_column(&column.name)
        .help(format!("declare `schema_type = \"{own}\"`, or write the column as {to}"))
}

/// What an error says, without the library's words for its kind: they mean nothing to a user.
pub(crate) fn words(error: &ArrowError) -> String {
    let kinds = [
        "Arrow: ",
        "Avro error: ",
        "External error: ",
        "External: ",
        "Invalid argument error: ",
        "Io error: ",
        "Ipc error: ",
        "Parser error: ",
        "Schema error: ",
    ];
    let text = error.to_string();
    kinds.iter().fold(text.as_str(), |text, kind| text.strip_prefix(kind).unwrap_or(text)).to_owned()
}
