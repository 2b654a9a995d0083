//! What flow types share whose batches show rows of keys: one row a key, parked rows, deletion marks, and the rules for both.

mod of_values;
mod parked;
mod unique;

use qetl_core::{
    DatasetName, Flow, Problems, Task, Type,
    decode::{Scalar, Sp},
    input::{BatchMode, DeleteValues, Input, OnDuplicateKey, OnNullKey, SEQUENCE_TYPES},
    ir::{AggregateFunction, AsOf, BinaryOp, Expr, Order, Rel, RelError, Steps, Value},
    plan::{Check, Expand, Known, Rule, WriteMode},
    problem::Problem,
};

pub(crate) use of_values::of_values;
pub(crate) use parked::{
    Parked, as_parked, parked_bad, parked_dataset, parked_name, parked_rows, parked_schema, parks_known_keys, unreadable,
};
pub(crate) use unique::{Identity, Unique, unique};

/// The keys of `[input]` that such flow types know.
pub(crate) const INPUT_KEYS: &[&str] = &[
    "primary_key",
    "batch_mode",
    "delete_column",
    "delete_values",
    "sequence_columns",
    "snapshot_of",
    "added_columns",
    "allow_empty_snapshot",
    "max_delete_ratio",
    "on_duplicate_key",
    "on_null_key",
];

/// A limit to deletions where nothing can be deleted.
pub(crate) fn check_delete_ratio(input: &Input, problems: &mut Problems) {
    if let (Some(ratio), BatchMode::Delta, None) = (&input.max_delete_ratio, input.batch_mode, &input.delete_column) {
        let what = "`max_delete_ratio` does nothing here: a delta batch without `delete_column` deletes nothing";
        problems.push(Problem::new("qetl::decode::inert_key", ratio.span, what).help("remove the key"));
    }
}

/// Columns that say an order and whose type, which was inferred, says none.
pub(crate) fn check_sequence_types(cx: &Expand<'_>) -> Problems {
    let mut problems = Problems::default();
    for named in &cx.flow.input.sequence_columns {
        let column = cx.input.iter().find(|column| column.name == named.value);
        if let Some(column) = column.filter(|column| !column.ty.is_sequence() && column.known != Known::Presumed) {
            let what = format!("the sequence column `{}` is of type {}, which says no order", column.name, column.ty);
            let help = format!("{SEQUENCE_TYPES}: declare one as the column's `schema_type`, or name another column");
            problems.push(Problem::new("qetl::expand::sequence_columns", named.span, what).label("no sequence").help(help));
        }
    }
    problems
}

/// What is wrong with `change_detection_columns`.
pub(crate) fn check_tracked(input: &Input, columns: &[Sp<String>], problems: &mut Problems) {
    let take_out = "take it out of `change_detection_columns`";
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].iter().any(|other| other.value == column.value) {
            let what = format!("`{}` stands twice in `change_detection_columns`", column.value);
            problems.push(Problem::new("qetl::decode::duplicate_column", column.span, what).label("here again"));
        }
        input.check_column(column, "change_detection_columns", problems);
        if input.primary_key.iter().any(|key| key.value == column.value) {
            let what = format!("`{}` is a key column: the same key is the same row, so it never differs", column.value);
            problems.push(Problem::new("qetl::decode::tracked_key", column.span, what).help(take_out));
        }
        let mut is_carried = |code: &'static str, does: &str| {
            let what = format!("`{}` {does}: it is carried, never compared", column.value);
            problems.push(Problem::new(code, column.span, what).help(take_out));
        };
        if input.delete_column.as_ref().is_some_and(|delete| delete.value == column.value) {
            is_carried("qetl::decode::tracked_delete", "marks deletions");
        } else if input.is_carried(column) {
            is_carried("qetl::decode::tracked_sequence", "says the order of rows");
        }
    }
}

/// A warning that the flow names neither files nor a dataset.
pub(crate) fn check_load(flow: &Flow, label: &str, problems: &mut Problems) {
    if flow.load.is_none() && flow.input.source_dataset.is_none() {
        let what = "the flow reads nothing: `[properties.load]` is missing";
        problems.push(
            Problem::new("qetl::decode::reads_nothing", flow.header.flow_type.span, what)
                .label(label)
                .help("add `[properties.load]` with `source_path = \"data/…\"`, or name files with `--batch-id N --input FILE`")
                .warning(),
        );
    }
}

