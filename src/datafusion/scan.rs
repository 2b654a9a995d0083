//! A table provider over a pinned list of Parquet files.

use std::{path::PathBuf, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, Statistics, project_schema, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource, parquet::ParquetRowSelection},
        source::DataSourceExec,
    },
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType},
    object_store::{ObjectMeta, path::Path as ObjectPath},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
    scalar::ScalarValue,
};

use parquet::arrow::arrow_reader::RowSelection;

use crate::{catalog::DataFile, deletes, named::Named};

/// The files of a table at one version, each complete and never changed again. Columns that a file lacks are NULL;
/// narrower types are cast; deleted rows are left out.
#[derive(Debug)]
pub(crate) struct PinnedTable {
    schema: SchemaRef,
    /// Each with the rows that are read, if not all that are not deleted.
    files: Vec<(DataFile, Option<RowSelection>)>,
    /// The text column that the files' bounds are of.
    bounds_of: Option<String>,
    /// A file that is only this table's goes with it.
    _own: Option<DeleteOnDrop>,
}

/// Removes a file when nothing reads it any more.
#[derive(Debug)]
struct DeleteOnDrop(PathBuf);

impl Drop for DeleteOnDrop {
    fn drop(&mut self) {
        // What stays is removed with its folder, when the flow is locked the next time.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl PinnedTable {
    pub(crate) fn new(schema: SchemaRef, files: Vec<DataFile>, bounds_of: Option<&str>) -> Self {
        Self::of_rows(schema, files.into_iter().map(|file| (file, None)).collect(), bounds_of)
    }

    /// Some rows of the files; all that are not deleted of those without a selection.
    pub(crate) fn of_rows(schema: SchemaRef, files: Vec<(DataFile, Option<RowSelection>)>, bounds_of: Option<&str>) -> Self {
        Self { schema, files, bounds_of: bounds_of.map(str::to_owned), _own: None }
    }

    /// A table over one file that is removed with it.
    pub(crate) fn temporary(schema: SchemaRef, path: PathBuf, rows: u64, bytes: u64) -> Self {
        let file = DataFile { id: None, path: path.clone(), rows, bytes, bounds: None, deletes: None };
        Self { schema, files: vec![(file, None)], bounds_of: None, _own: Some(DeleteOnDrop(path)) }
    }

    /// The value that the filter wants the bounded column to have, if it is as simple as that.
    fn wanted(&self, filter: &Expr) -> Option<String> {
        let Expr::BinaryExpr(binary) = filter else { return None };
        let (Expr::Column(column), Expr::Literal(value, _), Operator::Eq) = (&*binary.left, &*binary.right, binary.op) else { return None };
        let (ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text))) = value else {
            return None;
        };
        (Some(&column.name) == self.bounds_of.as_ref()).then(|| text.clone())
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<String> = filters.iter().filter_map(|filter| self.wanted(filter)).collect();
        let may_match = |(file, _): &&(DataFile, Option<RowSelection>)| {
            let Some((least, greatest)) = &file.bounds else { return true };
            wanted.iter().all(|text| least <= text && text <= greatest)
        };
        let files: Vec<&(DataFile, Option<RowSelection>)> = self.files.iter().filter(may_match).collect();
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        let in_file = |file: &DataFile| usize::try_from(file.rows).unwrap_or(usize::MAX);
        let rows = files.iter().map(|(file, rows)| rows.as_ref().map_or_else(|| in_file(file), RowSelection::row_count));
        let rows = rows.fold(0, usize::saturating_add);
        let file = |(file, rows): &&(DataFile, Option<RowSelection>)| -> Result<PartitionedFile> {
            let location = ObjectPath::from_absolute_path(&file.path)?;
            let whole = PartitionedFile::new_from_meta(ObjectMeta {
                location,
                size: file.bytes,
                last_modified: Default::default(),
                e_tag: None,
                version: None,
            });
            Ok(match (rows, &file.deletes) {
                (Some(rows), _) => whole.with_extension(ParquetRowSelection::from(rows.clone())),
                (None, Some(deletes)) => whole.with_extension(deletes::selection(file, deletes)?),
                (None, None) => whole,
            })
        };
        let files = files.iter().map(file).collect::<Result<Vec<_>>>()?;
        let mut options = state.default_table_options().parquet;
        if self.schema.fields().iter().any(|field| field.data_type().is_floating()) {
            // Statistics of floats leave NaN out, so that leaving out row groups by them would lose rows.
            (options.global.pruning, options.global.enable_page_index) = (false, false);
        }
        let source = ParquetSource::new(self.schema.clone()).with_table_parquet_options(options);
        let statistics = Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: Precision::Absent,
            column_statistics: Statistics::unknown_column(&self.schema),
        };
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Named::source(Arc::new(source)))
            .with_file_groups(FileGroup::new(files).split_files(state.config().target_partitions()))
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
