//! The engine over its warehouse.
#![expect(clippy::wildcard_enum_match_arm, reason = "all other steps are shown as plans")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, TryLockError},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use datafusion::{
    logical_expr::{LogicalPlanBuilder, cast, try_cast},
    prelude::lit,
};
use qetl_core::{
    Column, DatasetName, Plan, Problems, Task,
    ir::{AsOf, Op, Rel, Steps},
    plan::DatasetKind,
    schema::Schema,
    standard::{Rendered, same_dataset},
};
use qetl_ingest::arrow_type;
use qetl_runtime::{
    BatchContext, Engine, Fence, FlowLock, FlowRecords, RunError, Work, durable,
    engine::{At, DatasetInfo, KnownBatch, Rows, Stored},
    records::{FileRecord, RunRecord},
    run::blocking,
    standard::{Bench, Checked, Known, Statement},
};
use qetl_sql::dialects::{Dialect, DuckDb};

use crate::{
    catalog::{BatchRange, Catalog, word_type},
    classify, error,
    lower::{Lowering, Tables, column, scan},
    prepare::worked_out,
    query,
    scan::PinnedTable,
    session::Limits,
    stage::ROW_HASH,
    tasks::{self, DataFusionBench},
    work::DataFusionWork,
};

/// Where the warehouse stands and what a run may use.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the data files, the locks and the room to spill.
    pub location: PathBuf,
    /// The catalog's file.
    pub catalog: PathBuf,
    /// Bytes that a run may use.
    pub memory_limit: u64,
    /// 0 for one a core.
    pub threads: usize,
    /// [`Tuning::USUAL`], unless a test wants to see in small tables what else large ones see.
    pub tuning: Tuning,
}

/// What pays, in tables of many rows and batches.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// The share of a data file's rows above which deleted rows are not listed beside it any more: the others are written anew.
    pub most_deleted: f64,
    /// With more keys than one for so many rows, all rows are read in place of those that have the keys.
    pub rows_a_key: u64,
    /// After so many batches the latest rows of all keys are kept in one file, if these batches have many rows beside it.
    pub kept_after: usize,
}

impl Tuning {
    /// Every scan skips the deleted rows, which costs it more than they did; a tenth of them is what that is worth.
    pub const USUAL: Self = Self { most_deleted: 0.1, rows_a_key: 8, kept_after: 8 };
}

/// The embedded engine.
#[derive(Debug)]
pub struct DataFusionEngine {
    catalog: Catalog,
    location: PathBuf,
    memory: u64,
    threads: usize,
    tuning: Tuning,
    /// Locks under which leftovers were reclaimed already.
    reclaimed: Mutex<BTreeSet<(String, i64)>>,
}

impl DataFusionEngine {
    /// Opens the warehouse; it is made by the first publish.
    pub fn open(settings: &Settings) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            catalog: Catalog::new(&settings.catalog, &settings.location),
            location: settings.location.clone(),
            memory: settings.memory_limit,
            threads: if settings.threads == 0 { cores } else { settings.threads },
            tuning: settings.tuning,
            reclaimed: Mutex::default(),
        }
    }

    fn limits(&self, spill: Option<PathBuf>) -> Limits {
        Limits { memory: self.memory, threads: self.threads, spill, tuning: self.tuning }
    }

    /// Removes what runs that died left in a flow's folders; once a lock, before anything is written under it.
    async fn reclaim(&self, flow: &str, fence: i64, folders: Vec<PathBuf>) -> Result<(), RunError> {
        if !self.reclaimed.lock().unwrap_or_else(PoisonError::into_inner).insert((flow.to_owned(), fence)) {
            return Ok(());
        }
        let catalog = self.catalog.clone();
        blocking(move || folders.iter().filter(|folder| folder.is_dir()).try_for_each(|folder| catalog.reclaim(folder))).await
    }

    /// Where a flow's runs spill; only the holder of its lock writes there.
    fn spill_folder(&self, flow: &str) -> PathBuf {
        self.location.join("tmp").join(flow)
    }
}

