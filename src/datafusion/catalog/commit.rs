//! The publish: one transaction that makes the new files of many tables visible together with their records.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use qetl_core::DatasetName;
use qetl_runtime::{Place, RunError, acknowledged::Found, engine::Publish};
use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::{Catalog, read::CatalogTable, records, whole::written};
use crate::{deletes::Edit, error, stage::StagedFile};

/// All that a publish makes visible.
#[derive(Debug)]
pub(crate) struct Changes {
    /// The version that the work was done on.
    pub(crate) base: i64,
    pub(crate) fence: i64,
    pub(crate) tables: Vec<TableChange>,
    /// View SQL, in which datasets are named with the format's placeholder for the catalog.
    pub(crate) views: Vec<(DatasetName, String)>,
    pub(crate) publish: Publish,
}

/// What changes in one table.
#[derive(Debug)]
pub(crate) struct TableChange {
    pub(crate) name: DatasetName,
    /// The table as it was at the base version; `None` when it is new.
    pub(crate) was: Option<CatalogTable>,
    /// The columns as they are from now on: id, name, type in the format's words.
    pub(crate) columns: Vec<(i64, String, String)>,
    /// For each batch whose rows are replaced, its new files and how many rows it had at the base version.
    pub(crate) batches: Vec<(i64, u64, Vec<StagedFile>)>,
    /// When all its rows are replaced: the new files, and how many rows it had at the base version.
    pub(crate) whole: Option<(u64, Vec<StagedFile>)>,
    /// When rows of some keys are replaced.
    pub(crate) edit: Option<Edit>,
    /// The keys that were deleted after that batch.
    pub(crate) checkpoint: Option<(i64, Vec<StagedFile>)>,
    /// Whether its rows are kept apart by batch.
    pub(crate) by_batch: bool,
    /// Whether columns that it has no more go; else they stay, NULL from then on. Rows of the old columns must go too.
    pub(crate) drop_columns: bool,
}

/// Counters of the newest version, carried on.
struct Counters {
    snapshot: i64,
    schema_version: i64,
    next_catalog_id: i64,
    next_file_id: i64,
}

impl Counters {
    fn take_catalog_id(&mut self) -> i64 {
        self.next_catalog_id += 1;
        self.next_catalog_id - 1
    }

    fn take_file_id(&mut self) -> i64 {
        self.next_file_id += 1;
        self.next_file_id - 1
    }
}

/// The rows of the live files `f`, without those that are deleted.
const LIVE_ROWS: &str = "coalesce(sum(f.record_count - coalesce(d.delete_count, 0)), 0) FROM ducklake_data_file f
    LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL";

