//! Steps that the flow type calls small, worked out once a batch: a check and a task often ask for the same ones.

use qetl_core::{Task, ir::Steps, plan::WriteMode};

use crate::{
    database::{Access, Connection, Database, Failure},
    statements::Statements,
    tables::quoted,
    work::learn,
};

/// What a session has worked out, in scratch tables.
#[derive(Debug)]
pub(crate) struct Kept {
    /// A session that only reads makes no tables.
    access: Access,
    batch_id: i64,
    /// The steps, the small one last, and the table that has its rows.
    tables: Vec<(Steps, String)>,
    made: usize,
}

impl Kept {
    pub(crate) fn new(access: Access) -> Self {
        Self { access, batch_id: 0, tables: Vec::new(), made: 0 }
    }

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
        if self.access == Access::Read || !statements.database.dialect().rereads_scratch() {
            return Ok(steps.clone());
        }
        let mut known = steps.clone();
        for place in 0..steps.0.len() {
            if !steps.0[place].small {
                continue;
            }
            // What a name means is said by the steps before it.
            let made_from = Steps(steps.0[..=place].to_vec()).needed();
            let table = match self.tables.iter().find(|(from, _)| *from == made_from) {
                Some((_, table)) => table.clone(),
                None => {
                    let table = format!("qetl_kept_{}", self.made);
                    self.made += 1;
                    let from = Steps(known.0[..=place].to_vec()).needed();
                    let rows = connection.run(&statements.keep(&table, &from, &steps.0[place].name)?, &[])?;
                    learn(statements.database, connection, &quoted(statements.database, &table), rows)?;
                    self.tables.push((made_from, table.clone()));
                    table
                }
            };
            known.0[place] = qetl_sql::kept(&table, &steps.0[place]);
        }
        Ok(known)
    }

    /// Takes all of it away.
    pub(crate) fn forget(&mut self, database: &dyn Database, connection: &mut dyn Connection) -> Result<(), Failure> {
        for (_, table) in std::mem::take(&mut self.tables) {
            connection.run(&format!("DROP TABLE {}", quoted(database, &table)), &[])?;
        }
        Ok(())
    }
}
