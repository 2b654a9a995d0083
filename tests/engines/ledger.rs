//! Ledgers, flows of type `delta_publishing`.

use proptest::test_runner::TestCaseError;
use qetl_runtime::{RunReport, waiting::Request};
use qetl_test_models::{
    ledger::{
        history::{LedgerHistory, flow_toml, ledger_history, told},
        model::Ledger,
    },
    oracle::Outcome,
};
use tokio::runtime::Runtime;

use crate::{
    change_feed::{compare_outcome, compare_tables},
    project::TestProject,
    search::{equal, failed, on_every_database, text},
    server::Place,
};

on_every_database!(ledger_history, told, check);

fn check(runtime: &Runtime, place: Place, history: &LedgerHistory) -> Result<(), TestCaseError> {
    let kind = place.kind;
    let project = TestProject::new(place.clone(), &flow_toml(history));
    let mut ledger = Ledger::new(history.options.clone(), history.booking.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let arrival = &kind.holdable(arrival);
            let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(&history.options.columns));
            let request = Request { batch_id: Some(arrival.batch_id), inputs, accept_guards: arrival.accept_guards, ..Request::default() };
            let report = match project.execute(&request).await {
                Ok(report) if place.says_no(&report) => return Ok(()),
                other => other.map_err(failed)?,
            };
            let expected = ledger.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards);
            compare_outcome(&report, &expected, &history.options)
                .and_then(|()| compare_step(&report, &expected, &ledger, arrival.batch_id))
                .map_err(|why| failed(format!("arrival {index} (batch {}): {why}", arrival.batch_id)))?;
        }
        compare(&project, &ledger).await?;
        // Deriving everything again changes nothing.
        project.execute(&Request { full_refresh: true, ..Request::default() }).await.map_err(failed)?;
        compare(&project, &ledger).await
    })
}

/// What the run tells of a batch's transactions.
fn compare_step(report: &RunReport, outcome: &Outcome, ledger: &Ledger, batch_id: i64) -> Result<(), String> {
    if !matches!(outcome, Outcome::Succeeded { .. }) {
        return Ok(());
    }
    let steps = &report.flows[0].batches[0].steps;
    let told = steps.iter().find(|step| step.step == "h_delta_transaction").map(|step| step.rows);
    let posted = ledger.transactions().iter().filter(|posted| posted.batch_id == batch_id).count() as u64;
    if told == Some(posted) { Ok(()) } else { Err(format!("the batch posts {posted} transactions, the run tells {steps:?}")) }
}

async fn compare(project: &TestProject, ledger: &Ledger) -> Result<(), TestCaseError> {
    if ledger.feed.batches.is_empty() {
        return Ok(());
    }
    compare_tables(project, &ledger.feed).await?;
    let posted = ledger.transactions();
    let row = |posted: &qetl_test_models::ledger::model::Transaction| {
        let more = [
            Some(posted.id.clone()),
            Some(posted.transaction_type.name().to_owned()),
            posted.refers_to.clone(),
            Some(posted.batch_id.to_string()),
        ];
        posted.row.iter().map(text).chain(more).collect()
    };
    let expected = posted.iter().map(row).collect();
    let more = ["xt_transaction_id", "xt_transaction_type", "xt_referred_transaction_id", "xt_batch_id"];
    let names: Vec<String> = ledger.feed.options.columns.iter().map(|column| column.name.clone()).chain(more.map(str::to_owned)).collect();
    equal("h_delta_transaction", &project.dataset(&names, "h_delta_transaction").await, expected)
}
