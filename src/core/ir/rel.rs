//! Relations: tables that are computed.
#![expect(clippy::wildcard_enum_match_arm, reason = "only one type is right there")]

mod steps;

use std::sync::Arc;

use crate::{
    plan::DatasetName,
    schema::{Column, Schema, Type},
};

use super::{Expr, Function, Period, Side};

pub use steps::{Step, Steps};

/// A relation with its columns. Built only by functions that check names and types. Clones share what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Rel {
    pub op: Arc<Op>,
    schema: Schema,
}

/// What a relation is made by.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    Scan {
        dataset: DatasetName,
        as_of: AsOf,
    },
    /// The result of an earlier step.
    Ref {
        step: String,
    },
    Filter {
        input: Rel,
        predicate: Expr,
    },
    Project {
        input: Rel,
        columns: Vec<(String, Expr)>,
    },
    /// `columns` is empty for semi and anti joins, which keep the left relation's. Keys are never NULL.
    Join {
        kind: JoinKind,
        left: Rel,
        right: Rel,
        on: Vec<(String, String)>,
        columns: Vec<(String, Expr)>,
    },
    /// All rows of all inputs; columns match by name and type, in the first input's order.
    Union(Vec<Rel>),
    /// One row per distinct `keys` (one row in all without keys). NULLs are equal.
    Aggregate {
        input: Rel,
        keys: Vec<String>,
        columns: Vec<(String, AggregateFunction)>,
    },
    /// Adds columns that are computed over each row's partition.
    Window {
        input: Rel,
        columns: Vec<(String, WindowFunction)>,
        partition: Vec<String>,
        order: Vec<Order>,
    },
    Sort {
        input: Rel,
        order: Vec<Order>,
    },
    Limit {
        input: Rel,
        rows: u64,
    },
    LatestPerKey(LatestPerKey),
    Classify(Classify),
    Sessionize(Sessionize),
    /// What is recorded of every batch of the flow, this one included: `xt_batch_id` and `xt_processed_at`.
    Batches,
    /// The first day, as `name`, of every period from the one of `xt_first` to the one of `xt_last`, dates of the input's
    /// only row; nothing when they are NULL or there is no row.
    Periods {
        bounds: Rel,
        period: Period,
        name: String,
    },
    /// The rows that meet `begin`, and, from each row found on, the rows whose right columns of `on` equal its left ones.
    /// No row is found twice: the way from a row never leads back.
    Follow {
        input: Rel,
        begin: Expr,
        on: Vec<(String, String)>,
    },
}

/// Which of a dataset's batches a scan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    ThisBatch,
    /// The batch with the greatest id below this one.
    PreviousBatch,
    BeforeThisBatch,
    AfterThisBatch,
    AllBatches,
    /// This batch as it was published before, if it was: what is being replaced.
    ReplacedBatch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Full,
    /// The left rows that have a match.
    Semi,
    /// The left rows that have none.
    Anti,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AggregateFunction {
    Count,
    Sum(Expr),
    Min(Expr),
    Max(Expr),
}

#[derive(Debug, Clone, PartialEq)]
pub enum WindowFunction {
    /// 1, 2, … in the window's order.
    RowNumber,
    /// The value in the row before; NULL in the first.
    Lag(Expr),
    /// The value in the row after; NULL in the last.
    Lead(Expr),
    /// The value in the first row.
    First(Expr),
    /// Of all rows up to this one; NULL is left out.
    RunningSum(Expr),
    RunningMax(Expr),
    /// The least value in the rows whose sort key is more than `distance` greater than this row's; NULL if there is none.
    /// The window has one sort key: integers, ascending.
    MinBeyond {
        of: Expr,
        distance: i64,
    },
}

/// A sort key. NULLs stand first, in either direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub by: Expr,
    pub descending: bool,
}

/// For each key, the row with the greatest `by`, which is unique per key.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestPerKey {
    pub input: Rel,
    pub keys: Vec<String>,
    pub by: String,
    /// Promises that the previous batch holds the latest row of every key, save keys whose latest row meets this
    /// condition and keys that are in `gaps`. An engine may use it to read less.
    pub dead: Option<Expr>,
    pub gaps: Option<Rel>,
}

