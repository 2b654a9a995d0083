//! What an engine asks of a database: connections, locks, and the answers in which databases differ.

use std::fmt;

use arrow::array::RecordBatch;
use qetl_core::{Column, Type};
use qetl_runtime::{Place, RunError};
use qetl_sql::{Dialect, Unsupported, author::Rules};

use crate::{cell::Cell, tables::TableName, whole::Store};

/// A database as its settings name it. Cheap to ask; connections are made when they are needed.
pub(crate) trait Database: Send + Sync {
    fn dialect(&self) -> &'static dyn Dialect;

    /// How the SQL of authors is read.
    fn syntax(&self) -> &'static dyn qetl_sql::syntax::Dialect;

    /// What becomes of the SQL of authors before the database gets it; `None`: it gets what they wrote. `now` is the time of
    /// the batch, in microseconds since 1970, if there is one.
    fn author_rules(&self, _now: Option<i64>) -> Option<Box<dyn Rules>> {
        None
    }

    /// Whether it wants long chains of operators in groups.
    fn groups_chains(&self) -> bool {
        false
    }

    /// A dataset's table by a name that no table expression hides.
    fn real_table(&self, dataset: &qetl_core::DatasetName) -> String;

    /// Where it is, for messages: never with a password.
    fn place(&self) -> String;

    /// A session, whatever the database lacks; see [`crate::whole::open`].
    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, Failure>;

    /// Takes the flow's lock if nobody has it. It is let go when dropped, or when the process dies.
    fn hold(&self, flow: &str) -> Result<Option<Box<dyn Hold>>, Failure>;

    /// Where a dataset's namespace goes.
    fn naming(&self) -> Naming;

    /// The most bytes of a name.
    fn longest_name(&self) -> usize {
        usize::MAX
    }

    /// Why a column cannot have that name, if it cannot.
    fn refuses_name(&self, _name: &str) -> Option<&'static str> {
        None
    }

    /// What a short text is declared as that stands in keys of qetl's records.
    fn key_type(&self) -> Result<String, Unsupported> {
        self.dialect().column_type(Type::Text)
    }

    /// How the `n`th value of a statement is written, from 1.
    fn placeholder(&self, _n: usize) -> String {
        "?".to_owned()
    }

    /// Begins a transaction that sees one state of the database from its beginning to its end.
    fn begin(&self) -> &'static str;

    /// The same for a transaction that only reads.
    fn begin_reading(&self) -> &'static str;

    /// The statement by which the planner learns of rows that this transaction added to a table; `None` where it need not
    /// be told.
    fn learn(&self, _table: &str) -> Option<String> {
        None
    }

    /// Whether its SQL finds time zones in the table [`qetl_sql::dialects::ZONES`].
    fn lacks_time_zones(&self) -> bool {
        false
    }

    /// Whether a CREATE or ALTER ends the transaction that it stands in.
    fn ddl_commits(&self) -> bool {
        false
    }

    /// Stands between two values that are equal, or both NULL.
    fn same(&self) -> &'static str {
        "IS NOT DISTINCT FROM"
    }

    /// The statements that put a table in the place of another one of its schema, which goes.
    fn replace_table(&self, old: &TableName, new: &TableName) -> Vec<String> {
        let (old_name, quote) = (old.object(self.dialect().quote()), self.dialect().quote());
        let bare = qetl_sql::ident(quote, &old.name);
        vec![format!("DROP TABLE {old_name}"), format!("ALTER TABLE {} RENAME TO {bare}", new.object(quote))]
    }

    /// Counts the tables of a schema, or of the database, that have a name: `?` stands for both, in this order.
    fn count_tables(&self) -> &'static str;

    /// Whether a column of a result says that it is of booleans; else the column that it comes from is looked for.
    fn tells_booleans(&self) -> bool {
        true
    }

    /// The type of which it cannot hold all values, if there is one.
    fn picky_about(&self) -> Option<Type> {
        None
    }

    /// What the database cannot hold of a value of that type, if anything.
    fn refuses(&self, _cell: &Cell<'_>) -> Option<&'static str> {
        None
    }

    /// Its file, if it is one of this machine; servers look after theirs.
    fn store(&self) -> Option<&Store> {
        None
    }

    /// How often it was written to as its own file alone says, if it has a log that says more.
    fn writes_in_file(&self) -> Result<Option<i64>, Failure> {
        Ok(None)
    }
}

/// Keeps a lock for as long as it lives.
pub(crate) trait Hold: Send + Sync {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The database refuses to write.
    Read,
    Write,
}

/// Where a dataset's namespace goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// It is a schema; `main` has this name.
    Schemas { main: &'static str },
    /// It stands before the table's name, but for `main`.
    Prefixes,
}

/// A column of a result, as far as the database says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) name: String,
    /// `decimal(38,0)` also stands for numbers whose digits nobody bounds: values say how many they have behind the point.
    pub(crate) ty: Option<Type>,
    /// The table or view that it comes from as it is, and its name there, if the database says that.
    pub(crate) origin: Option<(String, String)>,
}

