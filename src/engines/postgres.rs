//! PostgreSQL: a server, reached by its own protocol; rows go in as binary COPY.

use std::{
    error::Error,
    io::Write,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ::postgres::{
    Client, Config, NoTls, Statement,
    config::Host,
    error::SqlState,
    fallible_iterator::FallibleIterator,
    types::{FromSql, IsNull, Kind, ToSql, Type as PgType, to_sql_checked},
};
use bytes::{BufMut, BytesMut};
use qetl_core::{Column, Type, project::EngineConfig};
use qetl_runtime::RunError;
use qetl_sql::{
    Dialect,
    author::{PostgresRules, Rules},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    cell::{Cell, Cells},
    database::{Access, Batches, Connection, Database, Failure, Found, Hold, Naming, Take, unreachable},
    numeric,
    tables::TableName,
    url_of,
};

/// From 1970-01-01 to 2000-01-01, where the database counts from.
const DAYS: i32 = 10_957;
const MICROS: i64 = 946_684_800_000_000;

pub(crate) struct Postgres {
    config: Config,
    place: String,
    lock_timeout: Duration,
    statement_timeout: Option<Duration>,
}

impl Postgres {
    pub(crate) fn new(settings: &EngineConfig) -> Result<Self, RunError> {
        let url = url_of(settings)?;
        // What the parser says may repeat a part of the address, and so a password.
        let wrong = |_| {
            RunError::usage("the `url` of `[engine.config]` is no address of a PostgreSQL server", "such as `postgres://user@host/shop`")
        };
        let mut config: Config = url.parse().map_err(wrong)?;
        config.application_name("qetl").connect_timeout(Duration::from_secs(15)).keepalives_idle(Duration::from_secs(30));
        let host = config.get_hosts().first().map_or_else(String::new, |host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
        let place = format!("the PostgreSQL database `{database}` on {host}");
        Ok(Self { config, place, lock_timeout: settings.lock_timeout(), statement_timeout: settings.statement_timeout() })
    }

    fn client(&self, access: Access) -> Result<Client, Failure> {
        let mut client = self.config.connect(NoTls).map_err(failure).map_err(unreachable)?;
        let milliseconds = |time: Duration| time.as_millis();
        let read_only = if access == Access::Read { "on" } else { "off" };
        let session = format!(
            "SET lock_timeout = {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = 0; SET TIME ZONE 'UTC'; \
             SET default_transaction_read_only = {read_only}; SET jit = off; SET client_min_messages = warning",
            milliseconds(self.lock_timeout),
            self.statement_timeout.map_or(0, milliseconds)
        );
        client.batch_execute(&session).map_err(failure)?;
        for statement in self.dialect().session() {
            client.batch_execute(statement).map_err(failure)?;
        }
        Ok(client)
    }
}

impl Database for Postgres {
    fn dialect(&self) -> &'static dyn Dialect {
        &qetl_sql::dialects::Postgres
    }

    fn syntax(&self) -> &'static dyn qetl_sql::syntax::Dialect {
        &qetl_sql::syntax::PostgreSqlDialect {}
    }

    fn author_rules(&self, now: Option<i64>) -> Option<Box<dyn Rules>> {
        Some(Box::new(PostgresRules::new(now)))
    }

    fn real_table(&self, dataset: &qetl_core::DatasetName) -> String {
        crate::tables::table(self, dataset)
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, Failure> {
        Ok(Box::new(Session(Apart(Some(self.client(access)?)))))
    }

    /// An advisory lock of a session of its own: the server lets it go when the session ends.
    fn hold(&self, flow: &str) -> Result<Option<Box<dyn Hold>>, Failure> {
        let mut client = self.client(Access::Write)?;
        let key = i64::from_ne_bytes(xxh3_64(format!("qetl flow {flow}").as_bytes()).to_ne_bytes());
        let taken: bool = client.query_one("SELECT pg_try_advisory_lock($1)", &[&key]).and_then(|row| row.try_get(0)).map_err(failure)?;
        let client = Apart(Some(client));
        Ok(taken.then(|| -> Box<dyn Hold> { Box::new(Held(Mutex::new(client))) }))
    }

    fn naming(&self) -> Naming {
        Naming::Schemas { main: "public" }
    }

    fn refuses_name(&self, name: &str) -> Option<&'static str> {
        let own = ["ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"];
        own.contains(&name).then_some("every table there has a column of the database's own by that name")
    }

    fn longest_name(&self) -> usize {
        63
    }

    fn placeholder(&self, n: usize) -> String {
        format!("${n}")
    }

    fn begin(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL REPEATABLE READ"
    }

    fn begin_reading(&self) -> &'static str {
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    }

    /// Autovacuum sees what was committed, some time later: without this the planner takes a new batch for a row or two.
    fn learn(&self, table: &str) -> Option<String> {
        Some(format!("ANALYZE {table}"))
    }

    fn count_tables(&self) -> &'static str {
        "SELECT COUNT(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = CAST(? AS TEXT) AND c.relname = CAST(? AS TEXT)"
    }

    fn picky_about(&self) -> Option<Type> {
        Some(Type::Text)
    }

    fn refuses(&self, cell: &Cell<'_>) -> Option<&'static str> {
        matches!(cell, Cell::Text(text) if text.contains('\0')).then_some("the text has a NUL character")
    }
}

