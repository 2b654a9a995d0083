//! The catalog: a SQLite file in the DuckLake 1.0 format, with qetl's records beside it.
//!
//! Every function here blocks. Publishes and anything else that may wait go through `blocking`; the short look-ups of
//! planning are made where they are needed. The layout of the tables and the rules
//! for their counters are those of the DuckLake specification, as DuckDB's own extension writes them.

mod commit;
mod read;
mod records;
mod whole;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use qetl_runtime::{
    RunError,
    acknowledged::{Acknowledged, Marker},
    durable,
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, config::DbConfig};
use uuid::Uuid;

pub(crate) use commit::{Changes, TableChange, time_text};
pub(crate) use read::{BatchRange, CatalogTable, Checkpoint, DataFile, DeleteFile, Snapshot, type_word, word_type};
pub(crate) use whole::refuse_gaps;

use crate::error;
use whole::Writer;

/// Where a warehouse stands.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    file: PathBuf,
    /// The folder of the data files; table paths are below it.
    pub(crate) data: PathBuf,
    /// What was said to be published; it goes with the data.
    marker: Marker,
}

/// Why the catalog could not be opened to write.
enum Opening {
    Busy,
    Failed(Box<RunError>),
}

/// The version of qetl's records.
const RECORDS: i64 = 3;

/// How long to wait for another writer's commit.
const BUSY: Duration = Duration::from_secs(60);

impl Catalog {
    pub(crate) fn new(file: &Path, location: &Path) -> Self {
        Self { file: file.to_owned(), data: location.join("data"), marker: Marker::new(location) }
    }

    /// Opens the catalog to read; `None` when there is none yet.
    fn read(&self) -> Result<Option<Connection>, RunError> {
        let Some(connection) = self.open()? else { return Ok(None) };
        if self.check_version(&connection)? < RECORDS {
            connection.execute_batch(include_str!("records_2_read.sql")).map_err(error::catalog)?;
        }
        Ok(Some(connection))
    }

    /// Opens the catalog, if there is one. One that lacks what was published is refused.
    fn open(&self) -> Result<Option<Connection>, RunError> {
        loop {
            // A catalog is newer than what is said, if it is whole: so that is read first.
            let said = self.marker.read();
            let judged = match self.open_unjudged()? {
                None => self.refuse_absence().map(|()| None),
                Some(connection) => self.refuse_loss(&said, self.found(&connection)?).map(|()| Some(connection)),
            };
            match judged {
                // Somebody may have gone on from an older version meanwhile.
                Err(_) if self.marker.read() != said => continue,
                Ok(Some(connection)) => {
                    // Its log goes with the last who close it.
                    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(error::catalog)?;
                    return Ok(Some(connection));
                }
                other => return other,
            }
        }
    }

