//! Tables of datasets: their names, how they come to be, and how they follow the columns of a flow.

use arrow::array::RecordBatch;
use qetl_core::{Column, DatasetName, Plan, Schema, Type, ir::AsOf, ir::Op, ir::Rel, ir::Steps, plan::DatasetKind, plan::WriteMode};
use qetl_runtime::RunError;
use qetl_sql::{Ident, ObjectName};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    arrow_file,
    cell::{Cell, coerce},
    database::{Connection, Database, Failure, Naming},
    records::{self, Stored},
    retype::converted,
    statements::{create_index, create_table, create_view},
};

/// What a table is called in its database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl TableName {
    pub(crate) fn of(database: &dyn Database, dataset: &DatasetName) -> Self {
        let main = dataset.namespace == "main";
        match database.naming() {
            Naming::Schemas { main: name } => {
                let schema = if main { name.to_owned() } else { dataset.namespace.clone() };
                TableName { schema: Some(schema), name: dataset.name.clone() }
            }
            Naming::Prefixes if main => TableName { schema: None, name: dataset.name.clone() },
            Naming::Prefixes => TableName { schema: None, name: format!("{}_{}", dataset.namespace, dataset.name) },
        }
    }

    pub(crate) fn object(&self, quote: char) -> ObjectName {
        let parts: Vec<Ident> = self.schema.iter().chain([&self.name]).map(|part| qetl_sql::ident(quote, part)).collect();
        ObjectName::from(parts)
    }
}

/// A dataset's quoted name.
pub(crate) fn table(database: &dyn Database, dataset: &DatasetName) -> String {
    TableName::of(database, dataset).object(database.dialect().quote()).to_string()
}

/// A quoted name.
pub(crate) fn quoted(database: &dyn Database, name: &str) -> String {
    qetl_sql::ident(database.dialect().quote(), name).to_string()
}

/// Quoted names, one after another.
pub(crate) fn quoted_list<'a>(database: &dyn Database, names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| quoted(database, name)).collect::<Vec<_>>().join(", ")
}

/// Whether some task asks what a batch was before it is replaced.
pub(crate) fn asks_for_replaced(plan: &Plan) -> bool {
    fn asks(rel: &Rel) -> bool {
        let own = matches!(&*rel.op, Op::Scan { as_of: AsOf::ReplacedBatch, .. });
        own || rel.inputs().into_iter().any(asks)
    }
    let of_steps = |steps: &Steps| steps.0.iter().any(|step| asks(&step.rel));
    plan.tasks.iter().any(|task| of_steps(&task.steps) || task.checks.iter().any(|check| of_steps(&check.steps)))
}

/// The stored datasets of a plan with their columns, and the keys that rows are found by.
fn wanted(plan: &Plan) -> Vec<(DatasetName, Schema, Vec<String>)> {
    let mut tables = Vec::new();
    for dataset in plan.datasets.iter().filter(|dataset| dataset.is_stored()) {
        let replaced_keys = plan.tasks.iter().find(|task| task.target == dataset.name).and_then(|task| match &task.write_mode {
            WriteMode::ReplaceKeys(replaced) => Some(replaced.keys.clone()),
            WriteMode::ReplaceBatch | WriteMode::ReplaceAll => None,
        });
        let of_landing = || {
            let by_keys = plan.tasks.iter().find_map(|task| match &task.write_mode {
                WriteMode::ReplaceKeys(replaced) => Some(replaced.keys.clone()),
                WriteMode::ReplaceBatch | WriteMode::ReplaceAll => None,
            });
            by_keys.unwrap_or_default()
        };
        let keys = match (replaced_keys, dataset.kind == DatasetKind::Landing) {
            (Some(keys), _) => keys,
            (None, true) => of_landing(),
            (None, false) => plan.flow.input.key_names(),
        };
        tables.push((dataset.name.clone(), dataset.schema.clone(), keys));
    }
    tables
}

