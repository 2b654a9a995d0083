//! What the tasks of a run's batches read of other flows.

use std::collections::BTreeSet;

use qetl_core::standard::{SourceScope, StandardTask};

use super::{
    bench::Scopes,
    check::{self, Read},
    files::StandardJob,
    prepare::{self, PlannedStandard},
    reads::ForeignRead,
    run::StandardRun,
};
use crate::{RunError, records::BatchRecord};

impl StandardRun<'_> {
    /// What the tasks read of other flows in a batch.
    fn foreign_reads(&self, planned: &PlannedStandard, job: &StandardJob) -> Result<Vec<ForeignRead>, RunError> {
        let mut all = Vec::new();
        if planned.flow.foreign_sources().is_empty() {
            return Ok(all);
        }
        for task in &planned.flow.tasks {
            let text = check::text(self.engine, &planned.flow, task, &job.context(self.engine.quote()))?;
            let (read, problems) = planned.keeping.reads(&planned.flow, task, &text);
            problems.or(())?;
            all.extend(prepare::foreign_reads(&planned.reads, &task.id, &read));
        }
        Ok(all)
    }

    /// Settles which batches of other flows' datasets the batch reads; those that have to be derived again because of it.
    pub(super) fn settle(&self, planned: &mut PlannedStandard, job: &StandardJob) -> Result<BTreeSet<i64>, RunError> {
        let reads = self.foreign_reads(planned, job)?;
        Ok(planned.reads.settle(job.batch_id, &reads))
    }

    /// Whether datasets of other flows have batches that no batch of this flow has read.
    pub(super) fn has_more(&self, planned: &PlannedStandard) -> Result<bool, RunError> {
        let (Some(job), Some(newest)) = (planned.jobs.iter().find(|job| !job.replay), planned.records.greatest_id()) else {
            return Ok(false);
        };
        let by_batch = |read: &ForeignRead| read.scope == SourceScope::Batch && planned.reads.is_new(read, newest);
        Ok(self.foreign_reads(planned, job)?.iter().any(by_batch))
    }
}

/// The record of a batch that was derived again, if it has read something else.
pub(super) fn reads_otherwise(planned: &PlannedStandard, batch_id: i64) -> Option<BatchRecord> {
    let record = planned.records.batch(batch_id)?.clone();
    let reads = planned.reads.record(batch_id);
    if reads == record.details.reads {
        return None;
    }
    let mut details = record.details.clone();
    details.reads = reads;
    Some(BatchRecord { generation: record.generation + 1, details, ..record })
}

/// The batches that a task sees of what it does not read as a whole.
pub(super) fn scopes_of(planned: &PlannedStandard, task: &StandardTask, batch_id: i64, read: &[Read]) -> Scopes {
    let batches = |read: &Read| match read.reading.own {
        true => BTreeSet::from([batch_id]),
        false => planned.reads.batches(batch_id, &task.id, &planned.reads.name(&read.reading.dataset)),
    };
    let by_batch = read.iter().filter(|read| read.scope == SourceScope::Batch);
    Scopes(by_batch.map(|read| (read.reading.dataset.clone(), batches(read))).collect())
}
