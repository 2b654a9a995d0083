//! `qetl flow-types` and `qetl schema`: what flow files may say, from the plugins' own declarations.

use qetl_core::{Registry, flow::file_schema, suggest};
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
    let entry = registry.get(name).ok_or_else(|| RunError::usage(format!("there is no flow type `{name}`"), suggest::help(name, registry.names())))?;
    let schema = file_schema(Some(entry));
    match format {
        Format::Json => output.print(&format!("{schema:#}\n")),
        Format::Text => {
            output.print(&format!("{name}: {}\n", entry.summary));
            for section in ["input", "properties"] {
                let table = &schema["properties"][section];
                output.print(&format!("\n[{section}]\n"));
                output.table(&["key", "type", "default", "what it is"], &properties(table));
                let load = &table["properties"]["load"];
                if load.is_object() {
                    output.print("\n[properties.load]\n");
                    output.table(&["key", "type", "default", "what it is"], &properties(load));
                }
            }
        }
    }
    Ok(0)
}

/// A table's keys: name, type, default, what it is.
pub(crate) fn properties(table: &Value) -> Vec<Vec<String>> {
    // An optional table stands beside null.
    let table = table["anyOf"].as_array().and_then(|options| options.iter().find(|option| option["properties"].is_object())).unwrap_or(table);
    let required: Vec<&str> = table["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let keys = table["properties"].as_object().into_iter().flatten().filter(|(name, _)| *name != "load");
    let row = |(name, schema): (&String, &Value)| {
        let default = match (&schema["default"], required.contains(&name.as_str())) {
            (_, true) => "required".to_owned(),
            (Value::Null, false) => String::new(),
            (Value::Array(list), false) if list.is_empty() => String::new(),
            (value, false) => value.to_string(),
        };
        let about = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
        vec![name.clone(), type_text(schema), default, about]
    };
    keys.map(row).collect()
}

fn type_text(schema: &Value) -> String {
    if let Some(words) = words(schema) {
        return words.join(" | ");
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let mut texts: Vec<String> = options.iter().filter(|option| option["type"] != "null").map(type_text).collect();
        texts.dedup();
        return texts.join(" or ");
    }
    let one = |ty: &str| match ty {
        "string" => "text".to_owned(),
        "array" => format!("list of {}", type_text(&schema["items"])),
        "object" => "table".to_owned(),
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(ty) => one(ty),
        Value::Array(types) => types.iter().filter_map(Value::as_str).filter(|ty| *ty != "null").map(one).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

fn words(schema: &Value) -> Option<Vec<String>> {
    let quoted = |value: &Value| value.as_str().map(str::to_owned);
    let list: Vec<String> = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")).filter_map(quoted).collect();
    if !list.is_empty() {
        return Some(list);
    }
    let options = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array())?;
    let all: Vec<String> = options.iter().filter(|option| option["type"] != "null" || option.get("const").is_some()).filter_map(words).flatten().collect();
    (!all.is_empty()).then_some(all)
}

/// One schema for all flow types: `flow_type` chooses.
pub(crate) fn schema(registry: &Registry, output: &Output) -> Result<i32, RunError> {
    let each: Vec<Value> = registry.entries().map(|entry| file_schema(Some(entry))).collect();
    let whole = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "qetl flow file", "oneOf": each });
    output.print(&format!("{whole:#}\n"));
    Ok(0)
}
