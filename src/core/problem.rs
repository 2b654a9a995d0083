//! Problems: what is wrong in a file, where, and the way out.

use std::{fmt, ops::Range, sync::Arc};

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// Bytes of a source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A text with the name that a user knows it by, usually its path from the project's folder.
#[derive(Debug, Clone)]
pub struct SourceText(Arc<NamedSource<String>>);

impl SourceText {
    pub fn new(name: &str, text: &str) -> Self {
        Self(Arc::new(NamedSource::new(name, text.to_owned()).with_language("toml")))
    }

    pub fn name(&self) -> &str {
        self.0.name()
    }

    pub fn text(&self) -> &str {
        self.0.inner()
    }

    /// Line and column, both from 1, of a byte of the text; the column counts characters.
    pub fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text().get(..at).unwrap_or(self.text());
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One thing that is wrong, or worth a warning, in a source text.
#[derive(Debug, Clone)]
pub struct Problem {
    /// `qetl::<stage>::<what>`.
    pub code: &'static str,
    pub message: String,
    /// The text under the mark.
    pub label: String,
    /// What to do about it; empty when the message says it all.
    pub help: String,
    pub span: Span,
    pub warning: bool,
    source: Option<SourceText>,
}

impl Problem {
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        let (label, help) = (String::new(), String::new());
        Self { code, message: message.into(), label, help, span, warning: false, source: None }
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    #[must_use]
    pub fn warning(mut self) -> Self {
        self.warning = true;
        self
    }

    /// `file:line:column`, or empty for a problem that has no source.
    pub fn place(&self) -> String {
        self.source.as_ref().map_or_else(String::new, |source| {
            let (line, column) = source.place(self.span.start);
            format!("{}:{line}:{column}", source.name())
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(if self.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.help.is_empty()).then(|| Box::new(&self.help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| &*source.0 as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let label = if self.label.is_empty() { "here" } else { &self.label };
        let length = self.span.end.saturating_sub(self.span.start).max(1);
        Some(Box::new(std::iter::once(LabeledSpan::new(Some(label.to_owned()), self.span.start, length))))
    }
}

/// All that a stage found wrong with one source text.
#[derive(Debug, Clone, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub fn append(&mut self, other: Problems) {
        self.0.extend(other.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| !problem.warning)
    }

    /// Puts every problem into its source text, in the order of the text, each once.
    #[must_use]
    pub fn in_source(mut self, source: &SourceText) -> Self {
        for problem in &mut self.0 {
            problem.source.get_or_insert_with(|| source.clone());
        }
        self.0.sort_by_key(|problem| (problem.span, problem.warning));
        self.0.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        self
    }

    /// `value`, unless something is wrong; warnings do not count.
    pub fn or<T>(self, value: T) -> Result<T, Problems> {
        if self.has_errors() { Err(self) } else { Ok(value) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let (place, separator) = (problem.place(), if index == 0 { "" } else { "\n" });
            write!(f, "{separator}{place}{}{problem}", if place.is_empty() { "" } else { ": " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
