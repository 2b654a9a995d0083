//! The types of a flow's input columns: declared, pinned by an earlier run, or inferred from what waits now.

use std::collections::{BTreeMap, BTreeSet};

use qetl_core::{
    Column, DatasetName, Flow, Problems, Type,
    format::ReaderOptions,
    input::{AddedColumns, InputColumn, OnNullKey},
    plan::{Expand, InputType, Known},
    problem::Problem,
};
use qetl_ingest::{BadRows, Inferred, ReadColumn, ReadSpec, SourceFile};

use crate::{
    engine::{Engine, Landed},
    error::{Place, RunError},
    records::{FlowRecords, PinnedColumn},
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
            (None, Some(pinned)) if pinned.details.open => (pinned.ty, Known::Presumed),
            (None, Some(pinned)) => (pinned.ty, Known::Pinned),
            (None, None) => (Type::Text, Known::Presumed),
        };
        InputType {
            required: column.required || required.contains(column.name.as_str()),
            role: pinned.and_then(|pinned| pinned.details.role.clone()),
            ..InputType::new(&column.name, ty, known)
        }
    };
    let mut types: Vec<InputType> = flow.input.columns.iter().map(|spanned| column(&spanned.value)).collect();
    // The columns that the flow had once, each after the one that it stood behind.
    let mut before: Option<&str> = None;
    for old in &records.columns {
        if !types.iter().any(|column| column.name.eq_ignore_ascii_case(&old.name)) {
            let place = before.and_then(|name| types.iter().position(|column| column.name == name)).map_or(0, |place| place + 1);
            let gone = InputType { gone: true, role: old.details.role.clone(), ..InputType::new(&old.name, old.ty, Known::Pinned) };
            types.insert(place, gone);
        }
        before = Some(&old.name);
    }
    types
}

/// Whether files must be looked at for the types of columns. A column that was open before stays so until landing meets a value:
/// most of those have none for ever.
pub(crate) fn asks_for_types(types: &[InputType], is_open: impl Fn(&str) -> bool) -> bool {
    types.iter().any(|column| column.known == Known::Presumed && !is_open(&column.name))
}

/// Infers the types that are only presumed, from all rows of all the files; and what is worth a word about them.
pub fn infer(flow: &Flow, types: Vec<InputType>, files: &[SourceFile]) -> Result<(Vec<InputType>, Vec<String>), RunError> {
    if files.is_empty() || types.iter().all(|column| column.known != Known::Presumed) {
        return Ok((types, Vec::new()));
    }
    let mut spec = read_spec(flow, &types);
    for (column, ty) in spec.columns.iter_mut().zip(&types) {
        if ty.known == Known::Presumed {
            column.ty = None;
        }
    }
    let found = qetl_ingest::infer(files, &spec)?;
    let foreign = types.iter().zip(&found).filter_map(|(column, found)| Some(foreign_number(&column.name, found.foreign_number.as_ref()?)));
    let notes = foreign.collect();
    Ok((settled(flow, types, &found.into_iter().map(Some).collect::<Vec<_>>()), notes))
}

/// What is said of a column of text that looks like numbers.
fn foreign_number(column: &str, value: &str) -> String {
    format!(
        "column `{column}` is text, though `{value}` looks like a number: \
         `decimal_separator` names its point, `thousands_separator` what stands between groups of three digits"
    )
}

/// Takes the types that are only presumed from the dataset that is read, as far as it is known which it has there.
pub fn brought(flow: &Flow, types: Vec<InputType>, dataset: &[(String, Option<Type>)]) -> Vec<InputType> {
    let found = |column: &InputType| {
        let own = flow.input.columns.iter().find(|own| own.name.value == column.name)?;
        dataset.iter().find(|(name, _)| name == own.source_name()).and_then(|(_, ty)| ty.map(Inferred::of))
    };
    let found: Vec<Option<Inferred>> = types.iter().map(found).collect();
    settled(flow, types, &found)
}

