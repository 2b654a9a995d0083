//! What a table of a flow file may hold, from its JSON schema: for `flow-types` and the reference pages.
#![expect(clippy::wildcard_enum_match_arm, reason = "a schema's type is a name or a list of them")]

use serde_json::Value;

/// A key of a table, as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub ty: String,
    /// `required`, the default, or nothing.
    pub default: String,
    pub about: String,
}

/// The tables of a flow file after its header, each with its title, from the schema of the whole file.
pub fn sections(file: &Value) -> Vec<(&'static str, &Value)> {
    let tables = &file["properties"];
    let tasks = &tables["tasks"]["items"];
    let sections = [
        ("[input]", &tables["input"]),
        ("[properties]", &tables["properties"]),
        ("[properties.load]", &tables["properties"]["properties"]["load"]),
        ("[[tasks]]", tasks),
        ("[tasks.config]", &tasks["properties"]["config"]),
    ];
    sections.into_iter().filter(|(_, table)| table.is_object()).collect()
}

/// A table's keys, tables within it left aside.
pub fn properties(table: &Value) -> Vec<Property> {
    // An optional table stands beside null.
    let table =
        table["anyOf"].as_array().and_then(|options| options.iter().find(|option| option["properties"].is_object())).unwrap_or(table);
    let required: Vec<&str> = table["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let keys = table["properties"].as_object().into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "load" | "config"));
    let row = |(name, schema): (&String, &Value)| {
        let default = match (&schema["default"], required.contains(&name.as_str())) {
            (_, true) => "required".to_owned(),
            (Value::Null, false) => String::new(),
            (Value::Array(list), false) if list.is_empty() => String::new(),
            (value, false) => value.to_string(),
        };
        let about = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
        Property { name: name.clone(), ty: type_text(schema), default, about }
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
    let options = options.iter().filter(|option| option["type"] != "null" || option.get("const").is_some());
    let all: Vec<String> = options.map(words).collect::<Option<Vec<_>>>()?.concat();
    (!all.is_empty()).then_some(all)
}
