//! `qetl verify`.

use qetl_runtime::{RunError, verify};

use super::check::counted;
use crate::{args::Format, library::Project, output::Output};

pub(crate) async fn run(project: &Project, ids: &[String], format: Format, output: &Output) -> Result<i32, RunError> {
    let mut all = Vec::new();
    for flow in project.workspace.flows(ids)? {
        all.push(verify::verify(&*project.engine, flow).await?);
    }
    match format {
        Format::Json => output.print(&format!("{}\n", serde_json::to_string(&all).map_err(RunError::failed)?)),
        Format::Text => {
            for flow in &all {
                let broken = flow.invariants.iter().filter(|found| found.broken > 0).count();
                let what = match (flow.batches, flow.invariants.len(), broken) {
                    (0, ..) => "nothing is stored yet".to_owned(),
                    (_, 0, _) => "the flow type promises nothing that could be checked".to_owned(),
                    (_, count, 0) => {
                        format!("{} holds", counted(count, "invariant", "invariants")).replace("invariants holds", "invariants hold")
                    }
                    (_, count, broken) => format!("{broken} of {} broken", counted(count, "invariant", "invariants")),
                };
                output.print(&format!("{}: {what}\n", flow.flow));
                for found in flow.invariants.iter().filter(|found| found.broken == 0 && output.is_verbose()) {
                    output.print(&format!("  {}: {}\n", found.name, found.about));
                }
                for found in flow.invariants.iter().filter(|found| found.broken > 0) {
                    output.print(&format!(
                        "  {}: {}\n    {}:\n",
                        found.name,
                        found.about,
                        counted(found.broken, "row breaks it", "rows break it")
                    ));
                    found.rows.iter().for_each(|row| output.print(&format!("      {row}\n")));
                    if found.broken > found.rows.len() {
                        output.print("      and more\n");
                    }
                }
            }
        }
    }
    Ok(i32::from(!all.iter().all(verify::FlowVerified::holds)))
}
