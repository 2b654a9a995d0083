//! What the formats share that bring types of their own: Parquet, Arrow, Avro.

mod own;

mod normalise;

mod cast;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef, BooleanArray, new_null_array},
    compute::nullif,
    datatypes::{FieldRef, Schema, SchemaRef},
    error::ArrowError,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use qetl_core::Type;

use crate::{
    bad::{BadRow, Rows},
    batch::{Widening, wider},
    columns::places,
    problem::{DataProblem, shown},
    rows::batch_rows,
    spec::{ReadColumn, ReadSpec, SourceFile, arrow_type},
    value::{Rules, digits::Digits, unfit::Unfit},
};
pub(crate) use normalise::{raw_text, read_as, unpacked};
use own::Own;
pub(crate) use own::as_uuid;

/// Values of an array that do not fit: the index of each, and why.
pub(crate) type Misfits = Vec<(usize, Unfit)>;

/// The types that a file with this schema brings for the columns of the spec that have none; `None` also for one that is
/// all NULL.
pub(crate) fn types(file: &SourceFile, spec: &ReadSpec, schema: &Schema) -> Result<Vec<Option<Type>>, DataProblem> {
    let places = places(&file.name, spec, &names(schema), &twice, &mut Vec::new())?;
    let columns = spec.columns.iter().zip(places).map(|(column, place)| {
        let Some(place) = place.filter(|_| column.ty.is_none()) else { return Ok(None) };
        match own::own(schema.field(place)) {
            Ok(Own::Type(ty)) => Ok(Some(ty)),
            Ok(Own::Uuid) => Ok(Some(Type::Text)),
            Ok(Own::Nothing) => Ok(None),
            Ok(own @ (Own::Nested | Own::Bytes | Own::Shown(_))) => Err(unsupported(file, column, own.words()).help(own.way_out())),
            Err(what) => Err(unsupported(file, column, &what)),
        }
    });
    columns.collect()
}

