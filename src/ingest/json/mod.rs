//! Reads the rows of JSON files: one object a line, or one list of objects.

mod records;

mod scan;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use qetl_core::load::OnExtraColumns;

use crate::{
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
    keys: Keys,
    /// For each wanted column, the last row that has it; 0: none.
    filled: Vec<u64>,
    unescaped: String,
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
            keys: Keys::default(),
            unescaped: String::new(),
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

    /// Gives the next row to the sink; false at the end of the file.
    pub(crate) fn next_row<S: Sink>(&mut self, sink: &mut S) -> Result<bool, DataProblem> {
        if !self.records.next()? {
            return self.finish().map(|()| false);
        }
        self.rows += 1;
        let (name, records, record) = (&self.name, &self.records, self.records.current());
        let text = std::str::from_utf8(record).map_err(|error| {
            let malformed = ReadFault::Malformed { encoding: "UTF-8" }.problem(name).help("JSON files are UTF-8; convert the file");
            records.at(malformed, &record[..error.valid_up_to()])
        })?;
        let problem = |at: usize, problem: DataProblem| records.at(problem, &record[..at]);
        let malformed = |error: Malformed| problem(error.at, not_json(name, text, records.is_list(), &error));
        let mut scan = Scan::new(text);
        let mut more = scan.open_object().map_err(malformed)?;
        let mut position = 0;
        while more {
            let key = scan.key().map_err(malformed)?;
            let at = key.start - 1;
            let key_text = key.text(text, &mut self.unescaped);
            let Some(index) = self.keys.find(position, key_text, &self.spec) else {
                return Err(problem(
                    at,
                    DataProblem::new("qetl::ingest::json", name, format!("the file has more than {KEY_LIMIT} different keys")),
                ));
            };
            position = index + 1;
            let known = &mut self.keys.known[index];
            if known.row == self.rows {
                let message = format!("the object has the key `{}` twice", shown(&known.name));
                return Err(problem(
                    at,
                    DataProblem::new("qetl::ingest::json", name, message).help("each key stands once in an object; remove or rename one"),
                ));
            }
            known.row = self.rows;
            let column = known.column;
            if column.is_none() && self.spec.on_extra_columns == OnExtraColumns::Fail {
                let refusal = extra_columns(name, &self.spec, [known.name.as_str()].into_iter(), &mut self.warnings);
                return Err(refusal.map_or_else(|refusal| problem(at, refusal), |()| unreachable!("extra columns are refused")));
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
                    return Err(problem(value.from(), unfit.problem(name, column, &self.spec.columns[column], content)));
                }
            }
            more = scan.next_key().map_err(malformed)?;
        }
        scan.end().map_err(malformed)?;
        for (column, filled) in self.filled.iter().enumerate() {
            if *filled != self.rows
                && let Err(unfit) = sink.put(column, Cell::Null)
            {
                let column_spec = &self.spec.columns[column];
                let message = unfit.problem(name, column, column_spec, "").on_line(records.line);
                return Err(
                    message.help(format!("the object has no key `{}`; {}", column_spec.name, "mend the file, or let the column be NULL"))
                );
            }
        }
        Ok(true)
    }

    /// What is known only at the end: columns that no row has, and keys that nobody asked for.
    fn finish(&mut self) -> Result<(), DataProblem> {
        if self.rows == 0 {
            return Ok(());
        }
        let columns = self.spec.columns.iter().zip(&self.filled);
        let missing: Vec<&str> = columns.filter(|(_, filled)| **filled == 0).map(|(column, _)| column.name.as_str()).collect();
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
        let column = spec.columns.iter().position(|column| column.name == key);
        self.known.push(Key { name: key.to_owned(), column, row: 0 });
        self.places.insert(key.to_owned(), index);
        Some(index)
    }
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
