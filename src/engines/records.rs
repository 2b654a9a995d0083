//! qetl's own records, as tables beside the datasets.

use std::collections::{BTreeMap, BTreeSet};

use qetl_core::{Column, DatasetName, Type};
use qetl_runtime::{
    FlowRecords, RunError,
    engine::Publish,
    records::{BatchRecord, FileRecord, PinnedColumn, RunRecord, details_text, read_details},
};

use crate::{
    cell::Cell,
    database::{Connection, Database, Failure},
    tables::{TableName, exists, quoted, table},
};

/// The version of these tables.
const VERSION: i64 = 3;

/// The oldest version that is read; it has no details.
const OLDEST: i64 = 2;

#[derive(Clone, Copy)]
enum Kind {
    /// A text that stands in a key.
    Key,
    Text,
    Int,
    Float,
}

/// A table of records; the first columns, so many of them, are unique together.
type Record = (&'static str, &'static [(&'static str, Kind)], usize);

/// Tables of records that have details, as JSON.
const WITH_DETAILS: [&str; 3] = ["batches", "files", "columns"];

const RECORDS: [Record; 10] = [
    ("meta", &[("version", Kind::Int)], 1),
    // Grows with every holder of a flow's lock; a publish under an older number is refused. `publishes` is written by each.
    ("fences", &[("flow", Kind::Key), ("fence", Kind::Int), ("publishes", Kind::Int)], 1),
    // Every generation of every batch; the greatest is the one that stands.
    (
        "batches",
        &[
            ("flow", Kind::Key),
            ("batch_id", Kind::Int),
            ("generation", Kind::Int),
            ("run_id", Kind::Text),
            ("processed_at", Kind::Int),
            ("published_at", Kind::Int),
            ("row_count", Kind::Int),
            ("content_hash", Kind::Text),
            ("shape", Kind::Text),
            ("details", Kind::Text),
        ],
        3,
    ),
    (
        "files",
        &[
            ("flow", Kind::Key),
            ("batch_id", Kind::Int),
            ("generation", Kind::Int),
            ("position", Kind::Int),
            ("path", Kind::Text),
            ("size", Kind::Int),
            ("modified", Kind::Int),
            ("content_hash", Kind::Text),
            ("loaded_at", Kind::Int),
            ("details", Kind::Text),
        ],
        4,
    ),
    (
        "columns",
        &[
            ("flow", Kind::Key),
            ("position", Kind::Int),
            ("name", Kind::Text),
            ("type", Kind::Text),
            ("inferred", Kind::Int),
            ("details", Kind::Text),
        ],
        2,
    ),
    ("flows", &[("flow", Kind::Key), ("details", Kind::Text)], 1),
    (
        "runs",
        &[
            ("run_id", Kind::Text),
            ("flow", Kind::Key),
            ("batch_id", Kind::Int),
            ("status", Kind::Text),
            ("started_at", Kind::Int),
            ("seconds", Kind::Float),
            ("row_count", Kind::Int),
            ("message", Kind::Text),
        ],
        0,
    ),
    // Views have a definition. `changes` grows with every publish that writes the dataset.
    (
        "datasets",
        &[
            ("namespace", Kind::Key),
            ("name", Kind::Key),
            ("flow", Kind::Text),
            ("changes", Kind::Int),
            ("definition", Kind::Text),
            ("by_batch", Kind::Int),
        ],
        2,
    ),
    // Of datasets whose rows are of batches: what `changes` was when each batch changed last.
    ("dataset_batches", &[("namespace", Kind::Key), ("dataset", Kind::Key), ("batch_id", Kind::Int), ("version", Kind::Int)], 3),
    (
        "dataset_columns",
        &[("namespace", Kind::Key), ("dataset", Kind::Key), ("position", Kind::Int), ("name", Kind::Text), ("type", Kind::Text)],
        3,
    ),
];

fn record(name: &str) -> DatasetName {
    DatasetName { namespace: "qetl".to_owned(), name: name.to_owned() }
}

/// A text of ours in which `{name}` is a record's table, `[name]` a column, and `?` a value.
fn sql(database: &dyn Database, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '[']) {
        out.push_str(&rest[..at]);
        let (close, is_table) = if rest[at..].starts_with('{') { ('}', true) } else { (']', false) };
        let end = rest[at..].find(close).map_or(rest.len(), |end| at + end);
        let name = &rest[at + 1..end];
        out.push_str(&if is_table { table(database, &record(name)) } else { quoted(database, name) });
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    numbered(database, &out)
}

/// The text with the database's own way to write each `?`.
pub(crate) fn numbered(database: &dyn Database, text: &str) -> String {
    let (mut out, mut quote, mut n) = (String::with_capacity(text.len()), None, 0);
    for letter in text.chars() {
        match quote {
            // Quotes that are doubled end one quoted text and begin another.
            Some(open) if open == letter => quote = None,
            None if ['"', '`', '\''].contains(&letter) => quote = Some(letter),
            None if letter == '?' => {
                n += 1;
                out.push_str(&database.placeholder(n));
                continue;
            }
            Some(_) | None => (),
        }
        out.push(letter);
    }
    out
}

/// Whether there are records.
pub(crate) fn there(database: &dyn Database, connection: &mut dyn Connection) -> Result<bool, Failure> {
    if !exists(database, connection, &TableName::of(database, &record("dataset_columns")))? {
        return Ok(false);
    }
    version(database, connection).map(|_| true)
}

/// The version of the records that are there, if this qetl knows it.
fn version(database: &dyn Database, connection: &mut dyn Connection) -> Result<i64, Failure> {
    let rows = connection.rows(&sql(database, "SELECT [version] FROM {meta}"), &[])?;
    match rows.first().and_then(|row| row.first()) {
        Some(Cell::Int(version @ OLDEST..=VERSION)) => Ok(*version),
        found => {
            let message = format!("{} has records of another version of qetl ({found:?})", database.place());
            Err(RunError::usage(message, "use the qetl that made them").into())
        }
    }
}

pub(crate) fn is_current(database: &dyn Database, connection: &mut dyn Connection) -> Result<bool, Failure> {
    Ok(version(database, connection)? == VERSION)
}

/// Brings records of an older qetl up to date; a step that is done already is left out.
pub(crate) fn upgrade(database: &dyn Database, connection: &mut dyn Connection) -> Result<(), Failure> {
    if is_current(database, connection)? {
        return Ok(());
    }
    let text = database.dialect().column_type(Type::Text).map_err(|what| Failure::Other(what.to_string()))?;
    for name in WITH_DETAILS {
        // SQLite takes a quoted name that no column has for a text, unless it says whose column it is.
        if connection.rows(&sql(database, &format!("SELECT r.[details] FROM {{{name}}} AS r WHERE 1 = 0")), &[]).is_err() {
            connection.run(&sql(database, &format!("ALTER TABLE {{{name}}} ADD COLUMN [details] {text}")), &[])?;
        }
    }
    make(database, connection)?;
    connection.run(&sql(database, "UPDATE {meta} SET [version] = ?"), &[Cell::Int(VERSION)])?;
    Ok(())
}

/// Makes the tables of records, unless they are there.
pub(crate) fn make(database: &dyn Database, connection: &mut dyn Connection) -> Result<(), Failure> {
    let schema = TableName::of(database, &record("meta")).schema;
    if let Some(schema) = schema {
        connection.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(database, &schema)), &[])?;
    }
    let cannot = |what: qetl_sql::Unsupported| Failure::Other(what.to_string());
    for (name, columns, keys) in RECORDS {
        let mut parts = Vec::new();
        for (column, kind) in columns {
            let ty = match kind {
                Kind::Key => database.key_type(),
                Kind::Text => database.dialect().column_type(Type::Text),
                Kind::Int => database.dialect().column_type(Type::Int),
                Kind::Float => database.dialect().column_type(Type::Float),
            };
            parts.push(format!("{} {}", quoted(database, column), ty.map_err(cannot)?));
        }
        if keys > 0 {
            let keys: Vec<String> = columns.iter().take(keys).map(|(name, _)| quoted(database, name)).collect();
            parts.push(format!("PRIMARY KEY ({})", keys.join(", ")));
        }
        let made = format!("CREATE TABLE IF NOT EXISTS {} ({})", table(database, &record(name)), parts.join(", "));
        connection.run(&made, &[])?;
    }
    if connection.rows(&sql(database, "SELECT [version] FROM {meta}"), &[])?.is_empty() {
        connection.run(&sql(database, "INSERT INTO {meta} ([version]) VALUES (?)"), &[Cell::Int(VERSION)])?;
    }
    Ok(())
}

