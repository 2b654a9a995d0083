//! What names mean in the keys that a query's rows are sorted by. A name alone is a result's first; within an expression it is a
//! column's, as in PostgreSQL, SQLite and DuckDB.

use std::{collections::HashSet, ops::ControlFlow};

use sqlparser::ast::{Expr, Function, OrderByKind, Query, SetExpr, Visit, visit_expressions};

use super::{Case, types, walk::place};

/// Functions that make one value of many rows.
const AGGREGATES: [&str; 24] = [
    "any_value",
    "approx_distinct",
    "approx_median",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "group_concat",
    "max",
    "mean",
    "median",
    "min",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "total",
    "var_pop",
    "var_samp",
];

/// Where the names stand that are a column's before they are a result's.
///
/// An engine that takes names as they are written takes the result in all expressions, and cannot do that in what groups rows.
pub(super) fn of_columns(query: &Query, case: Case) -> HashSet<usize> {
    let mut found = HashSet::new();
    let (SetExpr::Select(_), Some(order)) = (&*query.body, &query.order_by) else { return found };
    let OrderByKind::Expressions(keys) = &order.kind else { return found };
    for key in keys.iter().map(|key| &key.expr).filter(|key| !matches!(key, Expr::Identifier(_))) {
        if case != Case::Exact {
            add(key, &mut found);
            continue;
        }
        let _ = visit_expressions(key, |expr| {
            if let Expr::Function(function) = expr
                && is_aggregate(function)
            {
                add(&function.args, &mut found);
            }
            ControlFlow::<()>::Continue(())
        });
    }
    found
}

fn add(part: &impl Visit, found: &mut HashSet<usize>) {
    let _ = visit_expressions(part, |expr| {
        if matches!(expr, Expr::Identifier(_)) {
            found.insert(place(expr));
        }
        ControlFlow::<()>::Continue(())
    });
}

fn is_aggregate(function: &Function) -> bool {
    function.over.is_none() && AGGREGATES.contains(&types::name(function).as_str())
}
