//! Values that templates use: `[variables]`, `[tasks.variables]` and `--var NAME=VALUE`.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema as JsonSchemaDocument, SchemaGenerator};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess},
};

use serde_json::Value;

use super::template::BUILT_IN;
use crate::{
    decode::{Scalar, Sp},
    problem::{Problem, Problems},
};

/// The value of a variable.
#[derive(Debug, Clone, PartialEq)]
pub enum Variable {
    /// Only `--var` can say it: TOML has no null.
    Null,
    One(Scalar),
    List(Vec<Scalar>),
}

impl Variable {
    /// As JSON data, to be recorded.
    pub fn to_json(&self) -> Value {
        let one = |scalar: &Scalar| match scalar {
            Scalar::Text(text) => Value::from(text.as_str()),
            Scalar::Int(number) => Value::from(*number),
            Scalar::Float(number) => Value::from(*number),
            Scalar::Bool(value) => Value::from(*value),
        };
        match self {
            Variable::Null => Value::Null,
            Variable::One(scalar) => one(scalar),
            Variable::List(list) => list.iter().map(one).collect(),
        }
    }

    /// What [`Variable::to_json`] wrote.
    pub fn of_json(value: &Value) -> Self {
        let one = |value: &Value| match value {
            Value::Bool(value) => Scalar::Bool(*value),
            Value::Number(number) => {
                number.as_i64().map(Scalar::Int).or(number.as_f64().map(Scalar::Float)).unwrap_or_else(|| Scalar::Text(number.to_string()))
            }
            Value::String(text) => Scalar::Text(text.clone()),
            Value::Null | Value::Array(_) | Value::Object(_) => Scalar::Text(value.to_string()),
        };
        match value {
            Value::Null => Variable::Null,
            Value::Array(list) => Variable::List(list.iter().map(one).collect()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Variable::One(one(value)),
        }
    }
}

/// The variables of a table, in the order of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Variables(pub Vec<(Sp<String>, Sp<Variable>)>);

impl Variables {
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.0.iter().find(|(own, _)| own.value == name).map(|(_, value)| &value.value)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.value.as_str())
    }

    /// Names that no template could use, numbers that a template would change.
    pub(super) fn problems(&self, table: &str, task_keys: &[&str]) -> Problems {
        let mut problems = Problems::default();
        for (name, value) in &self.0 {
            if let Some(why) = refuse_name(name) {
                let what = format!("`{}` cannot be a variable of {table}", name.value);
                problems.push(Problem::new("qetl::decode::variable_name", name.span, what).label(why));
            } else if task_keys.contains(&name.as_str()) {
                let what = format!("`{}` is a key of the task, not a variable", name.value);
                let help = format!("put it above {table}: what stands under that line belongs to the table");
                problems.push(Problem::new("qetl::decode::key_in_table", name.span, what).label("in the wrong table").help(help));
            }
            let scalars = match &value.value {
                Variable::Null => &[][..],
                Variable::One(scalar) => std::slice::from_ref(scalar),
                Variable::List(list) => list,
            };
            if scalars.iter().any(|scalar| matches!(scalar, Scalar::Float(number) if !number.is_finite())) {
                let what = format!("variable `{}` is not a finite number", name.value);
                problems.push(Problem::new("qetl::decode::range", value.span, what));
            }
        }
        problems
    }
}

/// Why a name cannot be a variable's, if it cannot. One that is no name in templates is found by `var("…")`.
fn refuse_name(name: &str) -> Option<&'static str> {
    if BUILT_IN.contains(&name) {
        Some("templates have a value of that name already")
    } else if name.is_empty() || name.len() > 63 || name.chars().any(|char| char.is_control() || char == '=') {
        Some("at least one character, at most 63 bytes, no `=`, no control characters")
    } else {
        None
    }
}