/// A new holder's number.
pub(crate) fn next_fence(database: &dyn Database, connection: &mut dyn Connection, flow: &str) -> Result<i64, Failure> {
    let values = [Cell::from(flow)];
    if connection.run(&sql(database, "UPDATE {fences} SET [fence] = [fence] + 1 WHERE [flow] = ?"), &values)? == 0 {
        connection.run(&sql(database, "INSERT INTO {fences} ([flow], [fence], [publishes]) VALUES (?, 1, 0)"), &values)?;
    }
    let rows = connection.rows(&sql(database, "SELECT [fence] FROM {fences} WHERE [flow] = ?"), &values)?;
    Ok(rows.first().map_or(0, |row| int(&row[0])))
}

/// Whether the number is still the flow's. The row stays locked until the transaction ends, where the database locks rows.
pub(crate) fn keeps_fence(database: &dyn Database, connection: &mut dyn Connection, flow: &str, fence: i64) -> Result<bool, Failure> {
    let text = sql(database, "UPDATE {fences} SET [publishes] = [publishes] + 1 WHERE [flow] = ? AND [fence] = ?");
    Ok(connection.run(&text, &[Cell::from(flow), Cell::Int(fence)])? == 1)
}

/// Waits until no transaction publishes the flow any more: each has written the flow's row.
pub(crate) fn wait_for_publishes(database: &dyn Database, connection: &mut dyn Connection, flow: &str) -> Result<(), Failure> {
    connection.run(&sql(database, "UPDATE {fences} SET [publishes] = [publishes] + 1 WHERE [flow] = ?"), &[Cell::from(flow)])?;
    Ok(())
}

