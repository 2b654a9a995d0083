//! Operators on plans of many columns, which are known to be there.
//!
//! The engine's own builder looks for each column in the whole plan below, so that it takes time by their square.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    common::{
        Column, Result,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{Expr, Filter, LogicalPlan, Projection, Window},
};

/// The plan's columns are these expressions, each of which has a name of its own.
pub(crate) fn project(plan: LogicalPlan, columns: impl IntoIterator<Item = Expr>) -> Result<LogicalPlan> {
    let columns = of_plan(&plan, columns)?;
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
}

pub(crate) fn filter(plan: LogicalPlan, predicate: Expr) -> Result<LogicalPlan> {
    let predicate = of_plan(&plan, [predicate])?.into_iter().reduce(Expr::and);
    match predicate {
        Some(predicate) => Filter::try_new(predicate, Arc::new(plan)).map(LogicalPlan::Filter),
        None => Ok(plan),
    }
}

/// Adds columns that are computed over windows of one kind.
pub(crate) fn window(plan: LogicalPlan, columns: impl IntoIterator<Item = Expr>) -> Result<LogicalPlan> {
    let columns = of_plan(&plan, columns)?;
    Window::try_new(columns, Arc::new(plan)).map(LogicalPlan::Window)
}

/// Expressions with each column under its full name in the plan.
fn of_plan(plan: &LogicalPlan, exprs: impl IntoIterator<Item = Expr>) -> Result<Vec<Expr>> {
    let column = |(table, field)| Column::from((table, field));
    let names: HashMap<&str, Column> = plan.schema().iter().map(|found| (found.1.name().as_str(), column(found))).collect();
    let full = |expr: Expr| {
        expr.transform(|expr| {
            let named = if let Expr::Column(column) = &expr { Some(column).filter(|column| column.relation.is_none()) } else { None };
            let found = named.and_then(|column| names.get(column.name.as_str()));
            Ok(found.map_or_else(|| Transformed::no(expr), |found| Transformed::yes(Expr::Column(found.clone()))))
        })
    };
    exprs.into_iter().map(|expr| Ok(full(expr)?.data)).collect()
}
