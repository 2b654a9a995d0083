//! What a run tells while it goes on.

use std::sync::Arc;

use qetl_core::{DatasetName, Problems};

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum Event {
    BatchStarted {
        flow: String,
        batch_id: i64,
        files: Vec<String>,
        /// How many files the batch has besides, whose rows were landed before and stay.
        landed_before: usize,
        /// What is read instead of files.
        dataset: Option<DatasetName>,
    },
    StepStarted {
        flow: String,
        batch_id: i64,
        step: String,
    },
    /// Rows that the current step has written so far, and the share of its input that it has read, if that is known.
    Rows {
        rows: u64,
        share: Option<f64>,
    },
    StepDone {
        flow: String,
        batch_id: i64,
        report: crate::report::StepReport,
    },
    /// A line that a script wrote.
    Said {
        flow: String,
        step: String,
        line: String,
    },
    Warning {
        flow: String,
        message: String,
    },
    /// What is doubtful about a flow's file.
    Warnings {
        problems: Problems,
    },
}

/// Where events go. Cheap to clone; called from several threads.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Event) + Send + Sync>);

impl Progress {
    pub fn new(listen: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }

    /// Nobody listens.
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    pub fn tell(&self, event: Event) {
        (self.0)(event);
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}
