//! Snapshots that are whole for some values of columns: absence deletes among the keys that have these values, and no others.

mod promises;

use qetl_core::{
    Type,
    ir::{Expr, Rel, RelError, Steps, Value},
    plan::Expand,
};

/// The columns of `snapshot_of`.
pub(super) struct Partial {
    keys: Vec<String>,
    /// Their values, as columns that are never NULL: so that NULL is a value like others.
    values: Vec<(String, Expr)>,
}

impl Partial {
    pub(super) fn of(cx: &Expand<'_>) -> Option<Self> {
        let input = &cx.flow.input;
        let keys = input.key_names();
        let mut values = Vec::new();
        for (place, column) in input.snapshot_of.iter().enumerate() {
            let value = Expr::column(column);
            let name = format!("xt_of_{place}");
            if keys.contains(&column.value) {
                values.push((name, value));
                continue;
            }
            let ty = cx.input.iter().find(|input| input.name == column.value).map_or(Type::Text, |input| input.ty);
            values.push((name, Expr::coalesce(vec![value.clone(), some_value(ty)])));
            let is_null = Expr::case(vec![(value.is_null(), Expr::int(1))], Some(Expr::int(0)));
            values.push((format!("xt_null_{place}"), is_null));
        }
        (!values.is_empty()).then_some(Self { keys, values })
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

/// A value that stands where NULL is, which another column tells.
fn some_value(ty: Type) -> Expr {
    match ty {
        Type::Text => Expr::text(""),
        Type::Int => Expr::int(0),
        Type::Float => Expr::Literal(Value::Float(0.0)),
        Type::Bool => Expr::Literal(Value::Bool(false)),
        Type::Decimal { .. } => Expr::int(0).cast(ty),
        Type::Date => Expr::text("1970-01-01").cast(ty),
        Type::Timestamp => Expr::text("1970-01-01T00:00:00.000000Z").cast(ty),
    }
}