/// Whether a run has published a generation of a batch.
pub(crate) fn is_published(database: &dyn Database, connection: &mut dyn Connection, publish: &Publish) -> Result<bool, Failure> {
    let Some(batch) = publish.batches.first() else { return Ok(false) };
    let text = sql(database, "SELECT [row_count] FROM {batches} WHERE [flow] = ? AND [batch_id] = ? AND [generation] = ? AND [run_id] = ?");
    let values =
        [Cell::from(publish.flow.as_str()), batch.batch_id.into(), batch.generation.into(), Cell::from(publish.run.run_id.as_str())];
    Ok(!connection.rows(&text, &values)?.is_empty())
}

/// Batches of datasets that a publish changes.
pub(crate) type Touched = BTreeSet<(DatasetName, i64)>;

pub(crate) fn publish(
    database: &dyn Database,
    connection: &mut dyn Connection,
    publish: &Publish,
    touched: &Touched,
    now: i64,
) -> Result<(), Failure> {
    let flow = publish.flow.as_str();
    for batch in &publish.batches {
        insert_batch(database, connection, flow, &publish.run.run_id, now, batch)?;
    }
    connection.run(&sql(database, "DELETE FROM {columns} WHERE [flow] = ?"), &[flow.into()])?;
    for (position, column) in (0_i64..).zip(&publish.columns) {
        let inferred = i64::from(column.inferred);
        let values = [
            flow.into(),
            position.into(),
            Cell::from(column.name.as_str()),
            column.ty.to_string().into(),
            inferred.into(),
            details_text(&column.details).into(),
        ];
        let text = "INSERT INTO {columns} ([flow], [position], [name], [type], [inferred], [details]) VALUES (?, ?, ?, ?, ?, ?)";
        connection.run(&sql(database, text), &values)?;
    }
    connection.run(&sql(database, "DELETE FROM {flows} WHERE [flow] = ?"), &[flow.into()])?;
    let values = [flow.into(), details_text(&publish.details).into()];
    connection.run(&sql(database, "INSERT INTO {flows} ([flow], [details]) VALUES (?, ?)"), &values)?;
    // One by one, by their key: so no database locks the rows of other flows.
    for stored in datasets(database, connection)?.iter().filter(|stored| stored.flow == flow) {
        let key = [Cell::from(stored.name.namespace.as_str()), stored.name.name.as_str().into()];
        connection.run(&sql(database, "UPDATE {datasets} SET [changes] = [changes] + 1 WHERE [namespace] = ? AND [name] = ?"), &key)?;
        for (_, batch_id) in touched.iter().filter(|(dataset, _)| *dataset == stored.name) {
            let own = [key[0].clone(), key[1].clone(), Cell::Int(*batch_id)];
            let text = "DELETE FROM {dataset_batches} WHERE [namespace] = ? AND [dataset] = ? AND [batch_id] = ?";
            connection.run(&sql(database, text), &own)?;
            let values: Vec<Cell<'_>> = own.into_iter().chain([Cell::Int(stored.changes + 1)]).collect();
            connection.run(
                &sql(database, "INSERT INTO {dataset_batches} ([namespace], [dataset], [batch_id], [version]) VALUES (?, ?, ?, ?)"),
                &values,
            )?;
        }
    }
    insert_run(database, connection, &publish.run)
}

