//! What an engine can do: keep records, land a batch, run tasks, publish, and read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use futures::stream::BoxStream;
use qetl_core::{Column, DatasetName, Plan, Problems, Task, ir::Steps, standard::Rendered};
use qetl_ingest::{DataProblem, Filled, Misfits, ReadSpec, SourceFile};

use crate::{
    error::RunError,
    progress::Progress,
    records::{BatchRecord, FileRecord, FlowDetails, FlowRecords, PinnedColumn, RunRecord},
    report::StepReport,
    standard::{Bench, Checked, Known, Statement},
};

/// Keeps a flow from being run twice at once; let go when dropped, or when its process dies.
pub trait FlowLock: Send + Sync {
    fn fence(&self) -> Arc<Fence>;
}

/// A number that grows with every holder who does something: a publish under an old one is refused.
#[derive(Debug)]
pub struct Fence {
    number: AtomicI64,
    is_own: AtomicBool,
}

impl Fence {
    /// As it stands in the records when the lock is taken.
    pub fn found(number: i64) -> Self {
        Self { number: AtomicI64::new(number), is_own: AtomicBool::new(false) }
    }

    pub fn number(&self) -> i64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Whether the holder has a number of its own.
    pub fn is_own(&self) -> bool {
        self.is_own.load(Ordering::SeqCst)
    }

    /// Gives the holder its number, which stands in the records now.
    pub fn take(&self, number: i64) {
        self.number.store(number, Ordering::SeqCst);
        self.is_own.store(true, Ordering::SeqCst);
    }
}

/// What instructions need to know of the batch that they derive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchContext {
    pub batch_id: i64,
    /// The greatest known id below it.
    pub previous: Option<i64>,
    /// Microseconds since 1970.
    pub processed_at: i64,
    /// Every batch that there is when this one is published, itself included, ascending.
    pub known: Arc<Vec<KnownBatch>>,
}

/// A batch, as instructions may ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBatch {
    pub batch_id: i64,
    /// Microseconds since 1970.
    pub processed_at: i64,
    /// Its files' names in the order in which they were read.
    pub files: Vec<String>,
    /// The columns that the plan has and its rows had not.
    pub lacks: Vec<String>,
}

impl BatchContext {
    /// The batches that lacked the column, as ranges of ids, ends included.
    pub fn lacking(&self, column: &str) -> Vec<(i64, i64)> {
        let mut ranges: Vec<(i64, i64)> = Vec::new();
        let mut goes_on = false;
        for batch in self.known.iter() {
            let lacks = batch.lacks.iter().any(|name| name == column);
            match ranges.last_mut().filter(|_| lacks && goes_on) {
                Some(last) => last.1 = batch.batch_id,
                None if lacks => ranges.push((batch.batch_id, batch.batch_id)),
                None => (),
            }
            goes_on = lacks;
        }
        ranges
    }

    /// The same of every column that some batch lacked.
    pub fn all_lacking(&self) -> Vec<(String, Vec<(i64, i64)>)> {
        let columns: BTreeSet<&String> = self.known.iter().flat_map(|batch| &batch.lacks).collect();
        columns.into_iter().map(|column| (column.clone(), self.lacking(column))).collect()
    }
}

/// What landing found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Landed {
    pub rows: u64,
    /// Equal for equal multisets of typed rows; of equal sequences when order counts.
    pub content_hash: u128,
    pub warnings: Vec<String>,
    /// Which of the wanted columns have values.
    pub filled: Filled,
    /// The open ones among them in which `""` was landed as NULL.
    pub emptied: Vec<usize>,
    /// Those that do not fit, of all rows of the batch.
    pub bad_rows: u64,
    /// What is wrong with the first few of them that were read now.
    pub bad: Vec<String>,
}