/// Compares the current rows with the last known state, key by key, and says what became of each.
///
/// `current` and `state` have one row per key; `state` has `current`'s columns and `xt_record_type`. The result has
/// `current`'s columns but for `marked`, `xt_record_type` and `xt_changed_columns`.
#[derive(Debug, Clone, PartialEq)]
pub struct Classify {
    pub current: Rel,
    pub state: Rel,
    pub keys: Vec<String>,
    pub tracked: Vec<String>,
    /// The column of `current` that says of a row that it deletes its key: never NULL, and in no result. Without it no row does.
    pub marked: Option<String>,
    /// Tracked columns that do not differ where the batch of the state's row had not the column: see
    /// [`Function::BatchHas`](super::Function::BatchHas). The state then has `xt_batch_id`.
    pub added: Vec<String>,
    /// What a row that deletes its key says of the deletion: these values it gives to the DELETED row, which has the state's else.
    pub of_mark: Vec<String>,
    /// The keys that are deleted without such a row.
    pub gone: Gone,
}

impl Classify {
    /// Whether a tracked column differs, where the current rows stand on the left and the state on the right.
    pub fn differs(&self, column: &str) -> Expr {
        let differs = Expr::left(column).is_distinct(Expr::right(column));
        if !self.added.iter().any(|added| added == column) {
            return differs;
        }
        differs.and(Expr::right("xt_batch_id").call(Function::BatchHas { column: column.to_owned() }))
    }

    /// The columns that are compared, or carried.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.current.columns().iter().filter(|column| self.marked.as_ref().is_none_or(|marked| *marked != column.name))
    }
}

/// Cuts each user's events, in time order, into sessions.
///
/// An event begins a session when it is the user's first, when it is more than `gap` after the event before it, or when
/// it is more than `longest` after the start of the session that it would be in. `order` puts events of equal time in
/// order. A user's sessions are numbered from 1. No user and no time is NULL.
#[derive(Debug, Clone, PartialEq)]
pub struct Sessionize {
    pub input: Rel,
    pub user: String,
    /// A timestamp.
    pub time: String,
    pub order: Vec<Expr>,
    /// Microseconds.
    pub gap: i64,
    /// Microseconds.
    pub longest: Option<i64>,
    pub give: Sessions,
}

/// What comes of [`Sessionize`].
#[derive(Debug, Clone, PartialEq)]
pub enum Sessions {
    /// Every event, with `xt_session`, its session's number, and `xt_session_start`.
    Events,
    /// Every session: the user, `xt_session`, `xt_session_start`, `xt_session_end`, `xt_events` (their number),
    /// `xt_batch_id` (the greatest among its events), and of each of these columns `first_…` and `last_…`.
    Sessions(Vec<String>),
}

/// Which keys of the state are deleted when they are not among the current ones.
#[derive(Debug, Clone, PartialEq)]
pub enum Gone {
    /// All, save the keys of the relation, none of which is among the current ones.
    AllExcept(Option<Rel>),
    /// Those of the relation; none without one.
    Only(Option<Rel>),
}

/// A relation that cannot be: a column that is not there, types that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelError {
    #[error("no column `{0}`; there are {known}", known = .1.join(", "))]
    NoColumn(String, Vec<String>),
    #[error("`{what}` mixes {left} and {right}")]
    Types { what: String, left: Type, right: Type },
    #[error("column `{0}` stands twice")]
    Twice(String),
    #[error("the relations of a union differ: {0} and {1}")]
    Union(String, String),
}

impl Rel {
    fn new(op: Op, columns: Vec<Column>) -> Result<Self, RelError> {
        Ok(Self::with(op, Schema::new(columns).map_err(RelError::Twice)?))
    }

    fn with(op: Op, schema: Schema) -> Self {
        Self { op: Arc::new(op), schema }
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    pub fn columns(&self) -> &[Column] {
        self.schema.columns()
    }

    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.schema.names()
    }

    /// The type of an expression over the columns.
    fn ty(&self, expr: &Expr) -> Result<Type, RelError> {
        expr.ty(&self.schema, &Schema::default())
    }

    fn expect_bool(&self, expr: &Expr) -> Result<(), RelError> {
        expect_bool(expr, &self.schema, &Schema::default())
    }

    pub fn scan(dataset: &DatasetName, schema: &Schema, as_of: AsOf) -> Self {
        Self::with(Op::Scan { dataset: dataset.clone(), as_of }, schema.clone())
    }

    pub fn filter(self, predicate: Expr) -> Result<Self, RelError> {
        self.expect_bool(&predicate)?;
        let schema = self.schema.clone();
        Ok(Self::with(Op::Filter { input: self, predicate }, schema))
    }

    pub fn project(self, columns: Vec<(String, Expr)>) -> Result<Self, RelError> {
        let types = typed(&columns, &self.schema, &Schema::default())?;
        Self::new(Op::Project { input: self, columns }, types)
    }