/// True for a row that `delete_column` marks as deleted; NULL is not a mark.
pub(crate) fn is_marked(cx: &Expand<'_>, column: &Sp<String>) -> Result<Expr, Problems> {
    let listed = match cx.flow.input.delete_values.as_ref().map(|values| &values.value) {
        Some(DeleteValues::NotNull) => return Ok(Expr::column(column).is_null().not()),
        Some(DeleteValues::Listed(listed)) => listed.as_slice(),
        None => &[],
    };
    let ty = cx.input.iter().find(|input| input.name == column.value).map_or(Type::Text, |input| input.ty);
    let mut problems = Problems::default();
    let mut values = Vec::new();
    for value in listed {
        let written = value.value.to_string();
        let is_of_type = match (&value.value, ty) {
            (Scalar::Text(_), _) | (Scalar::Bool(_), Type::Bool | Type::Text) => true,
            (Scalar::Int(_), Type::Int | Type::Float | Type::Decimal { .. } | Type::Text) => true,
            (Scalar::Float(_), Type::Float | Type::Decimal { .. }) => true,
            (Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_), _) => false,
        };
        if !is_of_type || !ty.has_literal(&written) {
            let what = format!("`{written}` is not a value of `{}`, which is of type {ty}", column.value);
            problems.push(Problem::new("qetl::expand::delete_values", value.span, what).label("never stands in that column"));
        }
        let literal = match &value.value {
            Scalar::Int(number) => Expr::int(*number),
            Scalar::Bool(value) if ty == Type::Bool => Expr::Literal(Value::Bool(*value)),
            Scalar::Text(_) | Scalar::Bool(_) | Scalar::Float(_) => Expr::text(&written),
        };
        values.push(Expr::Cast { expr: Box::new(literal), ty });
    }
    let same = values.into_iter().map(|value| Expr::column(column).binary(BinaryOp::IsNotDistinct, value));
    problems.or(Expr::any(same))
}

/// The rows that have a value in each of the columns.
pub(crate) fn with_all(rows: Rel, columns: &[String]) -> Result<Rel, RelError> {
    rows.filter(Expr::all(columns.iter().map(|column| Expr::column(column).is_null().not())))
}

/// The landed rows that have a value in each of the key columns: where others are refused, all of them.
pub(crate) fn with_keys(input: &Input, rows: Rel, columns: &[String]) -> Result<Rel, RelError> {
    match input.on_null_key {
        OnNullKey::Fail => Ok(rows),
        OnNullKey::Park => with_all(rows, columns),
    }
}

/// The rules for what was landed. `duplicates` are the conflicting rows, with the steps that give them; `keys` name them.
pub(crate) fn landing_checks(cx: &Expand<'_>, keys: &[String], duplicates: Option<(Steps, Rel)>) -> Result<Vec<Check>, Problems> {
    let input = &cx.flow.input;
    let mut checks = Vec::new();
    let allowed = input.allow_empty_snapshot.as_ref().is_some_and(|allow| allow.value);
    // A snapshot of no value deletes nothing.
    if input.batch_mode == BatchMode::Snapshot && input.snapshot_of.is_empty() && !allowed {
        let mut steps = Steps::default();
        steps.add("rows", cx.landed_rows()?.all(AsOf::ThisBatch).aggregate(&[], vec![("n".to_owned(), AggregateFunction::Count)])?);
        checks.push(Check { rule: Rule::NotEmpty, steps, guard: true });
    }
    if let (OnDuplicateKey::Fail, Some((mut steps, conflicts))) = (input.on_duplicate_key, duplicates) {
        let columns = keys.iter().map(String::as_str).chain(["xt_source_file", "xt_row_number"]);
        let by = |name: &str| Order { by: Expr::column(name), descending: false };
        let order = keys.iter().map(|key| by(key)).chain([Order { by: Expr::file_position(), descending: false }, by("xt_row_number")]);
        steps.add("duplicates", conflicts.sort(order.collect())?.select(columns)?.limit(100)?);
        checks.push(Check { rule: Rule::DuplicateKey { keys: keys.to_vec() }, steps: steps.needed(), guard: false });
    }
    Ok(checks)
}

/// A task that replaces the rows of its batch.
pub(crate) fn task(target: &DatasetName, steps: Steps, count_by: Option<&str>, checks: Vec<Check>) -> Task {
    Task { target: target.clone(), steps, write_mode: WriteMode::ReplaceBatch, count_by: count_by.map(str::to_owned), checks }
}
