//! Records in which batch each key was first seen.

use qetl_core::{
    Dataset, FlowType, Problems, Task, Type,
    ir::{AsOf, Expr, Rel, Steps},
    plan::{Dag, DagNode, DatasetKind, Expand, LANDING_COLUMNS, LateBatches, WriteMode, batch_columns},
    register_flow_type,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// `[properties]` of a first-seen flow: none of its own.
#[derive(Debug, Deserialize, JsonSchema)]
struct FirstSeen {}

/// What the dataset has beside the key.
const ADDED: [(&str, Type); 2] = [("xt_batch_id", Type::Int), ("xt_processed_at", Type::Timestamp)];

impl FlowType for FirstSeen {
    const NAME: &'static str = "first_seen";
    const SUMMARY: &'static str = "in which batch each key was first seen";
    const INPUT_KEYS: &'static [&'static str] = &["primary_key"];
    const REQUIRED_INPUT: &'static [&'static str] = &["primary_key", "columns"];

    fn late_batches(&self) -> LateBatches {
        LateBatches::Cascade
    }

    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems> {
        let about = "each key, with the batch that it first stood in".to_owned();
        let first_seen = Dataset { name: cx.dataset("first_seen"), schema: cx.schema(&ADDED)?, kind: DatasetKind::Derived, about };
        Ok(vec![cx.landing()?, first_seen])
    }

    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems> {
        let landing = DagNode { dataset: cx.dataset("landing"), from: Vec::new() };
        let first_seen = DagNode { dataset: cx.dataset("first_seen"), from: vec![landing.dataset.clone()] };
        Ok(Dag(vec![landing, first_seen]))
    }

    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems> {
        let keys = cx.flow.input.key_names();
        let input: Vec<String> = cx.flow.input.column_names().map(str::to_owned).collect();
        let mut steps = Steps::default();
        let landed = steps.add("landed", Rel::scan(&cx.dataset("landing"), &cx.schema(&LANDING_COLUMNS)?, AsOf::ThisBatch));
        let known = Rel::scan(&cx.dataset("first_seen"), &cx.schema(&ADDED)?, AsOf::BeforeThisBatch);
        let new = steps.add("new_keys", landed.aggregate(&input, Vec::new())?.anti(known, &keys)?);
        let columns = input.iter().map(|name| (name.clone(), Expr::column(name)));
        let added = batch_columns().into_iter().map(|(name, expr)| (name.to_owned(), expr));
        steps.add("first_seen", new.project(columns.chain(added).collect())?);
        let target = cx.dataset("first_seen");
        Ok(vec![Task { target, steps, write_mode: WriteMode::ReplaceBatch, count_by: None, checks: Vec::new() }])
    }
}

register_flow_type!(FirstSeen);