fn insert_batch(
    database: &dyn Database,
    connection: &mut dyn Connection,
    flow: &str,
    run_id: &str,
    now: i64,
    batch: &BatchRecord,
) -> Result<(), Failure> {
    let values = [
        flow.into(),
        batch.batch_id.into(),
        batch.generation.into(),
        run_id.into(),
        batch.processed_at.into(),
        now.into(),
        batch.rows.into(),
        hash_text(batch.content_hash),
        batch.shape.to_string().into(),
        details_text(&batch.details).into(),
    ];
    let text = "INSERT INTO {batches} ([flow], [batch_id], [generation], [run_id], [processed_at], [published_at], [row_count],
        [content_hash], [shape], [details]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.run(&sql(database, text), &values)?;
    for (position, file) in (0_i64..).zip(&batch.files) {
        insert_file(database, connection, flow, (batch.batch_id, batch.generation, position), file)?;
    }
    Ok(())
}

/// `place`: the batch, its generation, and which of its files it is.
fn insert_file(
    database: &dyn Database,
    connection: &mut dyn Connection,
    flow: &str,
    place: (i64, i64, i64),
    file: &FileRecord,
) -> Result<(), Failure> {
    let values = [
        flow.into(),
        place.0.into(),
        place.1.into(),
        place.2.into(),
        file.name.as_str().into(),
        i64::try_from(file.size).unwrap_or(i64::MAX).into(),
        file.modified.into(),
        hash_text(file.content_hash),
        file.loaded_at.into(),
        details_text(&file.details).into(),
    ];
    let text = "INSERT INTO {files} ([flow], [batch_id], [generation], [position], [path], [size], [modified], [content_hash], [loaded_at],
        [details]) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.run(&sql(database, text), &values)?;
    Ok(())
}

/// Records that a batch was read again from these and found unchanged.
pub(crate) fn read_again(
    database: &dyn Database,
    connection: &mut dyn Connection,
    flow: &str,
    batch_id: i64,
    files: &[FileRecord],
) -> Result<(), Failure> {
    let known = read(database, connection, flow)?;
    let Some(batch) = known.batch(batch_id) else { return Ok(()) };
    for file in files {
        // A file keeps its place; one of another name gets the next.
        let position = batch.files.iter().position(|known| known.name == file.name).unwrap_or(batch.files.len()) as i64;
        let place = [flow.into(), batch_id.into(), Cell::Int(batch.generation), Cell::Int(position)];
        let text = "DELETE FROM {files} WHERE [flow] = ? AND [batch_id] = ? AND [generation] = ? AND [position] = ?";
        connection.run(&sql(database, text), &place)?;
        insert_file(database, connection, flow, (batch_id, batch.generation, position), file)?;
    }
    Ok(())
}

/// The version in which each batch of a dataset changed last.
pub(crate) fn dataset_batches(
    database: &dyn Database,
    connection: &mut dyn Connection,
    name: &DatasetName,
) -> Result<BTreeMap<i64, i64>, Failure> {
    let text = "SELECT [batch_id], [version] FROM {dataset_batches} WHERE [namespace] = ? AND [dataset] = ?";
    let rows = connection.rows(&sql(database, text), &[name.namespace.as_str().into(), name.name.as_str().into()])?;
    Ok(rows.iter().map(|row| (int(&row[0]), int(&row[1]))).collect())
}

pub(crate) fn insert_run(database: &dyn Database, connection: &mut dyn Connection, run: &RunRecord) -> Result<(), Failure> {
    let values = [
        run.run_id.as_str().into(),
        run.flow.as_str().into(),
        Cell::option(run.batch_id),
        run.status.as_str().into(),
        run.started_at.into(),
        run.seconds.into(),
        run.rows.into(),
        // No database of all holds a NUL in a text, and a message may repeat what a file has.
        run.message.replace('\0', "\u{fffd}").into(),
    ];
    let text = "INSERT INTO {runs} ([run_id], [flow], [batch_id], [status], [started_at], [seconds], [row_count], [message])
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    connection.run(&sql(database, text), &values)?;
    Ok(())
}