    /// Only these columns, in this order.
    pub fn select(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, RelError> {
        self.project(names.into_iter().map(|name| (name.as_ref().to_owned(), Expr::column(name.as_ref()))).collect())
    }

    /// An inner, left or full join with its projection.
    pub fn join(self, kind: JoinKind, right: Rel, on: &[(String, String)], columns: Vec<(String, Expr)>) -> Result<Self, RelError> {
        let schema = Schema::new(typed(&columns, &self.schema, &right.schema)?).map_err(RelError::Twice)?;
        self.joined(kind, right, on, columns, schema)
    }

    /// The rows whose keys stand in the other relation, under the same names.
    pub fn semi(self, other: Rel, keys: &[String]) -> Result<Self, RelError> {
        let schema = self.schema.clone();
        self.joined(JoinKind::Semi, other, &pairs(keys), Vec::new(), schema)
    }

    /// The rows whose keys do not stand in the other relation.
    pub fn anti(self, other: Rel, keys: &[String]) -> Result<Self, RelError> {
        let schema = self.schema.clone();
        self.joined(JoinKind::Anti, other, &pairs(keys), Vec::new(), schema)
    }

    fn joined(
        self,
        kind: JoinKind,
        right: Rel,
        on: &[(String, String)],
        columns: Vec<(String, Expr)>,
        schema: Schema,
    ) -> Result<Self, RelError> {
        for (a, b) in on {
            let equal = Expr::left(a).eq(Expr::Column { side: Some(Side::Right), name: b.clone() });
            expect_bool(&equal, &self.schema, &right.schema)?;
        }
        Ok(Self::with(Op::Join { kind, left: self, right, on: on.to_vec(), columns }, schema))
    }

    /// All rows of all inputs. There is at least one, and all have the same columns.
    pub fn union(inputs: Vec<Rel>) -> Result<Self, RelError> {
        let Some(first) = inputs.first() else { return Err(RelError::Union("nothing".into(), "nothing".into())) };
        let schema = first.schema.clone();
        if let Some(other) = inputs.iter().find(|input| input.schema != schema) {
            return Err(RelError::Union(schema.to_string(), other.schema.to_string()));
        }
        if inputs.len() == 1 {
            return Ok(inputs.into_iter().next().unwrap_or_else(|| unreachable!("there is one")));
        }
        Ok(Self::with(Op::Union(inputs), schema))
    }

    pub fn aggregate(self, keys: &[String], columns: Vec<(String, AggregateFunction)>) -> Result<Self, RelError> {
        let mut types = keys.iter().map(|key| Ok(Column::new(key, self.ty(&Expr::column(key))?))).collect::<Result<Vec<_>, RelError>>()?;
        for (name, function) in &columns {
            let ty = match function {
                AggregateFunction::Count => Type::Int,
                AggregateFunction::Sum(expr) | AggregateFunction::Min(expr) | AggregateFunction::Max(expr) => self.ty(expr)?,
            };
            types.push(Column::new(name, ty));
        }
        Self::new(Op::Aggregate { input: self, keys: keys.to_vec(), columns }, types)
    }

    /// Adds a column that is computed over each row's partition.
    pub fn window(self, name: &str, function: WindowFunction, partition: &[String], order: Vec<Order>) -> Result<Self, RelError> {
        self.windows([(name.to_owned(), function)], partition, &order)
    }

    /// Adds columns that are computed over each row's partition, none of them over another.
    pub fn windows(
        self,
        columns: impl IntoIterator<Item = (String, WindowFunction)>,
        partition: &[String],
        order: &[Order],
    ) -> Result<Self, RelError> {
        for column in partition {
            self.ty(&Expr::column(column))?;
        }
        for key in order {
            self.ty(&key.by)?;
        }
        let columns: Vec<(String, WindowFunction)> = columns.into_iter().collect();
        let mut types = self.columns().to_vec();
        for (name, function) in &columns {
            types.push(Column::new(name, function.argument().map_or(Ok(Type::Int), |expr| self.ty(expr))?));
        }
        Self::new(Op::Window { input: self, columns, partition: partition.to_vec(), order: order.to_vec() }, types)
    }

    /// See [`Op::Follow`].
    pub fn follow(self, begin: Expr, on: &[(String, String)]) -> Result<Self, RelError> {
        self.expect_bool(&begin)?;
        for (from, to) in on {
            self.expect_bool(&Expr::column(from).eq(Expr::column(to)))?;
        }
        let schema = self.schema.clone();
        Ok(Self::with(Op::Follow { input: self, begin, on: on.to_vec() }, schema))
    }

    pub fn sort(self, order: Vec<Order>) -> Result<Self, RelError> {
        for key in &order {
            self.ty(&key.by)?;
        }
        let schema = self.schema.clone();
        Ok(Self::with(Op::Sort { input: self, order }, schema))
    }

    pub fn limit(self, rows: u64) -> Result<Self, RelError> {
        let schema = self.schema.clone();
        Ok(Self::with(Op::Limit { input: self, rows }, schema))
    }

    pub fn latest_per_key(latest: LatestPerKey) -> Result<Self, RelError> {
        let input = &latest.input;
        for key in latest.keys.iter().chain([&latest.by]) {
            input.ty(&Expr::column(key))?;
        }
        if let Some(dead) = &latest.dead {
            input.expect_bool(dead)?;
        }
        let schema = input.schema.clone();
        Ok(Self::with(Op::LatestPerKey(latest), schema))
    }

    pub fn classify(classify: Classify) -> Result<Self, RelError> {
        let mut columns: Vec<Column> = classify.columns().cloned().collect();
        if let Some(marked) = &classify.marked {
            classify.current.expect_bool(&Expr::column(marked))?;
        }
        for column in columns.iter().chain([&Column::new("xt_record_type", Type::Text)]) {
            let same = classify.state.ty(&Expr::column(&column.name))?;
            if same != column.ty {
                return Err(RelError::Types { what: column.name.clone(), left: column.ty, right: same });
            }
        }
        let own = Schema::new(columns.clone()).unwrap_or_default();
        for name in classify.keys.iter().chain(&classify.tracked).chain(&classify.added).chain(&classify.of_mark) {
            Expr::column(name).ty(&own, &Schema::default())?;
        }
        if !classify.added.is_empty() {
            classify.state.ty(&Expr::column("xt_batch_id"))?;
        }
        columns.push(Column::new("xt_record_type", Type::Text));
        columns.push(Column::new("xt_changed_columns", Type::Text));
        Self::new(Op::Classify(classify), columns)
    }

    pub fn sessionize(sessionize: Sessionize) -> Result<Self, RelError> {
        let input = &sessionize.input;
        let ty = |name: &str| input.ty(&Expr::column(name));
        let time = ty(&sessionize.time)?;
        if time != Type::Timestamp {
            return Err(RelError::Types { what: sessionize.time.clone(), left: Type::Timestamp, right: time });
        }
        sessionize.order.iter().try_for_each(|key| input.ty(key).map(|_| ()))?;
        let columns = match &sessionize.give {
            Sessions::Events => {
                let more = [Column::new("xt_session", Type::Int), Column::new("xt_session_start", Type::Timestamp)];
                input.columns().iter().cloned().chain(more).collect()
            }
            Sessions::Sessions(names) => {
                let mut columns = vec![
                    Column::new(&sessionize.user, ty(&sessionize.user)?),
                    Column::new("xt_session", Type::Int),
                    Column::new("xt_session_start", Type::Timestamp),
                    Column::new("xt_session_end", Type::Timestamp),
                    Column::new("xt_events", Type::Int),
                    Column::new("xt_batch_id", ty("xt_batch_id")?),
                ];
                for name in names {
                    columns.push(Column::new(&format!("first_{name}"), ty(name)?));
                    columns.push(Column::new(&format!("last_{name}"), ty(name)?));
                }
                columns
            }
        };
        Self::new(Op::Sessionize(sessionize), columns)
    }

    pub fn batches() -> Self {
        let columns = vec![Column::new("xt_batch_id", Type::Int), Column::new("xt_processed_at", Type::Timestamp)];
        Self::new(Op::Batches, columns).unwrap_or_else(|_| unreachable!("two names differ"))
    }

    pub fn periods(bounds: Rel, period: Period, name: &str) -> Result<Self, RelError> {
        for bound in ["xt_first", "xt_last"] {
            match bounds.ty(&Expr::column(bound))? {
                Type::Date => (),
                other => return Err(RelError::Types { what: bound.to_owned(), left: Type::Date, right: other }),
            }
        }
        Self::new(Op::Periods { bounds, period, name: name.to_owned() }, vec![Column::new(name, Type::Date)])
    }

    /// The same relation with every scan of the batches before this one reading `as_of` instead.
    #[must_use]
    pub fn history_as_of(&self, as_of: AsOf) -> Rel {
        if let Op::Scan { dataset, as_of: AsOf::BeforeThisBatch | AsOf::AllBatches } = &*self.op {
            return Rel::scan(dataset, &self.schema, as_of);
        }
        self.map_inputs(&mut |input| input.history_as_of(as_of))
    }

    /// The same relation made from other ones, each with the columns of the one that it takes the place of.
    #[must_use]
    pub fn map_inputs(&self, go: &mut impl FnMut(&Rel) -> Rel) -> Rel {
        let op = match &*self.op {
            other @ (Op::Scan { .. } | Op::Ref { .. } | Op::Batches) => other.clone(),
            Op::Periods { bounds, period, name } => Op::Periods { bounds: go(bounds), period: *period, name: name.clone() },
            Op::Sessionize(sessionize) => Op::Sessionize(Sessionize { input: go(&sessionize.input), ..sessionize.clone() }),
            Op::Follow { input, begin, on } => Op::Follow { input: go(input), begin: begin.clone(), on: on.clone() },
            Op::Filter { input, predicate } => Op::Filter { input: go(input), predicate: predicate.clone() },
            Op::Project { input, columns } => Op::Project { input: go(input), columns: columns.clone() },
            Op::Join { kind, left, right, on, columns } => {
                Op::Join { kind: *kind, left: go(left), right: go(right), on: on.clone(), columns: columns.clone() }
            }
            Op::Union(inputs) => Op::Union(inputs.iter().map(go).collect()),
            Op::Aggregate { input, keys, columns } => Op::Aggregate { input: go(input), keys: keys.clone(), columns: columns.clone() },
            Op::Window { input, columns, partition, order } => {
                Op::Window { input: go(input), columns: columns.clone(), partition: partition.clone(), order: order.clone() }
            }
            Op::Sort { input, order } => Op::Sort { input: go(input), order: order.clone() },
            Op::Limit { input, rows } => Op::Limit { input: go(input), rows: *rows },
            Op::LatestPerKey(latest) => {
                let gaps = latest.gaps.as_ref().map(&mut *go);
                Op::LatestPerKey(LatestPerKey { input: go(&latest.input), gaps, ..latest.clone() })
            }
            Op::Classify(classify) => {
                let gone = match &classify.gone {
                    Gone::AllExcept(rel) => Gone::AllExcept(rel.as_ref().map(&mut *go)),
                    Gone::Only(rel) => Gone::Only(rel.as_ref().map(&mut *go)),
                };
                Op::Classify(Classify { current: go(&classify.current), state: go(&classify.state), gone, ..classify.clone() })
            }
        };
        Rel::with(op, self.schema.clone())
    }
}

fn pairs(keys: &[String]) -> Vec<(String, String)> {
    keys.iter().map(|key| (key.clone(), key.clone())).collect()
}

fn typed(columns: &[(String, Expr)], left: &Schema, right: &Schema) -> Result<Vec<Column>, RelError> {
    columns.iter().map(|(name, expr)| Ok(Column::new(name, expr.ty(left, right)?))).collect()
}

fn expect_bool(expr: &Expr, left: &Schema, right: &Schema) -> Result<(), RelError> {
    match expr.ty(left, right)? {
        Type::Bool => Ok(()),
        other => Err(RelError::Types { what: expr.to_string(), left: Type::Bool, right: other }),
    }
}

impl Rel {
    /// The relations that this one is made from.
    pub fn inputs(&self) -> Vec<&Rel> {
        match &*self.op {
            Op::Scan { .. } | Op::Ref { .. } | Op::Batches => Vec::new(),
            Op::Periods { bounds, .. } => vec![bounds],
            Op::Sessionize(sessionize) => vec![&sessionize.input],
            Op::Filter { input, .. }
            | Op::Project { input, .. }
            | Op::Aggregate { input, .. }
            | Op::Window { input, .. }
            | Op::Sort { input, .. }
            | Op::Limit { input, .. }
            | Op::Follow { input, .. } => vec![input],
            Op::Join { left, right, .. } => vec![left, right],
            Op::Union(inputs) => inputs.iter().collect(),
            Op::LatestPerKey(latest) => std::iter::once(&latest.input).chain(&latest.gaps).collect(),
            Op::Classify(classify) => {
                let gone = match &classify.gone {
                    Gone::AllExcept(rel) | Gone::Only(rel) => rel,
                };
                [&classify.current, &classify.state].into_iter().chain(gone).collect()
            }
        }
    }

    /// The dataset that is read first.
    pub fn first_scan(&self) -> Option<&DatasetName> {
        match &*self.op {
            Op::Scan { dataset, .. } => Some(dataset),
            _ => self.inputs().into_iter().find_map(Rel::first_scan),
        }
    }
}
