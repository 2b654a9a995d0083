//! The work on one batch: rows are landed and derived into staged files, then published.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arrow::{
    array::{Array, AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    error::{DataFusionError, Result as PlanResult},
    execution::TaskContext,
    logical_expr::LogicalPlan,
    physical_plan::{SendableRecordBatchStream, execute_stream_partitioned, stream::RecordBatchStreamAdapter, streaming::PartitionStream},
    prelude::SessionContext,
};
use futures::StreamExt;
use qetl_core::{
    DatasetName, Plan, Task, Type,
    ir::{AsOf, Op, Rel, Steps},
    plan::{Check, LANDING_COLUMNS},
};
use qetl_ingest::{ReadSpec, RowHasher, SourceFile, arrow_type};
use qetl_runtime::{
    BatchContext, RunError, Work,
    engine::{LandError, Landed, Publish},
    progress::{Event, Progress},
    report::StepReport,
    run::blocking,
};
use tokio::{sync::mpsc, task::JoinSet};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    catalog::{BatchRange, Catalog, Changes, DataFile, Snapshot, TableChange},
    classify, error,
    lower::{Lowering, Tables, empty_like, scan},
    scan::PinnedTable,
    scratch::Scratch,
    session::Limits,
    stage::{Layout, ROW_HASH, StagedFile, Stager, sync_folder},
};

/// The column whose bounds files are left out by.
const BOUNDED: &str = "xt_record_type";

pub(crate) struct DataFusionWork {
    pub(crate) catalog: Catalog,
    pub(crate) limits: Limits,
    pub(crate) plan: Arc<Plan>,
    pub(crate) snapshot: Snapshot,
    pub(crate) fence: i64,
    pub(crate) layouts: BTreeMap<DatasetName, Arc<Layout>>,
    pub(crate) views: Vec<(DatasetName, String)>,
    session: SessionContext,
    /// Staged files by dataset and batch; a batch without files is empty from now on.
    staged: BTreeMap<DatasetName, BTreeMap<i64, Vec<StagedFile>>>,
    /// Small steps that were computed for a batch.
    computed: Vec<(i64, Rel, LogicalPlan)>,
    published: bool,
}

impl DataFusionWork {
    pub(crate) fn new(catalog: Catalog, limits: Limits, plan: Arc<Plan>, snapshot: Snapshot, fence: i64, views: Vec<(DatasetName, String)>, run_id: &str) -> Result<Self, RunError> {
        let session = limits.work_session(true).map_err(error::engine)?;
        let mut layouts = BTreeMap::new();
        for dataset in plan.datasets.iter().filter(|dataset| dataset.is_stored()) {
            let table = snapshot.tables.get(&dataset.name);
            let folder = table.map_or_else(|| catalog.data.join(&dataset.name.namespace).join(&dataset.name.name), |table| table.folder.clone());
            let with_hash = plan.tasks.iter().any(|task| task.target == dataset.name && task.steps.0.iter().any(|step| matches!(&*step.rel.op, Op::Classify(_))));
            let about = [("flow", plan.flow.id().to_owned()), ("run", run_id.to_owned())];
            layouts.insert(dataset.name.clone(), Arc::new(Layout::new(folder, table, dataset.schema.columns(), with_hash, &about)));
        }
        Ok(Self { catalog, limits, plan, snapshot, fence, layouts, views, session, staged: BTreeMap::new(), computed: Vec::new(), published: false })
    }

    fn layout(&self, dataset: &DatasetName) -> Result<Arc<Layout>, RunError> {
        self.layouts.get(dataset).cloned().ok_or_else(|| RunError::failed(format!("`{dataset}` is not a dataset of the flow")))
    }

    fn spill_folder(&self) -> PathBuf {
        self.limits.spill.clone().unwrap_or_else(std::env::temp_dir)
    }

    fn lowering<'a>(&'a self, batch: &'a BatchContext, view: &'a View<'a>) -> Lowering<'a> {
        Lowering { tables: view, batch, steps: BTreeMap::new() }
    }

