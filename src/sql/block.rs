//! SELECTs in the making: what one can hold of a relation. Its expressions are over its sources, so that an operator on top
//! can often be said in the same SELECT; otherwise it becomes a table expression with a name of its own.

use std::collections::{HashMap, HashSet};

use qetl_core::{
    Schema, Type,
    ir::{AggregateFunction, Expr, JoinKind, Order, Param, Period, Side, WindowFunction},
    schema::Column,
};
use sqlparser::ast::ObjectName;

/// A query's body.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Select(Box<Block>),
    Union(Vec<Block>),
    Recursive(Recursive),
    /// Every batch that is known.
    Batches,
}

impl Body {
    /// How many columns it gives.
    pub(crate) fn width(&self) -> usize {
        match self {
            Body::Select(block) => block.items.len(),
            Body::Union(blocks) => blocks.iter().map(|block| block.items.len()).max().unwrap_or(0),
            Body::Recursive(Recursive::Follow { columns, .. }) => columns.len(),
            Body::Recursive(Recursive::Periods { .. }) => 1,
            Body::Batches => 2,
        }
    }
}

/// A table expression that reads itself.
#[derive(Debug, Clone)]
pub(crate) enum Recursive {
    Periods { bounds: Source, period: Period, name: String },
    Follow { input: Source, begin: Expr, on: Vec<(String, String)>, columns: Vec<Column> },
}

/// A named table expression.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) schema: Schema,
    pub(crate) body: Body,
}

/// What a SELECT reads.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) from: From,
    pub(crate) schema: Schema,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum From {
    Table(ObjectName),
    /// A table expression before this one.
    Named(String),
}

/// One SELECT. Columns of the sources have a side; a column without one is [`Computed`], by [`computed`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    /// One, or the two of a join.
    pub(crate) sources: Vec<Source>,
    pub(crate) join: Option<(JoinKind, Vec<(Expr, Expr)>)>,
    pub(crate) conditions: Vec<Condition>,
    /// Columns of sources.
    pub(crate) group: Option<Vec<Expr>>,
    pub(crate) having: Vec<Expr>,
    pub(crate) computed: Vec<Computed>,
    pub(crate) items: Vec<Item>,
    pub(crate) order: Vec<Order>,
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) expr: Expr,
    pub(crate) ty: Type,
}

/// What a SELECT computes from several rows.
#[derive(Debug, Clone)]
pub(crate) struct Computed {
    pub(crate) ty: Type,
    pub(crate) what: Computation,
}

#[derive(Debug, Clone)]
pub(crate) enum Computation {
    Aggregate(AggregateFunction),
    Window { function: WindowFunction, partition: Vec<Expr>, order: Vec<Order> },
}

#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Is(Expr),
    /// It is of the batch before this one.
    Previous(Expr),
    /// A row of the block has equal values, or none has.
    Exists {
        negated: bool,
        right: Box<Block>,
        on: Vec<(Expr, Expr)>,
    },
}

/// The name of a computed column; no column of a dataset has a control character in its name.
pub(crate) fn computed(place: usize) -> Expr {
    Expr::column(&format!("\u{1}{place}"))
}

/// The place of a computed column by its name.
pub(crate) fn computed_place(name: &str) -> Option<usize> {
    name.strip_prefix('\u{1}')?.parse().ok()
}

impl Block {
    /// All columns of a source.
    pub(crate) fn of(source: Source) -> Self {
        let item = |column: &Column| Item { name: column.name.clone(), expr: Expr::left(&column.name), ty: column.ty };
        Self { items: source.schema.columns().iter().map(item).collect(), sources: vec![source], ..Self::default() }
    }

    pub(crate) fn schema(&self) -> Schema {
        let columns = self.items.iter().map(|item| Column::new(&item.name, item.ty)).collect();
        Schema::new(columns).unwrap_or_else(|name| unreachable!("a relation's columns are checked, and `{name}` stands once"))
    }

