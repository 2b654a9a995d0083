//! SQLite: a database in a file, with the library built in.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the library's many errors a few are answered apart")]

mod decimals;

use std::{path::Path, time::Duration};

use qetl_core::{Column, Type, project::EngineConfig};
use qetl_runtime::{RunError, durable};
use qetl_sql::{
    Dialect,
    author::{Rules, SqliteRules},
};
use rusqlite::{
    ErrorCode, OpenFlags, config::DbConfig, functions::Context, functions::FunctionFlags, types::ToSqlOutput, types::Value, types::ValueRef,
};

use crate::{
    cell::{Cell, Cells, coerce, date_text, decimal_text, timestamp_text},
    database::{Access, Batches, Connection, Database, Failure, Found, Hold, Naming, Take},
    lock_file, path_of, records,
    tables::TableName,
    watch::Watch,
    whole::Store,
    zones,
};

/// How long a publish waits for readers of what it has written to the log.
const READERS: Duration = Duration::from_millis(50);

pub(crate) struct Sqlite {
    store: Store,
    lock_timeout: Duration,
    statement_timeout: Option<Duration>,
}

impl Sqlite {
    pub(crate) fn new(config: &EngineConfig, project: &Path) -> Result<Self, RunError> {
        let (lock_timeout, statement_timeout) = (config.lock_timeout(), config.statement_timeout());
        Ok(Self { store: Store::new(path_of(config, project)?, "-wal"), lock_timeout, statement_timeout })
    }
}

impl Database for Sqlite {
    fn dialect(&self) -> &'static dyn Dialect {
        &qetl_sql::dialects::Sqlite::EMBEDDED
    }

    fn refuses_name(&self, name: &str) -> Option<&'static str> {
        (!self.dialect().keeps_name(name)).then_some("it is read as a value there, even in quotes")
    }

    fn syntax(&self) -> &'static dyn qetl_sql::syntax::Dialect {
        &qetl_sql::syntax::SQLiteDialect {}
    }

    fn author_rules(&self, now: Option<i64>) -> Option<Box<dyn Rules>> {
        Some(Box::new(SqliteRules::new(now)))
    }

    fn real_table(&self, dataset: &qetl_core::DatasetName) -> String {
        format!("main.{}", crate::tables::table(self, dataset))
    }

    fn place(&self) -> String {
        format!("the SQLite database `{}`", self.store.path.display())
    }

    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, Failure> {
        let open = || -> rusqlite::Result<rusqlite::Connection> {
            let connection = match access {
                // A database that is not there is one without tables.
                Access::Read if !self.store.path.exists() => rusqlite::Connection::open_in_memory()?,
                Access::Read => rusqlite::Connection::open_with_flags(&self.store.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?,
                Access::Write => rusqlite::Connection::open(&self.store.path)?,
            };
            connection.busy_timeout(self.lock_timeout)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            // A quoted name that is no column's is a mistake, not a text.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
            connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -65536")?;
            match access {
                Access::Read => connection.execute_batch("PRAGMA query_only = ON")?,
                Access::Write => connection.query_row("PRAGMA journal_mode = WAL", (), |_| Ok(()))?,
            }
            connection.set_prepared_statement_cache_capacity(64);
            let pure = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
            connection.create_scalar_function(qetl_sql::dialects::DATE_IN, 2, pure, date_in)?;
            decimals::register(&connection)?;
            Ok(connection)
        };
        if let (Access::Write, Some(folder)) = (access, self.store.path.parent()) {
            durable::create_folder(folder).map_err(|why| Failure::Other(format!("`{}`: {why}", folder.display())))?;
        }
        Ok(Box::new(Session { connection: open().map_err(failure)?, lock_timeout: self.lock_timeout, timeout: self.statement_timeout }))
    }

    /// A lock file beside the database.
    fn hold(&self, flow: &str) -> Result<Option<Box<dyn Hold>>, Failure> {
        Ok(lock_file::hold(&self.store.path, flow)?.map(|held| -> Box<dyn Hold> { Box::new(held) }))
    }

    fn naming(&self) -> Naming {
        Naming::Prefixes
    }

    fn placeholder(&self, n: usize) -> String {
        format!("?{n}")
    }

    fn begin(&self) -> &'static str {
        "BEGIN IMMEDIATE"
    }

    fn begin_reading(&self) -> &'static str {
        "BEGIN"
    }

    fn count_tables(&self) -> &'static str {
        "SELECT COUNT(*) FROM sqlite_master WHERE ? = '' AND name = ? COLLATE NOCASE"
    }

    fn picky_about(&self) -> Option<Type> {
        Some(Type::Float)
    }

    fn refuses(&self, cell: &Cell<'_>) -> Option<&'static str> {
        matches!(cell, Cell::Float(value) if value.is_nan()).then_some("the value is NaN")
    }

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }

    fn writes_in_file(&self) -> Result<Option<i64>, Failure> {
        if !self.store.has_log() {
            return Ok(None);
        }
        let alone = || {
            let path = std::path::absolute(&self.store.path).map_err(|why| Failure::Other(why.to_string()))?;
            let mut address = url_encoded(&path);
            address.push_str("?immutable=1");
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            let connection = rusqlite::Connection::open_with_flags(address, flags).map_err(failure)?;
            let mut session = Session { connection, lock_timeout: self.lock_timeout, timeout: None };
            if records::there(self, &mut session)? { records::published(self, &mut session) } else { Ok((0, 0)) }
        };
        // Somebody may just be writing to the file.
        let mut tries = 0;
        loop {
            match alone() {
                Err(Failure::Other(_)) if tries < 20 => std::thread::sleep(READERS),
                other => return other.map(|(_, writes)| Some(writes)),
            }
            tries += 1;
        }
    }
}