    /// Lowers steps, computing those that are small first.
    async fn prepare(&mut self, batch: &BatchContext, steps: &Steps) -> PlanResult<BTreeMap<String, LogicalPlan>> {
        let mut done: BTreeMap<String, LogicalPlan> = BTreeMap::new();
        for step in &steps.0 {
            let known = self.computed.iter().find(|(id, rel, _)| *id == batch.batch_id && *rel == step.rel).map(|found| found.2.clone());
            let plan = match known {
                Some(plan) => plan,
                None => {
                    let plan = {
                        let view = View { work: self, batch };
                        Lowering { steps: done.clone(), ..self.lowering(batch, &view) }.rel(&step.rel)?
                    };
                    if step.small {
                        let plan = self.compute(&step.name, plan).await?;
                        self.computed.push((batch.batch_id, step.rel.clone(), plan.clone()));
                        plan
                    } else {
                        plan
                    }
                }
            };
            done.insert(step.name.clone(), plan);
        }
        Ok(done)
    }

    /// Executes a plan and gives one that reads its rows.
    async fn compute(&self, name: &str, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
        let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
        let scratch = Arc::new(Mutex::new(Scratch::new(schema, self.spill_folder())));
        let shared = scratch.clone();
        let empty = empty_like(&plan);
        drain(&self.session, plan, move |batch| lock(&shared).push(&batch)).await?;
        match take(scratch).finish()? {
            Some(provider) => scan(name, provider)?.build(),
            None => Ok(empty),
        }
    }

    /// Runs a plan into staged files; counts rows by the column that the task names.
    async fn write(&self, plan: LogicalPlan, layout: Arc<Layout>, count_by: Option<&str>, progress: &Progress) -> PlanResult<Written> {
        let written = Arc::new(Mutex::new(Written::default()));
        let count_by = count_by.map(str::to_owned);
        let physical = self.session.state().create_physical_plan(&plan).await?;
        let streams = execute_stream_partitioned(physical, self.session.task_ctx())?;
        let mut tasks = JoinSet::new();
        for mut stream in streams {
            let (layout, written, count_by, progress) = (layout.clone(), written.clone(), count_by.clone(), progress.clone());
            tasks.spawn(async move {
                let mut stager = Stager::new(layout);
                while let Some(batch) = stream.next().await {
                    let batch = batch?;
                    stager.write(&batch).map_err(external)?;
                    let rows = {
                        let mut written = lock(&written);
                        written.count(&batch, count_by.as_deref());
                        written.rows
                    };
                    progress.tell(Event::Rows { rows, share: None });
                }
                lock(&written).files.extend(stager.finish().map_err(external)?);
                Ok::<(), DataFusionError>(())
            });
        }
        join_all(tasks).await?;
        Ok(take(written))
    }

    /// The rows of a task, staged. In two stages when it classifies.
    async fn stage(&mut self, batch: &BatchContext, task: &Task, progress: &Progress) -> PlanResult<Written> {
        let layout = self.layout(&task.target).map_err(external)?;
        let count_by = task.count_by.as_deref();
        let Some(parts) = classify::parts(&task.steps) else {
            let steps = self.prepare(batch, &task.steps).await?;
            let last = task.steps.0.last().and_then(|step| steps.get(&step.name)).cloned();
            let plan = last.ok_or_else(|| DataFusionError::Plan("the task has no steps".to_owned()))?;
            return self.write(plan, layout, count_by, progress).await;
        };
        let before = self.prepare(batch, &parts.before).await?;
        let compare = {
            let view = View { work: self, batch };
            let lowering = Lowering { steps: before.clone(), ..self.lowering(batch, &view) };
            classify::compare(&lowering, parts.classify)?
        };
        let schema: SchemaRef = Arc::new(compare.schema().as_arrow().clone());
        let open = Arc::new(Mutex::new(Scratch::new(schema.clone(), self.spill_folder())));

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
                    let (complete, rest) = classify::split(&batch?)?;
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
        let (mut written, pumped) = tokio::join!(self.write(plan, layout.clone(), count_by, progress), join_all(pumps));
        // A comparison that failed ends its pipe early: its error is the one to tell.
        pumped?;
        if let (Ok(first), Some(open)) = (&mut written, take(open).finish()?) {
            let plan = {
                let view = View { work: self, batch };
                let lowering = Lowering { steps: before.clone(), ..self.lowering(batch, &view) };
                classify::complete(&lowering, parts.classify, scan("open", open)?.build()?)?
            };
            let plan = self.after(batch, &before, &parts, plan)?;
            let second = self.write(plan, layout, count_by, progress).await?;
            first.add(second);
        }
        written
    }

