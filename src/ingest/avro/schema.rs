//! The schema of an Avro file, made ready for the reader.

use std::collections::BTreeMap;

use serde_json::Value;

/// How many types a schema may have when the named ones stand in each place where they are used.
const TYPE_LIMIT: usize = 20_000;

/// The schema without what would change its values, or the words for what is wrong with it.
pub(super) fn prepared(text: &str) -> Result<String, String> {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| format!("its schema is malformed: {error}"))?;
    if schema.get("type").and_then(Value::as_str) != Some("record") {
        return Err("its rows are not records".to_owned());
    }
    if schema.get("fields").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err("its rows have no columns".to_owned());
    }
    Named::default().size(&schema, "").map_err(str::to_owned)?;
    keep_uuids(&mut schema);
    Ok(schema.to_string())
}

/// UUIDs that are text stay the text that they are.
fn keep_uuids(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("type").is_some_and(|ty| ty == "string") && object.get("logicalType").is_some_and(|ty| ty == "uuid") {
                object.remove("logicalType");
            }
            object.values_mut().for_each(keep_uuids);
        }
        Value::Array(values) => values.iter_mut().for_each(keep_uuids),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The sizes of the named types seen so far; `None` while a type is being measured.
#[derive(Default)]
struct Named(BTreeMap<String, Option<usize>>);

impl Named {
    /// How many types a type consists of. The reader writes named types out wherever they are used, which has no end for
    /// one that holds itself, and a very late one for some others.
    fn size(&mut self, schema: &Value, namespace: &str) -> Result<usize, &'static str> {
        let size = match schema {
            Value::String(name) => match self.0.get(&full(name, namespace)) {
                Some(Some(size)) => *size,
                Some(None) => return Err("a type in its schema holds itself, which qetl does not read"),
                None => 1,
            },
            Value::Array(types) => self.sum(types.iter(), namespace)?,
            Value::Object(object) => {
                let name = object.get("name").and_then(Value::as_str);
                let own = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
                match (object.get("type"), name) {
                    (Some(Value::String(ty)), Some(name)) if matches!(ty.as_str(), "record" | "error" | "enum" | "fixed") => {
                        let name = full(name, own);
                        self.0.insert(name.clone(), None);
                        let inner = name.rsplit_once('.').map_or("", |(inner, _)| inner);
                        let fields = object.get("fields").and_then(Value::as_array);
                        let size = self.sum(fields.into_iter().flatten().filter_map(|field| field.get("type")), inner)?;
                        self.0.insert(name, Some(size));
                        size
                    }
                    (Some(ty), _) => {
                        let parts = [Some(ty), object.get("items"), object.get("values")];
                        self.sum(parts.into_iter().flatten(), namespace)?
                    }
                    (None, _) => 1,
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        };
        if size > TYPE_LIMIT { Err("its schema has too many types") } else { Ok(size) }
    }

    fn sum<'a>(&mut self, parts: impl Iterator<Item = &'a Value>, namespace: &str) -> Result<usize, &'static str> {
        let mut sum = 1;
        for part in parts {
            sum += self.size(part, namespace)?;
            if sum > TYPE_LIMIT {
                break;
            }
        }
        Ok(sum)
    }
}

/// A name with its namespace.
fn full(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_has_no_end() {
        let check = |fields: &str, expected: &str| {
            let text = format!(r#"{{"type":"record","name":"n.r","fields":[{fields}]}}"#);
            assert_eq!(prepared(&text).map(|_| String::new()).unwrap_or_else(|why| why), expected, "{fields}");
        };
        check(r#"{"name":"a","type":["null","long"]},{"name":"b","type":{"type":"array","items":"string"}}"#, "");
        let itself = "a type in its schema holds itself, which qetl does not read";
        check(r#"{"name":"a","type":["null","r"]}"#, itself);
        check(r#"{"name":"a","type":{"type":"map","values":"n.r"}}"#, itself);
        let mut doubled = r#"{"name":"f0","type":{"type":"record","name":"r0","fields":[{"name":"x","type":"int"}]}}"#.to_owned();
        for n in 1..40 {
            let m = n - 1;
            doubled += &format!(
                r#",{{"name":"f{n}","type":{{"type":"record","name":"r{n}","fields":[{{"name":"x","type":"r{m}"}},{{"name":"y","type":"r{m}"}}]}}}}"#
            );
        }
        check(&doubled, "its schema has too many types");
        assert_eq!(prepared("\"int\""), Err("its rows are not records".to_owned()));
        assert!(prepared("{").is_err_and(|why| why.starts_with("its schema is malformed: ")));
    }

    #[test]
    fn uuids_stay_text() {
        let text = r#"{"type":"record","name":"r","fields":[{"name":"a","type":["null",{"type":"string","logicalType":"uuid"}]}]}"#;
        let expected = r#"{"type":"record","name":"r","fields":[{"name":"a","type":["null",{"type":"string"}]}]}"#;
        assert_eq!(prepared(text), Ok(expected.to_owned()));
    }
}
