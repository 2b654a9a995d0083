//! Flow types and how they are found.

use std::{collections::BTreeMap, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
pub use toml::de::DeTable;
use toml::{Spanned, de::DeValue};

use crate::{
    decode,
    flow::Flow,
    plan::{Dag, Dataset, DatasetName, Expand, InputType, Invariant, LateBatches, Task},
    problem::Problems,
    rules::RuleChange,
    schema::Type,
    standard::StandardFlow,
};

/// Where a flow type's own keys stand in a flow file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In `[properties]`; the rows that come in are described by `[input]`.
    Properties,
    /// At the top of the file, beside the header; there is neither `[input]` nor `[properties]`.
    Top,
}

/// A kind of flow: the struct is its `[properties]`, the functions say what it makes of them.
///
/// The three emissions are dataset schemas, the DAG and the instructions of each task. They speak the language of
/// [`crate::ir`]: no engine and no SQL dialect is named.
pub trait FlowType: DeserializeOwned + JsonSchema + fmt::Debug + Send + Sync + 'static {
    /// The name in `flow_type = "…"`.
    const NAME: &'static str;
    /// One line for `qetl flow-types`.
    const SUMMARY: &'static str;
    /// The keys of `[input]` that mean something here, beside `columns`.
    const INPUT_KEYS: &'static [&'static str];
    /// Those of them that must be there; `columns` always must.
    const REQUIRED_INPUT: &'static [&'static str] = &["columns"];
    /// Where the struct's keys stand.
    const LAYOUT: Layout = Layout::Properties;

    /// Puts keys where they were meant to be, before anything is looked at; warnings say so.
    fn prepare(_file: &mut DeTable<'_>) -> Problems {
        Problems::default()
    }

    /// What the names of the flow's datasets begin with when `dataset_prefix` does not say.
    fn prefix(id: &str) -> String {
        id.to_owned()
    }

    /// What is wrong with the properties as a whole, types of columns aside.
    fn problems(&self, _flow: &Flow) -> Problems {
        Problems::default()
    }

    /// The tasks, for a flow whose author wrote them.
    fn standard(&self, _flow: &Flow) -> Option<StandardFlow> {
        None
    }

    /// What happens when a batch arrives after a later one, or again with other content.
    fn late_batches(&self) -> LateBatches {
        LateBatches::Cascade
    }

    /// How the flow's batches stand to one another.
    fn batches(&self, _flow: &Flow) -> BatchRules {
        BatchRules::default()
    }

    /// The columns that are never NULL, or whose rows are parked, as `on_null_key` says: the key's without more.
    fn key_columns(&self, flow: &Flow) -> Vec<String> {
        flow.input.key_names()
    }

    /// The columns that are added up: NaN and ±∞ have no place in them.
    fn amounts(&self, _cx: &Expand<'_>) -> Vec<String> {
        Vec::new()
    }

    /// The type that a column gets whose type was inferred just now. `columns` are all of the flow's, with the types as
    /// inferred; `decimals` is the scale of a decimal that holds all of the column's values, if one does.
    fn pinned_type(&self, _flow: &Flow, _columns: &[InputType], column: &InputType, _decimals: Option<u8>) -> Type {
        column.ty
    }

    /// What is doubtful about the flow, now that the types are known. Warnings alone.
    fn warnings(&self, _cx: &Expand<'_>) -> Problems {
        Problems::default()
    }

    /// The datasets that the flow publishes.
    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems>;

    /// Which dataset is made from which.
    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems>;

    /// For each dataset that is derived, the instructions that fill it.
    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems>;

    /// What `qetl verify` checks on the stored tables.
    fn invariants(&self, _cx: &Expand<'_>) -> Result<Vec<Invariant>, Problems> {
        Ok(Vec::new())
    }

    /// How the rules by which the tables are made have changed since rules 0: see [`crate::rules`].
    fn rule_changes(&self, _cx: &Expand<'_>) -> Result<Vec<RuleChange>, Problems> {
        Ok(Vec::new())
    }

    /// What the types of columns decided, by the name of the column: recorded in the first publish that has rows, and given back as
    /// [`InputType::role`] from then on, whatever becomes of the types.
    fn roles(&self, _cx: &Expand<'_>) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// The dataset to which rows are only added, and the column that names each of its rows.
    fn append_only(&self, _cx: &Expand<'_>) -> Option<(DatasetName, &'static str)> {
        None
    }
}

/// How the batches of a flow stand to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRules {
    /// A batch is derived from those before it, so that a change of one derives all later ones again.
    pub build_on_earlier: bool,
    /// The order of rows within a batch means something, so that the same rows in another order are other content.
    pub row_order_counts: bool,
    /// Execution times must rise with the batch ids.
    pub times_rise: bool,
    /// The date, or the hour, that the id of a batch is stands for its execution time.
    pub times_from_ids: bool,
}

impl Default for BatchRules {
    fn default() -> Self {
        Self { build_on_earlier: true, row_order_counts: false, times_rise: false, times_from_ids: false }
    }
}

