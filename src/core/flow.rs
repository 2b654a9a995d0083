//! A flow file, decoded: header, `[input]`, `[properties]`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::{Spanned, de::DeValue};

use crate::{
    decode::{self, Sp},
    format::ReaderOptions,
    input::{Input, InputColumn},
    load::{Load, OnChangedFile},
    plan::{DatasetName, InputType},
    problem::{Problem, Problems, SourceText, Span},
    registry::{Expanding, FlowTypeEntry, Layout, Registry},
    schema::is_identifier,
    standard::{StandardFlow, source_name},
    suggest,
};

/// The keys at the top of a flow file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Header {
    /// The flow's name in commands and records: a letter, then letters, digits and `_`.
    pub id: Sp<String>,
    /// A name for people.
    pub name: Option<Sp<String>>,
    /// Which registered flow type this is.
    pub flow_type: Sp<String>,
    /// The schema that the flow's datasets stand in; `main` without it.
    pub namespace: Option<Sp<String>>,
    /// What the flow is for.
    pub description: Option<Sp<String>>,
}

/// The keys of `[properties]` that every flow type has.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
pub struct CommonProperties {
    /// What the names of the flow's datasets begin with; else the flow's id.
    pub dataset_prefix: Option<Sp<String>>,
    /// The files that the flow reads.
    pub load: Option<Load>,
}

/// A flow file that is right in itself. Names are resolved and types known only after expansion.
#[derive(Debug, Clone)]
pub struct Flow {
    pub source: SourceText,
    pub header: Header,
    pub input: Input,
    pub load: Option<Load>,
    /// The dataset of another flow that is read instead of files.
    pub source_dataset: Option<Sp<DatasetName>>,
    pub reader: ReaderOptions,
    /// The flow type's own properties, decoded.
    pub properties: Arc<dyn Expanding>,
    /// The properties that shape rows, as plain data without defaults: recorded with each batch, to see later changes.
    pub shape: Value,
    pub dataset_prefix: String,
    pub warnings: Problems,
    pub flow_type: &'static FlowTypeEntry,
}

impl Flow {
    /// Reads a flow file's text. `name` is its path as the user knows it. Every problem of the file is reported.
    pub fn parse(name: &str, text: &str, registry: &Registry) -> Result<Flow, Problems> {
        let source = SourceText::new(name, text);
        let parse = || {
            let mut table = decode::parse(text)?;
            let whole = Span { start: 0, end: text.find('\n').unwrap_or(text.len()) };
            let flow_type = flow_type_of(&table, registry);
            let mut problems = flow_type.as_ref().map_or_else(|_| Problems::default(), |entry| (entry.prepare)(table.get_mut()));
            let schema = file_schema(flow_type.as_ref().ok().copied());
            let mut root = Spanned::new(whole.start..whole.end, DeValue::Table(table.into_inner()));
            decode::spell(&mut root, &schema, &mut problems);
            decode::validate("", &root, &schema, &mut problems);
            decode::place_unknown_keys(&schema, &mut problems);
            let flow_type = match flow_type {
                Ok(entry) => entry,
                Err(problem) => {
                    problems.0.extend(problem);
                    return Err(problems);
                }
            };
            if !problems.has_errors() {
                return Self::decode(source.clone(), root, flow_type, problems);
            }
            // What is not wrong by itself may still be wrong as a whole; what is missing because it was wrong is not told again.
            if let DeValue::Table(table) = root.get_mut() {
                decode::prune(table, &problems);
            }
            if let Err(more) = Self::decode(source.clone(), root, flow_type, Problems::default()) {
                let again = ["qetl::decode::value", "qetl::decode::missing_task_key"];
                let was_wrong = problems.0.iter().any(|problem| problem.to_string().contains("`delete_values`"));
                let is_again = |code: &str| again.contains(&code) || (was_wrong && code == "qetl::decode::missing_delete_values");
                problems.0.extend(more.0.into_iter().filter(|problem| !is_again(problem.code)));
            }
            Err(problems)
        };
        match parse() {
            Ok(mut flow) => {
                flow.warnings = std::mem::take(&mut flow.warnings).in_source(&source);
                Ok(flow)
            }
            Err(problems) => Err(problems.in_source(&source)),
        }
    }

