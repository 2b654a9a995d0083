//! Snapshots that are whole for some values of columns: absence deletes among the keys that have these values, and no others.

mod promises;

use qetl_core::{
    ir::{Expr, Rel, RelError, Steps},
    plan::Expand,
};

use crate::keyed::of_values;

/// The columns of `snapshot_of`.
pub(super) struct Partial {
    keys: Vec<String>,
    /// See [`of_values`].
    values: Vec<(String, Expr)>,
}

impl Partial {
    pub(super) fn of(cx: &Expand<'_>) -> Option<Self> {
        let values = of_values(cx);
        (!values.is_empty()).then(|| Self { keys: cx.flow.input.key_names(), values })
    }

    /// The names of the values.
    fn names(&self) -> Vec<String> {
        self.values.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The values that rows have.
    pub(super) fn values_of(&self, rows: Rel) -> Result<Rel, RelError> {
        rows.project(self.values.clone())?.aggregate(&self.names(), Vec::new())
    }

    /// The keys of the rows that have one of the values.
    pub(super) fn keys_with(&self, rows: Rel, values: Rel) -> Result<Rel, RelError> {
        let keys = self.keys.iter().map(|key| (key.clone(), Expr::column(key)));
        rows.project(keys.chain(self.values.iter().cloned()).collect())?.semi(values, &self.names())?.select(&self.keys)
    }

    /// The history of the keys that a batch can say something of: its own, and those that once had one of its values.
    pub(super) fn in_sight(&self, steps: &mut Steps, history: Rel, rows: &Rel, values: Rel) -> Result<Rel, RelError> {
        let keys = Rel::union(vec![rows.clone().select(&self.keys)?, self.keys_with(history.clone(), values)?])?;
        let keys = steps.add_small("keys_in_sight", keys.aggregate(&self.keys, Vec::new())?);
        history.semi(keys, &self.keys)
    }
}
