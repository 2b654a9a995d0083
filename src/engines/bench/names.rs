//! The columns of an author's query: of equal names each gets one of its own.

use qetl_sql::author::Named;

use crate::{
    database::{Connection, Database, Failure},
    tables::quoted,
};

/// The columns of a query as they are named in its table, where the query's own names are not enough.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    /// For all columns, in order; empty: as the query has them.
    given: Vec<String>,
    /// Names that stand there more than once, and what the later ones became. Not qetl's own, which are dropped.
    pub(super) equal: Vec<(String, String)>,
}

impl Names {
    pub(super) fn of(connection: &mut dyn Connection, query: &str) -> Result<Self, Failure> {
        Ok(Self::distinct(&connection.names(query)?))
    }

    fn distinct(names: &[String]) -> Self {
        let mut given: Vec<String> = Vec::new();
        let mut equal = Vec::new();
        for name in names {
            let is_taken = |other: &str| given.iter().any(|taken| taken.eq_ignore_ascii_case(other));
            let numbered = (1..).map(|number| format!("{name}_{number}"));
            let unique = std::iter::once(name.clone()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default();
            if unique != *name && !name.to_ascii_lowercase().starts_with("xt_") {
                equal.push((name.clone(), unique.clone()));
            }
            given.push(unique);
        }
        if given == names { Self::default() } else { Self { given, equal } }
    }

    /// The query's columns by these names.
    pub(super) fn named(&self, mut columns: Vec<Named>) -> Vec<Named> {
        if columns.len() == self.given.len() {
            for (column, name) in columns.iter_mut().zip(&self.given) {
                column.name.clone_from(name);
            }
        }
        columns
    }

    /// The list behind the name of a table expression.
    pub(super) fn list(&self, database: &dyn Database) -> String {
        if self.given.is_empty() {
            return String::new();
        }
        let names: Vec<String> = self.given.iter().map(|name| quoted(database, name)).collect();
        format!(" ({})", names.join(", "))
    }

    /// What is worth a warning.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.equal.iter().map(|(name, unique)| format!("the query has two columns `{name}`; the second becomes `{unique}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_told_apart() {
        let said = |names: &[&str]| {
            let Names { given, equal } = Names::distinct(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            let equal: Vec<String> = equal.into_iter().map(|(name, unique)| format!("{name}>{unique}")).collect();
            (given.join(" "), equal.join(" "))
        };
        assert_eq!(said(&["id", "name"]), (String::new(), String::new()));
        assert_eq!(said(&["id", "ID", "id", "id_1"]), ("id ID_1 id_2 id_1_1".to_owned(), "ID>ID_1 id>id_2 id_1>id_1_1".to_owned()));
        assert_eq!(said(&["a", "xt_batch_id", "b", "xt_batch_id"]), ("a xt_batch_id b xt_batch_id_1".to_owned(), String::new()));
    }
}