/// Takes the rows of a result, one by one.
pub(crate) type Take<'a> = &'a mut dyn FnMut(&[Found], Vec<Cell<'static>>) -> Result<(), Failure>;

/// Rows on their way into a table.
pub(crate) type Batches<'a> = &'a mut dyn Iterator<Item = RecordBatch>;

/// A session of a database. When it is dropped, its transaction is rolled back.
pub(crate) trait Connection: Send {
    /// Runs a statement; how many rows it touched.
    fn run(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<u64, Failure>;

    /// Gives the rows of a query away, and then its columns. A text that gives no rows at all is refused.
    fn query(&mut self, sql: &str, values: &[Cell<'_>], take: Take<'_>) -> Result<Vec<Found>, Failure>;

    /// What the columns of a query are called, which is not run.
    fn names(&mut self, sql: &str) -> Result<Vec<String>, Failure>;

    /// Adds rows to a table, by the fastest way there is; the columns are those of the batches. A table without a schema is one
    /// of the session's own, where the database has schemas.
    fn load(&mut self, table: &TableName, columns: &[Column], rows: Batches<'_>) -> Result<(), Failure>;

    /// The database was found whole: until then nothing is done to its log.
    fn is_whole(&mut self) {}

    /// Brings what stands in a log into the database's own file; false where that is not done, or not all of it.
    fn checkpoint(&mut self) -> bool {
        false
    }
}

impl dyn Connection + '_ {
    /// All rows of a query.
    pub(crate) fn rows(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<Vec<Vec<Cell<'static>>>, Failure> {
        let mut rows = Vec::new();
        self.query(sql, values, &mut |_, row| {
            rows.push(row);
            Ok(())
        })?;
        Ok(rows)
    }
}

/// What a driver said, as far as qetl answers it differently. Texts have no secret in them.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection is gone: whether its last statement took effect is not known.
    Lost(String),
    /// The server is not to be had.
    Unreachable(String),
    /// A lock, or the database as a whole, was not to be had in time.
    Busy(String),
    /// The statement took longer than it may.
    TooSlow(String),
    /// There is no room left.
    Full(String),
    /// The work needs more memory than it may use.
    #[cfg_attr(not(feature = "duckdb"), expect(dead_code, reason = "only DuckDB has a limit of its own"))]
    Memory(String),
    /// What was to be unique is there already, or was changed by somebody else meanwhile.
    Conflict(String),
    /// Rows have more columns, or more bytes, than one can have.
    TooWide(String),
    /// The text of a statement is wrong.
    Wrong(String),
    Other(String),
    /// It is told already.
    Run(Box<RunError>),
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Failure::Run(Box::new(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Lost(why)
            | Failure::Unreachable(why)
            | Failure::Busy(why)
            | Failure::TooSlow(why)
            | Failure::Full(why)
            | Failure::Memory(why)
            | Failure::Conflict(why)
            | Failure::TooWide(why)
            | Failure::Wrong(why)
            | Failure::Other(why) => f.write_str(why),
            Failure::Run(error) => error.fmt(f),
        }
    }
}

/// The failure of a connection that was to be made.
pub(crate) fn unreachable(failure: Failure) -> Failure {
    match failure {
        Failure::Lost(why) | Failure::Wrong(why) | Failure::Other(why) => Failure::Unreachable(why),
        other @ (Failure::Unreachable(_)
        | Failure::Busy(_)
        | Failure::TooSlow(_)
        | Failure::Full(_)
        | Failure::Memory(_)
        | Failure::Conflict(_)
        | Failure::TooWide(_)
        | Failure::Run(_)) => other,
    }
}

/// The failure as a run tells it.
pub(crate) fn told(database: &dyn Database, failure: Failure) -> RunError {
    let place = database.place();
    let (message, help) = match failure {
        Failure::Run(error) => return *error,
        Failure::Lost(why) => {
            (format!("the connection to {place} was lost: {why}"), "nothing of the batch is visible: run again when the database answers")
        }
        Failure::Unreachable(why) => (
            format!("there is no connection to {place}: {why}"),
            "see whether it runs, and what `[engine.config]` says of its address, user and password",
        ),
        Failure::Busy(why) => {
            (format!("{place} is held by somebody else: {why}"), "run again when they are done, or give a longer `lock_timeout_seconds`")
        }
        Failure::TooSlow(why) => (
            format!("{place} ended a statement that took too long: {why}"),
            "give a longer `statement_timeout_seconds`, or see what it waits for",
        ),
        Failure::Full(why) => (format!("{place} has no room left: {why}"), "make room, and run again: nothing of the batch is visible"),
        Failure::Memory(why) => (
            format!("{place} needs more memory than it may use: {why}"),
            "give a larger `memory_limit` in `[engine]`: nothing of the batch is visible",
        ),
        Failure::Conflict(why) => {
            (format!("{place} was changed by somebody else meanwhile: {why}"), "run again: nothing of the batch is visible")
        }
        Failure::TooWide(why) => (
            format!("{place} cannot hold rows that are so wide: {why}"),
            "take columns out of the flow, or run it on another engine: nothing of the batch is visible",
        ),
        Failure::Wrong(why) | Failure::Other(why) => (format!("{place}: {why}"), ""),
    };
    RunError::Failed { place: Place::default(), message, help: help.to_owned() }
}
