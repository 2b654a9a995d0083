//! `[input]`: what the rows of a flow look like and what a batch of them means.

use std::{borrow::Cow, collections::BTreeSet};

use schemars::{JsonSchema, Schema as JsonSchemaDocument, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    decode::{Scalar, Sp},
    problem::{Problem, Problems},
    schema::{TYPE_NAMES, Type, meant, refuse_column_name},
    suggest,
};

/// `[input]` of a flow file.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Input {
    /// The columns that name a row. Their values are never NULL.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub primary_key: Vec<Sp<String>>,
    /// The columns to read, in order: a name alone, whose type is inferred, or
    /// `{ name, schema_type, required, optional, from }`.
    #[schemars(length(min = 1))]
    pub columns: Vec<Sp<InputColumn>>,
    /// The dataset of another flow that is read instead of files, `name` or `namespace.name`: each of its batches is a
    /// batch here, under the same id.
    #[schemars(length(min = 1))]
    pub source_dataset: Option<Sp<String>>,
    /// What a batch is: the whole current state (`snapshot`), or only the rows that changed (`delta`).
    #[serde(default)]
    pub batch_mode: BatchMode,
    /// The column that marks a row as a deletion.
    pub delete_column: Option<Sp<String>>,
    /// The values of `delete_column` that mean deletion.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub delete_values: Vec<Sp<Scalar>>,
    /// Lets an empty snapshot through, which deletes every key.
    #[serde(default)]
    pub allow_empty_snapshot: Option<Sp<bool>>,
    /// Refuses a batch that would delete more than this share (0–1) of the live keys.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_delete_ratio: Option<Sp<f64>>,
    /// What happens to rows of a batch that have the same key and differ.
    #[serde(default)]
    pub on_duplicate_key: OnDuplicateKey,
    /// What happens to rows with NULL in a key column.
    #[serde(default)]
    pub on_null_key: OnNullKey,
}

/// What a batch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchMode {
    /// The whole current state: a missing key means deleted.
    #[default]
    Snapshot,
    /// Only changed rows, each whole; nothing is deleted by absence.
    Delta,
}

/// What happens to rows of a batch that have the same key and differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDuplicateKey {
    /// The batch is refused.
    #[default]
    Fail,
    /// The first row counts, by file order, then row number.
    KeepFirst,
    /// The last row counts.
    KeepLast,
    /// All of them go to the `_parked` dataset; the key's state stands.
    Park,
}

/// What happens to rows with NULL in a key column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNullKey {
    /// The batch is refused.
    #[default]
    Fail,
    /// They go to the `_parked` dataset.
    Park,
}

/// A column of the input: a name alone, or a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputColumn {
    pub name: Sp<String>,
    /// As written; `None`: inferred.
    pub schema_type: Option<Sp<String>>,
    pub required: bool,
    /// A file may be without it.
    pub optional: Option<Sp<bool>>,
    /// What it is called in the source, where that is not its name.
    pub from: Option<Sp<String>>,
}

impl InputColumn {
    /// What the column is called in the source.
    pub fn source_name(&self) -> &str {
        self.from.as_ref().map_or(&self.name, |from| from.as_str())
    }

    pub fn is_optional(&self) -> bool {
        self.optional.as_ref().is_some_and(|optional| optional.value)
    }

    /// The declared type; `None` when it is to be inferred.
    pub fn declared(&self) -> Option<Type> {
        self.schema_type.as_ref().filter(|ty| ty.value != "auto").and_then(|ty| ty.parse().ok())
    }
}

/// The table form of a column.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct InputColumnTable {
    /// The column's name; as in the source, unless `from` says what it is called there.
    name: Sp<String>,
    /// `string`, `integer`, `float`, `decimal(p,s)`, `boolean`, `date`, `timestamp`, or `auto` (the default).
    schema_type: Option<Sp<String>>,
    /// NULL is an error.
    #[serde(default)]
    required: bool,
    /// The column is NULL where the source does not have it; else a source without it is an error.
    optional: Option<Sp<bool>>,
    /// The column's name in the source, such as `"MRR (EUR)"`.
    #[schemars(length(min = 1))]
    from: Option<Sp<String>>,
}

