//! The columns that an ingestion reads: declared, pinned by an earlier run, or those of the files that wait.

use qetl_core::{
    Column, DatasetName, Type,
    plan::{InputType, Known, LANDING_COLUMNS, PARKED_COLUMNS},
    standard::Ingestion,
};
use qetl_ingest::{BadRows, ReadSpec, SourceFile};

use super::bench::KnownColumns;
use crate::{
    engine::Landed,
    error::RunError,
    records::{FlowRecords, PinnedColumn},
    types::{self as flow_types, pin, read_column},
};

/// The flow has several inputs, so records name a column with its dataset.
pub(super) fn pinned_name(target: &DatasetName, column: &str) -> String {
    format!("{}.{column}", target.name)
}

/// The columns as far as they are known without reading data; `None`: the file will say.
pub(super) fn known(ingestion: &Ingestion, target: &DatasetName, records: &FlowRecords) -> Option<Vec<InputType>> {
    let pinned = |name: &str| records.columns.iter().find(|pinned| pinned.name == pinned_name(target, name));
    if ingestion.columns.is_empty() {
        let before = pinned_name(target, "");
        let own = records.columns.iter().filter_map(|pinned| Some((pinned.name.strip_prefix(&before)?, pinned)));
        let columns: Vec<InputType> = own.map(|(name, pinned)| column(name, pinned.ty, is_known(pinned), false)).collect();
        return (!columns.is_empty()).then_some(columns);
    }
    let one = |own: &qetl_core::input::InputColumn| {
        let (ty, known) = match (own.declared(), pinned(&own.name)) {
            (Some(ty), _) => (ty, Known::Declared),
            (None, Some(pinned)) => (pinned.ty, is_known(pinned)),
            (None, None) => (Type::Text, Known::Presumed),
        };
        column(&own.name, ty, known, own.required)
    };
    let there: Vec<InputType> = ingestion.columns.iter().map(one).collect();
    let gone = gone(target, &there, records);
    Some(there.into_iter().chain(gone).collect())
}

/// The columns that the ingestion listed once.
fn gone(target: &DatasetName, there: &[InputType], records: &FlowRecords) -> Vec<InputType> {
    let before = pinned_name(target, "");
    let own = records.columns.iter().filter_map(|pinned| Some((pinned.name.strip_prefix(&before)?, pinned.ty)));
    let gone = own.filter(|(name, _)| !there.iter().any(|column| column.name.eq_ignore_ascii_case(name)));
    gone.map(|(name, ty)| InputType { gone: true, ..column(name, ty, Known::Pinned, false) }).collect()
}

/// A column without a value gets its type with the first one.
fn is_known(pinned: &PinnedColumn) -> Known {
    if pinned.details.open { Known::Presumed } else { Known::Pinned }
}

fn column(name: &str, ty: Type, known: Known, required: bool) -> InputType {
    InputType { required, ..InputType::new(name, ty, known) }
}

/// Whether files must be looked at for columns and their types.
pub(super) fn asks_for_types(known: Option<&[InputType]>, target: &DatasetName, records: &FlowRecords) -> bool {
    let is_open = |name: &str| recorded(target, name, records).is_some_and(|old| old.details.open);
    known.is_none_or(|known| flow_types::asks_for_types(known, is_open))
}

