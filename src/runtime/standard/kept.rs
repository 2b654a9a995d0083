//! How the datasets that tasks read keep their rows.

use std::{collections::BTreeMap, time::SystemTime};

use qetl_core::{
    DatasetName, Flow, Plan,
    plan::{self, DatasetKind, WriteMode},
    standard::{Kept, WriteMode as TaskMode, same_dataset},
};

use super::check;
use crate::{Engine, RunError, flows, types, waiting::micros};

/// What a flow's datasets keep, of several tasks that make one dataset an entry each.
pub(crate) async fn of_flow(engine: &dyn Engine, flow: &Flow) -> Result<Vec<(DatasetName, Kept)>, RunError> {
    let records = engine.records(flow.id()).await?;
    match flow.standard() {
        Some(tasks) => Ok(of_tasks(check::modes(engine, &tasks, &records, micros(SystemTime::now())))),
        None => Ok(of_plan(&plan::expand(flow, types::known(flow, &records))?)),
    }
}

pub(crate) fn of_tasks(modes: Vec<(DatasetName, TaskMode)>) -> Vec<(DatasetName, Kept)> {
    let kept = |mode: TaskMode| match mode {
        TaskMode::ReplaceBatch => Kept::ByBatch,
        TaskMode::Replace => Kept::Anew,
        TaskMode::Merge => Kept::ByKey,
    };
    modes.into_iter().map(|(name, mode)| (name, kept(mode))).collect()
}

pub(crate) fn of_plan(plan: &Plan) -> Vec<(DatasetName, Kept)> {
    let kept = |dataset: &plan::Dataset| {
        if let DatasetKind::View(_) = dataset.kind {
            return Kept::View;
        }
        let task = plan.tasks.iter().find(|task| task.target == dataset.name && !task.write_mode.is_of_batch());
        match task.map(|task| &task.write_mode) {
            Some(WriteMode::ReplaceAll) => Kept::Anew,
            Some(WriteMode::ReplaceKeys(_)) => Kept::ByKey,
            Some(WriteMode::ReplaceBatch) | None => Kept::ByBatch,
        }
    };
    plan.datasets.iter().map(|dataset| (dataset.name.clone(), kept(dataset))).collect()
}

/// What is known of datasets of other flows: by the flows that make them, else by what is stored. Those that nobody makes and
/// that are not there are left out.
pub(super) async fn foreign(
    engine: &dyn Engine,
    reader: &str,
    project: &[&Flow],
    datasets: &[DatasetName],
) -> Result<BTreeMap<DatasetName, Kept>, RunError> {
    let mut found = BTreeMap::new();
    if datasets.is_empty() {
        return Ok(found);
    }
    let made = flows::makers(project);
    let mut flows_kept: BTreeMap<&str, Vec<(DatasetName, Kept)>> = BTreeMap::new();
    for dataset in datasets {
        let maker = made.iter().find(|(name, maker)| *maker != reader && same_dataset(name, dataset)).map(|(_, maker)| *maker);
        let Some(flow) = maker.and_then(|id| project.iter().find(|flow| flow.id() == id)) else {
            found.extend(stored(engine, dataset).await?.map(|kept| (dataset.clone(), kept)));
            continue;
        };
        if !flows_kept.contains_key(flow.id()) {
            let kept = match of_flow(engine, flow).await {
                Ok(kept) => kept,
                // What is wrong with that flow is told when it is checked.
                Err(RunError::Problems(_)) => Vec::new(),
                Err(other) => return Err(other),
            };
            flows_kept.insert(flow.id(), kept);
        }
        let mut own = flows_kept[flow.id()].iter().filter(|(name, _)| same_dataset(name, dataset)).map(|(_, kept)| *kept);
        let first = own.next();
        let kept = own.find(|kept| *kept != Kept::ByBatch).filter(|_| first == Some(Kept::ByBatch)).or(first);
        let kept = match kept {
            Some(kept) => Some(kept),
            None => stored(engine, dataset).await?,
        };
        found.extend(kept.map(|kept| (dataset.clone(), kept)));
    }
    Ok(found)
}

/// How a dataset is stored.
async fn stored(engine: &dyn Engine, dataset: &DatasetName) -> Result<Option<Kept>, RunError> {
    let Some(info) = engine.datasets().await?.into_iter().find(|info| same_dataset(&info.name, dataset)) else { return Ok(None) };
    if info.view {
        return Ok(Some(Kept::View));
    }
    let stored = engine.stored(&info.name).await?;
    let by_batch = stored.is_some_and(|stored| !stored.batches.is_empty());
    Ok(Some(if by_batch { Kept::ByBatch } else { Kept::Anew }))
}
