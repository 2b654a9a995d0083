//! Steps of instructions, made ready to run: those that are small or read more than once are computed first.
#![expect(clippy::wildcard_enum_match_arm, reason = "all other steps are lowered alike")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, RecordBatch},
    datatypes::{Date32Type, SchemaRef},
};
use datafusion::{
    catalog::streaming::StreamingTable,
    common::plan_err,
    datasource::MemTable,
    error::Result as PlanResult,
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
    physical_plan::{
        execute_stream_partitioned,
        statistics::{StatisticsArgs, StatisticsContext},
        streaming::PartitionStream,
    },
};
use futures::StreamExt;
use qetl_core::{
    DatasetName,
    ir::{LatestPerKey, Op, Period, Rel, Sessionize, Step, Steps},
};
use qetl_runtime::{BatchContext, progress::Progress};
use tokio::task::JoinSet;

use crate::{
    catalog::Checkpoint,
    functions,
    history::{Chosen, OfKeys},
    lower::{Lowering, empty_like, scan},
    scan::PinnedTable,
    scratch::Scratch,
    sessions::{Buckets, Cut, Dealer, schema_of},
    stage::remove,
    staging::{drain, external, join_all, lock, take, write},
    view::{View, chosen_of},
    work::DataFusionWork,
};

impl DataFusionWork {
    /// Lowers steps, computing those that are small first.
    pub(crate) async fn prepare(&mut self, batch: &BatchContext, steps: &Steps) -> PlanResult<BTreeMap<String, LogicalPlan>> {
        let mut done: BTreeMap<String, LogicalPlan> = BTreeMap::new();
        let steps = &steps.with_steps_for(worked_out);
        for (place, step) in steps.0.iter().enumerate() {
            let is_computed = step.small || worked_out(&step.rel.op) || matches!(&*step.rel.op, Op::LatestPerKey(_));
            let plan = if is_computed {
                // What a name means is said by the steps before it.
                let made_from = Steps(steps.0[..=place].to_vec()).needed();
                let known = self.computed.iter().find(|(id, from, _)| *id == batch.batch_id && *from == made_from);
                match known.map(|(.., plan)| plan.clone()) {
                    Some(plan) => plan,
                    None => {
                        let plan = self.prepare_step(batch, &done, step).await?;
                        self.computed.push((batch.batch_id, made_from, plan.clone()));
                        plan
                    }
                }
            } else {
                self.prepare_step(batch, &done, step).await?
            };
            done.insert(step.name.clone(), plan);
        }
        Ok(done)
    }

    async fn prepare_step(&mut self, batch: &BatchContext, done: &BTreeMap<String, LogicalPlan>, step: &Step) -> PlanResult<LogicalPlan> {
        let lower = |lower: &dyn Fn(Lowering<'_>) -> PlanResult<LogicalPlan>| {
            let view = View::of(self, batch);
            lower(Lowering { steps: done.clone(), ..self.lowering(batch, &view) })
        };
        if let Some(of) = OfKeys::of(&step.rel.op) {
            return self.latest_of_keys(batch, done, &of, step).await;
        }
        let plan = match &*step.rel.op {
            Op::LatestPerKey(latest) if latest.dead.is_some() => self.state(batch, done, latest, step).await?,
            Op::Sessionize(spec) => self.sessionize(batch, done, spec, &step.rel).await?,
            Op::Periods { bounds, period, name } => {
                let bounds = lower(&|lowering| lowering.rel(bounds))?;
                let rows = self.session.execute_logical_plan(bounds).await?.collect().await?;
                periods(&rows, *period, name)?
            }
            _ if step.small => {
                let plan = lower(&|lowering| lowering.rel(&step.rel))?;
                self.compute(&step.name, plan).await?
            }
            _ => lower(&|lowering| lowering.rel(&step.rel))?,
        };
        Ok(plan)
    }

