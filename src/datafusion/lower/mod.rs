//! From the IR to DataFusion's logical plans.
//!
//! A plan's columns are those of its relation, in no particular order, found by name. One more may come along, the row
//! hash, wherever rows pass through unchanged: it saves comparing every tracked column.

mod expr;
mod wide;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::{
    catalog::TableProvider,
    common::{Column as PlanColumn, JoinType, NullEquality, Result, TableReference, plan_err},
    datasource::{MemTable, provider_as_source, source_as_provider},
    functions_aggregate::{
        expr_fn::{count, max, min},
        min_max::max_udaf,
    },
    functions_window::{
        expr_fn::{lag, lead, row_number},
        nth_value::first_value,
    },
    logical_expr::{
        EmptyRelation, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameBound, WindowFrameUnits, cast,
        expr::WindowFunction as WindowCall,
    },
    prelude::lit,
    scalar::ScalarValue,
};
use qetl_core::{
    DatasetName,
    ir::{AggregateFunction, AsOf, JoinKind, LatestPerKey, Op, Order, Rel, Sessionize, Sessions, Steps, WindowFunction, expand},
};
use qetl_ingest::arrow_type;
use qetl_runtime::BatchContext;

use crate::{exact, sessions::order_column, stage::ROW_HASH};

pub(crate) use expr::Scope;
pub(crate) use wide::{filter, project};

/// Where scans find their rows.
pub(crate) trait Tables {
    /// The dataset's rows of those batches, with the columns of `rel`; the row hash too if the dataset has it.
    fn table(&self, dataset: &DatasetName, rel: &Rel, as_of: AsOf) -> Result<Arc<dyn TableProvider>>;
}

/// Everything that a relation may refer to while it is lowered.
pub(crate) struct Lowering<'a> {
    pub(crate) tables: &'a dyn Tables,
    pub(crate) batch: &'a BatchContext,
    /// Steps that were lowered or computed.
    pub(crate) steps: BTreeMap<String, LogicalPlan>,
}

/// A column of a plan whose names are unique.
pub(crate) fn column(name: &str) -> Expr {
    Expr::Column(PlanColumn::new_unqualified(name))
}

/// A column of one side of a join.
pub(crate) fn column_of(side: &str, name: &str) -> Expr {
    Expr::Column(PlanColumn::new(Some(TableReference::bare(side)), name))
}

pub(crate) fn has_hash(plan: &LogicalPlan) -> bool {
    plan.schema().has_column_with_unqualified_name(ROW_HASH)
}

/// A plan that reads a provider under a name that people see.
pub(crate) fn scan(name: &str, provider: Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder> {
    LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(provider), None)
}

/// Joins on equal keys, the left plan as the one that is held in memory.
pub(crate) fn join(left: LogicalPlanBuilder, right: LogicalPlan, kind: JoinType, on: &[(String, String)]) -> Result<LogicalPlanBuilder> {
    join_sides(("l", left.build()?), ("r", right), kind, on)
}

/// Joins plans under the names that their columns are asked for by; the first one is held in memory.
fn join_sides(
    (held_name, held): (&str, LogicalPlan),
    (passing_name, passing): (&str, LogicalPlan),
    kind: JoinType,
    on: &[(String, String)],
) -> Result<LogicalPlanBuilder> {
    let keys = |side: &str, names: Vec<&String>| {
        names.into_iter().map(|name| PlanColumn::new(Some(TableReference::bare(side)), name.as_str())).collect::<Vec<_>>()
    };
    let alias = |plan: LogicalPlan, name: &str| LogicalPlanBuilder::new(plan).alias(TableReference::bare(name));
    let on = (keys(held_name, on.iter().map(|pair| &pair.0).collect()), keys(passing_name, on.iter().map(|pair| &pair.1).collect()));
    let passing = alias(passing, passing_name)?.build()?;
    alias(held, held_name)?.join_detailed(passing, kind, on, None, NullEquality::NullEqualsNothing)
}

/// Whether the plan only chooses columns of rows that are in memory already, as the list of batches is.
fn is_in_memory(plan: &LogicalPlan) -> bool {
    if let LogicalPlan::TableScan(scan) = plan {
        return source_as_provider(&scan.source).is_ok_and(|provider| provider.downcast_ref::<MemTable>().is_some());
    }
    let chooses = matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_));
    chooses && plan.inputs().iter().all(|input| is_in_memory(input))
}