/// An OS lock on a file: it dies with its holder.
struct FileLock {
    file: File,
    fence: Arc<Fence>,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing is not enough while a child that is just being started still holds a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

impl FlowLock for FileLock {
    fn fence(&self) -> Arc<Fence> {
        self.fence.clone()
    }
}

#[async_trait]
impl Engine for DataFusionEngine {
    async fn lock(&self, flow: &str, wait: Duration) -> Result<Box<dyn FlowLock>, RunError> {
        let folder = self.location.join("locks");
        durable::create_folder(&folder).map_err(|why| error::file(&folder, why))?;
        let path = folder.join(format!("{flow}.lock"));
        let file = File::create(&path).map_err(|why| error::file(&path, why))?;
        let until = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(TryLockError::WouldBlock) => return Err(RunError::Locked { flow: flow.to_owned() }),
                Err(TryLockError::Error(why)) => return Err(error::file(&path, why)),
            }
        }
        let (catalog, name) = (self.catalog.clone(), flow.to_owned());
        let fence = Arc::new(blocking(move || catalog.lock(&name)).await?);
        // What an earlier holder spilled is nobody's now.
        let _ = std::fs::remove_dir_all(self.spill_folder(flow));
        Ok(Box::new(FileLock { file, fence }))
    }

    async fn begin_run(&self, lock: &dyn FlowLock, run: &RunRecord) -> Result<(), RunError> {
        let (catalog, run, held) = (self.catalog.clone(), run.clone(), lock.fence());
        blocking(move || catalog.begin_run(&held, &run)).await
    }

    async fn records(&self, flow: &str) -> Result<FlowRecords, RunError> {
        let (catalog, flow) = (self.catalog.clone(), flow.to_owned());
        blocking(move || catalog.records(&flow)).await
    }

    async fn begin(&self, plan: Arc<Plan>, lock: &dyn FlowLock, run_id: &str) -> Result<Box<dyn Work>, RunError> {
        let catalog = self.catalog.clone();
        let snapshot = blocking(move || catalog.snapshot(None)).await?;
        let views = views(&plan)?;
        let spill = self.spill_folder(plan.flow.id());
        std::fs::create_dir_all(&spill).map_err(|why| error::file(&spill, why))?;
        let work = DataFusionWork::new(
            self.catalog.clone(),
            self.limits(Some(spill)),
            plan.clone(),
            snapshot,
            lock.fence().number(),
            views,
            run_id,
        )?;
        let folders = work.layouts.values().map(|layout| layout.folder.clone()).collect();
        self.reclaim(plan.flow.id(), lock.fence().number(), folders).await?;
        Ok(Box::new(work))
    }

    async fn look(&self, plan: Arc<Plan>) -> Result<Box<dyn Work>, RunError> {
        let catalog = self.catalog.clone();
        let snapshot = blocking(move || catalog.snapshot(None)).await?;
        let work = DataFusionWork::new(self.catalog.clone(), self.limits(None), plan, snapshot, 0, Vec::new(), "")?;
        Ok(Box::new(work))
    }

    async fn misfits(&self, dataset: &DatasetName, wanted: &Column) -> Result<u64, RunError> {
        let catalog = self.catalog.clone();
        let snapshot = blocking(move || catalog.snapshot(None)).await?;
        let Some(table) = snapshot.tables.get(dataset) else { return Ok(0) };
        let Some(old) = table.columns.iter().find(|column| column.name == wanted.name).and_then(|column| word_type(&column.ty)) else {
            return Ok(0);
        };
        let stored = Schema::new(vec![Column::new(&wanted.name, old)]).unwrap_or_default();
        let files = self.catalog.files(snapshot.id, table, BatchRange::All, None)?;
        let provider = PinnedTable::new(query::arrow_schema(&stored), files.into_iter().map(|(_, file)| file).collect(), None);
        let count = async {
            let value = || column(&wanted.name);
            let there_and_back = cast(try_cast(value(), arrow_type(wanted.ty)), arrow_type(old));
            let differs = value().is_not_null().and(datafusion::logical_expr::binary_expr(
                there_and_back,
                datafusion::logical_expr::Operator::IsDistinctFrom,
                value(),
            ));
            let count = datafusion::functions_aggregate::expr_fn::count(lit(1_i64));
            let plan = LogicalPlanBuilder::new(scan(&dataset.name, Arc::new(provider))?.build()?)
                .filter(differs)?
                .aggregate(Vec::<datafusion::logical_expr::Expr>::new(), vec![count])?;
            let session = self.limits(None).session()?;
            session.execute_logical_plan(plan.build()?).await?.collect().await
        };
        let rows = count.await.map_err(error::engine)?;
        let count = rows.first().and_then(|batch| {
            arrow::array::AsArray::as_primitive_opt::<arrow::datatypes::Int64Type>(batch.column(0)).map(|counts| counts.value(0))
        });
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    async fn record_run(&self, run: &RunRecord) -> Result<(), RunError> {
        let (catalog, run) = (self.catalog.clone(), run.clone());
        blocking(move || catalog.record_run(&run)).await
    }

    async fn runs(&self, flow: Option<&str>) -> Result<Vec<RunRecord>, RunError> {
        let (catalog, flow) = (self.catalog.clone(), flow.map(str::to_owned));
        blocking(move || catalog.runs(flow.as_deref())).await
    }

    async fn datasets(&self) -> Result<Vec<DatasetInfo>, RunError> {
        let catalog = self.catalog.clone();
        blocking(move || {
            let snapshot = catalog.snapshot(None)?;
            let mut datasets = Vec::new();
            for (name, table) in &snapshot.tables {
                let files = catalog.files(snapshot.id, table, BatchRange::All, None)?;
                let batches: BTreeSet<Option<i64>> = files.iter().map(|(batch, _)| *batch).collect();
                datasets.push(DatasetInfo {
                    name: name.clone(),
                    view: false,
                    columns: query::columns(table),
                    rows: files.iter().map(|(_, file)| file.rows).sum(),
                    bytes: files.iter().map(|(_, file)| file.all_bytes()).sum(),
                    files: files.len() as u64,
                    batches: batches.len() as u64,
                });
            }
            for name in snapshot.views.keys() {
                datasets.push(DatasetInfo { name: name.clone(), view: true, columns: Vec::new(), rows: 0, bytes: 0, files: 0, batches: 0 });
            }
            datasets.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(datasets)
        })
        .await
    }

    async fn query(&self, sql: &str, at: Option<At>) -> Result<Rows, RunError> {
        let catalog = self.catalog.clone();
        let snapshot = blocking(move || catalog.snapshot(at.as_ref())).await?;
        let session = self.limits(None).session().map_err(error::engine)?;
        query::run(&self.catalog, snapshot, session, sql).await
    }

    async fn show(&self, plan: Arc<Plan>, task: &Task) -> Result<String, RunError> {
        let known = |batch_id| KnownBatch { batch_id, processed_at: 0, files: vec!["…".to_owned()], lacks: Vec::new() };
        let batch = BatchContext { batch_id: 2, previous: Some(1), processed_at: 0, known: Arc::new(vec![known(1), known(2)]) };
        show(&plan, task, &batch).map_err(error::engine)
    }

    fn statement(&self, sql: &Rendered, target: &DatasetName) -> Result<Statement, Problems> {
        tasks::statement(sql, target)
    }

    async fn check(&self, sql: &Rendered, statement: &Statement, known: &Known) -> Result<Checked, RunError> {
        tasks::check(&self.limits(None), sql, statement, known).await
    }

    async fn bench(
        &self,
        flow: &str,
        own: &[DatasetName],
        lock: &dyn FlowLock,
        run_id: &str,
        anew: bool,
    ) -> Result<Box<dyn Bench>, RunError> {
        let catalog = self.catalog.clone();
        let snapshot = blocking(move || catalog.snapshot(None)).await?;
        let spill = self.spill_folder(flow);
        std::fs::create_dir_all(&spill).map_err(|why| error::file(&spill, why))?;
        let about = tasks::About { flow, own, fence: lock.fence().number(), run_id, anew };
        let bench = DataFusionBench::new(self.catalog.clone(), self.limits(Some(spill)), snapshot, &about)?;
        self.reclaim(flow, lock.fence().number(), bench.folders()).await?;
        Ok(Box::new(bench))
    }

    async fn stored(&self, dataset: &DatasetName) -> Result<Option<Stored>, RunError> {
        let (catalog, dataset) = (self.catalog.clone(), dataset.clone());
        blocking(move || {
            let snapshot = catalog.snapshot(None)?;
            let Some(table) = snapshot.tables.get(&dataset) else { return Ok(None) };
            Ok(Some(Stored { columns: query::columns(table), batches: catalog.batches(table)? }))
        })
        .await
    }

    async fn read_again(&self, flow: &str, lock: &dyn FlowLock, batch_id: i64, files: &[FileRecord]) -> Result<(), RunError> {
        let (catalog, flow, fence, files) = (self.catalog.clone(), flow.to_owned(), lock.fence(), files.to_vec());
        blocking(move || catalog.read_again(&flow, &fence, batch_id, &files)).await
    }

    async fn refuse_gaps(&self, datasets: &[DatasetName]) -> Result<(), RunError> {
        let (catalog, datasets) = (self.catalog.clone(), datasets.to_vec());
        blocking(move || {
            let snapshot = catalog.snapshot(None)?;
            let stored = snapshot.tables.iter().filter(|(name, _)| datasets.iter().any(|dataset| same_dataset(dataset, name)));
            for (_, table) in stored {
                catalog.files(snapshot.id, table, BatchRange::All, None)?;
            }
            Ok(())
        })
        .await
    }

    async fn accept_version(&self, version: i64) -> Result<(), RunError> {
        let catalog = self.catalog.clone();
        blocking(move || catalog.accept(version)).await
    }

    async fn changed(&self, datasets: &[DatasetName]) -> Result<BTreeMap<DatasetName, i64>, RunError> {
        let (catalog, datasets) = (self.catalog.clone(), datasets.to_vec());
        blocking(move || catalog.changed(&datasets)).await
    }
}

