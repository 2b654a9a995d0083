//! What is wrong with an author's SQL, in the words of flows.
#![expect(clippy::wildcard_enum_match_arm, reason = "the engine's errors are many, and most are told as they are")]

use std::ops::Range;

use datafusion::{
    common::{Column as PlanColumn, SchemaError, TableReference},
    error::DataFusionError,
    prelude::SessionContext,
    sql::sqlparser::tokenizer::Location,
};
use qetl_core::{DatasetName, Problem, standard::same_dataset, suggest};
use qetl_sql::task::not_sql;

use super::{Text, Wrong};

impl Text<'_> {
    pub(super) fn wrong(&self, session: &SessionContext, error: DataFusionError) -> Wrong {
        let place = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| {
            let at = |place: datafusion::common::Location| Location { line: place.line, column: place.column };
            self.place(at(span.start), at(span.end))
        });
        let root = match error.find_root() {
            DataFusionError::Collection(all) => all.first().map_or(&error, DataFusionError::find_root),
            other => other,
        };
        match root {
            DataFusionError::SQL(parser, _) => Wrong::Name(not_sql(self.sql, self.statement.query.start, parser)),
            DataFusionError::SchemaError(schema, _) => match &**schema {
                SchemaError::FieldNotFound { field, valid_fields } => Wrong::Name(self.unknown_column(place, field, valid_fields)),
                SchemaError::AmbiguousReference { field } => {
                    let place = place.unwrap_or_else(|| self.word(&[&field.name]));
                    let what = format!("column `{}` is in several of the datasets", field.name);
                    let problem = self.problem("qetl::sql::ambiguous_column", place, what).label("of which?");
                    Wrong::Name(problem.help(format!("name its dataset: `dataset.{}`", field.name)))
                }
                other => Wrong::Other(self.other(place, &other.to_string())),
            },
            DataFusionError::Plan(said) => self.unknown(session, said).unwrap_or_else(|| Wrong::Other(self.other(place, said))),
            DataFusionError::NotImplemented(said) | DataFusionError::Configuration(said) => Wrong::Other(self.other(place, said)),
            DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => Wrong::Other(self.other(place, &root.strip_backtrace())),
            _ => Wrong::Engine(error),
        }
    }

    fn unknown_column(&self, place: Option<Range<usize>>, field: &PlanColumn, valid: &[PlanColumn]) -> Problem {
        let table = field.relation.as_ref().map(TableReference::table);
        let of_table = |column: &&PlanColumn| table.is_none_or(|table| column.relation.as_ref().is_some_and(|own| own.table() == table));
        let mut known: Vec<&str> = Vec::new();
        for column in valid.iter().filter(of_table).filter(|column| self.tells_own || !column.name.starts_with("xt_")) {
            if !known.contains(&column.name.as_str()) {
                known.push(&column.name);
            }
        }
        let reads: Vec<String> = self.statement.reads.iter().map(|(dataset, _)| format!("`{dataset}`")).collect();
        let where_ = table.map_or_else(|| reads.join(", "), |table| format!("`{table}`"));
        let what = match where_.is_empty() {
            true => format!("there is no column `{}`", field.name),
            false => format!("column `{}` is not in {where_}", field.name),
        };
        let place = place.unwrap_or_else(|| self.word(&[&field.name]));
        self.problem("qetl::sql::unknown_column", place, what).label("no such column").help(suggest::help(&field.name, known))
    }

    /// Datasets and functions that are not there.
    fn unknown(&self, session: &SessionContext, said: &str) -> Option<Wrong> {
        let name = said.split('\'').nth(1)?;
        if said.starts_with("table ") && said.contains("not found") {
            let of = |dataset: &DatasetName| {
                let mut parts = name.rsplit('.');
                let (table, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or("main"));
                same_dataset(dataset, &DatasetName { namespace: namespace.to_owned(), name: table.to_owned() })
            };
            let (dataset, span) = self.statement.reads.iter().find(|(dataset, _)| of(dataset))?;
            let known = datasets(session);
            let wanted = dataset.to_string();
            let problem = Problem::new("qetl::sql::unknown_dataset", *span, format!("there is no dataset `{dataset}`"));
            let help = if known.is_empty() { String::new() } else { suggest::help(&wanted, known.iter().map(String::as_str)) };
            return Some(Wrong::Name(problem.label("no such dataset").help(help)));
        }
        if said.starts_with("Invalid function") {
            let span = self.statement.functions.iter().find(|(function, _)| function.eq_ignore_ascii_case(name)).map(|(_, span)| *span);
            let span = span.unwrap_or_else(|| self.sql.span(self.word(&[name])));
            let problem =
                Problem::new("qetl::sql::unknown_function", span, format!("there is no function `{name}`")).label("no such function");
            let known = functions(session);
            let near = suggest::nearest(name, known.iter().map(String::as_str));
            return Some(Wrong::Name(problem.help(near.map_or_else(String::new, |near| format!("did you mean `{near}`?")))));
        }
        None
    }

    fn other(&self, place: Option<Range<usize>>, said: &str) -> Problem {
        // A call that does not fit is told with the function's name.
        let place = place.unwrap_or_else(|| {
            let named = said.split('\'').skip(1).step_by(2).find(|name| self.statement.functions.iter().any(|(own, _)| own == name));
            named.map_or_else(|| self.word(&[]), |name| self.word(&[name]))
        });
        if let Some(misfit) = misfit(said) {
            return self.problem("qetl::sql::types", place, misfit).label("in this query");
        }
        let said = said.lines().next().unwrap_or_default().trim_start_matches("Error during planning: ").trim_end_matches('.');
        let mut letters = said.chars();
        let said: String = letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect());
        self.problem("qetl::sql::types", place, said).label("in this query")
    }
}

/// The names of all datasets in sight.
fn datasets(session: &SessionContext) -> Vec<String> {
    let mut names = Vec::new();
    for catalog in session.catalog_names().iter().filter_map(|name| session.catalog(name)) {
        for (namespace, schema) in
            catalog.schema_names().into_iter().filter_map(|name| Some((catalog.schema(&name)?, name))).map(|(schema, name)| (name, schema))
        {
            let named = |name: String| if namespace == "main" { name } else { format!("{namespace}.{name}") };
            names.extend(schema.table_names().into_iter().map(named));
        }
    }
    names.sort();
    names
}

/// The names of all functions, each once.
fn functions(session: &SessionContext) -> Vec<String> {
    let state = session.state();
    let scalar = state.scalar_functions().keys().cloned();
    let mut names: Vec<String> =
        scalar.chain(state.aggregate_functions().keys().cloned()).chain(state.window_functions().keys().cloned()).collect();
    names.sort();
    names.dedup();
    names
}

/// A call that fits none of a function's forms, without the list of all forms.
fn misfit(said: &str) -> Option<String> {
    if !said.contains("failed to match any signature") {
        return None;
    }
    let name = said.split('\'').nth(1)?;
    let received = said.split("but received ").nth(1)?.split([' ', ',']).next()?;
    Some(format!("`{name}` does not take {}", received.to_lowercase()))
}
