//! Reads the rows of JSON lines files: one object a line.

mod scan;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use qetl_core::load::OnExtraColumns;

use crate::{
    blocks::{BLOCK, Blocks, RECORD_LIMIT, place_after},
    cells::{Cell, Sink},
    columns::{extra_columns, missing_columns},
    open::{ReadFault, open_text},
    problem::{DataProblem, shown},
    spec::{ReadSpec, SourceFile},
};
use scan::{Kind, Malformed, Scan};

/// How many different keys a file may have.
const KEY_LIMIT: usize = 100_000;

/// The rows of one file.
pub(crate) struct JsonRows {
    name: String,
    blocks: Blocks,
    spec: ReadSpec,
    pub(crate) line: u64,
    rows: u64,
    /// Bytes of the current line, with its end.
    taken: usize,
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
            blocks: Blocks::new(opened.bytes, BLOCK, RECORD_LIMIT),
            filled: vec![0; spec.columns.len()],
            spec: spec.clone(),
            line: 0,
            rows: 0,
            taken: 0,
            keys: Keys::default(),
            unescaped: String::new(),
            warnings: Vec::new(),
            read: opened.read,
        })
    }

    /// Goes to the next line that is not blank: its length, without the line end. `None` at the end.
    fn next_line(&mut self) -> Result<Option<usize>, DataProblem> {
        loop {
            self.blocks.advance(std::mem::take(&mut self.taken));
            self.line += 1;
            match self.blocks.line() {
                Ok(None) => return Ok(None),
                Ok(Some((length, whole))) => {
                    self.taken = whole;
                    if !self.blocks.window()[..length].iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
                        return Ok(Some(length));
                    }
                }
                Err(fault) => {
                    let problem = fault.problem(&self.name);
                    let (line, character) = place_after(self.blocks.window(), self.line);
                    return Err(match fault {
                        ReadFault::Io(_) => problem,
                        ReadFault::TooLong => problem.on_line(self.line).help("JSON lines have one object a line"),
                        ReadFault::Corrupt { .. } | ReadFault::Malformed { .. } => problem.at(line, character),
                    });
                }
            }
        }
    }

    /// Goes to the next row without reading it; false at the end of the file.
    pub(crate) fn skip_row(&mut self) -> Result<bool, DataProblem> {
        Ok(self.next_line()?.is_some())
    }

    /// Gives the next row to the sink; false at the end of the file.
    pub(crate) fn next_row<S: Sink>(&mut self, sink: &mut S) -> Result<bool, DataProblem> {
        let Some(length) = self.next_line()? else {
            return self.finish().map(|()| false);
        };
        self.rows += 1;
        let line = &self.blocks.window()[..length];
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                let (line, character) = place_after(&line[..error.valid_up_to()], self.line);
                return Err(ReadFault::Malformed { encoding: "UTF-8" }
                    .problem(&self.name)
                    .help("JSON files are UTF-8; convert the file")
                    .at(line, character));
            }
        };
        let (name, number) = (&self.name, self.line);
        let problem = |at: usize, problem: DataProblem| {
            let (_, character) = place_after(&text.as_bytes()[..at], number);
            problem.at(number, character)
        };
        let malformed = |error: Malformed| problem(error.at, not_json(name, text, &error));
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
                let message = unfit.problem(name, column, column_spec, "").on_line(number);
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

fn not_json(file: &str, line: &str, error: &Malformed) -> DataProblem {
    let help = match line.trim_start().as_bytes().first() {
        Some(b'[') => "JSON lines have one object a line, without a list around them; `jq -c '.[]'` turns a list into lines",
        Some(b'{') => "JSON lines have one whole object a line; `jq -c .` puts objects on one line each",
        _ => "JSON lines have one object a line",
    };
    DataProblem::new("qetl::ingest::json", file, format!("not a JSON object: {}", error.what)).help(help)
}

#[cfg(test)]
mod tests;
