//! Templates in `sql`, `script` and paths: compiled, filled in, and each piece of the result with its place in the file.
#![expect(clippy::wildcard_enum_match_arm, reason = "errors of any other kind keep their words")]

use std::{collections::BTreeSet, ops::Range};

use minijinja::{Error, ErrorKind};

use super::{
    braces, filters,
    jinja::{self, FUEL, Piece},
    place::Places,
    values,
};
use crate::{
    decode::Sp,
    problem::{Problem, Problems, SourceText, Span},
    suggest,
};

/// The names that templates have without anyone defining them; no variable may have one.
pub(super) const BUILT_IN: [&str; 17] = [
    "source_dataset",
    "source_datasets",
    "source_datasets_dict",
    "target_dataset",
    "batch_id",
    "var",
    "ds",
    "ds_nodash",
    "ts",
    "ts_nodash",
    "yesterday_ds",
    "tomorrow_ds",
    "prev_ds",
    "next_ds",
    "execution_date",
    "range",
    "loop",
];

/// What a template becomes, which decides how names and values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Names are quoted where they must be, with this character; a missing value is NULL.
    Sql { quote: char },
    /// Names are as they are; values as Python writes them.
    Python,
    /// Names are as they are; a missing value is an error.
    Path,
}

/// A template of a flow file.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pub text: Sp<String>,
    /// The key that it stands in, as the reader calls it.
    pub key: &'static str,
}

/// What a template became for one run of its task.
#[derive(Debug, Clone)]
pub struct Rendered {
    pub text: String,
    pieces: Vec<Piece>,
    /// Where the text, in the file, comes from.
    source: Origin,
}

/// A template's text in the file.
#[derive(Debug, Clone)]
struct Origin {
    places: Places,
    /// Bytes that single braces became: they stand in the template, not in the file.
    added: Vec<usize>,
    /// The template's length.
    length: usize,
    source: SourceText,
}

impl Origin {
    fn span(&self, range: Range<usize>) -> Span {
        let value = |at: usize| at - self.added.iter().filter(|added| **added < at).count();
        self.places.span(value(range.start.min(self.length)), value(range.end.min(self.length)))
    }
}

impl Rendered {
    /// A text that is no template, by the name that its author knows it by.
    pub fn plain(name: &str, text: &str) -> Self {
        let source =
            Origin { places: Places::plain(text.len()), added: Vec::new(), length: text.len(), source: SourceText::new(name, text) };
        Self { text: text.to_owned(), pieces: vec![Piece { at: 0, place: 0..text.len(), copied: true }], source }
    }

    /// The bytes of the flow file that these bytes of the text come from; of a value, the place where it is put in.
    pub fn span(&self, range: Range<usize>) -> Span {
        let piece_at = |at: usize| self.pieces.iter().rev().find(|piece| piece.at <= at);
        let Some(first) = piece_at(range.start) else { return self.source.span(0..0) };
        let template = |piece: &Piece, at: usize| if piece.copied { piece.place.start + at - piece.at } else { piece.place.start };
        let start = template(first, range.start);
        let end = match range.end.checked_sub(1).filter(|last| *last >= range.start).and_then(|last| Some((last, piece_at(last)?))) {
            Some((last, piece)) if piece.copied => template(piece, last) + 1,
            Some((_, piece)) => piece.place.end,
            None => start,
        };
        self.source.span(start..end.max(start))
    }

    /// The same for a place that is told as line and column, both from 1, the column in characters.
    pub fn span_at(&self, line: u64, column: u64) -> Span {
        let at = self.offset(line, column);
        let length = self.text[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum::<usize>();
        let one = self.text[at..].chars().next().map_or(0, char::len_utf8);
        self.span(at..at + length.max(one))
    }

    /// The byte of the text at a line and column, both from 1, the column in characters.
    pub fn offset(&self, line: u64, column: u64) -> usize {
        let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
        let start: usize = self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let rest = &self.text[start..];
        start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
    }

    /// Puts problems whose spans are of the flow file into it.
    pub fn placed(&self, problems: Problems) -> Problems {
        problems.in_source(&self.source.source)
    }

    /// A problem at these bytes of the text.
    pub fn problem(&self, code: &'static str, range: Range<usize>, message: impl Into<String>) -> Problem {
        Problem::new(code, self.span(range), message)
    }
}

impl Template {
    /// What is wrong whatever the values, and what is worth a warning.
    pub(super) fn problems(&self, source: &SourceText) -> Problems {
        let mut problems = Problems::default();
        let (text, origin) = self.open(source);
        for name in braces::single(&self.text) {
            let places = Places::of(&self.text, self.text.span, source.text());
            let what = format!("`{}` has single braces; it is taken as `{{{{ {} }}}}`", &self.text[name.clone()], {
                &self.text[name.start + 1..name.end - 1]
            });
            let problem = Problem::new("qetl::template::single_braces", places.span(name.start, name.end), what).label("single braces");
            problems.push(problem.help("double the braces").warning());
        }
        match jinja::parse(&text) {
            Err(error) => problems.push(self.problem(&error, &origin, &[])),
            Ok(parsed) => {
                let refused = parsed.refused.map(|(at, why)| Problem::new("qetl::template::syntax", origin.span(at), why));
                problems.0.extend(refused.map(|problem| problem.label("in this template")));
            }
        }
        problems
    }

