//! Reads the rows of CSV files.

mod records;

mod header;

use std::sync::{Arc, atomic::AtomicU64};

use qetl_core::format::OnRaggedRows;

use crate::{
    bad::{BadRow, Row},
    blocks::{BLOCK, Blocks, RECORD_LIMIT, place_after},
    cells::{Cell, Sink},
    open::{ReadFault, open_text},
    problem::{DataProblem, shown},
    spec::{ReadColumn, ReadSpec, SourceFile},
    value::{Rules, unfit::Unfit},
};
use header::Header;
use records::{Dialect, Fault, Records, What};

/// The rows of one file.
pub(crate) struct CsvRows {
    name: String,
    records: Records,
    /// The wanted column of each of the file's fields.
    targets: Vec<Option<usize>>,
    /// The wanted columns that the file is without.
    absent: Vec<usize>,
    /// How many fields a row may be without.
    spare: usize,
    on_ragged_rows: OnRaggedRows,
    columns: Vec<ReadColumn>,
    rules: Rules,
    has_header: bool,
    unescaped: String,
    /// What does not fit of the current row: the field, if there is one, the column, why, and the value.
    misfits: Vec<(Option<usize>, usize, Unfit, String)>,
    pub(crate) warnings: Vec<String>,
    pub(crate) read: Arc<AtomicU64>,
}

impl CsvRows {
    pub(crate) fn open(file: &SourceFile, spec: &ReadSpec) -> Result<Self, DataProblem> {
        let mut rows = Self::start(file, spec)?;
        if spec.options.header {
            let header = rows.header()?;
            (rows.targets, rows.absent) = header.targets(&file.name, spec, &mut rows.warnings)?;
            rows.spare = header.trailing;
            if let Some(other) = header.other_delimiter() {
                rows.warnings.push(format!("{}:{}: the header is a single column: {other}", file.name, header.line));
            }
        }
        rows.records.keep_blank = rows.targets.len() == 1;
        Ok(rows)
    }

    /// The file, before its header.
    fn start(file: &SourceFile, spec: &ReadSpec) -> Result<Self, DataProblem> {
        let opened = open_text(file, &spec.options.encoding)?;
        let tabs = file.name.to_ascii_lowercase();
        let tabs = tabs.strip_suffix(".gz").or_else(|| tabs.strip_suffix(".zst")).unwrap_or(&tabs).ends_with(".tsv");
        let dialect = Dialect {
            delimiter: spec.options.delimiter.unwrap_or(if tabs { b'\t' } else { b',' }),
            quote: spec.options.quote,
            escape: spec.options.escape,
            comment: spec.options.comment,
        };
        let records = Records::new(Blocks::new(opened.bytes, BLOCK, RECORD_LIMIT), dialect);
        let mut rows = Self {
            name: file.name.clone(),
            records,
            targets: (0..spec.columns.len()).map(Some).collect(),
            absent: Vec::new(),
            spare: 0,
            on_ragged_rows: spec.options.on_ragged_rows,
            columns: spec.columns.clone(),
            rules: Rules::new(&spec.options),
            has_header: spec.options.header,
            unescaped: String::new(),
            misfits: Vec::new(),
            warnings: Vec::new(),
            read: opened.read,
        };
        rows.records.skip_lines(spec.options.skip_rows as u64).map_err(|fault| rows.fault(&fault))?;
        if let (0, Some(delimiter)) = (spec.options.skip_rows, rows.records.separator_line().map_err(|fault| rows.fault(&fault))?) {
            rows.records.dialect.delimiter = spec.options.delimiter.unwrap_or(delimiter);
        }
        Ok(rows)
    }

    /// The columns that the file's header names.
    pub(crate) fn names(file: &SourceFile, spec: &ReadSpec) -> Result<(Vec<String>, Option<String>), DataProblem> {
        let mut rows = Self::start(file, spec)?;
        let header = rows.header()?;
        let other = header.other_delimiter();
        Ok((header.names, other))
    }

    /// The line on which the current row begins.
    pub(crate) fn line(&self) -> u64 {
        self.records.line
    }

    fn header(&mut self) -> Result<Header, DataProblem> {
        if !self.records.next().map_err(|fault| self.fault(&fault))? {
            return Err(DataProblem::new("qetl::ingest::header", &self.name, "the file has no header line")
                .help("the first line names the columns; `header = false` reads files without one"));
        }
        let text = self.text()?;
        let mut names = Vec::with_capacity(self.records.fields.len());
        for field in &self.records.fields {
            let mut unescaped = String::new();
            names.push(self.records.dialect.unescape(*field, text, &mut unescaped).to_owned());
        }
        let unnamed = names.iter().zip(&self.records.fields).rev().take_while(|(name, field)| name.is_empty() && !field.quoted).count();
        let trailing = unnamed.min(names.len() - 1);
        Ok(Header { names, trailing, line: self.records.line, delimiter: self.records.dialect.delimiter })
    }