/// Types that are only presumed become those that were found; the flow type has its say in what they are from now on.
fn settled(flow: &Flow, mut types: Vec<InputType>, found: &[Option<Inferred>]) -> Vec<InputType> {
    for (column, found) in types.iter_mut().zip(found).filter(|(column, _)| column.known == Known::Presumed) {
        if let Some(found) = found.as_ref().filter(|found| found.seen) {
            (column.ty, column.known) = (found.ty, Known::Inferred);
        }
    }
    let pinned = |column: &InputType, found: &Option<Inferred>| match column.known {
        Known::Inferred => flow.properties.pinned_type(flow, &types, column, found.as_ref().and_then(|found| found.decimals)),
        Known::Declared | Known::Pinned | Known::Presumed => column.ty,
    };
    let settled: Vec<Type> = types.iter().zip(found).map(|(column, found)| pinned(column, found)).collect();
    types.into_iter().zip(settled).map(|(column, ty)| InputType { ty, ..column }).collect()
}

/// How the flow's files are read.
pub fn read_spec(flow: &Flow, types: &[InputType]) -> ReadSpec {
    let needed = flow.properties.key_columns(flow);
    let mut keys = needed.clone();
    // What says an order is compared by its value.
    keys.retain(|key| !flow.input.sequence_columns.iter().any(|column| column.value == *key));
    let amounts = flow.properties.amounts(&Expand { flow, input: types });
    let column = |column: &InputType| {
        let own = flow.input.columns.iter().find(|own| own.name.value == column.name);
        ReadColumn {
            key: keys.contains(&column.name),
            finite: amounts.contains(&column.name),
            needed: flow.input.on_null_key == OnNullKey::Fail && needed.contains(&column.name),
            ..read_column(own.map(|own| &own.value), column)
        }
    };
    ReadSpec {
        columns: types.iter().map(column).collect(),
        options: flow.reader.clone(),
        on_extra_columns: flow.load.as_ref().map(|load| load.on_extra_columns).unwrap_or_default(),
        bad_rows: BadRows::Among,
    }
}

/// What the flow type decides of the columns by their types.
pub fn roles(flow: &Flow, types: &[InputType]) -> BTreeMap<String, String> {
    flow.properties.roles(&Expand { flow, input: types })
}

/// The columns that the names of folders give, each with what it is called there.
pub(crate) fn of_folders<'a>(reader: &ReaderOptions, columns: impl Iterator<Item = &'a InputColumn>) -> Vec<(String, String)> {
    let own: BTreeMap<&str, &str> = columns.map(|column| (column.name.as_str(), column.source_name())).collect();
    let named = |name: &String| (name.clone(), own.get(name.as_str()).map_or_else(|| name.clone(), |own| (*own).to_owned()));
    reader.partition_columns.iter().map(named).collect()
}

/// How a column is read, as far as it says itself.
pub(crate) fn read_column(own: Option<&InputColumn>, column: &InputType) -> ReadColumn {
    ReadColumn {
        source: own.map_or(&*column.name, InputColumn::source_name).to_owned(),
        required: column.required,
        optional: own.is_some_and(InputColumn::is_optional),
        inferred: column.known != Known::Declared,
        open: column.known == Known::Presumed,
        gone: column.gone,
        ..ReadColumn::new(&column.name, Some(column.ty))
    }
}

/// The columns to record: those of the flow, then those that it once had. `landed`: what a batch has in the columns.
pub fn pinned(types: &[InputType], roles: &BTreeMap<String, String>, records: &FlowRecords, landed: Option<&Landed>) -> Vec<PinnedColumn> {
    let old = |name: &str| records.columns.iter().find(|old| old.name == name);
    let now = |(index, column): (usize, &InputType)| {
        if let Some(gone) = old(&column.name).filter(|_| column.gone) {
            return gone.clone();
        }
        let mut pinned = pin(&column.name, column, old(&column.name), landed.map(|landed| (landed, index)));
        pinned.details.role = roles.get(&column.name).cloned().or_else(|| column.role.clone());
        pinned
    };
    // One that differs from a column of the flow in case alone is not told again.
    let twins = records.columns.iter().filter(|old| !types.iter().any(|column| column.name == old.name)).cloned();
    types.iter().enumerate().map(now).chain(twins).collect()
}

/// A column as it is recorded from now on. It stays open until it has a value.
pub(crate) fn pin(name: &str, column: &InputType, old: Option<&PinnedColumn>, landed: Option<(&Landed, usize)>) -> PinnedColumn {
    let mut details = old.map(|old| old.details.clone()).unwrap_or_default();
    let is_filled = landed.is_some_and(|(landed, index)| landed.filled.has(index));
    details.open = column.known != Known::Declared && !is_filled && old.is_none_or(|old| old.details.open);
    details.emptied = details.open && (details.emptied || landed.is_some_and(|(landed, index)| landed.emptied.contains(&index)));
    PinnedColumn { name: name.to_owned(), ty: column.ty, inferred: column.known != Known::Declared, details }
}