    /// The names that the template reads; `None`: it computes some.
    pub(super) fn names(&self) -> Option<BTreeSet<String>> {
        jinja::parse(&braces::doubled(&self.text).0).map_or_else(|_| Some(BTreeSet::new()), |parsed| parsed.names)
    }

    /// Fills in the template.
    pub(super) fn render(&self, language: Language, values: &values::Values, source: &SourceText) -> Result<Rendered, Problems> {
        let (text, origin) = self.open(source);
        match jinja::render(&text, language, values.context()) {
            Ok((text, pieces)) => Ok(Rendered { text, pieces, source: origin }),
            Err(error) => Err(Problems::from(self.problem(&error, &origin, &values.names())).in_source(source)),
        }
    }

    /// The text that is compiled, and where it comes from.
    fn open(&self, source: &SourceText) -> (String, Origin) {
        let (text, added) = braces::doubled(&self.text);
        let places = Places::of(&self.text, self.text.span, source.text());
        let length = text.len();
        (text, Origin { places, added, length, source: source.clone() })
    }

    fn problem(&self, error: &Error, origin: &Origin, names: &[String]) -> Problem {
        let (text, _) = braces::doubled(&self.text);
        let range = error.range().filter(|range| text.get(range.clone()).is_some()).unwrap_or(0..0);
        let said = text[range.clone()].trim_start_matches("{{").trim();
        let is_name = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
        let known = || names.iter().map(String::as_str);
        let detail = error.detail().unwrap_or_default().to_owned();
        let (code, message, help) = match error.kind() {
            ErrorKind::UndefinedError => {
                let name = detail.strip_prefix("variable ").map(str::to_owned).or_else(|| is_name(said).then(|| said.to_owned()));
                let help = match &name {
                    Some(name) if name == "source_dataset" => "the task names none: add `source_dataset = \"…\"`".to_owned(),
                    Some(name) if names.is_empty() => format!("add `{name}` to `[variables]`, or give it with `--var {name}=…`"),
                    Some(name) => format!(
                        "add it to `[variables]`, give it with `--var {name}=…`, or say what holds without it: `var(\"{name}\", \"…\")`; {}",
                        suggest::help(name, known())
                    ),
                    None => String::new(),
                };
                let what = name.map_or_else(|| format!("`{said}` has no value"), |name| format!("`{name}` is not defined"));
                ("qetl::template::undefined", what, help)
            }
            ErrorKind::SyntaxError | ErrorKind::BadEscape => {
                ("qetl::template::syntax", format!("`{}` is not a template: {detail}", self.key), String::new())
            }
            ErrorKind::UnknownFilter => ("qetl::template::unknown_filter", detail, suggest::help(filter_of(said), filters::FILTERS)),
            ErrorKind::UnknownTest => ("qetl::template::unknown_test", detail, suggest::help(filter_of(said), filters::TESTS)),
            ErrorKind::UnknownFunction => {
                ("qetl::template::unknown_function", detail, suggest::help(said.split('(').next().unwrap_or(said), filters::FUNCTIONS))
            }
            ErrorKind::OutOfFuel if !detail.is_empty() => ("qetl::template::limit", detail, String::new()),
            ErrorKind::InvalidOperation if detail.contains("recursion limit") => {
                ("qetl::template::limit", "macros call each other too deeply".to_owned(), String::new())
            }
            ErrorKind::OutOfFuel => {
                let what = format!("`{}` runs for more than {FUEL} instructions", self.key);
                ("qetl::template::limit", what, "let it loop over less".to_owned())
            }
            kind if detail.is_empty() => ("qetl::template::value", kind.to_string(), String::new()),
            _ => ("qetl::template::value", detail, String::new()),
        };
        Problem::new(code, origin.span(range), message).label("in this template").help(help)
    }
}

/// The last word of `value|filter`, without its arguments.
fn filter_of(text: &str) -> &str {
    let text = text.split('(').next().unwrap_or(text);
    text.rsplit(['|', ' ']).next().unwrap_or(text).trim()
}
