//! qetl's records: batches, files, columns, runs.

use qetl_core::Type;
use qetl_runtime::{
    Fence, RunError,
    records::{
        BatchRecord, ENDED_EARLY, FileRecord, FlowDetails, FlowRecords, KILLED, PinnedColumn, RUNNING, RunRecord, details_text,
        read_details,
    },
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Catalog,
    whole::{Unwritten, written},
};
use crate::error;

impl Catalog {
    pub(crate) fn records(&self, flow: &str) -> Result<FlowRecords, RunError> {
        match self.read()? {
            Some(connection) => read(&connection, flow).map_err(error::catalog),
            None => Ok(FlowRecords::default()),
        }
    }

    /// What a flow's lock finds. Runs of the flow that have not ended are dead: they end here, and what they may still do is
    /// refused from now on.
    pub(crate) fn lock(&self, flow: &str) -> Result<Fence, RunError> {
        let Some(connection) = self.read()? else { return Ok(Fence::found(0)) };
        let sql = "SELECT EXISTS (SELECT 1 FROM qetl_runs WHERE flow = ?1 AND status = ?2)";
        let found = Fence::found(fence(&connection, flow).map_err(error::catalog)?);
        if connection.query_row(sql, [flow, RUNNING], |row| row.get(0)).map_err(error::catalog)? {
            let (number, _) = written(&mut self.write()?.connection, |transaction| {
                let sql = "UPDATE qetl_runs SET status = ?3, message = ?4 WHERE flow = ?1 AND status = ?2";
                transaction.execute(sql, [flow, RUNNING, KILLED, ENDED_EARLY])?;
                next_fence(transaction, flow, &found)
            })?;
            found.take(number);
        }
        Ok(found)
    }

    /// Records a run of the lock's holder as running. With its first run the holder gets a number: every earlier holder's
    /// publish is refused from then on.
    pub(crate) fn begin_run(&self, held: &Fence, run: &RunRecord) -> Result<(), RunError> {
        let mut writer = self.write()?;
        self.catch_up(&writer)?;
        let (number, _) = written(&mut writer.connection, |transaction| {
            let number = next_fence(transaction, &run.flow, held)?;
            replace_run(transaction, run)?;
            Ok(number)
        })?;
        held.take(number);
        Ok(())
    }

    pub(crate) fn record_run(&self, run: &RunRecord) -> Result<(), RunError> {
        written(&mut self.write()?.connection, |transaction| Ok(replace_run(transaction, run)?))?;
        Ok(())
    }