    /// The steps after a classification, over its rows.
    fn after(&self, batch: &BatchContext, before: &BTreeMap<String, LogicalPlan>, parts: &classify::Parts<'_>, rows: LogicalPlan) -> PlanResult<LogicalPlan> {
        let view = View { work: self, batch };
        let mut lowering = Lowering { steps: before.clone(), ..self.lowering(batch, &view) };
        lowering.steps.insert(parts.name.to_owned(), rows.clone());
        if parts.after.0.is_empty() { Ok(rows) } else { lowering.steps(&parts.after) }
    }

    /// A session whose joins sort and spill instead of holding one side in memory.
    fn use_sorted_joins(&mut self) -> PlanResult<()> {
        self.session = self.limits.work_session(false)?;
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

    fn live_rows(&self, dataset: &DatasetName, batch: i64) -> u64 {
        let Some(table) = self.snapshot.tables.get(dataset) else { return 0 };
        let files = self.catalog.files(self.snapshot.id, table, BatchRange::Only(batch), None).unwrap_or_default();
        files.iter().map(|(_, file)| file.rows).sum()
    }

    fn keep(&mut self, dataset: &DatasetName, batch: i64, files: Vec<StagedFile>) {
        if let Some(old) = self.staged.entry(dataset.clone()).or_default().insert(batch, files) {
            remove(&old);
        }
    }
}

impl Drop for DataFusionWork {
    fn drop(&mut self) {
        if !self.published {
            self.staged.values().flat_map(BTreeMap::values).for_each(|files| remove(files));
        }
    }
}

/// Removes files that were never published; one that stays is reclaimed by a later run.
fn remove(files: &[StagedFile]) {
    for file in files {
        let _ = std::fs::remove_file(&file.path);
    }
}

#[async_trait]
impl Work for DataFusionWork {
    async fn land(&mut self, batch: &BatchContext, files: &[SourceFile], spec: &ReadSpec, ordered: bool, progress: &Progress) -> Result<Landed, LandError> {
        let Some(landing) = self.plan.landing().map(|landing| landing.name.clone()) else { return Ok(Landed::default()) };
        let layout = self.layout(&landing)?;
        let (batch_id, files, spec, progress) = (batch.batch_id, files.to_vec(), spec.clone(), progress.clone());
        let stop = StopWhenDropped(Arc::new(AtomicBool::new(false)));
        let stopped = stop.0.clone();
        let writers = self.limits.threads.clamp(1, 4);
        let landed = tokio::task::spawn_blocking(move || land(&files, &spec, batch_id, ordered, &layout, writers, &progress, &stopped));
        let (landed, staged) = landed.await.map_err(|panic| RunError::failed(format!("a thread ended early: {panic}")))??;
        drop(stop);
        self.keep(&landing, batch.batch_id, staged);
        Ok(landed)
    }

