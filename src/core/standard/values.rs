//! What templates see: values, filters, tests and functions.
#![expect(clippy::wildcard_enum_match_arm, reason = "values of any other kind are written as they are")]

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters, functions, tests,
    value::{Enumerator, Object, ObjectRepr, Rest, ValueKind},
};

use super::{
    StandardTask, TemplateContext,
    date::ExecutionDate,
    names::{self, quoted},
    template::{BUILT_IN, Language, MAX_BYTES},
    variables::{Variable, Variables},
};
use crate::{decode::Scalar, plan::DatasetName, suggest};

/// The filters, for help.
pub(super) const FILTERS: [&str; 16] = [
    "upper", "lower", "default", "sql", "ident", "trim", "replace", "join", "length", "first", "last", "int", "float", "round", "abs",
    "string",
];
pub(super) const TESTS: [&str; 5] = ["defined", "undefined", "none", "string", "number"];
pub(super) const FUNCTIONS: [&str; 3] = ["var", "source_dataset", "range"];

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
        let sources = Sources { datasets: sources, made_by };
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

    /// The bytes of the longest value.
    pub(super) fn longest(&self) -> usize {
        self.0.values().filter_map(|value| value.as_str().map(str::len)).max().unwrap_or(0)
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
    name: DatasetName,
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
        let no_function = || Error::new(ErrorKind::InvalidOperation, "only `source_dataset` can be called");
        let sources = self.sources.as_ref().ok_or_else(no_function)?;
        let [id] = arguments else {
            return Err(Error::new(ErrorKind::InvalidOperation, "`source_dataset(…)` takes the name of one dataset"));
        };
        let id = id.to_string();
        sources.get(&id).ok_or_else(|| {
            let help = suggest::help(&id, sources.datasets.iter().map(|source| source.name.name.as_str()));
            Error::new(ErrorKind::InvalidOperation, format!("the task does not read a dataset `{id}`; {help}"))
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
}

impl Sources {
    fn get(&self, id: &str) -> Option<Value> {
        let named = self.datasets.iter().position(|source| source.name.to_string() == id);
        let bare = || self.datasets.iter().position(|source| source.name.name == id);
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

/// Puts filters, tests and functions in. What minijinja has beyond them is left out: it is for HTML, or has no limits.
pub(super) fn register(environment: &mut Environment<'_>, language: Language) {
    let quote = match language {
        Language::Sql { quote } => quote,
        Language::Python | Language::Path => '"',
    };
    environment.add_filter("upper", |value: &Value| text_of(value).map(|text| text.to_uppercase()));
    environment.add_filter("lower", |value: &Value| text_of(value).map(|text| text.to_lowercase()));
    environment.add_filter("default", filters::default);
    environment.add_filter("sql", |value: &Value| literal(value));
    environment.add_filter("ident", move |value: &Value| identifier(value, quote));
    environment.add_filter("trim", |value: &Value| text_of(value).map(|text| text.trim().to_owned()));
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("length", filters::length);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
    environment.add_filter("round", filters::round);
    environment.add_filter("abs", filters::abs);
    environment.add_filter("string", |value: &Value| text_of(value));
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_function("range", functions::range);
}

/// A value as text. Truth is written as in flow files.
pub(super) fn text_of(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(ErrorKind::UndefinedError.into()),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        _ => Ok(value.to_string()),
    }
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

/// A value as a SQL literal; a list as literals with commas between, for `IN (…)`.
fn literal(value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    if value.is_none() {
        return Ok("NULL".to_owned());
    }
    match value.kind() {
        ValueKind::Bool => Ok(if value.is_true() { "TRUE" } else { "FALSE" }.to_owned()),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if !number.is_finite() => Err(wrong("a number that is not finite has no SQL literal")),
            _ => Ok(value.to_string()),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<String> = value.try_iter()?.map(|item| literal(&item)).collect::<Result<_, _>>()?;
            if items.is_empty() {
                return Err(wrong("an empty list has no SQL literal: `IN ()` is not SQL"));
            }
            bounded(items.join(", "))
        }
        _ => {
            let text = value.to_string();
            if text.contains('\0') {
                return Err(wrong("a text with a NUL character has no SQL literal"));
            }
            bounded(format!("'{}'", text.replace('\'', "''")))
        }
    }
}

fn identifier(value: &Value, quote: char) -> Result<String, Error> {
    if let Some(dataset) = value.downcast_object_ref::<DatasetValue>() {
        return Ok(names::sql(&dataset.name, |part| quoted(part, quote)));
    }
    let text = text_of(value)?;
    if text.is_empty() || text.contains('\0') {
        return Err(wrong("an identifier is not empty and has no NUL character"));
    }
    Ok(quoted(&text, quote))
}

fn replace(value: &Value, from: &str, to: &str) -> Result<String, Error> {
    let text = text_of(value)?;
    let grown = text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len());
    if grown > MAX_BYTES { Err(too_long()) } else { Ok(text.replace(from, to)) }
}

fn join(value: &Value, rest: Rest<Value>) -> Result<String, Error> {
    let between = rest.first().map(text_of).transpose()?.unwrap_or_default();
    let mut joined = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(&between);
        }
        joined.push_str(&text_of(&item)?);
        if joined.len() > MAX_BYTES {
            return Err(too_long());
        }
    }
    Ok(joined)
}

fn bounded(text: String) -> Result<String, Error> {
    if text.len() > MAX_BYTES { Err(too_long()) } else { Ok(text) }
}

fn too_long() -> Error {
    Error::new(ErrorKind::OutOfFuel, format!("a text becomes longer than {MAX_BYTES} bytes"))
}
