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
    logical_expr::LogicalPlan,
    physical_plan::{
        execute_stream_partitioned,
        statistics::{StatisticsArgs, StatisticsContext},
        streaming::PartitionStream,
    },
};
use futures::StreamExt;
use qetl_core::ir::{Op, Period, Rel, Sessionize, Step, Steps};
use qetl_runtime::BatchContext;
use tokio::task::JoinSet;

use crate::{
    functions,
    lower::{Lowering, empty_like, scan},
    scratch::Scratch,
    sessions::{Buckets, Cut, Dealer, schema_of},
    staging::{drain, join_all, lock, take},
    view::View,
    work::DataFusionWork,
};

impl DataFusionWork {
    /// Lowers steps, computing those that are small first.
    pub(crate) async fn prepare(&mut self, batch: &BatchContext, steps: &Steps) -> PlanResult<BTreeMap<String, LogicalPlan>> {
        let mut done: BTreeMap<String, LogicalPlan> = BTreeMap::new();
        for step in &steps.0 {
            let known = self.computed.iter().find(|(id, rel, _)| *id == batch.batch_id && *rel == step.rel).map(|found| found.2.clone());
            let plan = match known {
                Some(plan) => plan,
                None => self.prepare_step(batch, &done, step).await?,
            };
            done.insert(step.name.clone(), plan);
        }
        Ok(done)
    }

    async fn prepare_step(&mut self, batch: &BatchContext, done: &BTreeMap<String, LogicalPlan>, step: &Step) -> PlanResult<LogicalPlan> {
        let lower = |lower: &dyn Fn(Lowering<'_>) -> PlanResult<LogicalPlan>| {
            let view = View { work: self, batch };
            lower(Lowering { steps: done.clone(), ..self.lowering(batch, &view) })
        };
        let plan = match &*step.rel.op {
            // The state is read more than once, and of its older part little is left: so that is worked out once.
            Op::LatestPerKey(latest) if latest.dead.is_some() => {
                let older = lower(&|lowering| lowering.older(latest, &step.rel)?.map_or_else(|| plan_err!("there is no older part"), Ok))?;
                let older = self.compute(&step.name, older).await?;
                if matches!(older, LogicalPlan::EmptyRelation(_)) {
                    lower(&|lowering| lowering.previous(latest))?
                } else {
                    let older = lower(&|lowering| lowering.older_latest(latest, older.clone()))?;
                    let older = self.compute(&step.name, older).await?;
                    lower(&|lowering| lowering.with_older(latest, &step.rel, older.clone()))?
                }
            }
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
            _ => return lower(&|lowering| lowering.rel(&step.rel)),
        };
        self.computed.push((batch.batch_id, step.rel.clone(), plan.clone()));
        Ok(plan)
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
            let view = View { work: self, batch };
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
    async fn compute(&self, name: &str, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
        let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
        let scratch = Arc::new(Mutex::new(Scratch::new(schema, self.spill_folder())));
        let shared = scratch.clone();
        let empty = empty_like(&plan);
        drain(&self.session, plan, move |batch| lock(&shared).push(&batch)).await?;
        match take(scratch).finish()? {
            Some(provider) => scan(name, provider)?.build(),
            None => Ok(empty),
        }
    }
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