impl<'de> Deserialize<'de> for InputColumn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = InputColumn;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a column's name, or a table with `name` and `schema_type`")
            }

            fn visit_str<E>(self, name: &str) -> Result<InputColumn, E> {
                let name = Sp { value: name.to_owned(), ..Sp::default() };
                Ok(InputColumn { name, ..InputColumn::default() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<InputColumn, A::Error> {
                let table = InputColumnTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let InputColumnTable { name, schema_type, required, optional, from } = table;
                Ok(InputColumn { name, schema_type, required, optional, from })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for InputColumn {
    fn schema_name() -> Cow<'static, str> {
        "InputColumn".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> JsonSchemaDocument {
        let table = InputColumnTable::json_schema(generator);
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl Input {
    pub fn key_names(&self) -> Vec<String> {
        self.primary_key.iter().map(|key| key.value.clone()).collect()
    }

    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Gives columns that are a bare name that name's span, which serde cannot see.
    pub(crate) fn place_names(&mut self) {
        for column in &mut self.columns {
            if column.value.name.span == Default::default() {
                column.value.name.span = column.span;
            }
        }
    }

    /// What is wrong with the table as a whole.
    pub(crate) fn problems(&self) -> Problems {
        let mut problems = Problems::default();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for column in &self.columns {
            let name = &column.name;
            if let Some(why) = refuse_column_name(name) {
                problems
                    .push(Problem::new("qetl::decode::column_name", name.span, format!("`{}` cannot be a column", name.value)).label(why));
            }
            if !seen.insert(name.to_lowercase()) {
                problems.push(
                    Problem::new("qetl::decode::duplicate_column", name.span, format!("column `{}` stands twice", name.value))
                        .label("here again")
                        .help("names that differ only in case are equal: engines find names whatever their case"),
                );
            }
            if let Some(ty) = &column.schema_type
                && ty.value != "auto"
                && let Err(error) = ty.parse::<Type>()
            {
                let known = || suggest::help(ty, TYPE_NAMES.into_iter().chain(["auto"]));
                let help = meant(ty).map_or_else(known, |meant| format!("did you mean `{meant}`?"));
                problems.push(Problem::new("qetl::decode::column_type", ty.span, error.to_string()).label("not a type").help(help));
            }
        }
        self.check_sources(&mut problems);
        let mut keys = BTreeSet::new();
        for key in &self.primary_key {
            self.check_column(key, "primary_key", &mut problems);
            if !keys.insert(key.value.as_str()) {
                problems.push(Problem::new(
                    "qetl::decode::duplicate_key_column",
                    key.span,
                    format!("`{}` stands twice in `primary_key`", key.value),
                ));
            }
        }
        if let Some(column) = &self.delete_column {
            self.check_column(column, "delete_column", &mut problems);
            if keys.contains(column.value.as_str()) {
                problems.push(Problem::new("qetl::decode::delete_column", column.span, "a key column cannot mark deletions"));
            }
            if self.delete_values.is_empty() {
                problems.push(
                    Problem::new("qetl::decode::delete_values", column.span, "`delete_column` needs `delete_values`")
                        .help("name the values that mean deletion, such as `delete_values = [\"D\"]`"),
                );
            }
        } else if let Some(value) = self.delete_values.first() {
            problems.push(
                Problem::new("qetl::decode::delete_values", value.span, "`delete_values` does nothing without `delete_column`")
                    .help("name the column that holds them with `delete_column`"),
            );
        }
        if self.batch_mode == BatchMode::Delta
            && let Some(allow) = &self.allow_empty_snapshot
        {
            problems.push(
                Problem::new("qetl::decode::inert_key", allow.span, "`allow_empty_snapshot` does nothing with `batch_mode = \"delta\"`")
                    .help("an empty delta batch is always fine; remove the key"),
            );
        }
        problems
    }

    /// What is wrong with where columns come from.
    fn check_sources(&self, problems: &mut Problems) {
        let mut sources: BTreeSet<&str> = BTreeSet::new();
        for column in &self.columns {
            // Equal names are told of by themselves.
            let renames = || column.from.is_some() || self.columns.iter().any(|other| other.from.as_deref() == Some(&column.name.value));
            if !sources.insert(column.source_name()) && renames() {
                let at = column.from.as_ref().unwrap_or(&column.name);
                let what = format!("two columns are read from `{}`", at.value);
                problems.push(Problem::new("qetl::decode::duplicate_column", at.span, what).help("each column of the source is read once"));
            }
            if let (Some(optional), true) = (&column.optional, column.required && column.is_optional()) {
                let what = format!("`{}` is both `required` and `optional`", column.name.value);
                let help = "without the column there is only NULL, which `required` refuses: choose one";
                problems.push(Problem::new("qetl::decode::optional", optional.span, what).help(help));
            }
        }
        self.refuse_optional(&self.key_names(), "part of `primary_key`", problems);
    }

    /// Reports columns that may not be missing, since they say whose a row is or when.
    pub fn refuse_optional(&self, columns: &[String], what: &str, problems: &mut Problems) {
        for column in self.columns.iter().filter(|column| column.is_optional() && columns.contains(&column.name)) {
            let Some(optional) = &column.optional else { continue };
            let message = format!("`{}` is {what}, so it cannot be `optional`", column.name.value);
            problems.push(Problem::new("qetl::decode::optional", optional.span, message).help("take `optional` out"));
        }
    }

    /// Reports a name that is not a column of the input.
    pub fn check_column(&self, name: &Sp<String>, key: &str, problems: &mut Problems) {
        if !self.column_names().any(|column| column == name.value) {
            problems.push(
                Problem::new(
                    "qetl::decode::unknown_column",
                    name.span,
                    format!("column `{}` of `{key}` is not in `[input] columns`", name.value),
                )
                .label("no such column")
                .help(suggest::help(name, self.column_names())),
            );
        }
    }
}
