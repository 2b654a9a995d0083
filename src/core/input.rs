//! `[input]`: what the rows of a flow look like and what a batch of them means.

mod checks;
mod delete_values;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema as JsonSchemaDocument, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{decode::Sp, schema::Type};

pub use checks::SEQUENCE_TYPES;
pub use delete_values::DeleteValues;

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
    /// The values of `delete_column` that mean deletion; `"not_null"`: every value does.
    pub delete_values: Option<Sp<DeleteValues>>,
    /// The columns that say in which order a key's rows came to be at the source: the row with the greatest values counts,
    /// compared column by column.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub sequence_columns: Vec<Sp<String>>,
    /// The columns whose values a snapshot is whole for: of keys with other values nothing is deleted by absence.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub snapshot_of: Vec<Sp<String>>,
    /// Whether a value in a column that a key's last row did not have yet is a change.
    #[serde(default)]
    pub added_columns: AddedColumns,
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

/// Whether a value in a column that a key's last row did not have yet is a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddedColumns {
    /// It is, as NULL differs from it.
    #[default]
    Changed,
    /// It is carried along until the key has a row with the column.
    Carried,
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

    pub fn sequence_names(&self) -> Vec<String> {
        self.sequence_columns.iter().map(|column| column.value.clone()).collect()
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

    fn is_key(&self, column: &Sp<String>) -> bool {
        self.primary_key.iter().any(|key| key.value == column.value)
    }

    /// Whether the column says something of its row that is no value of the key's: it is carried, never compared.
    pub fn is_carried(&self, column: &str) -> bool {
        self.delete_column.iter().chain(&self.sequence_columns).any(|carried| carried.value == column)
    }

    /// The columns without which a row says nothing: the key's, and those that say its order.
    pub fn needed_names(&self) -> Vec<String> {
        self.primary_key.iter().chain(&self.sequence_columns).map(|column| column.value.clone()).collect()
    }
}
