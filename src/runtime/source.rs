//! `[input] source_dataset`: a flow whose batches are those of another flow's dataset.

use std::{collections::BTreeMap, time::SystemTime};

use qetl_core::{
    DatasetName, Flow, Plan, Problem, Problems, Type,
    decode::Sp,
    plan::{self, Known as KnownType},
    standard::{Kept, same_dataset},
    suggest,
};

use crate::{
    engine::{Engine, Stored},
    error::RunError,
    flows::{Readers, makers},
    records::{FileDetails, FileRecord, FlowRecords},
    standard::{self, Known, kept},
    types,
    waiting::{Job, JobInput, Request, micros},
};

/// The dataset that a flow reads instead of files.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub dataset: DatasetName,
    /// The id of the flow that makes it.
    pub maker: String,
    /// The batches that are published, each with the version in which it changed last.
    pub batches: BTreeMap<i64, i64>,
    /// With their types, as far as these are known; `None`: nothing is known of them yet.
    pub columns: Option<Vec<(String, Option<Type>)>>,
}

/// A batch of a dataset, as it was published last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetBatch {
    pub dataset: DatasetName,
    /// The version in which it changed last.
    pub version: i64,
}

impl DatasetBatch {
    /// What the ledger keeps of it, for a reader that reads it now.
    pub(crate) fn record(&self, now: i64) -> FileRecord {
        FileRecord {
            name: self.dataset.to_string(),
            size: 0,
            modified: 0,
            content_hash: version_hash(self.version),
            loaded_at: now,
            details: FileDetails::default(),
        }
    }
}

fn version_hash(version: i64) -> u128 {
    u128::from(version.unsigned_abs())
}

/// What a flow reads instead of files, if it does. `project` are all its flows; `known` the columns of datasets that are
/// known better than from what is stored.
pub(crate) async fn find(engine: &dyn Engine, flow: &Flow, project: &[&Flow], known: &Known) -> Result<Option<Source>, RunError> {
    let Some(named) = &flow.source_dataset else { return Ok(None) };
    let (dataset, maker) = maker(flow, named, project).map_err(|problem| Problems::from(problem).in_source(&flow.source))?;
    let records = engine.records(maker.id()).await?;
    let stored = engine.stored(&dataset).await?;
    let (kept, mut columns) = match maker.standard() {
        Some(tasks) => (kept::of_tasks(standard::modes(engine, &tasks, &records, micros(SystemTime::now()))), None),
        None => {
            let plan = plan::expand(maker, types::known(maker, &records))?;
            (kept::of_plan(&plan), planned(&plan, &dataset))
        }
    };
    refuse_kept(named, &dataset, maker, &kept).map_err(|problem| Problems::from(problem).in_source(&flow.source))?;

    if let Some(known) = known.iter().find(|(name, _)| same_dataset(name, &dataset)).map(|(_, known)| known) {
        columns = Some(known.columns.iter().map(|column| (column.name.clone(), known.typed.then_some(column.ty))).collect());
    }
    let columns = with_stored(columns, stored.as_ref());
    if let Some(columns) = &columns {
        missing_columns(flow, &dataset, columns).in_source(&flow.source).or(())?;
    }
    let batches = stored.map_or_else(BTreeMap::new, |stored| match maker.standard() {
        // A batch in which a task made no rows is none of its dataset's.
        Some(_) => stored.batches,
        None => records.batches.iter().map(|batch| (batch.batch_id, stored.batches.get(&batch.batch_id).copied().unwrap_or(0))).collect(),
    });
    Ok(Some(Source { dataset, maker: maker.id().to_owned(), batches, columns }))
}

/// The dataset as its maker calls it, and the maker.
fn maker<'a>(flow: &Flow, named: &Sp<DatasetName>, project: &[&'a Flow]) -> Result<(DatasetName, &'a Flow), Problem> {
    let made = makers(project);
    let found = made.iter().find(|(name, _)| same_dataset(name, named));
    let found = found.and_then(|(name, id)| Some((name.clone(), *project.iter().find(|other| other.id() == *id)?)));
    let Some((dataset, maker)) = found else {
        let others = made.iter().filter(|(_, maker)| *maker != flow.id());
        let names: Vec<String> = others.map(|(name, _)| name.to_string()).collect();
        let problem = Problem::new("qetl::decode::unknown_dataset", named.span, format!("no flow makes `{}`", named.value));
        let help = suggest::help(&named.to_string(), names.iter().map(String::as_str));
        let help = if help.is_empty() { "there is no other flow in this project".to_owned() } else { help };
        return Err(problem.label("no such dataset").help(help));
    };
    if maker.id() == flow.id() {
        let problem = Problem::new("qetl::decode::cycle", named.span, format!("the flow reads `{dataset}`, which it makes itself"));
        return Err(problem.label("its own dataset").help("name a dataset of another flow, or the files to read in `[properties.load]`"));
    }
    if let Some(path) = Readers::new(project).path(flow.id(), maker.id()) {
        let circle = path.iter().chain([&flow.id()]).copied().collect::<Vec<_>>().join(" → ");
        let problem = Problem::new("qetl::decode::cycle", named.span, format!("flows wait for each other: {circle}"));
        return Err(problem.label("this closes the circle").help("a flow can read only what is made without it"));
    }
    Ok((dataset, maker))
}