    fn decode(
        source: SourceText,
        root: Spanned<DeValue<'_>>,
        flow_type: &'static FlowTypeEntry,
        mut problems: Problems,
    ) -> Result<Flow, Problems> {
        let DeValue::Table(table) = root.get_ref() else { unreachable!("a TOML document is a table") };
        let section = |name: &str| {
            let found = table.iter().find(|(key, _)| key.get_ref().as_ref() == name);
            found.map_or_else(|| Spanned::new(root.span(), DeValue::Table(Default::default())), |(_, value)| value.clone())
        };
        let mut keep = |found: Problems| problems.append(found);
        let (mut common, mut input) = (CommonProperties::default(), Input::default());
        if flow_type.layout == Layout::Properties {
            common = decode::decode(section("properties")).map_err(&mut keep).unwrap_or_default();
            input = decode::decode(section("input")).map_err(&mut keep).unwrap_or_default();
        }
        let own = match flow_type.layout {
            Layout::Properties => section("properties"),
            Layout::Top => root.clone(),
        };
        let properties = (flow_type.decode)(own).map_err(&mut keep);
        let header: Result<Header, ()> = decode::decode(root.clone()).map_err(&mut keep);
        let (Ok(properties), Ok(header)) = (properties, header) else { return Err(problems) };

        input.place_names();
        problems.append(input.problems());
        for (name, what) in
            [(Some(&header.id), "flow id"), (header.namespace.as_ref(), "namespace"), (common.dataset_prefix.as_ref(), "dataset prefix")]
        {
            if let Some(name) = name.filter(|name| !is_identifier(name)) {
                problems.push(
                    Problem::new("qetl::decode::name", name.span, format!("`{}` cannot be a {what}", name.value))
                        .label("not a name")
                        .help("a letter, then letters, digits and `_`; at most 63"),
                );
            }
        }
        if let Some(namespace) = header.namespace.as_ref().filter(|name| name.eq_ignore_ascii_case("qetl")) {
            problems.push(Problem::new("qetl::decode::name", namespace.span, "the schema `qetl` is reserved for qetl's own records"));
        }
        let source_dataset = input.source_dataset.as_ref().and_then(|name| {
            let namespace = header.namespace.as_ref().map_or("main", |namespace| namespace.as_str());
            let value = source_name(name, namespace, &mut problems)?;
            Some(Sp { value, span: name.span })
        });
        if let (Some(dataset), Some(load)) = (&input.source_dataset, &common.load) {
            problems.push(two_sources(dataset, load, &source));
        }
        let reader = common.load.as_ref().map_or_else(ReaderOptions::default, |load| load.reader(&mut problems));
        if let Some(load) = &common.load {
            load.check_columns(&input.columns, &mut problems);
            load.check_partitions(&input, &mut problems);
        }
        let dataset_prefix = common.dataset_prefix.map_or_else(|| (flow_type.prefix)(&header.id), |prefix| prefix.value);
        let load = common.load;
        let mut shape = match flow_type.layout {
            Layout::Properties => shape(&file_schema(Some(flow_type)), |name| plain(section(name).get_ref())),
            Layout::Top => own_sections(flow_type).into_iter().map(|name| (name.clone(), plain(section(&name).get_ref()))).collect(),
        };
        if reader.parks_bad_rows() {
            shape.insert("on_bad_row".to_owned(), "park".into());
        }
        shape.insert("namespace".to_owned(), header.namespace.as_ref().map_or_else(|| "main".into(), |name| name.as_str().into()));
        shape.insert("dataset_prefix".to_owned(), dataset_prefix.as_str().into());
        let flow = Flow {
            source,
            header,
            input,
            load,
            source_dataset,
            reader,
            properties,
            shape: Value::Object(shape),
            dataset_prefix,
            warnings: Problems::default(),
            flow_type,
        };
        problems.append(flow.properties.problems(&flow));
        let key = flow.input.key_names();
        let more: Vec<String> = flow.properties.key_columns(&flow).into_iter().filter(|column| !key.contains(column)).collect();
        flow.input.refuse_optional(&more, "a column that every row has a value in", &mut problems);
        let errors = problems.has_errors();
        if errors {
            return Err(problems);
        }
        Ok(Flow { warnings: problems, ..flow })
    }

    /// The same flow with more input columns, in the order of `all`.
    #[must_use]
    pub(crate) fn with_columns(&self, more: &[InputType], all: &[InputType]) -> Flow {
        let mut flow = self.clone();
        let name = |column: &InputType| Sp { value: column.name.clone(), ..Sp::default() };
        let column = |column: &InputType| InputColumn { name: name(column), ..InputColumn::default() };
        flow.input.columns.extend(more.iter().map(|more| Sp { value: column(more), ..Sp::default() }));
        flow.input.columns.sort_by_key(|own| all.iter().position(|column| column.name == own.name.value));
        flow
    }

    /// The tasks, for a flow whose author wrote them.
    pub fn standard(&self) -> Option<StandardFlow> {
        self.properties.standard(self)
    }

    pub fn id(&self) -> &str {
        &self.header.id
    }

    /// The schema of the flow's datasets.
    pub fn namespace(&self) -> &str {
        self.header.namespace.as_ref().map_or("main", |name| name.as_str())
    }