/// Gives columns the types that values need, if what is stored fits them too; what is told of that.
pub(crate) async fn widen(
    engine: &dyn Engine,
    dataset: Option<&DatasetName>,
    input: &mut [InputType],
    wider: Vec<(usize, Type)>,
) -> Result<Vec<String>, RunError> {
    let mut told = Vec::new();
    for (index, to) in wider {
        let column = &mut input[index];
        let misfits = match dataset.filter(|_| leaves_fewer_whole_digits(column.ty, to)) {
            Some(dataset) => engine.misfits(dataset, &Column::new(&column.name, to)).await?,
            None => 0,
        };
        if misfits > 0 {
            let what = format!("column `{}` is {}; a value needs {to}, which {misfits} stored values do not fit", column.name, column.ty);
            let help = "declare `schema_type = \"string\"`, or mend the file: a decimal has 38 digits";
            return Err(RunError::refused(Place::default(), what, help));
        }
        told.push(format!("column `{}` was {} and is {to} from now on: a value needs it", column.name, column.ty));
        (column.ty, column.known) = (to, Known::Inferred);
    }
    Ok(told)
}

/// Whether values that fit the one type may have too many digits before the point for the other.
fn leaves_fewer_whole_digits(from: Type, to: Type) -> bool {
    let whole = |ty| match ty {
        Type::Int => Some(19),
        Type::Decimal { precision, scale } => Some(precision - scale),
        Type::Text | Type::Float | Type::Bool | Type::Date | Type::Timestamp => None,
    };
    whole(to) < whole(from)
}

/// Whether the columns that landing found values in have types now.
pub(crate) fn refuse_untyped(types: &[InputType], untyped: &[usize]) -> Result<(), RunError> {
    match untyped.iter().find(|index| types[**index].known == Known::Presumed) {
        None => Ok(()),
        Some(index) => Err(RunError::failed(format!("a file was changed while it was read: column `{}`", types[*index].name))),
    }
}

/// What is worth a word when an open column gets its first values.
pub(crate) fn settles(column: &InputType, old: Option<&PinnedColumn>) -> Option<String> {
    let lost = old.is_some_and(|old| old.details.open && old.details.emptied) && column.ty == Type::Text;
    lost.then(|| format!("column `{}` is string from now on: until now it had no value, and `\"\"` was landed in it as NULL", column.name))
}

/// Columns that came, went or changed since the flow's batches were made.
pub fn column_changes(flow: &Flow, types: &[InputType], records: &FlowRecords) -> Vec<String> {
    if records.batches.is_empty() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    for column in types.iter().filter(|column| !column.gone) {
        match records.columns.iter().find(|old| old.name == column.name) {
            None => {
                let then = match flow.input.added_columns {
                    AddedColumns::Changed => "rows that have a value now count as changed",
                    AddedColumns::Carried => "it is carried until rows have it: a value alone is no change",
                };
                notes.push(format!("column `{}` is new: it is NULL in the batches there are, so {then}", column.name));
            }
            Some(old) if old.details.open && old.ty != column.ty => {
                notes.push(format!("column `{}` had no value until now, and is {} from now on", column.name, column.ty));
            }
            Some(old) if old.ty != column.ty => notes.push(format!("column `{}` was {} and is {} now", column.name, old.ty, column.ty)),
            Some(_) => (),
        }
    }
    for gone in types.iter().filter(|column| column.gone) {
        notes.push(format!("column `{}` is no longer read: it stays in the tables, NULL from now on", gone.name));
    }
    notes
}

/// Columns that are called like one that the flow had once, but for case: a table has one or the other.
pub fn twins(flow: &Flow, records: &FlowRecords) -> Problems {
    let mut problems = Problems::default();
    for column in &flow.input.columns {
        let name = &column.name;
        let twin = records.columns.iter().find(|old| old.name != name.value && old.name.eq_ignore_ascii_case(name));
        if let Some(twin) = twin.filter(|_| !records.columns.iter().any(|old| old.name == name.value)) {
            let what = format!("column `{}` is called as `{}`, which the stored tables have, but for case", name.value, twin.name);
            let help = "names that differ only in case are equal: give the column the old name or another one";
            problems.push(Problem::new("qetl::plan::column_name", name.span, what).label("called otherwise").help(help));
        }
    }
    problems.in_source(&flow.source)
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
