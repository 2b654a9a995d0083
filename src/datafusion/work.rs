//! The work on one batch: rows are landed and derived into staged files, then published.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Instant,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::streaming::StreamingTable,
    common::JoinType,
    error::{DataFusionError, Result as PlanResult},
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
    physical_plan::{execute_stream_partitioned, streaming::PartitionStream},
    prelude::SessionContext,
};
use futures::StreamExt;
use qetl_core::{
    Column, DatasetName, Plan, Schema, Task, Type,
    ir::{AsOf, Op, Rel, Steps},
    plan::{ReplaceKeys, WriteMode},
};
use qetl_ingest::{Places, ReadColumn, ReadSpec};
use qetl_runtime::{
    BatchContext, RunError, Work,
    engine::{BatchSource, FilePart, LandError, Landed, Publish},
    panics,
    progress::Progress,
    report::StepReport,
    run::blocking,
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    catalog::{BatchRange, Catalog, Changes, DataFile, Snapshot, TableChange, word_type},
    classify,
    deletes::{self, Edit, Keys},
    error,
    landed::LandedRows,
    landing::{BatchRows, Rows, StopWhenDropped, land},
    lower::{Lowering, column, join, pairs, scan},
    pipe::Pipe,
    query::{self, arrow_schema},
    scan::PinnedTable,
    scratch::Scratch,
    session::Limits,
    stage::{Layout, ROW_HASH, StagedFile, remove},
    staging::{Written, external, join_all, lock, take, write, write_apart},
    view::View,
};

pub(crate) struct DataFusionWork {
    pub(crate) catalog: Catalog,
    pub(crate) limits: Limits,
    pub(crate) plan: Arc<Plan>,
    pub(crate) snapshot: Snapshot,
    pub(crate) fence: i64,
    pub(crate) layouts: BTreeMap<DatasetName, Arc<Layout>>,
    pub(crate) views: Vec<(DatasetName, String)>,
    pub(crate) session: SessionContext,
    /// Staged files by dataset and batch; a batch without files is empty from now on.
    pub(crate) staged: BTreeMap<DatasetName, BTreeMap<i64, Vec<StagedFile>>>,
    /// Staged files of datasets of which all rows are replaced.
    pub(crate) whole: BTreeMap<DatasetName, Vec<StagedFile>>,
    /// What becomes of the files of datasets of which the rows of some keys are replaced.
    pub(crate) edits: BTreeMap<DatasetName, Edit>,
    /// Steps that were computed for a batch, each with all that it is made from.
    pub(crate) computed: Vec<(i64, Steps, LogicalPlan)>,
    /// What was deleted after a batch, by feed.
    pub(crate) checkpoints: BTreeMap<DatasetName, (i64, Vec<StagedFile>)>,
    /// Its files may be published: only the next lock of the flow takes away those that are not.
    publishing: bool,
}

impl DataFusionWork {
    pub(crate) fn new(
        catalog: Catalog,
        limits: Limits,
        plan: Arc<Plan>,
        snapshot: Snapshot,
        fence: i64,
        views: Vec<(DatasetName, String)>,
        run_id: &str,
    ) -> Result<Self, RunError> {
        let session = limits.work_session(true, widest(&plan)).map_err(error::engine)?;
        let mut layouts = BTreeMap::new();
        for dataset in plan.datasets.iter().filter(|dataset| dataset.is_stored()) {
            let table = snapshot.tables.get(&dataset.name);
            let folder =
                table.map_or_else(|| catalog.data.join(&dataset.name.namespace).join(&dataset.name.name), |table| table.folder.clone());
            let with_hash = plan
                .tasks
                .iter()
                .any(|task| task.target == dataset.name && task.steps.0.iter().any(|step| matches!(&*step.rel.op, Op::Classify(_))));
            let about = [("flow", plan.flow.id().to_owned()), ("run", run_id.to_owned())];
            layouts.insert(dataset.name.clone(), Arc::new(Layout::new(folder, table, dataset.schema.columns(), with_hash, &about)));
        }
        Ok(Self {
            catalog,
            limits,
            plan,
            snapshot,
            fence,
            layouts,
            views,
            session,
            staged: BTreeMap::new(),
            whole: BTreeMap::new(),
            edits: BTreeMap::new(),
            computed: Vec::new(),
            checkpoints: BTreeMap::new(),
            publishing: false,
        })
    }

