//! The header of a CSV file: which of its fields are the wanted columns.

use crate::{columns::places, problem::DataProblem, spec::ReadSpec};

/// The names in a file's first line, exactly as they stand there.
pub(super) struct Header {
    pub(super) names: Vec<String>,
    /// Empty names at its end, as trailing delimiters make them: rows may be without these fields.
    pub(super) trailing: usize,
    pub(super) line: u64,
    pub(super) delimiter: u8,
}

impl Header {
    /// The wanted column of each field, and the wanted columns that the file is without.
    pub(super) fn targets(
        &self,
        file: &str,
        spec: &ReadSpec,
        warnings: &mut Vec<String>,
    ) -> Result<(Vec<Option<usize>>, Vec<usize>), DataProblem> {
        let twice = |name: &str| format!("the header names `{name}` twice");
        let found = places(file, spec, &self.names, &twice, warnings).map_err(|problem| {
            let is_missing = problem.code == "qetl::ingest::missing_column";
            let problem = problem.on_line(self.line);
            match unlike_a_header(&self.names).or_else(|| self.other_delimiter()).filter(|_| is_missing) {
                Some(help) => problem.help(help),
                None => problem,
            }
        })?;
        let (mut targets, mut absent) = (vec![None; self.names.len()], Vec::new());
        for (column, place) in found.into_iter().enumerate() {
            match place {
                Some(place) => targets[place] = Some(column),
                None => absent.push(column),
            }
        }
        Ok((targets, absent))
    }

    /// What is said of a single column that looks like several.
    pub(super) fn other_delimiter(&self) -> Option<String> {
        let [only] = self.names.as_slice() else { return None };
        let is_other = |other: &char| only.contains(*other) && u32::from(*other) != u32::from(self.delimiter);
        let other = [';', '\t', '|', ','].into_iter().find(is_other)?.escape_default();
        Some(format!("is the delimiter `{other}`? then set `delimiter = \"{other}\"`"))
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
