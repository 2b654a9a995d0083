//! What a run would do with a flow, worked out before it does it.

use std::sync::Arc;

use qetl_core::{
    DatasetName, Flow, Plan, Problems,
    plan::{self, Dataset, DatasetKind},
    standard::StandardFlow,
};
use qetl_ingest::SourceFile;

use super::blocking;
use crate::{
    engine::Engine,
    error::{Place, RunError},
    had,
    records::FlowRecords,
    rules,
    source::{self, Source},
    standard::{self, Known, PlannedStandard, StandardJob},
    times, types,
    waiting::{self, Job, JobInput, Request, Roots},
};

/// What a flow would do now.
#[derive(Debug, Clone)]
pub struct Planned {
    pub plan: Arc<Plan>,
    pub jobs: Vec<Job>,
    pub records: FlowRecords,
    /// What keeps the flow from running, although its file is right.
    pub obstacles: Problems,
    /// What is worth knowing before it runs.
    pub notes: Vec<String>,
    /// The tasks, of a standard flow.
    pub standard: Option<Box<PlannedStandard>>,
    /// The dataset that is read instead of files.
    pub source: Option<Source>,
}

/// Works out what `execute` would do now with a flow of a project. Reads data only to infer types that are not known.
pub async fn plan_flow(engine: &dyn Engine, flow: &Flow, project: &[&Flow], roots: &Roots, request: &Request) -> Result<Planned, RunError> {
    let place = Place::flow(flow.id());
    if let Some(tasks) = flow.standard() {
        return plan_standard(engine, flow, &tasks, project, roots, request).await.map_err(|error| error.at(&place));
    }
    let mut records = engine.records(flow.id()).await.map_err(|error| error.at(&place))?;
    let mut obstacles = types::twins(flow, &records);
    if !request.full_refresh {
        obstacles.append(types::shape_changes(flow, &records));
    }
    let source = source::find(engine, flow, project, &Known::new()).await.map_err(|error| error.at(&place))?;
    let types = types::known(flow, &records);
    let (jobs, input, mut notes) = match &source {
        Some(source) => {
            let jobs = source.jobs(flow, &records, request).map_err(|error| error.at(&place))?;
            let absent = || format!("nothing of `{}` is published yet: flow `{}` makes it", source.dataset, source.maker);
            let notes: Vec<String> = source.batches.is_empty().then(absent).into_iter().collect();
            (jobs, types::brought(flow, types, source.columns.as_deref().unwrap_or_default()), notes)
        }
        None => {
            let (jobs, missed) = waiting::jobs(flow, roots, &records, request).map_err(|error| error.at(&place))?;
            obstacles.append(missed);
            let files: Vec<SourceFile> = jobs.iter().flat_map(Job::read_files).map(|file| file.source.clone()).collect();
            let owned = flow.clone();
            let is_open = |name: &str| records.columns.iter().any(|old| old.name == name && old.details.open);
            let (input, notes) = match types::asks_for_types(&types, is_open) {
                true => blocking(move || types::infer(&owned, types, &files)).await.map_err(|error| error.at(&place))?,
                false => (types, Vec::new()),
            };
            (jobs, input, notes)
        }
    };
    let of_types = notes.clone();
    let ids = records.batches.iter().map(|batch| batch.batch_id).chain(jobs.iter().map(|job| job.batch_id));
    obstacles.append(times::obstacles(flow, ids));
    notes.extend(types::column_changes(flow, &input, &records));
    let plan = Arc::new(plan::expand(flow, input).map_err(|problems| with_notes(problems, &of_types))?);
    had::find(engine, flow, &plan, &mut records, request.full_refresh).await.map_err(|error| error.at(&place))?;
    // A full refresh makes anew what is derived.
    let needed = |dataset: &&Dataset| dataset.is_stored() && (!request.full_refresh || matches!(dataset.kind, DatasetKind::Landing));
    let needed: Vec<DatasetName> = plan.datasets.iter().filter(needed).map(|dataset| dataset.name.clone()).collect();
    engine.refuse_gaps(&needed).await.map_err(|error| error.at(&place))?;
    if !request.full_refresh {
        obstacles.append(rules::outdated(engine, &plan, &records, Vec::new()).await.map_err(|error| error.at(&place))?);
    }
    Ok(Planned { plan, jobs, records, obstacles, notes, standard: None, source })
}

/// Problems of columns' types, with what was seen of these.
fn with_notes(mut problems: Problems, notes: &[String]) -> Problems {
    for problem in problems.0.iter_mut().filter(|problem| problem.code.starts_with("qetl::expand::")) {
        notes.iter().for_each(|note| problem.help.push_str(&format!("; {note}")));
    }
    problems
}

/// A flow's plan as far as it is known without reading data, and the dataset that the flow reads. `datasets`: the columns
/// of those that are known better than from what is stored.
pub(crate) async fn plan_of(
    engine: &dyn Engine,
    flow: &Flow,
    project: &[&Flow],
    records: &FlowRecords,
    datasets: &Known,
) -> Result<(Plan, Option<Source>), RunError> {
    let source = source::find(engine, flow, project, datasets).await?;
    let columns = source.as_ref().and_then(|source| source.columns.as_deref()).unwrap_or_default();
    Ok((plan::expand(flow, types::brought(flow, types::known(flow, records), columns))?, source))
}

async fn plan_standard(
    engine: &dyn Engine,
    flow: &Flow,
    tasks: &StandardFlow,
    project: &[&Flow],
    roots: &Roots,
    request: &Request,
) -> Result<Planned, RunError> {
    let planned = standard::prepare(engine, flow, tasks, project, roots, request).await?;
    let job = |job: &StandardJob| Job { batch_id: job.batch_id, input: JobInput::Files(job.all_files()), replay: job.replay };
    Ok(Planned {
        plan: Arc::new(planned.plan(flow)?),
        jobs: planned.jobs.iter().map(job).collect(),
        records: FlowRecords::default(),
        obstacles: planned.obstacles.clone(),
        notes: planned.notes(),
        standard: Some(Box::new(planned)),
        source: None,
    })
}
