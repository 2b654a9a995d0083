//! What flow types share whose batches show rows of keys: one row a key, parked rows, deletion marks, and the rules for both.

use qetl_core::{
    Dataset, DatasetName, Flow, Problems, Task, Type,
    decode::{Scalar, Sp},
    input::{BatchMode, Input, OnDuplicateKey, OnNullKey},
    ir::{AggregateFunction, AsOf, BinaryOp, Expr, Order, Rel, RelError, Steps, Value, WindowFunction},
    plan::{Check, DatasetKind, Expand, LANDING_COLUMNS, Rule, WriteMode, batch_columns},
    problem::Problem,
};

/// The keys of `[input]` that such flow types know.
pub(crate) const INPUT_KEYS: &[&str] = &[
    "primary_key",
    "batch_mode",
    "delete_column",
    "delete_values",
    "allow_empty_snapshot",
    "max_delete_ratio",
    "on_duplicate_key",
    "on_null_key",
];

/// What the parked rows add to the input columns.
pub(crate) const PARKED_COLUMNS: [(&str, Type); 5] = [
    ("xt_parked_reason", Type::Text),
    ("xt_source_file", Type::Text),
    ("xt_row_number", Type::Int),
    ("xt_batch_id", Type::Int),
    ("xt_processed_at", Type::Timestamp),
];

/// The dataset of parked rows, if the flow parks any.
pub(crate) fn parked_name(cx: &Expand<'_>) -> Option<DatasetName> {
    let input = &cx.flow.input;
    let parks = input.on_null_key == OnNullKey::Park || input.on_duplicate_key == OnDuplicateKey::Park;
    parks.then(|| cx.dataset("parked"))
}

pub(crate) fn parked_dataset(cx: &Expand<'_>, name: &DatasetName) -> Result<Dataset, Problems> {
    let about = "rows set aside because of their key, with the reason".to_owned();
    Ok(Dataset { name: name.clone(), schema: cx.schema(&PARKED_COLUMNS)?, kind: DatasetKind::Derived, about })
}

