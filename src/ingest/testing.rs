//! Files, specs and rows as short texts, for the tests.

use arrow::{record_batch::RecordBatch, util::display::array_value_to_string};
use qetl_core::{
    Type,
    format::{Format, ReaderOptions},
    load::OnExtraColumns,
};

use crate::{BadRow, BadRows, DataProblem, Misfits, ReadColumn, ReadSpec, SourceFile, read};

/// The spec of columns such as `id integer!; amount decimal(18,2)?; note`: `!` is required, `?` inferred, no type open.
pub(crate) fn spec(columns: &str) -> ReadSpec {
    let columns = columns.split("; ").map(|column| {
        let (name, ty) = column.split_once(' ').unwrap_or((column, ""));
        let bare = ty.trim_end_matches(['!', '?']);
        let ty = (!bare.is_empty()).then(|| bare.parse().unwrap()).map(|parsed| (parsed, &ty[bare.len()..]));
        let marks = ty.map_or("", |(_, marks)| marks);
        let (required, inferred) = (marks.contains('!'), marks.contains('?'));
        ReadColumn { required, inferred, ..ReadColumn::new(name, ty.map(|(ty, _)| ty)) }
    });
    ReadSpec {
        columns: columns.collect(),
        options: ReaderOptions::default(),
        on_extra_columns: OnExtraColumns::Ignore,
        bad_rows: BadRows::default(),
    }
}

/// A file with this content, in a folder of its own; its ending says its format.
pub(crate) fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, SourceFile) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    let format = Format::of_file(name).unwrap();
    (dir, SourceFile { path, name: name.to_owned(), format })
}

/// Everything that reading a file gives.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Those that fit.
    pub(crate) rows: Vec<String>,
    /// What is wrong with the file, or with its first bad rows.
    pub(crate) problem: Option<DataProblem>,
    pub(crate) bad: Vec<BadRow>,
    /// What could be read of them.
    pub(crate) bad_rows: Vec<String>,
    pub(crate) wider: Vec<(usize, Type)>,
    pub(crate) warnings: Vec<String>,
}

impl Outcome {
    /// The problem as it is printed, or nothing.
    pub(crate) fn refusal(&self) -> String {
        self.problem.as_ref().map_or_else(String::new, ToString::to_string)
    }
}

pub(crate) fn outcome(name: &str, content: &[u8], spec: &ReadSpec) -> Outcome {
    let (_dir, file) = file(name, content);
    let (rows, bad, bad_rows, wider, warnings) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut outcome = Outcome { rows, problem: None, bad, bad_rows, wider, warnings };
    let mut misfits = Misfits::default();
    let mut reader = match read(&file, spec) {
        Ok(reader) => reader,
        Err(problem) => {
            outcome.problem = Some(problem);
            return outcome;
        }
    };
    let mut number = 0;
    while let Some(rows) = reader.next() {
        match rows {
            Ok(rows) => {
                assert_eq!((rows.good.schema(), rows.bad_values.schema()), (reader.schema(), reader.schema()));
                assert_eq!(rows.bad_values.num_rows(), rows.bad.len());
                // Every row has its number, and no two have the same.
                let mut numbers: Vec<i64> = rows.numbers().values().to_vec();
                assert!(numbers.is_sorted());
                numbers.extend(rows.bad.iter().map(|row| row.number as i64));
                numbers.sort_unstable();
                assert_eq!(numbers, (number + 1..=number + rows.count() as i64).collect::<Vec<_>>());
                number += rows.count() as i64;
                outcome.rows.extend((0..rows.good.num_rows()).map(|row| printed(&rows.good, row)));
                outcome.bad_rows.extend((0..rows.bad.len()).map(|row| printed(&rows.bad_values, row)));
                rows.bad.iter().for_each(|row| misfits.add(&row.problem));
                outcome.bad.extend(rows.bad);
            }
            Err(problem) => outcome.problem = Some(problem),
        }
    }
    outcome.problem = outcome.problem.or(misfits.problem());
    outcome.wider = reader.wider();
    assert!(reader.next().is_none());
    outcome.warnings = reader.warnings().to_vec();
    outcome
}

/// A row's values between bars; NULL is ∅.
fn printed(batch: &RecordBatch, row: usize) -> String {
    let value = |column: &arrow::array::ArrayRef| {
        if column.is_null(row) { "∅".to_owned() } else { array_value_to_string(column, row).unwrap() }
    };
    batch.columns().iter().map(value).collect::<Vec<_>>().join("|")
}

/// Checks the rows, or the problem, of reading a file.
pub(crate) fn check(name: &str, content: impl AsRef<[u8]>, spec: &ReadSpec, rows: &[&str], refusal: &str) {
    let mut found = outcome(name, content.as_ref(), spec);
    if found.problem.is_some() {
        found.rows.clear();
    }
    let shown = String::from_utf8_lossy(&content.as_ref()[..content.as_ref().len().min(200)]).into_owned();
    assert_eq!(
        (found.rows.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), found.refusal().as_str()),
        (rows, refusal),
        "{shown:?}"
    );
}
