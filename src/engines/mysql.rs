//! MySQL and MariaDB: a server, reached by its own protocol. It ends a transaction at every CREATE and ALTER, so that tables
//! are made before a batch begins.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the driver's many types and errors a few are answered apart")]

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ::mysql::{Conn, Error, LocalInfileHandler, Opts, OptsBuilder, Params, Value, consts::ColumnType, prelude::Queryable};
use arrow::array::RecordBatch;
use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use qetl_core::{Column, Type, project::EngineConfig};
use qetl_runtime::RunError;
use qetl_sql::{Dialect, Unsupported};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    cell::{Cell, Cells, date_text, decimal_text, parse_decimal},
    database::{Access, Batches, Connection, Database, Failure, Found, Hold, Naming, Take, unreachable},
    tables::TableName,
    url_of,
};

/// The most values of a statement.
const MOST_VALUES: usize = 65_535;

pub(crate) struct MySql {
    opts: Opts,
    place: String,
    lock_timeout: Duration,
    statement_timeout: Option<Duration>,
}

impl MySql {
    pub(crate) fn new(settings: &EngineConfig) -> Result<Self, RunError> {
        let help = "such as `mysql://user@host/shop`";
        // What the parser says may repeat a part of the address, and so a password.
        let wrong = |_| RunError::usage("the `url` of `[engine.config]` is no address of a MySQL server", help);
        let opts = Opts::from_url(url_of(settings)?).map_err(wrong)?;
        let Some(database) = opts.get_db_name().filter(|name| !name.is_empty()).map(str::to_owned) else {
            return Err(RunError::usage("the `url` of `[engine.config]` names no database", help));
        };
        let place = format!("the MySQL database `{database}` on {}", opts.get_ip_or_hostname());
        let opts = OptsBuilder::from_opts(opts)
            .tcp_connect_timeout(Some(Duration::from_secs(15)))
            .tcp_keepalive_time_ms(Some(30_000))
            .prefer_socket(false)
            .stmt_cache_size(0)
            .into();
        Ok(Self { opts, place, lock_timeout: settings.lock_timeout(), statement_timeout: settings.statement_timeout() })
    }

    fn client(&self, access: Access) -> Result<(Conn, bool), Failure> {
        let mut client = Conn::new(self.opts.clone()).map_err(failure).map_err(unreachable)?;
        for statement in self.dialect().session() {
            client.query_drop(statement).map_err(failure)?;
        }
        let about: Option<(String, bool)> = client.query_first("SELECT VERSION(), @@local_infile").map_err(failure)?;
        let (version, takes_files) = about.unwrap_or_default();
        let is_mariadb = version.contains("MariaDB");
        // Texts that stand in no column compare as those of columns do.
        let collation = if is_mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" };
        let wait = self.lock_timeout.as_secs();
        let mut session = vec![
            format!("SET NAMES utf8mb4 COLLATE {collation}"),
            format!("SET SESSION innodb_lock_wait_timeout = {wait}, SESSION lock_wait_timeout = {wait}"),
            "SET SESSION wait_timeout = 2147483".to_owned(),
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ".to_owned(),
        ];
        session.extend(self.statement_timeout.map(|time| match is_mariadb {
            true => format!("SET SESSION max_statement_time = {}", time.as_secs()),
            false => format!("SET SESSION max_execution_time = {}", time.as_millis()),
        }));
        if access == Access::Read {
            session.push("SET SESSION TRANSACTION READ ONLY".to_owned());
        }
        for statement in session {
            client.query_drop(statement).map_err(failure)?;
        }
        Ok((client, takes_files))
    }
}

