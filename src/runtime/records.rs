//! What is known of the batches that were published: the same whatever engine keeps it.

use std::collections::BTreeMap;

use qetl_core::Type;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A batch that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRecord {
    pub batch_id: i64,
    /// 1, and one more with every replay that changed it.
    pub generation: i64,
    /// Microseconds since 1970: what `xt_processed_at` says.
    pub processed_at: i64,
    /// Rows that were landed.
    pub rows: i64,
    /// Equal for batches of equal typed rows.
    pub content_hash: u128,
    /// The properties that shaped its rows.
    pub shape: Value,
    /// In the order in which they were read.
    pub files: Vec<FileRecord>,
    pub details: BatchDetails,
}

/// What else is recorded of a batch. Engines keep these details as JSON: one more is a field here, and nothing else. What
/// an older qetl did not record has the field's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchDetails {
    /// The input columns that its rows had when they were landed; `None`: an older qetl did not say.
    pub columns: Option<Vec<String>>,
    /// Of a standard flow: what its tasks, by id, read of other flows' datasets, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reads: Option<TaskReads>,
}

/// By the task's id, then the dataset's name.
pub type TaskReads = BTreeMap<String, BTreeMap<String, DatasetRead>>;

/// What a task read of a dataset of another flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetRead {
    /// The version in which the dataset had changed last; 0 when batches of it were read.
    pub version: i64,
    /// The batches of it that were read, each with the version in which it had changed last; `None`: all of the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batches: Option<BTreeMap<i64, i64>>,
}

/// A source file as a batch read it; or the dataset that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// How messages and `xt_source_file` call it: relative to the project when it is inside, `/` between folders; a
    /// dataset's name.
    pub name: String,
    /// In bytes; 0 of a dataset.
    pub size: u64,
    /// Microseconds since 1970, as the file system had it; 0 of a dataset.
    pub modified: i64,
    /// Of a dataset, the version in which the batch had changed last.
    pub content_hash: u128,
    /// Microseconds since 1970: when it was read.
    pub loaded_at: i64,
    pub details: FileDetails,
}

/// What else is recorded of a file; kept as `BatchDetails` are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileDetails {
    /// Microseconds since 1970: when what the file system knows of it had changed last.
    pub changed: Option<i64>,
    pub inode: Option<u64>,
    /// What its folders told of `partition_columns`; NULL is `None`.
    pub folders: BTreeMap<String, Option<String>>,
    /// The dataset that its rows are landed in, where a flow has several.
    pub landed_in: Option<String>,
}

/// An input column as it was pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedColumn {
    pub name: String,
    pub ty: Type,
    /// It was inferred: an integer may widen to a decimal.
    pub inferred: bool,
    pub details: ColumnDetails,
}

/// What else is recorded of a column; kept as `BatchDetails` are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColumnDetails {
    /// What the flow type decided of it when the first rows were published: see `FlowType::roles`.
    pub role: Option<String>,
    /// Every value so far is NULL: the type is that of the first value that comes.
    pub open: bool,
    /// Meanwhile `""` was landed in it as NULL.
    pub emptied: bool,
}

/// What is recorded of a flow as a whole; kept as `BatchDetails` are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowDetails {
    /// The rules by which its tables were made: see `qetl_core::rules`.
    pub rules: u32,
    /// The columns that batches had at most of which an older qetl did not say which they had.
    pub old_columns: Option<Vec<String>>,
    /// Of those batches, the columns that were looked for in them and have no value there.
    pub lacked: BTreeMap<i64, Vec<String>>,
    /// The hash of the text whose warnings were told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warned: Option<String>,
}

/// All that is recorded of a flow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlowRecords {
    /// Ascending by id.
    pub batches: Vec<BatchRecord>,
    /// Every input column there ever was.
    pub columns: Vec<PinnedColumn>,
    /// Every file that any generation of a batch was read from: a file is loaded once, even when the batch was replaced.
    pub ledger: Vec<(i64, FileRecord)>,
    pub details: FlowDetails,
}

/// Details as engines keep them.
pub fn details_text(details: &impl Serialize) -> String {
    serde_json::to_string(details).unwrap_or_else(|_| unreachable!("details are texts, numbers, lists and tables"))
}

/// Details from what an engine has kept; `{}` when it kept none.
pub fn read_details<T: for<'de> Deserialize<'de> + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

impl FlowRecords {
    pub fn batch(&self, id: i64) -> Option<&BatchRecord> {
        self.batches.iter().find(|batch| batch.batch_id == id)
    }

    pub fn greatest_id(&self) -> Option<i64> {
        self.batches.last().map(|batch| batch.batch_id)
    }

    /// The batch that has read a file of this name last, and the file as it was then.
    pub fn file(&self, name: &str) -> Option<(i64, &FileRecord)> {
        let found = self.ledger.iter().filter(|(_, file)| file.name == name);
        found.max_by_key(|(_, file)| file.loaded_at).map(|(batch, file)| (*batch, file))
    }

    /// The columns that the batch's rows had not, among these.
    pub fn lacks(&self, batch: &BatchRecord, columns: &[String]) -> Vec<String> {
        let had = batch.details.columns.as_ref().or(self.details.old_columns.as_ref());
        let lacked = self.details.lacked.get(&batch.batch_id).filter(|_| batch.details.columns.is_none());
        let has = |column: &String| match had {
            _ if lacked.is_some_and(|lacked| lacked.contains(column)) => false,
            Some(had) => had.contains(column),
            None => self.columns.iter().any(|pinned| pinned.name == *column),
        };
        columns.iter().filter(|column| !has(column)).cloned().collect()
    }

    /// What is recorded of the flow from now on, its tables being made by the rules of today.
    pub fn details_now(&self) -> FlowDetails {
        let unsaid = || self.batches.iter().any(|batch| batch.details.columns.is_none());
        let pinned = || unsaid().then(|| self.columns.iter().map(|column| column.name.clone()).collect());
        FlowDetails { rules: qetl_core::RULES, old_columns: self.details.old_columns.clone().or_else(pinned), ..self.details.clone() }
    }

    /// The greatest id below `id`.
    pub fn previous(&self, id: i64) -> Option<i64> {
        self.batches.iter().map(|batch| batch.batch_id).filter(|other| *other < id).max()
    }
}

/// The status of a run that has not ended, if its process is alive.
pub const RUNNING: &str = "running";
/// Somebody ended it.
pub const INTERRUPTED: &str = "interrupted";
/// Its process ended before it did; found by the next run of the flow.
pub const KILLED: &str = "killed";
pub const ENDED_EARLY: &str = "its process ended before it did";
/// Another run had the flow.
pub const HELD: &str = "held";

/// A run of a flow, as `history` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub run_id: String,
    pub flow: String,
    pub batch_id: Option<i64>,
    pub status: String,
    /// Microseconds since 1970.
    pub started_at: i64,
    pub seconds: f64,
    /// Rows that were landed.
    pub rows: i64,
    /// What went wrong, if anything did.
    pub message: String,
}
