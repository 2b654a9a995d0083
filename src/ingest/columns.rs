//! A file's columns that are not wanted, and wanted ones that it does not have.

use qetl_core::{load::OnExtraColumns, suggest};

use crate::{
    problem::{DataProblem, listed},
    spec::ReadSpec,
};

/// The problem of columns that a file does not have.
pub(crate) fn missing_columns(file: &str, missing: &[&str], known: &[String]) -> DataProblem {
    let many = if missing.len() == 1 { "column" } else { "columns" };
    let message = format!("the file has no {many} {}", listed(missing.iter().copied()));
    DataProblem::new("qetl::ingest::missing_column", file, message).help(suggest::help(missing[0], known.iter().map(String::as_str)))
}

/// The warning about columns that nobody asked for, or the refusal.
pub(crate) fn extra_columns<'a>(
    file: &str,
    spec: &ReadSpec,
    extra: impl ExactSizeIterator<Item = &'a str>,
    warnings: &mut Vec<String>,
) -> Result<(), DataProblem> {
    let many = match extra.len() {
        0 => return Ok(()),
        1 => "column",
        _ => "columns",
    };
    let (is, names) = (if extra.len() == 1 { "is" } else { "are" }, listed(extra));
    match spec.on_extra_columns {
        OnExtraColumns::Ignore => {
            warnings.push(format!("{file}: {many} {names} {is} not in the flow's `columns` and left out"));
            Ok(())
        }
        OnExtraColumns::Fail => {
            Err(DataProblem::new("qetl::ingest::extra_column", file, format!("{many} {names} {is} not in the flow's `columns`"))
                .help("add them to `[input] columns`, or set `on_extra_columns = \"ignore\"`"))
        }
    }
}
