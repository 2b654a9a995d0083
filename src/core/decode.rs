//! From a TOML table to a typed struct, reporting every problem of the table at once.
//!
//! A struct's JSON schema, derived from the same declaration as its decoding, is what the table is checked against
//! first: serde alone stops at the first mistake. Then serde decodes what is known to fit.
#![expect(clippy::wildcard_enum_match_arm, reason = "errors of any other kind keep their words")]

use std::{borrow::Cow, ops::Deref};

use schemars::{JsonSchema, Schema as JsonSchemaDocument, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    problem::{Problem, Problems, Span},
    suggest,
};

/// A value and where it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sp<T> {
    pub value: T,
    pub span: Span,
}

impl<T> Deref for Sp<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sp<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span().into();
        Ok(Self { value: spanned.into_inner(), span })
    }
}

impl<T: JsonSchema> JsonSchema for Sp<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> JsonSchemaDocument {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }

    // A missing `Option<Sp<_>>` is a missing `Option<_>`.
    fn _schemars_private_is_option() -> bool {
        T::_schemars_private_is_option()
    }
}

/// A TOML scalar, where a value's type depends on a column's.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Text(text) => f.write_str(text),
            Scalar::Int(value) => write!(f, "{value}"),
            Scalar::Float(value) => write!(f, "{value}"),
            Scalar::Bool(value) => write!(f, "{value}"),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text, a number or a boolean")
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Int(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar::Float(value))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> JsonSchemaDocument {
        schemars::json_schema!({ "type": ["string", "integer", "number", "boolean"] })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// The JSON schema of a declaration, complete in itself.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The TOML of a text; every syntax error is a problem.
pub fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems = Problems::default();
    for error in errors {
        let span = error.span().map_or(Span::default(), Span::from);
        let message = error.message().lines().next().unwrap_or("invalid TOML").to_owned();
        problems.push(Problem::new("qetl::parse::syntax", span, message).label("not valid TOML here"));
    }
    problems.or(table)
}

/// Decodes a table that [`validate`] found nothing wrong with; what only serde can see is a problem here.
pub fn decode<T: DeserializeOwned>(value: Spanned<DeValue<'_>>) -> Result<T, Problems> {
    let whole = value.span();
    T::deserialize(toml::de::ValueDeserializer::from(value)).map_err(|error| {
        let span = error.span().unwrap_or(whole).into();
        Problem::new("qetl::decode::value", span, error.message().trim_end().to_owned()).into()
    })
}

/// Takes away the keys that problems lie in, so that what is left can be decoded and looked at too. A list with one
/// wrong item goes as a whole.
pub fn prune(table: &mut DeTable<'_>, problems: &Problems) {
    let lies_in =
        |span: Span| problems.0.iter().any(|problem| !problem.warning && span.start <= problem.span.start && problem.span.end <= span.end);
    let is_wrong = |span: Span| problems.0.iter().any(|problem| problem.code == "qetl::decode::type" && problem.span == span);
    let keys: Vec<_> = table.iter().map(|(key, _)| key.clone()).collect();
    for key in keys {
        let Some(value) = table.get_mut(&key) else { continue };
        let span = Span::from(value.span());
        match value.get_mut() {
            // The span of a table is that of its header alone.
            DeValue::Table(inner) if !lies_in(key.span().into()) => prune(inner, problems),
            // `[[tables]]`, unless they should have been something else. Their span is that of the first header.
            DeValue::Array(items) if !is_wrong(span) && items.iter().next().is_some_and(|item| Span::from(item.span()) == span) => {
                for item in items.iter_mut() {
                    if let DeValue::Table(inner) = item.get_mut() {
                        prune(inner, problems);
                    }
                }
            }
            _ if lies_in(key.span().into()) || lies_in(span) => {
                table.remove(&key);
            }
            _ => (),
        }
    }
}

/// Gives keys and words that are matched in any case (`x-any-case`) the spelling that the schema has.
pub fn spell(value: &mut Spanned<DeValue<'_>>, schema: &Value, problems: &mut Problems) {
    let (DeValue::Table(table), Some(properties)) = (value.get_mut(), schema.get("properties").and_then(Value::as_object)) else { return };
    for (name, property) in properties {
        if property.get("x-any-case").is_none() {
            if let Some((_, inner)) = table.iter_mut().find(|(key, _)| key.get_ref().as_ref() == name) {
                spell(inner, property, problems);
            }
            continue;
        }
        let mut written: Vec<_> = table.keys().filter(|key| key.get_ref().eq_ignore_ascii_case(name)).cloned().collect();
        written.sort_by_key(|key| key.span().start);
        for (index, key) in written.iter().enumerate() {
            let Some(mut value) = table.remove(key) else { continue };
            if index > 0 {
                let what = format!("`{}` is `{name}` once more", key.get_ref());
                problems.push(Problem::new("qetl::decode::duplicate_key", key.span().into(), what).label("its case does not count"));
                continue;
            }
            let words = words_of(property);
            if let DeValue::String(text) = value.get_mut()
                && let Some(word) = words.into_iter().find(|word| word.eq_ignore_ascii_case(text))
            {
                *text = Cow::Owned(word);
            }
            table.insert(Spanned::new(key.span(), Cow::Owned(name.clone())), value);
        }
    }
}

