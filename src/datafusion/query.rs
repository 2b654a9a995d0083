//! SQL over the datasets of one version, and over qetl's own records.
#![expect(clippy::wildcard_enum_match_arm, reason = "the engine's errors are many, and most stay as they are")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{Field, Schema as ArrowSchema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, SchemaProvider, TableProvider},
    datasource::{MemTable, ViewTable},
    error::{DataFusionError, Result as PlanResult},
    execution::context::SQLOptions,
    prelude::SessionContext,
    sql::{parser::Statement, sqlparser::ast},
};
use futures::StreamExt;
use qetl_core::{Column, DatasetName, schema::Schema, standard::Rendered};
use qetl_ingest::arrow_type;
use qetl_runtime::{RunError, engine::Rows};

use crate::{
    author::{self, Wrong, deep},
    calendar,
    catalog::{BatchRange, Catalog, CatalogTable, Snapshot, word_type},
    error,
    scan::PinnedTable,
    stage::ROW_HASH,
    staging::external,
    tasks,
};

/// Stands in a view's SQL for the name that the catalog is attached under.
pub(crate) const CATALOG_PLACEHOLDER: &str = "{DUCKLAKE_CATALOG}";

/// The one catalog of a session.
const CATALOG: &str = "warehouse";

/// The schema of qetl's own records.
const RECORDS: &str = "qetl";

pub(crate) fn arrow_schema(schema: &Schema) -> SchemaRef {
    Arc::new(ArrowSchema::new(
        schema.columns().iter().map(|column| Field::new(&column.name, arrow_type(column.ty), true)).collect::<Vec<_>>(),
    ))
}

/// A table's columns for people: the engine's own one is left out.
pub(crate) fn columns(table: &CatalogTable) -> Vec<Column> {
    let own = table.columns.iter().filter(|column| column.name != ROW_HASH);
    own.filter_map(|column| Some(Column::new(&column.name, word_type(&column.ty)?))).collect()
}

/// Runs a query that may only read.
pub(crate) async fn run(catalog: &Catalog, snapshot: Snapshot, session: SessionContext, sql: &str) -> Result<Rows, RunError> {
    author::register(&session);
    calendar::register(&session, chrono::Utc::now().timestamp_micros()).map_err(error::engine)?;
    session.register_catalog(CATALOG, Arc::new(Warehouse { catalog: catalog.clone(), snapshot, session: session.clone() }));
    let frame = match deep(async { is_query(&session, sql) }).await {
        true => {
            let rendered = Rendered::plain("query", sql);
            let target = DatasetName { namespace: String::new(), name: String::new() };
            let statement = tasks::statement(&rendered, &target).map_err(|problems| {
                match problems.0.iter().any(|problem| problem.code == "qetl::sql::several_statements") {
                    true => RunError::usage("a query is a single statement", "run `qetl query` once for each"),
                    false => problems.into(),
                }
            })?;
            let plan = author::plan_only(&session, &rendered, &statement).await.map_err(|wrong| match wrong {
                Wrong::Name(problem) | Wrong::Other(problem) => rendered.placed(problem.into()).into(),
                Wrong::Engine(why) => error::engine(why),
            })?;
            deep(session.execute_logical_plan(plan)).await.map_err(error::engine)?
        }
        false => {
            let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
            session.sql_with_options(sql, read_only).await.map_err(explain)?
        }
    };
    let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
    let stream = deep(frame.execute_stream()).await.map_err(error::engine)?;
    Ok(Rows { schema, stream: stream.map(|batch| batch.map_err(error::engine)).boxed() })
}

/// Whether the text is a query, or none that can be read: others, such as EXPLAIN, stand for themselves.
fn is_query(session: &SessionContext, sql: &str) -> bool {
    let state = session.state();
    let Ok(statement) = state.sql_to_statement(sql, &state.config().options().sql_parser.dialect) else { return true };
    matches!(statement, Statement::Statement(inner) if matches!(*inner, ast::Statement::Query(_)))
}

/// A mistake in the text is the user's.
fn explain(mut why: DataFusionError) -> RunError {
    loop {
        why = match why {
            DataFusionError::Context(_, inner) => *inner,
            DataFusionError::Diagnostic(_, inner) => *inner,
            DataFusionError::External(_) => return error::engine(why),
            other => {
                why = other;
                break;
            }
        };
    }
    let text = why.strip_backtrace();
    let writes = ["DDL", "DML", "Statement"].iter().any(|kind| text.contains(&format!("{kind} not supported")));
    RunError::usage(text, if writes { "`qetl query` only reads" } else { "" })
}

/// The datasets of one version. Names are found whatever their case.
struct Warehouse {
    catalog: Catalog,
    snapshot: Snapshot,
    session: SessionContext,
}

impl std::fmt::Debug for Warehouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Warehouse at version {}", self.snapshot.id)
    }
}