/// What becomes visible together with the work's tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    pub flow: String,
    /// New records of the batches that were executed; a generation that is taken already refuses the publish.
    pub batches: Vec<BatchRecord>,
    pub columns: Vec<PinnedColumn>,
    pub details: FlowDetails,
    pub run: RunRecord,
}

/// Where the rows of a batch are read from.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchSource {
    /// In reading order.
    Files(Vec<FilePart>),
    /// The rows of the same batch in another flow's dataset, found by `xt_batch_id`, of the version that the work began
    /// on. Columns that the dataset has not are NULL. Where order counts they are numbered in the order of all input
    /// columns.
    Dataset(DatasetName),
}

/// Where a file's rows are read from.
#[derive(Debug, Clone, PartialEq)]
pub enum FilePart {
    Read(SourceFile),
    /// The rows that the batch has landed of the file of this name stay as they are, whatever became of the file.
    Landed(String),
}

impl FilePart {
    /// The names of the files whose rows stay.
    pub fn landed(parts: &[FilePart]) -> Vec<String> {
        let names = parts.iter().filter_map(|part| match part {
            FilePart::Landed(name) => Some(name.clone()),
            FilePart::Read(_) => None,
        });
        names.collect()
    }
}

/// What is stored of a dataset, as flows that read its batches see it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    pub columns: Vec<Column>,
    /// The version in which each batch that has rows, or had some, changed last.
    pub batches: BTreeMap<i64, i64>,
}

/// Stored data of a dataset, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetInfo {
    pub name: DatasetName,
    pub view: bool,
    pub columns: Vec<Column>,
    pub rows: u64,
    pub bytes: u64,
    pub files: u64,
    pub batches: u64,
}

/// What `--at` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    Version(i64),
    /// Microseconds since 1970.
    Time(i64),
}

/// The rows of a query.
pub struct Rows {
    pub schema: SchemaRef,
    pub stream: BoxStream<'static, Result<RecordBatch, RunError>>,
}

/// An engine over its store.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Takes the flow's lock, waiting at most that long. Runs of the flow that are recorded as running have died: they are
    /// ended in the records.
    async fn lock(&self, flow: &str, wait: Duration) -> Result<Box<dyn FlowLock>, RunError>;

    async fn records(&self, flow: &str) -> Result<FlowRecords, RunError>;

    /// Begins the work on one batch. Nothing of it is visible until it is published; dropping it leaves no trace.
    async fn begin(&self, plan: Arc<Plan>, lock: &dyn FlowLock, run_id: &str) -> Result<Box<dyn Work>, RunError>;

    /// What a flow has stored, to be looked at. It cannot be published.
    async fn look(&self, plan: Arc<Plan>) -> Result<Box<dyn Work>, RunError>;

    /// How many stored values of the column do not fit the type.
    async fn misfits(&self, dataset: &DatasetName, column: &Column) -> Result<u64, RunError>;

    /// Records a run of the lock's holder as running, before anything is landed.
    async fn begin_run(&self, lock: &dyn FlowLock, run: &RunRecord) -> Result<(), RunError>;

    /// Records a run that published nothing; if it was running, it has ended.
    async fn record_run(&self, run: &RunRecord) -> Result<(), RunError>;

    /// Refuses to go on when something is missing of what is stored of these datasets.
    async fn refuse_gaps(&self, datasets: &[DatasetName]) -> Result<(), RunError>;

    /// Goes on from a version that is older than what was published, which is the one that there is; 0 when there is none.
    async fn accept_version(&self, version: i64) -> Result<(), RunError>;

    async fn runs(&self, flow: Option<&str>) -> Result<Vec<RunRecord>, RunError>;

    async fn datasets(&self) -> Result<Vec<DatasetInfo>, RunError>;

    /// Reads datasets; the text may do nothing else.
    async fn query(&self, sql: &str, at: Option<At>) -> Result<Rows, RunError>;

    /// The engine's own form of a task's instructions, for people: `sql` or `logical`.
    async fn show(&self, plan: Arc<Plan>, task: &Task) -> Result<String, RunError>;

    /// What a dataset is called in its SQL.
    fn table(&self, dataset: &DatasetName) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        format!("{}.{}", quoted(&dataset.namespace), quoted(&dataset.name))
    }

    /// Stands around names in its SQL that need it.
    fn quote(&self) -> char {
        '"'
    }

    /// Reads the SQL of a task that an author wrote. Problems stand in the flow file.
    fn statement(&self, sql: &Rendered, target: &DatasetName) -> Result<Statement, Problems>;

    /// Checks names and types of such SQL over datasets of these columns; nothing is read.
    async fn check(&self, sql: &Rendered, statement: &Statement, known: &Known) -> Result<Checked, RunError>;

    /// Begins the work on a batch of a standard flow, whose tasks make `own`. `anew`: what tasks derived before is gone.
    async fn bench(
        &self,
        flow: &str,
        own: &[DatasetName],
        lock: &dyn FlowLock,
        run_id: &str,
        anew: bool,
    ) -> Result<Box<dyn Bench>, RunError>;

    /// What is stored of a dataset; `None` when it is not there. Reads no rows.
    async fn stored(&self, dataset: &DatasetName) -> Result<Option<Stored>, RunError>;

    /// Records that the holder of the lock read a batch again and found it unchanged: these are its files from now on, in this order.
    async fn read_again(&self, flow: &str, lock: &dyn FlowLock, batch_id: i64, files: &[FileRecord]) -> Result<(), RunError>;

    /// The version in which each of the datasets changed last; views count as what they read.
    async fn changed(&self, datasets: &[DatasetName]) -> Result<BTreeMap<DatasetName, i64>, RunError>;
}