    pub(crate) fn layout(&self, dataset: &DatasetName) -> Result<Arc<Layout>, RunError> {
        self.layouts.get(dataset).cloned().ok_or_else(|| RunError::failed(format!("`{dataset}` is not a dataset of the flow")))
    }

    pub(crate) fn spill_folder(&self) -> PathBuf {
        self.limits.spill.clone().unwrap_or_else(std::env::temp_dir)
    }

    pub(crate) fn lowering<'a>(&'a self, batch: &'a BatchContext, view: &'a View<'a>) -> Lowering<'a> {
        Lowering { tables: view, batch, steps: BTreeMap::new() }
    }

    /// The rows of a task, staged. In two stages when it classifies.
    async fn stage(&mut self, batch: &BatchContext, task: &Task, whole: bool, progress: &Progress) -> PlanResult<Written> {
        let layout = self.layout(&task.target).map_err(external)?;
        let count_by = task.count_by.as_deref();
        if let WriteMode::ReplaceKeys(replaced) = &task.write_mode {
            if whole || !self.snapshot.tables.contains_key(&task.target) {
                return self.stage_steps(batch, &replaced.whole, layout, count_by, progress).await;
            }
            return self.stage_keys(batch, task, replaced, layout, progress).await;
        }
        let Some(parts) = classify::parts(&task.steps) else {
            return self.stage_steps(batch, &task.steps, layout, count_by, progress).await;
        };
        let before = self.prepare(batch, &parts.before).await?;
        let compare = {
            let view = View::of(self, batch);
            let lowering = Lowering { steps: before.clone(), ..self.lowering(batch, &view) };
            classify::compare(&lowering, parts.classify)?
        };
        let schema: SchemaRef = Arc::new(compare.schema().as_arrow().clone());
        let open = Arc::new(Mutex::new(Scratch::new(&schema, self.spill_folder())));

        // First stage: complete rows go on to the steps after, the others are kept for the second.
        let physical = self.session.state().create_physical_plan(&compare).await?;
        let streams = execute_stream_partitioned(physical, self.session.task_ctx())?;
        let mut pumps = JoinSet::new();
        let mut partitions: Vec<Arc<dyn PartitionStream>> = Vec::new();
        for mut stream in streams {
            let (sender, receiver) = mpsc::channel::<PlanResult<RecordBatch>>(2);
            let open = open.clone();
            pumps.spawn(async move {
                while let Some(batch) = stream.next().await {
                    let [complete, rest] = classify::split(&batch?)?;
                    lock(&open).push(&rest)?;
                    if complete.num_rows() > 0 && sender.send(Ok(complete)).await.is_err() {
                        // The reader failed, and says so itself.
                        break;
                    }
                }
                Ok::<(), DataFusionError>(())
            });
            partitions.push(Arc::new(Pipe { schema: schema.clone(), receiver: Mutex::new(Some(receiver)) }));
        }
        let complete = scan(parts.name, Arc::new(StreamingTable::try_new(schema, partitions)?))?.build()?;
        let plan = self.after(batch, &before, &parts, complete)?;
        let (mut written, pumped) = tokio::join!(write(&self.session, plan, layout.clone(), count_by, progress), join_all(pumps));
        // A comparison that failed ends its pipe early: its error is the one to tell.
        pumped?;
        if let (Ok(first), Some(open)) = (&mut written, take(open).finish()?) {
            let plan = {
                let view = View::of(self, batch);
                let lowering = Lowering { steps: before.clone(), ..self.lowering(batch, &view) };
                classify::complete(&lowering, parts.classify, scan("open", open)?.build()?)?
            };
            let plan = self.after(batch, &before, &parts, plan)?;
            // Later batches look for old deletions: so these stand apart from what they need not read.
            let second = write_apart(&self.session, plan, layout, count_by, classify::deleted_apart, progress).await?;
            first.add(second);
        }
        written
    }

