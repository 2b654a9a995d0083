//! The columns that an ingestion reads: declared, pinned by an earlier run, or those of the files that wait.

use qetl_core::{
    Column, DatasetName, Type,
    plan::{InputType, Known, LANDING_COLUMNS},
    standard::Ingestion,
};
use qetl_ingest::{ReadColumn, ReadSpec, SourceFile};

use super::bench::KnownColumns;
use crate::{
    error::RunError,
    records::{ColumnDetails, FlowRecords, PinnedColumn},
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
        let own = records.columns.iter().filter_map(|pinned| Some((pinned.name.strip_prefix(&before)?, pinned.ty)));
        let columns: Vec<InputType> = own.map(|(name, ty)| column(name, ty, Known::Pinned, false)).collect();
        return (!columns.is_empty()).then_some(columns);
    }
    let one = |own: &qetl_core::input::InputColumn| {
        let (ty, known) = match (own.declared(), pinned(&own.name)) {
            (Some(ty), _) => (ty, Known::Declared),
            (None, Some(pinned)) => (pinned.ty, Known::Pinned),
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

fn column(name: &str, ty: Type, known: Known, required: bool) -> InputType {
    InputType { required, ..InputType::new(name, ty, known) }
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
            let names = qetl_ingest::column_names(first, &ingestion.reader)?;
            if let Some((name, why)) = names.iter().find_map(|name| Some((name, qetl_core::schema::refuse_column_name(name)?))) {
                let message = format!("`{}` has the column `{name}`, which no dataset can have", first.name);
                return Err(RunError::usage(message, format!("{why}; list the columns to read in `columns`")));
            }
            names.iter().map(|name| column(name, Type::Text, Known::Presumed, false)).collect()
        }
    };
    if types.iter().all(|column| column.known != Known::Presumed) {
        return Ok(Some(types));
    }
    let mut spec = read_spec(ingestion, &types);
    for (column, ty) in spec.columns.iter_mut().zip(&types) {
        if ty.known == Known::Presumed {
            column.ty = None;
        }
    }
    for (column, found) in types.iter_mut().zip(qetl_ingest::infer(files, &spec)?) {
        if column.known == Known::Presumed {
            (column.ty, column.known) = (found.ty, Known::Inferred);
        }
    }
    Ok(Some(types))
}

/// How an ingestion's files are read.
pub(super) fn read_spec(ingestion: &Ingestion, types: &[InputType]) -> ReadSpec {
    let column = |column: &InputType| ReadColumn {
        name: column.name.clone(),
        ty: Some(column.ty),
        required: column.required,
        inferred: column.known != Known::Declared,
        gone: column.gone,
    };
    ReadSpec {
        columns: types.iter().map(column).collect(),
        options: ingestion.reader.clone(),
        on_extra_columns: ingestion.on_extra_columns,
    }
}

/// The columns of the dataset that an ingestion makes.
pub(super) fn landed(types: &[InputType]) -> KnownColumns {
    let own = types.iter().map(|column| Column::new(&column.name, column.ty));
    let columns = own.chain(LANDING_COLUMNS.iter().map(|(name, ty)| Column::new(name, *ty))).collect();
    KnownColumns { columns, typed: types.iter().all(|column| column.known != Known::Presumed) }
}

/// What is recorded of the columns: those of now, then those that were once.
pub(super) fn pinned<'a>(inputs: impl Iterator<Item = (&'a DatasetName, &'a [InputType])>, records: &FlowRecords) -> Vec<PinnedColumn> {
    let mut columns: Vec<PinnedColumn> = Vec::new();
    for (target, types) in inputs {
        columns.extend(types.iter().filter(|column| !column.gone).map(|column| PinnedColumn {
            name: pinned_name(target, &column.name),
            ty: column.ty,
            inferred: column.known != Known::Declared,
            details: ColumnDetails::default(),
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

/// The type that a column of the ingestion was recorded with.
pub(super) fn recorded(target: &DatasetName, column: &str, records: &FlowRecords) -> Option<Type> {
    records.columns.iter().find(|old| old.name == pinned_name(target, column)).map(|old| old.ty)
}
