//! Rows that are set aside, and what that means for the keys that they are of.

use qetl_core::{
    Dataset, DatasetName, Problems, Schema, Task, Type,
    input::{BatchMode, OnDuplicateKey, OnNullKey},
    ir::{AsOf, Expr, Rel, RelError, Steps},
    plan::{BAD_COLUMNS, BAD_ROW, Check, DatasetKind, Expand, Rule, batch_columns},
};

use super::{task, with_all};

/// What the parked rows add to the input columns.
pub(crate) const PARKED_COLUMNS: [(&str, Type); 5] = [
    ("xt_parked_reason", Type::Text),
    ("xt_source_file", Type::Text),
    ("xt_row_number", Type::Int),
    ("xt_batch_id", Type::Int),
    ("xt_processed_at", Type::Timestamp),
];

/// A row has NULL in a column of the key, or in one that says its order.
const NULL_KEY: &str = "null_key";
/// A row differs from others of its key.
const DUPLICATE_KEY: &str = "duplicate_key";

/// The dataset of parked rows, if the flow parks any.
pub(crate) fn parked_name(cx: &Expand<'_>) -> Option<DatasetName> {
    let input = &cx.flow.input;
    let parks_keys = input.on_null_key == OnNullKey::Park || input.on_duplicate_key == OnDuplicateKey::Park;
    (parks_keys || cx.flow.reader.parks_bad_rows()).then(|| cx.dataset("parked"))
}

/// What it holds, for people.
fn about(cx: &Expand<'_>) -> &'static str {
    let input = &cx.flow.input;
    let parks_keys = input.on_null_key == OnNullKey::Park || input.on_duplicate_key == OnDuplicateKey::Park;
    match (cx.flow.reader.parks_bad_rows(), parks_keys) {
        (false, _) => "rows set aside because of their key, with the reason",
        (true, false) => "rows set aside because they do not fit, with the reason",
        (true, true) => "rows set aside because they do not fit, or because of their key, with the reason",
    }
}

pub(crate) fn parked_dataset(cx: &Expand<'_>, name: &DatasetName) -> Result<Dataset, Problems> {
    Ok(Dataset { name: name.clone(), schema: parked_schema(cx)?, kind: DatasetKind::Derived, about: about(cx).to_owned() })
}

pub(crate) fn parked_schema(cx: &Expand<'_>) -> Result<Schema, Problems> {
    let bad = cx.flow.reader.parks_bad_rows().then_some(BAD_COLUMNS);
    cx.schema(&PARKED_COLUMNS.into_iter().chain(bad.into_iter().flatten()).collect::<Vec<_>>())
}

/// The parked rows of these batches.
pub(crate) fn parked_rows(cx: &Expand<'_>, name: &DatasetName, as_of: AsOf) -> Result<Rel, Problems> {
    Ok(Rel::scan(name, &parked_schema(cx)?, as_of))
}

/// Landed rows as they are parked, for a reason that may be a column of theirs.
pub(crate) fn as_parked(cx: &Expand<'_>, rows: Rel, reason: &Expr) -> Result<Rel, RelError> {
    let own = cx.flow.input.column_names().map(|column| (column.to_owned(), Expr::column(column)));
    let place = ["xt_source_file", "xt_row_number"].map(|name| (name, Expr::column(name)));
    let more = [("xt_parked_reason", reason.clone())].into_iter().chain(place).chain(batch_columns());
    let bad = BAD_COLUMNS.map(|(name, ty)| match rows.column_names().any(|column| column == name) {
        true => (name, Expr::column(name)),
        false => (name, Expr::null(ty)),
    });
    let more = more.chain(bad.into_iter().filter(|_| cx.flow.reader.parks_bad_rows()));
    rows.project(own.chain(more.map(|(name, expr)| (name.to_owned(), expr))).collect())
}

/// The rows of the batch that do not fit, if the flow sets them aside.
pub(crate) fn parked_bad(cx: &Expand<'_>) -> Result<Option<Rel>, Problems> {
    let bad = cx.landed_rows()?.bad(AsOf::ThisBatch)?;
    Ok(bad.map(|bad| as_parked(cx, bad, &Expr::text(BAD_ROW))).transpose()?)
}

/// Whether a row may be set aside whose key is known, where rows need a value in these columns. Then a live key may have no
/// row in a batch.
pub(crate) fn parks_known_keys(cx: &Expand<'_>, needed: &[String]) -> bool {
    let input = &cx.flow.input;
    let lacks_other = needed.iter().any(|column| !input.primary_key.iter().any(|key| key.value == *column));
    let parks_keys = input.on_duplicate_key == OnDuplicateKey::Park || (input.on_null_key == OnNullKey::Park && lacks_other);
    parks_keys || cx.flow.reader.parks_bad_rows()
}

/// Those of the rows that do not fit of which it is not known whose they are.
pub(crate) fn unreadable(cx: &Expand<'_>, bad: Rel) -> Result<Rel, RelError> {
    let said = cx.flow.input.primary_key.iter().chain(&cx.flow.input.snapshot_of);
    bad.filter(Expr::any(said.map(|column| Expr::column(column).is_null())))
}

/// The rows of one batch that are set aside.
pub(crate) struct Parked<'a> {
    cx: &'a Expand<'a>,
    rows: Vec<Rel>,
    keys: Vec<Rel>,
    /// Rows of which it is not known what they would have said.
    unreadable: Vec<Rel>,
}

