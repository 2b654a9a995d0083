//! The header of a CSV file: which of its fields are the wanted columns.

use std::collections::BTreeMap;

use qetl_core::suggest;

use crate::{
    columns::{extra_columns, missing_columns},
    problem::{DataProblem, shown},
    spec::ReadSpec,
};

/// The names in a file's first line, exactly as they stand there.
pub(super) struct Header {
    pub(super) names: Vec<String>,
    pub(super) line: u64,
    pub(super) delimiter: u8,
}

impl Header {
    /// The wanted column of each field.
    pub(super) fn targets(&self, file: &str, spec: &ReadSpec, warnings: &mut Vec<String>) -> Result<Vec<Option<usize>>, DataProblem> {
        let mut places = BTreeMap::new();
        for (index, name) in self.names.iter().enumerate() {
            if places.insert(name.as_str(), index).is_some() {
                return Err(DataProblem::new("qetl::ingest::header", file, format!("the header names `{}` twice", shown(name)))
                    .on_line(self.line)
                    .help("each column has its own name; rename one of them"));
            }
        }
        let mut targets = vec![None; self.names.len()];
        let mut missing = Vec::new();
        for (index, column) in spec.columns.iter().enumerate() {
            match places.get(column.name.as_str()) {
                Some(place) => targets[*place] = Some(index),
                None => missing.push(column.name.as_str()),
            }
        }
        if !missing.is_empty() {
            let help = unlike_a_header(&self.names).unwrap_or_else(|| self.help(&missing));
            return Err(missing_columns(file, &missing, &self.names).on_line(self.line).help(help));
        }
        let extra: Vec<&str> =
            self.names.iter().zip(&targets).filter(|(_, target)| target.is_none()).map(|(name, _)| name.as_str()).collect();
        extra_columns(file, spec, extra.into_iter(), warnings)?;
        Ok(targets)
    }

    fn help(&self, missing: &[&str]) -> String {
        if let [only] = self.names.as_slice()
            && let Some(other) =
                [';', '\t', '|', ','].into_iter().find(|other| only.contains(*other) && u32::from(*other) != u32::from(self.delimiter))
        {
            return format!("is the delimiter `{0}`? then set `delimiter = \"{0}\"`", other.escape_default());
        }
        suggest::help(missing[0], self.names.iter().map(String::as_str))
    }
}

/// What a header that is none of this format's looks like, and the way out.
fn unlike_a_header(known: &[String]) -> Option<String> {
    let first = known.first()?;
    if first.trim_start().starts_with('{') {
        return Some("the file looks like JSON lines: set `format = \"jsonl\"`".to_owned());
    }
    if known.iter().any(|name| name.contains('\0')) {
        let little = known.concat().find('\0').is_some_and(|at| at % 2 == 1);
        return Some(format!("the file looks like UTF-16: set `encoding = \"utf-16{}\"`", if little { "le" } else { "be" }));
    }
    None
}