    /// The state is read more than once, and of its older part little is left: so that is worked out once. Now and then
    /// that is kept as a checkpoint, so that the next batches need not look for it in all batches.
    async fn state(
        &mut self,
        batch: &BatchContext,
        done: &BTreeMap<String, LogicalPlan>,
        latest: &LatestPerKey,
        step: &Step,
    ) -> PlanResult<LogicalPlan> {
        let feed = latest.input.first_scan().cloned();
        let checkpoint = feed.as_ref().filter(|_| latest.gaps.is_none()).and_then(|feed| self.checkpoint(feed, batch.batch_id));
        // The keys of its last batch, deleted ones included, stand in that batch alone.
        let told_to = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.batch_id - 1);
        let lower = |lower: &dyn Fn(Lowering<'_>) -> PlanResult<LogicalPlan>| {
            let view = View { told_to, ..View::of(self, batch) };
            lower(Lowering { steps: done.clone(), ..self.lowering(batch, &view) })
        };
        let mut older = lower(&|lowering| lowering.older(latest, &step.rel)?.map_or_else(|| plan_err!("there is no older part"), Ok))?;
        if let (Some(checkpoint), Some(feed)) = (checkpoint, &feed) {
            let file = checkpoint_table(&older, checkpoint, feed, None)?;
            older = LogicalPlanBuilder::new(older).union(file)?.build()?;
        }
        let older = self.compute(&step.name, older).await?;
        if matches!(older, LogicalPlan::EmptyRelation(_)) {
            return lower(&|lowering| lowering.previous(latest));
        }
        let older = lower(&|lowering| lowering.older_latest(latest, older.clone()))?;
        let older = self.compute(&step.name, older).await?;
        let state = lower(&|lowering| lowering.with_older(latest, &step.rel, older.clone()))?;
        if let Some(feed) = feed.filter(|feed| latest.gaps.is_none() && self.wants_checkpoint(feed, told_to, batch)) {
            let layout = self.layout(&feed).map_err(external)?;
            let written = write(&self.session, older, layout, None, &Progress::silent()).await?;
            let kept = (batch.previous.unwrap_or(0), written.files);
            if let Some((_, old)) = self.checkpoints.insert(feed, kept) {
                remove(&old);
            }
        }
        Ok(state)
    }

    /// The checkpoint that tells of batches below that one and of none that was derived again.
    pub(crate) fn checkpoint(&self, feed: &DatasetName, below: i64) -> Option<Checkpoint> {
        let table = self.snapshot.tables.get(feed)?;
        let found = self.catalog.checkpoint(table).ok()??;
        let first_staged = self.staged.get(feed).and_then(|staged| staged.keys().next().copied());
        (found.batch_id < below && first_staged.is_none_or(|first| found.batch_id < first)).then_some(found)
    }

    /// Whether the newest batch has to look into many files.
    fn wants_checkpoint(&self, feed: &DatasetName, told_to: i64, batch: &BatchContext) -> bool {
        let is_newest = batch.known.last().is_some_and(|last| last.batch_id == batch.batch_id);
        let untold = batch.known.iter().filter(|known| known.batch_id > told_to && known.batch_id < batch.batch_id).count();
        let is_complete = self.has_usable_hash(feed);
        is_newest && is_complete && untold >= self.limits.tuning.kept_after && self.staged.get(feed).is_none_or(BTreeMap::is_empty)
    }

    /// Deals all events into buckets; the plan that it gives cuts them into sessions, bucket by bucket.
    async fn sessionize(
        &self,
        batch: &BatchContext,
        done: &BTreeMap<String, LogicalPlan>,
        spec: &Sessionize,
        rel: &Rel,
    ) -> PlanResult<LogicalPlan> {
        let events = {
            let view = View::of(self, batch);
            let lowering = Lowering { steps: done.clone(), ..self.lowering(batch, &view) };
            lowering.events(spec)?
        };
        let physical = self.session.state().create_physical_plan(&events).await?;
        let statistics = StatisticsContext::new().compute(physical.as_ref(), &StatisticsArgs::new());
        let rows = statistics.ok().and_then(|statistics| statistics.num_rows.get_value().copied());
        let most = usize::try_from(self.limits.memory / 4).unwrap_or(usize::MAX);
        let buckets = Buckets::new(physical.schema(), &spec.user, rows, most, self.spill_folder())?;
        let buckets = Arc::new(Mutex::new(buckets));
        let mut tasks = JoinSet::new();
        for mut stream in execute_stream_partitioned(physical, self.session.task_ctx())? {
            let mut dealer = Dealer::new(buckets.clone());
            tasks.spawn(async move {
                while let Some(batch) = stream.next().await {
                    dealer.push(batch?)?;
                }
                dealer.finish()
            });
        }
        join_all(tasks).await?;
        let mut buckets = take(buckets);
        buckets.finish()?;
        let (buckets, spec, schema) = (Arc::new(buckets), Arc::new(spec.clone()), schema_of(rel.columns()));
        let of = self.limits.threads;
        let cut = |first| {
            Arc::new(Cut { buckets: buckets.clone(), spec: spec.clone(), schema: schema.clone(), first, of }) as Arc<dyn PartitionStream>
        };
        let partitions = (0..of).map(cut).collect();
        scan("sessions", Arc::new(StreamingTable::try_new(schema.clone(), partitions)?))?.build()
    }

    /// Executes a plan and gives one that reads its rows.
    pub(crate) async fn compute(&self, name: &str, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
        let scratch = Arc::new(Mutex::new(Scratch::new(plan.schema().as_arrow(), self.spill_folder())));
        let shared = scratch.clone();
        let empty = empty_like(&plan);
        drain(&self.session, plan, move |batch| lock(&shared).push(&batch)).await?;
        match take(scratch).finish()? {
            Some(provider) => scan(name, provider)?.build(),
            None => Ok(empty),
        }
    }
}

/// What is no plan of the engine's, and worked out before one.
pub(crate) fn worked_out(op: &Op) -> bool {
    matches!(op, Op::Sessionize(_) | Op::Periods { .. })
}

/// The rows of a checkpoint, with the columns of the rows that they are added to.
pub(crate) fn checkpoint_table(
    like: &LogicalPlan,
    checkpoint: Checkpoint,
    feed: &DatasetName,
    chosen: Option<&Chosen>,
) -> PlanResult<LogicalPlan> {
    let schema: SchemaRef = Arc::new(like.schema().as_arrow().clone());
    scan(&feed.name, Arc::new(PinnedTable::of_rows(schema, chosen_of(checkpoint.files, chosen), None)))?.build()
}

/// The first days of the periods that the only row's `xt_first` and `xt_last` bound.
fn periods(rows: &[RecordBatch], period: Period, name: &str) -> PlanResult<LogicalPlan> {
    let day = |column: &str| {
        rows.iter().filter(|batch| batch.num_rows() > 0).find_map(|batch| {
            let days = batch.column_by_name(column)?.as_primitive_opt::<Date32Type>()?;
            days.is_valid(0).then(|| days.value(0))
        })
    };
    let days = match (day("xt_first"), day("xt_last")) {
        (Some(first), Some(last)) => functions::periods(period, first, last),
        _ => Vec::new(),
    };
    let days = RecordBatch::try_from_iter([(name, Arc::new(Date32Array::from(days)) as ArrayRef)])?;
    scan("periods", Arc::new(MemTable::try_new(days.schema(), vec![vec![days]])?))?.build()
}