/// A file's path as an address that SQLite reads.
fn url_encoded(path: &Path) -> String {
    let byte = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => char::from(*byte).to_string(),
        other => format!("%{other:02x}"),
    };
    format!("file:{}", path.as_os_str().as_encoded_bytes().iter().map(byte).collect::<String>())
}

/// The function of that name.
fn date_in(call: &Context<'_>) -> rusqlite::Result<Option<String>> {
    let failed = |why: String| rusqlite::Error::UserFunctionError(why.into());
    let Some(instant) = call.get::<Option<String>>(0)? else { return Ok(None) };
    let Some(Cell::Timestamp(micros)) = coerce(Cell::from(instant.as_str()), Type::Timestamp) else {
        return Err(failed(format!("`{instant}` is no instant")));
    };
    zones::date_in(micros, call.get_raw(1).as_str()?).map(|days| Some(date_text(days))).map_err(failed)
}

struct Session {
    connection: rusqlite::Connection,
    lock_timeout: Duration,
    timeout: Option<Duration>,
}

impl Session {
    fn watched<T>(&self, run: impl FnOnce(&rusqlite::Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        let Some(timeout) = self.timeout else { return run(&self.connection) };
        let handle = self.connection.get_interrupt_handle();
        let watch = Watch::over(timeout, move || handle.interrupt());
        watch.judge(run(&self.connection))
    }
}

impl Connection for Session {
    fn run(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<u64, Failure> {
        self.watched(|connection| {
            let mut statement = connection.prepare(sql).map_err(failure)?;
            for (place, cell) in (1..).zip(values) {
                statement.raw_bind_parameter(place, Bound(cell)).map_err(failure)?;
            }
            statement.raw_execute().map(|rows| rows as u64).map_err(failure)
        })
    }

    fn query(&mut self, sql: &str, values: &[Cell<'_>], take: Take<'_>) -> Result<Vec<Found>, Failure> {
        self.watched(|connection| read(connection, sql, values, take))
    }

    fn names(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        let statement = self.connection.prepare(sql).map_err(failure)?;
        Ok(statement.column_names().map(str::to_owned).collect())
    }

    fn load(&mut self, table: &TableName, columns: &[Column], rows: Batches<'_>) -> Result<(), Failure> {
        let table = table.object('"');
        let names: Vec<String> = columns.iter().map(|column| qetl_sql::ident('"', &column.name).to_string()).collect();
        let places: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
        let sql = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
        let mut statement = self.connection.prepare_cached(&sql).map_err(failure)?;
        for batch in rows {
            let cells = Cells::of(&batch);
            for row in 0..batch.num_rows() {
                for column in 0..cells.width() {
                    statement.raw_bind_parameter(column + 1, Bound(&cells.cell(row, column))).map_err(failure)?;
                }
                statement.raw_execute().map_err(failure)?;
            }
        }
        Ok(())
    }

    /// The log goes with the last who close it.
    fn is_whole(&mut self) {
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    }

    fn checkpoint(&mut self) -> bool {
        let whole = || -> rusqlite::Result<bool> {
            self.connection.busy_timeout(READERS)?;
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| Ok(row.get::<_, i64>(0)? == 0))
        };
        let whole = whole().unwrap_or(false);
        whole & self.connection.busy_timeout(self.lock_timeout).is_ok()
    }
}

fn read(connection: &rusqlite::Connection, sql: &str, values: &[Cell<'_>], take: Take<'_>) -> Result<Vec<Found>, Failure> {
    let mut statement = connection.prepare(sql).map_err(failure)?;
    if statement.column_count() == 0 || !statement.readonly() {
        return Err(Failure::Wrong("the statement is no query: `query` reads, and does nothing else".to_owned()));
    }
    let found =
        |column: &rusqlite::Column<'_>| Found { name: column.name().to_owned(), ty: column.decl_type().and_then(declared), origin: None };
    let found: Vec<Found> = statement.columns().map(|column| found(&column)).collect();
    for (place, cell) in (1..).zip(values) {
        statement.raw_bind_parameter(place, Bound(cell)).map_err(failure)?;
    }
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(failure)? {
        let cell = |index: usize| -> Result<Cell<'static>, Failure> {
            Ok(match row.get::<_, Value>(index).map_err(failure)? {
                Value::Null => Cell::Null,
                Value::Integer(value) => Cell::Int(value),
                Value::Real(value) => Cell::Float(value),
                Value::Text(text) => Cell::from(text),
                Value::Blob(_) => return Err(Failure::Other(format!("`{}` has bytes: cast them to text", found[index].name))),
            })
        };
        take(&found, (0..found.len()).map(cell).collect::<Result<_, _>>()?)?;
    }
    Ok(found)
}

/// A value as SQLite keeps it: dates, times and decimals as text.
struct Bound<'a>(&'a Cell<'a>);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Cell::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Cell::Bool(value) => ToSqlOutput::Borrowed(ValueRef::Integer(i64::from(*value))),
            Cell::Int(value) => ToSqlOutput::Borrowed(ValueRef::Integer(*value)),
            Cell::Float(value) => ToSqlOutput::Borrowed(ValueRef::Real(*value)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Decimal(value, scale) => ToSqlOutput::Owned(Value::Text(decimal_text(*value, *scale))),
            Cell::Date(days) => ToSqlOutput::Owned(Value::Text(date_text(*days))),
            Cell::Timestamp(micros) => ToSqlOutput::Owned(Value::Text(timestamp_text(*micros))),
        })
    }
}