/// Newest first.
pub(crate) fn runs(database: &dyn Database, connection: &mut dyn Connection, flow: Option<&str>) -> Result<Vec<RunRecord>, Failure> {
    let select = "SELECT [run_id], [flow], [batch_id], [status], [started_at], [seconds], [row_count], [message] FROM {runs}";
    let order = "ORDER BY [started_at] DESC, [run_id] DESC, [batch_id] DESC";
    let rows = match flow {
        Some(flow) => connection.rows(&sql(database, &format!("{select} WHERE [flow] = ? {order}")), &[flow.into()])?,
        None => connection.rows(&sql(database, &format!("{select} {order}")), &[])?,
    };
    let run = |row: &Vec<Cell<'static>>| RunRecord {
        run_id: text(&row[0]),
        flow: text(&row[1]),
        batch_id: (row[2] != Cell::Null).then(|| int(&row[2])),
        status: text(&row[3]),
        started_at: int(&row[4]),
        seconds: if let Cell::Float(seconds) = row[5] { seconds } else { 0.0 },
        rows: int(&row[6]),
        message: text(&row[7]),
    };
    Ok(rows.iter().map(run).collect())
}

pub(crate) fn read(database: &dyn Database, connection: &mut dyn Connection, flow: &str) -> Result<FlowRecords, Failure> {
    let own = [Cell::from(flow)];
    let has_details = version(database, connection)? > OLDEST;
    let details = if has_details { "[details]" } else { "NULL" };
    let text_of = format!(
        "SELECT [batch_id], [generation], [processed_at], [row_count], [content_hash], [shape], {details} FROM {{batches}}
        WHERE [flow] = ? ORDER BY [batch_id], [generation]"
    );
    let mut records = FlowRecords::default();
    for row in connection.rows(&sql(database, &text_of), &own)? {
        let batch = BatchRecord {
            batch_id: int(&row[0]),
            generation: int(&row[1]),
            processed_at: int(&row[2]),
            rows: int(&row[3]),
            content_hash: hash(&row[4]),
            shape: serde_json::from_str(&text(&row[5])).unwrap_or_default(),
            files: Vec::new(),
            details: read_details(&text(&row[6])),
        };
        // The greatest generation comes last.
        records.batches.retain(|other| other.batch_id != batch.batch_id);
        records.batches.push(batch);
    }
    let text_of = format!(
        "SELECT [path], [size], [modified], [content_hash], [loaded_at], [batch_id], [generation], {details} FROM {{files}}
        WHERE [flow] = ? ORDER BY [batch_id], [generation], [position]"
    );
    for row in connection.rows(&sql(database, &text_of), &own)? {
        let file = FileRecord {
            name: text(&row[0]),
            size: u64::try_from(int(&row[1])).unwrap_or(0),
            modified: int(&row[2]),
            content_hash: hash(&row[3]),
            loaded_at: int(&row[4]),
            details: read_details(&text(&row[7])),
        };
        let (batch_id, generation) = (int(&row[5]), int(&row[6]));
        if let Some(batch) = records.batches.iter_mut().find(|batch| (batch.batch_id, batch.generation) == (batch_id, generation)) {
            batch.files.push(file.clone());
        }
        records.ledger.push((batch_id, file));
    }
    let text_of = format!("SELECT [name], [type], [inferred], {details} FROM {{columns}} WHERE [flow] = ? ORDER BY [position]");
    for row in connection.rows(&sql(database, &text_of), &own)? {
        let ty = text(&row[1]).parse().unwrap_or(Type::Text);
        records.columns.push(PinnedColumn { name: text(&row[0]), ty, inferred: int(&row[2]) != 0, details: read_details(&text(&row[3])) });
    }
    if has_details {
        let rows = connection.rows(&sql(database, "SELECT [details] FROM {flows} WHERE [flow] = ?"), &own)?;
        records.details = rows.first().map(|row| read_details(&text(&row[0]))).unwrap_or_default();
    }
    Ok(records)
}

/// A dataset that is there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) name: DatasetName,
    pub(crate) flow: String,
    pub(crate) changes: i64,
    /// The query, of a view.
    pub(crate) definition: Option<String>,
    /// Its rows are of batches, and replaced batch by batch.
    pub(crate) by_batch: bool,
    pub(crate) columns: Vec<Column>,
}