    /// Opens a catalog that is there, whatever it lacks. Its log stays as it is when it is closed.
    fn open_unjudged(&self) -> Result<Option<Connection>, RunError> {
        // SQLite would take away the log of an empty file.
        if !std::fs::metadata(&self.file).is_ok_and(|file| file.is_file() && file.len() > 0) {
            return Ok(None);
        }
        let open = || -> rusqlite::Result<Option<Connection>> {
            let connection = Connection::open_with_flags(&self.file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(BUSY)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            Ok(is_ready(&connection)?.then_some(connection))
        };
        open().map_err(|why| self.unreadable(&why))
    }

    /// Opens the catalog to write, and makes it when there is none.
    fn write(&self) -> Result<Writer, RunError> {
        let mut connection = match self.open()? {
            Some(connection) => connection,
            None => {
                let connection = self.make()?;
                let store = self.found(&connection)?.store;
                self.marker.update(|said| Acknowledged { store, ..said.unwrap_or_default() })?;
                connection
            }
        };
        connection.pragma_update(None, "synchronous", "FULL").map_err(error::catalog)?;
        if self.check_version(&connection)? < RECORDS {
            upgrade(&mut connection)?;
        }
        let found = self.found(&connection)?;
        Ok(Writer { connection, found })
    }

    /// Makes a catalog. Others may be making the same one.
    fn make(&self) -> Result<Connection, RunError> {
        // Changing the journal's mode does not wait for others.
        let until = Instant::now() + BUSY;
        loop {
            match self.open_or_make() {
                Err(Opening::Busy) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                Err(Opening::Busy) => return Err(error::file(&self.file, "the catalog is locked by another program")),
                Err(Opening::Failed(error)) => return Err(*error),
                Ok(connection) => return Ok(connection),
            }
        }
    }

    fn open_or_make(&self) -> Result<Connection, Opening> {
        if let Some(folder) = self.file.parent() {
            durable::create_folder(folder).map_err(|why| Opening::Failed(Box::new(error::file(folder, why))))?;
        }
        let failed = |why: rusqlite::Error| match why.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Opening::Busy,
            _ => Opening::Failed(Box::new(error::file(&self.file, why))),
        };
        let mut connection = Connection::open(&self.file).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        // Another process may have made it meanwhile.
        if !is_ready(&transaction).map_err(failed)? {
            self.create(&transaction).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        durable::sync_parent(&self.file).map_err(|why| Opening::Failed(Box::new(error::file(&self.file, why))))?;
        Ok(connection)
    }

    fn create(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch(include_str!("ducklake.sql"))?;
        connection.execute_batch(include_str!("records.sql"))?;
        let created_by = format!("qetl {}", env!("CARGO_PKG_VERSION"));
        let data_path = self.data_path();
        // DuckDB's default would keep small writes in tables of the catalog, where a replaced batch would miss them.
        let metadata = [
            ("version", "1.0"),
            ("created_by", &created_by),
            ("data_path", &data_path),
            ("encrypted", "false"),
            ("data_inlining_row_limit", "0"),
        ];
        for (key, value) in metadata {
            connection.execute(r#"INSERT INTO ducklake_metadata ("key", "value") VALUES (?1, ?2)"#, (key, value))?;
        }
        let sql = "INSERT INTO ducklake_snapshot (snapshot_id, snapshot_time, schema_version, next_catalog_id, next_file_id)
                   VALUES (0, ?1, 0, 1, 0)";
        connection.execute(sql, [commit::now_text()])?;
        let sql = "INSERT INTO ducklake_snapshot_changes (snapshot_id, changes_made) VALUES (0, 'created_schema:\"main\"')";
        connection.execute(sql, ())?;
        let sql = "INSERT INTO ducklake_schema (schema_id, schema_uuid, begin_snapshot, schema_name, path, path_is_relative)
                   VALUES (0, ?1, 0, 'main', 'main/', 1)";
        connection.execute(sql, [Uuid::new_v4().to_string()])?;
        connection.pragma_update(None, "application_id", whole::new_store())
    }

    /// The data folder as the format wants it: absolute, with a slash at the end.
    fn data_path(&self) -> String {
        format!("{}/", self.data.display())
    }

    /// The version of the records, if this qetl knows it.
    fn check_version(&self, connection: &Connection) -> Result<i64, RunError> {
        let sql = "SELECT value FROM ducklake_metadata WHERE key = 'version' AND scope IS NULL";
        let version: Option<String> = connection.query_row(sql, (), |row| row.get(0)).optional().map_err(error::catalog)?;
        let own: Option<i64> =
            connection.query_row("SELECT version FROM qetl_meta", (), |row| row.get(0)).optional().map_err(error::catalog)?;
        if let (Some("1.0"), Some(own @ 2..=RECORDS)) = (version.as_deref(), own) {
            return Ok(own);
        }
        let message = format!(
            "`{}` is a catalog of another version ({}, {own:?})",
            self.file.display(),
            version.unwrap_or_else(|| "none".to_owned())
        );
        Err(RunError::usage(message, "this qetl reads DuckLake 1.0 catalogs that it or an older qetl made"))
    }
}

/// Brings the records of an older qetl up to date.
fn upgrade(connection: &mut Connection) -> Result<(), RunError> {
    let ((), _) = whole::written(connection, |transaction| {
        // Another process may have done so meanwhile.
        let version: i64 = transaction.query_row("SELECT version FROM qetl_meta", (), |row| row.get(0))?;
        if version == 2 {
            transaction.execute_batch(include_str!("records_2_to_3.sql"))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Whether the tables are there.
fn is_ready(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 2 FROM sqlite_master WHERE name IN ('ducklake_metadata', 'qetl_meta')", (), |row| row.get(0))
}