impl Database for MySql {
    fn dialect(&self) -> &'static dyn Dialect {
        &qetl_sql::dialects::MySql::ENGINE
    }

    fn syntax(&self) -> &'static dyn qetl_sql::syntax::Dialect {
        &qetl_sql::syntax::MySqlDialect {}
    }

    fn groups_chains(&self) -> bool {
        true
    }

    fn real_table(&self, dataset: &qetl_core::DatasetName) -> String {
        format!("{}.{}", crate::tables::quoted(self, self.opts.get_db_name().unwrap_or_default()), crate::tables::table(self, dataset))
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn connect(&self, access: Access) -> Result<Box<dyn Connection>, Failure> {
        let (client, takes_files) = self.client(access)?;
        Ok(Box::new(Session { client, takes_files }))
    }

    /// A named lock of a session of its own: the server lets it go when the session ends. Names are the whole server's.
    fn hold(&self, flow: &str) -> Result<Option<Box<dyn Hold>>, Failure> {
        let (mut client, _) = self.client(Access::Write)?;
        let database = self.opts.get_db_name().unwrap_or_default();
        let name = format!("qetl {:032x}", xxh3_128(format!("{database}/{flow}").as_bytes()));
        let taken: Option<Option<i64>> = client.exec_first("SELECT GET_LOCK(?, 0)", (name,)).map_err(failure)?;
        Ok((taken.flatten() == Some(1)).then(|| -> Box<dyn Hold> { Box::new(Held(Mutex::new(client))) }))
    }

    fn naming(&self) -> Naming {
        Naming::Prefixes
    }

    fn refuses_name(&self, name: &str) -> Option<&'static str> {
        let beyond = name.chars().any(|letter| u32::from(letter) > 0xffff);
        beyond.then_some("names there have no letters beyond the first 65,536 of Unicode, such as emoji")
    }

    fn longest_name(&self) -> usize {
        64
    }

    /// A whole text can be no key.
    fn key_type(&self) -> Result<String, Unsupported> {
        Ok("VARBINARY(190)".to_owned())
    }

    fn begin(&self) -> &'static str {
        "START TRANSACTION WITH CONSISTENT SNAPSHOT"
    }

    fn begin_reading(&self) -> &'static str {
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
    }

    fn same(&self) -> &'static str {
        "<=>"
    }

    fn lacks_time_zones(&self) -> bool {
        true
    }

    fn ddl_commits(&self) -> bool {
        true
    }

    /// In one step, since no transaction holds both.
    fn replace_table(&self, old: &TableName, new: &TableName) -> Vec<String> {
        let gone = TableName { name: format!("{}_before", old.name), ..old.clone() };
        let [old, new, gone] = [old, new, &gone].map(|name| name.object('`'));
        vec![format!("DROP TABLE IF EXISTS {gone}"), format!("RENAME TABLE {old} TO {gone}, {new} TO {old}"), format!("DROP TABLE {gone}")]
    }

    fn count_tables(&self) -> &'static str {
        "SELECT COUNT(*) FROM information_schema.tables WHERE ? = '' AND table_schema = DATABASE() AND table_name = ?"
    }

    /// They are numbers, in views like any other.
    fn tells_booleans(&self) -> bool {
        false
    }

    fn picky_about(&self) -> Option<Type> {
        Some(Type::Float)
    }

    fn refuses(&self, cell: &Cell<'_>) -> Option<&'static str> {
        match cell {
            Cell::Float(value) if value.is_nan() => Some("the value is NaN"),
            Cell::Float(value) if value.is_infinite() => Some("the value is an infinity"),
            _ => None,
        }
    }
}

struct Held(Mutex<Conn>);

impl Hold for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // The server hears of the end when it has time.
        let _ = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).query_drop("DO RELEASE_ALL_LOCKS()");
    }
}

struct Session {
    client: Conn,
    /// Whether the server takes files from its clients.
    takes_files: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.client.query_drop("ROLLBACK");
    }
}

