//! What a full refresh makes of a ledger to which transactions are only added otherwise.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use qetl_core::{
    DatasetName, Plan,
    ir::{AsOf, Rel, Steps},
    plan::Expand,
};

use super::derive::context_of;
use crate::{
    engine::{Engine, KnownBatch, Work},
    error::RunError,
    report::{TransactionChange, Transactions},
};

/// A ledger, and how it is read.
pub(super) struct Ledger {
    dataset: DatasetName,
    id: &'static str,
    steps: Steps,
}

/// Its transactions by their ids, each with a hash of all else that it says.
type Said = BTreeMap<String, u64>;

impl Ledger {
    /// The plan's ledger, if transactions are only added to it.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let (dataset, id) = plan.flow.properties.append_only(&Expand { flow: &plan.flow, input: &plan.input })?;
        let mut steps = Steps::default();
        steps.add("transactions", Rel::scan(&dataset, &plan.dataset(&dataset)?.schema, AsOf::ThisBatch));
        Some(Self { dataset, id, steps })
    }

    /// What is published of it.
    pub(super) async fn published(&self, engine: &dyn Engine, plan: &Arc<Plan>, known: &Arc<Vec<KnownBatch>>) -> Result<Said, RunError> {
        self.read(&mut *engine.look(plan.clone()).await?, known).await
    }

    /// What the work has made of it.
    pub(super) async fn read(&self, work: &mut dyn Work, known: &Arc<Vec<KnownBatch>>) -> Result<Said, RunError> {
        let mut said = Said::new();
        for batch in known.iter() {
            for rows in work.rows(&context_of(known, batch.batch_id), &self.steps).await? {
                self.add(&rows, &mut said)?;
            }
        }
        Ok(said)
    }

    fn add(&self, rows: &RecordBatch, said: &mut Said) -> Result<(), RunError> {
        let options = FormatOptions::default().with_null("\0");
        let schema = rows.schema();
        let mut cells = Vec::new();
        let mut ids = None;
        for (field, column) in schema.fields().iter().zip(rows.columns()) {
            let formatter = ArrayFormatter::try_new(column, &options).map_err(RunError::failed)?;
            match field.name().as_str() {
                name if name == self.id => ids = Some(formatter),
                "xt_processed_at" => (),
                _ => cells.push(formatter),
            }
        }
        let Some(ids) = ids else { return Ok(()) };
        for row in 0..rows.num_rows() {
            let mut hasher = DefaultHasher::new();
            cells.iter().for_each(|cell| cell.value(row).to_string().hash(&mut hasher));
            said.insert(ids.value(row).to_string(), hasher.finish());
        }
        Ok(())
    }

    /// How what was published differs from what there is now.
    pub(super) fn changes(&self, before: &Said, after: &Said) -> Transactions {
        let mut changes: BTreeMap<&String, TransactionChange> = BTreeMap::new();
        for (id, said) in before {
            match after.get(id) {
                None => drop(changes.insert(id, TransactionChange::Gone)),
                Some(now) if now != said => drop(changes.insert(id, TransactionChange::Changed)),
                Some(_) => (),
            }
        }
        changes.extend(after.keys().filter(|id| !before.contains_key(*id)).map(|id| (id, TransactionChange::New)));
        Transactions { dataset: self.dataset.to_string(), changed: changes.into_iter().map(|(id, change)| (id.clone(), change)).collect() }
    }
}