    async fn run(&mut self, batch: &BatchContext, task: &Task, progress: &Progress) -> Result<StepReport, RunError> {
        let started = Instant::now();
        self.computed.retain(|(id, ..)| *id == batch.batch_id);
        // A hash join cannot spill: what it would hold must fit beside everything else.
        if self.held_bytes(batch, task) > self.limits.pool_bytes() as u64 / 2 {
            self.use_sorted_joins().map_err(error::engine)?;
        }
        let written = match self.stage(batch, task, progress).await {
            Err(why) if error::is_exhausted(&why) => {
                self.use_sorted_joins().map_err(error::engine)?;
                self.stage(batch, task, progress).await
            }
            other => other,
        };
        let Written { rows, counts, files } = written.map_err(error::engine)?;
        self.keep(&task.target, batch.batch_id, files);
        Ok(StepReport { step: task.target.to_string(), rows, seconds: started.elapsed().as_secs_f64(), counts })
    }

    async fn judge(&mut self, batch: &BatchContext, check: &Check) -> Result<Vec<RecordBatch>, RunError> {
        let steps = self.prepare(batch, &check.steps).await.map_err(error::engine)?;
        let Some(plan) = check.steps.0.last().and_then(|step| steps.get(&step.name)) else { return Ok(Vec::new()) };
        let rows = self.session.execute_logical_plan(plan.clone()).await.map_err(error::engine)?;
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
            tables.push(TableChange { name: dataset.name.clone(), was, columns: layout.catalog_columns(), batches });
        }
        let changes = Changes { base: self.snapshot.id, fence: self.fence, tables, views: self.views.clone(), publish };
        let catalog = self.catalog.clone();
        blocking(move || {
            folders.iter().try_for_each(|folder| sync_folder(folder))?;
            catalog.publish(&changes)
        })
        .await?;
        self.published = true;
        Ok(())
    }
}

/// Tells a thread to stop when nobody waits for it any more.
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads the files in order and writes their rows with several writers, each its own files.
#[expect(clippy::too_many_arguments, reason = "all that landing needs, handed to a thread of its own")]
fn land(
    files: &[SourceFile],
    spec: &ReadSpec,
    batch_id: i64,
    ordered: bool,
    layout: &Arc<Layout>,
    writers: usize,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<(Landed, Vec<StagedFile>), LandError> {
    let loaded_at = chrono::Utc::now().timestamp_micros();
    let total: u64 = files.iter().filter_map(|file| std::fs::metadata(&file.path).ok()).map(|meta| meta.len()).sum();
    let hasher = RowHasher::new(spec.columns.iter().map(|column| column.name.as_str()));
    std::thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..writers {
            let (sender, receiver) = std::sync::mpsc::sync_channel::<(RecordBatch, u64)>(2);
            let (hasher, columns) = (&hasher, spec.columns.len());
            threads.push(scope.spawn(move || -> Result<(u128, Vec<StagedFile>), RunError> {
                let mut stager = Stager::new(layout.clone());
                let (mut sum, mut hashes) = (0_u128, Vec::new());
                for (batch, first) in receiver {
                    hashes.clear();
                    let input = batch.project(&(0..columns).collect::<Vec<_>>()).map_err(RunError::failed)?;
                    hasher.hash(&input, &mut hashes).map_err(RunError::failed)?;
                    for (place, hash) in (first..).zip(&hashes) {
                        sum = sum.wrapping_add(if ordered { placed(*hash, place) } else { *hash });
                    }
                    stager.write(&batch)?;
                }
                Ok((sum, stager.finish()?))
            }));
            senders.push(sender);
        }
        let mut landed = Landed::default();
        let (mut turn, mut read_before) = (0, 0);
        let mut read = || -> Result<(), LandError> {
            for file in files {
                let mut rows_of_file = 0_i64;
                let mut reader = qetl_ingest::read(file, spec)?;
                while let Some(batch) = reader.next() {
                    if stop.load(Ordering::Relaxed) {
                        return Err(LandError::Run(RunError::Interrupted));
                    }
                    let batch = batch?;
                    let rows = batch.num_rows();
                    let batch = with_place(&batch, batch_id, loaded_at, &file.name, rows_of_file).map_err(RunError::failed)?;
                    rows_of_file += i64::try_from(rows).unwrap_or(i64::MAX);
                    // A writer that failed is no longer there; its error is told below.
                    if senders[turn % writers].send((batch, landed.rows)).is_err() {
                        return Ok(());
                    }
                    landed.rows += rows as u64;
                    turn += 1;
                    let share = (total > 0).then(|| (read_before + reader.bytes_read()) as f64 / total as f64);
                    progress.tell(Event::Rows { rows: landed.rows, share });
                }
                read_before += std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
                landed.warnings.extend(reader.warnings().iter().cloned());
            }
            Ok(())
        };
        let outcome = read();
        drop(senders);
        let mut staged = Vec::new();
        let mut failure = outcome.err();
        for thread in threads {
            match thread.join().unwrap_or_else(|_| Err(RunError::failed("a writer ended early"))) {
                Ok((sum, files)) => {
                    landed.content_hash = landed.content_hash.wrapping_add(sum);
                    staged.extend(files);
                }
                Err(error) => failure = failure.or(Some(error.into())),
            }
        }
        match failure {
            None => Ok((landed, staged)),
            Some(failure) => {
                remove(&staged);
                Err(failure)
            }
        }
    })
}

