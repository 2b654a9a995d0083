//! Rows that do not fit: each with its text, what is wrong with it, and the values that could be read.

use std::collections::{BTreeMap, BTreeSet};

use arrow::{
    array::{BooleanArray, Int64Array},
    compute::filter_record_batch,
    record_batch::RecordBatch,
};
use qetl_core::Type;

use crate::problem::DataProblem;

/// How the next row of a file is.
pub(crate) enum Row {
    Good,
    Bad(Box<BadRow>),
}

/// Rows of a file that were read together, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Those that fit.
    pub good: RecordBatch,
    /// How many rows of the file stand before them.
    pub before: u64,
    /// Those that do not fit.
    pub bad: Vec<BadRow>,
    /// What could be read of each of them; NULL where nothing could.
    pub bad_values: RecordBatch,
}

/// A row that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub struct BadRow {
    /// Its number in the file, from 1.
    pub number: u64,
    /// As it stands in a file of text, else as JSON.
    pub text: String,
    /// The columns of the `ReadSpec` that could not be read.
    pub unreadable: Vec<usize>,
    /// The first thing that is wrong with it, with its place.
    pub problem: DataProblem,
}

impl BadRow {
    /// The row's number is known to who counts them.
    pub(crate) fn new(text: &[u8], unreadable: Vec<usize>, problem: DataProblem) -> Self {
        Self { number: 0, text: String::from_utf8_lossy(text).into_owned(), unreadable, problem }
    }
}

impl Rows {
    /// `bad`: each with its index in the batch, ascending.
    pub(crate) fn new(all: RecordBatch, before: u64, bad: Vec<(usize, BadRow)>) -> Self {
        let mut fits = vec![true; if bad.is_empty() { 0 } else { all.num_rows() }];
        bad.iter().for_each(|(index, _)| fits[*index] = false);
        let some = |wanted: bool| {
            let mask: BooleanArray = fits.iter().map(|fits| Some(*fits == wanted)).collect();
            filter_record_batch(&all, &mask).unwrap_or_else(|error| unreachable!("the mask is as long as the batch: {error}"))
        };
        let bad_values = if bad.is_empty() { all.slice(0, 0) } else { some(false) };
        let good = if bad.is_empty() { all } else { some(true) };
        Self { good, before, bad: bad.into_iter().map(|(_, row)| row).collect(), bad_values }
    }

    /// The number of each good row in its file, from 1.
    pub fn numbers(&self) -> Int64Array {
        Int64Array::from_iter_values(self.each_number())
    }

    fn each_number(&self) -> impl Iterator<Item = i64> + '_ {
        let mut bad = self.bad.iter().map(|row| row.number).peekable();
        let mut next = self.before;
        (0..self.good.num_rows()).map(move |_| {
            next += 1;
            while bad.next_if_eq(&next).is_some() {
                next += 1;
            }
            i64::try_from(next).unwrap_or(i64::MAX)
        })
    }

    /// The rows, where all of them must fit.
    pub fn whole(self) -> Result<RecordBatch, DataProblem> {
        let mut misfits = Misfits::default();
        self.bad.iter().for_each(|row| misfits.add(&row.problem));
        misfits.problem().map_or(Ok(self.good), Err)
    }

    /// How many rows of the file there are, good and bad.
    pub fn count(&self) -> u64 {
        (self.good.num_rows() + self.bad.len()) as u64
    }
}

/// What does not fit, of all the rows of a batch: the first few problems and how many rows there are, the types that
/// inferred columns need, and the open columns that have values.
#[derive(Debug, Default)]
pub struct Misfits {
    first: Vec<DataProblem>,
    count: u64,
    wider: BTreeMap<usize, Type>,
    untyped: BTreeSet<usize>,
}

/// How many bad rows an error names.
const NAMED: usize = 5;

impl Misfits {
    /// Whether everything fits so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.wider.is_empty() && self.untyped.is_empty()
    }

    /// Whether the problem of one more row will be named.
    pub fn names_more(&self) -> bool {
        self.first.len() < NAMED
    }

    pub fn add(&mut self, problem: &DataProblem) {
        self.count += 1;
        if self.names_more() {
            self.first.push(problem.clone());
        }
    }

    /// Columns that need another type.
    pub fn widen(&mut self, wider: &[(usize, Type)]) {
        for (column, ty) in wider {
            let held = self.wider.entry(*column).or_insert(*ty);
            if let (Type::Decimal { scale: old, .. }, Type::Decimal { scale, .. }) = (&held, ty)
                && *old < *scale
            {
                *held = *ty;
            }
        }
    }

    /// Open columns that had values.
    pub fn settle(&mut self, untyped: &[usize]) {
        self.untyped.extend(untyped);
    }

    /// The rows that do not fit, as one problem.
    pub fn problem(&self) -> Option<DataProblem> {
        let mut problem = self.first.first()?.clone();
        for other in &self.first[1..] {
            problem.message.push_str(&format!("\n  {other}"));
        }
        if self.count > 1 {
            let more = self.count - self.first.len() as u64;
            let rest = if more > 0 { format!("and {more} more: ") } else { String::new() };
            problem.message.push_str(&format!("\n  {rest}{} rows do not fit", self.count));
        }
        Some(problem)
    }

    /// The open columns that had values.
    pub fn untyped(&self) -> impl Iterator<Item = usize> {
        self.untyped.iter().copied()
    }

    /// The columns that need another type, and which.
    pub fn wider(self) -> Vec<(usize, Type)> {
        self.wider.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_five_and_counts_all() {
        let mut misfits = Misfits::default();
        for line in 1..=7 {
            misfits.add(&DataProblem::new("qetl::ingest::value", "o.csv", "`x` is not an integer").at(line, 1));
        }
        let told = misfits.problem().unwrap().to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "o.csv:1:1: `x` is not an integer");
        assert_eq!(lines[4], "  o.csv:5:1: `x` is not an integer");
        assert_eq!(lines[5..], ["  and 2 more: 7 rows do not fit"]);
    }

    #[test]
    fn the_widest_type_is_needed() {
        let decimal = |scale| Type::Decimal { precision: 38, scale };
        let mut misfits = Misfits::default();
        misfits.widen(&[(1, decimal(2)), (0, decimal(0))]);
        misfits.widen(&[(1, decimal(5))]);
        misfits.widen(&[(1, decimal(3))]);
        assert!(!misfits.is_empty());
        assert_eq!(misfits.wider(), [(0, decimal(0)), (1, decimal(5))]);
    }
}