/// The live data files of a table, each with its live file of deletes.
fn live_files(transaction: &Transaction<'_>, table: i64) -> rusqlite::Result<Vec<(i64, Option<i64>)>> {
    let sql = "SELECT f.data_file_id, d.delete_file_id FROM ducklake_data_file f
               LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL
               WHERE f.table_id = ?1 AND f.end_snapshot IS NULL ORDER BY f.data_file_id";
    transaction.prepare(sql)?.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

impl Catalog {
    /// Publishes, or changes nothing. A lock that was lost or tables that someone else changed refuse it.
    pub(crate) fn publish(&self, changes: &Changes) -> Result<(), RunError> {
        let mut writer = self.write()?;
        let (version, writes) = written(&mut writer.connection, |transaction| {
            self.refuse_if_stale(transaction, changes)?;
            self.apply(transaction, changes).map_err(|why| {
                if why.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) {
                    return failed("the batch was published by another run meanwhile".to_owned()).into();
                }
                why.into()
            })
        })?;
        let found = Found { version, writes, ..writer.found };
        self.acknowledge(&writer.connection, found).map_err(|error| RunError::Failed {
            place: Place::default(),
            message: format!("the batch is published, but that could not be noted: {error}"),
            help: "run the same command again: the batch counts as published".to_owned(),
        })
    }

    fn refuse_if_stale(&self, transaction: &Transaction<'_>, changes: &Changes) -> Result<(), RunError> {
        let flow = &changes.publish.flow;
        if records::fence(transaction, flow).map_err(error::catalog)? != changes.fence {
            return Err(RunError::Locked { flow: flow.clone() });
        }
        for change in &changes.tables {
            let Some(was) = &change.was else { continue };
            let sql = "SELECT count(*) FROM ducklake_column WHERE table_id = ?1 AND (begin_snapshot > ?2 OR end_snapshot > ?2)";
            let altered: i64 = transaction.query_row(sql, [was.id, changes.base], |row| row.get(0)).map_err(error::catalog)?;
            if altered > 0 {
                return Err(failed(format!("another program altered `{}` meanwhile", change.name)));
            }
            if let Some((rows, _)) = &change.whole {
                let sql = format!("SELECT {LIVE_ROWS} WHERE f.table_id = ?1 AND f.end_snapshot IS NULL");
                let live: u64 = transaction.query_row(&sql, [was.id], |row| row.get(0)).map_err(error::catalog)?;
                if live != *rows {
                    return Err(failed(format!("another program changed `{}` meanwhile", change.name)));
                }
            }
            if let Some(edit) = &change.edit {
                // Places in a file mean nothing in another one, whatever its rows.
                if live_files(transaction, was.id).map_err(error::catalog)? != edit.of {
                    return Err(failed(format!("another program changed `{}` meanwhile", change.name)));
                }
            }
            for (batch, rows, _) in &change.batches {
                let sql = format!(
                    "SELECT {LIVE_ROWS} JOIN ducklake_file_partition_value p ON p.data_file_id = f.data_file_id
                     WHERE f.table_id = ?1 AND f.end_snapshot IS NULL AND p.partition_value = ?2"
                );
                let live: u64 =
                    transaction.query_row(&sql, params![was.id, batch.to_string()], |row| row.get(0)).map_err(error::catalog)?;
                if live != *rows {
                    return Err(failed(format!("another program changed batch {batch} of `{}` meanwhile", change.name)));
                }
            }
        }
        Ok(())
    }

    /// Writes all of it; the version that it makes.
    fn apply(&self, transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<i64> {
        let sql = "SELECT snapshot_id, schema_version, next_catalog_id, next_file_id, snapshot_time FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1";
        let (mut counters, last_time) = transaction.query_row(sql, (), |row| {
            let counters = Counters {
                snapshot: row.get::<_, i64>(0)? + 1,
                schema_version: row.get(1)?,
                next_catalog_id: row.get(2)?,
                next_file_id: row.get(3)?,
            };
            Ok((counters, row.get::<_, String>(4)?))
        })?;
        let mut words = Vec::new();
        let mut altered: BTreeSet<i64> = BTreeSet::new();
        let mut schema_changed = false;
        transaction.execute(
            "UPDATE ducklake_metadata SET value = ?1 WHERE key = 'data_path' AND scope IS NULL AND value <> ?1",
            [self.data_path()],
        )?;
        for change in &changes.tables {
            let (schema, made) = schema_id(transaction, &mut counters, &change.name.namespace, &mut words)?;
            schema_changed |= made;
            let table = match &change.was {
                Some(was) => {
                    if alter(transaction, &counters, was, change)? {
                        altered.insert(was.id);
                        words.push(format!("altered_table:{}", was.id));
                    }
                    was.id
                }
                None => {
                    let id = create(transaction, &mut counters, schema, change)?;
                    altered.insert(id);
                    words.insert(0, format!("created_table:{}.{}", quoted(&change.name.namespace), quoted(&change.name.name)));
                    id
                }
            };
            write_files(transaction, &mut counters, table, change, &mut words)?;
            self.write_checkpoint(transaction, table, change)?;
        }
        for (name, sql) in &changes.views {
            let (schema, made) = schema_id(transaction, &mut counters, &name.namespace, &mut words)?;
            schema_changed |= made | replace_view(transaction, &mut counters, schema, name, sql, &mut words)?;
        }
        if schema_changed || !altered.is_empty() {
            counters.schema_version += 1;
        }
        for table in altered {
            let sql = "INSERT INTO ducklake_schema_versions (begin_snapshot, schema_version, table_id) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, [counters.snapshot, counters.schema_version, table])?;
        }
        let time = next_time(&last_time);
        let row = params![counters.snapshot, time, counters.schema_version, counters.next_catalog_id, counters.next_file_id];
        let sql = "INSERT INTO ducklake_snapshot (snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        transaction.execute(sql, row)?;
        let publish = &changes.publish;
        let message = match publish.run.batch_id {
            Some(batch) => format!("{} batch {batch}", publish.flow),
            None => format!("{} full refresh", publish.flow),
        };
        // Nothing at all is NULL in the format: other writers, when they look whether a commit disturbs theirs, refuse an empty text.
        let words = (!words.is_empty()).then(|| words.join(","));
        let sql = "INSERT INTO ducklake_snapshot_changes (snapshot_id, changes_made, author, commit_message) VALUES (?1, ?2, 'qetl', ?3)";
        transaction.execute(sql, params![counters.snapshot, words, message])?;

        let published_at = Utc::now().timestamp_micros();
        for batch in &publish.batches {
            records::insert_batch(transaction, &publish.flow, &publish.run.run_id, counters.snapshot, published_at, batch)?;
        }
        records::replace_columns(transaction, &publish.flow, &publish.columns)?;
        records::replace_details(transaction, &publish.flow, &publish.details)?;
        records::replace_run(transaction, &publish.run)?;
        Ok(counters.snapshot)
    }
}

impl Catalog {
    /// A checkpoint is no longer true once a batch that it tells of is replaced.
    fn write_checkpoint(&self, transaction: &Transaction<'_>, table: i64, change: &TableChange) -> rusqlite::Result<()> {
        if let Some(first) = change.batches.iter().map(|(batch, ..)| *batch).min() {
            transaction.execute("DELETE FROM qetl_checkpoints WHERE table_id = ?1 AND batch_id >= ?2", [table, first])?;
        }
        let Some((batch, files)) = &change.checkpoint else { return Ok(()) };
        transaction.execute("DELETE FROM qetl_checkpoints WHERE table_id = ?1", [table])?;
        let sql = "INSERT INTO qetl_checkpoints (table_id, batch_id, path, row_count, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
        for file in files {
            let path = file.path.strip_prefix(&self.data).unwrap_or(&file.path).to_string_lossy();
            transaction.execute(sql, params![table, batch, path, file.rows, file.bytes])?;
        }
        if files.is_empty() {
            transaction.execute(sql, params![table, batch, None::<String>, 0, 0])?;
        }
        Ok(())
    }
}

fn failed(message: String) -> RunError {
    RunError::Failed { place: Place::default(), message, help: "nothing was published; run the same command again".to_owned() }
}

/// A name in the words of `changes_made`.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The schema's id, and whether it was made for that.
fn schema_id(transaction: &Transaction<'_>, counters: &mut Counters, name: &str, words: &mut Vec<String>) -> rusqlite::Result<(i64, bool)> {
    let sql = "SELECT schema_id FROM ducklake_schema WHERE schema_name = ?1 AND end_snapshot IS NULL";
    if let Some(id) = transaction.query_row(sql, [name], |row| row.get(0)).optional()? {
        return Ok((id, false));
    }
    let id = counters.take_catalog_id();
    let row = params![id, Uuid::new_v4().to_string(), counters.snapshot, name, format!("{name}/")];
    let sql = "INSERT INTO ducklake_schema (schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative)
               VALUES (?1, ?2, ?3, ?4, ?5, 1)";
    transaction.execute(sql, row)?;
    words.insert(0, format!("created_schema:{}", quoted(name)));
    Ok((id, true))
}

/// A new table, partitioned by batch if its rows are kept apart by it.
fn create(transaction: &Transaction<'_>, counters: &mut Counters, schema: i64, change: &TableChange) -> rusqlite::Result<i64> {
    let id = counters.take_catalog_id();
    let name = &change.name.name;
    let row = params![id, Uuid::new_v4().to_string(), counters.snapshot, schema, name, format!("{name}/")];
    let sql = "INSERT INTO ducklake_table (table_id, table_uuid, begin_snapshot, schema_id, table_name, path, path_is_relative)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)";
    transaction.execute(sql, row)?;
    for (order, (column, name, ty)) in change.columns.iter().enumerate() {
        insert_column(transaction, counters, id, *column, order, name, ty)?;
    }
    if change.by_batch {
        let partition = counters.take_catalog_id();
        let sql = "INSERT INTO ducklake_partition_info (partition_id, table_id, begin_snapshot) VALUES (?1, ?2, ?3)";
        transaction.execute(sql, [partition, id, counters.snapshot])?;
        let batch = change.columns.iter().find(|(_, name, _)| name == "xt_batch_id").map_or(0, |(column, ..)| *column);
        let sql = r#"INSERT INTO ducklake_partition_column (partition_id, table_id, partition_key_index, column_id, "transform")
                     VALUES (?1, ?2, 0, ?3, 'identity')"#;
        transaction.execute(sql, [partition, id, batch])?;
    }
    // With this row, and no column statistics of the table, other writers take the columns' ranges as unknown.
    let sql = "INSERT INTO ducklake_table_stats (table_id, record_count, next_row_id, file_size_bytes) VALUES (?1, 0, 0, 0)";
    transaction.execute(sql, [id])?;
    Ok(id)
}

fn insert_column(
    transaction: &Transaction<'_>,
    counters: &Counters,
    table: i64,
    column: i64,
    order: usize,
    name: &str,
    ty: &str,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO ducklake_column (column_id, begin_snapshot, table_id, column_order, column_name, column_type, default_value,
                   nulls_allowed, default_value_type, default_value_dialect) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'NULL', 1, 'literal', 'duckdb')";
    transaction.execute(sql, params![column, counters.snapshot, table, order + 1, name, ty]).map(|_| ())
}

