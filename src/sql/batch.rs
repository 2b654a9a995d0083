//! The batch that a text is for: known, or a parameter of the text.

use sqlparser::ast::ObjectName;

/// A batch whose values stand in the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// The columns that some batches lacked, with the ids of these as ranges, ends included.
    pub lacking: Vec<(String, Vec<(i64, i64)>)>,
}

/// Texts that stand for the batch's values until the script runs, as they are written in the SQL: see
/// [`crate::Dialect::parameters`]. What is known of other batches is read from two tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// An integer.
    pub batch_id: String,
    /// The greatest known id below it, an integer; 0 for none.
    pub previous: String,
    /// The execution time, as ISO 8601 text in UTC with microseconds, or a timestamp.
    pub processed_at: String,
    /// Whose batches are meant in the two tables.
    pub flow: String,
    /// `flow` text, `batch_id` integer, `processed_at` timestamp: every batch once, this one included.
    pub batches: ObjectName,
    /// `flow` text, `batch_id` integer, `position` integer from 0, `path` text: the files of every batch.
    pub files: ObjectName,
}

/// The batch of a text.
#[derive(Debug, Clone, Copy)]
pub enum Of<'a> {
    Batch(&'a Batch),
    Parameters(&'a Parameters),
}

impl Of<'_> {
    /// The batches that lacked the column. Where they are known when the script runs, all have the columns of the flow.
    pub(crate) fn lacking(&self, column: &str) -> &[(i64, i64)] {
        match self {
            Of::Batch(batch) => batch.lacking.iter().find(|(name, _)| name == column).map_or(&[], |(_, ranges)| ranges),
            Of::Parameters(_) => &[],
        }
    }
}

impl<'a> From<&'a Batch> for Of<'a> {
    fn from(batch: &'a Batch) -> Self {
        Of::Batch(batch)
    }
}

impl<'a> From<&'a Parameters> for Of<'a> {
    fn from(parameters: &'a Parameters) -> Self {
        Of::Parameters(parameters)
    }
}
