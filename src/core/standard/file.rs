//! `[variables]` and `[[tasks]]` as they stand in the file.

use std::{borrow::Cow, ops::Range};

use schemars::{JsonSchema, Schema as JsonSchemaDocument, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IntoDeserializer, MapAccess, value::MapAccessDeserializer},
};
use toml::de::{DeTable, DeValue};

use super::{read::TASK_KEYS, scope::ScopeChoice, variables::Variables};
use crate::{
    decode::{self, Sp},
    input::InputColumn,
    load::Load,
    problem::{Problem, Problems, Span},
};

/// The sections of a standard flow.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct StandardFile {
    /// Values that the templates of all tasks may use.
    #[serde(default)]
    pub variables: Variables,
    /// What is done, a dataset each.
    #[schemars(length(min = 1))]
    pub tasks: Vec<TaskTable>,
}

/// One of `[[tasks]]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct TaskTable {
    /// The task's name in the flow: a letter, then letters, digits and `_`.
    pub id: Sp<String>,
    /// A name for people.
    pub name: Option<Sp<String>>,
    /// `ingestion` reads files, `sql_processing` runs a query, `custom_script` runs Python. `task_type` is the same key.
    #[serde(rename = "type", alias = "task_type")]
    #[schemars(extend("x-aliases" = ["task_type"]))]
    pub task_type: Sp<TaskType>,
    /// The dataset that the task reads: of this flow, or `namespace.name` of another.
    pub source_dataset: Option<Sp<String>>,
    /// The datasets that the task reads, when there are several.
    #[schemars(length(min = 1))]
    pub source_datasets: Option<Vec<Sp<String>>>,
    /// The dataset that the task makes, in the flow's namespace.
    pub target_dataset: Sp<String>,
    /// Tasks that run before this one, beside those that make what it reads.
    #[serde(default)]
    pub dependencies: Vec<Sp<String>>,
    /// Tasks that run after this one.
    #[serde(default)]
    pub downstream_tasks: Vec<Sp<String>>,
    /// A query, or `INSERT INTO {{ target_dataset }} SELECT …`; a template.
    pub sql: Option<Sp<String>>,
    /// A Python program; a template.
    pub script: Option<Sp<String>>,
    /// What becomes of the target's rows: `replace` all, `replace_batch` those of this batch, `merge` by key. `replace` for
    /// a query or a script, `replace_batch` for an INSERT, if not given.
    pub write_mode: Option<Sp<WriteMode>>,
    /// The columns that name a row, for `merge`.
    #[schemars(length(min = 1))]
    pub unique_key: Option<Vec<Sp<String>>>,
    /// Which rows of its sources the task reads: `all`, or those of this `batch`; one word, or a table by source:
    /// `{ orders = "batch", customers = "all" }`. If not given, an INSERT reads the `batch` of what is kept by batch.
    pub source_scope: Option<Sp<ScopeChoice>>,
    /// The files that an ingestion reads.
    pub config: Option<Sp<Config>>,
    /// Values that the task's templates may use; they hide those of `[variables]`.
    #[serde(default)]
    pub variables: Variables,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// Reads files.
    Ingestion,
    /// Runs a query.
    SqlProcessing,
    /// Runs a Python program.
    CustomScript,
}

impl TaskType {
    pub fn name(self) -> &'static str {
        match self {
            TaskType::Ingestion => "ingestion",
            TaskType::SqlProcessing => "sql_processing",
            TaskType::CustomScript => "custom_script",
        }
    }
}

/// What becomes of the rows that a target holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// All of them make way for the new ones.
    Replace,
    /// Those of this batch do.
    ReplaceBatch,
    /// Per key the row of the greatest batch id is the one that counts.
    Merge,
}

impl WriteMode {
    pub fn name(self) -> &'static str {
        match self {
            WriteMode::Replace => "replace",
            WriteMode::ReplaceBatch => "replace_batch",
            WriteMode::Merge => "merge",
        }
    }
}

/// Which rows of its sources a task reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceScope {
    /// All of them.
    All,
    /// Those of this batch; of another flow's dataset, those of the batches that were published since the task's last batch.
    Batch,
}

/// `[tasks.config]`: `path` and `columns`, and the reader options of `[properties.load]`.
#[derive(Debug, Clone)]
pub struct Config {
    /// `source_path` is the task's `path`.
    pub load: Load,
    pub columns: Vec<Sp<InputColumn>>,
}

