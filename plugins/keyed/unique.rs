//! One row per key.

use qetl_core::{
    input::OnDuplicateKey,
    ir::{AggregateFunction, Expr, Order, Rel, RelError, Steps, WindowFunction},
};

/// A batch's rows, one per key.
pub(crate) struct Unique {
    /// One row per key; keys with conflicting rows are missing unless the first or the last of them counts.
    pub(crate) accepted: Rel,
    /// The rows of keys whose rows differ, when that matters.
    pub(crate) conflicts: Option<Rel>,
    /// Those keys.
    pub(crate) conflicting: Option<Rel>,
}

/// What makes rows one.
pub(crate) struct Identity<'a> {
    pub(crate) keys: &'a [String],
    /// Of a key's rows those with the greatest values here count, compared column by column.
    pub(crate) sequence: &'a [String],
    /// Rows that are equal in these are copies, others are in conflict.
    pub(crate) columns: &'a [String],
    pub(crate) policy: OnDuplicateKey,
}

/// One row per key: older rows are left out, exact copies collapse, conflicting rows follow the policy. The names of its steps
/// begin with `prefix`: steps of one name mean the same in all of a flow's tasks.
///
/// Keys that stand more than once are few, so that all else is done for their rows alone.
pub(crate) fn unique(steps: &mut Steps, prefix: &str, rows: Rel, identity: &Identity<'_>) -> Result<Unique, RelError> {
    let Identity { keys, sequence, columns, policy } = identity;
    let name = |step: &str| format!("{prefix}{step}");
    let count = || vec![("xt_rows".to_owned(), AggregateFunction::Count)];
    let many = |rel: Rel| rel.filter(Expr::column("xt_rows").gt(Expr::int(1)))?.select(*keys);
    let repeated = steps.add_small(&name("repeated_keys"), many(rows.clone().aggregate(keys, count())?)?);
    let copies = steps.add(&name("repeated_rows"), rows.clone().semi(repeated.clone(), keys)?);
    let single = rows.anti(repeated, keys)?;
    let copies = if sequence.is_empty() { copies } else { steps.add(&name("newest_rows"), newest(copies, keys, sequence)?) };

    let descending = *policy == OnDuplicateKey::KeepLast;
    let file = Expr::file_position();
    let order = vec![Order { by: file, descending }, Order { by: Expr::column("xt_row_number"), descending }];
    let names: Vec<String> = copies.column_names().map(str::to_owned).collect();
    let first = |rel: Rel| -> Result<Rel, RelError> { first_of(rel, keys, order, &names) };
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

/// The rows that have the greatest sequence of their key.
fn newest(rows: Rel, keys: &[String], sequence: &[String]) -> Result<Rel, RelError> {
    let order = sequence.iter().map(|column| Order { by: Expr::column(column), descending: true }).collect();
    let place: Vec<String> = keys.iter().chain(sequence).cloned().collect();
    let greatest = first_of(rows.clone(), keys, order, &place)?;
    rows.semi(greatest, &place)
}

/// These columns of the first row of each key.
fn first_of(rows: Rel, keys: &[String], order: Vec<Order>, columns: &[String]) -> Result<Rel, RelError> {
    let numbered = rows.window("xt_copy", WindowFunction::RowNumber, keys, order)?;
    numbered.filter(Expr::column("xt_copy").eq(Expr::int(1)))?.select(columns)
}
