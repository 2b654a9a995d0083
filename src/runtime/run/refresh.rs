//! A full refresh, and types that change.

use std::{collections::BTreeMap, sync::Arc};

use qetl_core::Plan;

use super::{
    derive::{Part, context_of, known_batches},
    flow::FlowRun,
    planned::Planned,
    transactions::Ledger,
};
use crate::{
    engine::{FlowLock, Publish},
    error::{Place, RunError},
    progress::Event,
    records::FlowRecords,
    types,
    waiting::{Job, JobInput},
};

impl FlowRun<'_> {
    /// A declared type may replace the recorded one only if every stored value fits it.
    pub(super) async fn refuse_type_changes(&self, planned: &Planned) -> Result<(), RunError> {
        let Some(landing) = planned.plan.landing() else { return Ok(()) };
        for column in &planned.plan.input {
            let Some(old) = planned.records.columns.iter().find(|old| old.name == column.name && old.ty != column.ty) else { continue };
            let wanted = qetl_core::Column::new(&column.name, column.ty);
            let misfits = self.engine.misfits(&landing.name, &wanted).await?;
            if misfits > 0 {
                let message = format!(
                    "column `{}` was {} and is declared {} now, which {misfits} stored values do not fit",
                    column.name, old.ty, column.ty
                );
                return Err(RunError::usage(message, "set the type back, or load the column under another name"));
            }
        }
        Ok(())
    }

    /// Derives every batch again from what was landed, in one publish.
    pub(super) async fn refresh(&mut self, plan: &Arc<Plan>, lock: &dyn FlowLock, records: &mut FlowRecords) -> Result<(), RunError> {
        for name in ["namespace", "dataset_prefix"] {
            if let Some(last) = records.batches.last().filter(|last| last.shape.get(name) != self.flow.shape.get(name)) {
                let was = last.shape.get(name).and_then(|value| value.as_str()).unwrap_or_default();
                let message = format!("`{name}` was `{was}`: the datasets stand under that name, and a full refresh does not move them");
                return Err(RunError::usage(message, "set it back, or load the data with a new flow id"));
            }
        }
        let mut batches = records.batches.clone();
        let known = known_batches(records, &plan.input, None);
        let ledger = match Ledger::of(plan) {
            Some(ledger) => match ledger.published(self.engine, plan, &known).await {
                Ok(before) => Some((before, ledger)),
                Err(error) => {
                    // The refresh may be what makes good for it.
                    let message = format!("which transactions change is not told, since what was published cannot be read: {error}");
                    self.progress.tell(Event::Warning { flow: self.flow.id().to_owned(), message });
                    None
                }
            },
            None => None,
        };
        let mut work = self.engine.begin(plan.clone(), lock, self.run_id).await?;
        let mut last = None;
        for batch in &mut batches {
            let job = Job { batch_id: batch.batch_id, input: JobInput::Files(Vec::new()), replay: true };
            let context = context_of(&known, batch.batch_id, batch.processed_at);
            self.derive(plan, &mut *work, &context, &job, Part::Batch { own: false }, &mut Vec::new())
                .await
                .map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            batch.generation += 1;
            batch.shape = self.flow.shape.clone();
            last = Some((context, job));
        }
        if let Some((context, job)) = &last {
            let part = Part::Whole { own: false, all: true };
            self.derive(plan, &mut *work, context, job, part, &mut Vec::new()).await?;
        }
        if let Some((before, ledger)) = ledger {
            let after = ledger.read(&mut *work, &known).await?;
            self.done.transactions = Some(ledger.changes(&before, &after)).filter(|transactions| !transactions.changed.is_empty());
        }
        let rows: u64 = batches.iter().map(|batch| u64::try_from(batch.rows).unwrap_or(0)).sum();
        let roles = if rows > 0 { types::roles(self.flow, &plan.input) } else { BTreeMap::new() };
        let (columns, details) = (types::pinned(&plan.input, &roles, records), records.details_now());
        let run = self.history.succeeded(rows, "full refresh");
        let flow = self.flow.id().to_owned();
        let publish = Publish { flow, batches: batches.clone(), columns: columns.clone(), details: details.clone(), run };
        self.request.interrupt.publish(work.publish(publish)).await?;
        (records.batches, records.columns, records.details) = (batches, columns, details);
        Ok(())
    }
}
