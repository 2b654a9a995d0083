//! Rows that do not fit: each with its text, what is wrong with it, and the values that could be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, StringViewArray},
    compute::{filter_record_batch, interleave_record_batch},
    datatypes::{Field, Schema},
    record_batch::RecordBatch,
};
use qetl_core::{
    Type,
    plan::{BAD_COLUMNS, BAD_ROW, PARKED_COLUMNS},
};

use crate::{
    arrow_type,
    problem::{DataProblem, shown},
    spec::{BadRows, ReadSpec},
};

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
    /// The numbers of the good rows, where they do not follow from the bad ones.
    pub(crate) own_numbers: Option<Int64Array>,
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

    /// What is wrong with it; where it stands is told beside it.
    fn error(&self) -> String {
        match &self.problem.place.column {
            Some(column) => format!("column `{}`: {}", shown(column), self.problem.message),
            None => self.problem.message.clone(),
        }
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
        Self { good, before, bad: bad.into_iter().map(|(_, row)| row).collect(), bad_values, own_numbers: None }
    }

    /// The number of each good row in its file, from 1.
    pub fn numbers(&self) -> Int64Array {
        self.own_numbers.clone().unwrap_or_else(|| Int64Array::from_iter_values(self.each_number()))
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

    /// All rows in their order, as rows that fit: with [`BAD_COLUMNS`], which are NULL in those that do.
    fn with_bad(self) -> Self {
        let Self { good, before, bad, bad_values, .. } = self;
        let mut waiting = bad.iter().enumerate().peekable();
        let place = |number: u64| waiting.next_if(|(_, row)| row.number == number).map(|(place, _)| place);
        let count = (good.num_rows() + bad.len()) as u64;
        let places: Vec<Option<usize>> = (before + 1..=before + count).map(place).collect();
        let rows = if bad.is_empty() {
            good
        } else {
            let mut goods = 0..;
            let place = |place: &Option<usize>| place.map_or_else(|| (0, goods.next().unwrap_or(0)), |place| (1, place));
            let places: Vec<(usize, usize)> = places.iter().map(place).collect();
            interleave_record_batch(&[&good, &bad_values], &places)
                .unwrap_or_else(|error| unreachable!("both have the columns of the file: {error}"))
        };
        let texts = |text: &dyn Fn(&BadRow) -> String| -> ArrayRef {
            Arc::new(places.iter().map(|place| place.map(|place| text(&bad[place]))).collect::<StringViewArray>())
        };
        let good = with_columns(&rows, &BAD_COLUMNS, vec![texts(&|row| row.text.clone()), texts(&BadRow::error)]);
        Self { bad_values: good.slice(0, 0), good, before, bad: Vec::new(), own_numbers: None }
    }

    /// The rows that do not fit, as if they did: with [`PARKED_COLUMNS`].
    fn bad_alone(self) -> Self {
        let Self { before, bad, bad_values, .. } = self;
        let texts =
            |text: &dyn Fn(&BadRow) -> String| -> ArrayRef { Arc::new(bad.iter().map(|row| Some(text(row))).collect::<StringViewArray>()) };
        let added = vec![texts(&|_| BAD_ROW.to_owned()), texts(&|row| row.text.clone()), texts(&BadRow::error)];
        let good = with_columns(&bad_values, &PARKED_COLUMNS, added);
        let numbers = Int64Array::from_iter_values(bad.iter().map(|row| i64::try_from(row.number).unwrap_or(i64::MAX)));
        Self { bad_values: good.slice(0, 0), good, before, bad: Vec::new(), own_numbers: Some(numbers) }
    }

    /// How many rows of the file there are, good and bad.
    pub fn count(&self) -> u64 {
        (self.good.num_rows() + self.bad.len()) as u64
    }
}

/// The rows with more columns.
fn with_columns(rows: &RecordBatch, names: &[(&str, Type)], added: Vec<ArrayRef>) -> RecordBatch {
    let fields = names.iter().map(|(name, ty)| Arc::new(Field::new(*name, arrow_type(*ty), true)));
    let fields: Vec<_> = rows.schema().fields().iter().cloned().chain(fields).collect();
    let columns = rows.columns().iter().cloned().chain(added).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .unwrap_or_else(|error| unreachable!("there is a value for each row: {error}"))
}

/// What does not fit, of all the rows of a batch: the first few problems and how many rows there are, the types that
/// inferred columns need, and the open columns that have values.
#[derive(Debug, Default)]
pub struct Misfits {
    first: Vec<DataProblem>,
    count: u64,
    wider: BTreeMap<usize, Type>,
    untyped: BTreeSet<usize>,
    /// See [`Misfits::parked`].
    parked: Vec<String>,
}

/// How many bad rows an error names.
const NAMED: usize = 5;

impl Misfits {
    /// Whether everything fits so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.wider.is_empty() && self.untyped.is_empty()
    }

    /// Takes the next rows of a source: those that do not fit are a problem each, or rows like others where they are set aside.
    pub fn take(&mut self, rows: Rows, spec: &ReadSpec) -> Rows {
        if !spec.options.parks_bad_rows() {
            rows.bad.iter().for_each(|row| self.add(&row.problem));
            return rows;
        }
        for row in &rows.bad {
            // A key without a value has a rule of its own.
            let is_needed = |name: &String| spec.columns.iter().any(|column| column.needed && column.name == *name);
            if row.problem.code == "qetl::ingest::null" && row.problem.place.column.as_ref().is_some_and(is_needed) {
                self.add(&row.problem);
                continue;
            }
            if self.parked.len() < NAMED {
                self.parked.push(row.problem.to_string());
            }
        }
        match spec.bad_rows {
            BadRows::Among => rows.with_bad(),
            BadRows::LeftOut => rows,
            BadRows::Alone => rows.bad_alone(),
        }
    }

    /// What is wrong with the first few rows that were landed though they do not fit, each with its place.
    pub fn parked(&self) -> &[String] {
        &self.parked
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