pub(crate) fn pairs(keys: &[String]) -> Vec<(String, String)> {
    keys.iter().map(|key| (key.clone(), key.clone())).collect()
}

/// An empty relation with the columns of a plan.
pub(crate) fn empty_like(plan: &LogicalPlan) -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: plan.schema().clone() })
}

impl Lowering<'_> {
    /// Lowers steps that nothing was computed of; the result is the last one's plan.
    pub(crate) fn steps(&mut self, steps: &Steps) -> Result<LogicalPlan> {
        let mut last = None;
        for step in &steps.0 {
            let plan = match self.steps.get(&step.name) {
                Some(plan) => plan.clone(),
                None => self.rel(&step.rel)?,
            };
            self.steps.insert(step.name.clone(), plan.clone());
            last = Some(plan);
        }
        last.map_or_else(|| plan_err!("no steps to lower"), Ok)
    }

    pub(crate) fn rel(&self, rel: &Rel) -> Result<LogicalPlan> {
        match &*rel.op {
            Op::Scan { dataset, as_of } => scan(&dataset.name, self.tables.table(dataset, rel, *as_of)?)?.build(),
            Op::Ref { step } => self.steps.get(step).cloned().map_or_else(|| plan_err!("step `{step}` is not known"), Ok),
            Op::Filter { input, predicate } => {
                let scope = Scope::of(self.batch);
                filter(self.rel(input)?, scope.lower(predicate)?)
            }
            Op::Project { input, columns } => {
                let plan = self.rel(input)?;
                let scope = Scope::of(self.batch);
                let hash = has_hash(&plan).then(|| column(ROW_HASH).alias(ROW_HASH));
                let columns = columns.iter().map(|(name, expr)| Ok(scope.lower(expr)?.alias(name))).collect::<Result<Vec<_>>>()?;
                project(plan, columns.into_iter().chain(hash))
            }
            // The right relation of a semi or anti join is the small one: it is held, the left one passes by.
            Op::Join { kind: JoinKind::Semi, left, right, on, .. } => {
                join(self.builder(right)?, self.rel(left)?, JoinType::RightSemi, &swapped(on))?.build()
            }
            Op::Join { kind: JoinKind::Anti, left, right, on, .. } => {
                join(self.builder(right)?, self.rel(left)?, JoinType::RightAnti, &swapped(on))?.build()
            }
            Op::Join { kind, left, right, on, columns } => {
                let kind = match kind {
                    JoinKind::Inner => JoinType::Inner,
                    JoinKind::Left => JoinType::Left,
                    JoinKind::Full => JoinType::Full,
                    JoinKind::Semi | JoinKind::Anti => unreachable!("they are lowered above"),
                };
                let scope = Scope::of_join(self.batch);
                let columns = columns.iter().map(|(name, expr)| Ok(scope.lower(expr)?.alias(name))).collect::<Result<Vec<_>>>()?;
                let (left, right) = (self.rel(left)?, self.rel(right)?);
                let joined = if is_in_memory(&right) && !is_in_memory(&left) {
                    join_sides(("r", right), ("l", left), kind.swap(), &swapped(on))?
                } else {
                    join_sides(("l", left), ("r", right), kind, on)?
                };
                project(joined.build()?, columns)
            }
            Op::Union(inputs) => self.union(inputs.iter().map(|input| self.rel(input)).collect::<Result<_>>()?, rel),
            Op::Aggregate { input, keys, columns } => {
                let scope = Scope::of(self.batch);
                let function = |(name, function): &(String, AggregateFunction)| -> Result<Expr> {
                    let expr = match function {
                        AggregateFunction::Count => count(lit(1_i64)),
                        AggregateFunction::Sum(expr) => exact::summing().call(vec![scope.lower(expr)?]),
                        AggregateFunction::Min(expr) => min(scope.lower(expr)?),
                        AggregateFunction::Max(expr) => max(scope.lower(expr)?),
                    };
                    Ok(expr.alias(name))
                };
                let functions = columns.iter().map(function).collect::<Result<Vec<_>>>()?;
                let plan = self.builder(input)?.aggregate(keys.iter().map(|key| column(key)), functions)?;
                let sums = columns.iter().filter(|(_, function)| matches!(function, AggregateFunction::Sum(_)));
                let sums: HashSet<&str> = sums.map(|(name, _)| name.as_str()).collect();
                if sums.is_empty() {
                    return plan.build();
                }
                // The engine widens sums.
                let narrow = rel.columns().iter().map(|found| {
                    let expr = column(&found.name);
                    let expr = if sums.contains(found.name.as_str()) { cast(expr, arrow_type(found.ty)) } else { expr };
                    expr.alias(&found.name)
                });
                project(plan.build()?, narrow)
            }
            Op::Window { input, columns, partition, order } => {
                let rows = WindowFrame::new_bounds(
                    WindowFrameUnits::Rows,
                    WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
                    WindowFrameBound::CurrentRow,
                );
                let scope = Scope::of(self.batch);
                let window = |(name, function): &(String, WindowFunction)| -> Result<Expr> {
                    let call = match function {
                        WindowFunction::RowNumber => row_number(),
                        WindowFunction::Lag(expr) => lag(scope.lower(expr)?, Some(1), None),
                        WindowFunction::Lead(expr) => lead(scope.lower(expr)?, Some(1), None),
                        WindowFunction::First(expr) => first_value(scope.lower(expr)?),
                        WindowFunction::RunningSum(expr) => Expr::from(WindowCall::new(exact::summing(), vec![scope.lower(expr)?])),
                        WindowFunction::RunningMax(expr) => Expr::from(WindowCall::new(max_udaf(), vec![scope.lower(expr)?])),
                        WindowFunction::MinBeyond { .. } => return plan_err!("sessions are cut before the plan"),
                    };
                    let by = partition.iter().map(|name| column(name)).collect();
                    let window = call.partition_by(by).order_by(self.order(order)?).window_frame(rows.clone()).build()?;
                    Ok(window.alias(name))
                };
                let plan = wide::window(self.rel(input)?, columns.iter().map(window).collect::<Result<Vec<_>>>()?)?;
                // The engine counts rows unsigned, and widens sums.
                let narrow = plan.schema().columns().into_iter().map(|found| {
                    let place = rel.schema().place(&found.name).filter(|place| *place >= input.columns().len());
                    let expr = Expr::Column(found.clone());
                    let expr = place.map_or(expr.clone(), |place| cast(expr, arrow_type(rel.columns()[place].ty)));
                    expr.alias(found.name)
                });
                let narrow: Vec<Expr> = narrow.collect();
                project(plan, narrow)
            }
            Op::Sort { input, order } => self.builder(input)?.sort(self.order(order)?)?.build(),
            Op::Limit { input, rows } => self.builder(input)?.limit(0, Some(usize::try_from(*rows).unwrap_or(usize::MAX)))?.build(),
            Op::LatestPerKey(latest) => self.latest_per_key(latest, rel),
            Op::Batches => scan("batches", self.batches()?)?.build(),
            Op::Periods { .. } => plan_err!("periods are worked out before the plan"),
            Op::Follow { .. } => plan_err!("sessions are cut before the plan"),
            // Its native form runs in two stages (`classify`); as one plan it is what it is defined as.
            Op::Classify(_) | Op::Sessionize(_) => {
                let mut alone = Steps::default();
                alone.add("classified", rel.clone());
                let plain = expand(&alone).map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))?;
                Lowering { tables: self.tables, batch: self.batch, steps: self.steps.clone() }.steps(&plain)
            }
        }
    }

    fn builder(&self, rel: &Rel) -> Result<LogicalPlanBuilder> {
        self.rel(rel).map(LogicalPlanBuilder::new)
    }

    fn order(&self, order: &[Order]) -> Result<Vec<datafusion::logical_expr::SortExpr>> {
        let scope = Scope::of(self.batch);
        order.iter().map(|key| Ok(scope.lower(&key.by)?.sort(!key.descending, true))).collect()
    }

    /// All rows of all plans; the hash stays if all have it.
    fn union(&self, plans: Vec<LogicalPlan>, rel: &Rel) -> Result<LogicalPlan> {
        let hash = plans.iter().all(has_hash).then_some(ROW_HASH);
        let names: Vec<&str> = rel.column_names().chain(hash).collect();
        let mut aligned = plans.into_iter().map(|plan| project(plan, names.iter().map(|name| column(name).alias(*name))));
        let Some(first) = aligned.next() else { return plan_err!("a union of nothing") };
        aligned.try_fold(LogicalPlanBuilder::new(first?), |all, next| all.union(next?))?.build()
    }

    /// The events that are to be cut into sessions: only the columns that are needed, and those that they are in order by.
    pub(crate) fn events(&self, spec: &Sessionize) -> Result<LogicalPlan> {
        let scope = Scope::of(self.batch);
        let mut names: Vec<&str> = vec![&spec.user, &spec.time];
        match &spec.give {
            Sessions::Events => names.extend(spec.input.column_names()),
            Sessions::Sessions(columns) => names.extend(columns.iter().map(String::as_str).chain(["xt_batch_id"])),
        }
        let mut seen = HashSet::new();
        let mut columns: Vec<Expr> = names.into_iter().filter(|name| seen.insert(*name)).map(|name| column(name).alias(name)).collect();
        for (n, key) in spec.order.iter().enumerate() {
            columns.push(scope.lower(key)?.alias(order_column(n)));
        }
        project(self.rel(&spec.input)?, columns)
    }

    fn batches(&self) -> Result<Arc<dyn TableProvider>> {
        let known = &self.batch.known;
        let ids = Int64Array::from_iter_values(known.iter().map(|batch| batch.batch_id));
        let times = TimestampMicrosecondArray::from_iter_values(known.iter().map(|batch| batch.processed_at)).with_timezone("UTC");
        let rows = RecordBatch::try_from_iter([("xt_batch_id", Arc::new(ids) as ArrayRef), ("xt_processed_at", Arc::new(times))])?;
        Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
    }

    fn latest_per_key(&self, latest: &LatestPerKey, rel: &Rel) -> Result<LogicalPlan> {
        match self.older(latest, rel)? {
            None => self.greatest(self.rel(&latest.input)?, latest),
            Some(older) => self.with_older(latest, rel, self.older_latest(latest, older)?),
        }
    }

    /// With a promise of where the latest rows are: the rows of the whole history among which those must be looked for
    /// that the previous batch does not hold, which are the dead ones and those of the keys in the gaps.
    pub(crate) fn older(&self, latest: &LatestPerKey, rel: &Rel) -> Result<Option<LogicalPlan>> {
        let Some(dead) = &latest.dead else { return Ok(None) };
        let history = self.rel(&latest.input)?;
        let scope = Scope::of(self.batch);
        let mut older = filter(history.clone(), scope.lower(dead)?)?;
        if let Some(gaps) = &latest.gaps {
            let gaps = join(self.builder(gaps)?, history, JoinType::RightSemi, &pairs(&latest.keys))?.build()?;
            let live = filter(gaps, scope.lower(dead)?.is_not_true())?;
            older = self.union(vec![older, live], rel)?;
        }
        Ok(Some(older))
    }

    /// The latest of the older rows, without the keys that the previous batch holds.
    pub(crate) fn older_latest(&self, latest: &LatestPerKey, older: LogicalPlan) -> Result<LogicalPlan> {
        let older = LogicalPlanBuilder::new(self.greatest(older, latest)?);
        join(older, self.previous(latest)?, JoinType::LeftAnti, &pairs(&latest.keys))?.build()
    }

    /// The rows of the previous batch and those older ones.
    pub(crate) fn with_older(&self, latest: &LatestPerKey, rel: &Rel, older: LogicalPlan) -> Result<LogicalPlan> {
        self.union(vec![self.previous(latest)?, older], rel)
    }

    pub(crate) fn previous(&self, latest: &LatestPerKey) -> Result<LogicalPlan> {
        self.rel(&latest.input.history_as_of(AsOf::PreviousBatch))
    }

    /// For each key the row with the greatest `by`: the greatest value a key, and back to its row.
    pub(crate) fn greatest(&self, plan: LogicalPlan, latest: &LatestPerKey) -> Result<LogicalPlan> {
        let names: Vec<String> = plan.schema().columns().into_iter().map(|column| column.name).collect();
        let greatest = LogicalPlanBuilder::new(plan.clone())
            .aggregate(latest.keys.iter().map(|key| column(key)), vec![max(column(&latest.by)).alias(&latest.by)])?;
        let mut on = pairs(&latest.keys);
        on.push((latest.by.clone(), latest.by.clone()));
        project(join(greatest, plan, JoinType::Inner, &on)?.build()?, names.iter().map(|name| column_of("r", name).alias(name)))
    }
}

fn swapped(on: &[(String, String)]) -> Vec<(String, String)> {
    on.iter().map(|(a, b)| (b.clone(), a.clone())).collect()
}
