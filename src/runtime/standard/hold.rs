//! What was landed, held to what the flow asks of its columns today.

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use qetl_core::plan::InputType;

use super::{prepare::PlannedStandard, run::ingestions, types};
use crate::{Engine, Place, RunError, run::shown};

/// The most rows that a message shows.
const SHOWN: usize = 5;

/// Refuses NULL in columns that are required, but where it stands for a column that the batch had not.
pub(super) async fn hold(engine: &dyn Engine, planned: &PlannedStandard) -> Result<(), RunError> {
    for (task, input) in ingestions(planned) {
        let required: Vec<&InputType> = input.iter().filter(|column| column.required && !column.gone).collect();
        let stored = engine.stored(&task.target).await?.unwrap_or_default();
        for column in required {
            let name = types::pinned_name(&task.target, &column.name);
            let batches = &planned.records.batches;
            let had = batches.iter().filter(|batch| planned.records.lacks(batch, std::slice::from_ref(&name)).is_empty());
            let had: Vec<i64> = had.map(|batch| batch.batch_id).collect();
            if !stored.columns.iter().any(|own| own.name == column.name) {
                continue;
            }
            let quote = |name: &str| {
                let quote = engine.quote().to_string();
                format!("{quote}{}{quote}", name.replace(&quote, &quote.repeat(2)))
            };
            let sql = format!(
                "SELECT {} FROM {} WHERE {} IS NULL",
                ["xt_batch_id", "xt_source_file", "xt_row_number"].map(quote).join(", "),
                engine.table(&task.target),
                quote(&column.name)
            );
            let mut rows = engine.query(&sql, None).await?.stream;
            while let Some(found) = rows.try_next().await? {
                let ids = found.column(0).as_primitive_opt::<Int64Type>();
                let counts = |row: &usize| ids.is_some_and(|ids| had.contains(&ids.value(*row)));
                if let Some(row) = (0..found.num_rows()).find(counts) {
                    let place = Place::default().step(&task.target.to_string());
                    let rest: String =
                        shown(&[found.slice(row, found.num_rows() - row)], SHOWN).iter().map(|row| format!("\n  {row}")).collect();
                    let message = format!("landed rows have NULL where none may stand today, in `{}`:{rest}", column.name);
                    let help = "nothing was changed: take out `required`, or load the batch again from a file that has the values";
                    return Err(RunError::refused(place, message, help));
                }
            }
        }
    }
    Ok(())
}
