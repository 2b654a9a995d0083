//! The values that templates see.
#![expect(clippy::wildcard_enum_match_arm, reason = "values of any other kind are written as they are")]

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Enumerator, Object, ObjectRepr, ValueKind},
};

use super::{
    StandardTask, TemplateContext,
    date::ExecutionDate,
    jinja,
    names::{self, quoted},
    template::{BUILT_IN, Language},
    variables::{Variable, Variables},
};
use crate::{decode::Scalar, plan::DatasetName, suggest};

/// The values of one run of a task.
#[derive(Debug)]
pub(super) struct Values(BTreeMap<String, Value>);

impl Values {
    pub(super) fn new(task: &StandardTask, flow: &Variables, cx: &TemplateContext<'_>) -> Result<Self, String> {
        let mut variables: BTreeMap<String, Value> = BTreeMap::new();
        for (name, value) in flow.0.iter().chain(&task.variables.0) {
            variables.insert(name.value.clone(), of_variable(&value.value));
        }
        variables.extend(cx.vars.iter().map(|(name, value)| (name.clone(), of_variable(value))));
        let mut values = variables.clone();

        let sources: Vec<Arc<DatasetValue>> = task.sources.iter().map(|source| Arc::new(DatasetValue::of(&source.dataset))).collect();
        let made_by = task.sources.iter().map(|source| source.made_by.clone()).collect();
        let sources = Sources { datasets: sources, made_by, namespace: task.target.namespace.clone() };
        let mut put = |name: &str, value: Value| values.insert(name.to_owned(), value);
        if let Some(first) = sources.datasets.first() {
            put("source_dataset", Value::from_object(DatasetValue { name: first.name.clone(), sources: Some(sources.clone()) }));
        }
        put("source_datasets", sources.datasets.iter().cloned().map(Value::from_dyn_object).collect());
        put("source_datasets_dict", Value::from_object(sources));
        put("target_dataset", Value::from_object(DatasetValue::of(&task.target)));
        put("batch_id", Value::from(cx.batch_id));
        let date = ExecutionDate::new(cx.execution_date).ok_or("the execution date is out of range")?;
        for (name, text) in date.texts() {
            put(name, Value::from(text));
        }
        put("execution_date", Value::from_object(date));
        put("var", Value::from_object(Var(variables)));
        Ok(Self(values))
    }

    pub(super) fn context(&self) -> Value {
        Value::from(self.0.clone())
    }

    /// The names, for help.
    pub(super) fn names(&self) -> Vec<String> {
        let own = self.0.keys().filter(|name| !BUILT_IN.contains(&name.as_str()));
        own.cloned().chain(BUILT_IN.iter().filter(|name| self.0.contains_key(**name)).map(|name| (*name).to_owned())).collect()
    }
}

fn of_variable(variable: &Variable) -> Value {
    let one = |scalar: &Scalar| match scalar {
        Scalar::Text(text) => Value::from(text.as_str()),
        Scalar::Int(number) => Value::from(*number),
        Scalar::Float(number) => Value::from(*number),
        Scalar::Bool(value) => Value::from(*value),
    };
    match variable {
        Variable::Null => Value::from(()),
        Variable::One(scalar) => one(scalar),
        Variable::List(list) => list.iter().map(one).collect(),
    }
}

/// A dataset's name; `source_dataset` can be called as well, with the name of one of the sources.
#[derive(Debug)]
pub(super) struct DatasetValue {
    pub(super) name: DatasetName,
    sources: Option<Sources>,
}

impl DatasetValue {
    fn of(name: &DatasetName) -> Self {
        Self { name: name.clone(), sources: None }
    }

    /// The name as SQL text, each part in quotes if it would mean something else without.
    pub(super) fn quoted_where_needed(&self, quote: char) -> String {
        names::sql(&self.name, |part| if names::needs_quotes(part) { quoted(part, quote) } else { part.to_owned() })
    }
}

impl fmt::Display for DatasetValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl Object for DatasetValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let sources = self.sources.as_ref().ok_or_else(|| wrong("only `source_dataset` can be called"))?;
        let [id] = arguments else { return Err(wrong("`source_dataset(…)` takes the name of one dataset")) };
        let id = id.as_str().ok_or_else(|| wrong("`source_dataset(…)` takes a name in quotes"))?;
        sources.get(id).ok_or_else(|| {
            let known: Vec<String> = sources.datasets.iter().map(|source| source.name.to_string()).collect();
            let help = suggest::help(id, known.iter().map(String::as_str));
            wrong(format!("the task does not read a dataset `{id}`; {help}"))
        })
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The datasets that a task reads, by name or by the id of the task that makes them.
#[derive(Debug, Clone)]
struct Sources {
    datasets: Vec<Arc<DatasetValue>>,
    made_by: Vec<Vec<String>>,
    /// The flow's.
    namespace: String,
}

impl Sources {
    /// Found by the names that a flow file may call it, whatever their case: with its namespace, without it if that is the
    /// flow's or nobody else has the name, or by its maker.
    fn get(&self, id: &str) -> Option<Value> {
        let (namespace, name) = id.split_once('.').unwrap_or((&self.namespace, id));
        let wanted = DatasetName { namespace: namespace.to_owned(), name: name.to_owned() };
        let named = self.datasets.iter().position(|source| names::same(&source.name, &wanted));
        let bare = || self.datasets.iter().position(|source| source.name.name.eq_ignore_ascii_case(id));
        let made = || self.made_by.iter().position(|tasks| tasks.iter().any(|task| task == id));
        let index = named.or_else(bare).or_else(made)?;
        self.datasets.get(index).cloned().map(Value::from_dyn_object)
    }
}

impl Object for Sources {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.datasets.iter().map(|source| Value::from(source.to_string())).collect())
    }
}

/// `var(name[, default])`.
#[derive(Debug)]
struct Var(BTreeMap<String, Value>);

impl Object for Var {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, arguments: &[Value]) -> Result<Value, Error> {
        let (name, default) = match arguments {
            [name] => (name, None),
            [name, default] => (name, Some(default.clone())),
            _ => return Err(Error::new(ErrorKind::InvalidOperation, "`var(…)` takes a name, and what holds without it")),
        };
        let name = name.as_str().ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "`var(…)` takes a name in quotes"))?;
        let missing = || Error::new(ErrorKind::UndefinedError, format!("variable {name}"));
        self.0.get(name).cloned().or(default).ok_or_else(missing)
    }
}

/// What a value is in the language, when a template puts it in bare.
pub(super) fn written(value: &Value, language: Language) -> Result<String, Error> {
    if let (Some(dataset), Language::Sql { quote }) = (value.downcast_object_ref::<DatasetValue>(), language) {
        return Ok(dataset.quoted_where_needed(quote));
    }
    match language {
        Language::Sql { .. } if value.is_none() => Ok("NULL".to_owned()),
        Language::Python if value.is_none() => Ok("None".to_owned()),
        Language::Path if value.is_none() => Err(wrong("a path has no place for null")),
        Language::Python if value.kind() == ValueKind::Bool => Ok(if value.is_true() { "True" } else { "False" }.to_owned()),
        Language::Sql { .. } | Language::Python | Language::Path => text_of(value),
    }
}

/// A value as text. Truth is written as in flow files.
pub(super) fn text_of(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        _ => jinja::text(value),
    }
}

pub(super) fn wrong(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}
