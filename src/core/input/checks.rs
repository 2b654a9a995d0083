//! What is wrong with `[input]` as a whole.

use std::collections::BTreeSet;

use crate::{
    decode::{Scalar, Sp},
    input::{BatchMode, DeleteValues, Input},
    problem::{Problem, Problems},
    schema::{TYPE_NAMES, Type, meant, refuse_column_name},
    suggest,
};

impl Input {
    /// What is wrong with the table as a whole.
    pub(crate) fn problems(&self) -> Problems {
        let mut problems = Problems::default();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for column in &self.columns {
            let name = &column.name;
            if let Some(why) = refuse_column_name(name) {
                problems
                    .push(Problem::new("qetl::decode::column_name", name.span, format!("`{}` cannot be a column", name.value)).label(why));
            }
            if !seen.insert(name.to_lowercase()) {
                problems.push(
                    Problem::new("qetl::decode::duplicate_column", name.span, format!("column `{}` stands twice", name.value))
                        .label("here again")
                        .help("names that differ only in case are equal: engines find names whatever their case"),
                );
            }
            if let Some(ty) = &column.schema_type
                && ty.value != "auto"
                && let Err(error) = ty.parse::<Type>()
            {
                let known = || suggest::help(ty, TYPE_NAMES.into_iter().chain(["auto"]));
                let help = meant(ty).map_or_else(known, |meant| format!("did you mean `{meant}`?"));
                problems.push(Problem::new("qetl::decode::column_type", ty.span, error.to_string()).label("not a type").help(help));
            }
        }
        self.check_sources(&mut problems);
        let mut keys = BTreeSet::new();
        for key in &self.primary_key {
            self.check_column(key, "primary_key", &mut problems);
            if !keys.insert(key.value.as_str()) {
                problems.push(Problem::new(
                    "qetl::decode::duplicate_key_column",
                    key.span,
                    format!("`{}` stands twice in `primary_key`", key.value),
                ));
            }
        }
        self.check_deletions(&mut problems);
        self.check_sequence(&mut problems);
        self.check_snapshot_of(&mut problems);
        if self.batch_mode == BatchMode::Delta
            && let Some(allow) = &self.allow_empty_snapshot
        {
            problems.push(
                Problem::new("qetl::decode::inert_key", allow.span, "`allow_empty_snapshot` does nothing with `batch_mode = \"delta\"`")
                    .help("an empty delta batch is always fine; remove the key"),
            );
        }
        problems
    }

    /// What is wrong with where columns come from.
    fn check_sources(&self, problems: &mut Problems) {
        let mut sources: BTreeSet<&str> = BTreeSet::new();
        for column in &self.columns {
            // Equal names are told of by themselves.
            let renames = || column.from.is_some() || self.columns.iter().any(|other| other.from.as_deref() == Some(&column.name.value));
            if !sources.insert(column.source_name()) && renames() {
                let at = column.from.as_ref().unwrap_or(&column.name);
                let what = format!("two columns are read from `{}`", at.value);
                problems.push(Problem::new("qetl::decode::duplicate_column", at.span, what).help("each column of the source is read once"));
            }
            if let (Some(optional), true) = (&column.optional, column.required && column.is_optional()) {
                let what = format!("`{}` is both `required` and `optional`", column.name.value);
                let help = "without the column there is only NULL, which `required` refuses: choose one";
                problems.push(Problem::new("qetl::decode::optional", optional.span, what).help(help));
            }
        }
        self.refuse_optional(&self.key_names(), "part of `primary_key`", problems);
        let sequence: Vec<String> = self.sequence_columns.iter().map(|column| column.value.clone()).collect();
        self.refuse_optional(&sequence, "one of `sequence_columns`", problems);
    }

    /// Reports columns that may not be missing, since they say whose a row is or when.
    pub fn refuse_optional(&self, columns: &[String], what: &str, problems: &mut Problems) {
        for column in self.columns.iter().filter(|column| column.is_optional() && columns.contains(&column.name)) {
            let Some(optional) = &column.optional else { continue };
            let message = format!("`{}` is {what}, so it cannot be `optional`", column.name.value);
            problems.push(Problem::new("qetl::decode::optional", optional.span, message).help("take `optional` out"));
        }
    }

