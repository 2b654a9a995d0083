//! A task as the statements of the database.

use qetl_core::{DatasetName, Plan, Task, ir::Steps, plan::WriteMode};
use qetl_runtime::BatchContext;

use crate::{
    database::{Database, Failure},
    tables::{TableName, quoted, quoted_list, table, unsupported},
};

/// Writes statements for one batch.
pub(crate) struct Statements<'a> {
    pub(crate) database: &'a dyn Database,
    pub(crate) plan: &'a Plan,
    pub(crate) batch: &'a BatchContext,
}

impl Statements<'_> {
    /// Takes away the rows that the task replaces, then adds the new ones. `whole`: all keys of a task that replaces keys.
    pub(crate) fn fill(&self, task: &Task, whole: bool) -> Result<Vec<String>, Failure> {
        let target = table(self.database, &task.target);
        let step = &task.target.name;
        let (delete, steps) = match &task.write_mode {
            WriteMode::ReplaceBatch => {
                let column = quoted(self.database, "xt_batch_id");
                (format!("DELETE FROM {target} WHERE {column} = {}", self.batch.batch_id), &task.steps)
            }
            WriteMode::ReplaceKeys(replaced) if !whole => {
                let keys = quoted_list(self.database, replaced.keys.iter().map(String::as_str));
                let touched = self.query(&up_to(&task.steps, &replaced.touched), step)?;
                (format!("DELETE FROM {target} WHERE ({keys}) IN (SELECT {keys} FROM (\n{touched}\n) AS touched)"), &task.steps)
            }
            WriteMode::ReplaceKeys(replaced) => (format!("DELETE FROM {target}"), &replaced.whole),
            WriteMode::ReplaceAll => (format!("DELETE FROM {target}"), &task.steps),
        };
        let columns = steps.0.last().map(|last| quoted_list(self.database, last.rel.column_names())).unwrap_or_default();
        Ok(vec![delete, format!("INSERT INTO {target} ({columns})\n{}", self.query(steps, step)?)])
    }

    /// How many rows of each kind the task made, where it says of its rows which kind they are.
    pub(crate) fn count(&self, task: &Task) -> Option<String> {
        let by = quoted(self.database, task.count_by.as_ref()?);
        let own = match &task.write_mode {
            WriteMode::ReplaceBatch => format!(" WHERE {} = {}", quoted(self.database, "xt_batch_id"), self.batch.batch_id),
            WriteMode::ReplaceAll | WriteMode::ReplaceKeys(_) => String::new(),
        };
        Some(format!("SELECT {by}, COUNT(*) FROM {}{own} GROUP BY {by}", table(self.database, &task.target)))
    }

    /// The rows of the last step.
    pub(crate) fn query(&self, steps: &Steps, of: &str) -> Result<String, Failure> {
        let several = self.batch.known.iter().filter(|batch| batch.files.len() > 1);
        let batch = qetl_sql::Batch {
            batch_id: self.batch.batch_id,
            previous: self.batch.previous.unwrap_or(0),
            processed_at: self.batch.processed_at,
            batches: self.batch.known.iter().map(|batch| (batch.batch_id, batch.processed_at)).collect(),
            files: several.map(|batch| (batch.batch_id, batch.files.clone())).collect(),
        };
        let quote = self.database.dialect().quote();
        let name = |dataset: &DatasetName| TableName::of(self.database, dataset).object(quote);
        qetl_sql::query(self.database.dialect(), steps, &batch, &name).map_err(|what| unsupported(self.plan, of, &what).into())
    }

    /// Whether the database can say all that the plan's tasks need; nothing is run.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for task in &self.plan.tasks {
            self.fill(task, false)?;
            self.fill(task, true)?;
            for check in &task.checks {
                self.query(&check.steps, &task.target.name)?;
            }
        }
        Ok(())
    }
}

/// The steps that one of them needs, itself included.
fn up_to(steps: &Steps, name: &str) -> Steps {
    let end = steps.0.iter().position(|step| step.name == name).map_or(steps.0.len(), |at| at + 1);
    Steps(steps.0.iter().take(end).cloned().collect()).needed()
}
