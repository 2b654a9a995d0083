//! Where the names in a task's SQL lead.

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, SchemaProvider, TableProvider},
    error::Result as PlanResult,
};
use qetl_core::{DatasetName, schema::Schema, standard::same_dataset};
use qetl_runtime::standard::Known;

use crate::{query::arrow_schema, scan::PinnedTable};

/// Datasets that SQL may name.
#[async_trait]
pub(super) trait Datasets: Send + Sync + fmt::Debug {
    fn names(&self) -> Vec<DatasetName>;

    /// One of them, by its exact name.
    async fn table(&self, dataset: &DatasetName) -> PlanResult<Option<Arc<dyn TableProvider>>>;
}

/// Datasets of which nothing but the columns is known.
#[derive(Debug)]
pub(super) struct Unread(pub(super) Known);

#[async_trait]
impl Datasets for Unread {
    fn names(&self) -> Vec<DatasetName> {
        self.0.keys().cloned().collect()
    }

    async fn table(&self, dataset: &DatasetName) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.0.get(dataset).map(|known| {
            let schema = arrow_schema(&Schema::new(known.columns.clone()).unwrap_or_default());
            Arc::new(PinnedTable::new(schema, Vec::new(), None)) as Arc<dyn TableProvider>
        }))
    }
}

/// The one catalog of a task's session. Names are found whatever their case.
#[derive(Debug, Clone)]
pub(super) struct Names(pub(super) Arc<dyn Datasets>);

impl CatalogProvider for Names {
    fn schema_names(&self) -> Vec<String> {
        let all: BTreeSet<String> = self.0.names().into_iter().map(|name| name.namespace).chain(["main".to_owned()]).collect();
        all.into_iter().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let namespace = self.schema_names().into_iter().find(|own| own.eq_ignore_ascii_case(name))?;
        Some(Arc::new(Namespace { names: self.clone(), namespace }))
    }
}

#[derive(Debug)]
struct Namespace {
    names: Names,
    namespace: String,
}

impl Namespace {
    fn find(&self, name: &str) -> Option<DatasetName> {
        let wanted = DatasetName { namespace: self.namespace.clone(), name: name.to_owned() };
        self.names.0.names().into_iter().find(|own| same_dataset(own, &wanted))
    }
}

#[async_trait]
impl SchemaProvider for Namespace {
    fn table_names(&self) -> Vec<String> {
        self.names.0.names().into_iter().filter(|name| name.namespace == self.namespace).map(|name| name.name).collect()
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        match self.find(name) {
            Some(dataset) => self.names.0.table(&dataset).await,
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}