impl CatalogProvider for Warehouse {
    fn schema_names(&self) -> Vec<String> {
        let spaces = self.snapshot.tables.keys().chain(self.snapshot.views.keys()).map(|name| name.namespace.clone());
        let all: BTreeSet<String> = spaces.chain(["main".to_owned(), RECORDS.to_owned()]).collect();
        all.into_iter().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let namespace = self.schema_names().into_iter().find(|schema| schema.eq_ignore_ascii_case(name))?;
        let warehouse = Warehouse { catalog: self.catalog.clone(), snapshot: self.snapshot.clone(), session: self.session.clone() };
        Some(Arc::new(Namespace { warehouse, namespace }))
    }
}

#[derive(Debug)]
struct Namespace {
    warehouse: Warehouse,
    namespace: String,
}

impl Namespace {
    fn find<'a, T>(&self, datasets: &'a BTreeMap<DatasetName, T>, name: &str) -> Option<&'a T> {
        datasets
            .iter()
            .find(|(known, _)| known.namespace == self.namespace && known.name.eq_ignore_ascii_case(name))
            .map(|(_, found)| found)
    }
}

#[async_trait]
impl SchemaProvider for Namespace {
    fn table_names(&self) -> Vec<String> {
        let snapshot = &self.warehouse.snapshot;
        let all = snapshot.tables.keys().chain(snapshot.views.keys());
        all.filter(|name| name.namespace == self.namespace).map(|name| name.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        let Warehouse { catalog, snapshot, session } = &self.warehouse;
        if self.namespace == RECORDS {
            return Ok(records(catalog, name)?.map(|table| Arc::new(table) as Arc<dyn TableProvider>));
        }
        if let Some(table) = self.find(&snapshot.tables, name) {
            let schema = arrow_schema(&Schema::new(columns(table)).unwrap_or_default());
            let files = catalog.files(snapshot.id, table, BatchRange::All, Some("xt_record_type")).map_err(external)?;
            let files = files.into_iter().map(|(_, file)| file).collect();
            return Ok(Some(Arc::new(PinnedTable::new(schema, files, Some("xt_record_type")))));
        }
        let Some(view) = self.find(&snapshot.views, name) else { return Ok(None) };
        // The text is the catalog's, which is as trusted as the data.
        let plan = Box::pin(session.state().create_logical_plan(&view.sql.replace(CATALOG_PLACEHOLDER, CATALOG))).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.clone())))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known.eq_ignore_ascii_case(name))
            || (self.namespace == RECORDS && RECORD_TABLES.contains(&format!("{RECORDS}.{}", name.to_lowercase()).as_str()))
    }
}

/// What `qetl.…` can name.
const RECORD_TABLES: [&str; 4] = ["qetl.batches", "qetl.files", "qetl.runs", "qetl.versions"];

/// One of qetl's records as a table.
fn records(catalog: &Catalog, name: &str) -> PlanResult<Option<MemTable>> {
    let sql = match name.to_lowercase().as_str() {
        "batches" => {
            "SELECT flow, batch_id, generation, run_id, version, row_count AS rows, processed_at, published_at FROM qetl_batches ORDER BY flow, batch_id, generation"
        }
        "files" => {
            "SELECT flow, batch_id, generation, position, path, size, content_hash, loaded_at FROM qetl_files ORDER BY flow, batch_id, generation, position"
        }
        "runs" => {
            "SELECT run_id, flow, batch_id, status, started_at, seconds, row_count AS rows, message FROM qetl_runs ORDER BY started_at"
        }
        "versions" => {
            "SELECT snapshot_id AS version, snapshot_time AS published_at, commit_message AS message FROM ducklake_snapshot JOIN ducklake_snapshot_changes USING (snapshot_id) ORDER BY 1"
        }
        _ => return Ok(None),
    };
    let cells = catalog.rows(sql).map_err(external)?;
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (index, name) in cells.names.iter().enumerate() {
        let column = cells.rows.iter().map(|row| &row[index]);
        let array = column_array(name, column.collect());
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let schema = Arc::new(ArrowSchema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    Ok(Some(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// A record's column by what its name says it holds.
fn column_array(name: &str, cells: Vec<&rusqlite::types::Value>) -> ArrayRef {
    use rusqlite::types::Value;
    let int = |value: &Value| match value {
        Value::Integer(value) => Some(*value),
        Value::Null | Value::Real(_) | Value::Text(_) | Value::Blob(_) => None,
    };
    let is_text = cells.iter().any(|cell| matches!(cell, Value::Text(_)));
    if name.ends_with("_at") && !is_text {
        return Arc::new(cells.into_iter().map(int).collect::<TimestampMicrosecondArray>().with_timezone("UTC"));
    }
    match name {
        "batch_id" | "generation" | "version" | "rows" | "position" | "size" => {
            Arc::new(cells.into_iter().map(int).collect::<Int64Array>())
        }
        "seconds" => {
            let real = |value: &Value| match value {
                Value::Real(value) => Some(*value),
                Value::Integer(value) => Some(*value as f64),
                Value::Null | Value::Text(_) | Value::Blob(_) => None,
            };
            Arc::new(cells.into_iter().map(real).collect::<Float64Array>())
        }
        _ => {
            let text = |value: &Value| match value {
                Value::Text(text) => Some(text.clone()),
                Value::Null | Value::Integer(_) | Value::Real(_) | Value::Blob(_) => None,
            };
            Arc::new(cells.into_iter().map(text).collect::<StringArray>())
        }
    }
}
