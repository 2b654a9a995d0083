//! A full refresh, and types that change.

use std::{collections::BTreeMap, sync::Arc};

use qetl_core::{
    Column, Plan, Problems, Schema, Type,
    ir::{AsOf, Expr, Rel, RelError, Steps},
    plan::{DatasetKind, ERROR, InputType},
};

use super::{
    derive::{Part, Told, context_of, known_batches},
    flow::FlowRun,
    judge::shown,
    planned::Planned,
    transactions::Ledger,
};
use crate::{
    engine::{BatchContext, FlowLock, Publish, Work},
    error::{Place, RunError},
    progress::Event,
    records::{BatchRecord, FlowRecords, PinnedColumn},
    types,
    waiting::{Job, JobInput},
};

/// The most rows that a message shows.
const SHOWN: usize = 5;

/// What landing says of where a row stood.
const FILE: &str = "xt_source_file";
const ROW: &str = "xt_row_number";

impl FlowRun<'_> {
    /// A declared type may replace the recorded one only if every stored value fits it.
    pub(super) async fn refuse_type_changes(&self, planned: &Planned) -> Result<(), RunError> {
        let Some(landing) = planned.plan.landing() else { return Ok(()) };
        for column in &planned.plan.input {
            let differs = |old: &&PinnedColumn| old.name == column.name && old.ty != column.ty && !old.details.open;
            let Some(old) = planned.records.columns.iter().find(differs) else { continue };
            let wanted = Column::new(&column.name, column.ty);
            let misfits = self.engine.misfits(&landing.name, &wanted).await?;
            if misfits > 0 {
                let message = format!(
                    "column `{}` was {} and is declared {} now, which {} not fit",
                    column.name,
                    old.ty,
                    column.ty,
                    stored_values(misfits)
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
        let known = known_batches(self.flow, records, &plan.input, None);
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
        if let Some(context) = known.last().map(|last| context_of(&known, last.batch_id)) {
            self.refuse_parked(plan, &mut *work, &context, records).await?;
        }
        let mut last = None;
        let told = &mut Told { steps: &mut Vec::new(), warnings: &mut Vec::new() };
        for batch in &mut batches {
            let job = Job { batch_id: batch.batch_id, input: JobInput::Files(Vec::new()), replay: true };
            let context = context_of(&known, batch.batch_id);
            self.hold(plan, &mut *work, &context, true).await.map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            let lacks = known.iter().find(|known| known.batch_id == batch.batch_id).map_or(&[] as &[_], |known| &known.lacks);
            self.derive(plan, &mut *work, &context, &job, Part::Batch { own: false }, told)
                .await
                .map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            self.hold(plan, &mut *work, &context, false).await.map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            batch.generation += 1;
            batch.shape = self.flow.shape.clone();
            batch
                .details
                .columns
                .get_or_insert_with(|| plan.input.iter().map(|column| column.name.clone()).filter(|name| !lacks.contains(name)).collect());
            last = Some((context, job));
        }
        if let Some((context, job)) = &last {
            let part = Part::Whole { own: false, all: true };
            self.derive(plan, &mut *work, context, job, part, told).await?;
        }
        if let Some((before, ledger)) = ledger {
            let after = ledger.read(&mut *work, &known).await?;
            self.done.transactions = Some(ledger.changes(&before, &after)).filter(|transactions| !transactions.changed.is_empty());
        }
        let rows: u64 = batches.iter().map(|batch| u64::try_from(batch.rows).unwrap_or(0)).sum();
        let roles = if rows > 0 { types::roles(self.flow, &plan.input) } else { BTreeMap::new() };
        let (columns, details) = (types::pinned(&plan.input, &roles, records, None), records.details_now());
        let run = self.history.succeeded(rows, "full refresh");
        let flow = self.flow.id().to_owned();
        let publish = Publish { flow, batches: batches.clone(), columns: columns.clone(), details: details.clone(), run };
        self.request.interrupt.publish(work.publish(publish)).await?;
        (records.batches, records.columns, records.details) = (batches, columns, details);
        Ok(())
    }

    /// Rows that did not fit were landed as long as the flow set them aside: without that they are rows like others.
    async fn refuse_parked(
        &self,
        plan: &Arc<Plan>,
        work: &mut dyn Work,
        context: &BatchContext,
        records: &FlowRecords,
    ) -> Result<(), RunError> {
        let parked = |batch: &BatchRecord| batch.shape.get("on_bad_row").is_some_and(|choice| choice == "park");
        let Some(landing) = plan.landing().filter(|_| !self.flow.reader.parks_bad_rows() && records.batches.iter().any(parked)) else {
            return Ok(());
        };
        let bad = || -> Result<Steps, RelError> {
            let columns = landing.schema.columns().iter().cloned().chain([Column::new(ERROR, Type::Text)]);
            let schema = Schema::new(columns.collect()).unwrap_or_else(|name| unreachable!("`{name}` is reserved"));
            let rows = Rel::scan(&landing.name, &schema, AsOf::AllBatches).filter(Expr::column(ERROR).is_null().not())?;
            let mut steps = Steps::default();
            steps.add("bad", rows.select(["xt_batch_id", FILE, ROW, ERROR])?.limit(SHOWN as u64 + 1)?);
            Ok(steps)
        };
        let rows = work.rows(context, &bad().map_err(Problems::from)?).await?;
        let found = shown(&rows, SHOWN + 1);
        if found.is_empty() {
            return Ok(());
        }
        let lines: String = found.iter().take(SHOWN).map(|row| format!("\n  {row}")).collect();
        let more = if found.len() > SHOWN { "\n  and more" } else { "" };
        let message = format!("rows were set aside that do not fit:{lines}{more}");
        let help =
            "nothing was changed: set `on_bad_row = \"park\"` again; a batch that is replaced with a file that fits has no such rows";
        Err(RunError::refused(Place::default(), message, help))
    }

    /// Holds what a batch has landed to what the flow asks of its columns today. Parked rows do not count, nor does NULL in a column
    /// that the batch had not, unless that column is needed to know what a row is of.
    /// `keys`: those alone, before anything is derived from them.
    async fn hold(&self, plan: &Arc<Plan>, work: &mut dyn Work, context: &BatchContext, of_keys: bool) -> Result<(), RunError> {
        let Some(landing) = plan.landing() else { return Ok(()) };
        let keys = self.flow.properties.key_columns(self.flow);
        let lacks = context.known.iter().find(|known| known.batch_id == context.batch_id).map_or(&[] as &[_], |known| &known.lacks);
        let asks = |column: &&InputType| match keys.contains(&column.name) {
            true => of_keys && column.required,
            false => !of_keys && column.required && !lacks.contains(&column.name),
        };
        let asked: Vec<&str> = plan.input.iter().filter(asks).map(|column| column.name.as_str()).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let lacking = || -> Result<Steps, RelError> {
            let place = [FILE, ROW].map(str::to_owned);
            let mut rows = Rel::scan(&landing.name, &landing.schema, AsOf::ThisBatch);
            if self.flow.reader.parks_bad_rows() {
                rows = rows.filter(Expr::column(ERROR).is_null())?;
            }
            let mut rows = rows.filter(Expr::any(asked.iter().map(|name| Expr::column(name).is_null())))?;
            let parked = plan
                .datasets
                .iter()
                .find(|dataset| place.iter().all(|name| dataset.schema.has(name)) && dataset.kind == DatasetKind::Derived);
            if let Some(parked) = parked.filter(|_| !of_keys) {
                rows = rows.anti(Rel::scan(&parked.name, &parked.schema, AsOf::ThisBatch).select(&place)?, &place)?;
            }
            let mut steps = Steps::default();
            steps.add("lacking", rows.select(asked.iter().copied().chain([FILE, ROW]))?.limit(SHOWN as u64 + 1)?);
            Ok(steps)
        };
        let rows = work.rows(context, &lacking().map_err(Problems::from)?).await?;
        let found = shown(&rows, SHOWN + 1);
        if found.is_empty() {
            return Ok(());
        }
        let names = asked.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let lines: String = found.iter().take(SHOWN).map(|row| format!("\n  {row}")).collect();
        let more = if found.len() > SHOWN { "\n  and more" } else { "" };
        let message = format!("landed rows have NULL where none may stand today, in {names}:{lines}{more}");
        let way = if of_keys { "name other columns, set such rows aside with `on_null_key = \"park\"`" } else { "take out `required`" };
        let help = format!("nothing was changed: {way}, or load the batch again from a file that has the values");
        Err(RunError::refused(Place::default(), message, help))
    }
}

/// How many stored values, and the verb that says that they are something.
pub(crate) fn stored_values(count: u64) -> String {
    if count == 1 { "1 stored value does".to_owned() } else { format!("{count} stored values do") }
}
