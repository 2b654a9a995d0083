//! A project, opened: what the commands and other programs call.

use std::{path::Path, sync::Arc, time::Duration};

use qetl_core::{Flow, Registry, project::EngineName};
use qetl_datafusion::{DataFusionEngine, Settings, Tuning};
use qetl_runtime::{
    Engine, RunError, RunReport, Workspace,
    progress::Progress,
    run::{self, Planned},
    waiting::Request,
};

use crate::time::parse_time;

/// A project and the engine that its settings name.
pub struct Project {
    pub workspace: Workspace,
    pub engine: Arc<dyn Engine>,
}

/// What a flow would do, ready to be executed.
#[derive(Debug)]
pub struct PlannedRun {
    flow: Flow,
    request: Request,
    pub planned: Planned,
}

impl PlannedRun {
    /// The batches that would be executed, ascending.
    pub fn batch_ids(&self) -> Vec<i64> {
        self.planned.jobs.iter().map(|job| job.batch_id).collect()
    }
}

impl Project {
    /// Opens the project of a folder, or the nearest one upward from the current folder.
    pub fn open(folder: Option<&Path>, profile: Option<&str>, registry: &Registry) -> Result<Self, RunError> {
        let workspace = Workspace::open(folder, profile, registry)?;
        let engine = open_engine(&workspace)?;
        Ok(Self { workspace, engine })
    }

    /// Works out what a flow would do: one batch, or all that waits. The date is that of the execution, now without it.
    pub async fn plan(&self, flow: &str, batch_id: Option<i64>, execution_date: Option<&str>) -> Result<PlannedRun, RunError> {
        let execution_date = execution_date.map(parse_time).transpose()?;
        let request = Request { batch_id, execution_date, ..Request::default() };
        let flow = self.workspace.flows(&[flow.to_owned()])?[0].clone();
        let planned = run::plan_flow(&*self.engine, &flow, &self.workspace.good_flows(), &self.workspace.roots(), &request).await?;
        Ok(PlannedRun { flow, request, planned })
    }

    /// Executes a plan; what has changed since it was made is seen again first.
    pub async fn execute(&self, plan: &PlannedRun) -> Result<RunReport, RunError> {
        let flows = [&plan.flow];
        let all = self.workspace.good_flows();
        run::execute(&*self.engine, &flows, &all, &self.workspace.roots(), &plan.request, Duration::ZERO, &Progress::silent()).await
    }
}

/// The engine that the project's settings name.
fn open_engine(workspace: &Workspace) -> Result<Arc<dyn Engine>, RunError> {
    let choice = &workspace.project.engine;
    match choice.name.value {
        EngineName::Datafusion => {
            let settings = Settings {
                location: workspace.location(),
                catalog: workspace.catalog(),
                memory_limit: choice.memory_bytes(),
                threads: choice.threads as usize,
                tuning: Tuning::USUAL,
            };
            Ok(Arc::new(DataFusionEngine::open(&settings)))
        }
        EngineName::Duckdb | EngineName::Sqlite | EngineName::Postgres | EngineName::Mysql => qetl_engines::open(choice, &workspace.root),
    }
}
