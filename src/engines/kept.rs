//! Steps that the flow type calls small, worked out once a batch: a check and a task often ask for the same ones.

use qetl_core::{
    Task,
    ir::{Expr, Step, Steps, Value},
    plan::WriteMode,
};

use crate::{
    database::{Connection, Database, Failure},
    statements::Statements,
    tables::quoted,
    work::learn,
};

/// What a session has worked out, in scratch tables.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    batch_id: i64,
    tables: Vec<Table>,
    made: usize,
}

#[derive(Debug)]
struct Table {
    /// The steps, the small one last, of which it has the rows.
    from: Steps,
    name: String,
    is_empty: bool,
}

impl Table {
    /// The step as a read of the table. A planner that knows that nothing is there leaves out what is joined with it.
    fn read(&self, step: &Step) -> Result<Step, Failure> {
        let mut step = qetl_sql::kept(&self.name, step);
        if self.is_empty {
            let nothing = step.rel.filter(Expr::Literal(Value::Bool(false)));
            step.rel = nothing.map_err(|why| Failure::Other(why.to_string()))?;
        }
        Ok(step)
    }
}

impl Kept {
    /// The task with its small steps worked out.
    pub(crate) fn task(
        &mut self,
        statements: &Statements<'_>,
        connection: &mut dyn Connection,
        task: &Task,
        whole: bool,
    ) -> Result<Task, Failure> {
        let mut task = task.clone();
        match &mut task.write_mode {
            WriteMode::ReplaceKeys(keys) if whole => keys.whole = self.steps(statements, connection, &keys.whole)?,
            WriteMode::ReplaceKeys(_) | WriteMode::ReplaceBatch | WriteMode::ReplaceAll => {
                task.steps = self.steps(statements, connection, &task.steps)?;
            }
        }
        Ok(task)
    }

    /// The steps, small ones read from where they are kept.
    pub(crate) fn steps(&mut self, statements: &Statements<'_>, connection: &mut dyn Connection, steps: &Steps) -> Result<Steps, Failure> {
        if self.batch_id != statements.batch.batch_id {
            self.forget(statements.database, connection)?;
            self.batch_id = statements.batch.batch_id;
        }
        if !statements.database.dialect().rereads_scratch() {
            return Ok(steps.clone());
        }
        let mut known = steps.clone();
        for place in 0..steps.0.len() {
            if !steps.0[place].small {
                continue;
            }
            // What a name means is said by the steps before it.
            let made_from = Steps(steps.0[..=place].to_vec()).needed();
            let table = match self.tables.iter().position(|table| table.from == made_from) {
                Some(known) => &self.tables[known],
                None => {
                    let name = format!("qetl_kept_{}", self.made);
                    self.made += 1;
                    let from = Steps(known.0[..=place].to_vec()).needed();
                    let rows = connection.run(&statements.keep(&name, &from, &steps.0[place].name)?, &[])?;
                    let quoted = quoted(statements.database, &name);
                    learn(statements.database, connection, &quoted, rows)?;
                    let is_empty = connection.rows(&format!("SELECT 1 FROM {quoted} LIMIT 1"), &[])?.is_empty();
                    self.tables.push(Table { from: made_from, name, is_empty });
                    &self.tables[self.tables.len() - 1]
                }
            };
            known.0[place] = table.read(&steps.0[place])?;
        }
        Ok(known)
    }

    /// Takes all of it away.
    pub(crate) fn forget(&mut self, database: &dyn Database, connection: &mut dyn Connection) -> Result<(), Failure> {
        for table in std::mem::take(&mut self.tables) {
            connection.run(&format!("DROP TABLE {}", quoted(database, &table.name)), &[])?;
        }
        Ok(())
    }
}
