//! Flow files and inputs of histories.

use super::History;
use crate::oracle::{BatchMode, Column, ColumnType, LateBatches, OnDuplicateKey, OnNullKey, Options, Row, Value};

/// The flow file of a history, as it is in the end.
pub fn flow_toml(history: &History) -> String {
    toml_of(&history.options)
}

/// The flow file as it is at first.
pub fn first_flow_toml(history: &History) -> String {
    history.added.as_ref().map_or_else(|| flow_toml(history), |added| toml_of(&without(&history.options, added.column)))
}

fn toml_of(options: &Options) -> String {
    let mut properties = properties_toml(options);
    if options.late_batches == LateBatches::Reject {
        properties += "late_batches = \"reject\"\n";
    }
    flow_text("id = \"h_change_feed\"\nflow_type = \"change_feed\"", options, &properties)
}

/// The options of a flow that has not that column, of which they say nothing.
fn without(options: &Options, column: usize) -> Options {
    let moved = |columns: &[usize]| columns.iter().map(|other| other - usize::from(*other > column)).collect::<Vec<_>>();
    let mut options = options.clone();
    options.columns.remove(column);
    options.delete = options.delete.map(|(delete, values)| (moved(&[delete])[0], values));
    options.key = moved(&options.key);
    (options.sequence, options.snapshot_of) = (moved(&options.sequence), moved(&options.snapshot_of));
    options
}

/// A flow file with these lines in front and these in `[properties]`.
pub fn flow_text(header: &str, options: &Options, properties: &str) -> String {
    let mut load = "[properties.load]\nsource_path = \"data\"\nformat = \"csv\"\n".to_owned();
    if options.parks_bad {
        load += "on_bad_row = \"park\"\n";
    }
    format!("{header}\n\n[input]\n{}\n[properties]\n{properties}\n{load}", input_toml(options))
}

fn input_toml(options: &Options) -> String {
    let columns = options
        .columns
        .iter()
        .map(|column| format!("    {{ name = {}, schema_type = \"{}\" }},\n", toml_text(&column.name), type_name(column.ty)));
    let key = column_names(options, &options.key);
    let mut input = format!("primary_key = [{key}]\ncolumns = [\n{}]\n", columns.collect::<String>());
    if options.batch_mode == BatchMode::Delta {
        input += "batch_mode = \"delta\"\n";
    }
    if let Some((column, values)) = &options.delete {
        let texts: Vec<String> =
            values.iter().map(|value| if let Value::Text(text) = value { toml_text(text) } else { value.text() }).collect();
        let values = if values.is_empty() { "\"not_null\"".to_owned() } else { format!("[{}]", texts.join(", ")) };
        input += &format!("delete_column = {}\ndelete_values = {values}\n", column_names(options, &[*column]));
    }
    for (key, columns) in [("sequence_columns", &options.sequence), ("snapshot_of", &options.snapshot_of)] {
        if !columns.is_empty() {
            input += &format!("{key} = [{}]\n", column_names(options, columns));
        }
    }
    if options.carried_when_added {
        input += "added_columns = \"carried\"\n";
    }
    input += match options.on_duplicate_key {
        OnDuplicateKey::Fail => "",
        OnDuplicateKey::KeepFirst => "on_duplicate_key = \"keep_first\"\n",
        OnDuplicateKey::KeepLast => "on_duplicate_key = \"keep_last\"\n",
        OnDuplicateKey::Park => "on_duplicate_key = \"park\"\n",
    };
    if options.on_null_key == OnNullKey::Park {
        input += "on_null_key = \"park\"\n";
    }
    if options.allow_empty_snapshot {
        input += "allow_empty_snapshot = true\n";
    }
    if let Some(ratio) = options.max_delete_ratio {
        input += &format!("max_delete_ratio = {ratio:?}\n");
    }
    input
}

/// The lines that mean the same whatever the flow type: `late_batches` is not among them.
pub fn properties_toml(options: &Options) -> String {
    let mut properties = String::new();
    if let Some(tracked) = &options.change_detection_columns {
        properties += &format!("change_detection_columns = [{}]\n", column_names(options, tracked));
    }
    if !options.emit_stale {
        properties += "emit_stale = false\n";
    }
    properties
}

/// The names of columns, as the items of a TOML list.
pub fn column_names(options: &Options, columns: &[usize]) -> String {
    columns.iter().map(|column| toml_text(&options.columns[*column].name)).collect::<Vec<_>>().join(", ")
}

pub(crate) fn csv_text(columns: &[Column], rows: &[Row], spelled: impl Fn(&Row) -> fn(&Value) -> String) -> String {
    let header = columns.iter().map(|column| quoted(&column.name)).collect();
    let lines = rows.iter().map(|row| row.iter().map(spelled(row)).collect());
    let mut text = String::new();
    for fields in std::iter::once(header).chain(lines) {
        let fields: Vec<String> = fields;
        text += &fields.join(",");
        text += "\n";
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

pub(crate) fn usual(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        // The canonical text has one zero only.
        Value::Float(float) => format!("{float:?}"),
        Value::Null | Value::Int(_) | Value::Decimal(_) | Value::Bool(_) | Value::Date(_) | Value::Timestamp(_) | Value::Unreadable => {
            value.text()
        }
    }
}

/// Other texts of the same values.
pub(super) fn unusual(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) if text.is_empty() || text.contains(['"', ',', '\n', '\r']) => quoted(text),
        Value::Text(text) => text.clone(),
        Value::Decimal(_) => value.text().trim_end_matches('0').trim_end_matches('.').to_owned() + " ",
        Value::Bool(value) => if *value { "t" } else { "0" }.to_owned(),
        Value::Timestamp(micros) => Value::Timestamp(micros + 3_600_000_000).text().replace('Z', "+01:00"),
        Value::Float(float) if *float == 0.0 => format!("{:?}", -float),
        Value::Float(float) => format!(" {float:?}").to_lowercase(),
        Value::Unreadable => value.text(),
        Value::Int(_) | Value::Date(_) => quoted(&format!(" {} ", value.text())),
    }
}

/// JSON's texts are TOML's too.
pub fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The type as a flow file names it.
pub fn type_name(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Int => "integer",
        ColumnType::Text => "string",
        ColumnType::Decimal => "decimal(18,2)",
        ColumnType::Bool => "boolean",
        ColumnType::Date => "date",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Float => "float",
    }
}
