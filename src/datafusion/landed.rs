//! Rows of a batch that were landed before.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Int64Type,
};
use datafusion::{
    error::Result as PlanResult,
    functions_aggregate::expr_fn::count,
    logical_expr::{LogicalPlanBuilder, lit},
    prelude::SessionContext,
};
use futures::StreamExt;
use qetl_core::{Column, Schema};
use qetl_ingest::{ReadSpec, RowHasher, content_hash};
use qetl_runtime::{
    RunError,
    engine::{LandError, Landed},
};
use tokio::sync::mpsc;

use crate::{
    catalog::{BatchRange, Catalog, Snapshot},
    error,
    lower::{column, scan},
    query,
    scan::PinnedTable,
    stage::Layout,
};

const FILE: &str = "xt_source_file";

/// The rows of some files of a batch, with all that landing has added to them; those of a file in their order where that counts.
pub(crate) struct LandedRows {
    /// How many there are of each file.
    pub(crate) counts: BTreeMap<String, u64>,
    receiver: mpsc::Receiver<PlanResult<RecordBatch>>,
}

impl LandedRows {
    /// Those of the files of these names, in the version that the snapshot is, with the columns of the layout.
    pub(crate) async fn of(
        session: &SessionContext,
        (catalog, snapshot): (&Catalog, &Snapshot),
        dataset: &qetl_core::DatasetName,
        layout: &Layout,
        batch_id: i64,
        files: &[String],
        ordered: bool,
    ) -> Result<Self, RunError> {
        let columns = layout.columns.iter().filter_map(|(_, name, ty)| ty.map(|ty| Column::new(name, ty))).collect();
        let schema = query::arrow_schema(&Schema::new(columns).unwrap_or_default());
        let stored = match snapshot.tables.get(dataset) {
            Some(table) => catalog.files(snapshot.id, table, BatchRange::Only(batch_id), None)?,
            None => Vec::new(),
        };
        let stored: Vec<_> = stored.into_iter().map(|(_, file)| file).collect();
        let rows = || -> PlanResult<LogicalPlanBuilder> {
            let all = scan(&dataset.name, Arc::new(PinnedTable::new(schema.clone(), stored.clone(), None)))?;
            all.filter(column(FILE).in_list(files.iter().map(|name| lit(name.as_str())).collect(), false))
        };
        let counted = async {
            let plan = rows()?.aggregate(vec![column(FILE)], vec![count(lit(1_i64))])?.build()?;
            session.execute_logical_plan(plan).await?.collect().await
        };
        let mut counts = BTreeMap::new();
        for batch in counted.await.map_err(error::engine)? {
            let (names, rows) = (batch.column(0).as_string_view(), batch.column(1).as_primitive::<Int64Type>());
            let counted = (0..batch.num_rows()).map(|row| (names.value(row).to_owned(), rows.value(row).unsigned_abs()));
            counts.extend(counted);
        }
        let stream = async {
            let mut plan = rows()?;
            if ordered {
                plan = plan.sort([FILE, "xt_row_number"].map(|name| column(name).sort(true, true)))?;
            }
            session.execute_logical_plan(plan.build()?).await?.execute_stream().await
        };
        let mut stream = stream.await.map_err(error::engine)?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    // Who reads them failed, and says so itself.
                    break;
                }
            }
        });
        Ok(Self { counts, receiver })
    }

    /// Gives the rows on, with the place of the first one, until nobody wants more. `firsts`: the place of each file's first row.
    pub(crate) fn each(
        mut self,
        firsts: &BTreeMap<String, u64>,
        give: &mut dyn FnMut(RecordBatch, u64) -> Result<bool, LandError>,
    ) -> Result<(), LandError> {
        let mut read: BTreeMap<String, u64> = BTreeMap::new();
        while let Some(batch) = self.receiver.blocking_recv() {
            let batch = batch.map_err(error::engine)?;
            let mut start = 0;
            while start < batch.num_rows() {
                let (name, rows) = one_file(&batch, start)?;
                let before = read.entry(name.clone()).or_default();
                let first = firsts.get(&name).copied().unwrap_or(0) + *before;
                *before += rows as u64;
                if !give(batch.slice(start, rows), first)? {
                    return Ok(());
                }
                start += rows;
            }
        }
        // Rows that end early look like the end.
        match read.values().sum::<u64>() == self.counts.values().sum::<u64>() {
            true => Ok(()),
            false => Err(RunError::failed("rows that were landed before could not all be read").into()),
        }
    }

    /// What landing would say of them.
    pub(crate) fn say(self, firsts: &BTreeMap<String, u64>, spec: &ReadSpec, ordered: bool) -> Result<Landed, RunError> {
        let hasher = RowHasher::new(spec.content_columns());
        let mut landed = Landed::default();
        let mut hashes = Vec::new();
        let outcome = self.each(firsts, &mut |rows, first| {
            hashes.clear();
            hasher.hash(&rows, &mut hashes).map_err(RunError::failed)?;
            for (place, hash) in (first..).zip(&hashes) {
                landed.content_hash = landed.content_hash.wrapping_add(content_hash(*hash, ordered.then_some(place)));
            }
            landed.filled.see(&rows, spec.columns.len());
            landed.rows += rows.num_rows() as u64;
            Ok(true)
        });
        match outcome {
            Ok(()) => Ok(landed),
            Err(LandError::Run(error)) => Err(error),
            Err(LandError::Widen(_) | LandError::Untyped(_)) => unreachable!("rows that are stored have their types"),
        }
    }
}

/// The file that the row is of, and how many rows of it follow each other from there.
fn one_file(batch: &RecordBatch, start: usize) -> Result<(String, usize), RunError> {
    let names = batch.column_by_name(FILE).and_then(|names| names.as_string_view_opt());
    let names = names.ok_or_else(|| RunError::failed("landed rows do not name their file"))?;
    let name = names.value(start);
    let rows = (start..names.len()).take_while(|row| names.value(*row) == name).count();
    Ok((name.to_owned(), rows))
}
