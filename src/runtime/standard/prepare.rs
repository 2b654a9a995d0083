//! What a standard flow would do now.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use qetl_core::{
    DatasetName, Flow, Plan, Problem, Problems,
    plan::{self, Dag, DagNode, Dataset, DatasetKind, InputType},
    schema::Schema,
    standard::{StandardFlow, StandardTask, TaskWork, WriteMode, same_dataset},
};
use qetl_ingest::SourceFile;
use serde_json::{Value, json};

use super::{
    bench::{Known, KnownColumns},
    check::{self, TaskText},
    files::{Finder, StandardJob, empty_job},
    types,
};
use crate::{
    Engine, RunError,
    records::{BatchRecord, FlowRecords},
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
    /// Datasets of other flows that are not there yet.
    pub absent: Problems,
    /// What keeps the flow from running, although its file is right.
    pub obstacles: Problems,
    /// What is worth knowing before it runs.
    pub notes: Vec<String>,
    pub(super) records: FlowRecords,
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
    roots: &Roots,
    request: &Request,
) -> Result<PlannedStandard, RunError> {
    let records = engine.records(flow.id()).await?;
    let now = micros(SystemTime::now());
    let next = request.batch_id.unwrap_or_else(|| records.greatest_id().unwrap_or(0) + 1);
    let template = empty_job(next, &records, request, now);
    let (standard, texts, mut warnings) = check::texts(engine, standard, &template.context(engine.quote()))?;

    let foreign: Vec<DatasetName> = standard.foreign_sources().into_iter().map(|source| source.dataset.clone()).collect();
    let versions = engine.changed(&foreign).await?;
    let shape = shape(flow, request, &versions);
    let finder = Finder { flow: &standard, id: flow.id(), roots, records: &records, request, now };
    let (jobs, reasons) = match request.batch_id {
        Some(batch_id) => (vec![finder.named(batch_id)?], Vec::new()),
        None if !request.inputs.is_empty() => {
            let help = "add `--batch-id N`: the files are the whole content of that batch";
            return Err(RunError::usage("`--input` needs a batch to belong to", help));
        }
        None => {
            let all_there = foreign.iter().all(|dataset| versions.contains_key(dataset));
            waiting(&finder, &shape, all_there.then_some(!foreign.is_empty()))?
        }
    };

    // A full refresh makes anew what is derived.
    let needed = |task: &&StandardTask| !request.full_refresh || matches!(task.work, TaskWork::Ingestion(_));
    let needed: Vec<DatasetName> = standard.tasks.iter().filter(needed).map(|task| task.target.clone()).collect();
    engine.refuse_gaps(&needed).await?;

    let inputs = inputs(&standard, &jobs, &records).await?;
    let (mut known, absent) = known_foreign(engine, &standard, &foreign).await?;
    for task in &standard.tasks {
        if let Some(types) = inputs.get(&task.id.value) {
            known.insert(task.target.clone(), types::landed(types));
        }
    }
    let found = check::tasks(engine, &standard, &texts, known).await?;
    warnings.append(found.warnings);
    let tasks = standard.tasks.iter().map(|task| planned(task, &texts, &found.known)).collect();
    let mut planned = PlannedStandard {
        tasks,
        jobs,
        reasons,
        absent,
        obstacles: Problems::default(),
        notes: found.notes,
        inputs,
        shape,
        warnings: warnings.in_source(&flow.source),
        flow: standard,
        records,
    };
    if !request.full_refresh {
        planned.obstacles = rules::outdated(engine, &Arc::new(planned.plan(flow)?), &planned.records).await?;
    }
    Ok(planned)
}

fn planned(task: &StandardTask, texts: &BTreeMap<String, TaskText>, known: &Known) -> PlannedTask {
    let text = texts.get(&task.id.value);
    PlannedTask {
        id: task.id.value.clone(),
        task_type: task.task_type().name(),
        target: task.target.clone(),
        reads: task.sources.iter().map(|source| source.dataset.clone()).collect(),
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
        plan.dag = Dag(self.flow.tasks.iter().map(node).collect());
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
        plan.warnings.append(self.warnings.clone());
        Ok(plan)
    }

    /// Whether some task keeps one row a key: what it was before a batch is not stored.
    pub(super) fn merges(&self) -> bool {
        self.tasks.iter().any(|task| task.mode == WriteMode::Merge)
    }
}

