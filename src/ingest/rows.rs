//! Streams a file's rows as record batches.

use std::sync::atomic::Ordering;

use arrow::datatypes::SchemaRef;
use qetl_core::{Type, format::Format};

use crate::{
    avro::AvroRows,
    bad::{Row, Rows},
    batch::Batch,
    cells::{Nowhere, Sink},
    constants::Constants,
    csv::CsvRows,
    ipc::ArrowRows,
    json::JsonRows,
    open::damage,
    parquet::ParquetRows,
    problem::{DataProblem, ProblemKind},
    spec::{ReadSpec, SourceFile},
    value::Rules,
};

/// The most rows of a batch.
pub(crate) const BATCH_ROWS: usize = 8192;

/// The most values of a batch, for files of very many columns.
const BATCH_VALUES: usize = 1 << 20;

/// How much text ends a batch.
pub(crate) const BATCH_BYTES: usize = 16 << 20;

/// How many rows a batch of so many columns has.
pub fn batch_rows(columns: usize) -> usize {
    (BATCH_VALUES / columns.max(1)).clamp(1, BATCH_ROWS)
}

/// Opens a file whose rows come as batches of exactly the spec's columns, in the spec's order.
///
/// Every column of the spec has its type by now; one that has none is read as text. What is wrong with the file as a
/// whole (no header, a missing column, another format) is told here, what is wrong with a row beside the rows of its batch.
pub fn read(file: &SourceFile, whole: &ReadSpec) -> Result<RowReader, DataProblem> {
    let (constants, spec) = (Constants::of(file, whole)?, &whole.in_file());
    let inner = match file.format {
        Format::Csv | Format::Json | Format::Jsonl => {
            let rows = TextRows::open(file, spec)?;
            let batch = Batch::new(spec, Rules::new(&spec.options));
            let source = (file.clone(), spec.options.encoding.clone());
            Inner::Text(Box::new(TextBatches { rows, batch, limit: batch_rows(spec.columns.len()), source, read: 0, is_whole: false }))
        }
        Format::Parquet => Inner::Parquet(Box::new(ParquetRows::open(file, spec)?)),
        Format::Arrow => Inner::Arrow(Box::new(ArrowRows::open(file, spec)?)),
        Format::Avro => Inner::Avro(Box::new(AvroRows::open(file, spec)?)),
    };
    Ok(RowReader { inner, constants, schema: whole.schema(), ended: false })
}

/// The batches of one file. After a problem there are no more.
pub struct RowReader {
    inner: Inner,
    constants: Option<Constants>,
    schema: SchemaRef,
    ended: bool,
}

enum Inner {
    Text(Box<TextBatches>),
    Parquet(Box<ParquetRows>),
    Arrow(Box<ArrowRows>),
    Avro(Box<AvroRows>),
}

impl RowReader {
    /// The schema of every batch.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// What is worth a word but no problem: extra columns. Complete once the last batch has been read.
    pub fn warnings(&self) -> &[String] {
        match &self.inner {
            Inner::Text(text) => text.rows.warnings(),
            Inner::Parquet(rows) => &rows.warnings,
            Inner::Arrow(rows) => &rows.warnings,
            Inner::Avro(rows) => &rows.warnings,
        }
    }

    /// The inferred columns that need another type, by their number, so that everything fits. Complete once the last batch has
    /// been read; what needs it was read as NULL.
    pub fn wider(&self) -> Vec<(usize, Type)> {
        let own = match &self.inner {
            Inner::Text(text) => text.batch.wider(),
            Inner::Parquet(rows) => rows.columns.wider(),
            Inner::Arrow(rows) => rows.columns.wider(),
            Inner::Avro(rows) => rows.columns.wider(),
        };
        let Some(constants) = &self.constants else { return own };
        let own = own.into_iter().map(|(column, ty)| (constants.number(column), ty));
        constants.wider.iter().copied().chain(own).collect()
    }

    /// The open columns that had values, which say what their types are. Complete once the last batch has been read; they were
    /// read as NULL.
    pub fn untyped(&self) -> Vec<usize> {
        let own = match &self.inner {
            Inner::Text(text) => text.batch.untyped(),
            Inner::Parquet(rows) => rows.columns.untyped(),
            Inner::Arrow(rows) => rows.columns.untyped(),
            Inner::Avro(rows) => rows.columns.untyped(),
        };
        self.among_all(own, |constants| &constants.untyped)
    }

