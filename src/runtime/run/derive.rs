//! Deriving a batch: its tasks are run and judged.

use std::sync::Arc;

use qetl_core::{
    Column, Flow, Problems,
    ir::Expr,
    plan::{self, InputType, Plan},
};

use super::{flow::FlowRun, judge};
use crate::{
    engine::{BatchContext, KnownBatch, Work},
    error::{Place, RunError},
    panics,
    progress::Event,
    records::{BatchRecord, FlowRecords},
    report::StepReport,
    times,
    waiting::Job,
};

/// Which tasks are run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// Those of a batch; `own`: the one that is being executed.
    Batch { own: bool },
    /// Those of all batches, once; `all`: nothing of what they made before is kept.
    Whole { own: bool, all: bool },
}

/// Where it goes what a batch has to tell; of batches that are derived again, nothing is told.
pub(super) struct Told<'a> {
    pub(super) steps: &'a mut Vec<StepReport>,
    pub(super) warnings: &'a mut Vec<String>,
}

impl FlowRun<'_> {
    /// The plan by which a batch is derived: with the columns that the flow has no more and the batch had, and without those that it
    /// had not. Its tasks give the others NULL.
    fn plan_of(&self, plan: &Arc<Plan>, context: &BatchContext, part: Part) -> Result<Arc<Plan>, RunError> {
        let known = context.known.iter().find(|known| known.batch_id == context.batch_id);
        let lacks = |column: &InputType| column.gone && known.is_some_and(|known| known.lacks.contains(&column.name));
        if matches!(part, Part::Whole { .. }) || !plan.input.iter().any(lacks) {
            return Ok(plan.clone());
        }
        let had = plan.input.iter().filter(|column| !lacks(column)).cloned().collect();
        let mut own = plan::expand(self.flow, had)?;
        for task in &mut own.tasks {
            let (Some(whole), Some(made)) = (plan.dataset(&task.target), task.steps.result()) else { continue };
            if !task.write_mode.is_of_batch() {
                continue;
            }
            let has = |name: &str| made.column_names().any(|own| own == name);
            let value = |column: &Column| if has(&column.name) { Expr::column(&column.name) } else { Expr::null(column.ty) };
            let columns = whole.schema.columns().iter().map(|column| (column.name.clone(), value(column))).collect();
            task.steps.add("with_columns_of_old", made.project(columns).map_err(Problems::from)?);
        }
        Ok(Arc::new(own))
    }

    /// Runs a part of the flow's tasks and judges them.
    pub(super) async fn derive(
        &self,
        plan: &Arc<Plan>,
        work: &mut dyn Work,
        context: &BatchContext,
        job: &Job,
        part: Part,
        told: &mut Told<'_>,
    ) -> Result<(), RunError> {
        let plan = &*self.plan_of(plan, context, part)?;
        let (of_batch, own, all) = match part {
            Part::Batch { own } => (true, own, false),
            Part::Whole { own, all } => (false, own, all),
        };
        for task in plan.tasks.iter().filter(|task| task.write_mode.is_of_batch() == of_batch) {
            let step = task.target.to_string();
            let place = Place::default().step(&step);
            self.progress.tell(Event::StepStarted { flow: self.flow.id().to_owned(), batch_id: context.batch_id, step: step.clone() });
            // Rules for what was landed come before the work on it; the share of deletions is known only after.
            let (before, after): (Vec<_>, Vec<_>) = task.checks.iter().partition(|check| check.is_of_landing());
            let judged = |check: &&&plan::Check| !check.guard || (own && !self.request.accept_guards);
            for check in before.iter().filter(judged) {
                let rows = panics::caught(work.rows(context, &check.steps)).await.map_err(|error| error.at(&place))?;
                told.warnings.extend(judge::judge(self.flow, &plan.input, check, &rows, job).map_err(|error| error.at(&place))?);
            }
            let done = panics::caught(work.run(context, task, all, self.progress)).await.map_err(|error| error.at(&place))?;
            for check in after.iter().filter(judged) {
                let rows = panics::caught(work.rows(context, &check.steps)).await.map_err(|error| error.at(&place))?;
                told.warnings.extend(judge::judge(self.flow, &plan.input, check, &rows, job).map_err(|error| error.at(&place))?);
            }
            self.step_done(context.batch_id, done, told.steps);
        }
        Ok(())
    }

    pub(super) fn step_done(&self, batch_id: i64, done: StepReport, steps: &mut Vec<StepReport>) {
        self.progress.tell(Event::StepDone { flow: self.flow.id().to_owned(), batch_id, report: done.clone() });
        steps.push(done);
    }

    /// Where batches take effect at their execution times, these rise with the ids.
    pub(super) fn refuse_times_that_fall(&self, known: &[KnownBatch], batch_id: i64) -> Result<(), RunError> {
        if !self.flow.properties.batches(self.flow).times_rise {
            return Ok(());
        }
        let Some(place) = known.iter().position(|batch| batch.batch_id == batch_id) else { return Ok(()) };
        let (before, after) = (place.checked_sub(1).and_then(|place| known.get(place)), known.get(place + 1));
        let own = known[place].processed_at;
        let rises = before.is_none_or(|other| other.processed_at < own) && after.is_none_or(|other| own < other.processed_at);
        if rises {
            return Ok(());
        }
        let time = |micros: i64| {
            chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
        };
        let say = |side: &str, other: &KnownBatch| format!("{side} {} (batch {})", time(other.processed_at), other.batch_id);
        let sides: Vec<String> =
            before.map(|other| say("after", other)).into_iter().chain(after.map(|other| say("before", other))).collect();
        let message = format!(
            "the batch's execution time, {}, does not stand between its neighbours': it must be {}",
            time(own),
            sides.join(" and ")
        );
        let help = "it says when rows take effect, or when missing keys end; give one that fits with `--execution-date`";
        Err(RunError::refused(Place::default(), message, help))
    }
}

/// The flow's batches that there will be, ascending: those that there are, one of them replaced or one more. `input`: the columns
/// of the plan.
pub(crate) fn known_batches(flow: &Flow, records: &FlowRecords, input: &[InputType], own: Option<KnownBatch>) -> Arc<Vec<KnownBatch>> {
    let columns: Vec<String> = input.iter().map(|column| column.name.clone()).collect();
    let known = |batch: &BatchRecord| KnownBatch {
        batch_id: batch.batch_id,
        processed_at: batch.processed_at,
        files: batch.files.iter().map(|file| file.name.clone()).collect(),
        lacks: records.lacks(batch, &columns),
    };
    let others = records.batches.iter().filter(|batch| own.as_ref().is_none_or(|own| own.batch_id != batch.batch_id));
    let mut all: Vec<KnownBatch> = others.map(known).chain(own.clone()).collect();
    all.sort_by_key(|batch| batch.batch_id);
    for batch in &mut all {
        batch.processed_at = times::of_batch(flow, batch.batch_id, batch.processed_at);
    }
    Arc::new(all)
}

/// What instructions need to know of one of the known batches.
pub(crate) fn context_of(known: &Arc<Vec<KnownBatch>>, batch_id: i64) -> BatchContext {
    let previous = known.iter().map(|batch| batch.batch_id).filter(|id| *id < batch_id).max();
    let own = known.iter().find(|batch| batch.batch_id == batch_id);
    BatchContext { batch_id, previous, processed_at: own.map_or(0, |batch| batch.processed_at), known: known.clone() }
}
