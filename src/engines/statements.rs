//! A task as the statements of the database, and datasets as its tables.

use qetl_core::{
    Column, DatasetName, Plan, Schema, Task,
    ir::{AsOf, Expr, Order, Rel, RelError, Steps},
    plan::WriteMode,
};
use qetl_runtime::{BatchContext, RunError};
use qetl_sql::{Batch, Extent, ObjectName, Sql, Unsupported};

use crate::{
    database::{Database, Failure},
    tables::{TableName, quoted, table},
};

/// Writes statements for one batch.
pub(crate) struct Statements<'a> {
    pub(crate) database: &'a dyn Database,
    pub(crate) plan: &'a Plan,
    pub(crate) batch: &'a BatchContext,
}

impl Statements<'_> {
    /// Takes away the rows that the task replaces, and adds the new ones. `whole`: all keys of a task that replaces keys.
    pub(crate) fn fill(&self, task: &Task, whole: bool) -> Result<Vec<String>, Failure> {
        let extent = if whole { Extent::Everything } else { Extent::Touched };
        self.write(&task.target.name, |sql| sql.fill(task, extent))
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

    /// The rows of the last step; `of`: what needs them.
    pub(crate) fn query(&self, steps: &Steps, of: &str) -> Result<String, Failure> {
        self.write(of, |sql| sql.query(steps))
    }

    /// Works steps out into a scratch table; `of`: the last one.
    pub(crate) fn keep(&self, scratch: &str, steps: &Steps, of: &str) -> Result<String, Failure> {
        self.write(of, |sql| sql.keep(scratch, steps))
    }

    /// Keeps the rows that the batch has for tasks that ask what it was.
    pub(crate) fn keep_replaced(&self, landing: &DatasetName, schema: &Schema) -> Result<Vec<String>, Failure> {
        self.write(&landing.name, |sql| sql.keep_replaced(landing, schema))
    }

    /// Whether the database can say all that the plan's tasks need; nothing is run.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for dataset in self.plan.datasets.iter().filter(|dataset| dataset.is_stored()) {
            self.write(&dataset.name.name, |sql| sql.create_table(&dataset.name, &dataset.schema))?;
        }
        for task in &self.plan.tasks {
            self.fill(task, false)?;
            self.fill(task, true)?;
            for check in &task.checks {
                self.query(&check.steps, &task.target.name)?;
            }
        }
        Ok(())
    }

    fn write<T>(&self, of: &str, write: impl FnOnce(&Sql<'_>) -> Result<T, Unsupported>) -> Result<T, Failure> {
        let several = self.batch.known.iter().filter(|batch| batch.files.len() > 1);
        let batch = Batch {
            batch_id: self.batch.batch_id,
            previous: self.batch.previous.unwrap_or(0),
            processed_at: self.batch.processed_at,
            batches: self.batch.known.iter().map(|batch| (batch.batch_id, batch.processed_at)).collect(),
            files: several.map(|batch| (batch.batch_id, batch.files.clone())).collect(),
            lacking: self.batch.all_lacking(),
        };
        let name = |dataset: &DatasetName| object(self.database, dataset);
        let sql = Sql { dialect: self.database.dialect(), batch: (&batch).into(), table: &name };
        write(&sql).map_err(|what| unsupported(self.plan, of, &what).into())
    }
}

/// What a task needs and the database cannot say, placed in the flow file.
fn unsupported(plan: &Plan, step: &str, what: &Unsupported) -> RunError {
    let flow = &plan.flow;
    let message = format!("{what}, which `{step}` needs");
    let problem = qetl_core::Problem::new("qetl::lower::unsupported", flow.header.flow_type.span, message).label("this flow type");
    let help = "run the flow on another engine: `[engine] name = \"datafusion\"` can say all of it";
    qetl_core::Problems::from(problem.help(help)).in_source(&flow.source).into()
}

fn object(database: &dyn Database, dataset: &DatasetName) -> ObjectName {
    TableName::of(database, dataset).object(database.dialect().quote())
}

/// Statements that make tables and views, which are of no batch.
fn define<T>(database: &dyn Database, write: impl FnOnce(&Sql<'_>) -> Result<T, Unsupported>) -> Result<T, Failure> {
    let help = "declare the column with another `schema_type`, or run the flow on another engine";
    of_batch(database, 0, write).map_err(|what| RunError::usage(what.to_string(), help).into())
}

fn of_batch<T>(database: &dyn Database, batch_id: i64, write: impl FnOnce(&Sql<'_>) -> Result<T, Unsupported>) -> Result<T, Unsupported> {
    let batch = Batch { batch_id, ..Batch::default() };
    let name = |dataset: &DatasetName| object(database, dataset);
    write(&Sql { dialect: database.dialect(), batch: (&batch).into(), table: &name })
}

/// A batch's rows of a dataset, which has the columns `stored`: those that are wanted, NULL where it has none; in the order of
/// their values, where order counts.
pub(crate) fn rows_of_batch(
    database: &dyn Database,
    dataset: &DatasetName,
    stored: &[Column],
    wanted: &[Column],
    batch_id: i64,
    ordered: bool,
) -> Result<String, Failure> {
    let is_there = |column: &Column| stored.iter().any(|stored| stored.name == column.name);
    let value = |column: &Column| if is_there(column) { Expr::column(&column.name) } else { Expr::null(column.ty) };
    let items = wanted.iter().map(|column| (column.name.clone(), value(column))).collect();
    let schema = Schema::new(stored.to_vec()).unwrap_or_default();
    let rows = || {
        let rows = Rel::scan(dataset, &schema, AsOf::ThisBatch).project(items)?;
        let key = |column: &Column| Order { by: Expr::column(&column.name), descending: false };
        if ordered { rows.sort(wanted.iter().map(key).collect()) } else { Ok(rows) }
    };
    let mut steps = Steps::default();
    steps.add("rows", rows().map_err(|why: RelError| Failure::Other(why.to_string()))?);
    of_batch(database, batch_id, |sql| sql.query(&steps)).map_err(|what| RunError::failed(what.to_string()).into())
}

pub(crate) fn create_table(database: &dyn Database, dataset: &DatasetName, columns: &[Column]) -> Result<String, Failure> {
    let schema = Schema::new(columns.to_vec()).unwrap_or_default();
    define(database, |sql| sql.create_table(dataset, &schema))
}

/// `None` where the database has no indexes.
pub(crate) fn create_index(
    database: &dyn Database,
    dataset: &DatasetName,
    name: &str,
    columns: &[Column],
) -> Result<Option<String>, Failure> {
    define(database, |sql| Ok(sql.create_index(dataset, name, columns)))
}

/// The statement that makes the view; there is none of that name.
pub(crate) fn create_view(database: &dyn Database, dataset: &DatasetName, rel: &Rel) -> Result<String, Failure> {
    define(database, |sql| Ok(sql.create_view(dataset, rel)?.pop().unwrap_or_default()))
}
