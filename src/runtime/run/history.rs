//! What the history says of a flow's run: a row for each batch and for a full refresh, written before anything is landed,
//! and one for a run that came to neither.

use std::time::{Duration, Instant, SystemTime};

use super::failure_status;
use crate::{
    engine::{Engine, FlowLock},
    error::RunError,
    progress::{Event, Progress},
    records::{HELD, INTERRUPTED, RUNNING, RunRecord},
    report::{BatchReport, Status},
    waiting::micros,
};

/// How long somebody who interrupts a run waits for its row.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct History<'a> {
    engine: &'a dyn Engine,
    flow: &'a str,
    run_id: &'a str,
    progress: &'a Progress,
    running: Option<Running>,
    /// How the row that ended last has ended.
    ended: Option<String>,
}

#[derive(Clone, Copy)]
struct Running {
    /// `None`: a full refresh.
    batch_id: Option<i64>,
    started: Instant,
    /// Microseconds since 1970.
    started_at: i64,
}

impl Running {
    fn begin(batch_id: Option<i64>) -> Self {
        Self { batch_id, started: Instant::now(), started_at: micros(SystemTime::now()) }
    }
}

impl<'a> History<'a> {
    pub(crate) fn new(engine: &'a dyn Engine, flow: &'a str, run_id: &'a str, progress: &'a Progress) -> Self {
        Self { engine, flow, run_id, progress, running: None, ended: None }
    }

    fn row(&self, running: Running, status: &str, rows: u64, message: &str) -> RunRecord {
        RunRecord {
            run_id: self.run_id.to_owned(),
            flow: self.flow.to_owned(),
            batch_id: running.batch_id,
            status: status.to_owned(),
            started_at: running.started_at,
            seconds: if status == RUNNING { 0.0 } else { running.started.elapsed().as_secs_f64() },
            rows: i64::try_from(rows).unwrap_or(i64::MAX),
            message: message.to_owned(),
        }
    }

    /// Records that a batch, or a full refresh, is worked on.
    pub(crate) async fn begin(&mut self, lock: &dyn FlowLock, batch_id: Option<i64>) -> Result<(), RunError> {
        let running = Running::begin(batch_id);
        self.engine.begin_run(lock, &self.row(running, RUNNING, 0, "")).await?;
        (self.running, self.ended) = (Some(running), None);
        Ok(())
    }

    /// The row as the publish writes it.
    pub(crate) fn succeeded(&self, rows: u64, message: &str) -> RunRecord {
        let running = self.running.unwrap_or_else(|| Running::begin(None));
        self.row(running, Status::Succeeded.name(), rows, message)
    }

    /// The row has ended, by the publish or by what is written now.
    pub(crate) async fn end(&mut self, status: Status, message: &str) {
        if status == Status::Succeeded {
            (self.running, self.ended) = (None, Some(status.name().to_owned()));
        } else if self.running.is_some() {
            self.write(status.name(), message).await;
        }
    }

    async fn write(&mut self, status: &str, message: &str) {
        let running = self.running.take().unwrap_or_else(|| Running::begin(None));
        self.ended = Some(status.to_owned());
        let row = self.row(running, status, 0, message);
        // What the run did not achieve is already told; that it could not be recorded must not hide that.
        if let Err(error) = self.engine.record_run(&row).await {
            let message = format!("the run could not be recorded: {error}");
            self.progress.tell(Event::Warning { flow: self.flow.to_owned(), message });
        }
    }

    /// Ends what has not ended when the flow's run has. Of a run that was interrupted it is told what became of the batch.
    pub(crate) async fn settle(mut self, outcome: Result<(), RunError>, asked: bool, batches: &[BatchReport]) -> Result<(), RunError> {
        if !asked {
            let is_told = self.running.is_none() && self.ended.as_deref().is_some_and(|ended| ended != Status::Succeeded.name());
            if let Err(error) = &outcome
                && !is_told
                && worth_a_row(error, self.running.is_some())
            {
                let status = if matches!(error, RunError::Locked { .. }) { HELD } else { failure_status(error).name() };
                self.write(status, &error.to_string()).await;
            }
            return outcome;
        }
        let what = match self.running.map(|running| running.batch_id) {
            Some(Some(batch)) => format!(": batch {batch} of flow `{}` is not published", self.flow),
            Some(None) => format!(": the full refresh of flow `{}` is not published", self.flow),
            None => match batches.last() {
                Some(batch) if batch.status == Status::Succeeded => {
                    format!(": batch {} of flow `{}` is published", batch.batch_id, self.flow)
                }
                Some(BatchReport { batch_id, error: Some(error), .. }) => {
                    format!(": batch {batch_id} of flow `{}` is not published: {}", self.flow, error.message)
                }
                Some(_) | None => String::new(),
            },
        };
        if self.running.is_some() || self.ended.is_none() {
            // Somebody waits, and the next run of the flow ends the row if this one cannot.
            let _ = tokio::time::timeout(PATIENCE, self.write(INTERRUPTED, "")).await;
        }
        let RunError::Interrupted { message, help } = RunError::interrupted() else { return outcome };
        Err(RunError::Interrupted { message: format!("{message}{what}"), help })
    }
}

/// Whether the store is to be asked for a row: one that could not be read for a run that has not begun is not written to.
fn worth_a_row(error: &RunError, running: bool) -> bool {
    running || !matches!(error, RunError::Failed { .. })
}
