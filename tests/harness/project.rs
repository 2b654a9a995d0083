//! A project in a temporary folder, run through the library.
#![expect(clippy::wildcard_enum_match_arm, reason = "Arrow has many types, and all but floats are written by Arrow's own formatter")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt;
use proptest::test_runner::TestCaseError;
use qetl_core::Flow;
use qetl_runtime::{Engine, RunError, RunReport, Workspace, engine::Rows, progress::Progress, run, verify, waiting::Request};
use qetl_test_models::{
    tables::TextTable,
    text::{TextRow, float_text},
};
use tempfile::TempDir;

use crate::{
    place::Place,
    search::{equal, failed},
};

/// A temporary folder, in memory where the system has such a place: nothing here outlives the test.
pub fn temporary() -> TempDir {
    match fs::metadata("/dev/shm") {
        Ok(meta) if meta.is_dir() => TempDir::new_in("/dev/shm").unwrap(),
        _ => TempDir::new().unwrap(),
    }
}

pub struct TestProject {
    pub folder: TempDir,
    pub workspace: Workspace,
    pub engine: Arc<dyn Engine>,
    pub place: Place,
}

impl TestProject {
    /// A project with one flow.
    pub fn new(place: Place, flow: &str) -> Self {
        let folder = temporary();
        // Batches are named with `--input`, from another folder than the one that the flow watches.
        for name in ["flows", "data", "inbox"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("flows/flow.toml"), flow).unwrap();
        fs::write(folder.path().join("qetl.toml"), &place.settings).unwrap();
        let workspace = workspace(folder.path());
        Self { folder, engine: (place.open)(&workspace), workspace, place }
    }

    /// The same with one more flow, or another one.
    pub fn and(mut self, name: &str, flow: &str) -> Self {
        fs::write(self.folder.path().join(format!("flows/{name}.toml")), flow).unwrap();
        self.workspace = workspace(self.folder.path());
        self.engine = (self.place.open)(&self.workspace);
        self
    }

    /// Writes files of a batch, and names them.
    pub fn write(&self, name: &str, texts: &[String]) -> Vec<PathBuf> {
        let one = |(index, text): (usize, &String)| {
            let path = self.folder.path().join(format!("inbox/{name}_{index}.csv"));
            fs::write(&path, text).unwrap();
            path
        };
        texts.iter().enumerate().map(one).collect()
    }

    pub fn flow(&self) -> Flow {
        self.workspace.flows(&[]).unwrap()[0].clone()
    }

    pub async fn execute(&self, request: &Request) -> Result<RunReport, RunError> {
        self.execute_some(&[], request).await
    }

    /// Executes the flows of these ids.
    pub async fn execute_some(&self, ids: &[String], request: &Request) -> Result<RunReport, RunError> {
        execute(&self.workspace, &*self.engine, ids, request, Duration::ZERO, &Progress::silent()).await
    }

    pub async fn execute_told(&self, request: &Request, progress: &Progress) -> Result<RunReport, RunError> {
        execute(&self.workspace, &*self.engine, &[], request, Duration::ZERO, progress).await
    }

    /// Executes once nobody else does.
    pub async fn execute_in_turn(&self, request: &Request) -> Result<RunReport, RunError> {
        execute(&self.workspace, &*self.engine, &[], request, Duration::from_secs(30), &Progress::silent()).await
    }

    /// Derives everything again, which must go through.
    pub async fn refresh(&self) -> Result<(), TestCaseError> {
        let report = self.execute(&Request { full_refresh: true, ..Request::default() }).await.map_err(failed)?;
        match report.flows.iter().find_map(|flow| flow.error.as_ref().or(flow.batches.iter().find_map(|batch| batch.error.as_ref()))) {
            Some(error) => Err(failed(format!("the full refresh: {}", error.message))),
            None => Ok(()),
        }
    }

    /// Whether the flow's invariants hold on what is stored, as far as the engine can be asked.
    pub async fn verified(&self) -> Result<(), TestCaseError> {
        match verify::verify(&*self.engine, &self.flow()).await {
            Ok(found) if found.holds() => Ok(()),
            Ok(found) => Err(failed(format!("an invariant does not hold: {found:#?}"))),
            Err(error) if self.place.may_refuse(&error.to_string()) => Ok(()),
            Err(error) => Err(failed(format!("verify: {error}"))),
        }
    }

    /// The rows of a query, in its order.
    pub async fn ordered(&self, sql: &str) -> Vec<TextRow> {
        self.asked(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// The same, if it is a query.
    pub async fn asked(&self, sql: &str) -> Result<Vec<TextRow>, RunError> {
        let rows = self.engine.query(sql, None).await?;
        let batches: Vec<RecordBatch> = rows.stream.try_collect().await?;
        Ok(batches.iter().flat_map(texts).collect())
    }

    /// The rows of a query, sorted: row sets compare as multisets.
    pub async fn rows(&self, sql: &str) -> Vec<TextRow> {
        let mut rows = self.ordered(sql).await;
        rows.sort();
        rows
    }

    /// Whether the datasets are as the model has them.
    pub async fn has(&self, tables: &[TextTable]) -> Result<(), TestCaseError> {
        for TextTable { dataset, columns, rows } in tables {
            let quoted: Vec<String> = columns.iter().map(|column| self.place.quoted(column)).collect();
            let sql = format!("SELECT {} FROM {dataset}", quoted.join(", "));
            let mut found = match self.asked(&sql).await {
                Ok(rows) => rows,
                Err(error) => self.of_stored(dataset, columns).await.unwrap_or_else(|| panic!("{error}: {sql}")),
            };
            found.sort();
            equal(dataset, &found, rows)?;
        }
        Ok(())
    }

    /// The rows of a dataset that lacks some of the columns: one that its flow has got is not stored before a batch is published
    /// that has it. `None` if it lacks none.
    async fn of_stored(&self, dataset: &str, columns: &[String]) -> Option<Vec<TextRow>> {
        let Rows { schema, stream } = self.engine.query(&format!("SELECT * FROM {dataset}"), None).await.ok()?;
        let places: Vec<Option<usize>> = columns.iter().map(|column| schema.index_of(column).ok()).collect();
        places.contains(&None).then_some(())?;
        let batches: Vec<RecordBatch> = stream.try_collect().await.ok()?;
        let row = |row: TextRow| places.iter().map(|place| place.and_then(|place| row[place].clone())).collect();
        Some(batches.iter().flat_map(texts).map(row).collect())
    }
}

/// The project of a folder.
pub fn workspace(folder: &Path) -> Workspace {
    Workspace::open(Some(folder), None, &qetl_plugins::registry()).unwrap_or_else(|error| panic!("{error}"))
}

/// Executes the flows of these ids; all without any.
pub async fn execute(
    workspace: &Workspace,
    engine: &dyn Engine,
    ids: &[String],
    request: &Request,
    wait: Duration,
    progress: &Progress,
) -> Result<RunReport, RunError> {
    run::execute(engine, &workspace.flows(ids)?, &workspace.good_flows(), &workspace.roots(), request, wait, progress).await
}

fn texts(batch: &RecordBatch) -> Vec<TextRow> {
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"));
    let formatters: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let cell = |column: usize, row: usize| {
        let array = batch.column(column);
        (!array.is_null(row)).then(|| match array.data_type() {
            DataType::Float64 => float_text(array.as_primitive::<Float64Type>().value(row)),
            _ => formatters[column].value(row).to_string(),
        })
    };
    (0..batch.num_rows()).map(|row| (0..batch.num_columns()).map(|column| cell(column, row)).collect()).collect()
}