fn twice(name: &str) -> String {
    format!("the file has two columns `{name}`")
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// Makes the arrays of one file the wanted columns.
pub(crate) struct Columns {
    name: String,
    wanted: Vec<Wanted>,
    schema: SchemaRef,
    rules: Rules,
    /// How many rows have been made.
    pub(crate) row: u64,
}

struct Wanted {
    column: ReadColumn,
    to: Type,
    /// What the file has; `None`: nothing.
    own: Option<Own>,
    widening: Widening,
    /// It is open, and had a value of another type.
    untyped: bool,
}

impl Wanted {
    fn new(column: &ReadColumn, own: Option<Own>) -> Self {
        let to = column.ty.unwrap_or(Type::Text);
        Self { column: column.clone(), to, own, widening: Widening::of(column, to), untyped: false }
    }
}

impl Columns {
    /// Also where the wanted columns stand in the file. Refuses what can fit in no row.
    pub(crate) fn new(
        file: &SourceFile,
        spec: &ReadSpec,
        schema: &Schema,
        warnings: &mut Vec<String>,
    ) -> Result<(Self, Vec<usize>), DataProblem> {
        let places = places(&file.name, spec, &names(schema), &twice, warnings)?;
        let rules = Rules::new(&spec.options);
        let mut wanted = Vec::with_capacity(spec.columns.len());
        for (column, place) in spec.columns.iter().zip(&places) {
            let own = place.map(|place| own::own(schema.field(place))).transpose().map_err(|what| unsupported(file, column, &what))?;
            let to = column.ty.unwrap_or(Type::Text);
            match own {
                None | Some(Own::Nothing) => {}
                Some(_) if column.open => {}
                Some(Own::Nested | Own::Bytes | Own::Shown(_) | Own::Uuid) if to == Type::Text => {}
                Some(own @ (Own::Bytes | Own::Shown(_))) => return Err(unsupported(file, column, own.words()).help(own.way_out())),
                Some(Own::Nested) => return Err(unlike(&file.name, "file", column, "nested")),
                Some(Own::Uuid) if cast::can(Type::Text, to, &rules) => {}
                Some(Own::Uuid) => return Err(unlike(&file.name, "file", column, "string")),
                Some(Own::Type(own)) if cast::can(own, to, &rules) => {}
                Some(Own::Type(own)) => return Err(unlike(&file.name, "file", column, &own.to_string())),
            }
            wanted.push(Wanted::new(column, own));
        }
        let columns = Self { name: file.name.clone(), wanted, schema: spec.schema(), rules, row: 0 };
        Ok((columns, places.into_iter().flatten().collect()))
    }

    /// For the rows of a dataset, whose columns have these types and are the wanted ones.
    pub(crate) fn of_dataset(name: &str, spec: &ReadSpec, own: &[Type]) -> Result<Self, DataProblem> {
        let rules = Rules::new(&spec.options);
        for (column, own) in spec.columns.iter().zip(own).filter(|(column, _)| !column.open) {
            if !cast::can(*own, column.ty.unwrap_or(Type::Text), &rules) {
                return Err(unlike(name, "dataset", column, &own.to_string()));
            }
        }
        let wanted = spec.columns.iter().zip(own).map(|(column, own)| Wanted::new(column, Some(Own::Type(*own)))).collect();
        Ok(Self { name: name.to_owned(), wanted, schema: spec.schema(), rules, row: 0 })
    }

    /// The next rows of the file. The batch holds every wanted column that the file has, and no other counts. `misfits` are
    /// values of it that do not fit for a reason of the format's: by source column, with their texts.
    pub(crate) fn conform(&mut self, batch: &RecordBatch, misfits: &[(String, usize, Unfit, String)]) -> Result<Rows, DataProblem> {
        let mut arrays = Vec::with_capacity(self.wanted.len());
        let mut bad: BTreeMap<usize, (DataProblem, Vec<usize>)> = BTreeMap::new();
        for (number, Wanted { column, to, own, widening, untyped }) in self.wanted.iter_mut().enumerate() {
            let mut refuse = |index: usize, unfit: Unfit, value: &str| {
                let row = bad
                    .entry(index)
                    .or_insert_with(|| (unfit.problem(&self.name, column, value).in_row(self.row + index as u64 + 1), Vec::new()));
                row.1.push(number);
            };
            let finer: Vec<usize> = misfits
                .iter()
                .filter(|(source, ..)| *source == column.source)
                .map(|(_, index, unfit, value)| {
                    refuse(*index, *unfit, value);
                    *index
                })
                .collect();
            let (Some(own), Some((place, _))) = (*own, batch.schema_ref().column_with_name(&column.source)) else {
                if column.required {
                    (0..batch.num_rows()).for_each(|index| refuse(index, Unfit::Null, ""));
                }
                arrays.push(new_null_array(&arrow_type(*to), batch.num_rows()));
                continue;
            };
            if column.open && own != Own::Type(*to) {
                let array = batch.column(place);
                *untyped |= own != Own::Nothing && array.null_count() < array.len();
                arrays.push(new_null_array(&arrow_type(*to), batch.num_rows()));
                continue;
            }
            let field = &batch.schema_ref().fields()[place];
            let array = &without(batch.column(place), &finer);
            let wanted = (&*column, *to, own);
            let (array, mut unfit) = values(wanted, array, field, &self.rules, widening, &mut refuse).map_err(|error| {
                let message = format!("its nested values cannot be written as JSON text: {}", shown(&error.to_string()));
                DataProblem::new("qetl::ingest::type", &self.name, message)
                    .of_column(&column.name)
                    .help("leave the column out of the flow's `columns`, or write it as another type")
            })?;
            if column.required && array.null_count() > 0 {
                unfit.extend(&finer);
                let is_told = |index: &usize| unfit.contains(index);
                (0..array.len()).filter(|index| array.is_null(*index) && !is_told(index)).for_each(|index| refuse(index, Unfit::Null, ""));
            }
            arrays.push(array);
        }
        let bad = bad.into_iter().map(|(index, (problem, unreadable))| {
            let mut row = BadRow::new(&row_text(batch, index), unreadable, problem);
            row.number = self.row + index as u64 + 1;
            (index, row)
        });
        let bad = bad.collect();
        let before = self.row;
        self.row += batch.num_rows() as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let all = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options);
        let all = all.unwrap_or_else(|error| unreachable!("the columns follow the schema: {error}"));
        Ok(Rows::new(all, before, bad))
    }

    pub(crate) fn wider(&self) -> Vec<(usize, Type)> {
        wider(self.wanted.iter().map(|wanted| &wanted.widening))
    }

    /// The open columns that had values of other types.
    pub(crate) fn untyped(&self) -> Vec<usize> {
        self.wanted.iter().enumerate().filter(|(_, wanted)| wanted.untyped).map(|(index, _)| index).collect()
    }
}