pub(crate) fn datasets(database: &dyn Database, connection: &mut dyn Connection) -> Result<Vec<Stored>, Failure> {
    let mut datasets: Vec<Stored> = Vec::new();
    let text_of = "SELECT [namespace], [name], [flow], [changes], [definition], [by_batch] FROM {datasets} ORDER BY [namespace], [name]";
    for row in connection.rows(&sql(database, text_of), &[])? {
        datasets.push(Stored {
            name: DatasetName { namespace: text(&row[0]), name: text(&row[1]) },
            flow: text(&row[2]),
            changes: int(&row[3]),
            definition: (row[4] != Cell::Null).then(|| text(&row[4])),
            by_batch: int(&row[5]) != 0,
            columns: Vec::new(),
        });
    }
    let text_of = "SELECT [namespace], [dataset], [name], [type] FROM {dataset_columns} ORDER BY [namespace], [dataset], [position]";
    for row in connection.rows(&sql(database, text_of), &[])? {
        let name = DatasetName { namespace: text(&row[0]), name: text(&row[1]) };
        if let Some(dataset) = datasets.iter_mut().find(|dataset| dataset.name == name) {
            dataset.columns.push(Column::new(&text(&row[2]), text(&row[3]).parse().unwrap_or(Type::Text)));
        }
    }
    Ok(datasets)
}

pub(crate) fn add_dataset(
    database: &dyn Database,
    connection: &mut dyn Connection,
    flow: &str,
    name: &DatasetName,
    columns: &[Column],
    definition: Option<&str>,
) -> Result<(), Failure> {
    let values = [
        Cell::from(name.namespace.as_str()),
        name.name.as_str().into(),
        flow.into(),
        Cell::Int(0),
        definition.map_or(Cell::Null, Cell::from),
        Cell::Int(1),
    ];
    let text = "INSERT INTO {datasets} ([namespace], [name], [flow], [changes], [definition], [by_batch]) VALUES (?, ?, ?, ?, ?, ?)";
    connection.run(&sql(database, text), &values)?;
    change_columns(database, connection, name, columns)
}

/// Records whether a dataset's rows are replaced batch by batch.
pub(crate) fn keeps_by_batch(
    database: &dyn Database,
    connection: &mut dyn Connection,
    name: &DatasetName,
    by_batch: bool,
) -> Result<(), Failure> {
    let values = [Cell::Int(i64::from(by_batch)), name.namespace.as_str().into(), name.name.as_str().into()];
    connection.run(&sql(database, "UPDATE {datasets} SET [by_batch] = ? WHERE [namespace] = ? AND [name] = ?"), &values)?;
    Ok(())
}

pub(crate) fn change_columns(
    database: &dyn Database,
    connection: &mut dyn Connection,
    name: &DatasetName,
    columns: &[Column],
) -> Result<(), Failure> {
    let own = [Cell::from(name.namespace.as_str()), Cell::from(name.name.as_str())];
    connection.run(&sql(database, "DELETE FROM {dataset_columns} WHERE [namespace] = ? AND [dataset] = ?"), &own)?;
    for (position, column) in (0_i64..).zip(columns) {
        let more = [position.into(), Cell::from(column.name.as_str()), column.ty.to_string().into()];
        let values: Vec<Cell<'_>> = own.iter().cloned().chain(more).collect();
        let text = "INSERT INTO {dataset_columns} ([namespace], [dataset], [position], [name], [type]) VALUES (?, ?, ?, ?, ?)";
        connection.run(&sql(database, text), &values)?;
    }
    Ok(())
}

pub(crate) fn forget_dataset(database: &dyn Database, connection: &mut dyn Connection, name: &DatasetName) -> Result<(), Failure> {
    let own = [Cell::from(name.namespace.as_str()), Cell::from(name.name.as_str())];
    connection.run(&sql(database, "DELETE FROM {dataset_columns} WHERE [namespace] = ? AND [dataset] = ?"), &own)?;
    connection.run(&sql(database, "DELETE FROM {datasets} WHERE [namespace] = ? AND [name] = ?"), &own)?;
    Ok(())
}

pub(crate) fn int(cell: &Cell<'_>) -> i64 {
    if let Cell::Int(value) = cell { *value } else { 0 }
}

fn text(cell: &Cell<'_>) -> String {
    if let Cell::Text(text) = cell { text.clone().into_owned() } else { String::new() }
}

fn hash_text(hash: u128) -> Cell<'static> {
    format!("{hash:032x}").into()
}

fn hash(cell: &Cell<'_>) -> u128 {
    u128::from_str_radix(&text(cell), 16).unwrap_or(0)
}