    /// Whether all values fit the columns' types so far; bad rows aside.
    pub fn has_right_types(&self) -> bool {
        self.wider().is_empty() && self.untyped().is_empty()
    }

    /// The open columns that had texts which were read as NULL.
    pub fn emptied(&self) -> Vec<usize> {
        let own = match &self.inner {
            Inner::Text(text) => text.batch.emptied(),
            Inner::Parquet(_) | Inner::Arrow(_) | Inner::Avro(_) => Vec::new(),
        };
        self.among_all(own, |constants| &constants.emptied)
    }

    /// Columns of the file by their number among all, and others.
    fn among_all(&self, own: Vec<usize>, others: impl Fn(&Constants) -> &Vec<usize>) -> Vec<usize> {
        let Some(constants) = &self.constants else { return own };
        others(constants).iter().copied().chain(own.into_iter().map(|column| constants.number(column))).collect()
    }

    /// How many bytes of the file, as it lies on the disk, have been read; for progress.
    pub fn bytes_read(&self) -> u64 {
        match &self.inner {
            Inner::Text(text) => text.rows.bytes_read(),
            Inner::Parquet(rows) => rows.bytes_read(),
            Inner::Arrow(rows) => rows.bytes_read(),
            Inner::Avro(rows) => rows.bytes_read(),
        }
    }
}

impl Iterator for RowReader {
    type Item = Result<Rows, DataProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match &mut self.inner {
            Inner::Text(text) => text.next_batch(),
            Inner::Parquet(rows) => rows.next_batch(),
            Inner::Arrow(rows) => rows.next_batch(),
            Inner::Avro(rows) => rows.next_batch(),
        };
        self.ended = !matches!(next, Ok(Some(_)));
        let rows = next.transpose()?.and_then(|rows| match &self.constants {
            Some(constants) => constants.add(rows),
            None => Ok(rows),
        });
        self.ended |= rows.is_err();
        Some(rows)
    }
}

struct TextBatches {
    rows: TextRows,
    batch: Batch,
    limit: usize,
    /// The file and its encoding, to look at again when a row is wrong.
    source: (SourceFile, String),
    /// How many rows have been read.
    read: u64,
    /// The file is not damaged: that was looked at.
    is_whole: bool,
}

impl TextBatches {
    /// What is wrong with a damaged file is told as the damage.
    fn next_batch(&mut self) -> Result<Option<Rows>, DataProblem> {
        let next = self.next_rows();
        let is_wrong = match &next {
            Ok(rows) => rows.as_ref().is_some_and(|rows| !rows.bad.is_empty()),
            Err(problem) => problem.kind == ProblemKind::Refused,
        };
        if is_wrong && !self.is_whole {
            if let Some(damage) = damage(&self.source.0, &self.source.1) {
                return Err(damage);
            }
            self.is_whole = true;
        }
        next
    }

