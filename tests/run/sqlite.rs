//! The change feed in SQLite's words, on a real SQLite: the second opinion.

use std::collections::BTreeMap;

use qetl_core::{
    DatasetName, Flow, Plan,
    ir::Steps,
    plan::{self, DatasetKind, LANDING_COLUMNS},
};
use qetl_runtime::{FlowRecords, types};
use qetl_sql::dialects::{Dialect, Sqlite};
use rusqlite::{Connection, types::Value as Cell};

use crate::{
    histories::Arrival,
    oracle::{Options, Value},
    project::{TextRow, float_text},
};

/// The flow's tables, filled by the SQL of its tasks.
pub(crate) struct SqliteTables {
    connection: Connection,
    plan: Plan,
    options: Options,
    /// Known batches, with how many files each has.
    batches: BTreeMap<i64, usize>,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl SqliteTables {
    pub(crate) fn new(flow: &Flow, options: &Options) -> Self {
        let plan = plan::expand(flow, types::known(flow, &FlowRecords::default())).unwrap();
        let connection = Connection::open_in_memory().unwrap();
        for dataset in plan.datasets.iter().filter(|dataset| dataset.is_stored()) {
            let columns: Vec<String> = dataset
                .schema
                .columns()
                .iter()
                .map(|column| format!("{} {}", quoted(&column.name), Sqlite.type_name(column.ty).unwrap()))
                .collect();
            connection.execute_batch(&format!("CREATE TABLE {} ({})", quoted(&dataset.name.name), columns.join(", "))).unwrap();
        }
        let tables = Self { connection, plan, options: options.clone(), batches: BTreeMap::new() };
        for dataset in &tables.plan.datasets {
            if let DatasetKind::View(rel) = &dataset.kind {
                let mut steps = Steps::default();
                steps.add(&dataset.name.name, rel.clone());
                let sql = tables.sql(&steps, 0);
                tables.connection.execute_batch(&format!("CREATE VIEW {} AS {sql}", quoted(&dataset.name.name))).unwrap();
            }
        }
        tables
    }

    /// Replaces the batch's landed rows, and derives it and all later ones.
    pub(crate) fn land(&mut self, arrival: &Arrival) {
        let landing = self.plan.landing().unwrap().name.name.clone();
        self.connection.execute(&format!("DELETE FROM {} WHERE xt_batch_id = ?1", quoted(&landing)), [arrival.batch_id]).unwrap();
        let mut rows = arrival.rows.iter();
        let places =
            (1..=self.options.columns.len() + LANDING_COLUMNS.len()).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
        let insert = format!("INSERT INTO {} VALUES ({places})", quoted(&landing));
        for (file, count) in arrival.files.iter().enumerate() {
            for number in 1..=*count {
                let row = rows.next().unwrap();
                let place = [
                    Cell::Integer(arrival.batch_id),
                    Cell::Text(String::new()),
                    Cell::Text(format!("file_{file}")),
                    Cell::Integer(number as i64),
                ];
                let cells = row.iter().map(cell).chain(place);
                self.connection.execute(&insert, rusqlite::params_from_iter(cells)).unwrap();
            }
        }
        self.batches.insert(arrival.batch_id, arrival.files.len());
        let affected: Vec<i64> = self.batches.range(arrival.batch_id..).map(|(id, _)| *id).collect();
        for batch in affected {
            for task in &self.plan.tasks {
                let target = quoted(&task.target.name);
                let columns: Vec<String> = task.steps.0.last().unwrap().rel.column_names().map(quoted).collect();
                let sql = self.sql(&task.steps, batch);
                let whole =
                    format!("DELETE FROM {target} WHERE xt_batch_id = {batch}; INSERT INTO {target} ({}) {sql};", columns.join(", "));
                self.connection.execute_batch(&whole).unwrap_or_else(|error| panic!("{error}\n{whole}"));
            }
        }
    }

    fn sql(&self, steps: &Steps, batch_id: i64) -> String {
        let previous = self.batches.range(..batch_id).next_back().map_or(0, |(id, _)| *id);
        let files = |count: usize| (0..count).map(|file| format!("file_{file}")).collect();
        let files = self.batches.iter().map(|(id, count)| (*id, files(*count))).collect();
        let batches = self.batches.keys().map(|id| (*id, 0)).collect();
        let batch = qetl_sql::Batch { batch_id, previous, processed_at: 0, batches, files };
        let table = |dataset: &DatasetName| qetl_sql::ObjectName::from(vec![qetl_sql::ident('"', &dataset.name)]);
        qetl_sql::query(&Sqlite, steps, &batch, &table).unwrap()
    }

    /// A dataset's rows, sorted.
    pub(crate) fn rows(&self, dataset: &str, columns: &str) -> Vec<TextRow> {
        let mut statement = self.connection.prepare(&format!("SELECT {columns} FROM {}", quoted(dataset))).unwrap();
        let booleans: Vec<bool> = self.options.columns.iter().map(|column| column.ty == crate::oracle::ColumnType::Bool).collect();
        let width = statement.column_count();
        let rows = statement.query_map((), |row| {
            (0..width)
                .map(|index| {
                    Ok(match row.get::<_, Cell>(index)? {
                        Cell::Null => None,
                        Cell::Integer(value) if booleans.get(index) == Some(&true) => Some((value != 0).to_string()),
                        Cell::Integer(value) => Some(value.to_string()),
                        Cell::Real(value) => Some(float_text(value)),
                        Cell::Text(text) => Some(text),
                        Cell::Blob(_) => panic!("no dataset has bytes"),
                    })
                })
                .collect::<rusqlite::Result<TextRow>>()
        });
        let mut rows: Vec<TextRow> = rows.unwrap().map(Result::unwrap).collect();
        rows.sort();
        rows
    }
}

/// A value as SQLite keeps it.
fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Int(value) => Cell::Integer(*value),
        Value::Bool(value) => Cell::Integer(i64::from(*value)),
        Value::Float(value) => Cell::Real(if *value == 0.0 { 0.0 } else { *value }),
        Value::Text(_) | Value::Decimal(_) | Value::Date(_) | Value::Timestamp(_) => Cell::Text(value.text()),
    }
}