    /// Records that a batch was read again, from these, and found unchanged: its record stands, they are known.
    pub(crate) fn read_again(&self, flow: &str, held: &Fence, batch_id: i64, files: &[FileRecord]) -> Result<(), RunError> {
        written(&mut self.write()?.connection, |transaction| {
            refuse_other_holder(transaction, flow, held)?;
            let sql = "SELECT max(generation) FROM qetl_batches WHERE flow = ?1 AND batch_id = ?2";
            let generation: i64 = transaction.query_row(sql, params![flow, batch_id], |row| row.get(0))?;
            let sql = "DELETE FROM qetl_files WHERE flow = ?1 AND batch_id = ?2 AND generation = ?3";
            transaction.execute(sql, params![flow, batch_id, generation])?;
            for (position, file) in (0..).zip(files) {
                insert_file(transaction, flow, (batch_id, generation, position), file)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Newest first.
    pub(crate) fn runs(&self, flow: Option<&str>) -> Result<Vec<RunRecord>, RunError> {
        let Some(connection) = self.read()? else { return Ok(Vec::new()) };
        let read = || -> rusqlite::Result<Vec<RunRecord>> {
            let sql = "SELECT run_id, flow, batch_id, status, started_at, seconds, row_count, message FROM qetl_runs
                       WHERE ?1 IS NULL OR flow = ?1 ORDER BY started_at DESC, rowid DESC";
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([flow], |row| {
                Ok(RunRecord {
                    run_id: row.get(0)?,
                    flow: row.get(1)?,
                    batch_id: row.get(2)?,
                    status: row.get(3)?,
                    started_at: row.get(4)?,
                    seconds: row.get(5)?,
                    rows: row.get(6)?,
                    message: row.get(7)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(error::catalog)
    }
}

/// The holder's own number: the next one, unless it has one already.
fn next_fence(connection: &Connection, flow: &str, held: &Fence) -> Result<i64, Unwritten> {
    refuse_other_holder(connection, flow, held)?;
    let number = held.number() + i64::from(!held.is_own());
    let sql = "INSERT INTO qetl_fences (flow, fence) VALUES (?1, ?2) ON CONFLICT (flow) DO UPDATE SET fence = ?2";
    connection.execute(sql, params![flow, number])?;
    Ok(number)
}

fn refuse_other_holder(connection: &Connection, flow: &str, held: &Fence) -> Result<(), Unwritten> {
    if fence(connection, flow)? != held.number() {
        return Err(RunError::Locked { flow: flow.to_owned() }.into());
    }
    Ok(())
}

/// Records a run, in the place of itself as it was running.
pub(super) fn replace_run(connection: &Connection, run: &RunRecord) -> rusqlite::Result<()> {
    // Another run may have taken it for dead meanwhile.
    let sql = "DELETE FROM qetl_runs WHERE run_id = ?1 AND flow = ?2 AND batch_id IS ?3 AND status IN (?4, ?5)";
    connection.execute(sql, params![run.run_id, run.flow, run.batch_id, RUNNING, KILLED])?;
    let sql = "INSERT INTO qetl_runs (run_id, flow, batch_id, status, started_at, seconds, row_count, message)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.execute(sql, params![run.run_id, run.flow, run.batch_id, run.status, run.started_at, run.seconds, run.rows, run.message])?;
    Ok(())
}

pub(super) fn insert_batch(
    connection: &Connection,
    flow: &str,
    run_id: &str,
    version: i64,
    published_at: i64,
    batch: &BatchRecord,
) -> rusqlite::Result<()> {
    let hash = format!("{:032x}", batch.content_hash);
    let sql = "INSERT INTO qetl_batches (flow, batch_id, generation, run_id, version, processed_at, published_at, row_count, content_hash,
                   shape, details) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let shape = batch.shape.to_string();
    connection.execute(
        sql,
        params![
            flow,
            batch.batch_id,
            batch.generation,
            run_id,
            version,
            batch.processed_at,
            published_at,
            batch.rows,
            hash,
            shape,
            details_text(&batch.details)
        ],
    )?;
    for (position, file) in (0..).zip(&batch.files) {
        insert_file(connection, flow, (batch.batch_id, batch.generation, position), file)?;
    }
    Ok(())
}

/// `at` is the batch, its generation and the file's place in it, where no other file stands after.
fn insert_file(connection: &Connection, flow: &str, at: (i64, i64, i64), file: &FileRecord) -> rusqlite::Result<()> {
    let (batch_id, generation, position) = at;
    let hash = format!("{:032x}", file.content_hash);
    let sql =
        "INSERT OR REPLACE INTO qetl_files (flow, batch_id, generation, position, path, size, modified, content_hash, loaded_at, details)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let details = details_text(&file.details);
    let row = params![flow, batch_id, generation, position, file.name, file.size, file.modified, hash, file.loaded_at, details];
    connection.execute(sql, row)?;
    Ok(())
}

pub(super) fn replace_columns(connection: &Connection, flow: &str, columns: &[PinnedColumn]) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM qetl_columns WHERE flow = ?1", [flow])?;
    for (position, column) in columns.iter().enumerate() {
        let sql = "INSERT INTO qetl_columns (flow, position, name, type, inferred, details) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let details = details_text(&column.details);
        connection.execute(sql, params![flow, position, column.name, column.ty.to_string(), column.inferred, details])?;
    }
    Ok(())
}

pub(super) fn replace_details(connection: &Connection, flow: &str, details: &FlowDetails) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO qetl_flows (flow, details) VALUES (?1, ?2)";
    connection.execute(sql, [flow, &details_text(details)]).map(|_| ())
}

fn read(connection: &Connection, flow: &str) -> rusqlite::Result<FlowRecords> {
    let sql = "SELECT batch_id, generation, processed_at, row_count, content_hash, shape, details FROM qetl_batches b WHERE flow = ?1
               AND generation = (SELECT max(generation) FROM qetl_batches o WHERE o.flow = b.flow AND o.batch_id = b.batch_id) ORDER BY batch_id";
    let mut statement = connection.prepare(sql)?;
    let batches = statement.query_map([flow], |row| {
        Ok(BatchRecord {
            batch_id: row.get(0)?,
            generation: row.get(1)?,
            processed_at: row.get(2)?,
            rows: row.get(3)?,
            content_hash: hash(&row.get::<_, String>(4)?),
            shape: serde_json::from_str(&row.get::<_, String>(5)?).unwrap_or_default(),
            files: Vec::new(),
            details: read_details(&row.get::<_, String>(6)?),
        })
    })?;
    let mut records = FlowRecords { batches: batches.collect::<Result<_, _>>()?, ..FlowRecords::default() };
    let sql = "SELECT path, size, modified, content_hash, loaded_at, batch_id, generation, details FROM qetl_files WHERE flow = ?1
               ORDER BY batch_id, generation, position";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([flow])?;
    while let Some(row) = rows.next()? {
        let content_hash = hash(&row.get::<_, String>(3)?);
        let details = read_details(&row.get::<_, String>(7)?);
        let file =
            FileRecord { name: row.get(0)?, size: row.get(1)?, modified: row.get(2)?, content_hash, loaded_at: row.get(4)?, details };
        let (batch_id, generation): (i64, i64) = (row.get(5)?, row.get(6)?);
        if let Some(batch) = records.batches.iter_mut().find(|batch| (batch.batch_id, batch.generation) == (batch_id, generation)) {
            batch.files.push(file.clone());
        }
        records.ledger.push((batch_id, file));
    }
    let mut columns = connection.prepare("SELECT name, type, inferred, details FROM qetl_columns WHERE flow = ?1 ORDER BY position")?;
    let rows = columns.query_map([flow], |row| {
        let ty = row.get::<_, String>(1)?.parse().unwrap_or(Type::Text);
        Ok(PinnedColumn { name: row.get(0)?, ty, inferred: row.get(2)?, details: read_details(&row.get::<_, String>(3)?) })
    })?;
    records.columns = rows.collect::<Result<_, _>>()?;
    let details =
        connection.query_row("SELECT details FROM qetl_flows WHERE flow = ?1", [flow], |row| row.get::<_, String>(0)).optional()?;
    records.details = details.map(|text| read_details(&text)).unwrap_or_default();
    Ok(records)
}

fn hash(text: &str) -> u128 {
    u128::from_str_radix(text, 16).unwrap_or(0)
}

/// The fence that stands in the catalog; 0 when the flow was never locked.
pub(super) fn fence(connection: &Connection, flow: &str) -> rusqlite::Result<i64> {
    let found = connection.query_row("SELECT fence FROM qetl_fences WHERE flow = ?1", [flow], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0))
}

/// The result of a query of the catalog itself.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    pub(crate) names: Vec<String>,
    pub(crate) rows: Vec<Vec<rusqlite::types::Value>>,
}

/// A catalog without rows.
fn empty() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(include_str!("ducklake.sql"))?;
    connection.execute_batch(include_str!("records.sql"))?;
    Ok(connection)
}

impl Catalog {
    /// Runs a constant query of the catalog; one without rows when there is none yet.
    pub(crate) fn rows(&self, sql: &'static str) -> Result<Cells, RunError> {
        let connection = match self.read()? {
            Some(connection) => connection,
            None => empty().map_err(error::catalog)?,
        };
        let read = || -> rusqlite::Result<Cells> {
            let mut statement = connection.prepare(sql)?;
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let rows = statement.query_map((), |row| (0..names.len()).map(|index| row.get(index)).collect())?;
            let rows = rows.collect::<rusqlite::Result<_>>()?;
            Ok(Cells { names, rows })
        };
        read().map_err(error::catalog)
    }
}
