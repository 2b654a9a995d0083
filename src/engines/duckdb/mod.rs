//! DuckDB: a database in a file, with the library built in; rows go in through a table function, on all threads.
//!
//! One process has the file at a time, and in it one instance, whose connections are the sessions.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the library's many types and errors a few are answered apart")]

mod arrow;
mod functions;

use std::{
    panic::resume_unwind,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use ::duckdb::{
    AccessMode, Config, Error, ToSql,
    types::{ToSqlOutput, ValueRef},
};
use qetl_core::{Column, project::EngineChoice};
use qetl_runtime::{RunError, durable};
use qetl_sql::Dialect;

use crate::{
    cell::{Cell, date_text, decimal_text, timestamp_text},
    database::{Access, Batches, Connection, Database, Failure, Found, Hold, Naming, Take},
    lock_file, path_of,
    tables::TableName,
    watch::Watch,
    whole::{self, Store},
};
use arrow::{cell, known};
use functions::{RowsIn, send};

const SYNTAX: &dyn qetl_sql::syntax::Dialect = &qetl_sql::syntax::DuckDbDialect {};
const DIALECT: &dyn Dialect = &qetl_sql::dialects::DuckDb::EMBEDDED;

/// How long it is waited before another process's file is tried again.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct DuckDb {
    store: Store,
    lock_timeout: Duration,
    statement_timeout: Option<Duration>,
    memory_limit: u64,
    threads: i64,
    open: Mutex<Weak<Instance>>,
}

/// The open file; it is closed with the last session and lock.
struct Instance {
    access: Access,
    root: Mutex<::duckdb::Connection>,
}

/// 0 is one a core.
fn threads(wanted: u32) -> i64 {
    let cores = || thread::available_parallelism().map_or(1, |cores| i64::try_from(cores.get()).unwrap_or(1));
    if wanted == 0 { cores() } else { wanted.into() }
}

impl DuckDb {
    pub(crate) fn new(choice: &EngineChoice, project: &Path) -> Result<Self, RunError> {
        Ok(Self {
            store: Store::new(path_of(&choice.config, project)?, ".wal"),
            lock_timeout: choice.config.lock_timeout(),
            statement_timeout: choice.config.statement_timeout(),
            memory_limit: choice.memory_bytes(),
            threads: threads(choice.threads),
            open: Mutex::default(),
        })
    }

    /// The instance of this process, opened when nobody has it; waits for other processes, and for those who only read.
    fn instance(&self, access: Access) -> Result<Arc<Instance>, Failure> {
        let until = Instant::now() + self.lock_timeout;
        loop {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = match open.upgrade() {
                Some(instance) if access == Access::Read || instance.access == Access::Write => return Ok(instance),
                Some(_) => "it is being read".to_owned(),
                None => match self.file(access) {
                    Ok(root) => {
                        let instance = Arc::new(Instance { access, root: Mutex::new(root) });
                        *open = Arc::downgrade(&instance);
                        return Ok(instance);
                    }
                    Err(Failure::Busy(why)) => why,
                    Err(other) => return Err(other),
                },
            };
            drop(open);
            if Instant::now() >= until {
                return Err(Failure::Busy(busy));
            }
            thread::sleep(PAUSE);
        }
    }

    fn file(&self, access: Access) -> Result<::duckdb::Connection, Failure> {
        let config = |mode| -> ::duckdb::Result<Config> {
            let config = Config::default().access_mode(mode)?.threads(self.threads)?;
            let config = config.max_memory(&format!("{}B", self.memory_limit))?;
            // Nothing outside the database is read or written, no extension is loaded, and no statement changes that.
            let config = config.enable_external_access(false)?.with("preserve_insertion_order", "false")?;
            // Each row group is written once it is full: so the rows of a batch need not be in memory together, and COMMIT has little left.
            let config = config.with("write_buffer_row_group_count", "1")?;
            // As large as the SQL of authors may be.
            config.with("max_expression_depth", "10000")?.with("lock_configuration", "true")
        };
        let open = || match access {
            // A database that is not there is one without tables.
            Access::Read if !self.store.path.exists() => ::duckdb::Connection::open_in_memory_with_flags(config(AccessMode::Automatic)?),
            Access::Read => ::duckdb::Connection::open_with_flags(&self.store.path, config(AccessMode::ReadOnly)?),
            Access::Write => ::duckdb::Connection::open_with_flags(&self.store.path, config(AccessMode::ReadWrite)?),
        };
        if let (Access::Write, Some(folder)) = (access, self.store.path.parent()) {
            durable::create_folder(folder).map_err(|why| Failure::Other(format!("`{}`: {why}", folder.display())))?;
        }
        let connection = open().map_err(failure)?;
        functions::register(&connection).map_err(failure)?;
        Ok(connection)
    }
}

