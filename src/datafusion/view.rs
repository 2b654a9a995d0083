//! Where the scans of instructions find their rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::{catalog::TableProvider, error::Result as PlanResult};
use qetl_core::{
    DatasetName, Type,
    ir::{AsOf, Rel},
};
use qetl_ingest::arrow_type;
use qetl_runtime::BatchContext;

use parquet::arrow::arrow_reader::RowSelection;

use crate::{
    catalog::{BatchRange, DataFile, refuse_gaps},
    history::Chosen,
    lower::Tables,
    scan::PinnedTable,
    stage::{ROW_HASH, StagedFile},
    staging::external,
    work::DataFusionWork,
};

/// The column whose bounds files are left out by.
const BOUNDED: &str = "xt_record_type";

/// Where the scans of a batch's instructions find their rows: the version that the work began on, with what it staged.
pub(crate) struct View<'a> {
    pub(crate) work: &'a DataFusionWork,
    pub(crate) batch: &'a BatchContext,
    /// Batches up to that one are not read as those before this batch: a checkpoint tells of them.
    pub(crate) told_to: i64,
    /// The only rows that are read of the batches before this one.
    pub(crate) chosen: Option<&'a Chosen>,
}

impl Tables for View<'_> {
    fn table(&self, dataset: &DatasetName, rel: &Rel, as_of: AsOf) -> PlanResult<Arc<dyn TableProvider>> {
        let files = self.files(dataset, as_of, Some(BOUNDED))?;
        let files = chosen_of(files, self.chosen.filter(|_| as_of == AsOf::BeforeThisBatch));
        let hash = self.work.has_usable_hash(dataset);
        let fields = rel.columns().iter().map(|column| Field::new(&column.name, arrow_type(column.ty), true));
        let fields: Vec<Field> = fields.chain(hash.then(|| Field::new(ROW_HASH, DataType::FixedSizeBinary(16), true))).collect();
        Ok(Arc::new(PinnedTable::of_rows(Arc::new(Schema::new(fields)), files, Some(BOUNDED))))
    }
}

/// The files that have chosen rows, with these; all files where none are chosen.
pub(crate) fn chosen_of(files: Vec<DataFile>, chosen: Option<&Chosen>) -> Vec<(DataFile, Option<RowSelection>)> {
    let rows_of = |file: DataFile| match chosen {
        Some(chosen) => chosen.get(&file.path).map(|rows| (file, rows.clone())),
        None => Some((file, None)),
    };
    files.into_iter().filter_map(rows_of).collect()
}

impl<'a> View<'a> {
    pub(crate) fn of(work: &'a DataFusionWork, batch: &'a BatchContext) -> Self {
        Self { work, batch, told_to: 0, chosen: None }
    }

    /// The dataset's files of those batches, with the bounds of that column where they are known.
    pub(crate) fn files(&self, dataset: &DatasetName, as_of: AsOf, bounds_of: Option<&str>) -> PlanResult<Vec<DataFile>> {
        let range = match as_of {
            AsOf::ThisBatch | AsOf::ReplacedBatch => BatchRange::Only(self.batch.batch_id),
            // Batch ids begin at 1.
            AsOf::PreviousBatch => BatchRange::Only(self.batch.previous.unwrap_or(0)),
            AsOf::BeforeThisBatch => BatchRange::Between(self.told_to, self.batch.batch_id),
            AsOf::AfterThisBatch => BatchRange::Between(self.batch.batch_id, i64::MAX),
            AsOf::AllBatches => BatchRange::All,
        };
        let work = self.work;
        let staged = work.staged.get(dataset).filter(|_| as_of != AsOf::ReplacedBatch);
        let whole = work.whole.get(dataset);
        let table = work.snapshot.tables.get(dataset).filter(|_| whole.is_none());
        let mut files = Vec::new();
        if let Some(table) = table {
            let published = work.catalog.listed(work.snapshot.id, table, range, bounds_of).map_err(external)?;
            let stands = |batch: &Option<i64>| !batch.is_some_and(|batch| staged.is_some_and(|staged| staged.contains_key(&batch)));
            let published = published.into_iter().filter(|(batch, _)| stands(batch)).map(|(_, file)| file);
            match work.edits.get(dataset) {
                Some(edit) => files.extend(published.filter_map(|file| edit.applied(file))),
                None => files.extend(published),
            }
            // What is staged in place of a file that is missing makes good for it.
            refuse_gaps(files.iter()).map_err(external)?;
        }
        files.extend(work.edits.get(dataset).into_iter().flat_map(|edit| &edit.new).map(|file| self.staged_file(dataset, file)));
        files.extend(whole.into_iter().flatten().map(|file| self.staged_file(dataset, file)));
        for (_, staged) in staged.into_iter().flatten().filter(|(batch, _)| range.contains(**batch)) {
            files.extend(staged.iter().map(|file| self.staged_file(dataset, file)));
        }
        if bounds_of != Some(BOUNDED) {
            // Of staged files no others are known.
            files.iter_mut().filter(|file| file.id.is_none()).for_each(|file| file.bounds = None);
        }
        Ok(files)
    }

    fn staged_file(&self, dataset: &DatasetName, file: &StagedFile) -> DataFile {
        let columns = self.work.layouts.get(dataset).map(|layout| &layout.columns);
        let bounded = columns.and_then(|columns| columns.iter().find(|(_, name, ty)| name == BOUNDED && *ty == Some(Type::Text)));
        let stats = bounded.and_then(|(id, ..)| file.columns.iter().find(|stats| stats.column_id == *id));
        let bounds = stats.and_then(|stats| stats.min.clone().zip(stats.max.clone()));
        DataFile { id: None, path: file.path.clone(), rows: file.rows, bytes: file.bytes, bounds, deletes: None }
    }
}
