//! The SQL of authors on its way to a database.

use qetl_core::{DatasetName, Type};
use qetl_runtime::RunError;
use qetl_sql::{
    ObjectName,
    author::{self, Case, Named, Prepared, Table, Wrong},
};

use crate::{
    database::{Connection, Database, Failure},
    records,
    tables::TableName,
};

/// A query as the database gets it. `now` is the batch's time, in microseconds since 1970; `made` has tables of the session.
pub(crate) fn prepare(
    database: &dyn Database,
    connection: &mut dyn Connection,
    text: &str,
    now: Option<i64>,
    made: &[Table],
) -> Result<Result<Prepared, Wrong>, Failure> {
    if let Some((message, help)) = qetl_sql::size::text_too_large(text, database.syntax()) {
        return Err(RunError::usage(message, help).into());
    }
    let Some(mut rules) = database.author_rules(now) else {
        let grouped = if database.groups_chains() { author::grouped(text, database.syntax()) } else { None };
        return Ok(Ok(Prepared { text: grouped.unwrap_or_else(|| text.to_owned()), columns: Vec::new() }));
    };
    let stored = if records::there(database, connection)? { records::datasets(database, connection)? } else { Vec::new() };
    let known: Vec<Table> = stored.iter().map(|stored| table(database, stored)).collect();
    let case = rules.case();
    let main = TableName::of(database, &DatasetName { namespace: "main".to_owned(), name: String::new() }).schema;
    let in_main = |table: &&Table| table.name.len() == 1 || main.is_none() || table.name.first() == main.as_ref();
    let find = |name: &ObjectName| {
        let called = || made.iter().chain(&known).filter(|table| is_called(table, name, case));
        called().find(in_main).or_else(|| called().next()).cloned()
    };
    Ok(author::prepare(text, database.syntax(), &find, &mut *rules))
}

fn table(database: &dyn Database, stored: &records::Stored) -> Table {
    let TableName { schema, name } = TableName::of(database, &stored.name);
    let columns = stored.columns.iter().map(|column| Named { name: column.name.clone(), ty: Some(column.ty) });
    Table { name: vec![schema.unwrap_or_else(|| "main".to_owned()), name], columns: columns.collect() }
}

fn is_called(table: &Table, name: &ObjectName, case: Case) -> bool {
    let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    parts.len() == name.0.len() && table.name.iter().rev().zip(parts.iter().rev()).all(|(own, part)| author::is_named(own, part, case))
}

/// The type of a result's column: the database may call a decimal a text.
pub(crate) fn result_type(named: Option<&Named>) -> Option<Type> {
    named?.ty.filter(|ty| matches!(ty, Type::Decimal { .. } | Type::Bool | Type::Date | Type::Timestamp))
}

/// A temporary table that a query fills.
pub(crate) fn made(name: &str, columns: &[Named]) -> Table {
    Table { name: vec![name.to_owned()], columns: columns.to_vec() }
}