/// A task's logical plans over empty tables: what the engine makes of the instructions, whatever the data.
fn show(plan: &Plan, task: &Task, batch: &BatchContext) -> datafusion::error::Result<String> {
    let tables = Unread { plan };
    let mut lowering = Lowering { tables: &tables, batch, steps: Default::default() };
    let Some(parts) = classify::parts(&task.steps) else {
        let mut text = String::new();
        let mut last = None;
        for step in &task.steps.with_steps_for(worked_out).0 {
            let plan = match &*step.rel.op {
                // These are no plans of the engine's: what they read is shown, and what they give has a name.
                Op::Sessionize(spec) => {
                    text.push_str(&format!(
                        "-- {}: cut from these events, user by user\n{}\n",
                        step.name,
                        lowering.events(spec)?.display_indent()
                    ));
                    nothing(&step.name, &step.rel)?
                }
                Op::Periods { bounds, .. } => {
                    text.push_str(&format!("-- {}: the periods between\n{}\n", step.name, lowering.rel(bounds)?.display_indent()));
                    nothing(&step.name, &step.rel)?
                }
                _ => lowering.rel(&step.rel)?,
            };
            lowering.steps.insert(step.name.clone(), plan.clone());
            last = Some(plan);
        }
        text.extend(last.map(|plan| format!("{}\n", plan.display_indent())));
        return Ok(text);
    };
    if !parts.before.0.is_empty() {
        lowering.steps(&parts.before)?;
    }
    let compare = classify::compare(&lowering, parts.classify)?;
    let schema = Arc::new(compare.schema().as_arrow().clone());
    let open = scan("open", Arc::new(PinnedTable::new(schema, Vec::new(), None)))?.build()?;
    let complete = classify::complete(&lowering, parts.classify, open)?;
    Ok(format!(
        "-- {}: new and unchanged rows are complete\n{}\n-- {}: the others, `open`, get their old values\n{}\n",
        parts.name,
        compare.display_indent(),
        parts.name,
        complete.display_indent()
    ))
}