/// What makes a batch what it is, beside its files: the flow's text, `--var`, the versions of other flows' datasets.
fn shape(flow: &Flow, request: &Request, versions: &BTreeMap<DatasetName, i64>) -> Value {
    let mut shape = flow.shape.clone();
    shape["vars"] = request.vars.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
    shape["sources"] = versions.iter().map(|(name, version)| (name.to_string(), json!(version))).collect();
    shape
}

/// Whether the flow's text or variables differ from what a batch was made with.
pub(super) fn differs(record: &BatchRecord, shape: &Value, key: &str) -> bool {
    let rest = |value: &Value| {
        let entries = value.as_object().into_iter().flatten();
        entries.filter(|(name, _)| !matches!(name.as_str(), "vars" | "sources")).map(|(k, v)| (k.clone(), v.clone())).collect::<Value>()
    };
    match key {
        "" => rest(&record.shape) != rest(shape),
        key => record.shape.get(key) != shape.get(key),
    }
}

/// The batches that wait, and why if it is not for new files. `foreign`: whether the flow reads datasets of other flows;
/// `None` if some of them are not there yet.
fn waiting(finder: &Finder<'_>, shape: &Value, foreign: Option<bool>) -> Result<(Vec<StandardJob>, Vec<String>), RunError> {
    let (new, again) = finder.waiting()?;
    let mut reasons = Vec::new();
    let has_files = new.files.values().any(|files| !files.is_empty());
    match finder.records.batches.last() {
        Some(last) => {
            for (key, reason) in [
                ("", "the flow's text changed"),
                ("vars", "other values are given with `--var`"),
                ("sources", "a dataset of another flow was published"),
            ] {
                if differs(last, shape, key) {
                    reasons.push(reason.to_owned());
                }
            }
        }
        None if foreign == Some(true) => reasons.push("a dataset of another flow is there".to_owned()),
        None if foreign == Some(false) && new.files.is_empty() => reasons.push("the flow reads no files and never ran".to_owned()),
        None => (),
    }
    let mut jobs = Vec::new();
    for batch_id in again {
        if let Some(record) = finder.records.batch(batch_id) {
            jobs.push(finder.again(record, empty_job(batch_id, finder.records, finder.request, finder.now))?);
        }
    }
    if has_files || (!reasons.is_empty() && jobs.is_empty()) {
        jobs.push(new);
    }
    jobs.sort_by_key(|job| job.batch_id);
    Ok((jobs, reasons))
}

/// The columns of each ingestion.
async fn inputs(flow: &StandardFlow, jobs: &[StandardJob], records: &FlowRecords) -> Result<BTreeMap<String, Vec<InputType>>, RunError> {
    let mut inputs = BTreeMap::new();
    for task in &flow.tasks {
        let TaskWork::Ingestion(ingestion) = task.work.clone() else { continue };
        let files = jobs.iter().flat_map(|job| job.files.get(&task.id.value)).flatten();
        let files: Vec<SourceFile> = files.map(|file| file.source.clone()).collect();
        let known = types::known(&ingestion, &task.target, records);
        let found = blocking(move || types::infer(&ingestion, known, &files)).await?;
        inputs.extend(found.map(|found| (task.id.value.clone(), found)));
    }
    Ok(inputs)
}

/// The columns of other flows' datasets as they are stored, and those that are not there.
async fn known_foreign(engine: &dyn Engine, flow: &StandardFlow, foreign: &[DatasetName]) -> Result<(Known, Problems), RunError> {
    let (mut known, mut absent) = (Known::new(), Problems::default());
    if foreign.is_empty() {
        return Ok((known, absent));
    }
    let stored = engine.datasets().await?;
    for source in flow.foreign_sources() {
        match stored.iter().find(|info| same_dataset(&info.name, &source.dataset)) {
            // What a view gives is known when it is read.
            Some(info) if info.view => (),
            Some(info) => {
                known.insert(info.name.clone(), KnownColumns { columns: info.columns.clone(), typed: true });
            }
            None => {
                let what = format!("dataset `{}` is not there", source.dataset);
                let problem = Problem::new("qetl::plan::absent_dataset", source.span, what).label("nothing was published yet");
                absent.push(problem.help("execute the flow that makes it first"));
            }
        }
    }
    Ok((known, absent.in_source(&flow.source)))
}
