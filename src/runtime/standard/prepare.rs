//! What a standard flow would do now.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use qetl_core::{
    DatasetName, Flow, Plan, Problems,
    plan::{self, Dag, DagNode, Dataset, DatasetKind, InputType},
    schema::Schema,
    standard::{SourceScope, StandardFlow, StandardTask, TaskWork, WriteMode},
};
use qetl_ingest::SourceFile;
use serde_json::Value;

use super::{
    bench::{Known, KnownColumns},
    check::{self, Keeping, Read, TaskText},
    files::{Finder, StandardJob, empty_job},
    kept, known,
    reads::{ForeignRead, Reads},
    types, work,
};
use crate::{
    Engine, RunError,
    records::FlowRecords,
    rules,
    run::blocking,
    waiting::{Request, Roots, micros},
};

/// A standard flow's tasks and the batches that it would execute.
#[derive(Debug, Clone)]
pub struct PlannedStandard {
    /// With the datasets that its SQL reads; its tasks in order.
    pub flow: StandardFlow,
    pub tasks: Vec<PlannedTask>,
    /// Ascending.
    pub jobs: Vec<StandardJob>,
    /// Why there is work, when not for new files alone.
    pub reasons: Vec<String>,
    /// What stays as it was, although the text or the variables are others now.
    pub changes: Vec<String>,
    /// Datasets of other flows that are not there yet.
    pub absent: Problems,
    /// What keeps the flow from running, although its file is right.
    pub obstacles: Problems,
    /// What is worth knowing before it runs.
    pub notes: Vec<String>,
    pub(super) records: FlowRecords,
    /// Which batches of other flows' datasets belong to which batch.
    pub(super) reads: Reads,
    pub(super) keeping: Keeping,
    /// The columns of each ingestion, by the task's id.
    pub(super) inputs: BTreeMap<String, Vec<InputType>>,
    /// What a batch will be recorded with.
    pub(super) shape: Value,
    pub(super) warnings: Problems,
}

/// A task as it would run.
#[derive(Debug, Clone)]
pub struct PlannedTask {
    pub id: String,
    pub task_type: &'static str,
    pub target: DatasetName,
    pub reads: Vec<DatasetName>,
    /// Those of them of which it reads a batch.
    pub by_batch: Vec<DatasetName>,
    /// The path, SQL or script, filled in for the batch that would run last.
    pub text: String,
    /// How its rows stand to what the target holds.
    pub mode: WriteMode,
    /// As far as they are known.
    pub columns: Option<KnownColumns>,
}

/// Works out what the flow would do. Reads data only to infer columns and types that are not known.
pub async fn prepare(
    engine: &dyn Engine,
    flow: &Flow,
    standard: &StandardFlow,
    project: &[&Flow],
    roots: &Roots,
    request: &Request,
) -> Result<PlannedStandard, RunError> {
    let records = engine.records(flow.id()).await?;
    let now = micros(SystemTime::now());
    let next = request.batch_id.unwrap_or_else(|| records.greatest_id().unwrap_or(0) + 1);
    let template = empty_job(next, &records, request, now);
    let (standard, texts, mut warnings) = check::texts(engine, standard, &template.context(engine.quote()))?;

    let foreign: Vec<DatasetName> = standard.foreign_sources().into_iter().map(|source| source.dataset.clone()).collect();
    let keeping = Keeping::new(&texts, kept::foreign(engine, flow.id(), project, &foreign).await?);
    let (read, found) = keeping.all_reads(&standard, &texts);
    let (doubtful, wrong): (Vec<_>, Vec<_>) = found.0.into_iter().partition(|problem| problem.warning);
    warnings.append(Problems(doubtful));
    let rule_changes = keeping.rule_changes(&standard, &texts, &read);
    let known: Vec<DatasetName> = keeping.foreign.keys().cloned().collect();
    let mut problems = standard.missing_sources(&known);
    problems.append(Problems(wrong));
    problems.or(())?;
    let reads = Reads::new(engine, &foreign, &records.batches).await?;
    let shape = shape(flow, request);
    let finder = Finder { flow: &standard, id: flow.id(), roots, records: &records, request, now };
    let (jobs, reasons, missed) = match request.batch_id {
        Some(batch_id) => (vec![finder.named(batch_id)?], Vec::new(), Problems::default()),
        None if !request.inputs.is_empty() => {
            let help = "add `--batch-id N`: the files are the whole content of that batch";
            return Err(RunError::usage("`--input` needs a batch to belong to", help));
        }
        None => {
            let own: Vec<ForeignRead> = read.iter().flat_map(|(task, read)| foreign_reads(&reads, task, read)).collect();
            let published = records.greatest_id().is_some_and(|newest| own.iter().any(|read| reads.is_new(read, newest)));
            let first = reads.are_there(&foreign).then_some(!foreign.is_empty());
            work::waiting(&finder, &shape, published, first)?
        }
    };

    // A full refresh makes anew what is derived.
    let needed = |task: &&StandardTask| !request.full_refresh || matches!(task.work, TaskWork::Ingestion(_));
    let needed: Vec<DatasetName> = standard.tasks.iter().filter(needed).flat_map(StandardTask::makes).collect();
    engine.refuse_gaps(&needed).await?;

    let inputs = inputs(&standard, &jobs, &records).await?;
    let (mut known, absent) = known::foreign(engine, &standard, &foreign, project).await?;
    for task in &standard.tasks {
        if let Some(types) = inputs.get(&task.id.value) {
            known.insert(task.target.clone(), types::landed(types));
            known.extend(task.parked().map(|parked| (parked, types::parked(types))));
        }
    }
    let found = check::tasks(engine, &standard, &texts, known).await?;
    warnings.append(found.warnings);
    let read_by = |task: &StandardTask| read.get(&task.id.value).map(Vec::as_slice).unwrap_or_default();
    let tasks: Vec<PlannedTask> = standard.tasks.iter().map(|task| planned(task, read_by(task), &texts, &found.known)).collect();
    let changes = if jobs.is_empty() || request.full_refresh { Vec::new() } else { work::changes(&records, &shape, &jobs, &tasks) };
    let mut planned = PlannedStandard {
        tasks,
        jobs,
        reasons,
        changes,
        absent,
        obstacles: Problems::default(),
        notes: found.notes,
        reads,
        keeping,
        inputs,
        shape,
        warnings: warnings.in_source(&flow.source),
        flow: standard,
        records,
    };
    if !request.full_refresh {
        planned.obstacles.append(missed.in_source(&flow.source));
        let outdated = rules::outdated(engine, &Arc::new(planned.plan(flow)?), &planned.records, rule_changes).await?;
        planned.obstacles.append(outdated);
    }
    Ok(planned)
}