/// A row's hash together with its place among all rows, for batches in which order counts.
fn placed(hash: u128, place: u64) -> u128 {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&hash.to_le_bytes());
    bytes[16..].copy_from_slice(&place.to_le_bytes());
    xxh3_128(&bytes)
}

/// The rows with what landing adds to them.
fn with_place(batch: &RecordBatch, batch_id: i64, loaded_at: i64, file: &str, rows_before: i64) -> Result<RecordBatch, arrow::error::ArrowError> {
    let rows = batch.num_rows();
    let first = rows_before + 1;
    let numbers = Int64Array::from_iter_values(first..first + i64::try_from(rows).unwrap_or(i64::MAX));
    let added: [Arc<dyn Array>; 4] = [
        Arc::new(Int64Array::from_value(batch_id, rows)),
        Arc::new(TimestampMicrosecondArray::from_value(loaded_at, rows).with_timezone("UTC")),
        Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(file, rows))),
        Arc::new(numbers),
    ];
    let fields = batch.schema().fields().iter().map(|field| field.as_ref().clone()).chain(LANDING_COLUMNS.iter().map(|(name, ty)| Field::new(*name, arrow_type(*ty), true))).collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().iter().cloned().chain(added).collect())
}

/// What a task wrote.
#[derive(Default)]
struct Written {
    rows: u64,
    counts: BTreeMap<String, u64>,
    files: Vec<StagedFile>,
}

impl Written {
    fn count(&mut self, batch: &RecordBatch, by: Option<&str>) {
        self.rows += batch.num_rows() as u64;
        let Some(words) = by.and_then(|by| batch.column_by_name(by)).and_then(|column| column.as_string_view_opt()) else { return };
        let mut run: Option<(&str, u64)> = None;
        for word in words.iter().flatten() {
            match &mut run {
                Some((last, count)) if *last == word => *count += 1,
                _ => {
                    if let Some((last, count)) = run.replace((word, 1)) {
                        *self.counts.entry(last.to_owned()).or_default() += count;
                    }
                }
            }
        }
        if let Some((last, count)) = run {
            *self.counts.entry(last.to_owned()).or_default() += count;
        }
    }

    fn add(&mut self, other: Written) {
        self.rows += other.rows;
        self.files.extend(other.files);
        for (word, count) in other.counts {
            *self.counts.entry(word).or_default() += count;
        }
    }
}

/// Where the scans of a batch's instructions find their rows: the version that the work began on, with what it staged.
struct View<'a> {
    work: &'a DataFusionWork,
    batch: &'a BatchContext,
}

