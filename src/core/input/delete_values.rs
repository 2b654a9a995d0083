//! `delete_values`: a list of values, or a word.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema as JsonSchemaDocument, SchemaGenerator};
use serde::{Deserialize, Deserializer, de};

use crate::decode::{Scalar, Sp};

/// The values of `delete_column` that mark a deletion.
#[derive(Debug, Clone, PartialEq)]
pub enum DeleteValues {
    /// These.
    Listed(Vec<Sp<Scalar>>),
    /// All but NULL, as a time of deletion that is set.
    NotNull,
}

/// The only text that may stand in place of the list.
const NOT_NULL: &str = "not_null";

impl<'de> Deserialize<'de> for DeleteValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = DeleteValues;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a list of values, or \"{NOT_NULL}\"")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<DeleteValues, E> {
                if word == NOT_NULL { Ok(DeleteValues::NotNull) } else { Err(E::invalid_value(de::Unexpected::Str(word), &self)) }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<DeleteValues, A::Error> {
                Ok(DeleteValues::Listed(Vec::deserialize(de::value::SeqAccessDeserializer::new(list))?))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for DeleteValues {
    fn schema_name() -> Cow<'static, str> {
        "DeleteValues".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> JsonSchemaDocument {
        let list = Vec::<Sp<Scalar>>::json_schema(generator);
        let mut list = list.to_value();
        list["minItems"] = 1.into();
        schemars::json_schema!({ "anyOf": [{ "type": "string", "const": NOT_NULL }, list] })
    }

    fn inline_schema() -> bool {
        true
    }
}
