//! What a run did: the JSON of `execute --format json`.

use std::collections::BTreeMap;

use qetl_core::Problems;
use serde::Serialize;

/// One run of one or more flows.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    pub run_id: String,
    pub status: Status,
    pub flows: Vec<FlowReport>,
}

impl RunReport {
    /// A flow file that is wrong: its flow was not run.
    pub fn add_wrong_file(&mut self, file: &str, problems: &Problems) {
        self.status = Status::Failed;
        self.flows.push(FlowReport {
            flow: file.to_owned(),
            status: Status::Failed,
            refreshed: Vec::new(),
            transactions: None,
            batches: Vec::new(),
            error: Some(ErrorReport::from(&crate::RunError::Problems(problems.clone()))),
        });
    }
}

/// How a run, a flow or a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Succeeded,
    /// A replay that changed nothing.
    Unchanged,
    /// Nothing waits.
    UpToDate,
    Failed,
    /// The data was refused.
    Rejected,
    /// What the flow reads could not be made.
    Skipped,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Succeeded => "succeeded",
            Status::Unchanged => "unchanged",
            Status::UpToDate => "up_to_date",
            Status::Failed => "failed",
            Status::Rejected => "rejected",
            Status::Skipped => "skipped",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Debug, Clone, Serialize)]
pub struct FlowReport {
    pub flow: String,
    pub status: Status,
    /// Batches that a full refresh derived again from what was landed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refreshed: Vec<i64>,
    /// What that changed in a ledger to which transactions are only added otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions: Option<Transactions>,
    pub batches: Vec<BatchReport>,
    /// What stopped the flow, if no batch of it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// The transactions of a ledger that a full refresh changed, by their ids.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transactions {
    pub dataset: String,
    pub changed: BTreeMap<String, TransactionChange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionChange {
    New,
    /// It says something else.
    Changed,
    Gone,
}

impl TransactionChange {
    pub fn name(self) -> &'static str {
        match self {
            TransactionChange::New => "new",
            TransactionChange::Changed => "changed",
            TransactionChange::Gone => "gone",
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct BatchReport {
    pub batch_id: i64,
    pub status: Status,
    pub files: Vec<String>,
    /// How many files it has besides, whose rows were landed before and stay.
    #[serde(skip_serializing_if = "is_zero")]
    pub landed_before: usize,
    /// What was read instead of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_dataset: Option<String>,
    pub steps: Vec<StepReport>,
    /// Other batches that were derived again because of this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub derived_again: Vec<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// A step is named by its target's last word: `orders_landing` is the step `orders_landing`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    pub step: String,
    pub rows: u64,
    pub seconds: f64,
    /// Rows by record type, where the target has one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ErrorReport {
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
    pub exit_code: i32,
    /// What is wrong in the flow's file, when that is what it is.
    #[serde(skip)]
    pub problems: Problems,
}

impl From<&crate::RunError> for ErrorReport {
    fn from(error: &crate::RunError) -> Self {
        let problems = if let crate::RunError::Problems(problems) = error { problems.clone() } else { Problems::default() };
        Self { message: error.to_string(), help: error.help(), exit_code: error.exit_code(), problems }
    }
}
