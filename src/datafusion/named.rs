//! The Parquet source of the library, of which every error says which file it is about; its panics are errors too.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use arrow::array::RecordBatch;
use datafusion::{
    common::{Result, config::ConfigOptions, tree_node::TreeNodeRecursion},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileOpener, FileScanConfig, FileSource},
        table_schema::TableSchema,
    },
    error::DataFusionError,
    object_store::ObjectStore,
    physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, projection::ProjectionExprs},
    physical_plan::{
        DisplayFormatType, SortOrderPushdownResult, filter_pushdown::FilterPushdownPropagation, metrics::ExecutionPlanMetricsSet,
    },
};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::{FutureExt, StreamExt, stream::BoxStream};
use qetl_runtime::panics;

use crate::{error, staging::external};

pub(crate) struct Named(Arc<dyn FileSource>);

impl Named {
    pub(crate) fn source(source: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self(source))
    }
}

impl FileSource for Named {
    fn create_file_opener(&self, store: Arc<dyn ObjectStore>, config: &FileScanConfig, partition: usize) -> Result<Arc<dyn FileOpener>> {
        self.0.create_file_opener(store, config, partition)
    }

    fn create_morselizer(&self, store: Arc<dyn ObjectStore>, config: &FileScanConfig, partition: usize) -> Result<Box<dyn Morselizer>> {
        Ok(Box::new(Of { file: Arc::default(), inner: self.0.create_morselizer(store, config, partition)? }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.0.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Self::source(self.0.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.0.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.0.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.0.metrics()
    }

    fn file_type(&self) -> &str {
        self.0.file_type()
    }

    fn fmt_extra(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_extra(kind, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.0.supports_repartitioning()
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let pushed = self.0.try_pushdown_filters(filters, config)?;
        Ok(FilterPushdownPropagation { filters: pushed.filters, updated_node: pushed.updated_node.map(Self::source) })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(self.0.try_pushdown_sort(order, properties)?.map(Self::source))
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.0.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self.0.try_pushdown_projection(projection)?.map(Self::source))
    }

    fn apply_expressions(&self, see: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(see)
    }
}

/// A part of the library's reading, of one file.
struct Of<T> {
    file: Arc<PathBuf>,
    inner: T,
}

impl<T: fmt::Debug> fmt::Debug for Of<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// What became of a call to the library, with the file's name.
fn named<T>(file: &Arc<PathBuf>, done: Result<Result<T>, Box<dyn Any + Send>>) -> Result<T> {
    let why = match done {
        Ok(Ok(done)) => return Ok(done),
        // It says where it is from.
        Ok(Err(told @ DataFusionError::External(_))) => return Err(told),
        Ok(Err(exhausted)) if error::is_exhausted(&exhausted) => return Err(exhausted),
        // What is computed while a file is read: that is no fault of the file.
        Ok(Err(computed)) if error::is_computed(&computed) => return Err(computed),
        Ok(Err(why)) => why.strip_backtrace(),
        Err(panic) => panics::told(&*panic),
    };
    Err(external(error::damaged(file, &why)))
}

impl Morselizer for Of<Box<dyn Morselizer>> {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let path = Arc::new(PathBuf::from(format!("/{}", file.object_meta.location)));
        let inner = named(&path, catch_unwind(AssertUnwindSafe(|| self.inner.plan_file(file))))?;
        Ok(Box::new(Of { file: path, inner }))
    }
}

impl MorselPlanner for Of<Box<dyn MorselPlanner>> {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Of { file, inner } = *self;
        let Some(mut plan) = named(&file, catch_unwind(AssertUnwindSafe(|| inner.plan())))? else { return Ok(None) };
        let morsels = plan.take_morsels().into_iter().map(|inner| Box::new(Of { file: file.clone(), inner }) as Box<dyn Morsel>);
        let ready =
            plan.take_ready_planners().into_iter().map(|inner| Box::new(Of { file: file.clone(), inner }) as Box<dyn MorselPlanner>);
        let mut own = MorselPlan::new().with_morsels(morsels.collect()).with_planners(ready.collect());
        if let Some(pending) = plan.take_pending_planner() {
            own.set_pending_planner(async move {
                let inner = named(&file, AssertUnwindSafe(pending.into_future()).catch_unwind().await)?;
                Ok(Box::new(Of { file, inner }) as Box<dyn MorselPlanner>)
            });
        }
        Ok(Some(own))
    }
}

impl Morsel for Of<Box<dyn Morsel>> {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Of { file, inner } = *self;
        match catch_unwind(AssertUnwindSafe(|| inner.into_stream())) {
            Ok(batches) => AssertUnwindSafe(batches).catch_unwind().map(move |batch| named(&file, batch)).boxed(),
            Err(panic) => futures::stream::once(std::future::ready(named(&file, Err(panic)))).boxed(),
        }
    }
}
