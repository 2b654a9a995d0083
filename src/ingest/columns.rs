//! A file's columns that are not wanted, and wanted ones that it does not have.

use std::collections::BTreeMap;

use qetl_core::{load::OnExtraColumns, suggest};

use crate::{
    problem::{DataProblem, listed, shown},
    spec::ReadSpec,
};

/// Where each wanted column stands among the columns of a file; `None` where it is without an optional one. `twice` says
/// that a wanted name stands there twice.
pub(crate) fn places(
    file: &str,
    spec: &ReadSpec,
    names: &[String],
    twice: &dyn Fn(&str) -> String,
    warnings: &mut Vec<String>,
) -> Result<Vec<Option<usize>>, DataProblem> {
    let mut index: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        index.entry(name).and_modify(|(_, twice)| *twice = true).or_insert((place, false));
    }
    let mut places = Vec::with_capacity(spec.columns.len());
    let mut missing = Vec::new();
    let mut extra = vec![true; names.len()];
    for column in &spec.columns {
        match index.get(column.source.as_str()) {
            Some((_, true)) => {
                let message = twice(&shown(&column.source));
                let help = "each column has its own name; rename one of them";
                return Err(DataProblem::new("qetl::ingest::header", file, message).help(help));
            }
            Some((place, false)) => extra[*place] = false,
            None if !column.optional => missing.push(column.source.as_str()),
            None => {}
        }
        places.push(index.get(column.source.as_str()).map(|(place, _)| *place));
    }
    if !missing.is_empty() {
        return Err(missing_columns(file, &missing, names));
    }
    let extra: Vec<&str> = names.iter().zip(extra).filter(|(_, extra)| *extra).map(|(name, _)| name.as_str()).collect();
    extra_columns(file, spec, extra.into_iter(), warnings)?;
    Ok(places)
}

/// The problem of columns that a file does not have.
pub(crate) fn missing_columns(file: &str, missing: &[&str], known: &[String]) -> DataProblem {
    let many = if missing.len() == 1 { "column" } else { "columns" };
    let message = format!("the file has no {many} {}", listed(missing.iter().copied()));
    let known = suggest::help(missing[0], known.iter().map(String::as_str));
    let help =
        format!("{known}{}a column that files may lack is declared with `optional = true`", if known.is_empty() { "" } else { "; " });
    DataProblem::new("qetl::ingest::missing_column", file, message).help(help)
}

/// Refuses names that are one name to engines, which find names whatever their case.
pub(crate) fn refuse_equal_names(file: &str, names: &[String]) -> Result<(), DataProblem> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for name in names {
        let Some(other) = seen.insert(name.to_lowercase(), name) else { continue };
        let (message, help) = if other == name {
            (format!("the file has the column `{}` twice", shown(name)), "rename one of them, or list the columns to read in `columns`")
        } else {
            let message = format!("the columns `{}` and `{}` differ in case only", shown(other), shown(name));
            (
                message,
                "engines find names whatever their case: list the columns in `columns`, as `{ name = \"…\", from = \"…\" }` to rename one",
            )
        };
        return Err(DataProblem::new("qetl::ingest::header", file, message).help(help));
    }
    Ok(())
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