impl Connection for Session {
    fn run(&mut self, sql: &str, values: &[Cell<'_>]) -> Result<u64, Failure> {
        if values.is_empty() {
            // Not all statements can be prepared.
            self.client.query_drop(sql).map_err(failure)?;
        } else {
            self.client.exec_drop(sql, Params::Positional(values.iter().map(bound).collect())).map_err(failure)?;
        }
        Ok(self.client.affected_rows())
    }

    fn query(&mut self, sql: &str, values: &[Cell<'_>], take: Take<'_>) -> Result<Vec<Found>, Failure> {
        let statement = self.client.prep(sql).map_err(failure)?;
        if statement.columns().is_empty() {
            return Err(Failure::Wrong("the statement is no query: `query` reads, and does nothing else".to_owned()));
        }
        let params = if values.is_empty() { Params::Empty } else { Params::Positional(values.iter().map(bound).collect()) };
        let mut result = self.client.exec_iter(&statement, params).map_err(failure)?;
        let found = |column: &::mysql::Column| Found {
            name: column.name_str().into_owned(),
            ty: known(column),
            origin: Some((column.org_table_str().into_owned(), column.org_name_str().into_owned())),
        };
        let found: Vec<Found> = result.columns().as_ref().iter().map(found).collect();
        let types: Vec<ColumnType> = result.columns().as_ref().iter().map(::mysql::Column::column_type).collect();
        for row in result.by_ref() {
            let cells = row.map_err(failure)?.unwrap().into_iter().zip(&types).zip(&found).map(|((value, ty), found)| {
                let what = || Failure::Other(format!("`{}` has a value that qetl does not read: cast it to text", found.name));
                decode(value, *ty).ok_or_else(what)
            });
            take(&found, cells.collect::<Result<_, _>>()?)?;
        }
        drop(result);
        self.client.close(statement).map_err(failure)?;
        Ok(found)
    }

    fn names(&mut self, sql: &str) -> Result<Vec<String>, Failure> {
        let statement = self.client.prep(sql).map_err(failure)?;
        let names = statement.columns().iter().map(|column| column.name_str().into_owned()).collect();
        self.client.close(statement).map_err(failure)?;
        Ok(names)
    }

    fn load(&mut self, table: &TableName, columns: &[Column], rows: Batches<'_>) -> Result<(), Failure> {
        let table = table.object('`').to_string();
        let names: Vec<String> = columns.iter().map(|column| qetl_sql::ident('`', &column.name).to_string()).collect();
        let names = names.join(", ");
        for batch in rows {
            if self.takes_files { self.load_file(&table, &names, &batch)? } else { self.insert(&table, &names, &batch)? }
        }
        Ok(())
    }
}

impl Session {
    /// As a file of the client's, which the server reads faster than statements. What does not fit would be a warning.
    fn load_file(&mut self, table: &str, names: &str, batch: &RecordBatch) -> Result<(), Failure> {
        let mut text = Vec::new();
        let cells = Cells::of(batch);
        for row in 0..batch.num_rows() {
            for column in 0..cells.width() {
                if column > 0 {
                    text.push(b'\t');
                }
                write_field(&cells.cell(row, column), &mut text);
            }
            text.push(b'\n');
        }
        let handler = LocalInfileHandler::new(move |_, file| {
            file.write_all(&text)?;
            file.flush()
        });
        self.client.set_local_infile_handler(Some(handler));
        let sql = format!(
            "LOAD DATA LOCAL INFILE 'qetl' INTO TABLE {table} CHARACTER SET utf8mb4 \
             FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({names})"
        );
        let loaded = self.client.query_drop(sql);
        self.client.set_local_infile_handler(None);
        loaded.map_err(failure)?;
        if self.client.warnings() > 0 || self.client.affected_rows() != batch.num_rows() as u64 {
            let warning: Option<(String, u32, String)> = self.client.query_first("SHOW WARNINGS").map_err(failure)?;
            let why = warning.map_or_else(|| "rows are missing".to_owned(), |(_, _, why)| why);
            return Err(Failure::Other(format!("it did not take all values as they are: {why}")));
        }
        Ok(())
    }

    fn insert(&mut self, table: &str, names: &str, batch: &RecordBatch) -> Result<(), Failure> {
        let cells = Cells::of(batch);
        let width = cells.width();
        let row = format!("({})", vec!["?"; width].join(", "));
        let rows_at_once = (MOST_VALUES / width.max(1)).max(1);
        let mut first = 0;
        while first < batch.num_rows() {
            let end = (first + rows_at_once).min(batch.num_rows());
            let sql = format!("INSERT INTO {table} ({names}) VALUES {}", vec![row.as_str(); end - first].join(", "));
            let values = (first..end).flat_map(|row| (0..width).map(move |column| (row, column)));
            let values = values.map(|(row, column)| bound(&cells.cell(row, column))).collect();
            self.client.exec_drop(sql, Params::Positional(values)).map_err(failure)?;
            first = end;
        }
        Ok(())
    }
}

fn write_field(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.extend(b"\\N"),
        Cell::Bool(value) => out.push(if *value { b'1' } else { b'0' }),
        Cell::Int(value) => out.extend(value.to_string().as_bytes()),
        Cell::Float(value) => out.extend(format!("{value:?}").as_bytes()),
        Cell::Decimal(value, scale) => out.extend(decimal_text(*value, *scale).as_bytes()),
        Cell::Date(days) => out.extend(date_text(*days).as_bytes()),
        Cell::Timestamp(micros) => {
            let time = DateTime::from_timestamp_micros(*micros).unwrap_or_default();
            out.extend(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string().as_bytes());
        }
        Cell::Text(text) => {
            for byte in text.bytes() {
                match byte {
                    b'\\' => out.extend(b"\\\\"),
                    b'\t' => out.extend(b"\\t"),
                    b'\n' => out.extend(b"\\n"),
                    0 => out.extend(b"\\0"),
                    other => out.push(other),
                }
            }
        }
    }
}

fn bound(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::NULL,
        Cell::Bool(value) => Value::Int(i64::from(*value)),
        Cell::Int(value) => Value::Int(*value),
        Cell::Float(value) => Value::Double(*value),
        Cell::Decimal(value, scale) => Value::Bytes(decimal_text(*value, *scale).into_bytes()),
        Cell::Date(days) => Value::Bytes(date_text(*days).into_bytes()),
        Cell::Timestamp(micros) => {
            let time = DateTime::from_timestamp_micros(*micros).unwrap_or_default();
            let small = |value: u32| u8::try_from(value).unwrap_or(0);
            let year = u16::try_from(time.year()).unwrap_or(0);
            let micros = time.nanosecond() / 1000;
            Value::Date(
                year,
                small(time.month()),
                small(time.day()),
                small(time.hour()),
                small(time.minute()),
                small(time.second()),
                micros,
            )
        }
        Cell::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
    }
}

