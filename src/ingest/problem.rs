//! What is wrong with a file's data, where, and the way out.

use std::fmt;

/// One thing that is wrong with a file. `Display` prints its place and message; the help stands apart.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct DataProblem {
    pub kind: ProblemKind,
    /// `qetl::ingest::<what>`.
    pub code: &'static str,
    pub message: String,
    /// What to do about it; empty when the message says it all.
    pub help: String,
    pub place: Box<Place>,
}

/// What a problem means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The disk or the operating system would not give the bytes.
    Unreadable,
    /// The data is not what the flow says it is.
    Refused,
}

/// Where in the data something is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    pub file: String,
    /// The line of a text file, from 1, where the value begins.
    pub line: Option<u64>,
    /// The character of the line, from 1, where the field begins.
    pub character: Option<u64>,
    /// The row of a file that has no lines, from 1.
    pub row: Option<u64>,
    /// The column's name.
    pub column: Option<String>,
    /// The value as written, shortened, with control characters escaped.
    pub value: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(character) = self.character {
                write!(f, ":{character}")?;
            }
        }
        if let Some(row) = self.row {
            write!(f, ": row {row}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ": column `{}`", shown(column))?;
        }
        Ok(())
    }
}

impl DataProblem {
    pub(crate) fn new(code: &'static str, file: &str, message: impl Into<String>) -> Self {
        let place = Box::new(Place { file: file.to_owned(), ..Place::default() });
        Self { kind: ProblemKind::Refused, code, message: message.into(), help: String::new(), place }
    }

    pub(crate) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        let problem = Self::new("qetl::ingest::unreadable", file, format!("cannot be read: {error}"));
        Self { kind: ProblemKind::Unreadable, ..problem }
    }

    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    #[must_use]
    pub(crate) fn at(mut self, line: u64, character: u64) -> Self {
        (self.place.line, self.place.character) = (Some(line), Some(character));
        self
    }

    #[must_use]
    pub(crate) fn on_line(mut self, line: u64) -> Self {
        self.place.line = Some(line);
        self
    }

    #[must_use]
    pub(crate) fn in_row(mut self, row: u64) -> Self {
        self.place.row = Some(row);
        self
    }

    #[must_use]
    pub(crate) fn of_column(mut self, column: &str) -> Self {
        self.place.column = Some(column.to_owned());
        self
    }
}

/// The text in one line of at most some sixty characters.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == LONGEST {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Names in backticks, at most a dozen of them.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let more = names.len().saturating_sub(MOST);
    let mut out = names.take(MOST).map(|name| format!("`{}`", shown(name))).collect::<Vec<_>>().join(", ");
    if more > 0 {
        out.push_str(&format!(" and {more} more"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_its_place() {
        let problem = DataProblem::new("qetl::ingest::value", "data/o_1.csv", "`12,5x` is not a decimal(18,2)");
        assert_eq!(problem.to_string(), "data/o_1.csv: `12,5x` is not a decimal(18,2)");
        let placed = problem.clone().at(17, 9).of_column("amount");
        assert_eq!(placed.to_string(), "data/o_1.csv:17:9: column `amount`: `12,5x` is not a decimal(18,2)");
        let row = problem.in_row(3).of_column("amount");
        assert_eq!(row.to_string(), "data/o_1.csv: row 3: column `amount`: `12,5x` is not a decimal(18,2)");
    }

    #[test]
    fn shortens_and_escapes() {
        assert_eq!(shown("a\tb\u{0}c"), "a\\tb\\u{0}c");
        assert_eq!(shown(&"ü".repeat(61)), "ü".repeat(60) + "…");
        assert_eq!(listed(["a", "b"].into_iter()), "`a`, `b`");
    }
}