/// The type of a column by the words that it was declared with.
fn declared(words: &str) -> Option<Type> {
    match words {
        "TEXT" => Some(Type::Text),
        "INTEGER" => Some(Type::Int),
        "REAL" => Some(Type::Float),
        "BOOLEAN" => Some(Type::Bool),
        "DATE_TEXT" => Some(Type::Date),
        "TIMESTAMP_TEXT" => Some(Type::Timestamp),
        other => other.strip_prefix("DECIMAL_TEXT").and_then(|digits| format!("decimal{digits}").parse().ok()),
    }
}

fn failure(error: rusqlite::Error) -> Failure {
    let why = error.to_string();
    match &error {
        rusqlite::Error::SqliteFailure(code, _) => match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Failure::Busy(why),
            ErrorCode::DiskFull => Failure::Full(why),
            ErrorCode::ConstraintViolation => Failure::Conflict(why),
            ErrorCode::ReadOnly => Failure::Wrong(format!(
                "{why}: `query` reads, and does nothing else; a run needs the right to write the file and its folder"
            )),
            ErrorCode::Unknown => Failure::Wrong(why),
            _ => Failure::Other(why),
        },
        rusqlite::Error::SqlInputError { msg, .. } => Failure::Wrong(msg.clone()),
        rusqlite::Error::MultipleStatement => Failure::Wrong("one statement at a time".to_owned()),
        _ => Failure::Other(why),
    }
}