/// Only rows that belong to batches can be read batch by batch.
fn refuse_kept(named: &Sp<DatasetName>, dataset: &DatasetName, maker: &Flow, kept: &[(DatasetName, Kept)]) -> Result<(), Problem> {
    // Several tasks may make one dataset.
    let refused = kept.iter().find(|(name, kept)| name == dataset && *kept != Kept::ByBatch);
    let Some((_, refused)) = refused else { return Ok(()) };
    let mut others: Vec<String> = Vec::new();
    for (name, _) in kept.iter().filter(|(_, kept)| *kept == Kept::ByBatch) {
        let name = format!("`{name}`");
        let whole = kept.iter().all(|(other, kept)| format!("`{other}`") != name || *kept == Kept::ByBatch);
        if whole && !others.contains(&name) {
            others.push(name);
        }
    }
    let instead = match others.as_slice() {
        [] => String::new(),
        names => format!("of flow `{}`, {} can be read batch by batch", maker.id(), names.join(", ")),
    };
    let insert = "`INSERT INTO {{ target_dataset }} SELECT …` keeps a task's rows by batch";
    let help = match (maker.standard().is_some(), instead.is_empty()) {
        (true, true) => insert.to_owned(),
        (true, false) => format!("{insert}; {instead}"),
        (false, true) => "a standard flow with a task of SQL can read all of it".to_owned(),
        (false, false) => instead,
    };
    let what = format!("`{dataset}` cannot be read batch by batch: {}", refused.why());
    Err(Problem::new("qetl::decode::not_by_batch", named.span, what).label("has no past batches").help(help))
}

/// The columns of a dataset that its flow's plan makes. The type of an input column may be presumed only.
fn planned(plan: &Plan, dataset: &DatasetName) -> Option<Vec<(String, Option<Type>)>> {
    let presumed = |name: &str| plan.input.iter().any(|column| column.name == name && column.known == KnownType::Presumed);
    let columns = plan.dataset(dataset)?.schema.columns().iter();
    Some(columns.map(|column| (column.name.clone(), (!presumed(&column.name)).then_some(column.ty))).collect())
}

/// What is stored tells what nobody else knows.
fn with_stored(columns: Option<Vec<(String, Option<Type>)>>, stored: Option<&Stored>) -> Option<Vec<(String, Option<Type>)>> {
    let there = |name: &str| stored?.columns.iter().find(|column| column.name == name).map(|column| column.ty);
    match columns {
        Some(columns) => Some(columns.into_iter().map(|(name, ty)| (name.clone(), ty.or_else(|| there(&name)))).collect()),
        None => stored.map(|stored| stored.columns.iter().map(|column| (column.name.clone(), Some(column.ty))).collect()),
    }
}

/// Columns of the flow that the dataset lacks.
fn missing_columns(flow: &Flow, dataset: &DatasetName, columns: &[(String, Option<Type>)]) -> Problems {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("xt_")).collect();
    let missing = flow.input.columns.iter().filter(|column| !column.is_optional() && !names.contains(&column.source_name()));
    let problem = |column: &Sp<qetl_core::input::InputColumn>| {
        let name = column.from.as_ref().unwrap_or(&column.name);
        let problem = Problem::new("qetl::plan::unknown_column", name.span, format!("column `{}` is not in `{dataset}`", name.value));
        problem.label("no such column").help(suggest::help(name, names.iter().copied()))
    };
    Problems(missing.map(problem).collect())
}

impl Source {
    /// The batches that wait, ascending: those that the reader has not, and those that changed since it read them.
    pub(crate) fn jobs(&self, flow: &Flow, records: &FlowRecords, request: &Request) -> Result<Vec<Job>, RunError> {
        if !request.inputs.is_empty() {
            let message = format!("flow `{}` reads the dataset `{}`, not files", flow.id(), self.dataset);
            return Err(RunError::usage(message, "leave `--input` out: `--batch-id N` reads batch N of the dataset"));
        }
        let job = |(batch_id, version): (&i64, &i64)| Job {
            batch_id: *batch_id,
            input: JobInput::Dataset(DatasetBatch { dataset: self.dataset.clone(), version: *version }),
            replay: records.batch(*batch_id).is_some(),
        };
        match request.batch_id {
            Some(batch_id) => match self.batches.get_key_value(&batch_id) {
                Some(found) => Ok(vec![job(found)]),
                None => Err(self.no_batch(batch_id)),
            },
            None => Ok(self.batches.iter().filter(|(batch_id, version)| !self.is_read(records, **batch_id, **version)).map(job).collect()),
        }
    }

    fn is_read(&self, records: &FlowRecords, batch_id: i64, version: i64) -> bool {
        let name = self.dataset.to_string();
        let is_it = |file: &FileRecord| file.name == name && file.content_hash == version_hash(version);
        records.batch(batch_id).is_some_and(|batch| batch.files.iter().any(is_it))
    }

    fn no_batch(&self, batch_id: i64) -> RunError {
        let message = format!("dataset `{}` has no batch {batch_id}", self.dataset);
        let ids: Vec<String> = self.batches.keys().rev().take(12).rev().map(i64::to_string).collect();
        let help = match self.batches.len() {
            0 => format!("nothing of it is published yet: execute flow `{}` first", self.maker),
            count if count > ids.len() => format!("it has {count} batches, the last of them {}", ids.join(", ")),
            _ => format!("it has the batches {}", ids.join(", ")),
        };
        RunError::usage(message, help)
    }
}