/// Creates and changes tables and views until they are those of the plan. Their rows stay as they are.
pub(crate) fn follow(database: &dyn Database, connection: &mut dyn Connection, plan: &Plan) -> Result<(), Failure> {
    let stored = records::datasets(database, connection)?;
    let flow = plan.flow.id();
    let known = |name: &DatasetName| stored.iter().find(|stored| stored.name == *name);
    let wanted = wanted(plan);
    for (name, schema, _) in &wanted {
        refuse_names(database, name, schema.columns())?;
    }
    let retyped = |name: &DatasetName, schema: &Schema| {
        let old = known(name).map_or(&[] as &[Column], |stored| &stored.columns);
        old.iter().any(|old| schema.column(&old.name).is_some_and(|column| column.ty != old.ty))
    };
    if wanted.iter().any(|(name, schema, _)| retyped(name, schema)) {
        for view in stored.iter().filter(|stored| stored.flow == flow && stored.definition.is_some()) {
            drop_view(database, connection, view)?;
        }
    }
    for (name, schema, keys) in &wanted {
        follow_table(database, connection, flow, name, schema.columns(), keys)?;
    }
    follow_views(database, connection, plan)
}

/// Creates and changes a table until it has these columns. Its rows, and columns that it has besides, stay.
pub(crate) fn follow_table(
    database: &dyn Database,
    connection: &mut dyn Connection,
    flow: &str,
    name: &DatasetName,
    wanted: &[Column],
    keys: &[String],
) -> Result<(), Failure> {
    let stored = records::datasets(database, connection)?;
    let Some(old) = stored.iter().find(|stored| stored.name == *name) else {
        refuse_names(database, name, wanted)?;
        create_schema(database, connection, name)?;
        refuse_strangers(database, connection, name, &stored)?;
        // Where each statement commits, a table that is there must be known as qetl's.
        records::add_dataset(database, connection, flow, name, wanted, None)?;
        connection.run(&create_table(database, name, wanted)?, &[])?;
        return index(database, connection, name, wanted, keys);
    };
    let mut there = None;
    if database.ddl_commits() {
        if !exists(database, connection, &TableName::of(database, name))? {
            connection.run(&create_table(database, name, &old.columns)?, &[])?;
            index(database, connection, name, &old.columns, keys)?;
        }
        let all = format!("SELECT * FROM {} LIMIT 0", table(database, name));
        there = Some(connection.query(&all, &[], &mut |_, _| Ok(()))?);
    }
    let mut columns = old.columns.clone();
    for column in wanted.iter().filter(|column| !old.columns.iter().any(|old| old.name == column.name)) {
        // A run that was cut off may have added it.
        if there.iter().flatten().any(|there| there.name == column.name) {
            columns.push(column.clone());
            continue;
        }
        let (name, ty) = (quoted(database, &column.name), column_type(database, column.ty)?);
        connection.run(&format!("ALTER TABLE {} ADD COLUMN {name} {ty}", table(database, &old.name)), &[])?;
        columns.push(column.clone());
    }
    let find = |old: &Column| wanted.iter().find(|column| column.name == old.name).unwrap_or(old).clone();
    let target: Vec<Column> = columns.iter().map(find).collect();
    if target != columns {
        rebuild(database, connection, name, &columns, &target)?;
        index(database, connection, name, &target, keys)?;
    }
    if target != old.columns {
        records::change_columns(database, connection, name, &target)?;
    }
    Ok(())
}

/// The table with other columns, and no rows.
pub(crate) fn make_anew(
    database: &dyn Database,
    connection: &mut dyn Connection,
    name: &DatasetName,
    columns: &[Column],
    keys: &[String],
) -> Result<(), Failure> {
    connection.run(&format!("DROP TABLE {}", table(database, name)), &[])?;
    connection.run(&create_table(database, name, columns)?, &[])?;
    index(database, connection, name, columns, keys)?;
    records::change_columns(database, connection, name, columns)
}

