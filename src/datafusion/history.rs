//! The latest rows of some keys. They are found by their keys, file by file, and now and then the latest rows of all keys are kept
//! in one file: so a batch that says something of few keys costs little more, the more came before it.
#![expect(clippy::wildcard_enum_match_arm, reason = "all other relations are lowered as they are")]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use datafusion::{
    common::JoinType,
    error::{DataFusionError, Result as PlanResult},
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
};
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::RowSelection;
use qetl_core::{
    DatasetName,
    ir::{AsOf, JoinKind, LatestPerKey, Op, Rel, Step},
};
use qetl_runtime::{BatchContext, RunError, progress::Progress};

use crate::{
    catalog::{Checkpoint, DataFile},
    classify::held_bytes,
    deletes::Keys,
    lower::{Lowering, join, pairs},
    prepare::checkpoint_table,
    stage::{ROW_HASH, remove},
    staging::{external, write},
    view::View,
    work::DataFusionWork,
};

/// After so many times the batches after which rows are kept, they are in any case.
const IN_ANY_CASE: usize = 8;

/// What part of the rows that are kept makes rows many.
const PART: u64 = 4;

/// [`LatestPerKey`] of the rows before a batch, cut down to some keys.
pub(crate) struct OfKeys<'a> {
    latest: &'a LatestPerKey,
    /// Scans of earlier batches, put together or filtered.
    rows: &'a Rel,
    keys: &'a Rel,
    datasets: Vec<&'a DatasetName>,
}

impl<'a> OfKeys<'a> {
    /// `None` when it is something else.
    pub(crate) fn of(op: &'a Op) -> Option<Self> {
        let Op::LatestPerKey(latest) = op else { return None };
        let Op::Join { kind: JoinKind::Semi, left: rows, right: keys, on, .. } = &*latest.input.op else { return None };
        let is_by_key = on.len() == latest.keys.len() && on.iter().all(|(a, b)| a == b && latest.keys.contains(a));
        let mut datasets = Vec::new();
        let is_history = is_by_key && latest.dead.is_none() && scans(rows, &mut datasets);
        (is_history && !datasets.is_empty()).then_some(Self { latest, rows, keys, datasets })
    }
}

/// Whether a relation is rows of earlier batches as they are stored, and of which datasets.
fn scans<'a>(rel: &'a Rel, datasets: &mut Vec<&'a DatasetName>) -> bool {
    match &*rel.op {
        Op::Scan { dataset, as_of: AsOf::BeforeThisBatch } => {
            datasets.push(dataset);
            true
        }
        Op::Union(inputs) => inputs.iter().all(|input| scans(input, datasets)),
        Op::Filter { input, .. } => scans(input, datasets),
        _ => false,
    }
}

/// Of files that have some of the keys, the rows that have one; all of them where that could not be found out.
pub(crate) type Chosen = BTreeMap<PathBuf, Option<RowSelection>>;

