//! What datasets are called in databases.

use qetl_core::DatasetName;
use qetl_sql::{Dialect, ObjectName, ident};

/// How a database keeps namespaces apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// As schemas.
    Schemas {
        /// The schema of datasets without a namespace.
        main: &'static str,
    },
    /// As the beginnings of tables' names.
    Prefixes,
}

impl Naming {
    /// The namespace's schema, if it is one.
    pub(crate) fn schema(self, namespace: &str) -> Option<String> {
        match self {
            Naming::Schemas { main } => Some(if namespace == "main" { main } else { namespace }.to_owned()),
            Naming::Prefixes => None,
        }
    }

    /// The table's name in its schema.
    pub(crate) fn table(self, dataset: &DatasetName) -> String {
        match self {
            Naming::Prefixes if dataset.namespace != "main" => format!("{}_{}", dataset.namespace, dataset.name),
            Naming::Prefixes | Naming::Schemas { .. } => dataset.name.clone(),
        }
    }

    /// The whole name, quoted. Scratch tables have no namespace.
    pub(crate) fn name(self, dialect: &dyn Dialect, dataset: &DatasetName) -> ObjectName {
        let schema = if dataset.namespace.is_empty() { None } else { self.schema(&dataset.namespace) };
        let table = if dataset.namespace.is_empty() { dataset.name.clone() } else { self.table(dataset) };
        ObjectName::from(schema.into_iter().chain([table]).map(|part| ident(dialect.quote(), &part)).collect::<Vec<_>>())
    }
}
