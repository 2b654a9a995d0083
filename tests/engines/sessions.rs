//! Sessions.

use std::collections::BTreeMap;

use proptest::{
    strategy::{BoxedStrategy, Strategy},
    test_runner::TestCaseError,
};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};
use qetl_test_models::{
    histories::Arrival,
    oracle::Row,
    sessions::{
        history::{History, flow_toml, history},
        model::{Model, Outcome, Table},
    },
};
use tokio::runtime::Runtime;

use crate::{
    project::TestProject,
    search::{equal, failed, on_every_database, text},
    server::Place,
};

on_every_database!(histories, told, check);

fn histories() -> BoxedStrategy<History> {
    history().boxed()
}

fn told(history: &History) -> String {
    format!("flow:\n{}\narrivals: {:#?}", flow_toml(history), history.arrivals)
}

fn check(runtime: &Runtime, place: Place, history: &History) -> Result<(), TestCaseError> {
    let kind = place.kind;
    let project = TestProject::new(place, &flow_toml(history));
    let mut model = Model::new(history.options.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let arrival = &kind.holdable(arrival);
            let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(&history.options.columns));
            // Every other replay says nothing of its time; the batch keeps what it has.
            let is_told = index % 2 == 0 || !model.batches.contains_key(&arrival.batch_id);
            let execution_date = is_told.then_some(1_700_000_000_000_000 + index as i64 * 86_400_000_001);
            let request = Request { batch_id: Some(arrival.batch_id), inputs, execution_date, ..Request::default() };
            let report = project.execute(&request).await.map_err(failed)?;
            let expected = model.execute(arrival.batch_id, files(arrival), execution_date);
            compare_outcome(&report, expected).map_err(|why| failed(format!("arrival {index} (batch {}): {why}", arrival.batch_id)))?;
        }
        if model.batches.is_empty() {
            return Ok(());
        }
        compare(&project, model.tables()).await?;
        // Deriving everything again changes nothing.
        project.execute(&Request { full_refresh: true, ..Request::default() }).await.map_err(failed)?;
        compare(&project, model.tables()).await.map_err(|why| failed(format!("after a full refresh: {why}")))
    })
}

/// The rows of each of its files.
fn files(arrival: &Arrival) -> Vec<Vec<Row>> {
    let mut rows = arrival.rows.iter().cloned();
    arrival.files.iter().map(|count| rows.by_ref().take(*count).collect()).collect()
}

fn compare_outcome(report: &RunReport, expected: Outcome) -> Result<(), String> {
    let flow = &report.flows[0];
    let batch = flow.batches.first().ok_or_else(|| format!("no batch: {:?}", flow.error))?;
    let message = batch.error.as_ref().map_or("", |error| error.message.as_str());
    let fits = match expected {
        Outcome::Succeeded => batch.status == Status::Succeeded,
        Outcome::Unchanged => batch.status == Status::Unchanged,
        Outcome::Rejected => batch.status == Status::Rejected && message.contains("NULL"),
    };
    if fits { Ok(()) } else { Err(format!("expected {expected:?}, found {batch:?}")) }
}

async fn compare(project: &TestProject, tables: BTreeMap<&'static str, Table>) -> Result<(), TestCaseError> {
    for (name, table) in tables {
        let columns: Vec<String> = table.columns.iter().map(ToString::to_string).collect();
        let found = project.dataset(&columns, &format!("h_{name}")).await;
        equal(name, &found, table.rows.iter().map(|row| row.iter().map(text).collect()).collect())?;
    }
    Ok(())
}