    fn next_rows(&mut self) -> Result<Option<Rows>, DataProblem> {
        let (mut rows, mut bad) = (0, Vec::new());
        while rows < self.limit && self.batch.bytes < BATCH_BYTES {
            match self.rows.next_row(&mut self.batch)? {
                None => break,
                Some(Row::Good) => {}
                Some(Row::Bad(mut row)) => {
                    row.number = self.read + rows as u64 + 1;
                    self.batch.bytes += row.text.len();
                    bad.push((rows, *row));
                }
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let before = self.read;
        self.read += rows as u64;
        Ok(Some(Rows::new(self.batch.finish(rows), before, bad)))
    }
}

/// The rows of a text file.
pub(crate) enum TextRows {
    Csv(Box<CsvRows>),
    Json(Box<JsonRows>),
}

impl TextRows {
    /// The file is of one of the text formats.
    pub(crate) fn open(file: &SourceFile, spec: &ReadSpec) -> Result<Self, DataProblem> {
        match file.format {
            Format::Csv => CsvRows::open(file, spec).map(Box::new).map(TextRows::Csv),
            Format::Json | Format::Jsonl => JsonRows::open(file, spec).map(Box::new).map(TextRows::Json),
            Format::Parquet | Format::Arrow | Format::Avro => unreachable!("the file has no rows of text"),
        }
    }

    /// Gives the next row to the sink; `None` at the end of the file.
    pub(crate) fn next_row<S: Sink>(&mut self, sink: &mut S) -> Result<Option<Row>, DataProblem> {
        match self {
            TextRows::Csv(rows) => rows.next_row(sink),
            TextRows::Json(rows) => rows.next_row(sink),
        }
    }

    fn skip_row(&mut self) -> Result<bool, DataProblem> {
        match self {
            TextRows::Csv(rows) => rows.next_row(&mut Nowhere).map(|row| row.is_some()),
            TextRows::Json(rows) => rows.skip_row(),
        }
    }

    /// The line on which the current row begins.
    fn line(&self) -> u64 {
        match self {
            TextRows::Csv(rows) => rows.line(),
            TextRows::Json(rows) => rows.line(),
        }
    }

    fn warnings(&self) -> &[String] {
        match self {
            TextRows::Csv(rows) => &rows.warnings,
            TextRows::Json(rows) => &rows.warnings,
        }
    }

    fn bytes_read(&self) -> u64 {
        match self {
            TextRows::Csv(rows) => rows.read.load(Ordering::Relaxed),
            TextRows::Json(rows) => rows.read.load(Ordering::Relaxed),
        }
    }
}

/// The lines on which data rows (numbered from 1) of a text file begin, for messages about rows read earlier.
/// `None` for files without lines, and when the file has changed so that it cannot tell.
pub fn lines_of_rows(file: &SourceFile, spec: &ReadSpec, rows: &[u64]) -> Option<Vec<u64>> {
    if let Format::Parquet | Format::Arrow | Format::Avro = file.format {
        return None;
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|index| rows[*index]);
    let mut text = TextRows::open(file, &spec.in_file()).ok()?;
    let (mut lines, mut row) = (vec![0; rows.len()], 0);
    for index in order {
        while row < rows[index] {
            if !text.skip_row().ok()? {
                return None;
            }
            row += 1;
        }
        lines[index] = text.line();
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_go_to_other_threads() {
        fn sent<T: Send>() {}
        sent::<RowReader>();
    }

    #[test]
    fn lines_of_rows_of_text() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, format, text: &str, rows: &[u64], expected: Option<&[u64]>| {
            let file = SourceFile { path: dir.path().join(name), name: name.to_owned(), format };
            std::fs::write(&file.path, text).unwrap();
            assert_eq!(lines_of_rows(&file, &crate::testing::spec("a integer"), rows).as_deref(), expected, "{text:?}");
        };
        check("a.csv", Format::Csv, "a,b\n1,\"x\ny\"\n\n2,z\n", &[2, 1, 2], Some(&[5, 2, 5]));
        check("a.csv", Format::Csv, "a,b\n1,2\n", &[2], None);
        check("a.jsonl", Format::Jsonl, "\n{\"a\":1}\n\n{\"a\":2}", &[2, 1], Some(&[4, 2]));
        check("a.json", Format::Json, "[\n{\"a\":1},\n\n{\n\"a\":2}]", &[2, 1], Some(&[4, 2]));
        check("a.parquet", Format::Parquet, "", &[1], None);
        check("a.avro", Format::Avro, "", &[1], None);
    }

    #[test]
    fn batches_of_long_texts_are_short() {
        let dir = tempfile::tempdir().unwrap();
        let file = SourceFile { path: dir.path().join("a.csv"), name: "a.csv".to_owned(), format: Format::Csv };
        std::fs::write(&file.path, format!("a\n{}", format!("{}\n", "x".repeat(1 << 20)).repeat(20))).unwrap();
        let reader = read(&file, &crate::testing::spec("a string")).unwrap();
        assert_eq!(reader.map(|rows| rows.unwrap().good.num_rows()).collect::<Vec<_>>(), [16, 4]);
    }

    #[test]
    fn wide_batches_have_few_rows() {
        assert_eq!([batch_rows(1), batch_rows(128), batch_rows(10_000), batch_rows(100_000_000)], [8192, 8192, 104, 1]);
    }
}
