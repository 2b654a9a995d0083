//! `qetl check`: flows are parsed, validated and expanded; SQL is type-checked; no data is read.

use std::time::SystemTime;

use qetl_runtime::{RunError, standard, waiting::micros};
use serde_json::json;

use crate::{args::Format, library::Project, output::Output};

pub(crate) async fn run(project: &Project, ids: &[String], format: Format, output: &Output) -> Result<i32, RunError> {
    let flows = project.workspace.flows(ids)?;
    // Flows that are wrong are told when they are asked for; the others know what they read from what is right.
    let all = project.workspace.good_flows();
    let (problems, notes) = standard::check_project(&*project.engine, &all, &flows, micros(SystemTime::now())).await?;
    let (warnings, errors): (Vec<_>, Vec<_>) = problems.0.into_iter().partition(|problem| problem.warning);
    let (warnings, errors) = (qetl_core::Problems(warnings), qetl_core::Problems(errors));
    output.warnings(&warnings);
    notes.iter().for_each(|note| output.note(&format!("note: {note}")));
    let warnings = warnings.0.len();
    errors.or(())?;
    match format {
        Format::Json => {
            output.print(&format!("{}\n", json!({ "flows": flows.iter().map(|flow| flow.id()).collect::<Vec<_>>(), "warnings": warnings })))
        }
        Format::Text => output.print(&format!("{} right\n", counted(flows.len(), "flow is", "flows are"))),
    }
    Ok(0)
}

/// "1 flow is", "2 flows are".
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
