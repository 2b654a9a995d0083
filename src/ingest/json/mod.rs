//! Reads the rows of JSON files: one object a line, or one list of objects.

mod records;

mod scan;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use qetl_core::load::OnExtraColumns;

use crate::{
    bad::{BadRow, Row},
    cells::{Cell, Sink},
    columns::{extra_columns, missing_columns},
    open::{ReadFault, open_text},
    problem::{DataProblem, shown},
    spec::{ReadSpec, SourceFile},
};
use records::Records;
use scan::{Kind, Malformed, Scan};

/// How many different keys a file may have.
const KEY_LIMIT: usize = 100_000;

/// The rows of one file.
pub(crate) struct JsonRows {
    name: String,
    records: Records,
    spec: ReadSpec,
    rows: u64,
    /// Whether some row was an object that could be read.
    has_object: bool,
    keys: Keys,
    /// For each wanted column, the last row that has it; 0: none.
    filled: Vec<u64>,
    unescaped: String,
    /// What does not fit of the current row.
    misfits: Vec<(usize, DataProblem)>,
    pub(crate) warnings: Vec<String>,
    pub(crate) read: Arc<AtomicU64>,
}

/// The keys met so far. Rows tend to have the same keys in the same order, so a key is first sought where it stood.
#[derive(Default)]
struct Keys {
    known: Vec<Key>,
    places: BTreeMap<String, usize>,
}

struct Key {
    name: String,
    /// The wanted column of that name.
    column: Option<usize>,
    /// The last row that has it.
    row: u64,
}

impl JsonRows {
    pub(crate) fn open(file: &SourceFile, spec: &ReadSpec) -> Result<Self, DataProblem> {
        let opened = open_text(file, &spec.options.encoding)?;
        Ok(Self {
            name: file.name.clone(),
            records: Records::new(&file.name, opened.bytes, file.format),
            filled: vec![0; spec.columns.len()],
            spec: spec.clone(),
            rows: 0,
            has_object: false,
            keys: Keys::default(),
            unescaped: String::new(),
            misfits: Vec::new(),
            warnings: Vec::new(),
            read: opened.read,
        })
    }

    /// The keys met so far, each once.
    pub(crate) fn key_names(&self) -> Vec<String> {
        self.keys.known.iter().map(|key| key.name.clone()).collect()
    }

    /// The line on which the current row begins.
    pub(crate) fn line(&self) -> u64 {
        self.records.line
    }

    /// Goes to the next row without reading it; false at the end of the file.
    pub(crate) fn skip_row(&mut self) -> Result<bool, DataProblem> {
        self.records.next()
    }

    /// Gives the next row to the sink; `None` at the end of the file.
    pub(crate) fn next_row<S: Sink>(&mut self, sink: &mut S) -> Result<Option<Row>, DataProblem> {
        if !self.records.next()? {
            return self.finish().map(|()| None);
        }
        self.rows += 1;
        match self.read_row(sink) {
            Ok(()) if self.misfits.is_empty() => Ok(Some(Row::Good)),
            Ok(()) => Ok(Some(self.bad())),
            Err(Stop::File(problem)) => Err(problem),
            // Where the next object begins is known by lines alone.
            Err(Stop::Row(problem)) if self.records.is_list() => Err(problem),
            Err(Stop::Row(problem)) => Ok(Some(self.unread(sink, problem))),
        }
    }

    fn read_row<S: Sink>(&mut self, sink: &mut S) -> Result<(), Stop> {
        let (name, records, record) = (&self.name, &self.records, self.records.current());
        let text = std::str::from_utf8(record).map_err(|error| {
            let malformed = ReadFault::Malformed { encoding: "UTF-8" }.problem(name).help("JSON files are UTF-8; convert the file");
            Stop::File(records.at(malformed, &record[..error.valid_up_to()]))
        })?;
        let problem = |at: usize, problem: DataProblem| records.at(problem, &record[..at]);
        let malformed = |error: Malformed| Stop::Row(problem(error.at, not_json(name, text, records.is_list(), &error)));
        let mut scan = Scan::new(text);
        let mut more = scan.open_object().map_err(malformed)?;
        let mut position = 0;
        while more {
            let key = scan.key().map_err(malformed)?;
            let at = key.start - 1;
            let key_text = key.text(text, &mut self.unescaped);
            let Some(index) = self.keys.find(position, key_text, &self.spec) else {
                let message = format!("the file has more than {KEY_LIMIT} different keys");
                return Err(Stop::File(problem(at, DataProblem::new("qetl::ingest::json", name, message))));
            };
            position = index + 1;
            let known = &mut self.keys.known[index];
            if known.row == self.rows {
                let message = format!("the object has the key `{}` twice", shown(&known.name));
                let help = "each key stands once in an object; remove or rename one";
                return Err(Stop::Row(problem(at, DataProblem::new("qetl::ingest::json", name, message).help(help))));
            }
            known.row = self.rows;
            let column = known.column;
            if column.is_none() && self.spec.on_extra_columns == OnExtraColumns::Fail {
                let refusal = extra_columns(name, &self.spec, [known.name.as_str()].into_iter(), &mut self.warnings);
                let refusal = refusal.map_or_else(|refusal| problem(at, refusal), |()| unreachable!("extra columns are refused"));
                return Err(Stop::File(refusal));
            }
            let value = scan.value().map_err(malformed)?;
            if let Some(column) = column {
                self.filled[column] = self.rows;
                let content = value.text(text, &mut self.unescaped);
                let cell = match value.kind {
                    Kind::Null => Cell::Null,
                    Kind::Bool => Cell::Bool(content),
                    Kind::Number => Cell::Number(content),
                    Kind::String { .. } => Cell::String(content),
                    Kind::Nested => Cell::Nested(content),
                };
                if let Err(unfit) = sink.put(column, cell) {
                    let unfit = unfit.problem(name, &self.spec.columns[column], content);
                    self.misfits.push((column, problem(value.from(), unfit)));
                }
            }
            more = scan.next_key().map_err(malformed)?;
        }
        scan.end().map_err(malformed)?;
        self.has_object = true;
        for (column, filled) in self.filled.iter().enumerate() {
            if *filled != self.rows
                && let Err(unfit) = sink.put(column, Cell::Null)
            {
                let wanted = &self.spec.columns[column];
                let mut problem = unfit.problem(name, wanted, "").on_line(records.line);
                problem.message.push_str(&format!(": the object has no key `{}`", shown(&wanted.source)));
                self.misfits.push((column, problem));
            }
        }
        Ok(())
    }