    /// What a known file with other content means; the default depends on whether one file is named or a folder.
    pub fn on_changed_file(&self, single_file: bool) -> OnChangedFile {
        let default = if single_file { OnChangedFile::NewBatch } else { OnChangedFile::Fail };
        self.load.as_ref().and_then(|load| load.on_changed_file.as_ref()).map_or(default, |choice| choice.value)
    }
}

/// A flow that would read files and a dataset.
fn two_sources(dataset: &Sp<String>, load: &Load, source: &SourceText) -> Problem {
    let (line, column) = source.place(load.source_path.span.start);
    let what = "`source_dataset` and `[properties.load]` both say what the flow reads";
    let help = format!("take one of them out: the files are named at {}:{line}:{column}", source.name());
    Problem::new("qetl::decode::two_sources", dataset.span, what).label("a dataset, and files elsewhere").help(help)
}

fn flow_type_of(table: &Spanned<toml::de::DeTable<'_>>, registry: &Registry) -> Result<&'static FlowTypeEntry, Option<Problem>> {
    let found = table.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "flow_type");
    // A missing or ill-typed `flow_type` is reported against the schema.
    let Some((DeValue::String(name), span)) = found.map(|(_, value)| (value.get_ref(), value.span())) else {
        return Err(None);
    };
    registry.get(name).ok_or_else(|| {
        let problem = Problem::new("qetl::parse::unknown_flow_type", span.into(), format!("`{name}` is not a flow type"));
        Some(problem.label("unknown flow type").help(suggest::help(name, registry.names())))
    })
}

/// The JSON schema of a flow file; without a flow type, of what all flow files share.
pub fn file_schema(flow_type: Option<&FlowTypeEntry>) -> Value {
    let mut schema = decode::schema_of::<Header>();
    let mut input = decode::schema_of::<Input>();
    let mut properties = decode::schema_of::<CommonProperties>();
    let Some(entry) = flow_type else {
        schema["additionalProperties"] = Value::Bool(true);
        return schema;
    };
    if entry.layout == Layout::Top {
        let own = (entry.schema)();
        if let (Some(all), Some(own)) = (schema["properties"].as_object_mut(), own["properties"].as_object()) {
            all.extend(own.clone());
        }
        if let (Some(all), Some(own)) = (schema["required"].as_array_mut(), own["required"].as_array()) {
            all.extend(own.clone());
        }
        schema["properties"]["flow_type"] = json!({ "const": entry.name, "description": entry.summary });
        return schema;
    }
    if let Some(keys) = input.get_mut("properties").and_then(Value::as_object_mut) {
        keys.retain(|key, _| matches!(key.as_str(), "columns" | "source_dataset") || entry.input_keys.contains(&key.as_str()));
    }
    input["required"] = json!(entry.required_input);
    let own = (entry.schema)();
    if let (Some(all), Some(own)) = (properties["properties"].as_object_mut(), own["properties"].as_object()) {
        all.extend(own.clone());
    }
    if let Some(required) = own.get("required") {
        properties["required"] = required.clone();
    }
    properties["additionalProperties"] = Value::Bool(false);
    schema["properties"]["flow_type"] = json!({ "const": entry.name, "description": entry.summary });
    if let Some(required) = schema["required"].as_array_mut() {
        required.push("input".into());
        if properties.get("required").is_some() {
            required.push("properties".into());
        }
    }
    schema["properties"]["input"] = input;
    schema["properties"]["properties"] = properties;
    schema
}

/// The sections that a flow type has at the top of the file.
fn own_sections(entry: &FlowTypeEntry) -> Vec<String> {
    (entry.schema)()["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// Keys that decide which batches are accepted, not what their rows become; or that have rules of their own.
const SHAPELESS: [&str; 9] = [
    "columns",
    "source_dataset",
    "allow_empty_snapshot",
    "max_delete_ratio",
    "max_periods",
    "load",
    "late_batches",
    "dataset_prefix",
    "on_changed_file",
];

/// What shapes rows in `[input]` and `[properties]`: values that are the default are left out.
fn shape(schema: &Value, section: impl Fn(&str) -> Value) -> Map<String, Value> {
    let mut shape = Map::new();
    for name in ["input", "properties"] {
        let properties = &schema["properties"][name]["properties"];
        if let Value::Object(entries) = section(name) {
            let differs = |key: &String, value: &Value| properties[key.as_str()].get("default").is_none_or(|default| default != value);
            shape.extend(entries.into_iter().filter(|(key, value)| !SHAPELESS.contains(&key.as_str()) && differs(key, value)));
        }
    }
    shape
}

/// A TOML value as plain JSON data, tables in the order of their keys.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            number.as_str().replace('_', "").parse::<i64>().map_or_else(|_| Value::from(number.as_str()), Value::from)
        }
        DeValue::Float(number) => Value::from(number.as_str()),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(value) => Value::from(value.to_string()),
        DeValue::Array(items) => items.iter().map(|item| plain(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
    }
}