/// The values that a column is wanted to have of an array, NULL where one does not fit, and where that is.
fn values(
    (column, to, own): (&ReadColumn, Type, Own),
    array: &ArrayRef,
    field: &FieldRef,
    rules: &Rules,
    widening: &mut Widening,
    refuse: &mut dyn FnMut(usize, Unfit, &str),
) -> Result<(ArrayRef, BTreeSet<usize>), ArrowError> {
    let array = &unpacked(array);
    let mut told = BTreeSet::new();
    let (own, normal) = match own {
        Own::Nothing => return Ok((new_null_array(&arrow_type(to), array.len()), told)),
        Own::Nested => return Ok((cast::json(array, field)?, told)),
        Own::Shown(_) => (Type::Text, own::shown_text(array)),
        Own::Uuid => (Type::Text, (own::uuid_text(array), Misfits::new())),
        Own::Bytes => (Type::Text, own::bytes_text(array)),
        Own::Type(own) => (own, normalise::normalise(array, own)),
    };
    let (normal, misfits) = normal;
    for (index, unfit) in misfits {
        refuse(index, unfit, &raw_text(array, index));
        told.insert(index);
    }
    let (cast, misfits) = cast::cast(&normal, own, to, column, rules);
    for (index, unfit) in misfits {
        let text = cast::text(&normal, own, index);
        let number = if own.is_numeric() && unfit != Unfit::Loses { Digits::POINT.number(&text).ok() } else { None };
        if !number.is_some_and(|number| widening.takes(number)) {
            refuse(index, unfit, &text);
        }
        // What is widened is told by that.
        told.insert(index);
    }
    Ok((cast, told))
}

/// The array with NULL at these places.
fn without(array: &ArrayRef, places: &[usize]) -> ArrayRef {
    if places.is_empty() {
        return Arc::clone(array);
    }
    let mask: BooleanArray = (0..array.len()).map(|index| Some(places.contains(&index))).collect();
    nullif(array, &mask).unwrap_or_else(|error| unreachable!("the mask is as long as the array: {error}"))
}

/// A row as it stands in a file that is no text: its values as JSON.
fn row_text(batch: &RecordBatch, index: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut writer = arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(&mut text);
    let written = writer.write(&batch.slice(index, 1)).and_then(|()| writer.finish());
    drop(writer);
    match written {
        Ok(()) => text.trim_ascii_end().to_vec(),
        // Values that the writer has no words for, such as those past its calendar.
        Err(_) => batch.columns().iter().map(|column| raw_text(column, index)).collect::<Vec<_>>().join(", ").into_bytes(),
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
        .help("leave the column out of the flow's `columns`, or write it as another type")
}

fn unlike(name: &str, what: &str, column: &ReadColumn, own: &str) -> DataProblem {
    let to = column.ty.unwrap_or(Type::Text);
    let is_number = to == Type::Timestamp && own == "integer";
    let help = if is_number { "; `timestamp_unit = \"ms\"` reads numbers since 1970" } else { "" };
    DataProblem::new("qetl::ingest::type", name, format!("is {own} in the {what} and {to} in the flow"))
        .of_column(&column.name)
        .help(format!("declare `schema_type = \"{own}\"`, or write the column as {to}{help}"))
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