/// Keys of `[properties.load]` that mean nothing for a task: a path has its pattern in itself, a run is a batch.
const LOAD_ONLY: [&str; 3] = ["source_path", "file_pattern", "batch_id_from"];

/// The keys of `[tasks.config]` that `[properties.load]` has not.
#[derive(Deserialize, JsonSchema)]
struct ConfigKeys {
    /// The files to read, relative to the project: `data/orders.csv`, `data/*.csv`, `data/orders_{{ ds }}.csv`; a template.
    #[schemars(length(min = 1))]
    #[expect(dead_code, reason = "it is the schema of a key that `Config` decodes")]
    path: Sp<String>,
    /// The columns to read; all of the file, their types inferred, without it.
    #[schemars(length(min = 1))]
    #[expect(dead_code, reason = "as above")]
    columns: Option<Vec<Sp<InputColumn>>>,
}

impl JsonSchema for Config {
    fn schema_name() -> Cow<'static, str> {
        "Config".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> JsonSchemaDocument {
        let mut schema = decode::schema_of::<ConfigKeys>();
        let load = decode::schema_of::<Load>();
        if let (Some(own), Some(load)) = (schema["properties"].as_object_mut(), load["properties"].as_object()) {
            own.extend(load.iter().filter(|(key, _)| !LOAD_ONLY.contains(&key.as_str())).map(|(key, value)| (key.clone(), value.clone())));
        }
        schema["additionalProperties"] = serde_json::Value::Bool(false);
        JsonSchemaDocument::try_from(schema).unwrap_or_default()
    }

    fn inline_schema() -> bool {
        true
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Config;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Config, A::Error> {
                let mut columns = Vec::new();
                let load = Load::deserialize(MapAccessDeserializer::new(AsLoad { map, columns: &mut columns }))?;
                Ok(Config { load, columns })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A task's config as a `[properties.load]`: `path` is its `source_path`, `columns` are kept aside.
struct AsLoad<'a, A> {
    map: A,
    columns: &'a mut Vec<Sp<InputColumn>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for AsLoad<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            match key.as_str() {
                "columns" => *self.columns = self.map.next_value()?,
                "path" => return seed.deserialize("source_path".into_deserializer()).map(Some),
                other => return seed.deserialize(other.into_deserializer()).map(Some),
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A text that stands under `[tasks.variables]` or another table of a task belongs to that table by TOML's rules, though its
/// author meant the task: `sql` and `script` are taken as the task's, with a warning. Other keys of a task are problems there.
pub fn hoist(file: &mut DeTable<'_>) -> Problems {
    let mut problems = Problems::default();
    let Some(DeValue::Array(tasks)) = file.get_mut("tasks").map(|tasks| tasks.get_mut()) else { return problems };
    for task in tasks.iter_mut() {
        let DeValue::Table(task) = task.get_mut() else { continue };
        for name in ["variables", "config", "source_scope"] {
            for key in ["sql", "script"] {
                if task.contains_key(key) {
                    continue;
                }
                let Some(DeValue::Table(inner)) = task.get_mut(name).map(|table| table.get_mut()) else { continue };
                let is_text = |value: &DeValue<'_>| value.as_str().is_some_and(|text| !matches!(text, "all" | "batch"));
                if !inner.get(key).is_some_and(|value| is_text(value.get_ref())) {
                    continue;
                }
                let Some((own_key, value)) = inner.remove_entry(key) else { continue };
                let emptied = inner.is_empty();
                let what = format!("`{key}` stands in `[tasks.{name}]`; it is taken as the task's");
                problems.push(in_the_wrong_table(name, own_key.span(), what).warning());
                task.insert(own_key, value);
                if emptied {
                    task.remove(name);
                }
            }
        }
        let Some(DeValue::Table(config)) = task.get_mut("config").map(|table| table.get_mut()) else { continue };
        for key in TASK_KEYS {
            if let Some((own_key, _)) = config.remove_entry(key) {
                problems.push(in_the_wrong_table("config", own_key.span(), format!("`{key}` is a key of the task, not of its config")));
            }
        }
    }
    problems
}

fn in_the_wrong_table(table: &str, key: Range<usize>, what: String) -> Problem {
    let help = format!("put it above the line `[tasks.{table}]`: what stands under that line belongs to the table");
    Problem::new("qetl::decode::key_in_table", Span::from(key), what).label("in the wrong table").help(help)
}