    /// The block's columns, by their names.
    pub(crate) fn names(&self) -> Names<'_> {
        Names(self.items.iter().map(|item| (item.name.as_str(), &item.expr)).collect())
    }

    pub(crate) fn add_computed(&mut self, name: &str, ty: Type, what: Computation) {
        self.items.push(Item { name: name.to_owned(), expr: computed(self.computed.len()), ty });
        self.computed.push(Computed { ty, what });
    }

    /// Whether rows are still as they come from the sources: what is put on top filters and computes the same below.
    pub(crate) fn is_of_rows(&self) -> bool {
        self.group.is_none() && self.computed.is_empty() && self.is_whole()
    }

    pub(crate) fn has_windows(&self) -> bool {
        self.computed.iter().any(|computed| matches!(computed.what, Computation::Window { .. }))
    }

    /// Whether no row is left out at the end.
    pub(crate) fn is_whole(&self) -> bool {
        self.limit.is_none() && self.order.is_empty()
    }

    /// Whether it is rows of one stored table, chosen by values of the row alone.
    pub(crate) fn is_of_table(&self) -> bool {
        let of_row = |condition: &Condition| matches!(condition, Condition::Is(_) | Condition::Previous(_));
        let of_table = matches!(self.sources.as_slice(), [Source { from: From::Table(_), .. }]);
        self.is_of_rows() && of_table && self.conditions.iter().all(of_row) && self.items.iter().all(|item| is_column(&item.expr))
    }

    /// The only source, when nothing but names of columns changes.
    pub(crate) fn renames(&self) -> bool {
        self.is_of_rows() && self.sources.len() == 1 && self.conditions.is_empty() && self.items.iter().all(|item| is_column(&item.expr))
    }

    /// The table expression that this is another name of.
    pub(crate) fn is_named(&self) -> Option<&str> {
        let [source] = self.sources.as_slice() else { return None };
        let same = |(item, column): (&Item, &Column)| item.name == column.name && item.expr == Expr::left(&column.name);
        let columns = source.schema.columns();
        let whole = self.items.len() == columns.len() && self.items.iter().zip(columns).all(same);
        match &source.from {
            From::Named(name) if whole && self.renames() => Some(name),
            From::Named(_) | From::Table(_) => None,
        }
    }

    /// Keeps the items that are needed. One stays when none is; of all rows in one, an aggregate, which makes it so.
    pub(crate) fn keep(&mut self, needed: &dyn Fn(&str) -> bool) {
        let is_of_all = self.group.as_ref().is_some_and(Vec::is_empty);
        let must_stay = |item: &Item| !is_of_all || is_computed(&item.expr);
        let one = self.items.iter().find(|item| must_stay(item)).cloned();
        let has_one = self.items.iter().any(|item| needed(&item.name) && must_stay(item));
        self.items.retain(|item| needed(&item.name));
        if !has_one {
            self.items.extend(one);
        }
    }

    /// Tells every column of a table expression that the block reads.
    pub(crate) fn reads(&self, tell: &mut dyn FnMut(&str, &str)) {
        let mut exprs: Vec<&Expr> = self.items.iter().map(|item| &item.expr).chain(&self.having).collect();
        exprs.extend(self.group.iter().flatten());
        exprs.extend(self.order.iter().map(|order| &order.by));
        exprs.extend(self.join.iter().flat_map(|(_, on)| on.iter().flat_map(|(a, b)| [a, b])));
        let mut places = Vec::new();
        for condition in &self.conditions {
            match condition {
                Condition::Is(expr) | Condition::Previous(expr) => exprs.push(expr),
                Condition::Exists { right, on, .. } => {
                    exprs.extend(on.iter().map(|(left, _)| left));
                    // What is selected from it does not matter.
                    let items = on.iter().map(|(_, expr)| Item { name: String::new(), expr: expr.clone(), ty: Type::Bool }).collect();
                    Block { items, ..(**right).clone() }.reads(tell);
                }
            }
        }
        let mut told = 0;
        let mut look = |expr: &Expr, places: &mut Vec<usize>| {
            expr.each_column(&mut |side, name| {
                let source = match side {
                    Some(Side::Left) => self.sources.first(),
                    Some(Side::Right) => self.sources.get(1),
                    None => {
                        places.extend(computed_place(name));
                        None
                    }
                };
                if let Some(From::Named(table)) = source.map(|source| &source.from) {
                    tell(table, name);
                }
            });
        };
        exprs.iter().for_each(|expr| look(expr, &mut places));
        // Only what is still asked for is computed.
        while let Some(place) = places.get(told).copied() {
            told += 1;
            self.computed[place].exprs().for_each(|expr| look(expr, &mut places));
        }
        for source in &self.sources {
            if let From::Named(table) = &source.from {
                tell(table, "");
            }
        }
    }
}

/// What a block's columns are over its sources, by their names.
pub(crate) struct Names<'a>(HashMap<&'a str, &'a Expr>);

