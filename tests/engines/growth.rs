//! Growth accounting.

use proptest::{
    strategy::{BoxedStrategy, Strategy},
    test_runner::TestCaseError,
};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};
use qetl_test_models::{
    growth::{
        history::{History, flow_toml, history},
        model::{Model, Outcome, Reason},
    },
    oracle::{OnNullKey, Row},
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
    format!("flow:\n{}\n{:#?}", flow_toml(&history.options), history.arrivals)
}

fn check(runtime: &Runtime, place: Place, history: &History) -> Result<(), TestCaseError> {
    let kind = place.kind;
    let project = TestProject::new(place.clone(), &flow_toml(&history.options));
    let mut model = Model::new(history.options.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let arrival = &kind.holdable(arrival);
            let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(&history.options.columns));
            let request = Request { batch_id: Some(arrival.batch_id), inputs, ..Request::default() };
            let report = match project.execute(&request).await {
                Ok(report) if place.says_no(&report) => return Ok(()),
                other => other.map_err(failed)?,
            };
            compare_outcome(&report, model.execute(arrival.batch_id, &arrival.rows))
                .map_err(|why| failed(format!("arrival {index} (batch {}): {why}", arrival.batch_id)))?;
        }
        compare_tables(&project, &model).await?;
        // Deriving everything again changes nothing.
        project.execute(&Request { full_refresh: true, ..Request::default() }).await.map_err(failed)?;
        compare_tables(&project, &model).await
    })
}

fn compare_outcome(report: &RunReport, expected: Outcome) -> Result<(), String> {
    let flow = &report.flows[0];
    let batch = flow.batches.first().ok_or_else(|| format!("no batch: {:?}", flow.error))?;
    let message = batch.error.as_ref().map_or("", |error| error.message.as_str());
    let fits = match expected {
        Outcome::Succeeded => batch.status == Status::Succeeded,
        Outcome::Unchanged => batch.status == Status::Unchanged,
        Outcome::Rejected(Reason::NullKey) => batch.status == Status::Rejected && message.contains("NULL"),
        Outcome::Rejected(Reason::TooManyPeriods) => batch.status == Status::Rejected && message.contains("max_periods"),
    };
    if fits { Ok(()) } else { Err(format!("expected {expected:?}, found {batch:?}")) }
}

async fn compare_tables(project: &TestProject, model: &Model) -> Result<(), TestCaseError> {
    if model.batches.is_empty() {
        return Ok(());
    }
    for (dataset, rows) in model.growth().tables() {
        equal(dataset, &project.rows(&format!("SELECT * FROM h_{dataset}")).await, rows)?;
    }
    let mut names: Vec<String> = model.options.columns.iter().map(|column| column.name.clone()).collect();
    names.push("xt_batch_id".to_owned());
    let mut landed = vec![("h_landing", model.landing())];
    if model.options.on_null_key == OnNullKey::Park {
        landed.push(("h_parked", model.parked()));
    }
    let row = |(row, batch): &(Row, i64)| row.iter().map(text).chain([Some(batch.to_string())]).collect();
    for (dataset, rows) in landed {
        equal(dataset, &project.dataset(&names, dataset).await, rows.iter().map(row).collect())?;
    }
    Ok(())
}