    /// The current row, of which something does not fit.
    #[cold]
    fn bad(&mut self) -> Row {
        let misfits = std::mem::take(&mut self.misfits);
        let unreadable = misfits.iter().map(|(column, _)| *column).collect();
        let (_, problem) = misfits.into_iter().next().unwrap_or_else(|| unreachable!("something does not fit"));
        Row::Bad(Box::new(BadRow::new(self.records.current(), unreadable, problem)))
    }

    /// The current row, which is no object that could be read.
    #[cold]
    fn unread<S: Sink>(&mut self, sink: &mut S, problem: DataProblem) -> Row {
        self.misfits.clear();
        for (column, filled) in self.filled.iter().enumerate().filter(|(_, filled)| **filled != self.rows) {
            debug_assert!(*filled < self.rows);
            sink.put_none(column);
        }
        Row::Bad(Box::new(BadRow::new(self.records.current(), (0..self.spec.columns.len()).collect(), problem)))
    }

    /// What is known only at the end: columns that no row has, and keys that nobody asked for.
    fn finish(&mut self) -> Result<(), DataProblem> {
        if !self.has_object {
            return Ok(());
        }
        let columns = self.spec.columns.iter().zip(&self.filled);
        let missing = columns.filter(|(column, filled)| **filled == 0 && !column.optional);
        let missing: Vec<&str> = missing.map(|(column, _)| column.source.as_str()).collect();
        if !missing.is_empty() {
            let known: Vec<String> = self.keys.known.iter().map(|key| key.name.clone()).collect();
            return Err(missing_columns(&self.name, &missing, &known));
        }
        let extra: Vec<&str> = self.keys.known.iter().filter(|key| key.column.is_none()).map(|key| key.name.as_str()).collect();
        if self.warnings.is_empty() {
            extra_columns(&self.name, &self.spec, extra.into_iter(), &mut self.warnings)?;
        }
        Ok(())
    }
}

impl Keys {
    /// The key's index, first looked for at `position`; `None`: there are too many keys.
    fn find(&mut self, position: usize, key: &str, spec: &ReadSpec) -> Option<usize> {
        if self.known.get(position).is_some_and(|known| known.name == key) {
            return Some(position);
        }
        if let Some(index) = self.places.get(key) {
            return Some(*index);
        }
        if self.known.len() == KEY_LIMIT {
            return None;
        }
        let index = self.known.len();
        let column = spec.columns.iter().position(|column| column.source == key);
        self.known.push(Key { name: key.to_owned(), column, row: 0 });
        self.places.insert(key.to_owned(), index);
        Some(index)
    }
}

/// Why a row is not read to its end: it is no object that can be read, or the file as a whole cannot be.
enum Stop {
    Row(DataProblem),
    File(DataProblem),
}

fn not_json(file: &str, text: &str, is_list: bool, error: &Malformed) -> DataProblem {
    let help = match text.trim_start().as_bytes().first() {
        _ if is_list => "JSON files have one list of objects, `[{…}, {…}]`; mend the file, or write it again if it is cut short",
        Some(b'[') => "JSON lines have one object a line, without a list around them; `format = \"json\"` reads a list",
        Some(b'{') => "JSON lines have one whole object a line; `jq -c .` puts objects on one line each",
        _ => "JSON lines have one object a line",
    };
    DataProblem::new("qetl::ingest::json", file, format!("not a JSON object: {}", error.what)).help(help)
}

#[cfg(test)]
mod tests;