    fn check_deletions(&self, problems: &mut Problems) {
        match (&self.delete_column, &self.delete_values) {
            (Some(column), values) => {
                self.check_column(column, "delete_column", problems);
                if self.is_key(column) {
                    problems.push(Problem::new("qetl::decode::delete_column", column.span, "a key column cannot mark deletions"));
                }
                if values.is_none() {
                    let help =
                        "name the values that mean deletion, such as `delete_values = [\"D\"]`; with `\"not_null\"` every value does";
                    let what = "`delete_column` needs `delete_values`";
                    problems.push(Problem::new("qetl::decode::missing_delete_values", column.span, what).help(help));
                }
                if let Some(DeleteValues::Listed(values)) = values.as_ref().map(|values| &values.value) {
                    problems.0.extend(values.iter().filter_map(meant_not_null));
                }
            }
            (None, Some(values)) => problems.push(
                Problem::new("qetl::decode::delete_values", values.span, "`delete_values` does nothing without `delete_column`")
                    .help("name the column that holds them with `delete_column`"),
            ),
            (None, None) => (),
        }
    }

    fn check_sequence(&self, problems: &mut Problems) {
        for (index, column) in self.sequence_columns.iter().enumerate() {
            self.check_column(column, "sequence_columns", problems);
            let mut refuse = |what: String, help: &str| {
                problems.push(Problem::new("qetl::decode::sequence_columns", column.span, what).help(help));
            };
            let (name, take_out) = (&column.value, "take it out of `sequence_columns`");
            if self.sequence_columns[..index].iter().any(|other| other.value == *name) {
                refuse(format!("`{name}` stands twice in `sequence_columns`"), "name it once");
            }
            if self.is_key(column) {
                refuse(format!("`{name}` is a key column: all rows of a key are equal in it"), take_out);
            }
            if self.delete_column.as_ref().is_some_and(|delete| delete.value == *name) {
                refuse(format!("`{name}` marks deletions: it cannot say which row is the newest"), take_out);
            }
            let declared = self.columns.iter().find(|other| other.name.value == *name).and_then(|column| column.declared());
            if let Some(ty) = declared.filter(|ty| !ty.is_sequence()) {
                refuse(format!("`{name}` is a {ty}, which says no order"), SEQUENCE_TYPES);
            }
        }
    }

    fn check_snapshot_of(&self, problems: &mut Problems) {
        for (index, column) in self.snapshot_of.iter().enumerate() {
            self.check_column(column, "snapshot_of", problems);
            let mut refuse = |what: String, help: &str| {
                problems.push(Problem::new("qetl::decode::snapshot_of", column.span, what).help(help));
            };
            if self.snapshot_of[..index].iter().any(|other| other.value == column.value) {
                refuse(format!("`{}` stands twice in `snapshot_of`", column.value), "name it once");
            }
            if self.delete_column.as_ref().is_some_and(|delete| delete.value == column.value) {
                let what = format!("`{}` marks deletions: it cannot say what a batch is a snapshot of", column.value);
                refuse(what, "take it out of `snapshot_of`");
            }
        }
        if let (BatchMode::Snapshot, Some(allow), false) = (self.batch_mode, &self.allow_empty_snapshot, self.snapshot_of.is_empty()) {
            problems.push(
                Problem::new("qetl::decode::inert_key", allow.span, "`allow_empty_snapshot` does nothing with `snapshot_of`")
                    .help("a batch without values deletes nothing, and is fine; remove the key"),
            );
        }
        if let (BatchMode::Delta, Some(column)) = (self.batch_mode, self.snapshot_of.first()) {
            problems.push(
                Problem::new("qetl::decode::inert_key", column.span, "`snapshot_of` does nothing with `batch_mode = \"delta\"`")
                    .help("in a delta nothing is deleted by absence; remove the key"),
            );
        }
    }

    /// Reports a name that is not a column of the input.
    pub fn check_column(&self, name: &Sp<String>, key: &str, problems: &mut Problems) {
        if !self.column_names().any(|column| column == name.value) {
            problems.push(
                Problem::new(
                    "qetl::decode::unknown_column",
                    name.span,
                    format!("column `{}` of `{key}` is not in `[input] columns`", name.value),
                )
                .label("no such column")
                .help(suggest::help(name, self.column_names())),
            );
        }
    }
}

/// The types of columns that say an order.
pub const SEQUENCE_TYPES: &str = "a sequence is an integer, decimal, date, timestamp or string";

/// A warning for a text in the list that reads like the word in its place.
fn meant_not_null(value: &Sp<Scalar>) -> Option<Problem> {
    let Scalar::Text(text) = &value.value else { return None };
    let reads_so = text.to_lowercase().replace(['_', '-', ' '], "") == "notnull";
    let what = format!("`{text}` is a text here: only rows with that text are deletions");
    let help = "if every value marks a deletion, write `delete_values = \"not_null\"`, without brackets";
    reads_so.then(|| Problem::new("qetl::decode::delete_values", value.span, what).help(help).warning())
}