fn nothing(name: &str, rel: &Rel) -> datafusion::error::Result<datafusion::logical_expr::LogicalPlan> {
    scan(name, Arc::new(PinnedTable::new(query::arrow_schema(rel.schema()), Vec::new(), None)))?.build()
}

/// Tables of a plan that have no rows.
struct Unread<'a> {
    plan: &'a Plan,
}

impl Tables for Unread<'_> {
    fn table(&self, dataset: &DatasetName, rel: &Rel, _: AsOf) -> datafusion::error::Result<Arc<dyn datafusion::catalog::TableProvider>> {
        let classified = |task: &&Task| task.target == *dataset && classify::parts(&task.steps).is_some();
        let with_hash = self.plan.tasks.iter().any(|task| classified(&task));
        let schema = query::arrow_schema(rel.schema());
        let fields = schema.fields().iter().map(|field| field.as_ref().clone());
        let hash = with_hash.then(|| arrow::datatypes::Field::new(ROW_HASH, arrow::datatypes::DataType::FixedSizeBinary(16), true));
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.chain(hash).collect::<Vec<_>>()));
        Ok(Arc::new(PinnedTable::new(schema, Vec::new(), None)))
    }
}

/// The views of a plan, in the words of the catalog's format.
fn views(plan: &Plan) -> Result<Vec<(DatasetName, String)>, RunError> {
    let table = |dataset: &DatasetName| {
        let quoted = |name: &str| qetl_sql::ident(DuckDb::SHELL.quote(), name);
        qetl_sql::ObjectName::from(vec![
            qetl_sql::Ident::new(query::CATALOG_PLACEHOLDER),
            quoted(&dataset.namespace),
            quoted(&dataset.name),
        ])
    };
    let batch = qetl_sql::Batch::default();
    let mut views = Vec::new();
    for dataset in &plan.datasets {
        if let DatasetKind::View(rel) = &dataset.kind {
            let mut steps = Steps::default();
            steps.add(&dataset.name.name, rel.clone());
            let sql = qetl_sql::query(&DuckDb::SHELL, &steps, &batch, &table).map_err(RunError::failed)?;
            views.push((dataset.name.clone(), sql));
        }
    }
    Ok(views)
}