/// Adds and retypes columns; true when anything differs.
fn alter(transaction: &Transaction<'_>, counters: &Counters, was: &CatalogTable, change: &TableChange) -> rusqlite::Result<bool> {
    let mut altered = false;
    let unchanged = change.columns.iter().all(|(id, _, ty)| was.columns.iter().any(|old| old.id == *id && old.ty == *ty));
    let gone: Vec<_> = was.columns.iter().filter(|old| !change.columns.iter().any(|(id, ..)| *id == old.id)).collect();
    if unchanged && (gone.is_empty() || !change.drop_columns) {
        return Ok(false);
    }
    for old in gone.iter().filter(|_| change.drop_columns) {
        let sql = "UPDATE ducklake_column SET end_snapshot = ?1 WHERE table_id = ?2 AND column_id = ?3 AND end_snapshot IS NULL";
        transaction.execute(sql, [counters.snapshot, was.id, old.id])?;
        altered = true;
    }
    for (place, old) in gone.iter().enumerate().filter(|_| !change.drop_columns) {
        let sql = "UPDATE ducklake_column SET column_order = ?1 WHERE table_id = ?2 AND column_id = ?3 AND end_snapshot IS NULL";
        transaction.execute(sql, params![change.columns.len() + place + 1, was.id, old.id])?;
    }
    for (order, (column, name, ty)) in change.columns.iter().enumerate() {
        let old = was.columns.iter().find(|old| old.id == *column);
        if old.is_some_and(|old| old.ty == *ty) {
            // A column that is new stands where the flow has it: others move on.
            let sql = "UPDATE ducklake_column SET column_order = ?1 WHERE table_id = ?2 AND column_id = ?3 AND end_snapshot IS NULL";
            transaction.execute(sql, params![order + 1, was.id, column])?;
            continue;
        }
        if old.is_some() {
            let sql = "UPDATE ducklake_column SET end_snapshot = ?1 WHERE table_id = ?2 AND column_id = ?3 AND end_snapshot IS NULL";
            transaction.execute(sql, [counters.snapshot, was.id, *column])?;
            // Bounds are texts of the old type; an absent bound keeps a file from being left out.
            let sql = "UPDATE ducklake_file_column_stats SET min_value = NULL, max_value = NULL WHERE table_id = ?1 AND column_id = ?2";
            transaction.execute(sql, [was.id, *column])?;
        }
        insert_column(transaction, counters, was.id, *column, order, name, ty)?;
        altered = true;
    }
    Ok(altered)
}

