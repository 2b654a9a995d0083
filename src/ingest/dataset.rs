//! The rows of a dataset, made the columns that a flow wants of it: exactly, or not at all, as those of a file.

use arrow::{
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use qetl_core::Type;

use crate::{
    bad::Rows,
    constants::Constants,
    problem::{DataProblem, shown},
    spec::ReadSpec,
    typed::Columns,
};

/// Makes batches of a dataset the wanted columns.
pub struct DatasetRows(Columns, Option<Constants>);

impl DatasetRows {
    /// `own` are the types that those of the spec's columns have in the dataset that are present. Refuses what can fit in no row.
    pub fn new(dataset: &str, spec: &ReadSpec, own: &[Type]) -> Result<Self, DataProblem> {
        Ok(Self(Columns::of_dataset(dataset, &spec.present(), own)?, Constants::of_gone(spec)))
    }

    /// The next rows: every wanted column, under the dataset's name for it. What is wrong with a row is told with all of its
    /// values, as its number says little.
    pub fn conform(&mut self, batch: &RecordBatch) -> Result<Rows, DataProblem> {
        let first = self.0.row;
        let mut rows = self.0.conform(batch, &[])?;
        for bad in &mut rows.bad {
            if let Ok(row) = usize::try_from(bad.number - first - 1) {
                bad.problem.message = format!("{}; the row: {}", bad.problem.message, values(batch, row));
            }
        }
        match &self.1 {
            Some(gone) => gone.add(rows),
            None => Ok(rows),
        }
    }

    /// The inferred columns that need another type, so that everything fits.
    pub fn wider(&self) -> Vec<(usize, Type)> {
        self.0.wider().into_iter().map(|(column, ty)| (self.number(column), ty)).collect()
    }

    /// The open columns that had values of other types.
    pub fn untyped(&self) -> Vec<usize> {
        self.0.untyped().into_iter().map(|column| self.number(column)).collect()
    }

    fn number(&self, column: usize) -> usize {
        self.1.as_ref().map_or(column, |gone| gone.number(column))
    }

    /// Whether all values fit the columns' types so far; bad rows aside.
    pub fn has_right_types(&self) -> bool {
        self.wider().is_empty() && self.untyped().is_empty()
    }
}

/// A row as `column = value, …`.
fn values(batch: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default().with_null("NULL").with_display_error(true);
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let value = ArrayFormatter::try_new(column, &options).map(|formatter| formatter.value(row).to_string()).unwrap_or_default();
        format!("{} = {}", shown(field.name()), shown(&value))
    });
    cells.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;
    use crate::testing::spec;

    fn batch() -> RecordBatch {
        let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let amount: ArrayRef = Arc::new(StringViewArray::from(vec![Some("1.50"), Some("x")]));
        RecordBatch::try_from_iter([("id", id), ("amount", amount)]).unwrap()
    }

    #[test]
    fn values_fit_or_are_told() {
        let own = [Type::Int, Type::Text];
        let mut rows = DatasetRows::new("orders_landing", &spec("id integer; amount decimal(10,2)"), &own).unwrap();
        assert_eq!(rows.conform(&batch().slice(0, 1)).unwrap().good.num_rows(), 1);
        let read = rows.conform(&batch().slice(1, 1)).unwrap();
        let told = "orders_landing: row 2: column `amount`: `x` is not a decimal(10,2); the row: id = 2, amount = x";
        assert_eq!((read.good.num_rows(), read.bad[0].problem.to_string().as_str()), (0, told));
    }

    #[test]
    fn types_that_never_fit_are_told_at_once() {
        let problem = DatasetRows::new("o", &spec("id boolean; amount date"), &[Type::Float, Type::Int]).map(|_| ()).unwrap_err();
        assert_eq!(problem.to_string(), "o: column `id`: is float in the dataset and boolean in the flow");
    }
}
