//! What the columns of a flow are there for.

use qetl_core::{
    Type,
    input::{BatchMode, OnDuplicateKey, OnNullKey},
    ir::{Expr, Function, Order, Rel, WindowFunction},
};

/// Rows of all batches that do not fit.
pub(super) struct Bad {
    pub(super) rows: Rel,
    /// Those of which it is not known whose they are.
    pub(super) unreadable: Rel,
}

/// What the columns of the flow are there for, and what its deletions do.
pub(super) struct Roles {
    /// All input columns.
    pub(super) columns: Vec<String>,
    pub(super) keys: Vec<String>,
    /// The column that says when a row takes effect; the batch's execution time does without it.
    pub(super) effective: Option<String>,
    /// The order of a key's rows of one effective time; only beside `effective`.
    pub(super) sequence: Vec<String>,
    /// The type of effective times.
    pub(super) time: Type,
    /// True for rows that mark a deletion.
    pub(super) marked: Option<Expr>,
    /// A version ends where one of them differs.
    pub(super) tracked: Vec<String>,
    /// Whether a tracked column is carried where the event before is of a batch that did not have it.
    pub(super) carries_added: bool,
    /// Overwritten in every version.
    pub(super) type1: Vec<String>,
    pub(super) mode: BatchMode,
    /// What a batch is a snapshot of, as columns that are never NULL.
    pub(super) values: Vec<(String, Expr)>,
    /// It is one of everything, which is one value: some batches miss nothing.
    pub(super) of_all: bool,
    /// The landed rows that do not fit, if the flow sets them aside.
    pub(super) bad: Option<Bad>,
    pub(super) duplicates: OnDuplicateKey,
    pub(super) nulls: OnNullKey,
    /// Whether a deletion ends a version.
    pub(super) closes: bool,
}

impl Roles {
    /// Keys and more columns.
    pub(super) fn by(&self, more: &[&str]) -> Vec<String> {
        self.keys.iter().map(String::as_str).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// What no two different rows of a batch share.
    pub(super) fn identity(&self) -> Vec<String> {
        let more = self.effective.iter().chain(&self.sequence).cloned();
        self.by(&["xt_batch_id"]).into_iter().chain(more).collect()
    }

    /// Whether a deletion can be told from what is landed.
    pub(super) fn can_delete(&self) -> bool {
        self.mode == BatchMode::Snapshot || self.marked.is_some()
    }

    /// Whether a key that a batch does not show ends.
    pub(super) fn absence_deletes(&self) -> bool {
        self.mode == BatchMode::Snapshot && self.closes
    }

    /// Whether a tracked column differs from its like of [`each`]. `batch` is that of the earlier one of the two rows.
    pub(super) fn differs(&self, prefix: &str, batch: &str) -> Expr {
        let differs = |(index, column): (usize, &String)| {
            let differs = Expr::column(column).is_distinct(Expr::column(&format!("{prefix}{index}")));
            if self.carries_added { differs.and(Expr::column(batch).call(Function::BatchHas { column: column.clone() })) } else { differs }
        };
        Expr::any(self.tracked.iter().enumerate().map(differs))
    }

    /// By these columns around the sequence, each in its direction.
    pub(super) fn order(&self, before: &[Order], descending: bool, after: &[Order]) -> Vec<Order> {
        let sequence = self.sequence.iter().map(|column| Order { by: Expr::column(column), descending });
        before.iter().cloned().chain(sequence).chain(after.iter().cloned()).collect()
    }
}

pub(super) fn up(name: &str) -> Order {
    Order { by: Expr::column(name), descending: false }
}

pub(super) fn down(name: &str) -> Order {
    Order { by: Expr::column(name), descending: true }
}

pub(super) fn own(names: &[String]) -> Vec<(String, Expr)> {
    names.iter().map(|name| (name.clone(), Expr::column(name))).collect()
}

pub(super) fn left(names: &[String]) -> Vec<(String, Expr)> {
    names.iter().map(|name| (name.clone(), Expr::left(name))).collect()
}

pub(super) fn pairs(names: &[String]) -> Vec<(String, String)> {
    names.iter().map(|name| (name.clone(), name.clone())).collect()
}

pub(super) fn with(mut columns: Vec<(String, Expr)>, more: impl IntoIterator<Item = (&'static str, Expr)>) -> Vec<(String, Expr)> {
    columns.extend(more.into_iter().map(|(name, expr)| (name.to_owned(), expr)));
    columns
}

/// 1 where the condition is met, else 0.
pub(super) fn flag(condition: Expr) -> Expr {
    Expr::case(vec![(condition, Expr::int(1))], Some(Expr::int(0)))
}

pub(super) fn is(name: &str, value: i64) -> Expr {
    Expr::column(name).eq(Expr::int(value))
}

/// The columns, each by a window function, under names of their own.
pub(super) fn each(columns: &[String], prefix: &str, function: fn(Expr) -> WindowFunction) -> Vec<(String, WindowFunction)> {
    let one = |(index, column): (usize, &String)| (format!("{prefix}{index}"), function(Expr::column(column)));
    columns.iter().enumerate().map(one).collect()
}