impl Database for DuckDb {
    fn dialect(&self) -> &'static dyn Dialect {
        DIALECT
    }

    fn syntax(&self) -> &'static dyn qetl_sql::syntax::Dialect {
        SYNTAX
    }

    fn groups_chains(&self) -> bool {
        true
    }

    fn real_table(&self, dataset: &qetl_core::DatasetName) -> String {
        crate::tables::table(self, dataset)
    }

    fn place(&self) -> String {
        format!("the DuckDB database `{}`", self.store.path.display())
    }

    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, Failure> {
        let instance = self.instance(access)?;
        let connection = instance.root.lock().unwrap_or_else(PoisonError::into_inner).try_clone().map_err(failure)?;
        Ok(Box::new(Session { connection, access, in_transaction: false, timeout: self.statement_timeout, _instance: instance }))
    }

    /// A lock file beside the database. While it is held the database stays open.
    fn hold(&self, flow: &str) -> Result<Option<Box<dyn Hold>>, Failure> {
        let Some(lock) = lock_file::hold(&self.store.path, flow)? else { return Ok(None) };
        // Whoever opens a file to write changes it: so it is judged first.
        let _judged = whole::open(self, Access::Write)?;
        Ok(Some(Box::new(Held { _instance: self.instance(Access::Write)?, _lock: lock })))
    }

    fn naming(&self) -> Naming {
        Naming::Schemas { main: "main" }
    }

    fn begin(&self) -> &'static str {
        "BEGIN TRANSACTION"
    }

    fn begin_reading(&self) -> &'static str {
        "BEGIN TRANSACTION READ ONLY"
    }

    fn count_tables(&self) -> &'static str {
        "SELECT COUNT(*) FROM information_schema.tables \
         WHERE table_catalog = CURRENT_DATABASE() AND LOWER(table_schema) = LOWER(?) AND LOWER(table_name) = LOWER(?)"
    }

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }
}

struct Held {
    _instance: Arc<Instance>,
    _lock: lock_file::Held,
}

impl Hold for Held {}

/// The connection goes before the instance does.
struct Session {
    connection: ::duckdb::Connection,
    access: Access,
    /// The driver does not tell.
    in_transaction: bool,
    timeout: Option<Duration>,
    _instance: Arc<Instance>,
}

