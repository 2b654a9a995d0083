//! Walks through relations and expressions.

use std::collections::BTreeSet;

use crate::{Plan, plan::WriteMode};

use super::{AggregateFunction, Expr, Function, Op, Rel, Side, Steps, WindowFunction};

impl Expr {
    /// The expressions that it is made of.
    pub fn parts(&self) -> Vec<&Expr> {
        match self {
            Expr::Column { .. } | Expr::Literal(_) | Expr::Param(_) => Vec::new(),
            Expr::Binary { left, right, .. } => vec![left, right],
            Expr::Not(expr) | Expr::IsNull(expr) | Expr::Cast { expr, .. } => vec![expr],
            Expr::Case { branches, otherwise } => {
                branches.iter().flat_map(|(when, then)| [when, then]).chain(otherwise.as_deref()).collect()
            }
            Expr::JoinText { parts, .. } => parts.iter().collect(),
            Expr::Call { arguments, .. } => arguments.iter().collect(),
        }
    }

    /// Tells every column that it reads, as often as it does.
    pub fn each_column<'a>(&'a self, tell: &mut dyn FnMut(Option<Side>, &'a str)) {
        if let Expr::Column { side, name } = self {
            tell(*side, name);
        }
        self.parts().into_iter().for_each(|part| part.each_column(tell));
    }
}

impl WindowFunction {
    /// What it is of.
    pub fn argument(&self) -> Option<&Expr> {
        match self {
            WindowFunction::RowNumber => None,
            WindowFunction::Lag(expr)
            | WindowFunction::Lead(expr)
            | WindowFunction::First(expr)
            | WindowFunction::RunningSum(expr)
            | WindowFunction::RunningMax(expr)
            | WindowFunction::MinBeyond { of: expr, .. } => Some(expr),
        }
    }
}

impl Rel {
    /// The expressions of its own, without those of its inputs.
    pub fn expressions(&self) -> Vec<&Expr> {
        match &*self.op {
            Op::Filter { predicate, .. } => vec![predicate],
            Op::Project { columns, .. } | Op::Join { columns, .. } => columns.iter().map(|(_, expr)| expr).collect(),
            Op::Aggregate { columns, .. } => columns
                .iter()
                .filter_map(|(_, function)| match function {
                    AggregateFunction::Count => None,
                    AggregateFunction::Sum(expr) | AggregateFunction::Min(expr) | AggregateFunction::Max(expr) => Some(expr),
                })
                .collect(),
            Op::Window { columns, order, .. } => {
                order.iter().map(|order| &order.by).chain(columns.iter().filter_map(|(_, function)| function.argument())).collect()
            }
            Op::Sort { order, .. } => order.iter().map(|order| &order.by).collect(),
            Op::LatestPerKey(latest) => latest.dead.iter().collect(),
            Op::Sessionize(sessionize) => sessionize.order.iter().collect(),
            Op::Follow { begin, .. } => vec![begin],
            Op::Scan { .. } | Op::Ref { .. } | Op::Union(_) | Op::Limit { .. } | Op::Classify(_) | Op::Batches | Op::Periods { .. } => {
                Vec::new()
            }
        }
    }
}

/// The time zones, by their IANA names, in which a plan tells dates.
pub fn time_zones(plan: &Plan) -> BTreeSet<&str> {
    fn of_expr<'a>(expr: &'a Expr, zones: &mut BTreeSet<&'a str>) {
        if let Expr::Call { function: Function::DateIn { zone }, .. } = expr {
            zones.insert(zone);
        }
        expr.parts().into_iter().for_each(|part| of_expr(part, zones));
    }
    fn of_rel<'a>(rel: &'a Rel, zones: &mut BTreeSet<&'a str>) {
        rel.expressions().into_iter().for_each(|expr| of_expr(expr, zones));
        rel.inputs().into_iter().for_each(|input| of_rel(input, zones));
    }
    let mut all: Vec<&Steps> = Vec::new();
    for task in &plan.tasks {
        all.push(&task.steps);
        all.extend(task.checks.iter().map(|check| &check.steps));
        if let WriteMode::ReplaceKeys(keys) = &task.write_mode {
            all.push(&keys.whole);
        }
    }
    let mut zones = BTreeSet::new();
    all.into_iter().flat_map(|steps| &steps.0).for_each(|step| of_rel(&step.rel, &mut zones));
    zones
}