/// `NAME=VALUE` of `--var`: an integer without leading zero, a decimal, `true`, `false`, `null`, else text. The error is a
/// message without place.
pub fn parse_var(text: &str) -> Result<(String, Variable), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    if let Some(why) = refuse_name(name) {
        return Err(format!("`{name}` cannot be a variable: {why}"));
    }
    let one = |scalar| Ok((name.to_owned(), Variable::One(scalar)));
    match value {
        "true" => return one(Scalar::Bool(true)),
        "false" => return one(Scalar::Bool(false)),
        "null" => return Ok((name.to_owned(), Variable::Null)),
        _ => (),
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || (whole.len() > 1 && whole.starts_with('0')) || fraction.is_some_and(|fraction| !is_number(fraction)) {
        return one(Scalar::Text(value.to_owned()));
    }
    match fraction {
        // An integer past 64 bits keeps its digits as text.
        None => one(value.parse().map_or_else(|_| Scalar::Text(value.to_owned()), Scalar::Int)),
        Some(fraction) => {
            let significant = format!("{whole}{}", fraction.trim_end_matches('0'));
            if significant.trim_start_matches('0').len() > 15 {
                return Err(format!("`{name}`: a decimal of more than 15 digits would be rounded"));
            }
            value.parse().map_or_else(|_| one(Scalar::Text(value.to_owned())), |number| one(Scalar::Float(number)))
        }
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Variable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, a boolean or a list of them")
            }

            fn visit_str<E>(self, value: &str) -> Result<Variable, E> {
                Ok(Variable::One(Scalar::Text(value.to_owned())))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Variable, E> {
                Ok(Variable::One(Scalar::Int(value)))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Variable, E> {
                Ok(Variable::One(Scalar::Float(value)))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Variable, E> {
                Ok(Variable::One(Scalar::Bool(value)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Variable, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Variable::List(list))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Variable {
    fn schema_name() -> Cow<'static, str> {
        "Variable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> JsonSchemaDocument {
        let scalar = ["string", "integer", "number", "boolean"];
        schemars::json_schema!({
            "type": ["string", "integer", "number", "boolean", "array"],
            "items": { "type": scalar },
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Variables;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of variables")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Variables, A::Error> {
                let mut variables = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    variables.push(entry);
                }
                variables.sort_by_key(|(name, _): &(Sp<String>, Sp<Variable>)| name.span);
                Ok(Variables(variables))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl JsonSchema for Variables {
    fn schema_name() -> Cow<'static, str> {
        "Variables".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> JsonSchemaDocument {
        schemars::json_schema!({ "type": "object", "additionalProperties": Variable::json_schema(generator) })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_command_line_are_typed() {
        let text = |text: &str| Variable::One(Scalar::Text(text.to_owned()));
        for (given, expected) in [
            ("7", Variable::One(Scalar::Int(7))),
            ("-7", Variable::One(Scalar::Int(-7))),
            ("0", Variable::One(Scalar::Int(0))),
            ("007", text("007")),
            ("0.50", Variable::One(Scalar::Float(0.5))),
            ("-1.25", Variable::One(Scalar::Float(-1.25))),
            ("00.5", text("00.5")),
            (".5", text(".5")),
            ("1.", text("1.")),
            ("1.2.3", text("1.2.3")),
            ("1e3", text("1e3")),
            ("+1", text("+1")),
            ("1_000", text("1_000")),
            ("123456789012345678901", text("123456789012345678901")),
            ("true", Variable::One(Scalar::Bool(true))),
            ("True", text("True")),
            ("null", Variable::Null),
            ("", text("")),
            ("a=b", text("a=b")),
            ("2024-01-01", text("2024-01-01")),
        ] {
            assert_eq!(parse_var(&format!("x={given}")), Ok(("x".to_owned(), expected)), "{given}");
        }
        for wrong in ["x", "=1", "ds=2024-01-01", "a\nb=1", "x=0.1234567890123456789"] {
            assert!(parse_var(wrong).is_err(), "{wrong}");
        }
    }
}