/// Ends the live files of the replaced batches and adds the new ones.
fn write_files(
    transaction: &Transaction<'_>,
    counters: &mut Counters,
    table: i64,
    change: &TableChange,
    words: &mut Vec<String>,
) -> rusqlite::Result<()> {
    let sql = "SELECT partition_id FROM ducklake_partition_info WHERE table_id = ?1 AND end_snapshot IS NULL";
    let partition: Option<i64> = transaction.query_row(sql, [table], |row| row.get(0)).optional()?;
    let (mut inserted, mut deleted) = (false, false);
    if let Some((_, files)) = &change.whole {
        let sql = "UPDATE ducklake_data_file SET end_snapshot = ?1 WHERE table_id = ?2 AND end_snapshot IS NULL";
        deleted |= transaction.execute(sql, params![counters.snapshot, table])? > 0;
        for file in files {
            inserted = true;
            insert_file(transaction, counters, table, None, file)?;
        }
    }
    if let Some(edit) = &change.edit {
        for file in &edit.ended {
            let sql = "UPDATE ducklake_data_file SET end_snapshot = ?1 WHERE data_file_id = ?2 AND end_snapshot IS NULL";
            deleted |= transaction.execute(sql, params![counters.snapshot, file])? > 0;
        }
        for (file, deletes) in &edit.deletes {
            deleted = true;
            replace_deletes(transaction, counters, table, *file, deletes)?;
        }
        for file in &edit.new {
            inserted = true;
            insert_file(transaction, counters, table, None, file)?;
        }
    }
    for (batch, _, files) in &change.batches {
        let sql = "UPDATE ducklake_data_file SET end_snapshot = ?1 WHERE table_id = ?2 AND end_snapshot IS NULL
                   AND data_file_id IN (SELECT data_file_id FROM ducklake_file_partition_value WHERE table_id = ?2 AND partition_value = ?3)";
        deleted |= transaction.execute(sql, params![counters.snapshot, table, batch.to_string()])? > 0;
        for file in files {
            inserted = true;
            let id = insert_file(transaction, counters, table, partition, file)?;
            let sql = "INSERT INTO ducklake_file_partition_value (data_file_id, table_id, partition_key_index, partition_value)
                       VALUES (?1, ?2, 0, ?3)";
            transaction.execute(sql, params![id, table, batch.to_string()])?;
        }
    }
    // What is deleted from a file that has ended is of no more use.
    let sql = "UPDATE ducklake_delete_file SET end_snapshot = ?1 WHERE table_id = ?2 AND end_snapshot IS NULL
               AND data_file_id IN (SELECT data_file_id FROM ducklake_data_file WHERE table_id = ?2 AND end_snapshot = ?1)";
    transaction.execute(sql, [counters.snapshot, table])?;
    if inserted {
        words.push(format!("inserted_into_table:{table}"));
    }
    if deleted {
        words.push(format!("deleted_from_table:{table}"));
    }
    Ok(())
}

