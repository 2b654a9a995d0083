//! `verify`: what a flow type promises of its tables, asked of the tables as they are stored.

use std::sync::Arc;

use qetl_core::{Flow, plan};
use serde::Serialize;

use crate::{
    engine::Engine,
    error::{Place, RunError},
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
    let records = engine.records(flow.id()).await.map_err(|error| error.at(&place))?;
    let mut found = FlowVerified { flow: flow.id().to_owned(), batches: records.batches.len(), invariants: Vec::new() };
    let Some(last) = records.batches.last() else { return Ok(found) };
    let plan = Arc::new(plan::expand(flow, types::known(flow, &records))?);
    let context = context_of(&known_batches(flow, &records, &plan.input, None), last.batch_id);
    let mut work = engine.look(plan.clone()).await.map_err(|error| error.at(&place))?;
    for invariant in &plan.invariants {
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