    async fn stage_steps(
        &mut self,
        batch: &BatchContext,
        steps: &Steps,
        layout: Arc<Layout>,
        count_by: Option<&str>,
        progress: &Progress,
    ) -> PlanResult<Written> {
        let plan = self.last(batch, steps).await?;
        write(&self.session, plan, layout, count_by, progress).await
    }

    async fn last(&mut self, batch: &BatchContext, steps: &Steps) -> PlanResult<LogicalPlan> {
        let plans = self.prepare(batch, steps).await?;
        let last = steps.0.last().and_then(|step| plans.get(&step.name)).cloned();
        last.ok_or_else(|| DataFusionError::Plan("there are no steps".to_owned()))
    }

    /// The new rows of the touched keys; their old ones are deleted, and all others stay as they are.
    async fn stage_keys(
        &mut self,
        batch: &BatchContext,
        task: &Task,
        replaced: &ReplaceKeys,
        layout: Arc<Layout>,
        progress: &Progress,
    ) -> PlanResult<Written> {
        let mut written = self.stage_steps(batch, &task.steps, layout.clone(), task.count_by.as_deref(), progress).await?;
        let plans = self.prepare(batch, &task.steps).await?;
        let touched = plans.get(&replaced.touched).cloned().ok_or_else(|| DataFusionError::Plan("no keys are touched".to_owned()))?;
        let columns = layout.columns.iter().filter_map(|(_, name, ty)| ty.map(|ty| Column::new(name, ty))).collect();
        let columns = Schema::new(columns).unwrap_or_default();
        let edit = self.part(&task.target, &touched, &replaced.keys, &layout).await?;
        let stored = match &edit {
            Some((_, rewritten)) if rewritten.is_empty() => None,
            Some((_, rewritten)) => {
                let table = PinnedTable::new(arrow_schema(&columns), rewritten.clone(), None);
                Some(scan(&task.target.name, Arc::new(table))?.build()?)
            }
            None => {
                let view = View::of(self, batch);
                Some(self.lowering(batch, &view).rel(&Rel::scan(&task.target, &columns, AsOf::AllBatches))?)
            }
        };
        if let Some(stored) = stored {
            let kept = join(LogicalPlanBuilder::new(touched), stored, JoinType::RightAnti, &pairs(&replaced.keys))?.build()?;
            // Only what is new is told.
            let kept = write(&self.session, kept, layout, None, &Progress::silent()).await?;
            written.files.extend(kept.files);
        }
        written.edit = edit.map(|(edit, _)| Edit { new: std::mem::take(&mut written.files), ..edit });
        Ok(written)
    }

    /// What becomes of the target's files, and those of them that are written anew; `None` when all its rows are, since
    /// its columns change or something is staged for it already.
    async fn part(
        &self,
        target: &DatasetName,
        touched: &LogicalPlan,
        keys: &[String],
        layout: &Layout,
    ) -> PlanResult<Option<(Edit, Vec<DataFile>)>> {
        let Some(table) = self.snapshot.tables.get(target) else { return Ok(None) };
        let stored: HashMap<i64, &str> = table.columns.iter().map(|column| (column.id, column.ty.as_str())).collect();
        let stands = |(id, _, ty): &(i64, String, String)| stored.get(id).is_some_and(|stored| stored == ty);
        let is_staged = self.whole.contains_key(target) || self.edits.contains_key(target);
        if is_staged || !layout.catalog_columns().iter().all(stands) {
            return Ok(None);
        }
        let first = keys.first().map(String::as_str);
        let files = self.catalog.files(self.snapshot.id, table, BatchRange::All, first).map_err(external)?;
        let files = files.into_iter().map(|(_, file)| file).collect();
        let keys = Keys::collect(&self.session, touched, keys, self.limits.pool_bytes() / 8).await?;
        deletes::part(files, keys, layout, &self.limits).await.map(Some)
    }

