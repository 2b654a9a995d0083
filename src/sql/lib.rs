//! From the IR to SQL text: a syntax tree of sqlparser's, printed; steps become common table expressions of their names.
//!
//! Names are always quoted, values are nodes of the tree, the same instructions give the same bytes.

pub mod dialects;
mod expr;
mod query;
pub mod task;
mod tree;

pub use dialects::Dialect;
use qetl_core::{DatasetName, ir::Steps};
pub use query::Sql;
pub use sqlparser::{
    ast::{Ident, ObjectName},
    dialect as syntax,
};
pub use tree::ident;

/// What a dialect cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{dialect} cannot say {what}")]
pub struct Unsupported {
    pub dialect: &'static str,
    pub what: String,
}

/// The batch that the text is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub batch_id: i64,
    /// The greatest known id below it; 0 for none.
    pub previous: i64,
    /// Microseconds since 1970.
    pub processed_at: i64,
    /// Every known batch, this one included: id, microseconds since 1970 of its execution.
    pub batches: Vec<(i64, i64)>,
    /// The files' names of those batches that have several, in the order in which they were read.
    pub files: Vec<(i64, Vec<String>)>,
}

/// The query that the steps are, for one batch. `table` says what a dataset is called.
pub fn query(
    dialect: &dyn Dialect,
    steps: &Steps,
    batch: &Batch,
    table: &dyn Fn(&DatasetName) -> ObjectName,
) -> Result<String, Unsupported> {
    Sql { dialect, batch, table }.text(steps)
}
