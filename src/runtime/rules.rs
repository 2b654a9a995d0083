//! Flows whose tables were made by older rules.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{array::AsArray, datatypes::Int64Type};
use qetl_core::{Concerns, Plan, Problem, Problems, RULES, RuleChange, plan::Expand};

use crate::{
    engine::Engine,
    error::RunError,
    records::FlowRecords,
    run::{context_of, known_batches},
};

/// The most batches that a message names.
const NAMED: usize = 12;

/// What the rules of today would make otherwise than what is stored; empty when the flow can go on. `own`: changes of a flow
/// whose tasks an author wrote.
pub(crate) async fn outdated(
    engine: &dyn Engine,
    plan: &Arc<Plan>,
    records: &FlowRecords,
    own: Vec<RuleChange>,
) -> Result<Problems, RunError> {
    let mut problems = Problems::default();
    let Some(last) = records.batches.last().filter(|_| records.details.rules < RULES) else { return Ok(problems) };
    let flow = &plan.flow;
    let changes = flow.properties.rule_changes(&Expand { flow, input: &plan.input })?;
    let context = context_of(&known_batches(flow, records, &plan.input, None), last.batch_id);
    for change in changes.into_iter().chain(own).filter(|change| records.details.rules < change.since) {
        let all = || records.batches.iter().map(|batch| batch.batch_id);
        let concerned: BTreeSet<i64> = match &change.concerns {
            Concerns::All => all().collect(),
            Concerns::Later => all().skip(1).collect(),
            Concerns::AllIf(steps) => {
                let rows = engine.look(plan.clone()).await?.rows(&context, steps).await?;
                all().filter(|_| rows.iter().any(|rows| rows.num_rows() > 0)).collect()
            }
            Concerns::Batches(steps) => {
                let rows = engine.look(plan.clone()).await?.rows(&context, steps).await?;
                let ids = rows.iter().filter_map(|rows| rows.column_by_name("xt_batch_id")?.as_primitive_opt::<Int64Type>());
                ids.flat_map(|ids| ids.iter().flatten().collect::<Vec<_>>()).collect()
            }
        };
        if !concerned.is_empty() {
            problems.push(told(plan, &change, &concerned));
        }
    }
    Ok(problems.in_source(&flow.source))
}

fn told(plan: &Plan, change: &RuleChange, concerned: &BTreeSet<i64>) -> Problem {
    let flow = &plan.flow;
    let named: Vec<String> = concerned.iter().take(NAMED).map(i64::to_string).collect();
    let more = if concerned.len() > NAMED { format!(" and {} more", concerned.len() - NAMED) } else { String::new() };
    let batches = if concerned.len() == 1 { "batch" } else { "batches" };
    let message = format!("an older qetl made {batches} {}{more} by other rules: now {}", named.join(", "), change.about);
    let lists = match flow.properties.append_only(&Expand { flow, input: &plan.input }) {
        Some((dataset, _)) => format!(", which lists the transactions of `{dataset}` that change"),
        None => String::new(),
    };
    let help = format!("derive everything again with `qetl execute {} --full-refresh`{lists}", flow.id());
    Problem::new("qetl::plan::rules_changed", flow.header.flow_type.span, message).label("made by older rules").help(help)
}