/// Every way in which `value` differs from `schema`. `path` is what the reader calls the value, such as `[input]`.
pub fn validate(path: &str, value: &Spanned<DeValue<'_>>, schema: &Value, problems: &mut Problems) {
    let span = Span::from(value.span());
    let words = words_of(schema);
    if !words.is_empty() {
        return validate_word(path, value, &words, problems);
    }
    let alternatives = alternatives(schema);
    if !alternatives.is_empty() {
        if let DeValue::String(text) = value.get_ref()
            && let Some(words) = words_beside_a_list(&alternatives).filter(|words| !words.iter().any(|word| word == text.as_ref()))
        {
            let help = format!("known: {}; or a list, such as `[\"{text}\"]`", words.join(", "));
            problems.push(
                Problem::new("qetl::decode::value", span, format!("`{text}` is not a value of {path}")).label("unknown value").help(help),
            );
            return;
        }
        return match alternatives.iter().find(|option| fits(type_names(option), value.get_ref())) {
            Some(option) => validate(path, value, option, problems),
            None => problems.push(wrong_type(path, value, alternatives.iter().flat_map(|o| type_names(o)).collect())),
        };
    }
    let types = type_names(schema);
    if !types.is_empty() && !fits(types.clone(), value.get_ref()) {
        problems.push(wrong_type(path, value, types));
        return;
    }
    match value.get_ref() {
        DeValue::Table(table) => validate_table(path, span, table, schema, problems),
        DeValue::Array(array) => {
            if let Some(least) = schema.get("minItems").and_then(Value::as_u64)
                && (array.len() as u64) < least
            {
                problems.push(Problem::new("qetl::decode::range", span, format!("{path} is empty")));
            }
            if let Some(items) = schema.get("items") {
                array.iter().for_each(|item| validate(path, item, items, problems));
            }
        }
        DeValue::Integer(number) => validate_range(path, span, number.as_str(), schema, problems),
        DeValue::Float(number) => validate_range(path, span, number.as_str(), schema, problems),
        DeValue::String(text) => {
            if text.is_empty() && schema.get("minLength").is_some() {
                problems.push(Problem::new("qetl::decode::range", span, format!("{path} is empty")));
            }
        }
        DeValue::Boolean(_) | DeValue::Datetime(_) => (),
    }
}

fn validate_table(path: &str, span: Span, table: &DeTable<'_>, schema: &Value, problems: &mut Problems) {
    let no_properties = serde_json::Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&no_properties);
    let aliases = |property: &Value| -> Vec<String> {
        let names = property.get("x-aliases").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let open = schema.get("additionalProperties") != Some(&Value::Bool(false));
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        let known =
            properties.get(name).or_else(|| properties.values().find(|property| aliases(property).iter().any(|alias| alias == name)));
        let inner = if path.is_empty() { format!("`{name}`") } else { format!("`{name}` of {path}") };
        match known {
            Some(property) => validate(&inner, value, property, problems),
            None if open => {
                if let Some(any) = schema.get("additionalProperties").filter(|any| any.is_object()) {
                    validate(&inner, value, any, problems);
                }
            }
            None => {
                let place = if path.is_empty() { "a flow file" } else { path };
                problems.push(
                    Problem::new("qetl::decode::unknown_key", key.span().into(), format!("`{name}` is not a key of {place}"))
                        .label("unknown key")
                        .help(suggest::help(name, properties.keys().map(String::as_str))),
                );
            }
        }
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let also = properties.get(name).map(aliases).unwrap_or_default();
        if !table.iter().any(|(key, _)| key.get_ref().as_ref() == name || also.iter().any(|a| a == key.get_ref().as_ref())) {
            let place = if path.is_empty() { "the flow file" } else { path };
            problems.push(
                Problem::new("qetl::decode::missing_key", span, format!("{place} has no `{name}`"))
                    .label(format!("`{name}` is missing"))
                    .help(properties.get(name).map_or_else(String::new, |property| missing_help(name, property))),
            );
        }
    }
}