impl<'a> Parked<'a> {
    /// Those that do not fit, and those of `landed` that have NULL where the flow needs a value, as far as it sets them aside.
    pub(crate) fn with_null(cx: &'a Expand<'a>, landed: &Rel, needed: &[String]) -> Result<Self, Problems> {
        let mut parked = Self { cx, rows: Vec::new(), keys: Vec::new(), unreadable: Vec::new() };
        if let Some(bad) = cx.landed_rows()?.bad(AsOf::ThisBatch)? {
            parked.rows.push(as_parked(cx, bad.clone(), &Expr::text(BAD_ROW))?);
            let keys = cx.flow.input.key_names();
            parked.keys.push(with_all(bad.clone(), &keys)?.select(&keys)?);
            if cx.flow.input.batch_mode == BatchMode::Snapshot {
                parked.unreadable.push(unreadable(cx, bad)?);
            }
        }
        if cx.flow.input.on_null_key == OnNullKey::Park {
            let lacking = landed.clone().filter(Expr::any(needed.iter().map(|column| Expr::column(column).is_null())))?;
            parked.add(lacking.clone(), &Expr::text(NULL_KEY))?;
            let keys = cx.flow.input.key_names();
            if needed.iter().any(|column| !keys.contains(column)) {
                parked.keys.push(with_all(lacking.clone(), &keys)?.select(&keys)?);
            }
            // A snapshot of some values need not be whole where it has a row of no key.
            if !cx.flow.input.snapshot_of.is_empty() {
                parked.unreadable.push(lacking.filter(Expr::any(keys.iter().map(|key| Expr::column(key).is_null())))?);
            }
        }
        Ok(parked)
    }

    /// Rows in conflict, and the keys of which they are.
    pub(crate) fn add_conflicts(&mut self, conflicts: Option<Rel>, keys: Option<Rel>) -> Result<(), RelError> {
        if let (OnDuplicateKey::Park, Some(conflicts)) = (self.cx.flow.input.on_duplicate_key, conflicts) {
            self.add(conflicts, &Expr::text(DUPLICATE_KEY))?;
            self.keys.extend(keys);
        }
        Ok(())
    }

    /// Landed rows, for a reason that may be a column of theirs.
    pub(crate) fn add(&mut self, rows: Rel, reason: &Expr) -> Result<(), RelError> {
        self.rows.push(as_parked(self.cx, rows, reason)?);
        Ok(())
    }

    /// The keys of which a row was set aside, whatever their other rows say: they have no row in this batch, and their state
    /// stands.
    pub(crate) fn standing(&self) -> Result<Option<Rel>, RelError> {
        match self.keys.as_slice() {
            [] => Ok(None),
            [keys] => Ok(Some(keys.clone())),
            _ => Ok(Some(Rel::union(self.keys.clone())?.aggregate(&self.cx.flow.input.key_names(), Vec::new())?)),
        }
    }

    /// The keys that are deleted by absence: none, when a row was set aside that may have been theirs.
    pub(crate) fn unless_unreadable(&self, keys: Rel) -> Result<Rel, RelError> {
        if self.unreadable.is_empty() {
            return Ok(keys);
        }
        let one = || ("xt_one".to_owned(), Expr::int(1));
        let some = self.unreadable.iter().map(|rows| rows.clone().project(vec![one()])).collect::<Result<_, _>>()?;
        let own: Vec<String> = keys.column_names().map(str::to_owned).collect();
        let columns = own.iter().map(|name| (name.clone(), Expr::column(name))).chain([one()]).collect();
        keys.project(columns)?.anti(Rel::union(some)?, &["xt_one".to_owned()])?.select(own)
    }

    /// A word that nothing is deleted by absence, because of such a row.
    pub(crate) fn warning(&self, steps: &Steps) -> Result<Option<Check>, RelError> {
        if self.unreadable.is_empty() {
            return Ok(None);
        }
        let mut steps = steps.clone();
        let some = self.unreadable.iter().map(|rows| rows.clone().project(vec![("xt_one".to_owned(), Expr::int(1))]));
        steps.add("unreadable", Rel::union(some.collect::<Result<_, _>>()?)?.limit(1)?);
        let what = "a row was parked whose key cannot be told, which may have been any: nothing is deleted by absence in this batch";
        Ok(Some(Check { rule: Rule::Warn(what.to_owned()), steps: steps.needed(), guard: false }))
    }

    /// The task that writes them.
    pub(crate) fn task(self, name: &DatasetName, steps: &Steps, checks: Vec<Check>) -> Result<Task, RelError> {
        let mut steps = steps.clone();
        steps.add("parked", Rel::union(self.rows)?);
        Ok(task(name, steps.needed(), Some("xt_parked_reason"), checks))
    }
}
