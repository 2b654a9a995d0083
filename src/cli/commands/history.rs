//! `qetl history` and `qetl datasets`.

use qetl_runtime::RunError;
use serde_json::json;

use crate::{
    args::Format,
    library::Project,
    output::Output,
    time::{iso_time, show_time},
};

pub(crate) async fn run(project: &Project, flow: Option<&str>, limit: usize, format: Format, output: &Output) -> Result<i32, RunError> {
    let mut runs = project.engine.runs(flow).await?;
    if let Some(flow) = flow.filter(|_| runs.is_empty()) {
        project.workspace.flows(&[flow.to_owned()])?;
    }
    runs.truncate(limit);
    match format {
        Format::Json => {
            for run in &runs {
                let line = json!({
                    "run_id": run.run_id, "flow": run.flow, "batch_id": run.batch_id, "status": run.status,
                    "started_at": iso_time(run.started_at), "seconds": run.seconds, "rows": run.rows, "message": run.message,
                });
                output.print(&format!("{line}\n"));
            }
        }
        Format::Text if runs.is_empty() => output.print("no runs yet\n"),
        Format::Text => {
            let row = |run: &qetl_runtime::records::RunRecord| {
                let batch = match run.batch_id {
                    Some(id) => id.to_string(),
                    None if run.status == "succeeded" => "all".to_owned(),
                    None => String::new(),
                };
                let seconds = format!("{:.2}", run.seconds);
                vec![
                    show_time(run.started_at),
                    run.flow.clone(),
                    batch,
                    run.status.clone(),
                    run.rows.to_string(),
                    seconds,
                    run.message.clone(),
                ]
            };
            output.table(
                &["started (UTC)", "flow", "batch", "status", "rows", "seconds", "message"],
                &runs.iter().map(row).collect::<Vec<_>>(),
            );
        }
    }
    Ok(0)
}

pub(crate) async fn datasets(project: &Project, format: Format, output: &Output) -> Result<i32, RunError> {
    let datasets = project.engine.datasets().await?;
    match format {
        Format::Json => {
            for dataset in &datasets {
                let columns: Vec<_> =
                    dataset.columns.iter().map(|column| json!({ "name": column.name, "type": column.ty.to_string() })).collect();
                let line = json!({
                    "dataset": dataset.name.to_string(), "view": dataset.view, "columns": columns, "rows": dataset.rows,
                    "bytes": dataset.bytes, "files": dataset.files, "batches": dataset.batches,
                });
                output.print(&format!("{line}\n"));
            }
        }
        Format::Text if datasets.is_empty() => output.print("no datasets yet: `qetl execute` makes them\n"),
        Format::Text => {
            let row = |dataset: &qetl_runtime::engine::DatasetInfo| {
                let schema = dataset.columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect::<Vec<_>>().join(", ");
                if dataset.view {
                    return vec![dataset.name.to_string(), "view".to_owned(), String::new(), String::new(), schema];
                }
                // Databases do not tell.
                let size = if dataset.bytes == 0 && dataset.rows > 0 { String::new() } else { size(dataset.bytes) };
                vec![dataset.name.to_string(), dataset.rows.to_string(), size, dataset.batches.to_string(), schema]
            };
            output.table(&["dataset", "rows", "size", "batches", "schema"], &datasets.iter().map(row).collect::<Vec<_>>());
        }
    }
    Ok(0)
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}
