//! `verify`: what a flow type promises of its tables, asked of the tables as they are stored.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use qetl_core::{DatasetName, Flow, plan, standard::TaskWork};
use serde::Serialize;

use crate::{
    engine::Engine,
    error::{Place, RunError},
    had,
    records::FlowRecords,
    run::{context_of, known_batches, shown},
    types,
};

/// The most rows that are shown of what breaks an invariant.
const SHOWN: usize = 20;

/// What was found of a flow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowVerified {
    pub flow: String,
    /// How many batches it has; without any there is nothing to look at.
    pub batches: usize,
    pub invariants: Vec<Verified>,
}

/// What was found of an invariant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    pub name: String,
    pub about: String,
    /// Rows that break it.
    pub broken: usize,
    /// The first of them, as `column = value, …`.
    pub rows: Vec<String>,
}

impl FlowVerified {
    pub fn holds(&self) -> bool {
        self.invariants.iter().all(|found| found.broken == 0)
    }
}

/// Checks the invariants of a flow on what is stored now.
pub async fn verify(engine: &dyn Engine, flow: &Flow) -> Result<FlowVerified, RunError> {
    let place = Place::flow(flow.id());
    let mut records = engine.records(flow.id()).await.map_err(|error| error.at(&place))?;
    let mut found = FlowVerified { flow: flow.id().to_owned(), batches: records.batches.len(), invariants: Vec::new() };
    let Some(last) = records.batches.last().cloned() else { return Ok(found) };
    found.invariants.push(landed(engine, flow, &records).await.map_err(|error| error.at(&place))?);
    let plan = Arc::new(plan::expand(flow, types::known(flow, &records))?);
    let invariants = plan.invariants()?;
    if invariants.is_empty() {
        return Ok(found);
    }
    had::find(engine, flow, &plan, &mut records, false).await.map_err(|error| error.at(&place))?;
    let context = context_of(&known_batches(flow, &records, &plan.input, None), last.batch_id);
    let mut work = engine.look(plan.clone()).await.map_err(|error| error.at(&place))?;
    for invariant in &invariants {
        let rows = work.rows(&context, &invariant.steps).await.map_err(|error| error.at(&place.clone().step(&invariant.name)))?;
        found.invariants.push(Verified {
            name: invariant.name.clone(),
            about: invariant.about.clone(),
            broken: rows.iter().map(|batch| batch.num_rows()).sum(),
            rows: shown(&rows, SHOWN),
        });
    }
    Ok(found)
}

/// Whether every batch has the rows that were landed. Flow types promise nothing of that: it is for all of them.
async fn landed(engine: &dyn Engine, flow: &Flow, records: &FlowRecords) -> Result<Verified, RunError> {
    let datasets: Vec<DatasetName> = match flow.standard() {
        Some(tasks) => {
            let landed = tasks.tasks.iter().filter(|task| matches!(task.work, TaskWork::Ingestion(_)));
            landed.map(|task| task.target.clone()).collect()
        }
        None => plan::expand(flow, types::known(flow, records))?.landing().map(|landing| landing.name.clone()).into_iter().collect(),
    };
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for dataset in &datasets {
        if engine.stored(dataset).await?.is_none() {
            continue;
        }
        let batch = format!("{0}xt_batch_id{0}", engine.quote());
        let sql = format!("SELECT {batch}, COUNT(*) FROM {} GROUP BY {batch}", engine.table(dataset));
        let mut rows = engine.query(&sql, None).await?.stream;
        while let Some(rows) = rows.try_next().await? {
            let column = |at: usize| rows.column(at).as_primitive_opt::<Int64Type>();
            let (Some(ids), Some(rows)) = (column(0), column(1)) else { continue };
            ids.values().iter().zip(rows.values()).for_each(|(id, rows)| *counts.entry(*id).or_default() += rows);
        }
    }
    let mut rows = Vec::new();
    for batch in &records.batches {
        let there = counts.get(&batch.batch_id).copied().unwrap_or(0);
        if there != batch.rows {
            rows.push(format!("xt_batch_id = {}, landed = {}, stored = {there}", batch.batch_id, batch.rows));
        }
    }
    let broken = rows.len();
    rows.truncate(SHOWN);
    let (name, about) = ("landed_rows_are_there", "every batch has as many rows as were landed");
    Ok(Verified { name: name.to_owned(), about: about.to_owned(), broken, rows })
}
