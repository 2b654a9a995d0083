//! Relations.
#![expect(clippy::wildcard_enum_match_arm, reason = "the special forms are named; every other relation is selected from as it is")]

use chrono::DateTime;
use qetl_core::{
    DatasetName,
    ir::{AggregateFunction, AsOf, Expr, Function, JoinKind, Op, Order, Period, Rel, Steps, WindowFunction, expand},
};
use sqlparser::ast::{self, BinaryOperator, GroupByExpr, Ident, ObjectName, Query, SelectItem, SetExpr, TableFactor};

use crate::{Batch, Dialect, Unsupported, expr::Scope, tree};

macro_rules! running {
    () => {
        "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    };
}

/// Writes relations for one batch in one dialect.
pub struct Sql<'a> {
    pub dialect: &'a dyn Dialect,
    pub batch: &'a Batch,
    /// What a dataset is called.
    pub table: &'a dyn Fn(&DatasetName) -> ObjectName,
}

impl Sql<'_> {
    /// The steps as one query: each but the last is a common table expression.
    pub(crate) fn text(&self, steps: &Steps) -> Result<String, Unsupported> {
        let plain = expand(steps).map_err(|error| Unsupported { dialect: self.dialect.name(), what: error.to_string() })?.needed();
        let Some((last, before)) = plain.0.split_last() else { return Ok(String::new()) };
        let mut query = self.rel(&last.rel)?;
        if !before.is_empty() {
            let mut with = tree::skeleton("WITH a AS (SELECT 1) SELECT 1").with;
            if let Some(with) = &mut with {
                let one = with.cte_tables[0].clone();
                with.cte_tables.clear();
                for step in before {
                    let mut cte = one.clone();
                    cte.alias.name = self.ident(&step.name);
                    *cte.query = self.rel(&step.rel)?;
                    with.cte_tables.push(cte);
                }
            }
            query.with = with;
        }
        Ok(format!("{query:#}"))
    }

    fn ident(&self, name: &str) -> Ident {
        tree::ident(self.dialect.quote(), name)
    }

    fn scope<'b>(&'b self, alias: &'b str) -> Scope<'b> {
        Scope { dialect: self.dialect, batch: self.batch, alias }
    }

    fn item(&self, expr: ast::Expr, name: &str) -> SelectItem {
        let alias = self.ident(name);
        let is_same = matches!(&expr, ast::Expr::Identifier(ident) if *ident == alias);
        if is_same { SelectItem::UnnamedExpr(expr) } else { SelectItem::ExprWithAlias { expr, alias } }
    }

    fn columns(&self, rel: &Rel, alias: &str) -> Vec<SelectItem> {
        let scope = self.scope(alias);
        rel.column_names().map(|name| self.item(scope.column(alias, name), name)).collect()
    }

    /// A relation to select from.
    fn factor(&self, rel: &Rel, alias: &str) -> Result<TableFactor, Unsupported> {
        match &*rel.op {
            Op::Ref { step } => Ok(tree::named_table(
                ObjectName::from(vec![self.ident(step)]),
                Some(alias).filter(|alias| !alias.is_empty()),
                self.dialect.quote(),
            )),
            _ => Ok(tree::derived_table(self.rel(rel)?, if alias.is_empty() { "t" } else { alias }, self.dialect.quote())),
        }
    }

    fn rel(&self, rel: &Rel) -> Result<Query, Unsupported> {
        match &*rel.op {
            Op::Scan { dataset, as_of } => {
                // What is replaced stands in a table of its own before the batch is landed.
                let replaced = || DatasetName { name: format!("{}_replaced", dataset.name), ..dataset.clone() };
                let name = if *as_of == AsOf::ReplacedBatch { (self.table)(&replaced()) } else { (self.table)(dataset) };
                let mut query = tree::select(self.columns(rel, ""), tree::named_table(name, None, self.dialect.quote()));
                let batch =
                    |op: BinaryOperator, id: i64| Some(tree::binary(self.scope("").column("", "xt_batch_id"), op, tree::number(id)));
                tree::select_of(&mut query).selection = match as_of {
                    AsOf::ThisBatch => batch(BinaryOperator::Eq, self.batch.batch_id),
                    AsOf::PreviousBatch => batch(BinaryOperator::Eq, self.batch.previous),
                    AsOf::BeforeThisBatch => batch(BinaryOperator::Lt, self.batch.batch_id),
                    AsOf::AllBatches | AsOf::ReplacedBatch => None,
                };
                Ok(query)
            }
            Op::Ref { .. } => Ok(tree::select(self.columns(rel, ""), self.factor(rel, "")?)),
            Op::Filter { input, predicate } => self.filter(rel, input, self.scope("").lower(predicate)?),
            Op::Project { input, columns } => {
                let scope = self.scope("");
                let items = columns.iter().map(|(name, expr)| Ok(self.item(scope.lower(expr)?, name))).collect::<Result<Vec<_>, _>>()?;
                // A projection of a filter or a scan is the same SELECT.
                match &*input.op {
                    Op::Filter { .. } | Op::Scan { .. } => {
                        let mut query = self.rel(input)?;
                        tree::select_of(&mut query).projection = items;
                        Ok(query)
                    }
                    _ => Ok(tree::select(items, self.factor(input, "")?)),
                }
            }
            Op::Join { kind: JoinKind::Semi, left, right, on, .. } => self.exists(rel, left, right, on, false),
            Op::Join { kind: JoinKind::Anti, left, right, on, .. } => self.exists(rel, left, right, on, true),
            Op::Join { kind, left, right, on, columns } => self.join(*kind, left, right, on, columns),
            Op::Union(inputs) => self.union(rel, inputs),
            Op::Aggregate { input, keys, columns } => self.aggregate(input, keys, columns),
            Op::Window { input, name, function, partition, order } => {
                let (skeleton, argument) = match function {
                    WindowFunction::RowNumber => ("ROW_NUMBER() OVER (PARTITION BY a ORDER BY a)", None),
                    WindowFunction::Lag(expr) => ("LAG(a) OVER (PARTITION BY a ORDER BY a)", Some(expr)),
                    WindowFunction::Lead(expr) => ("LEAD(a) OVER (PARTITION BY a ORDER BY a)", Some(expr)),
                    WindowFunction::RunningSum(expr) => (concat!("SUM(a) OVER (PARTITION BY a ORDER BY a ", running!(), ")"), Some(expr)),
                    WindowFunction::RunningMax(expr) => (concat!("MAX(a) OVER (PARTITION BY a ORDER BY a ", running!(), ")"), Some(expr)),
                };
                let mut window = tree::skeleton_expr(skeleton);
                if let (ast::Expr::Function(function), Some(argument)) = (&mut window, argument)
                    && let ast::FunctionArguments::List(list) = &mut function.args
                {
                    let argument = self.scope("").lower(argument)?;
                    list.args = vec![ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))];
                }
                if let ast::Expr::Function(function) = &mut window
                    && let Some(ast::WindowType::WindowSpec(spec)) = &mut function.over
                {
                    spec.partition_by = partition.iter().map(|name| self.scope("").column("", name)).collect();
                    spec.order_by = self.order(order)?;
                }
                let mut items = self.columns(input, "");
                items.push(self.item(window, name));
                Ok(tree::select(items, self.factor(input, "")?))
            }
            Op::Sort { input, order } => {
                let mut query = tree::skeleton("SELECT 1 FROM t ORDER BY a");
                let (items, factor) = (self.columns(rel, ""), self.factor(input, "")?);
                let keys = self.order(order)?;
                let select = tree::select_of(&mut query);
                (select.projection, select.from[0].relation) = (items, factor);
                if let Some(order_by) = &mut query.order_by {
                    order_by.kind = ast::OrderByKind::Expressions(keys);
                }
                Ok(query)
            }
            Op::Limit { input, rows } => {
                let mut query = match &*input.op {
                    Op::Sort { .. } => self.rel(input)?,
                    _ => tree::select(self.columns(rel, ""), self.factor(input, "")?),
                };
                query.limit_clause =
                    Some(ast::LimitClause::LimitOffset { limit: Some(tree::number(rows)), offset: None, limit_by: Vec::new() });
                Ok(query)
            }
            Op::Batches => self.batches(),
            Op::Periods { bounds, period, name } => self.periods(bounds, *period, name),
            Op::LatestPerKey(_) | Op::Classify(_) | Op::Sessionize(_) => unreachable!("expansion leaves plain operators"),
        }
    }

    fn batches(&self) -> Result<Query, Unsupported> {
        let mut all: Option<Query> = None;
        for (id, processed_at) in &self.batch.batches {
            let time = DateTime::from_timestamp_micros(*processed_at).unwrap_or_default().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            let items = vec![self.item(tree::number(id), "xt_batch_id"), self.item(self.dialect.timestamp(&time)?, "xt_processed_at")];
            let mut one = tree::skeleton("SELECT 1");
            tree::select_of(&mut one).projection = items;
            all = Some(match all {
                None => one,
                Some(all) => union_all(all, one),
            });
        }
        all.ok_or_else(|| Unsupported { dialect: self.dialect.name(), what: "a list of no batches".to_owned() })
    }

    /// One period after another, until the last.
    fn periods(&self, bounds: &Rel, period: Period, name: &str) -> Result<Query, Unsupported> {
        let mut query = tree::skeleton("WITH RECURSIVE p AS (SELECT 1 FROM b UNION ALL SELECT 1 FROM p CROSS JOIN b) SELECT a FROM p");
        let scope = self.scope("");
        let start = self.dialect.call(&Function::PeriodStart(period), vec![scope.column("", "xt_first")])?;
        let next = self.dialect.call(&Function::NextPeriod(period), vec![scope.column("", name)])?;
        let bounds_of = |query: Query| -> Result<Query, Unsupported> {
            let mut query = query;
            tree::select_of(&mut query).from[0].relation = self.factor(bounds, "")?;
            Ok(query)
        };
        let last = || scope.column("", "xt_last");
        let mut first = bounds_of(tree::skeleton("SELECT 1 FROM b"))?;
        let select = tree::select_of(&mut first);
        select.projection = vec![self.item(start, name)];
        select.selection = Some(tree::binary(scope.column("", "xt_first"), BinaryOperator::LtEq, last()));
        let mut following = tree::skeleton("SELECT 1 FROM p CROSS JOIN b");
        let select = tree::select_of(&mut following);
        select.projection = vec![self.item(next.clone(), name)];
        select.from[0].joins[0].relation = self.factor(bounds, "")?;
        select.selection = Some(tree::binary(next, BinaryOperator::LtEq, last()));
        if let Some(with) = &mut query.with {
            *with.cte_tables[0].query = union_all(first, following);
            with.cte_tables[0].alias.name = self.ident("p");
        }
        tree::select_of(&mut query).projection = vec![self.item(scope.column("", name), name)];
        tree::select_of(&mut query).from[0].relation =
            tree::named_table(ObjectName::from(vec![self.ident("p")]), None, self.dialect.quote());
        Ok(query)
    }

    fn filter(&self, rel: &Rel, input: &Rel, predicate: ast::Expr) -> Result<Query, Unsupported> {
        let mut query = match &*input.op {
            Op::Scan { .. } => self.rel(input)?,
            _ => tree::select(self.columns(rel, ""), self.factor(input, "")?),
        };
        let select = tree::select_of(&mut query);
        select.selection = Some(tree::and(select.selection.take(), predicate));
        Ok(query)
    }

    fn exists(&self, rel: &Rel, left: &Rel, right: &Rel, on: &[(String, String)], negated: bool) -> Result<Query, Unsupported> {
        let mut inner = tree::select(vec![SelectItem::UnnamedExpr(tree::number(1))], self.factor(right, "r")?);
        tree::select_of(&mut inner).selection = self.equal(on);
        let mut query = tree::select(self.columns(rel, "l"), self.factor(left, "l")?);
        tree::select_of(&mut query).selection = Some(ast::Expr::Exists { subquery: Box::new(inner), negated });
        Ok(query)
    }

    fn equal(&self, on: &[(String, String)]) -> Option<ast::Expr> {
        let scope = self.scope("");
        let equal = on.iter().map(|(a, b)| tree::binary(scope.column("l", a), BinaryOperator::Eq, scope.column("r", b)));
        equal.reduce(|all, next| ast::Expr::BinaryOp { left: Box::new(all), op: BinaryOperator::And, right: Box::new(next) })
    }

    fn join(
        &self,
        kind: JoinKind,
        left: &Rel,
        right: &Rel,
        on: &[(String, String)],
        columns: &[(String, Expr)],
    ) -> Result<Query, Unsupported> {
        let mut query = tree::skeleton("SELECT 1 FROM t JOIN t ON true");
        let scope = self.scope("l");
        let items = columns.iter().map(|(name, expr)| Ok(self.item(scope.lower(expr)?, name))).collect::<Result<Vec<_>, _>>()?;
        let (left, right) = (self.factor(left, "l")?, self.factor(right, "r")?);
        let on = ast::JoinConstraint::On(self.equal(on).unwrap_or_else(|| tree::skeleton_expr("true")));
        let select = tree::select_of(&mut query);
        select.projection = items;
        select.from[0].relation = left;
        select.from[0].joins[0].relation = right;
        select.from[0].joins[0].join_operator = match kind {
            JoinKind::Inner => ast::JoinOperator::Join(on),
            JoinKind::Left => ast::JoinOperator::Left(on),
            JoinKind::Full => ast::JoinOperator::FullOuter(on),
            JoinKind::Semi | JoinKind::Anti => unreachable!("they are written as EXISTS"),
        };
        Ok(query)
    }

    fn union(&self, rel: &Rel, inputs: &[Rel]) -> Result<Query, Unsupported> {
        let mut all: Option<Query> = None;
        for input in inputs {
            // A branch with a clause of its own, such as LIMIT, must not give it to the whole union.
            let branch = match &*input.op {
                Op::Sort { .. } | Op::Limit { .. } => tree::select(self.columns(rel, ""), self.factor(input, "")?),
                _ => self.rel(input)?,
            };
            all = Some(match all {
                None => branch,
                Some(all) => union_all(all, branch),
            });
        }
        all.ok_or_else(|| Unsupported { dialect: self.dialect.name(), what: "a union of nothing".to_owned() })
    }

    fn aggregate(&self, input: &Rel, keys: &[String], columns: &[(String, AggregateFunction)]) -> Result<Query, Unsupported> {
        let scope = self.scope("");
        let mut items: Vec<SelectItem> = keys.iter().map(|key| self.item(scope.column("", key), key)).collect();
        for (name, function) in columns {
            let expr = match function {
                AggregateFunction::Count => tree::skeleton_expr("COUNT(*)"),
                AggregateFunction::Sum(expr) => tree::call("SUM(a)", vec![scope.lower(expr)?]),
                AggregateFunction::Min(expr) => tree::call("MIN(a)", vec![scope.lower(expr)?]),
                AggregateFunction::Max(expr) => tree::call("MAX(a)", vec![scope.lower(expr)?]),
            };
            items.push(self.item(expr, name));
        }
        let mut query = tree::select(items, self.factor(input, "")?);
        if !keys.is_empty() {
            tree::select_of(&mut query).group_by =
                GroupByExpr::Expressions(keys.iter().map(|key| scope.column("", key)).collect(), Vec::new());
        }
        Ok(query)
    }

    fn order(&self, order: &[Order]) -> Result<Vec<ast::OrderByExpr>, Unsupported> {
        let key = |key: &Order| {
            let options = ast::OrderByOptions { asc: Some(!key.descending), nulls_first: Some(true) };
            Ok(ast::OrderByExpr { expr: self.scope("").lower(&key.by)?, options, with_fill: None })
        };
        order.iter().map(key).collect()
    }
}

fn union_all(mut all: Query, branch: Query) -> Query {
    let left = all.body;
    let mut union = tree::skeleton("SELECT 1 UNION ALL SELECT 1");
    if let SetExpr::SetOperation { left: place, right, .. } = &mut *union.body {
        (*place, *right) = (left, branch.body);
    }
    all.body = union.body;
    all
}