    /// The steps after a classification, over its rows.
    fn after(
        &self,
        batch: &BatchContext,
        before: &BTreeMap<String, LogicalPlan>,
        parts: &classify::Parts<'_>,
        rows: LogicalPlan,
    ) -> PlanResult<LogicalPlan> {
        let view = View::of(self, batch);
        let mut lowering = Lowering { steps: before.clone(), ..self.lowering(batch, &view) };
        lowering.steps.insert(parts.name.to_owned(), rows.clone());
        if parts.after.0.is_empty() { Ok(rows) } else { lowering.steps(&parts.after) }
    }

    /// A session whose joins sort and spill instead of holding one side in memory.
    fn use_sorted_joins(&mut self) -> PlanResult<()> {
        self.session = self.limits.work_session(false, widest(&self.plan))?;
        Ok(())
    }

    /// The size of the table of keys that a classification would hold.
    fn held_bytes(&self, batch: &BatchContext, task: &Task) -> u64 {
        let Some(parts) = classify::parts(&task.steps) else { return 0 };
        let Some(previous) = batch.previous else { return 0 };
        let rows = match self.staged.get(&task.target).and_then(|batches| batches.get(&previous)) {
            Some(files) => files.iter().map(|file| file.rows).sum(),
            None => self.live_rows(&task.target, previous),
        };
        self.layouts.get(&task.target).map_or(0, |layout| classify::held_bytes(layout.schema(), &parts.classify.keys, rows))
    }

    /// Whether the dataset's stored hashes are those of the columns as they are now. Hashes leave NULL out and numbers
    /// hash by value, so a column that is added or a number that is widened keeps them; one that went, or became
    /// another kind of value, does not.
    pub(crate) fn has_usable_hash(&self, dataset: &DatasetName) -> bool {
        let Some(layout) = self.layouts.get(dataset).filter(|layout| layout.schema().field_with_name(ROW_HASH).is_ok()) else {
            return false;
        };
        let Some(table) = self.snapshot.tables.get(dataset) else { return true };
        let gone: HashSet<&str> = self.plan.input.iter().filter(|column| column.gone).map(|column| column.name.as_str()).collect();
        let types: HashMap<i64, Type> = layout.columns.iter().filter_map(|(id, _, ty)| Some((*id, (*ty)?))).collect();
        table.columns.iter().filter(|column| column.name != ROW_HASH).all(|old| {
            if gone.contains(old.name.as_str()) {
                return false;
            }
            let now = types.get(&old.id).copied();
            match (word_type(&old.ty), now) {
                (Some(Type::Int | Type::Decimal { .. }), Some(Type::Int | Type::Decimal { .. })) => true,
                (was, now) => was.is_some() && was == now,
            }
        })
    }