/// A limit to deletions where nothing can be deleted.
pub(crate) fn check_delete_ratio(input: &Input, problems: &mut Problems) {
    if let (Some(ratio), BatchMode::Delta, None) = (&input.max_delete_ratio, input.batch_mode, &input.delete_column) {
        let what = "`max_delete_ratio` does nothing here: a delta batch without `delete_column` deletes nothing";
        problems.push(Problem::new("qetl::decode::inert_key", ratio.span, what).help("remove the key"));
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
    let ty = cx.input.iter().find(|input| input.name == column.value).map_or(Type::Text, |input| input.ty);
    let mut problems = Problems::default();
    let mut values = Vec::new();
    for value in &cx.flow.input.delete_values {
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

/// What is parked of a batch: rows without a value in one of `key_columns`, and conflicting ones.
pub(crate) fn parked(
    cx: &Expand<'_>,
    mut steps: Steps,
    landed: Rel,
    key_columns: &[String],
    conflicts: Option<Rel>,
) -> Result<Steps, RelError> {
    let input = &cx.flow.input;
    let with_reason = |rel: Rel, reason: &str| -> Result<Rel, RelError> {
        let own = input.column_names().map(|column| (column.to_owned(), Expr::column(column)));
        let more = [
            ("xt_parked_reason", Expr::text(reason)),
            ("xt_source_file", Expr::column("xt_source_file")),
            ("xt_row_number", Expr::column("xt_row_number")),
        ];
        let more = more.into_iter().chain(batch_columns()).map(|(name, expr)| (name.to_owned(), expr));
        rel.project(own.chain(more).collect())
    };
    let mut rows = Vec::new();
    if input.on_null_key == OnNullKey::Park {
        let no_key = landed.filter(Expr::any(key_columns.iter().map(|key| Expr::column(key).is_null())))?;
        rows.push(with_reason(no_key, "null_key")?);
    }
    if let (OnDuplicateKey::Park, Some(conflicts)) = (input.on_duplicate_key, conflicts) {
        rows.push(with_reason(conflicts, "duplicate_key")?);
    }
    steps.add("parked", Rel::union(rows)?);
    Ok(steps.needed())
}

/// The rules for what was landed. `duplicates` are the conflicting rows, with the steps that give them; `keys` name them.
pub(crate) fn landing_checks(cx: &Expand<'_>, keys: &[String], duplicates: Option<(Steps, Rel)>) -> Result<Vec<Check>, Problems> {
    let input = &cx.flow.input;
    let mut checks = Vec::new();
    let allowed = input.allow_empty_snapshot.as_ref().is_some_and(|allow| allow.value);
    if input.batch_mode == BatchMode::Snapshot && !allowed {
        let mut steps = Steps::default();
        let landing = Rel::scan(&cx.dataset("landing"), &cx.schema(&LANDING_COLUMNS)?, AsOf::ThisBatch);
        steps.add("rows", landing.aggregate(&[], vec![("n".to_owned(), AggregateFunction::Count)])?);
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

/// A batch's rows, one per key.
pub(crate) struct Unique {
    /// One row per key; keys with conflicting rows are missing unless the first or the last of them counts.
    pub(crate) accepted: Rel,
    /// The rows of keys whose rows differ, when that matters.
    pub(crate) conflicts: Option<Rel>,
    /// Those keys.
    pub(crate) conflicting: Option<Rel>,
}

/// One row per key: exact copies collapse, conflicting rows, which differ in `columns`, follow the policy. The names of its
/// steps begin with `prefix`: steps of one name mean the same in all of a flow's tasks.
///
/// Keys that stand more than once are few, so that all else is done for their rows alone.
pub(crate) fn unique(
    steps: &mut Steps,
    prefix: &str,
    rows: Rel,
    keys: &[String],
    columns: &[String],
    policy: OnDuplicateKey,
) -> Result<Unique, RelError> {
    let name = |step: &str| format!("{prefix}{step}");
    let count = || vec![("xt_rows".to_owned(), AggregateFunction::Count)];
    let many = |rel: Rel| rel.filter(Expr::column("xt_rows").gt(Expr::int(1)))?.select(keys);
    let repeated = steps.add_small(&name("repeated_keys"), many(rows.clone().aggregate(keys, count())?)?);
    let copies = steps.add(&name("repeated_rows"), rows.clone().semi(repeated.clone(), keys)?);
    let single = rows.anti(repeated, keys)?;

    let descending = policy == OnDuplicateKey::KeepLast;
    let file = Expr::file_position();
    let order = vec![Order { by: file, descending }, Order { by: Expr::column("xt_row_number"), descending }];
    let names: Vec<String> = copies.column_names().map(str::to_owned).collect();
    let first = |rel: Rel| -> Result<Rel, RelError> {
        let numbered = rel.window("xt_copy", WindowFunction::RowNumber, keys, order)?;
        numbered.filter(Expr::column("xt_copy").eq(Expr::int(1)))?.select(&names)
    };
    match policy {
        OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast => {
            let accepted = steps.add(&name("accepted"), Rel::union(vec![single, first(copies)?])?);
            Ok(Unique { accepted, conflicts: None, conflicting: None })
        }
        OnDuplicateKey::Fail | OnDuplicateKey::Park => {
            let distinct = copies.clone().aggregate(columns, Vec::new())?;
            let conflicting = steps.add_small(&name("conflicting_keys"), many(distinct.aggregate(keys, count())?)?);
            let conflicts = copies.clone().semi(conflicting.clone(), keys)?;
            let copies = first(copies.anti(conflicting.clone(), keys)?)?;
            let accepted = steps.add(&name("accepted"), Rel::union(vec![single, copies])?);
            Ok(Unique { accepted, conflicts: Some(conflicts), conflicting: Some(conflicting) })
        }
    }
}
