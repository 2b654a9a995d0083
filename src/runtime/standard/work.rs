//! Why a flow has work, and what stays as it was.

use qetl_core::{Problems, standard::WriteMode};
use serde_json::Value;

use super::{
    files::{Finder, StandardJob},
    prepare::PlannedTask,
};
use crate::{
    RunError,
    records::{BatchRecord, FlowRecords},
};

/// Whether the flow's text or variables differ from what a batch was made with.
pub(super) fn differs(record: &BatchRecord, shape: &Value, key: &str) -> bool {
    let rest = |value: &Value| {
        let entries = value.as_object().into_iter().flatten();
        entries.filter(|(name, _)| !matches!(name.as_str(), "vars" | "sources")).map(|(k, v)| (k.clone(), v.clone())).collect::<Value>()
    };
    match key {
        "" => rest(&record.shape) != rest(shape),
        key => record.shape.get(key) != shape.get(key),
    }
}

/// What the batches that are not executed now keep of another text, or of other variables.
pub(super) fn changes(records: &FlowRecords, shape: &Value, jobs: &[StandardJob], tasks: &[PlannedTask]) -> Vec<String> {
    let keeps = |task: &PlannedTask| task.task_type != "ingestion" && task.mode != WriteMode::Replace;
    if !tasks.iter().any(keeps) {
        return Vec::new();
    }
    let others = |key: &str| -> Vec<i64> {
        let stays = |batch: &&BatchRecord| !jobs.iter().any(|job| job.batch_id == batch.batch_id) && differs(batch, shape, key);
        records.batches.iter().filter(stays).map(|batch| batch.batch_id).collect()
    };
    let mut told = Vec::new();
    for (key, what, which) in
        [("", "the flow's text changed", "the old logic"), ("vars", "the values of `--var` changed", "the old values")]
    {
        let batches = others(key);
        if !batches.is_empty() {
            let rows = ranges(&batches);
            told.push(format!("{what}: rows of {rows} keep {which}; `--full-refresh` derives them again"));
        }
    }
    told
}

/// "batch 3", "batches 1–5, 7".
fn ranges(batches: &[i64]) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for batch in batches {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*batch) => *last = *batch,
            _ => ranges.push((*batch, *batch)),
        }
    }
    let (shown, more) = ranges.split_at(ranges.len().min(8));
    let range = |(first, last): &(i64, i64)| if first == last { first.to_string() } else { format!("{first}–{last}") };
    let list = shown.iter().map(range).collect::<Vec<_>>().join(", ");
    let rest = if more.is_empty() { "" } else { " and others" };
    format!("{} {list}{rest}", if batches.len() == 1 { "batch" } else { "batches" })
}

/// The batches that wait, and why if it is not for new files. `published`: a dataset of another flow has what was not read
/// yet. `foreign`: whether the flow reads datasets of other flows; `None` if some of them are not there yet.
pub(super) fn waiting(
    finder: &Finder<'_>,
    shape: &Value,
    published: bool,
    foreign: Option<bool>,
) -> Result<(Vec<StandardJob>, Vec<String>, Problems), RunError> {
    let (new, mut jobs, missed) = finder.waiting()?;
    let mut reasons = Vec::new();
    let has_files = new.files.values().any(|files| !files.is_empty());
    match finder.records.batches.last() {
        Some(last) => {
            for (applies, reason) in [
                (differs(last, shape, ""), "the flow's text changed"),
                (differs(last, shape, "vars"), "the values of `--var` changed"),
                (published, "a dataset of another flow was published"),
            ] {
                if applies {
                    reasons.push(reason.to_owned());
                }
            }
        }
        None if foreign == Some(true) => reasons.push("a dataset of another flow is there".to_owned()),
        None if foreign == Some(false) && new.files.is_empty() => reasons.push("the flow reads no files and never ran".to_owned()),
        None => (),
    }
    if has_files || (!reasons.is_empty() && jobs.is_empty()) {
        jobs.push(new);
    }
    jobs.sort_by_key(|job| job.batch_id);
    Ok((jobs, reasons, missed))
}
