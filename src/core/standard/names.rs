//! Dataset names, as flow files and SQL write them.

use crate::{
    decode::Sp,
    plan::DatasetName,
    problem::{Problem, Problems},
    schema::is_identifier,
};

/// A dataset that a flow reads: `name` in the flow's own namespace, or `namespace.name`.
pub(crate) fn source(text: &Sp<String>, namespace: &str, problems: &mut Problems) -> Option<DatasetName> {
    let (namespace, name) = text.split_once('.').unwrap_or((namespace, text));
    if is_identifier(namespace) && is_identifier(name) {
        return Some(DatasetName { namespace: namespace.to_owned(), name: name.to_owned() });
    }
    let problem = Problem::new("qetl::decode::name", text.span, format!("`{}` cannot be a dataset", text.value)).label("not a dataset");
    problems.push(problem.help("`name`, or `namespace.name`: a letter, then letters, digits and `_`; at most 63"));
    None
}

/// The dataset that a task makes.
pub(super) fn target(text: &Sp<String>, namespace: &str, problems: &mut Problems) -> DatasetName {
    if !is_identifier(text) {
        let problem = Problem::new("qetl::decode::name", text.span, format!("`{}` cannot be a dataset", text.value)).label("not a name");
        problems.push(problem.help("a letter, then letters, digits and `_`; at most 63. The flow's `namespace` says where it stands"));
    }
    DatasetName { namespace: namespace.to_owned(), name: text.value.clone() }
}

/// Whether two names are one dataset: case does not count.
pub fn same(left: &DatasetName, right: &DatasetName) -> bool {
    left.namespace.eq_ignore_ascii_case(&right.namespace) && left.name.eq_ignore_ascii_case(&right.name)
}

/// The name as SQL text, its parts written by `part`; the schema `main` is left out.
pub(super) fn sql(name: &DatasetName, part: impl Fn(&str) -> String) -> String {
    if name.namespace == "main" { part(&name.name) } else { format!("{}.{}", part(&name.namespace), part(&name.name)) }
}

/// A name in quotes.
pub(super) fn quoted(name: &str, quote: char) -> String {
    let doubled: String = [quote, quote].iter().collect();
    format!("{quote}{}{quote}", name.replace(quote, &doubled))
}

/// Whether the name would mean something else without quotes, in one dialect at least: it has capitals, or is a word of SQL.
pub(super) fn needs_quotes(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_uppercase()) || WORDS.binary_search(&name).is_ok()
}

/// Words that SQL dialects reserve, in alphabetical order.
const WORDS: [&str; 119] = [
    "all",
    "alter",
    "analyze",
    "and",
    "anti",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "at",
    "begin",
    "between",
    "both",
    "by",
    "case",
    "cast",
    "check",
    "cluster",
    "collate",
    "column",
    "commit",
    "constraint",
    "create",
    "cross",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "delete",
    "desc",
    "describe",
    "distinct",
    "do",
    "drop",
    "else",
    "end",
    "end_exec",
    "escape",
    "except",
    "exists",
    "explain",
    "false",
    "fetch",
    "filter",
    "following",
    "for",
    "foreign",
    "from",
    "full",
    "grant",
    "group",
    "groups",
    "having",
    "if",
    "in",
    "index",
    "initially",
    "inner",
    "insert",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "key",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "match",
    "minus",
    "natural",
    "not",
    "null",
    "of",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "partition",
    "primary",
    "qualify",
    "range",
    "references",
    "right",
    "rollback",
    "row",
    "rows",
    "select",
    "semi",
    "session_user",
    "set",
    "some",
    "table",
    "then",
    "to",
    "top",
    "trailing",
    "transaction",
    "true",
    "union",
    "unique",
    "update",
    "user",
    "using",
    "values",
    "view",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_and_found() {
        assert!(WORDS.is_sorted());
        for (name, quotes) in [("orders", false), ("order", true), ("Orders", true), ("user", true), ("users", false), ("with", true)] {
            assert_eq!(needs_quotes(name), quotes, "{name}");
        }
    }
}