impl Tables for View<'_> {
    fn table(&self, dataset: &DatasetName, rel: &Rel, as_of: AsOf) -> PlanResult<Arc<dyn TableProvider>> {
        let range = match as_of {
            AsOf::ThisBatch => BatchRange::Only(self.batch.batch_id),
            // Batch ids begin at 1.
            AsOf::PreviousBatch => BatchRange::Only(self.batch.previous.unwrap_or(0)),
            AsOf::BeforeThisBatch => BatchRange::Below(self.batch.batch_id),
            AsOf::AllBatches => BatchRange::All,
        };
        let (work, staged) = (self.work, self.work.staged.get(dataset));
        let table = work.snapshot.tables.get(dataset);
        let mut files = Vec::new();
        if let Some(table) = table {
            let published = work.catalog.files(work.snapshot.id, table, range, Some(BOUNDED)).map_err(external)?;
            let stands = |batch: &Option<i64>| !batch.is_some_and(|batch| staged.is_some_and(|staged| staged.contains_key(&batch)));
            files.extend(published.into_iter().filter(|(batch, _)| stands(batch)).map(|(_, file)| file));
        }
        for (_, staged) in staged.into_iter().flatten().filter(|(batch, _)| range.contains(**batch)) {
            files.extend(staged.iter().map(|file| self.staged_file(dataset, file)));
        }
        let hash = work.layouts.get(dataset).is_some_and(|layout| layout.schema().field_with_name(ROW_HASH).is_ok());
        let fields = rel.columns().iter().map(|column| Field::new(&column.name, arrow_type(column.ty), true));
        let fields: Vec<Field> = fields.chain(hash.then(|| Field::new(ROW_HASH, DataType::FixedSizeBinary(16), true))).collect();
        Ok(Arc::new(PinnedTable::new(Arc::new(Schema::new(fields)), files, Some(BOUNDED))))
    }
}

impl View<'_> {
    fn staged_file(&self, dataset: &DatasetName, file: &StagedFile) -> DataFile {
        let columns = self.work.layouts.get(dataset).map(|layout| &layout.columns);
        let bounded = columns.and_then(|columns| columns.iter().find(|(_, name, ty)| name == BOUNDED && *ty == Some(Type::Text)));
        let stats = bounded.and_then(|(id, ..)| file.columns.iter().find(|stats| stats.column_id == *id));
        let bounds = stats.and_then(|stats| stats.min.clone().zip(stats.max.clone()));
        DataFile { path: file.path.clone(), rows: file.rows, bytes: file.bytes, bounds }
    }
}

/// One partition of rows that another plan makes while this one reads them.
#[derive(Debug)]
struct Pipe {
    schema: SchemaRef,
    receiver: Mutex<Option<mpsc::Receiver<PlanResult<RecordBatch>>>>,
}

impl PartitionStream for Pipe {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let receiver = lock(&self.receiver).take();
        let stream = futures::stream::unfold(receiver, |receiver| async move {
            let mut receiver = receiver?;
            let batch = receiver.recv().await?;
            Some((batch, Some(receiver)))
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream))
    }
}

/// Executes a plan and gives its batches away, from several threads.
async fn drain(session: &SessionContext, plan: LogicalPlan, give: impl Fn(RecordBatch) -> PlanResult<()> + Clone + Send + 'static) -> PlanResult<()> {
    let physical = session.state().create_physical_plan(&plan).await?;
    let mut tasks = JoinSet::new();
    for mut stream in execute_stream_partitioned(physical, session.task_ctx())? {
        let give = give.clone();
        tasks.spawn(async move {
            while let Some(batch) = stream.next().await {
                give(batch?)?;
            }
            Ok::<(), DataFusionError>(())
        });
    }
    join_all(tasks).await
}

async fn join_all(mut tasks: JoinSet<PlanResult<()>>) -> PlanResult<()> {
    while let Some(done) = tasks.join_next().await {
        done.map_err(|panic| DataFusionError::ExecutionJoin(Box::new(panic)))??;
    }
    Ok(())
}

pub(crate) fn external(error: RunError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A thread that panicked while it held the lock has failed the run already.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take<T>(shared: Arc<Mutex<T>>) -> T {
    let Ok(mutex) = Arc::try_unwrap(shared) else { unreachable!("every task that shared it has ended") };
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
