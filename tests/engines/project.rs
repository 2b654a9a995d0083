//! A project in a temporary folder, on one of the databases.
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
use qetl_runtime::{Engine, RunError, RunReport, Workspace, progress::Progress, run, waiting::Request};
use qetl_test_models::text::{TextRow, float_text};
use tempfile::TempDir;

use crate::server::Place;

/// A temporary folder, in memory where the system has such a place: nothing here outlives the test.
pub(crate) fn temporary() -> TempDir {
    match fs::metadata("/dev/shm") {
        Ok(meta) if meta.is_dir() => TempDir::new_in("/dev/shm").unwrap(),
        _ => TempDir::new().unwrap(),
    }
}

pub(crate) struct TestProject {
    pub(crate) folder: TempDir,
    pub(crate) workspace: Workspace,
    pub(crate) engine: Arc<dyn Engine>,
    /// Its own database: gone with the project.
    pub(crate) place: Place,
}

impl TestProject {
    /// A project with one flow.
    pub(crate) fn new(place: Place, flow: &str) -> Self {
        let folder = temporary();
        for name in ["flows", "data", "inbox"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("flows/flow.toml"), flow).unwrap();
        fs::write(folder.path().join("qetl.toml"), place.settings()).unwrap();
        let (workspace, engine) = Self::open(folder.path());
        Self { folder, workspace, engine, place }
    }

    /// The project of a folder.
    pub(crate) fn open(folder: &Path) -> (Workspace, Arc<dyn Engine>) {
        let workspace = Workspace::open(Some(folder), None, &qetl_plugins::registry()).unwrap_or_else(|error| panic!("{error}"));
        let choice = &workspace.project.engine;
        let engine = qetl_engines::open(choice.name.value, &choice.config, &workspace.root).unwrap();
        (workspace, engine)
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
        let flows = self.workspace.flows(&[])?;
        run::execute(
            &*self.engine,
            &flows,
            &self.workspace.good_flows(),
            &self.workspace.roots(),
            request,
            Duration::ZERO,
            &Progress::silent(),
        )
        .await
    }

    /// Runs the flows once nobody else does.
    pub(crate) async fn run(workspace: &Workspace, engine: &dyn Engine, request: &Request) -> Result<RunReport, RunError> {
        let (flows, wait) = (workspace.flows(&[])?, Duration::from_secs(30));
        run::execute(engine, &flows, &workspace.good_flows(), &workspace.roots(), request, wait, &Progress::silent()).await
    }

    /// The rows of a query, in its order.
    pub(crate) async fn ordered(&self, sql: &str) -> Vec<TextRow> {
        let rows = self.engine.query(sql, None).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        let batches: Vec<RecordBatch> = rows.stream.try_collect().await.unwrap();
        batches.iter().flat_map(texts).collect()
    }

    /// The rows of a query, sorted: row sets compare as multisets.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<TextRow> {
        let mut rows = self.ordered(sql).await;
        rows.sort();
        rows
    }

    /// The rows of a dataset, sorted.
    pub(crate) async fn dataset(&self, columns: &[String], dataset: &str) -> Vec<TextRow> {
        let columns: Vec<String> = columns.iter().map(|column| self.place.quoted(column)).collect();
        self.rows(&format!("SELECT {} FROM {dataset}", columns.join(", "))).await
    }
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