/// What a key that is missing is for; of a table, which keys it has.
fn missing_help(name: &str, property: &Value) -> String {
    if let Some(keys) = property.get("properties").and_then(Value::as_object) {
        let needed: Vec<&str> =
            property.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let keys = if needed.is_empty() { keys.keys().map(String::as_str).take(3).collect() } else { needed };
        return format!("add a table `[{name}]` with {}", keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "));
    }
    let what = property.get("description").and_then(Value::as_str).unwrap_or_default();
    let paragraph = what.split("\n\n").next().unwrap_or_default().lines().collect::<Vec<_>>().join(" ");
    if paragraph.is_empty() { paragraph } else { format!("`{name}`: {paragraph}") }
}

/// Unknown keys of one table that another table of the file has: their help says where they belong.
pub fn place_unknown_keys(schema: &Value, problems: &mut Problems) {
    let mut tables: Vec<(String, &Value)> = vec![("the top of the file".to_owned(), schema)];
    let mut next = 0;
    while let Some((path, table)) = tables.get(next).cloned() {
        next += 1;
        for (name, inner) in table.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if let Some(inner) = table_of(inner) {
                let inner_path = if next == 1 { format!("`[{name}]`") } else { format!("{}.{name}]`", path.trim_end_matches("]`")) };
                tables.push((inner_path, inner));
            }
        }
    }
    for problem in problems.0.iter_mut().filter(|problem| problem.code == "qetl::decode::unknown_key") {
        let Some(name) = problem.message.split('`').nth(1) else { continue };
        let owner = tables.iter().find(|(_, table)| table.get("properties").is_some_and(|keys| keys.get(name).is_some()));
        if let Some((path, _)) = owner {
            problem.help = format!("`{name}` belongs in {path}");
        }
    }
}

/// The schema of a table, also of one that may be missing.
fn table_of(schema: &Value) -> Option<&Value> {
    let options = std::iter::once(schema).chain(alternatives(schema));
    options.into_iter().find(|option| option.get("properties").is_some())
}

/// What the schema may be one of, null aside.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let options = ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    let options = options.filter(|option| option.get("type") != Some(&Value::from("null")));
    options.flat_map(|option| if option.get("anyOf").is_some() { alternatives(option) } else { vec![option] }).collect()
}

/// The words of a closed list, when that is what the schema says.
fn words_of(schema: &Value) -> Vec<String> {
    let list = |value: &Value| -> Vec<String> {
        let words = value.get("enum").and_then(Value::as_array).into_iter().flatten();
        words.chain(value.get("const")).filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let own = list(schema);
    if !own.is_empty() {
        return own;
    }
    let lists: Vec<Vec<String>> = alternatives(schema).into_iter().map(list).collect();
    // A word beside something else, such as a list, is one way among others to write the value.
    if lists.iter().any(Vec::is_empty) { Vec::new() } else { lists.concat() }
}

/// The words that may stand in place of a list.
fn words_beside_a_list(alternatives: &[&Value]) -> Option<Vec<String>> {
    let has_list = alternatives.iter().any(|option| type_names(option) == ["array"]);
    let words: Vec<String> = alternatives.iter().flat_map(|option| words_of(option)).collect();
    (has_list && !words.is_empty()).then_some(words)
}

fn validate_word(path: &str, value: &Spanned<DeValue<'_>>, words: &[String], problems: &mut Problems) {
    let DeValue::String(text) = value.get_ref() else {
        problems.push(wrong_type(path, value, vec!["string"]));
        return;
    };
    if !words.iter().any(|word| word == text.as_ref()) {
        problems.push(
            Problem::new("qetl::decode::value", value.span().into(), format!("`{text}` is not a value of {path}"))
                .label("unknown value")
                .help(suggest::help(text, words.iter().map(String::as_str))),
        );
    }
}

fn validate_range(path: &str, span: Span, number: &str, schema: &Value, problems: &mut Problems) {
    // A number in another base than ten is an integer that serde reads.
    let Ok(number) = number.replace('_', "").parse::<f64>() else { return };
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let wrong = if number.is_nan() {
        "a number".to_owned()
    } else if let Some(least) = bound("minimum").filter(|least| number < *least) {
        format!("at least {least}")
    } else if let Some(least) = bound("exclusiveMinimum").filter(|least| number <= *least) {
        format!("greater than {least}")
    } else if let Some(most) = bound("maximum").filter(|most| number > *most) {
        format!("at most {most}")
    } else {
        return;
    };
    problems.push(Problem::new("qetl::decode::range", span, format!("{path} is out of range")).label(format!("must be {wrong}")));
}

fn type_names(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => Vec::new(),
    }
}

fn fits(types: Vec<&str>, value: &DeValue<'_>) -> bool {
    types.is_empty()
        || types.iter().any(|ty| {
            matches!(
                (*ty, value),
                ("string", DeValue::String(_))
                    | ("integer", DeValue::Integer(_))
                    | ("number", DeValue::Integer(_) | DeValue::Float(_))
                    | ("boolean", DeValue::Boolean(_))
                    | ("array", DeValue::Array(_))
                    | ("object", DeValue::Table(_))
            )
        })
}

fn wrong_type(path: &str, value: &Spanned<DeValue<'_>>, types: Vec<&str>) -> Problem {
    let say = |ty: &str| match ty {
        "string" => "text in quotes",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        _ => "something else",
    };
    let mut expected: Vec<&str> = types.into_iter().map(say).collect();
    expected.dedup();
    let is = match value.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let help = match value.get_ref() {
        DeValue::String(text) if expected == ["a list"] => format!("write `[{}]`", Value::from(text.as_ref())),
        _ => String::new(),
    };
    Problem::new("qetl::decode::type", value.span().into(), format!("{path} cannot be {is}"))
        .label(format!("expected {}", expected.join(" or ")))
        .help(help)
}