/// The work on one batch, and on those that are derived again because of it.
#[async_trait]
pub trait Work: Send {
    /// Reads a batch's rows into the landing dataset.
    async fn land(
        &mut self,
        batch: &BatchContext,
        source: &BatchSource,
        spec: &ReadSpec,
        ordered: bool,
        progress: &Progress,
    ) -> Result<Landed, LandError>;

    /// What landing would say of the rows that the batch has landed of these files, in this order.
    async fn landed(&mut self, batch: &BatchContext, files: &[String], spec: &ReadSpec, ordered: bool) -> Result<Landed, RunError>;

    /// Runs a task for a batch. `whole`: a task that replaces keys replaces them all.
    async fn run(&mut self, batch: &BatchContext, task: &Task, whole: bool, progress: &Progress) -> Result<StepReport, RunError>;

    /// The rows of the last step.
    async fn rows(&mut self, batch: &BatchContext, steps: &Steps) -> Result<Vec<RecordBatch>, RunError>;

    /// Makes all that was landed and derived visible, with its records, or nothing.
    async fn publish(self: Box<Self>, publish: Publish) -> Result<(), RunError>;
}

/// Why a batch could not be landed.
#[derive(Debug)]
pub enum LandError {
    /// Values do not fit the inferred types of these columns, and would fit those.
    Widen(Vec<(usize, qetl_core::Type)>),
    /// These columns were open, and have values now.
    Untyped(Vec<usize>),
    Run(RunError),
}

impl From<RunError> for LandError {
    fn from(error: RunError) -> Self {
        LandError::Run(error)
    }
}

impl From<DataProblem> for LandError {
    fn from(problem: DataProblem) -> Self {
        LandError::Run(problem.into())
    }
}

/// What landing ends with when rows did not fit.
pub fn landed_whole(misfits: Misfits) -> Result<(), LandError> {
    if let Some(problem) = misfits.problem() {
        return Err(problem.into());
    }
    let untyped: Vec<usize> = misfits.untyped().collect();
    if !untyped.is_empty() {
        return Err(LandError::Untyped(untyped));
    }
    let wider = misfits.wider();
    if wider.is_empty() { Ok(()) } else { Err(LandError::Widen(wider)) }
}