/// A [`FlowType`] whose properties are decoded; see there.
pub trait Expanding: fmt::Debug + Send + Sync {
    fn problems(&self, flow: &Flow) -> Problems;
    fn standard(&self, flow: &Flow) -> Option<StandardFlow>;
    fn late_batches(&self) -> LateBatches;
    fn batches(&self, flow: &Flow) -> BatchRules;
    fn key_columns(&self, flow: &Flow) -> Vec<String>;
    fn amounts(&self, cx: &Expand<'_>) -> Vec<String>;
    fn pinned_type(&self, flow: &Flow, columns: &[InputType], column: &InputType, decimals: Option<u8>) -> Type;
    fn warnings(&self, cx: &Expand<'_>) -> Problems;
    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems>;
    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems>;
    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems>;
    fn invariants(&self, cx: &Expand<'_>) -> Result<Vec<Invariant>, Problems>;
    fn rule_changes(&self, cx: &Expand<'_>) -> Result<Vec<RuleChange>, Problems>;
    fn roles(&self, cx: &Expand<'_>) -> BTreeMap<String, String>;
    fn append_only(&self, cx: &Expand<'_>) -> Option<(DatasetName, &'static str)>;
}

impl<T: FlowType> Expanding for T {
    fn problems(&self, flow: &Flow) -> Problems {
        FlowType::problems(self, flow)
    }

    fn standard(&self, flow: &Flow) -> Option<StandardFlow> {
        FlowType::standard(self, flow)
    }

    fn late_batches(&self) -> LateBatches {
        FlowType::late_batches(self)
    }

    fn batches(&self, flow: &Flow) -> BatchRules {
        FlowType::batches(self, flow)
    }

    fn key_columns(&self, flow: &Flow) -> Vec<String> {
        FlowType::key_columns(self, flow)
    }

    fn amounts(&self, cx: &Expand<'_>) -> Vec<String> {
        FlowType::amounts(self, cx)
    }

    fn pinned_type(&self, flow: &Flow, columns: &[InputType], column: &InputType, decimals: Option<u8>) -> Type {
        FlowType::pinned_type(self, flow, columns, column, decimals)
    }

    fn warnings(&self, cx: &Expand<'_>) -> Problems {
        FlowType::warnings(self, cx)
    }

    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems> {
        FlowType::datasets(self, cx)
    }

    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems> {
        FlowType::dag(self, cx)
    }

    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems> {
        FlowType::instructions(self, cx)
    }

    fn invariants(&self, cx: &Expand<'_>) -> Result<Vec<Invariant>, Problems> {
        FlowType::invariants(self, cx)
    }

    fn rule_changes(&self, cx: &Expand<'_>) -> Result<Vec<RuleChange>, Problems> {
        FlowType::rule_changes(self, cx)
    }

    fn roles(&self, cx: &Expand<'_>) -> BTreeMap<String, String> {
        FlowType::roles(self, cx)
    }

    fn append_only(&self, cx: &Expand<'_>) -> Option<(DatasetName, &'static str)> {
        FlowType::append_only(self, cx)
    }
}

/// From `[properties]`, or the whole file, to a flow type's own struct.
pub type Decode = fn(Spanned<DeValue<'_>>) -> Result<Arc<dyn Expanding>, Problems>;

/// A flow type as the registry holds it, made by [`register_flow_type!`](crate::register_flow_type).
#[derive(Debug)]
pub struct FlowTypeEntry {
    pub name: &'static str,
    pub summary: &'static str,
    pub input_keys: &'static [&'static str],
    pub required_input: &'static [&'static str],
    pub layout: Layout,
    pub prepare: fn(&mut DeTable<'_>) -> Problems,
    pub prefix: fn(&str) -> String,
    /// The JSON schema of its properties.
    pub schema: fn() -> Value,
    pub decode: Decode,
}

impl FlowTypeEntry {
    pub const fn of<T: FlowType>() -> Self {
        Self {
            name: T::NAME,
            summary: T::SUMMARY,
            input_keys: T::INPUT_KEYS,
            required_input: T::REQUIRED_INPUT,
            layout: T::LAYOUT,
            prepare: T::prepare,
            prefix: T::prefix,
            schema: decode::schema_of::<T>,
            decode: |value| Ok(Arc::new(decode::decode::<T>(value)?)),
        }
    }
}

inventory::collect!(FlowTypeEntry);

pub use inventory;

/// Adds a flow type to the registry of every binary that links the crate.
#[macro_export]
macro_rules! register_flow_type {
    ($flow_type:ty) => {
        $crate::registry::inventory::submit! { $crate::registry::FlowTypeEntry::of::<$flow_type>() }
    };
}

/// The flow types of this binary, by name.
#[derive(Debug, Clone)]
pub struct Registry(BTreeMap<&'static str, &'static FlowTypeEntry>);

impl Registry {
    /// All flow types that are linked. A name that is registered twice is an error that names it.
    pub fn linked() -> Result<Self, String> {
        let mut types = BTreeMap::new();
        for entry in inventory::iter::<FlowTypeEntry> {
            if types.insert(entry.name, entry).is_some() {
                return Err(format!("flow type `{}` is registered twice", entry.name));
            }
        }
        Ok(Self(types))
    }

    pub fn get(&self, name: &str) -> Option<&'static FlowTypeEntry> {
        self.0.get(name).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    pub fn entries(&self) -> impl Iterator<Item = &'static FlowTypeEntry> {
        self.0.values().copied()
    }
}
