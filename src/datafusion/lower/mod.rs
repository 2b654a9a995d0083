//! From the IR to DataFusion's logical plans.
//!
//! A plan's columns are those of its relation, in no particular order, found by name. One more may come along, the row
//! hash, wherever rows pass through unchanged: it saves comparing every tracked column.

mod expr;

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    catalog::TableProvider,
    common::{Column as PlanColumn, JoinType, NullEquality, Result, TableReference, plan_err},
    datasource::provider_as_source,
    functions_aggregate::expr_fn::{count, max, min, sum},
    functions_window::expr_fn::row_number,
    logical_expr::{
        EmptyRelation, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameBound, WindowFrameUnits,
    },
    prelude::lit,
    scalar::ScalarValue,
};
use qetl_core::{
    DatasetName,
    ir::{AggregateFunction, AsOf, JoinKind, LatestPerKey, Op, Order, Rel, Steps, WindowFunction, expand},
};
use qetl_runtime::BatchContext;

use crate::stage::ROW_HASH;

pub(crate) use expr::Scope;

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
    let keys = |side: &str, names: Vec<&String>| {
        names.into_iter().map(|name| PlanColumn::new(Some(TableReference::bare(side)), name.as_str())).collect::<Vec<_>>()
    };
    let right = LogicalPlanBuilder::new(right).alias(TableReference::bare("r"))?.build()?;
    let on = (keys("l", on.iter().map(|pair| &pair.0).collect()), keys("r", on.iter().map(|pair| &pair.1).collect()));
    left.alias(TableReference::bare("l"))?.join_detailed(right, kind, on, None, NullEquality::NullEqualsNothing)
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
                self.builder(input)?.filter(scope.lower(predicate)?)?.build()
            }
            Op::Project { input, columns } => {
                let plan = self.rel(input)?;
                let scope = Scope::of(self.batch);
                let hash = has_hash(&plan).then(|| column(ROW_HASH).alias(ROW_HASH));
                let columns = columns.iter().map(|(name, expr)| Ok(scope.lower(expr)?.alias(name))).collect::<Result<Vec<_>>>()?;
                LogicalPlanBuilder::new(plan).project(columns.into_iter().chain(hash))?.build()
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
                join(self.builder(left)?, self.rel(right)?, kind, on)?.project(columns)?.build()
            }
            Op::Union(inputs) => self.union(inputs.iter().map(|input| self.rel(input)).collect::<Result<_>>()?, rel),
            Op::Aggregate { input, keys, columns } => {
                let scope = Scope::of(self.batch);
                let function = |(name, function): &(String, AggregateFunction)| -> Result<Expr> {
                    let expr = match function {
                        AggregateFunction::Count => count(lit(1_i64)),
                        AggregateFunction::Sum(expr) => sum(scope.lower(expr)?),
                        AggregateFunction::Min(expr) => min(scope.lower(expr)?),
                        AggregateFunction::Max(expr) => max(scope.lower(expr)?),
                    };
                    Ok(expr.alias(name))
                };
                let functions = columns.iter().map(function).collect::<Result<Vec<_>>>()?;
                self.builder(input)?.aggregate(keys.iter().map(|key| column(key)), functions)?.build()
            }
            Op::Window { input, name, function, partition, order } => {
                let WindowFunction::RowNumber = function;
                let rows = WindowFrame::new_bounds(
                    WindowFrameUnits::Rows,
                    WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
                    WindowFrameBound::CurrentRow,
                );
                let window = row_number()
                    .partition_by(partition.iter().map(|name| column(name)).collect())
                    .order_by(self.order(order)?)
                    .window_frame(rows)
                    .build()?;
                let plan = self.builder(input)?.window(vec![window.alias(name)])?;
                // The engine counts rows unsigned.
                let columns = plan.schema().columns().into_iter().map(|found| {
                    let expr = Expr::Column(found.clone());
                    let expr =
                        if found.name == *name { datafusion::logical_expr::cast(expr, arrow::datatypes::DataType::Int64) } else { expr };
                    expr.alias(found.name)
                });
                let columns: Vec<Expr> = columns.collect();
                plan.project(columns)?.build()
            }
            Op::Sort { input, order } => self.builder(input)?.sort(self.order(order)?)?.build(),
            Op::Limit { input, rows } => self.builder(input)?.limit(0, Some(usize::try_from(*rows).unwrap_or(usize::MAX)))?.build(),
            Op::LatestPerKey(latest) => self.latest_per_key(latest, rel),
            // Its native form runs in two stages (`classify`); as one plan it is what it is defined as.
            Op::Classify(_) => {
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
        let mut aligned =
            plans.into_iter().map(|plan| LogicalPlanBuilder::new(plan).project(names.iter().map(|name| column(name).alias(*name))));
        let Some(first) = aligned.next() else { return plan_err!("a union of nothing") };
        aligned.try_fold(first?, |all, next| all.union(next?.build()?))?.build()
    }

    fn latest_per_key(&self, latest: &LatestPerKey, rel: &Rel) -> Result<LogicalPlan> {
        let Some(dead) = &latest.dead else { return self.greatest(self.rel(&latest.input)?, latest) };
        // The previous batch has every key, but for the dead ones and those in the gaps: so only these are looked for
        // in the whole history.
        let previous = self.rel(&latest.input.history_as_of(AsOf::PreviousBatch))?;
        let history = self.rel(&latest.input)?;
        let scope = Scope::of(self.batch);
        let mut others = LogicalPlanBuilder::new(history.clone()).filter(scope.lower(dead)?)?.build()?;
        if let Some(gaps) = &latest.gaps {
            let gaps = join(self.builder(gaps)?, history, JoinType::RightSemi, &pairs(&latest.keys))?.build()?;
            let live = LogicalPlanBuilder::new(gaps).filter(scope.lower(dead)?.is_not_true())?.build()?;
            others = self.union(vec![others, live], rel)?;
        }
        let others = self.greatest(others, latest)?;
        let others = join(LogicalPlanBuilder::new(others), previous.clone(), JoinType::LeftAnti, &pairs(&latest.keys))?.build()?;
        self.union(vec![previous, others], rel)
    }

    /// For each key the row with the greatest `by`: the greatest value a key, and back to its row.
    fn greatest(&self, plan: LogicalPlan, latest: &LatestPerKey) -> Result<LogicalPlan> {
        let names: Vec<String> = plan.schema().columns().into_iter().map(|column| column.name).collect();
        let greatest = LogicalPlanBuilder::new(plan.clone())
            .aggregate(latest.keys.iter().map(|key| column(key)), vec![max(column(&latest.by)).alias(&latest.by)])?;
        let mut on = pairs(&latest.keys);
        on.push((latest.by.clone(), latest.by.clone()));
        join(greatest, plan, JoinType::Inner, &on)?.project(names.iter().map(|name| column_of("r", name).alias(name)))?.build()
    }
}

fn swapped(on: &[(String, String)]) -> Vec<(String, String)> {
    on.iter().map(|(a, b)| (b.clone(), a.clone())).collect()
}
