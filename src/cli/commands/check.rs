//! `qetl check`: flows are parsed, validated and expanded; no data is read.

use qetl_core::plan;
use qetl_runtime::{FlowRecords, RunError, types};
use serde_json::json;

use crate::{args::Format, library::Project, output::Output};

pub(crate) fn run(project: &Project, ids: &[String], format: Format, output: &Output) -> Result<i32, RunError> {
    let flows = project.workspace.flows(ids)?;
    let mut problems = qetl_core::Problems::default();
    let mut warnings = 0;
    for flow in &flows {
        match plan::expand(flow, types::known(flow, &FlowRecords::default())) {
            Ok(plan) => {
                warnings += plan.warnings.0.len();
                output.warnings(&plan.warnings);
            }
            Err(found) => problems.append(found),
        }
    }
    problems.or(())?;
    match format {
        Format::Json => {
            output.print(&format!("{}\n", json!({ "flows": flows.iter().map(|flow| flow.id()).collect::<Vec<_>>(), "warnings": warnings })))
        }
        Format::Text if flows.is_empty() => output.print("no flows: `flows/` has no `.toml` files\n"),
        Format::Text => output.print(&format!("{} right\n", counted(flows.len(), "flow is", "flows are"))),
    }
    Ok(0)
}

/// "1 flow is", "2 flows are".
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