fn decode(value: Value, ty: ColumnType) -> Option<Cell<'static>> {
    Some(match value {
        Value::NULL => Cell::Null,
        Value::Int(value) => Cell::Int(value),
        Value::UInt(value) => Cell::Int(i64::try_from(value).ok()?),
        Value::Float(value) => Cell::Float(value.into()),
        Value::Double(value) => Cell::Float(value),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let date = NaiveDate::from_ymd_opt(year.into(), month.into(), day.into())?;
            if ty == ColumnType::MYSQL_TYPE_DATE {
                Cell::Date(date.to_epoch_days())
            } else {
                let time = date.and_hms_micro_opt(hour.into(), minute.into(), second.into(), micros)?;
                Cell::Timestamp(time.and_utc().timestamp_micros())
            }
        }
        Value::Time(..) => return None,
        Value::Bytes(bytes) => {
            let text = String::from_utf8(bytes).ok()?;
            match ty {
                ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => parse_decimal(&text)?,
                _ => Cell::from(text),
            }
        }
    })
}

/// The type of a column; a boolean is a small number of one digit.
fn known(column: &::mysql::Column) -> Option<Type> {
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY if column.column_length() == 1 => Some(Type::Bool),
        ColumnType::MYSQL_TYPE_TINY
        | ColumnType::MYSQL_TYPE_SHORT
        | ColumnType::MYSQL_TYPE_LONG
        | ColumnType::MYSQL_TYPE_INT24
        | ColumnType::MYSQL_TYPE_LONGLONG
        | ColumnType::MYSQL_TYPE_YEAR => Some(Type::Int),
        ColumnType::MYSQL_TYPE_FLOAT | ColumnType::MYSQL_TYPE_DOUBLE => Some(Type::Float),
        ColumnType::MYSQL_TYPE_DATE => Some(Type::Date),
        ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_TIMESTAMP => Some(Type::Timestamp),
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => {
            Some(Type::Decimal { precision: 38, scale: column.decimals().min(38) })
        }
        _ => Some(Type::Text),
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::IoError(why) => Failure::Lost(why.to_string()),
        Error::CodecError(why) => Failure::Lost(why.to_string()),
        Error::DriverError(why) => Failure::Lost(why.to_string()),
        Error::MySqlError(told) => {
            let why = told.message;
            match told.code {
                1053 | 1152 | 1158..=1161 | 1184 | 1927 | 3169 => Failure::Lost(why),
                1040 | 1205 | 3572 => Failure::Busy(why),
                1317 | 1969 | 3024 => Failure::TooSlow(why),
                1021 | 1114 => Failure::Full(why),
                1117 | 1118 => Failure::TooWide(why),
                1030 if why.contains("139") => Failure::TooWide(why),
                1030 if why.contains("28") => Failure::Full(why),
                1062 | 1213 | 1020 => Failure::Conflict(why),
                1792 => Failure::Wrong(format!("{why}: `query` reads, and does nothing else")),
                1046 | 1049 | 1051 | 1052 | 1054 | 1055 | 1064 | 1066 | 1109 | 1146 | 1149 | 1222 | 1305 => Failure::Wrong(why),
                _ => Failure::Other(why),
            }
        }
        other => Failure::Other(other.to_string()),
    }
}