    /// The rows that a dataset of another flow has of a batch, in the version that the work began on; in the order of all
    /// their columns when order counts, whatever the order in which they are stored.
    async fn batch_rows(&self, dataset: &DatasetName, batch_id: i64, spec: &ReadSpec, ordered: bool) -> Result<BatchRows, RunError> {
        let spec = &spec.present();
        let absent = || RunError::failed(format!("`{dataset}` is not there"));
        let table = self.snapshot.tables.get(dataset).ok_or_else(absent)?;
        let files = self.catalog.files(self.snapshot.id, table, BatchRange::Only(batch_id), None)?;
        let files: Vec<DataFile> = files.into_iter().map(|(_, file)| file).collect();
        let rows = files.iter().map(|file| file.rows).sum();
        let stored = query::columns(table);
        let own = |column: &ReadColumn| {
            let stored = stored.iter().find(|stored| stored.name == column.source);
            // A column that is not there yet is NULL.
            Column::new(&column.source, stored.map_or(column.ty.unwrap_or(Type::Text), |stored| stored.ty))
        };
        let columns: Vec<Column> = spec.columns.iter().map(own).collect();
        let types = columns.iter().map(|column| column.ty).collect();
        let schema = query::arrow_schema(&Schema::new(columns.clone()).unwrap_or_default());
        let stream = async {
            let mut plan = scan(&dataset.name, Arc::new(PinnedTable::new(schema, files, None)))?;
            if ordered {
                plan = plan.sort(columns.iter().map(|found| column(&found.name).sort(true, true)))?;
            }
            self.session.execute_logical_plan(plan.build()?).await?.execute_stream().await
        };
        let mut stream = stream.await.map_err(error::engine)?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            let read = panics::caught(async {
                while let Some(batch) = stream.next().await {
                    if sender.send(batch).await.is_err() {
                        // Who reads them failed, and says so itself.
                        break;
                    }
                }
                Ok(())
            });
            // Rows that end early must not pass for all of them.
            if let Err(panic) = read.await {
                let _ = sender.send(Err(external(panic))).await;
            }
        });
        Ok(BatchRows { dataset: dataset.to_string(), types, rows, receiver })
    }

    async fn landed_rows(&self, landing: &DatasetName, batch_id: i64, files: &[String], ordered: bool) -> Result<LandedRows, RunError> {
        let layout = self.layout(landing)?;
        LandedRows::of(&self.session, (&self.catalog, &self.snapshot), landing, &layout, batch_id, files, ordered).await
    }

    fn live_rows(&self, dataset: &DatasetName, batch: i64) -> u64 {
        let Some(table) = self.snapshot.tables.get(dataset) else { return 0 };
        let files = self.catalog.listed(self.snapshot.id, table, BatchRange::Only(batch), None).unwrap_or_default();
        files.iter().map(|(_, file)| file.rows).sum()
    }

    fn all_rows(&self, dataset: &DatasetName) -> u64 {
        let Some(table) = self.snapshot.tables.get(dataset) else { return 0 };
        let files = self.catalog.listed(self.snapshot.id, table, BatchRange::All, None).unwrap_or_default();
        files.iter().map(|(_, file)| file.rows).sum()
    }

    fn keep(&mut self, dataset: &DatasetName, batch: i64, files: Vec<StagedFile>) {
        if let Some(old) = self.staged.entry(dataset.clone()).or_default().insert(batch, files) {
            remove(&old);
        }
    }
}

/// The most columns that a dataset has.
fn widest(plan: &Plan) -> usize {
    plan.datasets.iter().map(|dataset| dataset.schema.columns().len()).max().unwrap_or(0)
}

impl Drop for DataFusionWork {
    fn drop(&mut self) {
        if !self.publishing {
            self.staged
                .values()
                .flat_map(BTreeMap::values)
                .chain(self.whole.values())
                .chain(self.checkpoints.values().map(|(_, files)| files))
                .for_each(|files| remove(files));
            self.edits.values().for_each(Edit::remove);
        }
    }
}

#[async_trait]
impl Work for DataFusionWork {
    async fn land(
        &mut self,
        batch: &BatchContext,
        source: &BatchSource,
        spec: &ReadSpec,
        ordered: bool,
        progress: &Progress,
    ) -> Result<Landed, LandError> {
        let Some(landing) = self.plan.landing().map(|landing| landing.name.clone()) else { return Ok(Landed::default()) };
        let layout = self.layout(&landing)?;
        let rows = match source {
            BatchSource::Files(parts) => {
                let names = FilePart::landed(parts);
                let landed = match names.is_empty() {
                    true => None,
                    false => Some(self.landed_rows(&landing, batch.batch_id, &names, ordered).await?),
                };
                Rows::Files(parts.clone(), landed)
            }
            BatchSource::Dataset(dataset) => Rows::Dataset(self.batch_rows(dataset, batch.batch_id, spec, ordered).await?),
        };
        let (batch_id, spec, progress) = (batch.batch_id, spec.clone(), progress.clone());
        let stop = StopWhenDropped(Arc::new(AtomicBool::new(false)));
        let stopped = stop.0.clone();
        let writers = self.limits.threads.clamp(1, 4);
        let landed = tokio::task::spawn_blocking(move || land(rows, &spec, batch_id, ordered, &layout, writers, &progress, &stopped));
        let (landed, staged) = landed.await.map_err(panics::joined)??;
        drop(stop);
        self.keep(&landing, batch.batch_id, staged);
        Ok(landed)
    }

