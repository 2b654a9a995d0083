//! The types of a flow's input columns: declared, pinned by an earlier run, or inferred from what waits now.

use std::collections::{BTreeMap, BTreeSet};

use qetl_core::{
    Flow, Problems, Type,
    input::{AddedColumns, OnNullKey},
    plan::{Expand, InputType, Known},
    problem::Problem,
};
use qetl_ingest::{Inferred, ReadColumn, ReadSpec, SourceFile};

use crate::{
    error::RunError,
    records::{ColumnDetails, FlowRecords, PinnedColumn},
};

/// The types as far as they are known without reading data.
pub fn known(flow: &Flow, records: &FlowRecords) -> Vec<InputType> {
    let required: BTreeSet<String> = match flow.input.on_null_key {
        OnNullKey::Fail => flow.properties.key_columns(flow).into_iter().collect(),
        OnNullKey::Park => BTreeSet::new(),
    };
    let column = |column: &qetl_core::input::InputColumn| {
        let pinned = records.columns.iter().find(|pinned| pinned.name == column.name.value);
        let (ty, known) = match (column.declared(), pinned) {
            (Some(ty), _) => (ty, Known::Declared),
            (None, Some(pinned)) => (pinned.ty, Known::Pinned),
            (None, None) => (Type::Text, Known::Presumed),
        };
        InputType {
            required: column.required || required.contains(column.name.as_str()),
            role: pinned.and_then(|pinned| pinned.details.role.clone()),
            ..InputType::new(&column.name, ty, known)
        }
    };
    flow.input.columns.iter().map(|spanned| column(&spanned.value)).collect()
}

/// Infers the types that are only presumed, from all rows of all the files.
pub fn infer(flow: &Flow, types: Vec<InputType>, files: &[SourceFile]) -> Result<Vec<InputType>, RunError> {
    if files.is_empty() || types.iter().all(|column| column.known != Known::Presumed) {
        return Ok(types);
    }
    let mut spec = read_spec(flow, &types);
    for (column, ty) in spec.columns.iter_mut().zip(&types) {
        if ty.known == Known::Presumed {
            column.ty = None;
        }
    }
    let found = qetl_ingest::infer(files, &spec)?;
    Ok(settled(flow, types, &found.into_iter().map(Some).collect::<Vec<_>>()))
}

/// Takes the types that are only presumed from the dataset that is read, as far as it is known which it has there.
pub fn brought(flow: &Flow, types: Vec<InputType>, dataset: &[(String, Option<Type>)]) -> Vec<InputType> {
    let found = |column: &InputType| dataset.iter().find(|(name, _)| *name == column.name).and_then(|(_, ty)| ty.map(Inferred::of));
    let found: Vec<Option<Inferred>> = types.iter().map(found).collect();
    settled(flow, types, &found)
}

/// Types that are only presumed become those that were found; the flow type has its say in what they are from now on.
fn settled(flow: &Flow, mut types: Vec<InputType>, found: &[Option<Inferred>]) -> Vec<InputType> {
    for (column, found) in types.iter_mut().zip(found).filter(|(column, _)| column.known == Known::Presumed) {
        if let Some(found) = found {
            (column.ty, column.known) = (found.ty, Known::Inferred);
        }
    }
    let pinned = |column: &InputType, found: &Option<Inferred>| match column.known {
        Known::Inferred => flow.properties.pinned_type(flow, &types, column, found.and_then(|found| found.decimals)),
        Known::Declared | Known::Pinned | Known::Presumed => column.ty,
    };
    let settled: Vec<Type> = types.iter().zip(found).map(|(column, found)| pinned(column, found)).collect();
    types.into_iter().zip(settled).map(|(column, ty)| InputType { ty, ..column }).collect()
}

/// How the flow's files are read.
pub fn read_spec(flow: &Flow, types: &[InputType]) -> ReadSpec {
    let column = |column: &InputType| ReadColumn {
        name: column.name.clone(),
        ty: Some(column.ty),
        required: column.required,
        inferred: column.known != Known::Declared,
    };
    ReadSpec {
        columns: types.iter().map(column).collect(),
        options: flow.reader.clone(),
        on_extra_columns: flow.load.as_ref().map(|load| load.on_extra_columns).unwrap_or_default(),
    }
}

/// What the flow type decides of the columns by their types.
pub fn roles(flow: &Flow, types: &[InputType]) -> BTreeMap<String, String> {
    flow.properties.roles(&Expand { flow, input: types })
}

/// The columns to record: those of the flow, then those that it once had. A role stays once it is recorded.
pub fn pinned(types: &[InputType], roles: &BTreeMap<String, String>, records: &FlowRecords) -> Vec<PinnedColumn> {
    let now = types.iter().map(|column| PinnedColumn {
        name: column.name.clone(),
        ty: column.ty,
        inferred: column.known != Known::Declared,
        details: ColumnDetails { role: column.role.clone().or_else(|| roles.get(&column.name).cloned()) },
    });
    let gone = records.columns.iter().filter(|old| !types.iter().any(|column| column.name == old.name)).cloned();
    now.chain(gone).collect()
}

/// Columns that came, went or changed since the flow's batches were made.
pub fn column_changes(flow: &Flow, types: &[InputType], records: &FlowRecords) -> Vec<String> {
    if records.batches.is_empty() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for column in types {
        match records.columns.iter().find(|old| old.name == column.name) {
            None => {
                let then = match flow.input.added_columns {
                    AddedColumns::Changed => "rows that have a value now count as changed",
                    AddedColumns::Carried => "it is carried until rows have it: a value alone is no change",
                };
                notes.push(format!("column `{}` is new: it is NULL in the batches there are, so {then}", column.name));
            }
            Some(old) if old.ty != column.ty => notes.push(format!("column `{}` was {} and is {} now", column.name, old.ty, column.ty)),
            Some(_) => (),
        }
    }
    for gone in records.columns.iter().filter(|old| !types.iter().any(|column| column.name == old.name)) {
        notes.push(format!("column `{}` is no longer read: it stays in the tables, NULL from now on", gone.name));
    }
    notes
}

/// What differs between the flow and what its batches were made with; empty when they can go on.
pub fn shape_changes(flow: &Flow, records: &FlowRecords) -> Problems {
    let mut problems = Problems::default();
    let Some(last) = records.batches.last() else { return problems };
    let (was, is) = (last.shape.as_object(), flow.shape.as_object());
    let (Some(was), Some(is)) = (was, is) else { return problems };
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for key in keys {
        let (before, now) = (was.get(key), is.get(key));
        if before != now {
            let say = |value: Option<&serde_json::Value>| value.map_or_else(|| "the default".to_owned(), |value| format!("`{value}`"));
            let message = format!("`{key}` was {} when the flow's batches were made, and is {} now", say(before), say(now));
            let help = "set it back, or derive everything again with `qetl execute --full-refresh`";
            problems.push(Problem::new("qetl::plan::shape_changed", flow.header.id.span, message).label("of this flow").help(help));
        }
    }
    problems.in_source(&flow.source)
}
