//! `qetl flow-types` and `qetl schema`: what flow files may say, from the plugins' own declarations.

use qetl_core::{
    Registry,
    flow::file_schema,
    reference::{self, Property},
    suggest,
};
use qetl_runtime::RunError;
use serde_json::{Value, json};

use crate::{args::Format, output::Output};

pub(crate) fn flow_types(registry: &Registry, name: Option<&str>, format: Format, output: &Output) -> Result<i32, RunError> {
    let Some(name) = name else {
        let rows: Vec<Vec<String>> = registry.entries().map(|entry| vec![entry.name.to_owned(), entry.summary.to_owned()]).collect();
        match format {
            Format::Text => output.table(&["flow type", "what it says"], &rows),
            Format::Json => {
                let types: Vec<Value> = registry.entries().map(|entry| json!({ "name": entry.name, "summary": entry.summary })).collect();
                output.print(&format!("{}\n", Value::from(types)));
            }
        }
        return Ok(0);
    };
    let entry = registry
        .get(name)
        .ok_or_else(|| RunError::usage(format!("there is no flow type `{name}`"), suggest::help(name, registry.names())))?;
    let schema = file_schema(Some(entry));
    match format {
        Format::Json => output.print(&format!("{schema:#}\n")),
        Format::Text => {
            output.print(&format!("{name}: {}\n", entry.summary));
            for (title, table) in reference::sections(&schema) {
                output.print(&format!("\n{title}\n"));
                output.table(&["key", "type", "default", "what it is"], &rows(table));
            }
        }
    }
    Ok(0)
}

/// One schema for all flow types: `flow_type` chooses.
pub(crate) fn schema(registry: &Registry, output: &Output) -> Result<i32, RunError> {
    let each: Vec<Value> = registry.entries().map(|entry| file_schema(Some(entry))).collect();
    let whole = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "qetl flow file", "oneOf": each });
    output.print(&format!("{whole:#}\n"));
    Ok(0)
}

fn rows(table: &Value) -> Vec<Vec<String>> {
    reference::properties(table).into_iter().map(|Property { name, ty, default, about }| vec![name, ty, default, about]).collect()
}