fn insert_file(
    transaction: &Transaction<'_>,
    counters: &mut Counters,
    table: i64,
    partition: Option<i64>,
    file: &StagedFile,
) -> rusqlite::Result<i64> {
    let id = counters.take_file_id();
    let next: i64 = transaction.query_row("SELECT next_row_id FROM ducklake_table_stats WHERE table_id = ?1", [table], |row| row.get(0))?;
    let sql = "INSERT INTO ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, file_format, record_count,
                   file_size_bytes, footer_size, row_id_start, partition_id) VALUES (?1, ?2, ?3, ?4, 1, 'parquet', ?5, ?6, ?7, ?8, ?9)";
    let row = params![id, table, counters.snapshot, file.name, file.rows, file.bytes, file.footer_bytes, next, partition];
    transaction.execute(sql, row)?;
    for stats in &file.columns {
        let sql = "INSERT INTO ducklake_file_column_stats (data_file_id, table_id, column_id, column_size_bytes, value_count, null_count,
                       min_value, max_value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let rows = i64::try_from(file.rows).unwrap_or(i64::MAX);
        let values = stats.nulls.map(|nulls| rows - nulls);
        transaction.execute(sql, params![id, table, stats.column_id, stats.bytes, values, stats.nulls, stats.min, stats.max])?;
    }
    let sql = "UPDATE ducklake_table_stats SET record_count = record_count + ?2, next_row_id = next_row_id + ?2, file_size_bytes = file_size_bytes + ?3 WHERE table_id = ?1";
    transaction.execute(sql, params![table, file.rows, file.bytes])?;
    Ok(id)
}

