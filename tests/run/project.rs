//! A project in a temporary folder, run through the library.
#![expect(clippy::wildcard_enum_match_arm, reason = "Arrow has many types, and all but floats are written by Arrow's own formatter")]

use std::{fs, path::PathBuf, time::Duration};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Float64Type},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt;
use qetl::Project;
use qetl_runtime::{RunError, RunReport, progress::Progress, run, waiting::Request};
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
        let flows = self.project.workspace.flows(&[])?;
        run::execute(&*self.project.engine, &flows, &self.project.workspace.roots(), request, Duration::ZERO, &Progress::silent()).await
    }

    pub(crate) fn flow(&self) -> qetl_core::Flow {
        self.project.workspace.flows(&[]).unwrap()[0].clone()
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