fn planned(task: &StandardTask, read: &[Read], texts: &BTreeMap<String, TaskText>, known: &Known) -> PlannedTask {
    let text = texts.get(&task.id.value);
    PlannedTask {
        id: task.id.value.clone(),
        task_type: task.task_type().name(),
        target: task.target.clone(),
        reads: task.sources.iter().map(|source| source.dataset.clone()).collect(),
        by_batch: read.iter().filter(|read| read.scope == SourceScope::Batch).map(|read| read.reading.dataset.clone()).collect(),
        text: text.map(|text| text.rendered.text.clone()).unwrap_or_default(),
        mode: text.and_then(|text| text.mode).unwrap_or(WriteMode::ReplaceBatch),
        columns: known.get(&task.target).cloned(),
    }
}

impl PlannedStandard {
    /// The flow's datasets, as far as their columns are known, and how they come from each other.
    pub fn plan(&self, flow: &Flow) -> Result<Plan, Problems> {
        let mut plan = plan::expand(flow, Vec::new())?;
        let node =
            |task: &StandardTask| DagNode { dataset: task.target.clone(), from: task.sources.iter().map(|s| s.dataset.clone()).collect() };
        let parked =
            |task: &StandardTask| Some(DagNode { dataset: task.parked()?, from: task.sources.iter().map(|s| s.dataset.clone()).collect() });
        plan.dag = Dag(self.flow.tasks.iter().flat_map(|task| std::iter::once(node(task)).chain(parked(task))).collect());
        for task in &self.tasks {
            let columns = task.columns.as_ref().map(|known| known.columns.clone()).unwrap_or_default();
            let dataset = Dataset {
                name: task.target.clone(),
                schema: Schema::new(columns).unwrap_or_default(),
                kind: if task.task_type == "ingestion" { DatasetKind::Landing } else { DatasetKind::Derived },
                about: format!("made by task `{}`", task.id),
            };
            if plan.dataset(&dataset.name).is_none() {
                plan.datasets.push(dataset);
            }
        }
        for (task, dataset) in self.flow.tasks.iter().filter_map(|task| Some((task, task.parked()?))) {
            let columns = self.inputs.get(&task.id.value).map(|types| types::parked(types).columns).unwrap_or_default();
            let about = format!("rows that task `{}` sets aside because they do not fit", task.id.value);
            plan.datasets.push(Dataset {
                name: dataset,
                schema: Schema::new(columns).unwrap_or_default(),
                kind: DatasetKind::Derived,
                about,
            });
        }
        plan.warnings.append(self.warnings.clone());
        Ok(plan)
    }

    /// What is worth knowing before it runs. What changed is told once.
    pub fn notes(&self) -> Vec<String> {
        let told = |reason: &&String| !self.changes.iter().any(|change| change.starts_with(reason.as_str()));
        let absent = self.absent.0.iter().map(ToString::to_string);
        self.reasons.iter().filter(told).chain(&self.changes).chain(&self.notes).cloned().chain(absent).collect()
    }

    /// Whether some task keeps one row a key: what it was before a batch is not stored.
    pub(super) fn merges(&self) -> bool {
        self.tasks.iter().any(|task| task.mode == WriteMode::Merge)
    }
}

/// What a task reads of other flows.
pub(super) fn foreign_reads(reads: &Reads, task: &str, read: &[Read]) -> Vec<ForeignRead> {
    let foreign = |read: &Read| ForeignRead { task: task.to_owned(), dataset: reads.name(&read.reading.dataset), scope: read.scope };
    read.iter().filter(|read| !read.reading.own).map(foreign).collect()
}

/// What makes a batch what it is, beside its files and what it reads of other flows: the flow's text, `--var`.
fn shape(flow: &Flow, request: &Request) -> Value {
    let mut shape = flow.shape.clone();
    shape["vars"] = request.vars.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
    shape
}

/// The columns of each ingestion.
async fn inputs(flow: &StandardFlow, jobs: &[StandardJob], records: &FlowRecords) -> Result<BTreeMap<String, Vec<InputType>>, RunError> {
    let mut inputs = BTreeMap::new();
    for task in &flow.tasks {
        let TaskWork::Ingestion(ingestion) = task.work.clone() else { continue };
        let files = jobs.iter().flat_map(|job| job.files.get(&task.id.value)).flatten().filter(|file| file.landed_at.is_none());
        let files: Vec<SourceFile> = files.map(|file| file.source.clone()).collect();
        let known = types::known(&ingestion, &task.target, records);
        let found = match types::asks_for_types(known.as_deref(), &task.target, records) {
            true => blocking(move || types::infer(&ingestion, known, &files)).await?,
            false => known,
        };
        inputs.extend(found.map(|found| (task.id.value.clone(), found)));
    }
    Ok(inputs)
}