/// Columns as a CREATE TABLE declares them.
pub(crate) fn declared(database: &dyn Database, columns: &[Column]) -> Result<String, Failure> {
    let one = |column: &Column| Ok(format!("{} {}", quoted(database, &column.name), column_type(database, column.ty)?));
    Ok(columns.iter().map(one).collect::<Result<Vec<_>, Failure>>()?.join(", "))
}

fn follow_views(database: &dyn Database, connection: &mut dyn Connection, plan: &Plan) -> Result<(), Failure> {
    let stored = records::datasets(database, connection)?;
    for dataset in &plan.datasets {
        let DatasetKind::View(rel) = &dataset.kind else { continue };
        let view = create_view(database, &dataset.name, rel)?;
        let old = stored.iter().find(|stored| stored.name == dataset.name);
        // A run that was cut off where each statement commits may have left a record alone.
        let is_there = |connection: &mut dyn Connection| {
            Ok::<_, Failure>(!database.ddl_commits() || exists(database, connection, &TableName::of(database, &dataset.name))?)
        };
        if old.is_some_and(|old| old.definition.as_deref() == Some(&view)) && is_there(connection)? {
            continue;
        }
        match old {
            Some(old) => drop_view(database, connection, old)?,
            None => refuse_strangers(database, connection, &dataset.name, &stored)?,
        }
        records::add_dataset(database, connection, plan.flow.id(), &dataset.name, dataset.schema.columns(), Some(&view))?;
        connection.run(&view, &[])?;
    }
    Ok(())
}

fn drop_view(database: &dyn Database, connection: &mut dyn Connection, view: &Stored) -> Result<(), Failure> {
    connection.run(&format!("DROP VIEW IF EXISTS {}", table(database, &view.name)), &[])?;
    records::forget_dataset(database, connection, &view.name)
}

/// Names that the database would cut off, so that two of them could become one, or that it does not take.
fn refuse_names(database: &dyn Database, dataset: &DatasetName, columns: &[Column]) -> Result<(), RunError> {
    let refused = columns.iter().find_map(|column| Some((&column.name, database.refuses_name(&column.name)?)));
    if let Some((name, why)) = refused {
        let message = format!("`{name}` cannot be a column in {}: {why}", database.place());
        return Err(RunError::usage(message, "give the column another name"));
    }
    let name = TableName::of(database, dataset).name;
    let names = std::iter::once(name.as_str()).chain(columns.iter().map(|column| column.name.as_str()));
    match names.into_iter().find(|name| name.len() > database.longest_name()) {
        None => Ok(()),
        Some(name) => {
            let message = format!("`{name}` is longer than the {} bytes that a name has in {}", database.longest_name(), database.place());
            Err(RunError::usage(message, "give the flow a shorter `dataset_prefix`, or the column a shorter name"))
        }
    }
}

/// A table of the name that is none of qetl's, or another dataset's, is left alone.
fn refuse_strangers(
    database: &dyn Database,
    connection: &mut dyn Connection,
    dataset: &DatasetName,
    stored: &[Stored],
) -> Result<(), Failure> {
    let name = TableName::of(database, dataset);
    let twin = stored.iter().find(|other| other.name != *dataset && TableName::of(database, &other.name) == name);
    if let Some(twin) = twin {
        let message = format!("`{dataset}` and `{}` of flow `{}` would be one table, `{}`", twin.name, twin.flow, name.name);
        return Err(RunError::usage(message, "give one of them another `dataset_prefix` or `namespace`").into());
    }
    if exists(database, connection, &name)? {
        let message = format!("{} has a table `{}` that qetl did not make", database.place(), name.name);
        return Err(RunError::usage(message, "rename it, or give the flow another `dataset_prefix`").into());
    }
    Ok(())
}

pub(crate) fn exists(database: &dyn Database, connection: &mut dyn Connection, name: &TableName) -> Result<bool, Failure> {
    let values = [Cell::from(name.schema.clone().unwrap_or_default()), Cell::from(name.name.clone())];
    let rows = connection.rows(&records::numbered(database, database.count_tables()), &values)?;
    Ok(rows.first().and_then(|row| row.first()).is_some_and(|count| *count != Cell::Int(0)))
}