impl Names<'_> {
    fn expr(&self, name: &str) -> &Expr {
        let found = self.0.get(name).copied();
        found.unwrap_or_else(|| unreachable!("a relation's columns are checked, and `{name}` is one"))
    }

    /// A column as an expression over the sources.
    pub(crate) fn column(&self, name: &str) -> Expr {
        self.expr(name).clone()
    }

    /// An expression over the block's columns as one over its sources.
    pub(crate) fn inline(&self, expr: &Expr) -> Expr {
        map_columns(expr, &mut |_, name| self.column(name))
    }

    /// Whether the column is one of a source, under whichever name.
    pub(crate) fn is_column(&self, name: &str) -> bool {
        is_column(self.expr(name))
    }

    /// Whether the expression reads what is computed from several rows.
    pub(crate) fn is_computed(&self, expr: &Expr) -> bool {
        let mut found = false;
        expr.each_column(&mut |_, name| found |= is_computed(self.expr(name)));
        found
    }

    /// Whether these can be said over the sources without saying anything twice that is more than a name.
    pub(crate) fn can_inline<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>) -> bool {
        let (mut used, mut once) = (HashSet::new(), true);
        for expr in exprs {
            expr.each_column(&mut |_, name| once &= is_simple(self.expr(name)) || used.insert(name));
        }
        once
    }
}

impl Computed {
    fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let (argument, partition, order): (Option<&Expr>, &[Expr], &[Order]) = match &self.what {
            Computation::Aggregate(function) => match function {
                AggregateFunction::Count => (None, &[], &[]),
                AggregateFunction::Sum(expr) | AggregateFunction::Min(expr) | AggregateFunction::Max(expr) => (Some(expr), &[], &[]),
            },
            Computation::Window { function, partition, order } => (function.argument(), partition, order),
        };
        argument.into_iter().chain(partition).chain(order.iter().map(|order| &order.by))
    }
}

/// The window function of another argument.
pub(crate) fn with_argument(function: &WindowFunction, change: impl Fn(&Expr) -> Expr) -> WindowFunction {
    match function {
        WindowFunction::RowNumber => WindowFunction::RowNumber,
        WindowFunction::Lag(expr) => WindowFunction::Lag(change(expr)),
        WindowFunction::Lead(expr) => WindowFunction::Lead(change(expr)),
        WindowFunction::First(expr) => WindowFunction::First(change(expr)),
        WindowFunction::RunningSum(expr) => WindowFunction::RunningSum(change(expr)),
        WindowFunction::RunningMax(expr) => WindowFunction::RunningMax(change(expr)),
        WindowFunction::MinBeyond { of, distance } => WindowFunction::MinBeyond { of: change(of), distance: *distance },
    }
}

/// The column of a source that the expression is.
#[expect(clippy::wildcard_enum_match_arm, reason = "all else is computed")]
pub(crate) fn source_column(expr: &Expr) -> Option<(Side, &str)> {
    match expr {
        Expr::Column { side: Some(side), name } => Some((*side, name)),
        _ => None,
    }
}

pub(crate) fn is_column(expr: &Expr) -> bool {
    source_column(expr).is_some()
}

/// Whether the expression reads what is computed from several rows.
fn is_computed(expr: &Expr) -> bool {
    let mut found = false;
    expr.each_column(&mut |side, _| found |= side.is_none());
    found
}

/// The same for every row.
pub(crate) fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(_) | Expr::Param(Param::BatchId | Param::ProcessedAt))
}

/// No more than a name.
fn is_simple(expr: &Expr) -> bool {
    is_column(expr) || is_constant(expr)
}

/// The columns of the left source as those of the right one.
pub(crate) fn to_right(expr: &Expr) -> Expr {
    map_columns(expr, &mut |_, name| Expr::right(name))
}

/// The same expression with every column replaced.
pub(crate) fn map_columns(expr: &Expr, change: &mut dyn FnMut(Option<Side>, &str) -> Expr) -> Expr {
    let mut boxed = |expr: &Expr| Box::new(map_columns(expr, change));
    match expr {
        Expr::Column { side, name } => change(*side, name),
        Expr::Literal(_) | Expr::Param(_) => expr.clone(),
        Expr::Binary { op, left, right } => Expr::Binary { op: *op, left: boxed(left), right: boxed(right) },
        Expr::Not(expr) => Expr::Not(boxed(expr)),
        Expr::IsNull(expr) => Expr::IsNull(boxed(expr)),
        Expr::Case { branches, otherwise } => {
            let branches = branches.iter().map(|(when, then)| (*boxed(when), *boxed(then))).collect();
            Expr::Case { branches, otherwise: otherwise.as_deref().map(boxed) }
        }
        Expr::Cast { expr, ty } => Expr::Cast { expr: boxed(expr), ty: *ty },
        Expr::JoinText { separator, parts } => {
            Expr::JoinText { separator: separator.clone(), parts: parts.iter().map(|part| *boxed(part)).collect() }
        }
        Expr::Call { function, arguments } => {
            Expr::Call { function: function.clone(), arguments: arguments.iter().map(|argument| *boxed(argument)).collect() }
        }
    }
}
