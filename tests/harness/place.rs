//! Where flows run: an engine, and what tests have to know of it.

use std::{any::Any, sync::Arc};

use qetl_runtime::{Engine, RunReport, Workspace};
use qetl_test_models::{histories::Arrival, oracle::Value};

use crate::TestProject;

/// Opens the engine that a project's settings name.
pub type Open = Arc<dyn Fn(&Workspace) -> Arc<dyn Engine> + Send + Sync>;

/// An engine, with a database that nobody else uses.
#[derive(Clone)]
pub struct Place {
    /// As results are told of: `datafusion`, `duckdb`, `sqlite`, `postgres`, `mariadb`.
    pub engine: &'static str,
    /// How many histories a search tries here, unless it is told.
    pub cases: u32,
    /// The project file.
    pub settings: String,
    /// What removes the database when the last project in it is gone.
    pub database: Option<Arc<dyn Any + Send + Sync>>,
    pub open: Open,
    /// Around names in its SQL.
    pub quote: char,
    /// Whether it holds the value.
    pub holds: fn(&Value) -> bool,
    /// Parts of messages by which it may refuse a flow, or a check of one: what it cannot say.
    pub refuses: &'static [&'static str],
    /// Looks at a project in which a history was lived.
    pub look: fn(&TestProject),
}

impl Place {
    /// A name as the engine's SQL has it.
    pub fn quoted(&self, name: &str) -> String {
        let quote = self.quote.to_string();
        format!("{quote}{}{quote}", name.replace(&quote, &quote.repeat(2)))
    }

    /// The rows of a batch with what the engine cannot hold replaced by what it can.
    pub fn holdable(&self, arrival: &Arrival) -> Arrival {
        let value = |value: &Value| if (self.holds)(value) { value.clone() } else { Value::Float(0.5) };
        Arrival { rows: arrival.rows.iter().map(|row| row.iter().map(value).collect()).collect(), ..arrival.clone() }
    }

    /// What the run says that the engine cannot say, if it may refuse that.
    pub fn says_no(&self, report: &RunReport) -> Option<String> {
        let errors = report.flows.iter().flat_map(|flow| flow.batches.iter().filter_map(|batch| batch.error.as_ref()).chain(&flow.error));
        errors.map(|error| error.message.clone()).find(|message| self.may_refuse(message))
    }

    pub(crate) fn may_refuse(&self, message: &str) -> bool {
        self.refuses.iter().any(|part| message.contains(part))
    }
}