/// The same, with types of what is not known inferred from all rows of the files; `None` only without files.
pub(super) fn infer(
    ingestion: &Ingestion,
    known: Option<Vec<InputType>>,
    files: &[SourceFile],
) -> Result<Option<Vec<InputType>>, RunError> {
    let Some(first) = files.first() else { return Ok(known) };
    let mut types = match known {
        Some(types) => types,
        None => {
            let found = qetl_ingest::columns_of(files, &ingestion.reader)?;
            if let Some((name, why)) = found.names.iter().find_map(|name| Some((name, qetl_core::schema::refuse_column_name(name)?))) {
                let message = format!("`{}` has the column `{}`, which no dataset can have", first.name, name.escape_debug());
                let list =
                    format!("list the columns to read in `columns`: `{{ name = \"…\", from = \"{}\" }}` renames one", name.escape_debug());
                return Err(RunError::usage(message, format!("{why}; {}", found.other_delimiter.unwrap_or(list))));
            }
            found.names.iter().map(|name| column(name, Type::Text, Known::Presumed, false)).collect()
        }
    };
    if types.iter().all(|column| column.known != Known::Presumed) {
        return Ok(Some(types));
    }
    let mut spec = read_spec(ingestion, &types, BadRows::LeftOut);
    for (column, ty) in spec.columns.iter_mut().zip(&types) {
        if ty.known == Known::Presumed {
            column.ty = None;
        }
    }
    for (column, found) in types.iter_mut().zip(qetl_ingest::infer(files, &spec)?) {
        if column.known == Known::Presumed && found.seen {
            (column.ty, column.known) = (found.ty, Known::Inferred);
        }
    }
    Ok(Some(types))
}

/// How an ingestion's files are read.
pub(super) fn read_spec(ingestion: &Ingestion, types: &[InputType], bad_rows: BadRows) -> ReadSpec {
    let column = |column: &InputType| read_column(ingestion.columns.iter().find(|own| own.name.value == column.name), column);
    ReadSpec {
        columns: types.iter().map(column).collect(),
        options: ingestion.reader.clone(),
        on_extra_columns: ingestion.on_extra_columns,
        bad_rows,
    }
}

/// The columns of the dataset that an ingestion makes.
pub(super) fn landed(types: &[InputType]) -> KnownColumns {
    let own = types.iter().map(|column| Column::new(&column.name, column.ty));
    let columns = own.chain(LANDING_COLUMNS.iter().map(|(name, ty)| Column::new(name, *ty))).collect();
    KnownColumns { columns, typed: types.iter().all(|column| column.known != Known::Presumed) }
}

/// The columns of the dataset of the rows that it sets aside.
pub(super) fn parked(types: &[InputType]) -> KnownColumns {
    let KnownColumns { mut columns, typed } = landed(types);
    columns.splice(types.len()..types.len(), PARKED_COLUMNS.map(|(name, ty)| Column::new(name, ty)));
    KnownColumns { columns, typed }
}

/// What is recorded of the columns of ingestions, each with what a batch has in it: those of now, then those that were once.
pub(super) fn pinned<'a>(
    inputs: impl Iterator<Item = (&'a DatasetName, &'a [InputType], Option<&'a Landed>)>,
    records: &FlowRecords,
) -> Vec<PinnedColumn> {
    let mut columns: Vec<PinnedColumn> = Vec::new();
    for (target, types, landed) in inputs {
        columns.extend(types.iter().enumerate().filter(|(_, column)| !column.gone).map(|(index, column)| {
            let old = recorded(target, &column.name, records);
            pin(&pinned_name(target, &column.name), column, old, landed.map(|landed| (landed, index)))
        }));
    }
    for old in &records.columns {
        if !columns.iter().any(|column| column.name == old.name) {
            columns.push(old.clone());
        }
    }
    columns
}

/// The columns that are landed, as they are recorded.
pub(super) fn landed_names<'a>(inputs: impl Iterator<Item = (&'a DatasetName, &'a [InputType])>) -> Vec<String> {
    let of = |(target, types): (&'a DatasetName, &'a [InputType])| {
        types.iter().filter(|column| !column.gone).map(move |column| pinned_name(target, &column.name))
    };
    inputs.flat_map(of).collect()
}

/// What a column of the ingestion was recorded as.
pub(super) fn recorded<'a>(target: &DatasetName, column: &str, records: &'a FlowRecords) -> Option<&'a PinnedColumn> {
    records.columns.iter().find(|old| old.name == pinned_name(target, column))
}
