//! A project in a temporary folder, run through the library.
#![expect(clippy::wildcard_enum_match_arm, reason = "Arrow has many types, and all but floats are written by Arrow's own formatter")]

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt;
use qetl::Project;
use qetl_datafusion::{DataFusionEngine, Settings};
use qetl_runtime::{RunError, RunReport, progress::Progress, run, verify, waiting::Request};
pub(crate) use qetl_test_models::text::{TextRow, float_text};
use tempfile::TempDir;

/// A temporary folder, in memory where the system has such a place: nothing here outlives the test.
pub(crate) fn temporary() -> TempDir {
    match fs::metadata("/dev/shm") {
        Ok(meta) if meta.is_dir() => TempDir::new_in("/dev/shm").unwrap(),
        _ => TempDir::new().unwrap(),
    }
}

pub(crate) struct TestProject {
    pub(crate) folder: TempDir,
    project: Project,
}

impl TestProject {
    /// A project with one flow.
    pub(crate) fn new(flow: &str, settings: &str) -> Self {
        let folder = temporary();
        fs::create_dir(folder.path().join("flows")).unwrap();
        // Batches are named with `--input`, from another folder than the one that the flow watches.
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::create_dir(folder.path().join("inbox")).unwrap();
        fs::write(folder.path().join("flows/flow.toml"), flow).unwrap();
        fs::write(folder.path().join("qetl.toml"), settings).unwrap();
        let project = Project::open(Some(folder.path()), None, &qetl_plugins::registry()).unwrap_or_else(|error| panic!("{error}\n{flow}"));
        Self { folder, project }
    }

    /// The same, but up to this share of a file's rows are deleted one by one: a tenth of a small table is nothing.
    pub(crate) fn with_deletes(flow: &str, threads: usize, most_deleted: f64) -> Self {
        let mut project = Self::new(flow, "");
        let workspace = &project.project.workspace;
        let settings = Settings {
            location: workspace.location(),
            catalog: workspace.catalog(),
            memory_limit: workspace.project.memory_limit(),
            threads,
            most_deleted,
        };
        project.project.engine = Arc::new(DataFusionEngine::open(&settings));
        project
    }

    /// How many files of deletes were ever published.
    pub(crate) fn delete_files(&self) -> usize {
        let catalog = rusqlite::Connection::open(self.folder.path().join("warehouse/catalog.sqlite")).unwrap();
        catalog.query_row("SELECT count(*) FROM ducklake_delete_file", (), |row| row.get(0)).unwrap()
    }

    /// The same with one more flow.
    pub(crate) fn and(mut self, name: &str, flow: &str) -> Self {
        fs::write(self.folder.path().join(format!("flows/{name}.toml")), flow).unwrap();
        let open = Project::open(Some(self.folder.path()), None, &qetl_plugins::registry());
        self.project = open.unwrap_or_else(|error| panic!("{error}\n{flow}"));
        self
    }

    /// Writes files of a batch, and names them.
    pub(crate) fn write(&self, name: &str, texts: &[String]) -> Vec<PathBuf> {
        let one = |(index, text): (usize, &String)| {
            let path = self.folder.path().join(format!("inbox/{name}_{index}.csv"));
            fs::write(&path, text).unwrap();
            path
        };
        texts.iter().enumerate().map(one).collect()
    }

    pub(crate) async fn execute(&self, request: &Request) -> Result<RunReport, RunError> {
        self.execute_some(&[], request).await
    }

    /// Executes the flows of these ids.
    pub(crate) async fn execute_some(&self, ids: &[String], request: &Request) -> Result<RunReport, RunError> {
        self.executed(ids, request, &Progress::silent()).await
    }

    pub(crate) async fn execute_told(&self, request: &Request, progress: &Progress) -> Result<RunReport, RunError> {
        self.executed(&[], request, progress).await
    }

    async fn executed(&self, ids: &[String], request: &Request, progress: &Progress) -> Result<RunReport, RunError> {
        let (flows, all, roots) = (self.project.workspace.flows(ids)?, self.project.workspace.good_flows(), self.project.workspace.roots());
        run::execute(&*self.project.engine, &flows, &all, &roots, request, Duration::ZERO, progress).await
    }

    pub(crate) fn flow(&self) -> qetl_core::Flow {
        self.project.workspace.flows(&[]).unwrap()[0].clone()
    }

    /// Whether the flow's invariants hold on what is stored.
    pub(crate) async fn verified(&self) -> Result<(), String> {
        let found = verify::verify(&*self.project.engine, &self.flow()).await.map_err(|error| error.to_string())?;
        if found.holds() { Ok(()) } else { Err(format!("an invariant does not hold: {found:#?}")) }
    }

    /// The rows of a query, sorted: row sets compare as multisets.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<TextRow> {
        let rows = self.project.engine.query(sql, None).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        let batches: Vec<RecordBatch> = rows.stream.try_collect().await.unwrap();
        let mut rows: Vec<TextRow> = batches.iter().flat_map(texts).collect();
        rows.sort();
        rows
    }
}

/// The share of deleted rows for the `n`th kind of history: none in files as small as these, some, all.
pub(crate) fn most_deleted(n: usize) -> f64 {
    [1.0, 0.5, Settings::MOST_DELETED][n % 3]
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