impl Session {
    fn watched<T>(&self, run: impl FnOnce(&::duckdb::Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        let Some(timeout) = self.timeout else { return run(&self.connection) };
        let handle = self.connection.interrupt_handle();
        let watch = Watch::over(timeout, move || handle.interrupt());
        let done = run(&self.connection);
        watch.judge(done)
    }
}

impl Connection for Session {
    fn run(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<u64, Failure> {
        let rows = self.watched(|connection| {
            let mut statement = prepare(connection, sql, values)?;
            statement.raw_execute().map(|rows| rows as u64).map_err(failure)
        })?;
        self.in_transaction = sql.starts_with("BEGIN") || (self.in_transaction && !["COMMIT", "ROLLBACK"].contains(&sql));
        Ok(rows)
    }

    fn names(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        self.query(&format!("DESCRIBE {sql}"), &[], &mut |_, row| {
            if let Some(Cell::Text(name)) = row.into_iter().next() {
                names.push(name.into_owned());
            }
            Ok(())
        })?;
        Ok(names)
    }

    fn query(&mut self, sql: &str, values: &[Cell<'_>], take: Take<'_>) -> Result<Vec<Found>, Failure> {
        // The driver would run all statements but the last at once.
        if !qetl_sql::is_one_statement(sql, SYNTAX) {
            return Err(Failure::Wrong("one statement at a time".to_owned()));
        }
        let alone = self.access == Access::Read && !self.in_transaction;
        if alone {
            self.connection.execute_batch("BEGIN TRANSACTION READ ONLY").map_err(failure)?;
        }
        let found = self.watched(|connection| read(connection, sql, values, take));
        if alone {
            // The statement may have been one that ends transactions.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        found
    }

    fn load(&mut self, table: &TableName, columns: &[Column], rows: Batches<'_>) -> Result<(), Failure> {
        let names: Vec<String> = columns.iter().map(|column| qetl_sql::ident('"', &column.name).to_string()).collect();
        let (rows_in, sender) = RowsIn::new(columns);
        let sql = format!("INSERT INTO {} ({}) {}", table.object('"'), names.join(", "), rows_in.query());
        let connection = &mut self.connection;
        thread::scope(|scope| {
            let inserting = scope.spawn(move || {
                let inserted = connection.execute(&sql, []).map_err(failure);
                // Whoever sends learns that nobody takes any more.
                drop(rows_in);
                inserted
            });
            let sent = send(rows, &sender);
            drop(sender);
            inserting.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            sent
        })
    }
}

fn prepare<'a>(connection: &'a ::duckdb::Connection, sql: &str, values: &[Cell<'_>]) -> Result<::duckdb::Statement<'a>, Failure> {
    let mut statement = connection.prepare(sql).map_err(failure)?;
    for (place, cell) in (1..).zip(values) {
        statement.raw_bind_parameter(place, Bound(cell)).map_err(failure)?;
    }
    Ok(statement)
}

fn read(connection: &::duckdb::Connection, sql: &str, values: &[Cell<'_>], take: Take<'_>) -> Result<Vec<Found>, Failure> {
    let mut statement = connection.prepare(sql).map_err(failure)?;
    let values: Vec<Bound<'_>> = values.iter().map(Bound).collect();
    // The iterator that this gives ends in a panic when a later row fails: so its steps are taken one by one.
    let _ = statement.stream_arrow(::duckdb::params_from_iter(&values)).map_err(failure)?;
    let schema = statement.schema();
    let found: Vec<Found> =
        schema.fields().iter().map(|field| Found { name: field.name().clone(), ty: known(field.data_type()), origin: None }).collect();
    while let Some(batch) = statement.step().map_err(failure)? {
        for row in 0..::duckdb::arrow::array::Array::len(&batch) {
            let cell = |(column, found): (&::duckdb::arrow::array::ArrayRef, &Found)| {
                let what =
                    || Failure::Other(format!("`{}` is {}, which qetl does not read: cast it to text", found.name, column.data_type()));
                cell(column, row).ok_or_else(what)
            };
            take(&found, batch.columns().iter().zip(&found).map(cell).collect::<Result<_, _>>()?)?;
        }
    }
    Ok(found)
}

/// A value as the database takes it for a column of its type.
struct Bound<'a>(&'a Cell<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> ::duckdb::Result<ToSqlOutput<'_>> {
        let text = |text: String| ToSqlOutput::Owned(text.into());
        Ok(match self.0 {
            Cell::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Cell::Bool(value) => ToSqlOutput::Borrowed(ValueRef::Boolean(*value)),
            Cell::Int(value) => ToSqlOutput::Borrowed(ValueRef::BigInt(*value)),
            Cell::Float(value) => ToSqlOutput::Borrowed(ValueRef::Double(*value)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Decimal(value, scale) => text(decimal_text(*value, *scale)),
            Cell::Date(days) => text(date_text(*days)),
            Cell::Timestamp(micros) => text(timestamp_text(*micros)),
        })
    }
}

fn failure(error: Error) -> Failure {
    let why = match error {
        Error::DuckDBFailure(_, Some(why)) => why,
        other => other.to_string(),
    };
    let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if has(&["Could not set lock on file"]) {
        Failure::Busy(why)
    } else if has(&["read-only mode"]) {
        Failure::Wrong(format!("{why}: `query` reads, and does nothing else"))
    } else if has(&["Permission denied"]) {
        Failure::Other(format!("{why}: a run needs the right to write the file and its folder"))
    } else if has(&["No space left on device"]) {
        Failure::Full(why)
    } else if why.starts_with("Out of Memory Error") {
        Failure::Memory(why)
    } else if why.starts_with("INTERRUPT Error") {
        Failure::TooSlow(why)
    } else if why.starts_with("Constraint Error") || why.starts_with("TransactionContext Error") {
        Failure::Conflict(why)
    } else if has(&["Parser Error", "Binder Error", "Catalog Error", "Permission Error"]) {
        Failure::Wrong(why)
    } else {
        Failure::Other(why)
    }
}