    /// Gives the next row to the sink; `None` at the end of the file.
    pub(crate) fn next_row<S: Sink>(&mut self, sink: &mut S) -> Result<Option<Row>, DataProblem> {
        match self.records.next() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(fault) => return Err(self.fault(&fault)),
        }
        let Ok(text) = std::str::from_utf8(self.records.record()) else { return Err(self.malformed()) };
        let found = self.records.fields.len();
        if found != self.targets.len() && !self.may_have(found) {
            return Ok(Some(self.ragged(sink)));
        }
        for (index, (field, target)) in self.records.fields.iter().zip(&self.targets).enumerate() {
            let Some(column) = *target else { continue };
            let value = self.records.dialect.unescape(*field, text, &mut self.unescaped);
            let cell = match field.quoted {
                true => Cell::Quoted(value),
                false if self.rules.is_null(value) => Cell::Null,
                false => Cell::Field(value),
            };
            if let Err(unfit) = sink.put(column, cell) {
                self.misfits.push((Some(index), column, unfit, value.to_owned()));
            }
        }
        let unsaid = self.targets.get(found..).into_iter().flatten().flatten().chain(&self.absent);
        for column in unsaid {
            if let Err(unfit) = sink.put(*column, Cell::Null) {
                self.misfits.push((None, *column, unfit, String::new()));
            }
        }
        if self.misfits.is_empty() { Ok(Some(Row::Good)) } else { Ok(Some(self.bad())) }
    }

    /// Whether a row of so many fields is one all the same.
    #[cold]
    fn may_have(&self, found: usize) -> bool {
        let fills = self.on_ragged_rows == OnRaggedRows::Fill;
        match self.targets.len().checked_sub(found) {
            Some(missing) => fills || missing <= self.spare,
            None => fills && self.is_empty_beyond(self.targets.len()),
        }
    }

    /// Whether nothing stands in the fields from there on.
    fn is_empty_beyond(&self, from: usize) -> bool {
        self.records.fields[from..].iter().all(|field| field.is_empty())
    }

    fn text(&self) -> Result<&str, DataProblem> {
        std::str::from_utf8(self.records.record()).map_err(|_| self.malformed())
    }

    /// The current row, of which something does not fit.
    #[cold]
    fn bad(&mut self) -> Row {
        let misfits = std::mem::take(&mut self.misfits);
        let (field, column, unfit, value) = &misfits[0];
        let problem = unfit.problem(&self.name, &self.columns[*column], value);
        let problem = match field.map(|field| self.place(self.records.fields[field].from())) {
            Some((line, character)) => problem.at(line, character),
            None => problem.on_line(self.records.line),
        };
        let unreadable = misfits.iter().map(|(_, column, ..)| *column).collect();
        Row::Bad(Box::new(BadRow::new(self.records.record(), unreadable, problem)))
    }

    /// The current row, which has more or fewer fields than it should: none of them can be told.
    #[cold]
    fn ragged<S: Sink>(&self, sink: &mut S) -> Row {
        let (found, expected) = (self.records.fields.len(), self.targets.len());
        let fields = if found == 1 { "field" } else { "fields" };
        let message = match self.has_header {
            true => format!("the row has {found} {fields}, the header {expected}"),
            false => format!("the row has {found} {fields}, the flow {expected} columns"),
        };
        let delimiter = shown(char::from(self.records.dialect.delimiter).encode_utf8(&mut [0; 4]));
        let help = if found < expected {
            "a field that holds a line end is quoted; `on_ragged_rows = \"fill\"` reads fields that are missing at the end as NULL"
                .to_owned()
        } else if self.is_empty_beyond(expected) {
            "`on_ragged_rows = \"fill\"` leaves empty fields beyond the header out".to_owned()
        } else if self.has_header {
            format!("fields that hold `{delimiter}` or a line end are quoted; `delimiter` and `quote` name other characters")
        } else {
            "without a header, the flow's columns are the file's, in its order".to_owned()
        };
        let problem = DataProblem::new("qetl::ingest::ragged", &self.name, message).help(help);
        let problem = match self.records.fields.get(expected) {
            Some(surplus) => {
                let (line, character) = self.place(surplus.from());
                problem.at(line, character)
            }
            None => problem.on_line(self.records.line),
        };
        (0..self.columns.len()).for_each(|column| sink.put_none(column));
        Row::Bad(Box::new(BadRow::new(self.records.record(), (0..self.columns.len()).collect(), problem)))
    }

    #[cold]
    fn malformed(&self) -> DataProblem {
        let record = self.records.record();
        let good = std::str::from_utf8(record).map_or_else(|error| error.valid_up_to(), str::len);
        let (line, character) = self.place(good);
        let problem = ReadFault::Malformed { encoding: "UTF-8" }.problem(&self.name).at(line, character);
        match &record[good..] {
            [0xff, 0xfe, ..] => problem.help("`encoding = \"utf-16le\"` reads the file"),
            [0xfe, 0xff, ..] => problem.help("`encoding = \"utf-16be\"` reads the file"),
            _ => problem,
        }
    }

    fn place(&self, offset: usize) -> (u64, u64) {
        place_after(&self.records.record()[..offset], self.records.line)
    }

    #[cold]
    fn fault(&self, fault: &Fault) -> DataProblem {
        let problem = |message: &str, help: &str| DataProblem::new("qetl::ingest::quote", &self.name, message).help(help);
        let problem = match &fault.what {
            What::Read(fault) => fault.problem(&self.name),
            What::Unclosed => {
                problem("the quote that opens here is never closed", "close it, or set `quote = \"\"` if quotes mean nothing in this file")
            }
            What::AfterQuote => problem(
                "text follows a closing quote",
                "a quote inside quotes is doubled; `escape` names another way, and `quote = \"\"` says that quotes mean nothing",
            ),
            What::TooManyFields => {
                DataProblem::new("qetl::ingest::header", &self.name, format!("the record has more than {} fields", records::FIELD_LIMIT))
                    .help("see whether `delimiter` is what separates the fields, and whether lines end with a line end")
            }
        };
        match fault.what {
            // A damaged stream has no place in the text, and a disk neither.
            What::Read(ReadFault::Io(_)) => problem,
            What::Read(_) | What::Unclosed | What::AfterQuote | What::TooManyFields => problem.at(fault.line, fault.character),
        }
    }
}

#[cfg(test)]
mod tests;
