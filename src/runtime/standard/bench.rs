//! What an engine does for tasks that an author wrote: read their SQL, check it, fill their targets, publish.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
};

use async_trait::async_trait;
use qetl_core::{
    Column, DatasetName, Problem, Span,
    standard::{Rendered, StatementKind, WriteMode, same_dataset},
};
use qetl_ingest::{ReadSpec, SourceFile};

use crate::{
    engine::{FilePart, LandError, Landed, Publish},
    error::RunError,
    progress::Progress,
};

/// What the SQL of a task says, as far as its text alone tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The temporary tables that are made first, in their order.
    pub temporary: Vec<TemporaryTable>,
    pub kind: StatementKind,
    /// The query alone, as bytes of the rendered text.
    pub query: Range<usize>,
    /// The columns that an INSERT lists; empty: as the query has them.
    pub columns: Vec<String>,
    /// The datasets that it reads, with their place in the flow file.
    pub reads: Vec<(DatasetName, Span)>,
    /// Where a dataset is named with its namespace, as bytes of the rendered text.
    pub qualified: Vec<(Range<usize>, DatasetName)>,
    /// The functions that it calls, in lower case, with their place in the flow file.
    pub functions: Vec<(String, Span)>,
}

/// A table that lasts as long as its task.
#[derive(Debug, Clone, PartialEq)]
pub struct TemporaryTable {
    pub name: String,
    /// The name as it is written, quoted or not.
    pub written: String,
    /// As bytes of the rendered text.
    pub query: Range<usize>,
    /// Of the name, in the flow file.
    pub span: Span,
}

/// A dataset's columns, as far as they are known before it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownColumns {
    pub columns: Vec<Column>,
    /// Whether the types are known too; else they are presumed, and prove nothing.
    pub typed: bool,
}

/// What was found out about a query without running it.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// `None`: presumed types do not let it be told.
    pub columns: Option<Vec<Column>>,
    /// Without a source text, as are the problems of a query that is wrong.
    pub warnings: Vec<Problem>,
}

/// The batch that tasks run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub batch_id: i64,
    /// Microseconds since 1970.
    pub processed_at: i64,
}

/// The batches whose rows a task sees, by dataset. Of a dataset that is not named it sees all; if that is the flow's own, all
/// up to its batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scopes(pub BTreeMap<DatasetName, BTreeSet<i64>>);

impl Scopes {
    pub fn of(&self, dataset: &DatasetName) -> Option<&BTreeSet<i64>> {
        self.0.iter().find(|(name, _)| same_dataset(name, dataset)).map(|(_, batches)| batches)
    }
}

/// A task's target, and what becomes of the rows that it has.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub dataset: DatasetName,
    pub mode: WriteMode,
    /// For `merge`.
    pub unique_key: Vec<String>,
    /// An earlier task of the batch makes the dataset too: `replace_batch` adds to its rows.
    pub append: bool,
}

/// Where a target's new rows come from.
#[derive(Debug, Clone, Copy)]
pub enum From<'a> {
    Query {
        sql: &'a Rendered,
        statement: &'a Statement,
        scopes: &'a Scopes,
    },
    /// An Arrow file.
    File(&'a SourceFile),
}

/// What filling a target gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filled {
    /// How many are new.
    pub rows: u64,
    /// What is doubtful about the task's text, and could not be told before it ran.
    pub warnings: Vec<String>,
}

/// The work on a standard flow's batch, which several tasks do at once. Nothing of it is visible until it is published;
/// dropping it leaves no trace.
///
/// Tasks see the version that the work began on, with what it has made in place of what was published. Of the flow's own
/// datasets whose rows are kept by batch they see those up to their own batch: so a batch that is derived again finds what
/// it found then.
#[async_trait]
pub trait Bench: Send + Sync {
    /// A folder for files that nobody needs once the work is done.
    fn folder(&self) -> &Path;

    /// Reads files into a dataset, as the rows of a batch.
    async fn land(
        &self,
        batch_id: i64,
        into: &DatasetName,
        files: &[FilePart],
        spec: &ReadSpec,
        progress: &Progress,
    ) -> Result<Landed, LandError>;

    async fn fill(&self, moment: Moment, from: From<'_>, target: &Target, progress: &Progress) -> Result<Filled, RunError>;

    /// Writes a dataset's rows, as far as a task sees them, to an Arrow file.
    async fn export(&self, moment: Moment, dataset: &DatasetName, scopes: &Scopes, path: &Path) -> Result<(), RunError>;

    /// Makes all that was landed and filled visible, with its records, or nothing.
    async fn publish(&self, publish: Publish) -> Result<(), RunError>;
}

/// Columns of datasets that may not be there yet.
pub type Known = BTreeMap<DatasetName, KnownColumns>;
