//! The filters, tests and functions of templates.
#![expect(clippy::wildcard_enum_match_arm, reason = "values of any other kind are written as texts")]

use std::sync::Arc;

use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters, functions, tests,
    value::{Rest, ValueKind},
};

use super::{
    jinja::{self, MAX_BYTES, Scales, too_long},
    names::{self, quoted},
    template::Language,
    values::{DatasetValue, text_of, wrong},
};

/// The filters, for help: those that flows use most come first.
pub(super) const FILTERS: [&str; 44] = [
    "upper",
    "lower",
    "default",
    "sql",
    "ident",
    "trim",
    "replace",
    "join",
    "length",
    "first",
    "last",
    "int",
    "float",
    "round",
    "abs",
    "string",
    "title",
    "capitalize",
    "split",
    "lines",
    "indent",
    "list",
    "items",
    "dictsort",
    "sort",
    "unique",
    "reverse",
    "min",
    "max",
    "sum",
    "map",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "groupby",
    "batch",
    "slice",
    "zip",
    "chain",
    "attr",
    "bool",
    "count",
    "d",
];
pub(super) const TESTS: [&str; 23] = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "float",
    "boolean",
    "sequence",
    "iterable",
    "mapping",
    "odd",
    "even",
    "divisibleby",
    "startingwith",
    "endingwith",
    "in",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
];
pub(super) const FUNCTIONS: [&str; 5] = ["var", "source_dataset", "range", "dict", "namespace"];

/// The most parts that a list is cut into, and the widest indentation.
const MAX_COUNT: usize = 10_000;

/// Puts filters, tests and functions in. What minijinja has beyond them is for HTML.
pub(super) fn register(environment: &mut Environment<'_>, language: Language, scales: &Arc<Scales>) {
    let quote = match language {
        Language::Sql { quote } => quote,
        Language::Python | Language::Path => '"',
    };
    environment.add_filter("upper", |value: &Value| text_of(value).map(|text| text.to_uppercase()));
    environment.add_filter("lower", |value: &Value| text_of(value).map(|text| text.to_lowercase()));
    environment.add_filter("sql", |value: &Value| literal(value));
    environment.add_filter("ident", move |value: &Value| identifier(value, quote));
    environment.add_filter("trim", |value: &Value| text_of(value).map(|text| text.trim().to_owned()));
    environment.add_filter("string", |value: &Value| text_of(value));
    // These make more of little: `map` may call them many times before its result is weighed.
    let own = scales.clone();
    environment.add_filter("replace", move |value: &Value, from: &str, to: &str| own.made(replace(value, from, to)?));
    let own = scales.clone();
    environment.add_filter("join", move |value: &Value, rest: Rest<Value>| own.made(join(value, &rest)?));
    let own = scales.clone();
    environment.add_filter("indent", move |value: &Value, width: Option<usize>, first: Option<bool>| {
        own.made(indent(&text_of(value)?, width.unwrap_or(4), first.unwrap_or(false))?)
    });
    environment.add_filter("batch", |state: &State<'_, '_>, value: Value, count: usize, fill: Option<Value>| {
        filters::batch(state, value, few(count)?, fill)
    });
    environment.add_filter("slice", |state: &State<'_, '_>, value: Value, count: usize, fill: Option<Value>| {
        filters::slice(state, value, few(count)?, fill)
    });
    for name in ["default", "d"] {
        environment.add_filter(name, filters::default);
    }
    for name in ["length", "count"] {
        environment.add_filter(name, filters::length);
    }
    environment.add_filter("title", filters::title);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("split", filters::split);
    environment.add_filter("lines", filters::lines);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
    environment.add_filter("round", filters::round);
    environment.add_filter("abs", filters::abs);
    environment.add_filter("bool", filters::bool);
    environment.add_filter("list", filters::list);
    environment.add_filter("items", filters::items);
    environment.add_filter("dictsort", filters::dictsort);
    environment.add_filter("sort", filters::sort);
    environment.add_filter("unique", filters::unique);
    environment.add_filter("reverse", filters::reverse);
    environment.add_filter("min", filters::min);
    environment.add_filter("max", filters::max);
    environment.add_filter("sum", filters::sum);
    environment.add_filter("map", filters::map);
    environment.add_filter("select", filters::select);
    environment.add_filter("reject", filters::reject);
    environment.add_filter("selectattr", filters::selectattr);
    environment.add_filter("rejectattr", filters::rejectattr);
    environment.add_filter("groupby", filters::groupby);
    environment.add_filter("zip", filters::zip);
    environment.add_filter("chain", filters::chain);
    environment.add_filter("attr", filters::attr);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("float", tests::is_float);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("even", tests::is_even);
    environment.add_test("divisibleby", tests::is_divisibleby);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("in", tests::is_in);
    for (names, test) in [
        (["eq", "==", "equalto"], tests::is_eq as fn(&Value, &Value) -> bool),
        (["ne", "!=", "ne"], tests::is_ne),
        (["lt", "<", "lessthan"], tests::is_lt),
        (["le", "<=", "le"], tests::is_le),
        (["gt", ">", "greaterthan"], tests::is_gt),
        (["ge", ">=", "ge"], tests::is_ge),
    ] {
        for name in names {
            environment.add_test(name, test);
        }
    }
    environment.add_function("range", functions::range);
    environment.add_function("dict", functions::dict);
    environment.add_function("namespace", functions::namespace);
}

fn few(count: usize) -> Result<usize, Error> {
    if count > MAX_COUNT { Err(jinja::limit(format!("{count} is too much: at most {MAX_COUNT}"))) } else { Ok(count) }
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
            let text = jinja::text(value)?;
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

fn join(value: &Value, rest: &[Value]) -> Result<String, Error> {
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

/// All lines but the first, or with it, begin with blanks; empty ones stay empty.
fn indent(text: &str, width: usize, first: bool) -> Result<String, Error> {
    let blanks = " ".repeat(few(width)?);
    if text.len().saturating_add(text.lines().count().saturating_mul(width)) > MAX_BYTES {
        return Err(too_long());
    }
    let line = |(index, line): (usize, &str)| {
        let indented = (index > 0 || first) && !line.trim_end().is_empty();
        format!("{}{line}", if indented { blanks.as_str() } else { "" })
    };
    Ok(text.split_inclusive('\n').enumerate().map(line).collect())
}

fn bounded(text: String) -> Result<String, Error> {
    if text.len() > MAX_BYTES { Err(too_long()) } else { Ok(text) }
}
