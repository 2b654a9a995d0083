//! Tasks that an author wrote: files to read, SQL and Python scripts to run, in the order of what they read.

use qetl_core::{
    Dataset, Flow, FlowType, Problems, Task,
    plan::{Dag, DagNode, Expand, LateBatches},
    register_flow_type,
    registry::{DeTable, Layout},
    standard::{self, StandardFile, StandardFlow},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The sections of a standard flow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Standard(StandardFile);

impl FlowType for Standard {
    const NAME: &'static str = "standard";
    const SUMMARY: &'static str = "tasks that read files, run SQL and run Python scripts, in the order of what they read";
    const INPUT_KEYS: &'static [&'static str] = &[];
    const REQUIRED_INPUT: &'static [&'static str] = &[];
    const LAYOUT: Layout = Layout::Top;

    fn prepare(file: &mut DeTable<'_>) -> Problems {
        standard::hoist(file)
    }

    fn problems(&self, flow: &Flow) -> Problems {
        standard::read(&self.0, flow).1
    }

    fn standard(&self, flow: &Flow) -> Option<StandardFlow> {
        standard::read(&self.0, flow).0
    }

    /// A batch's rows do not depend on other batches, unless the SQL reads them.
    fn late_batches(&self) -> LateBatches {
        LateBatches::Cascade
    }

    /// Their columns are known once the engine has looked at files, SQL and scripts.
    fn datasets(&self, _cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems> {
        Ok(Vec::new())
    }

    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems> {
        let tasks = self.standard(cx.flow).map(|flow| flow.tasks).unwrap_or_default();
        let from = |task: &standard::StandardTask| task.sources.iter().map(|source| source.dataset.clone()).collect();
        Ok(Dag(tasks.iter().map(|task| DagNode { dataset: task.target.clone(), from: from(task) }).collect()))
    }

    /// Tasks are texts, not instructions.
    fn instructions(&self, _cx: &Expand<'_>) -> Result<Vec<Task>, Problems> {
        Ok(Vec::new())
    }
}

register_flow_type!(Standard);