/// A data file has one live file of deletes: it tells of all its deleted rows.
fn replace_deletes(
    transaction: &Transaction<'_>,
    counters: &mut Counters,
    table: i64,
    data_file: i64,
    deletes: &StagedFile,
) -> rusqlite::Result<()> {
    let sql = "UPDATE ducklake_delete_file SET end_snapshot = ?1 WHERE data_file_id = ?2 AND end_snapshot IS NULL";
    transaction.execute(sql, [counters.snapshot, data_file])?;
    let sql = "INSERT INTO ducklake_delete_file (delete_file_id, table_id, begin_snapshot, data_file_id, path, path_is_relative, format,
                   delete_count, file_size_bytes, footer_size) VALUES (?1, ?2, ?3, ?4, ?5, 1, 'parquet', ?6, ?7, ?8)";
    let id = counters.take_file_id();
    let row = params![id, table, counters.snapshot, data_file, deletes.name, deletes.rows, deletes.bytes, deletes.footer_bytes];
    transaction.execute(sql, row).map(|_| ())
}

/// Makes the view, or makes it anew when its text differs; true when it did.
fn replace_view(
    transaction: &Transaction<'_>,
    counters: &mut Counters,
    schema: i64,
    name: &DatasetName,
    sql: &str,
    words: &mut Vec<String>,
) -> rusqlite::Result<bool> {
    let find = "SELECT view_id, sql FROM ducklake_view WHERE schema_id = ?1 AND view_name = ?2 AND end_snapshot IS NULL";
    let old: Option<(i64, String)> =
        transaction.query_row(find, params![schema, name.name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    if let Some((id, text)) = old {
        if text == sql {
            return Ok(false);
        }
        transaction
            .execute("UPDATE ducklake_view SET end_snapshot = ?1 WHERE view_id = ?2 AND end_snapshot IS NULL", [counters.snapshot, id])?;
        words.push(format!("dropped_view:{id}"));
    }
    let id = counters.take_catalog_id();
    let row = params![id, Uuid::new_v4().to_string(), counters.snapshot, schema, name.name, sql];
    let sql = r#"INSERT INTO ducklake_view (view_id, view_uuid, begin_snapshot, schema_id, view_name, dialect, "sql", column_aliases)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'duckdb', ?6, '')"#;
    transaction.execute(sql, row)?;
    words.push(format!("created_view:{}.{}", quoted(&name.namespace), quoted(&name.name)));
    Ok(true)
}

/// A time in the format's text, UTC.
pub(crate) fn time_text(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}

pub(super) fn now_text() -> String {
    time_text(Utc::now().timestamp_micros())
}

/// Now, or a microsecond after the last version, whatever the clock says: versions are found by time.
fn next_time(last: &str) -> String {
    let now = now_text();
    if now.as_str() > last {
        return now;
    }
    let parsed = DateTime::parse_from_str(&last.replace("+00", "+0000"), "%Y-%m-%d %H:%M:%S%.f%z");
    parsed.map_or(now, |last| time_text(last.timestamp_micros() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_even_when_the_clock_does_not() {
        assert_eq!(next_time("2999-01-01 00:00:00.000009+00"), "2999-01-01 00:00:00.000010+00");
        assert_eq!(next_time("2999-01-01 00:00:00+00"), "2999-01-01 00:00:00.000001+00");
        assert!(next_time("1999-01-01 00:00:00+00").as_str() > "2020");
    }
}
