//! The files of `slt/`, which every engine answers alike: sqllogictest's format, in which some statements are none of SQL.
//!
//! | statement | does |
//! | --- | --- |
//! | `FLOW`, then a flow file | makes a project of it |
//! | `CHANGE`, then a flow file | it is the project's flow from now on |
//! | `BATCH 3`, then lines of CSV | executes the flow on these rows as that batch; its row is the status |
//! | `BATCH 3 AT 2024-01-03` | the same with an execution date |
//! | `AGAIN 3` | executes that batch again, from the files that it was read from |
//! | `FILE data/x.csv`, then lines | writes a file of the project |
//! | `REMOVE data/x.csv` | removes it |
//! | `EXECUTE` | executes what waits; its row is the status |
//! | `REFRESH` | derives everything again |
//! | `VERIFY` | checks the flows' invariants |
//!
//! All else is asked of the engine as a query. NULL is `NULL`, an empty text `(empty)`. `skipif ENGINE` needs its reason in a
//! comment.

use std::{fmt, path::Path};

use async_trait::async_trait;
use chrono::NaiveDate;
use proptest::test_runner::TestCaseError;
use qetl_runtime::{RunError, waiting::Request};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::{
    place::Place,
    project::TestProject,
    search::{Places, runtime},
};

/// Asks an engine everything, in a database for each file.
pub fn ask(places: Places<'_>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|file| {
            let place = places();
            let mut runner = Runner::new(|| async { Ok(Asked { place: place.clone(), project: None, batches: 0 }) });
            runtime().block_on(runner.run_file_async(file)).err().map(|error| format!("{}: {error}", place.engine))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

struct Asked {
    place: Place,
    project: Option<TestProject>,
    batches: usize,
}

#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl From<RunError> for Refused {
    fn from(error: RunError) -> Self {
        Refused(error.to_string())
    }
}

impl From<TestCaseError> for Refused {
    fn from(error: TestCaseError) -> Self {
        Refused(error.to_string())
    }
}

impl Asked {
    fn project(&self) -> Result<&TestProject, Refused> {
        self.project.as_ref().ok_or_else(|| Refused("there is no FLOW yet".to_owned()))
    }

    async fn batch(&mut self, what: &str, rows: &str) -> Result<String, Refused> {
        let (id, date) = what.split_once(" AT ").map_or((what, None), |(id, date)| (id, Some(date)));
        let batch_id = Some(id.parse().map_err(|_| Refused(format!("`{id}` is no batch")))?);
        let midnight = |date: &str| date.parse::<NaiveDate>().map(|date| i64::from(date.to_epoch_days()) * 86_400_000_000);
        let execution_date = date.map(midnight).transpose().map_err(|why| Refused(why.to_string()))?;
        self.batches += 1;
        let inputs = self.project()?.write(&format!("batch_{}", self.batches), &[format!("{rows}\n")]);
        self.execute(Request { batch_id, inputs, execution_date, ..Request::default() }).await
    }

    async fn execute(&self, request: Request) -> Result<String, Refused> {
        let report = self.project()?.execute(&request).await?;
        let flow = &report.flows[0];
        match flow.error.as_ref().or(flow.batches.iter().find_map(|batch| batch.error.as_ref())) {
            Some(error) => Err(Refused(error.message.clone())),
            None => Ok(flow.batches.first().map_or(flow.status, |batch| batch.status).name().to_owned()),
        }
    }
}

fn status(status: String) -> DBOutput<DefaultColumnType> {
    DBOutput::Rows { types: vec![DefaultColumnType::Text], rows: vec![vec![status]] }
}

#[async_trait]
impl AsyncDB for Asked {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, text: &str) -> Result<DBOutput<DefaultColumnType>, Refused> {
        let (first, rest) = text.trim().split_once('\n').unwrap_or((text.trim(), ""));
        let done = DBOutput::StatementComplete(0);
        match first.split_once(' ').unwrap_or((first, "")) {
            ("FLOW", "") => {
                self.project = Some(TestProject::new(self.place.clone(), rest));
                Ok(done)
            }
            ("BATCH", what) => Ok(status(self.batch(what, rest).await?)),
            ("CHANGE", "") => {
                let project = self.project.take().ok_or_else(|| Refused("there is no FLOW yet".to_owned()))?;
                self.project = Some(project.and("flow", rest));
                Ok(done)
            }
            ("AGAIN", id) => {
                let batch_id = Some(id.parse().map_err(|_| Refused(format!("`{id}` is no batch")))?);
                Ok(status(self.execute(Request { batch_id, ..Request::default() }).await?))
            }
            ("FILE", path) => {
                let path = self.project()?.folder.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                // Nobody could tell by its time that a file was written over within the grain of the clock; by its inode they can.
                let _ = std::fs::remove_file(&path);
                std::fs::write(path, format!("{rest}\n")).unwrap();
                Ok(done)
            }
            ("REMOVE", path) => {
                std::fs::remove_file(self.project()?.folder.path().join(path)).unwrap();
                Ok(done)
            }
            ("EXECUTE", "") => Ok(status(self.execute(Request::default()).await?)),
            ("REFRESH", "") => {
                self.project()?.refresh().await?;
                Ok(done)
            }
            ("VERIFY", "") => {
                self.project()?.verified().await?;
                Ok(done)
            }
            _ => {
                let found = self.project()?.asked(text).await?;
                let cell = |cell: Option<String>| match cell.as_deref() {
                    None => "NULL".to_owned(),
                    Some("") => "(empty)".to_owned(),
                    Some(text) => text.to_owned(),
                };
                let rows: Vec<Vec<String>> = found.into_iter().map(|row| row.into_iter().map(cell).collect()).collect();
                let types = vec![DefaultColumnType::Any; rows.first().map_or(0, Vec::len)];
                Ok(DBOutput::Rows { types, rows })
            }
        }
    }

    async fn shutdown(&mut self) {
        self.project = None;
    }

    fn engine_name(&self) -> &str {
        self.place.engine
    }
}