impl DataFusionWork {
    pub(crate) async fn latest_of_keys(
        &mut self,
        batch: &BatchContext,
        done: &BTreeMap<String, LogicalPlan>,
        of: &OfKeys<'_>,
        step: &Step,
    ) -> PlanResult<LogicalPlan> {
        let owner = of.datasets[0].clone();
        let checkpoint = self.checkpoint(&owner, batch.batch_id);
        let told_to = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.batch_id);
        let files = self.files_of(batch, of, told_to)?;
        if self.is_due(batch, &owner, of, &files, checkpoint.as_ref()) {
            self.keep_latest(batch, done, of, &owner, told_to, checkpoint.clone()).await?;
        }
        let lower = |chosen: Option<&Chosen>, rel: &Rel| {
            let view = View { told_to, chosen, ..View::of(self, batch) };
            Lowering { steps: done.clone(), ..self.lowering(batch, &view) }.rel(rel)
        };
        let keys = lower(None, of.keys)?;
        let kept = checkpoint.iter().flat_map(|checkpoint| checkpoint.files.iter().cloned());
        let chosen = self.choose(&keys, of, files.into_iter().chain(kept).collect()).await?;
        let rows = lower(chosen.as_ref(), of.rows)?;
        let rows = self.with_kept(rows, checkpoint, &owner, chosen.as_ref())?;
        let rows = join(LogicalPlanBuilder::new(keys), rows, JoinType::RightSemi, &pairs(&of.latest.keys))?.build()?;
        let latest = {
            let view = View::of(self, batch);
            self.lowering(batch, &view).greatest(rows, of.latest)?
        };
        // Few rows, which are read more than once.
        if step.small || chosen.is_some() { self.compute(&step.name, latest).await } else { Ok(latest) }
    }

    /// The files of the rows after those that a checkpoint tells of, with the bounds of the first key column.
    fn files_of(&self, batch: &BatchContext, of: &OfKeys<'_>, told_to: i64) -> PlanResult<Vec<DataFile>> {
        let view = View { told_to, ..View::of(self, batch) };
        let first = of.latest.keys.first().map(String::as_str);
        let mut files = Vec::new();
        for dataset in &of.datasets {
            files.extend(view.files(dataset, AsOf::BeforeThisBatch, first)?);
        }
        Ok(files)
    }

    /// Looks for the keys; `None` when there are so many that all rows may as well be read.
    async fn choose(&self, keys: &LogicalPlan, of: &OfKeys<'_>, files: Vec<DataFile>) -> PlanResult<Option<Chosen>> {
        let most_bytes = self.limits.pool_bytes() / 8;
        let Some(keys) = Keys::collect(&self.session, keys, &of.latest.keys, most_bytes).await? else { return Ok(None) };
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        if keys.len() as u64 * self.limits.tuning.rows_a_key > rows {
            return Ok(None);
        }
        let keys = Arc::new(keys);
        let found = futures::stream::iter(files).map(|file| {
            let keys = keys.clone();
            async move {
                let look = move || keys.rows_of(&file).map(|rows| rows.map(|rows| (file.path, rows)));
                let found = tokio::task::spawn_blocking(look).await;
                found.map_err(|panic| DataFusionError::ExecutionJoin(Box::new(panic)))?.map_err(external)
            }
        });
        let found: Vec<Option<(PathBuf, Option<RowSelection>)>> = found.buffered(self.limits.threads.max(1)).try_collect().await?;
        Ok(Some(found.into_iter().flatten().collect()))
    }

    /// The rows and those of a checkpoint.
    fn with_kept(
        &self,
        rows: LogicalPlan,
        checkpoint: Option<Checkpoint>,
        owner: &DatasetName,
        chosen: Option<&Chosen>,
    ) -> PlanResult<LogicalPlan> {
        let Some(checkpoint) = checkpoint else { return Ok(rows) };
        let kept = checkpoint_table(&rows, checkpoint, owner, chosen)?;
        LogicalPlanBuilder::new(rows).union(kept)?.build()
    }

    /// Whether so much came since the last checkpoint that the newest batch should keep another one.
    fn is_due(&self, batch: &BatchContext, owner: &DatasetName, of: &OfKeys<'_>, files: &[DataFile], last: Option<&Checkpoint>) -> bool {
        let told_to = last.map_or(0, |last| last.batch_id);
        let untold = batch.known.iter().filter(|known| told_to < known.batch_id && known.batch_id < batch.batch_id).count();
        let is_newest = batch.known.last().is_some_and(|newest| newest.batch_id == batch.batch_id);
        let is_staged = of.datasets.iter().any(|dataset| self.staged.get(dataset).is_some_and(|staged| !staged.is_empty()));
        let rows = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
        let (new, kept) = (rows(files), last.map_or(0, |last| rows(&last.files)));
        let some = self.limits.tuning.kept_after;
        let is_much = untold >= some * IN_ANY_CASE || (untold >= some && new * PART >= kept);
        // What must be held to tell the latest rows has to fit beside everything else.
        let Some(layout) = self.layouts.get(owner) else { return false };
        let fits = held_bytes(layout.schema(), &of.latest.keys, new + kept) < self.limits.pool_bytes() as u64 / 4;
        let has_all_columns = self.plan.input.iter().all(|column| !column.gone);
        let is_complete = has_all_columns && (self.has_usable_hash(owner) || layout.schema().field_with_name(ROW_HASH).is_err());
        is_newest && !is_staged && is_much && fits && is_complete
    }

    /// Keeps the latest rows of all keys, as they were before this batch, in one file.
    async fn keep_latest(
        &mut self,
        batch: &BatchContext,
        done: &BTreeMap<String, LogicalPlan>,
        of: &OfKeys<'_>,
        owner: &DatasetName,
        told_to: i64,
        last: Option<Checkpoint>,
    ) -> PlanResult<()> {
        let latest = {
            let view = View { told_to, ..View::of(self, batch) };
            let lowering = Lowering { steps: done.clone(), ..self.lowering(batch, &view) };
            let rows = self.with_kept(lowering.rel(of.rows)?, last, owner, None)?;
            lowering.greatest(rows, of.latest)?
        };
        let layout = self.layout(owner).map_err(external)?;
        let written = write(&self.session, latest, layout, None, &Progress::silent()).await?;
        let kept = (batch.previous.unwrap_or(0), written.files);
        if let Some((_, old)) = self.checkpoints.insert(owner.clone(), kept) {
            remove(&old);
        }
        Ok(())
    }
}

impl Keys {
    /// The rows of a file that have one of the keys and are not deleted; `None` when there are none, `Some(None)` when its key
    /// columns are of other types.
    fn rows_of(&self, file: &DataFile) -> Result<Option<Option<RowSelection>>, RunError> {
        let Some(places) = self.places_in(file)? else { return Ok(Some(None)) };
        if places.is_empty() {
            return Ok(None);
        }
        let rows = usize::try_from(file.all_rows()).unwrap_or(usize::MAX);
        let ranges = places.into_iter().map(|place| usize::try_from(place).unwrap_or(usize::MAX)).map(|place| place..place + 1);
        Ok(Some(Some(RowSelection::from_consecutive_ranges(ranges, rows))))
    }
}