/// A client is a runtime of its own, which must not end within another one: so it ends in a thread.
struct Apart(Option<Client>);

impl Apart {
    fn client(&mut self) -> &mut Client {
        self.0.as_mut().unwrap_or_else(|| unreachable!("it is taken when it is dropped"))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(mut client) = self.0.take() {
            // The server hears of the end when it has time; what must have ended now is ended in so many words.
            let end = move || {
                let _ = client.batch_execute("ROLLBACK; SELECT pg_advisory_unlock_all()");
            };
            let _ = std::thread::spawn(end).join();
        }
    }
}

struct Held(Mutex<Apart>);

impl Hold for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).0.take().map(|client| Apart(Some(client))));
    }
}

struct Session(Apart);

impl Session {
    fn client(&mut self) -> &mut Client {
        self.0.client()
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        self.client().prepare(sql).map_err(failure)
    }
}

impl Connection for Session {
    fn run(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<u64, Failure> {
        let statement = self.prepare(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.client().execute(&statement, &values).map_err(failure)
    }

    fn query(&mut self, sql: &str, values: &[Cell<'_>], take: Take<'_>) -> Result<Vec<Found>, Failure> {
        let statement = self.prepare(sql)?;
        if statement.columns().is_empty() {
            return Err(Failure::Wrong("the statement is no query: `query` reads, and does nothing else".to_owned()));
        }
        let found = |column: &::postgres::Column| {
            let ty = column.type_();
            Found { name: column.name().to_owned(), ty: known(ty, column.type_modifier()), origin: None }
        };
        let found: Vec<Found> = statement.columns().iter().map(found).collect();
        let types: Vec<PgType> = statement.columns().iter().map(|column| column.type_().clone()).collect();
        let mut rows = self.client().query_raw(&statement, values).map_err(failure)?;
        while let Some(row) = rows.next().map_err(failure)? {
            let cell = |index: usize| -> Result<Cell<'static>, Failure> {
                let raw: Option<Raw<'_>> = row.try_get(index).map_err(failure)?;
                let Some(Raw(bytes)) = raw else { return Ok(Cell::Null) };
                let what =
                    || Failure::Other(format!("`{}` is {}, which qetl does not read: cast it to text", found[index].name, types[index]));
                decode(&types[index], bytes).ok_or_else(what)
            };
            take(&found, (0..found.len()).map(cell).collect::<Result<_, _>>()?)?;
        }
        Ok(found)
    }

    fn names(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        Ok(self.prepare(sql)?.columns().iter().map(|column| column.name().to_owned()).collect())
    }

    fn load(&mut self, table: &TableName, columns: &[Column], rows: Batches<'_>) -> Result<(), Failure> {
        let names: Vec<String> = columns.iter().map(|column| qetl_sql::ident('"', &column.name).to_string()).collect();
        let sql = format!("COPY {} ({}) FROM STDIN (FORMAT BINARY)", table.object('"'), names.join(", "));
        let mut writer = self.client().copy_in(&sql).map_err(failure)?;
        let mut bytes = Vec::from(*b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        for batch in rows {
            let cells = Cells::of(&batch);
            for row in 0..batch.num_rows() {
                bytes.put_i16(i16::try_from(cells.width()).unwrap_or(i16::MAX));
                for column in 0..cells.width() {
                    encode(&cells.cell(row, column), &mut bytes);
                }
            }
            // What the server has against the rows it says when it is asked for its result.
            if writer.write_all(&bytes).is_err() {
                break;
            }
            bytes.clear();
        }
        bytes.put_i16(-1);
        let _ = writer.write_all(&bytes);
        writer.finish().map(|_| ()).map_err(failure)
    }
}

/// The value with its length in front, as COPY has it.
fn encode(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.put_i32(-1),
        Cell::Bool(value) => {
            out.put_i32(1);
            out.put_u8(u8::from(*value));
        }
        Cell::Int(value) => {
            out.put_i32(8);
            out.put_i64(*value);
        }
        Cell::Float(value) => {
            out.put_i32(8);
            out.put_f64(*value);
        }
        Cell::Date(days) => {
            out.put_i32(4);
            out.put_i32(days - DAYS);
        }
        Cell::Timestamp(micros) => {
            out.put_i32(8);
            out.put_i64(micros - MICROS);
        }
        Cell::Text(text) => {
            out.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
            out.put_slice(text.as_bytes());
        }
        Cell::Decimal(value, scale) => {
            let bytes = numeric::encode(*value, *scale);
            out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            out.put_slice(&bytes);
        }
    }
}

fn decode(ty: &PgType, bytes: &[u8]) -> Option<Cell<'static>> {
    Some(match *ty {
        PgType::BOOL => Cell::Bool(*bytes.first()? != 0),
        PgType::INT2 => Cell::Int(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        PgType::INT4 => Cell::Int(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        PgType::OID => Cell::Int(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        PgType::INT8 => Cell::Int(i64::from_be_bytes(bytes.try_into().ok()?)),
        PgType::FLOAT4 => Cell::Float(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        PgType::FLOAT8 => Cell::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
        PgType::DATE => Cell::Date(i32::from_be_bytes(bytes.try_into().ok()?).checked_add(DAYS)?),
        PgType::TIMESTAMP | PgType::TIMESTAMPTZ => Cell::Timestamp(i64::from_be_bytes(bytes.try_into().ok()?).checked_add(MICROS)?),
        PgType::NUMERIC => numeric::decode(bytes)?,
        PgType::TEXT | PgType::VARCHAR | PgType::BPCHAR | PgType::NAME | PgType::JSON | PgType::UNKNOWN => {
            Cell::from(std::str::from_utf8(bytes).ok()?.to_owned())
        }
        PgType::JSONB => Cell::from(std::str::from_utf8(bytes.get(1..)?).ok()?.to_owned()),
        _ => {
            if let Kind::Domain(inner) = ty.kind() {
                return decode(inner, bytes);
            }
            let is_enum = matches!(ty.kind(), Kind::Enum(_));
            return is_enum.then(|| Some(Cell::from(std::str::from_utf8(bytes).ok()?.to_owned()))).flatten();
        }
    })
}

/// The type of a column; of numbers without a bound to their digits the least that they are.
fn known(ty: &PgType, modifier: i32) -> Option<Type> {
    match *ty {
        PgType::BOOL => Some(Type::Bool),
        PgType::INT2 | PgType::INT4 | PgType::INT8 | PgType::OID => Some(Type::Int),
        PgType::FLOAT4 | PgType::FLOAT8 => Some(Type::Float),
        PgType::DATE => Some(Type::Date),
        PgType::TIMESTAMP | PgType::TIMESTAMPTZ => Some(Type::Timestamp),
        PgType::NUMERIC => {
            let Some(digits) = modifier.checked_sub(4).filter(|digits| *digits >= 0) else {
                return Some(Type::Decimal { precision: 38, scale: 0 });
            };
            let (precision, scale) = (u8::try_from(digits >> 16).ok()?, u8::try_from(digits & 0xffff).ok()?);
            (precision <= 38 && scale <= precision).then_some(Type::Decimal { precision, scale })
        }
        _ => Some(Type::Text),
    }
}

/// A value's bytes, of whatever type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &PgType, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &PgType) -> bool {
        true
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, ty: &PgType, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *self == Cell::Null {
            return Ok(IsNull::Yes);
        }
        let mut bytes = Vec::new();
        match (self, ty) {
            (Cell::Int(value), &PgType::INT4) => bytes.put_i32(i32::try_from(*value)?),
            _ => {
                encode(self, &mut bytes);
                bytes.drain(..4);
            }
        }
        out.put_slice(&bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &PgType) -> bool {
        true
    }

    to_sql_checked!();
}

fn failure(error: ::postgres::Error) -> Failure {
    let Some(told) = error.as_db_error() else {
        let cause = error.source().map(|source| format!("{source}"));
        let why = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        let is_io = error.source().is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some());
        return if error.is_closed() || is_io || why.contains("connect") { Failure::Lost(why) } else { Failure::Other(why) };
    };
    let why = match told.detail() {
        Some(detail) => format!("{} ({detail})", told.message()),
        None => told.message().to_owned(),
    };
    let code = told.code();
    match code.code().get(..2).unwrap_or_default() {
        "08" => Failure::Lost(why),
        _ if [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(code) => Failure::Lost(why),
        _ if [SqlState::LOCK_NOT_AVAILABLE, SqlState::TOO_MANY_CONNECTIONS].contains(code) => Failure::Busy(why),
        _ if *code == SqlState::QUERY_CANCELED => Failure::TooSlow(why),
        _ if *code == SqlState::DISK_FULL => Failure::Full(why),
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Failure::Wrong(format!("{why}: `query` reads, and does nothing else")),
        "40" => Failure::Conflict(why),
        _ if *code == SqlState::UNIQUE_VIOLATION => Failure::Conflict(why),
        _ if [SqlState::PROGRAM_LIMIT_EXCEEDED, SqlState::TOO_MANY_COLUMNS].contains(code) => Failure::TooWide(why),
        "42" => Failure::Wrong(why),
        _ => Failure::Other(why),
    }
}
