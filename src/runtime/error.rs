//! Why a run did not do what was asked, and which exit code says so.

use std::fmt;

use qetl_core::Problems;
use qetl_ingest::{DataProblem, ProblemKind};

/// Where in a run something happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    pub flow: Option<String>,
    pub batch: Option<i64>,
    pub step: Option<String>,
}

impl Place {
    pub fn flow(flow: &str) -> Self {
        Place { flow: Some(flow.to_owned()), ..Place::default() }
    }

    #[must_use]
    pub fn batch(&self, batch: i64) -> Self {
        Place { batch: Some(batch), ..self.clone() }
    }

    #[must_use]
    pub fn step(&self, step: &str) -> Self {
        Place { step: Some(step.to_owned()), ..self.clone() }
    }

    /// What stands before a message: the place and a colon, or nothing.
    fn before(&self) -> String {
        if *self == Place::default() { String::new() } else { format!("{self}: ") }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.flow.as_ref().map(|flow| format!("flow `{flow}`")),
            self.batch.map(|batch| format!("batch {batch}")),
            self.step.as_ref().map(|step| format!("step `{step}`")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Why a run did not do what was asked. Nothing of its batch is visible.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The flow or project files are wrong.
    #[error("{0}")]
    Problems(Problems),
    /// The command asks for something that cannot be.
    #[error("{message}")]
    Usage { message: String, help: String },
    /// The data of a batch was refused.
    #[error("{}{message}", place.before())]
    Refused { place: Place, message: String, help: String },
    /// A row or file could not be read as the flow says.
    #[error("{}{problem}", place.before())]
    Data { place: Place, problem: Box<DataProblem> },
    /// The disk, the engine or the catalog failed.
    #[error("{}{message}", place.before())]
    Failed { place: Place, message: String, help: String },
    /// Another run holds the flow.
    #[error("flow `{flow}` is held by another run")]
    Locked { flow: String },
    #[error("interrupted")]
    Interrupted,
    /// Work of a batch whose transaction ended with the failure of other work.
    #[error("another task of the batch failed")]
    Abandoned,
}

impl RunError {
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        RunError::Usage { message: message.into(), help: help.into() }
    }

    pub fn failed(message: impl fmt::Display) -> Self {
        RunError::Failed { place: Place::default(), message: message.to_string(), help: String::new() }
    }

    pub fn refused(place: Place, message: impl Into<String>, help: impl Into<String>) -> Self {
        RunError::Refused { place, message: message.into(), help: help.into() }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            RunError::Usage { help, .. } | RunError::Refused { help, .. } | RunError::Failed { help, .. } => help.clone(),
            RunError::Data { problem, .. } => problem.help.clone(),
            RunError::Locked { .. } => "wait for it to end, or give `--wait SECONDS`".to_owned(),
            RunError::Interrupted => "nothing is half-visible: run the same command again".to_owned(),
            RunError::Abandoned => String::new(),
            RunError::Problems(problems) => {
                problems.0.iter().map(|problem| problem.help.clone()).find(|help| !help.is_empty()).unwrap_or_default()
            }
        }
    }

    /// The process's exit code, as the contract has it.
    pub fn exit_code(&self) -> i32 {
        match self {
            RunError::Failed { .. } | RunError::Abandoned => 1,
            RunError::Problems(_) | RunError::Usage { .. } => 2,
            RunError::Refused { .. } => 3,
            RunError::Data { problem, .. } if problem.kind == ProblemKind::Unreadable => 1,
            RunError::Data { .. } => 3,
            RunError::Locked { .. } => 4,
            RunError::Interrupted => 130,
        }
    }

    /// Adds what is not known yet of where it happened.
    #[must_use]
    pub fn at(mut self, outer: &Place) -> Self {
        if let RunError::Refused { place, .. } | RunError::Data { place, .. } | RunError::Failed { place, .. } = &mut self {
            place.flow = place.flow.take().or_else(|| outer.flow.clone());
            place.batch = place.batch.or(outer.batch);
            place.step = place.step.take().or_else(|| outer.step.clone());
        }
        self
    }
}

impl From<Problems> for RunError {
    fn from(problems: Problems) -> Self {
        RunError::Problems(problems)
    }
}

impl From<DataProblem> for RunError {
    fn from(problem: DataProblem) -> Self {
        RunError::Data { place: Place::default(), problem: Box::new(problem) }
    }
}