fn create_schema(database: &dyn Database, connection: &mut dyn Connection, dataset: &DatasetName) -> Result<(), Failure> {
    if let (Naming::Schemas { .. }, true) = (database.naming(), dataset.namespace != "main") {
        connection.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(database, &dataset.namespace)), &[])?;
    }
    Ok(())
}

fn column_type(database: &dyn Database, ty: Type) -> Result<String, Failure> {
    database.dialect().column_type(ty).map_err(|what| {
        RunError::usage(format!("{what}"), "declare the column with another `schema_type`, or run the flow on another engine").into()
    })
}

/// The batch's rows are found by `xt_batch_id`, those of a key by the key.
fn index(
    database: &dyn Database,
    connection: &mut dyn Connection,
    dataset: &DatasetName,
    columns: &[Column],
    keys: &[String],
) -> Result<(), Failure> {
    let find = |name: &str| columns.iter().find(|column| column.name == name);
    let batch: Vec<&Column> = find("xt_batch_id").into_iter().collect();
    let mut by_key: Vec<&Column> = keys.iter().filter_map(|key| find(key)).collect();
    if by_key.len() != keys.len() {
        by_key.clear();
    }
    if !by_key.is_empty() {
        by_key.extend(&batch);
    }
    for columns in [batch, by_key].into_iter().filter(|columns| !columns.is_empty()) {
        let columns: Vec<Column> = columns.into_iter().cloned().collect();
        let of: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let name = format!("qetl_{:016x}", xxh3_64(format!("{dataset} {of:?}").as_bytes()));
        if let Some(statement) = create_index(database, dataset, &name, &columns)? {
            connection.run(&statement, &[])?;
        }
    }
    Ok(())
}

/// Loads batches until one cannot be had.
pub(crate) fn load_all<E: std::fmt::Display>(
    connection: &mut dyn Connection,
    table: &TableName,
    columns: &[Column],
    batches: impl Iterator<Item = Result<RecordBatch, E>>,
) -> Result<(), Failure> {
    let mut failed = None;
    let mut good = batches.map_while(|batch| batch.map_err(|why| failed = Some(why.to_string())).ok());
    connection.load(table, columns, &mut good)?;
    failed.map_or(Ok(()), |why| Err(Failure::Other(why)))
}

/// The table with other types; every value fits its new one, which was asked before. Its rows wait in a file meanwhile: so they
/// are read as this session sees them, and however many there are.
fn rebuild(
    database: &dyn Database,
    connection: &mut dyn Connection,
    dataset: &DatasetName,
    old: &[Column],
    new: &[Column],
) -> Result<(), Failure> {
    let rows = arrow_file::Temporary::new().map_err(Failure::Other)?;
    let names = quoted_list(database, old.iter().map(|column| column.name.as_str()));
    let query = format!("SELECT {names} FROM {}", table(database, dataset));
    let misfit = |column: &Column| Failure::Other(format!("a value of `{}` does not fit {}", column.name, column.ty));
    arrow_file::write(connection, &query, new, rows.path(), &mut |cells| {
        let columns = old.iter().zip(new).zip(cells);
        let typed = columns.map(|((was, is), cell)| {
            // A run that was cut off between the tables and their records may have left the new types.
            let value = converted(cell.clone(), was.ty, is.ty).or_else(|| coerce(cell, is.ty));
            value.ok_or_else(|| misfit(is))
        });
        typed.collect()
    })?;
    let scratch = DatasetName { name: format!("{}_retyped", dataset.name), ..dataset.clone() };
    let (name, into) = (TableName::of(database, dataset), TableName::of(database, &scratch));
    connection.run(&format!("DROP TABLE IF EXISTS {}", table(database, &scratch)), &[])?;
    connection.run(&create_table(database, &scratch, new)?, &[])?;
    load_all(connection, &into, new, arrow_file::read(rows.path()).map_err(Failure::Other)?)?;
    database.replace_table(&name, &into).iter().try_for_each(|statement| connection.run(statement, &[]).map(|_| ()))
}