    async fn landed(&mut self, batch: &BatchContext, files: &[String], spec: &ReadSpec, ordered: bool) -> Result<Landed, RunError> {
        let Some(landing) = self.plan.landing().map(|landing| landing.name.clone()) else { return Ok(Landed::default()) };
        let rows = self.landed_rows(&landing, batch.batch_id, files, ordered).await?;
        let mut places = Places::default();
        files.iter().for_each(|file| places.add(file, rows.counts.get(file).copied().unwrap_or(0)));
        let spec = spec.clone();
        blocking(move || rows.say(&places.firsts(), &spec, ordered)).await
    }

    async fn run(&mut self, batch: &BatchContext, task: &Task, whole: bool, progress: &Progress) -> Result<StepReport, RunError> {
        let started = Instant::now();
        self.computed.retain(|(id, ..)| *id == batch.batch_id);
        // A hash join cannot spill: what it would hold must fit beside everything else.
        if self.held_bytes(batch, task) > self.limits.pool_bytes() as u64 / 2 {
            self.use_sorted_joins().map_err(error::engine)?;
        }
        let written = match self.stage(batch, task, whole, progress).await {
            Err(why) if error::is_exhausted(&why) => {
                self.use_sorted_joins().map_err(error::engine)?;
                self.stage(batch, task, whole, progress).await
            }
            other => other,
        };
        let Written { rows, counts, files, edit } = written.map_err(error::engine)?;
        if task.write_mode.is_of_batch() {
            self.keep(&task.target, batch.batch_id, files);
        } else if let Some(edit) = edit {
            self.edits.insert(task.target.clone(), edit);
        } else {
            let whole = self.whole.insert(task.target.clone(), files);
            whole.iter().for_each(|old| remove(old));
            self.edits.remove(&task.target).iter().for_each(Edit::remove);
        }
        Ok(StepReport { step: task.target.to_string(), rows, seconds: started.elapsed().as_secs_f64(), counts })
    }

    async fn rows(&mut self, batch: &BatchContext, steps: &Steps) -> Result<Vec<RecordBatch>, RunError> {
        let plan = self.last(batch, steps).await.map_err(error::engine)?;
        let rows = self.session.execute_logical_plan(plan).await.map_err(error::engine)?;
        rows.collect().await.map_err(error::engine)
    }

    async fn publish(mut self: Box<Self>, publish: Publish) -> Result<(), RunError> {
        let mut tables = Vec::new();
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for dataset in self.plan.datasets.iter().filter(|dataset| dataset.is_stored()) {
            let layout = self.layout(&dataset.name)?;
            let was = self.snapshot.tables.get(&dataset.name).cloned();
            let mut batches = Vec::new();
            for (batch, files) in self.staged.get(&dataset.name).into_iter().flatten() {
                folders.extend(files.iter().filter_map(|file| file.path.parent().map(PathBuf::from)));
                batches.push((*batch, self.live_rows(&dataset.name, *batch), files.clone()));
            }
            let whole = self.whole.get(&dataset.name).map(|files| {
                folders.extend(files.iter().filter_map(|file| file.path.parent().map(PathBuf::from)));
                (self.all_rows(&dataset.name), files.clone())
            });
            let edit = self.edits.get(&dataset.name).cloned();
            folders.extend(edit.iter().flat_map(Edit::files).filter_map(|file| file.path.parent().map(PathBuf::from)));
            let by_batch = self.plan.tasks.iter().all(|task| task.target != dataset.name || task.write_mode.is_of_batch());
            let columns = layout.catalog_columns();
            let checkpoint = self.checkpoints.get(&dataset.name).cloned();
            let kept = checkpoint.iter().flat_map(|(_, files)| files);
            folders.extend(kept.filter_map(|file| file.path.parent().map(PathBuf::from)));
            let name = dataset.name.clone();
            tables.push(TableChange { name, was, columns, batches, whole, edit, checkpoint, by_batch, drop_columns: false });
        }
        let changes = Changes { base: self.snapshot.id, fence: self.fence, tables, views: self.views.clone(), publish };
        let catalog = self.catalog.clone();
        self.publishing = true;
        // It goes on when nobody waits for it any more.
        blocking(move || {
            catalog.sync(&folders)?;
            catalog.publish(&changes)
        })
        .await
    }
}
