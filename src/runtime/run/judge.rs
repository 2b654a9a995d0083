//! From the rows of a check to a refusal that says where the data is wrong.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Int64Type,
    util::display::{ArrayFormatter, FormatOptions},
};
use qetl_core::{
    Flow,
    plan::{Check, InputType, Rule},
};

use crate::{
    error::{Place, RunError},
    types,
    waiting::Job,
};

/// The most keys that a message names.
const SHOWN: usize = 5;

/// Refuses the batch if the rows break the rule; gives the warning that they are worth.
pub(super) fn judge(flow: &Flow, input: &[InputType], check: &Check, rows: &[RecordBatch], job: &Job) -> Result<Option<String>, RunError> {
    match &check.rule {
        Rule::Warn(what) => Ok(rows.iter().any(|batch| batch.num_rows() > 0).then(|| what.clone())),
        Rule::NotEmpty => match number(rows, "n") {
            0 => {
                let help = "it would delete every key; set `allow_empty_snapshot = true` if that is meant, or let this one through with `--accept-guards`";
                Err(RunError::refused(Place::default(), "the snapshot is empty", help))
            }
            _ => Ok(None),
        },
        Rule::MaxDeleteRatio(most) => {
            let (deleted, live) = (number(rows, "deleted"), number(rows, "live"));
            if deleted as f64 <= most * live as f64 {
                return Ok(None);
            }
            let message =
                format!("the batch would delete {deleted} of {live} live keys, which is more than `max_delete_ratio = {most}` allows");
            Err(RunError::refused(
                Place::default(),
                message,
                "see whether the file is complete; let this batch through with `--accept-guards`",
            ))
        }
        Rule::None { problem, help } => {
            let shown: Vec<String> = shown(rows, SHOWN + 1);
            if shown.is_empty() {
                return Ok(None);
            }
            let lines: String = shown.iter().take(SHOWN).map(|row| format!("\n  {row}")).collect();
            let more = if shown.len() > SHOWN { "\n  and more" } else { "" };
            Err(RunError::refused(Place::default(), format!("{problem}:{lines}{more}"), help))
        }
        Rule::DuplicateKey { keys } => {
            let conflicts = conflicts(keys, rows);
            if conflicts.is_empty() {
                return Ok(None);
            }
            let lines = conflicts.iter().take(SHOWN).map(|conflict| format!("\n  {}", conflict.text(flow, input, job)));
            let many = conflicts.len() > SHOWN;
            let message = format!("rows of one key differ:{}{}", lines.collect::<String>(), if many { "\n  and more" } else { "" });
            let mend = job.dataset().map_or_else(|| "mend the file".to_owned(), |dataset| format!("mend the batch in `{dataset}`"));
            let help = format!("{mend}, or say which row counts with `on_duplicate_key = \"keep_first\"`, `\"keep_last\"` or `\"park\"`");
            Err(RunError::refused(Place::default(), message, help))
        }
    }
}

/// The first rows, as `column = value, …`.
pub(crate) fn shown(rows: &[RecordBatch], most: usize) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut shown = Vec::new();
    for batch in rows {
        let schema = batch.schema();
        let formatters: Vec<_> = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect();
        for row in 0..batch.num_rows().min(most - shown.len().min(most)) {
            let cells = schema.fields().iter().zip(&formatters).map(|(field, formatter)| {
                let value = formatter.as_ref().map_or_else(|_| String::new(), |formatter| formatter.value(row).to_string());
                format!("{} = {value}", field.name())
            });
            shown.push(cells.collect::<Vec<_>>().join(", "));
        }
    }
    shown
}

fn number(rows: &[RecordBatch], column: &str) -> i64 {
    let value = |batch: &RecordBatch| {
        let values = batch.column_by_name(column)?.as_primitive_opt::<Int64Type>()?.clone();
        (!values.is_empty() && values.is_valid(0)).then(|| values.value(0))
    };
    rows.iter().find_map(value).unwrap_or(0)
}

/// Rows of one key: where each stands.
struct Conflict {
    key: String,
    /// File and row number.
    rows: Vec<(String, u64)>,
}

fn conflicts(keys: &[String], rows: &[RecordBatch]) -> Vec<Conflict> {
    let mut conflicts: Vec<Conflict> = Vec::new();
    let options = FormatOptions::default();
    for batch in rows {
        let cell = |name: &str, row: usize| -> String {
            let column = batch.column_by_name(name);
            let formatter = column.and_then(|column| ArrayFormatter::try_new(column, &options).ok());
            formatter.map_or_else(String::new, |formatter| formatter.value(row).to_string())
        };
        for row in 0..batch.num_rows() {
            let key = keys.iter().map(|key| format!("{key} = {}", cell(key, row))).collect::<Vec<_>>().join(", ");
            let place = (cell("xt_source_file", row), cell("xt_row_number", row).parse().unwrap_or(0));
            match conflicts.last_mut().filter(|last| last.key == key) {
                Some(last) => last.rows.push(place),
                None => conflicts.push(Conflict { key, rows: vec![place] }),
            }
        }
    }
    conflicts
}

impl Conflict {
    /// The key, then `file:line` of its first rows; `file row N` for files without lines.
    fn text(&self, flow: &Flow, input: &[InputType], job: &Job) -> String {
        let place = |(file, row): &(String, u64)| {
            let source = job.read_files().find(|source| source.source.name == *file);
            let lines = source.and_then(|source| qetl_ingest::lines_of_rows(&source.source, &types::read_spec(flow, input), &[*row]));
            match lines.and_then(|lines| lines.first().copied()) {
                Some(line) => format!("{file}:{line}"),
                None => format!("{file} row {row}"),
            }
        };
        let places: Vec<String> = self.rows.iter().take(4).map(place).collect();
        let more = if self.rows.len() > 4 { ", …" } else { "" };
        format!("{}: {}{more}", self.key, places.join(", "))
    }
}
