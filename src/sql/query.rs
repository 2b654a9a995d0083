//! Queries: SELECTs printed, with the table expressions that they read.
#![expect(clippy::wildcard_enum_match_arm, reason = "the parser's syntax tree has many nodes, of which few are names")]

use std::collections::HashSet;

use qetl_core::{
    DatasetName,
    ir::{Expr, JoinKind, Period, Steps, expand},
    schema::Type,
};
use sqlparser::ast::{self, BinaryOperator, GroupByExpr, Ident, ObjectName, Query, SelectItem, SetExpr, TableFactor};

use crate::{
    Dialect, Of, Unsupported,
    block::{Block, Body, Condition, From, Item, Named, Recursive, Source, source_column},
    compose::compose,
    expr::{Scope, iso},
    prepare, tree,
};

/// Writes for one batch in one dialect.
pub struct Sql<'a> {
    pub dialect: &'a dyn Dialect,
    pub batch: Of<'a>,
    /// What a dataset is called.
    pub table: &'a dyn Fn(&DatasetName) -> ObjectName,
}

impl Sql<'_> {
    /// The steps as one query; steps before the last are table expressions.
    pub fn query(&self, steps: &Steps) -> Result<String, Unsupported> {
        Ok(format!("{:#}", self.tree(steps)?))
    }

    pub(crate) fn tree(&self, steps: &Steps) -> Result<Query, Unsupported> {
        let mut plain = expand(&steps.needed()).map_err(|error| self.unsupported(&error.to_string()))?.needed();
        if self.dialect.full_join().is_none() {
            plain = prepare::without_full_joins(&plain).map_err(|error| self.unsupported(&error.to_string()))?;
        }
        if self.dialect.repeats_anti_joins() {
            plain = prepare::with_grouped_anti_joins(&plain).map_err(|error| self.unsupported(&error.to_string()))?;
        }
        if let Of::Parameters(_) = self.batch {
            plain = prepare::with_file_positions(&plain).map_err(|error| self.unsupported(&error.to_string()))?;
        }
        self.refuse_names(&plain)?;
        let (named, body) = compose(self, &plain)?;
        let widest = named.iter().map(|named| &named.body).chain([&body]).map(Body::width).max();
        self.refuse_width("a result", widest.unwrap_or(0), self.dialect.most_columns().map(|most| most.result))?;
        let mut query = self.body("", &body)?;
        if !named.is_empty() {
            let mut with = tree::skeleton("WITH a AS (SELECT 1) SELECT 1").with;
            if let Some(with) = &mut with {
                with.recursive = named.iter().any(|one| self.is_recursive(&one.body));
                let skeleton = with.cte_tables[0].clone();
                with.cte_tables = named.iter().map(|one| self.named(one, &skeleton)).collect::<Result<_, _>>()?;
            }
            query.with = with;
        }
        self.dialect.finish_query(&mut query);
        tree::tidy(&mut query);
        Ok(query)
    }

    fn is_recursive(&self, body: &Body) -> bool {
        match body {
            Body::Recursive(Recursive::Periods { period, .. }) => self.dialect.periods(*period).is_none(),
            Body::Recursive(Recursive::Follow { .. }) => true,
            Body::Select(_) | Body::Union(_) | Body::Batches => false,
        }
    }

    fn named(&self, named: &Named, skeleton: &ast::Cte) -> Result<ast::Cte, Unsupported> {
        let mut cte = skeleton.clone();
        cte.alias.name = self.ident(&named.name);
        *cte.query = self.body(&named.name, &named.body)?;
        if let (Body::Select(block), true) = (&named.body, self.dialect.copies_tables()) {
            cte.materialized = block.is_of_table().then_some(ast::CteAsMaterialized::NotMaterialized);
        }
        if self.is_recursive(&named.body) && self.dialect.names_recursive_columns() {
            let names = match &named.body {
                Body::Recursive(Recursive::Follow { columns, .. }) => columns,
                Body::Recursive(Recursive::Periods { .. }) | Body::Select(_) | Body::Union(_) | Body::Batches => named.schema.columns(),
            };
            cte.alias.columns =
                names.iter().map(|column| ast::TableAliasColumnDef { name: self.ident(&column.name), data_type: None }).collect();
        }
        Ok(cte)
    }

    pub(crate) fn refuse_width(&self, what: &str, columns: usize, most: Option<usize>) -> Result<(), Unsupported> {
        match most.filter(|most| columns > *most) {
            Some(most) => Err(self.unsupported(&format!("{what} of {columns} columns: it takes {most} at most"))),
            None => Ok(()),
        }
    }

    fn refuse_names(&self, steps: &Steps) -> Result<(), Unsupported> {
        let mut names = steps.0.iter().flat_map(|step| step.rel.column_names());
        match names.find(|name| !self.dialect.keeps_name(name)) {
            Some(name) => Err(self.unsupported(&format!("a column called `{name}`"))),
            None => Ok(()),
        }
    }

    pub(crate) fn unsupported(&self, what: &str) -> Unsupported {
        Unsupported { dialect: self.dialect.name(), what: what.to_owned() }
    }

    pub(crate) fn ident(&self, name: &str) -> Ident {
        tree::ident(self.dialect.quote(), name)
    }

    pub(crate) fn column(&self, name: &str) -> ast::Expr {
        ast::Expr::Identifier(self.ident(name))
    }

    pub(crate) fn batch_id(&self) -> ast::Expr {
        match self.batch {
            Of::Batch(batch) => tree::number(batch.batch_id),
            Of::Parameters(parameters) => tree::placeholder(&parameters.batch_id),
        }
    }

    fn previous(&self) -> ast::Expr {
        match self.batch {
            Of::Batch(batch) => tree::number(batch.previous),
            Of::Parameters(parameters) => tree::placeholder(&parameters.previous),
        }
    }

    fn body(&self, name: &str, body: &Body) -> Result<Query, Unsupported> {
        match body {
            Body::Select(block) => Ok(self.select(block, &[])?.0),
            Body::Union(blocks) => {
                let branches = blocks.iter().map(|block| Ok(self.select(block, &[])?.0)).collect::<Result<Vec<_>, Unsupported>>()?;
                branches.into_iter().reduce(union_all).ok_or_else(|| self.unsupported("a union of nothing"))
            }
            Body::Batches => self.batches(),
            Body::Recursive(Recursive::Periods { bounds, period, name: column }) => self.periods(name, bounds, *period, column),
            Body::Recursive(Recursive::Follow { input, begin, on, columns }) => {
                self.dialect.recursion()?;
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                self.follow(name, input, begin, on, &names)
            }
        }
    }

    /// A block's SELECT, and what its sources are called in it. `outer` names are those around it.
    fn select(&self, block: &Block, outer: &[String]) -> Result<(Query, Vec<String>), Unsupported> {
        let mut labels: Vec<String> = Vec::new();
        let mut factors = Vec::new();
        for source in &block.sources {
            let (name, label) = self.called(&source.from);
            let is_taken = |label: &str| outer.iter().chain(&labels).any(|taken| taken.eq_ignore_ascii_case(label));
            let numbered = (2..).map(|number| format!("{label}_{number}"));
            let free = std::iter::once(label.clone()).chain(numbered).find(|label| !is_taken(label)).unwrap_or_default();
            factors.push(tree::named_table(name, Some(&free).filter(|free| **free != label).map(String::as_str), self.dialect.quote()));
            labels.push(free);
        }
        let scope = Scope { sql: self, block, labels: labels.clone(), qualified: block.sources.len() > 1 };
        let items = block.items.iter().map(|item| Ok(self.item(scope.result(&item.expr)?, &item.name))).collect::<Result<Vec<_>, _>>()?;
        let mut factors = factors.into_iter();
        let Some(first) = factors.next() else { return Err(self.unsupported("a relation of nothing")) };
        let mut query = tree::select(items, first);
        let select = tree::select_of(&mut query);
        if let (Some((kind, on)), Some(second)) = (&block.join, factors.next()) {
            select.from[0].joins = vec![self.join(&scope, *kind, on, second)?];
        }
        for condition in &block.conditions {
            let lowered = match condition {
                Condition::Is(expr) => scope.lower(expr)?,
                Condition::Previous(expr) => tree::binary(scope.lower(expr)?, BinaryOperator::Eq, self.previous()),
                Condition::Exists { negated, right, on } => self.exists(&scope, *negated, right, on, outer)?,
            };
            select.selection = Some(tree::and(select.selection.take(), lowered));
        }
        if let Some(keys) = block.group.as_ref().filter(|keys| !keys.is_empty()) {
            let grouped: HashSet<_> = keys.iter().filter_map(source_column).collect();
            let given: HashSet<_> = block.items.iter().filter_map(|item| source_column(&item.expr)).collect();
            let is_grouped = |item: &Item| source_column(&item.expr).is_some_and(|column| grouped.contains(&column));
            if block.having.is_empty() && grouped.is_subset(&given) && block.items.iter().all(is_grouped) {
                select.distinct = Some(ast::Distinct::Distinct);
            } else {
                let keys = keys.iter().map(|key| scope.lower(key)).collect::<Result<_, _>>()?;
                select.group_by = GroupByExpr::Expressions(keys, Vec::new());
            }
        }
        for expr in &block.having {
            select.having = Some(tree::and(select.having.take(), scope.lower(expr)?));
        }
        if !block.order.is_empty() {
            query.order_by = tree::skeleton("SELECT 1 FROM t ORDER BY a").order_by;
            if let Some(order_by) = &mut query.order_by {
                order_by.kind = ast::OrderByKind::Expressions(scope.order(&block.order)?);
            }
        }
        query.limit_clause =
            block.limit.map(|rows| ast::LimitClause::LimitOffset { limit: Some(tree::number(rows)), offset: None, limit_by: Vec::new() });
        Ok((query, labels))
    }

    /// A source's name, and the last part of it.
    fn called(&self, from: &From) -> (ObjectName, String) {
        match from {
            From::Named(name) => (ObjectName::from(vec![self.ident(name)]), name.clone()),
            From::Table(name) => {
                let last = name.0.last().and_then(|part| part.as_ident());
                // The quoted name holds two quotes for one.
                let quote = self.dialect.quote();
                let label = last.map_or_else(String::new, |ident| ident.value.replace(&format!("{quote}{quote}"), &quote.to_string()));
                (name.clone(), label)
            }
        }
    }

    fn item(&self, expr: ast::Expr, name: &str) -> SelectItem {
        let alias = self.ident(name);
        let is_same = match &expr {
            ast::Expr::Identifier(ident) => *ident == alias,
            ast::Expr::CompoundIdentifier(parts) => parts.last() == Some(&alias),
            _ => false,
        };
        if is_same { SelectItem::UnnamedExpr(expr) } else { SelectItem::ExprWithAlias { expr, alias } }
    }

    fn join(&self, scope: &Scope<'_>, kind: JoinKind, on: &[(Expr, Expr)], relation: TableFactor) -> Result<ast::Join, Unsupported> {
        let mut query = tree::skeleton("SELECT 1 FROM t CROSS JOIN t");
        let mut join = tree::select_of(&mut query).from[0].joins.remove(0);
        join.relation = relation;
        // Rows that are only equal in a constant are all of them.
        let on: Vec<&(Expr, Expr)> = on.iter().filter(|(a, b)| a != b).collect();
        if on.is_empty() && kind == JoinKind::Inner {
            return Ok(join);
        }
        let on = self.equal(scope, scope, on.into_iter())?.unwrap_or_else(|| tree::skeleton_expr("true"));
        let on = ast::JoinConstraint::On(on);
        join.join_operator = match kind {
            JoinKind::Inner => ast::JoinOperator::Join(on),
            JoinKind::Left => ast::JoinOperator::Left(on),
            JoinKind::Full => ast::JoinOperator::FullOuter(on),
            JoinKind::Semi | JoinKind::Anti => unreachable!("they are written as EXISTS"),
        };
        Ok(join)
    }

    fn exists(
        &self,
        scope: &Scope<'_>,
        negated: bool,
        right: &Block,
        on: &[(Expr, Expr)],
        outer: &[String],
    ) -> Result<ast::Expr, Unsupported> {
        let around: Vec<String> = outer.iter().chain(&scope.labels).cloned().collect();
        let (mut inner, labels) = self.select(right, &around)?;
        let left = Scope { sql: self, block: scope.block, labels: scope.labels.clone(), qualified: true };
        let right = Scope { sql: self, block: right, labels, qualified: true };
        let equal = self.equal(&left, &right, on.iter())?;
        let select = tree::select_of(&mut inner);
        select.projection = vec![SelectItem::UnnamedExpr(tree::number(1))];
        select.selection = match (equal, select.selection.take()) {
            (Some(equal), Some(own)) => Some(tree::and(Some(equal), own)),
            (equal, own) => equal.or(own),
        };
        Ok(ast::Expr::Exists { subquery: Box::new(inner), negated })
    }

    fn equal<'e>(
        &self,
        left: &Scope<'_>,
        right: &Scope<'_>,
        on: impl Iterator<Item = &'e (Expr, Expr)>,
    ) -> Result<Option<ast::Expr>, Unsupported> {
        let mut all = None;
        for (a, b) in on {
            all = Some(tree::and(all, tree::binary(left.lower(a)?, BinaryOperator::Eq, right.lower(b)?)));
        }
        Ok(all)
    }

    fn batches(&self) -> Result<Query, Unsupported> {
        match self.batch {
            Of::Batch(batch) => {
                let one = |(id, processed_at): &(i64, i64)| {
                    let time = self.dialect.timestamp(&iso(*processed_at))?;
                    let mut one = tree::skeleton("SELECT 1");
                    tree::select_of(&mut one).projection =
                        vec![self.item(tree::number(id), "xt_batch_id"), self.item(time, "xt_processed_at")];
                    Ok(one)
                };
                let all = batch.batches.iter().map(one).collect::<Result<Vec<_>, Unsupported>>()?;
                all.into_iter().reduce(union_all).ok_or_else(|| self.unsupported("a list of no batches"))
            }
            Of::Parameters(parameters) => {
                let items =
                    vec![self.item(self.column("batch_id"), "xt_batch_id"), self.item(self.column("processed_at"), "xt_processed_at")];
                let mut query = tree::select(items, tree::named_table(parameters.batches.clone(), None, self.dialect.quote()));
                tree::select_of(&mut query).selection = Some(self.of_flow(&parameters.flow));
                Ok(query)
            }
        }
    }

    fn of_flow(&self, flow: &str) -> ast::Expr {
        tree::binary(self.column("flow"), BinaryOperator::Eq, self.dialect.text(flow))
    }

    fn factor(&self, from: &From) -> TableFactor {
        tree::named_table(self.called(from).0, None, self.dialect.quote())
    }

    /// One period after another, until the last.
    fn periods(&self, own: &str, bounds: &Source, period: Period, name: &str) -> Result<Query, Unsupported> {
        let start = |date: ast::Expr| self.dialect.call(&qetl_core::ir::Function::PeriodStart(period), vec![date]);
        let (first, last) = (|| self.column("xt_first"), || self.column("xt_last"));
        let until = |date: ast::Expr| self.dialect.binary(qetl_core::ir::BinaryOp::LtEq, Type::Date, date, last());
        if let Some(mut series) = self.dialect.periods(period) {
            tree::fill_query(&mut series, &[start(first())?, last()], self.ident(name));
            let select = tree::select_of(&mut series);
            select.from[0].relation = self.factor(&bounds.from);
            select.selection = Some(until(first())?);
            return Ok(series);
        }
        self.dialect.recursion()?;
        let next = self.dialect.call(&qetl_core::ir::Function::NextPeriod(period), vec![self.column(name)])?;
        let mut begin = tree::select(vec![self.item(start(first())?, name)], self.factor(&bounds.from));
        tree::select_of(&mut begin).selection = Some(until(first())?);
        let mut following = tree::skeleton("SELECT 1 FROM p CROSS JOIN b");
        let select = tree::select_of(&mut following);
        select.projection = vec![self.item(next.clone(), name)];
        select.from[0].relation = self.factor(&From::Named(own.to_owned()));
        select.from[0].joins[0].relation = self.factor(&bounds.from);
        select.selection = Some(until(next)?);
        Ok(union_all(begin, following))
    }

    /// The rows that meet a condition, and those that follow from rows found before.
    fn follow(&self, own: &str, input: &Source, begin: &Expr, on: &[(String, String)], columns: &[&str]) -> Result<Query, Unsupported> {
        let block = Block::of(input.clone());
        let scope = Scope { sql: self, block: &block, labels: Vec::new(), qualified: false };
        let items = columns.iter().map(|name| SelectItem::UnnamedExpr(self.column(name))).collect();
        let mut first = tree::select(items, self.factor(&input.from));
        tree::select_of(&mut first).selection = Some(scope.lower(begin)?);
        let label = self.called(&input.from).1;
        let of = |label: &str, name: &str| ast::Expr::CompoundIdentifier(vec![self.ident(label), self.ident(name)]);
        let equal = on.iter().map(|(from, to)| tree::binary(of(&label, to), BinaryOperator::Eq, of(own, from)));
        let equal = equal.fold(None, |all, next| Some(tree::and(all, next))).unwrap_or_else(|| tree::skeleton_expr("true"));
        let mut following = tree::skeleton("SELECT 1 FROM p JOIN b ON a");
        let select = tree::select_of(&mut following);
        select.projection = columns.iter().map(|name| self.item(of(&label, name), name)).collect();
        select.from[0].relation = self.factor(&From::Named(own.to_owned()));
        select.from[0].joins[0].relation = self.factor(&input.from);
        select.from[0].joins[0].join_operator = ast::JoinOperator::Join(ast::JoinConstraint::On(equal));
        Ok(union_all(first, following))
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
