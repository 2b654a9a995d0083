//! Change feeds.

use std::collections::BTreeMap;

use proptest::{strategy::Strategy, test_runner::TestCaseError};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};
use qetl_test_models::{
    histories::{Arrival, History, first_flow_toml, flow_toml, history, history_with_bad_rows},
    oracle::{Column, Model, Options, Outcome, Reason},
    tables,
};
use tokio::runtime::Runtime;

use crate::{
    project::TestProject,
    search::{Lived, Places, Search, failed},
};

pub const SEARCH: Search<History> = Search {
    flow_type: "change_feed",
    histories: || history(true).boxed(),
    told: |history| format!("flow:\n{}\nadded: {:?}\narrivals: {:#?}", flow_toml(history), history.added, history.arrivals),
    live,
};

/// Some of whose rows do not fit, and are set aside.
pub const BAD_ROWS: Search<History> = Search { histories: || history_with_bad_rows(true).boxed(), ..SEARCH };

fn live(runtime: &Runtime, places: Places<'_>, history: &History) -> Result<Lived, TestCaseError> {
    let mut project = TestProject::new(places(), &first_flow_toml(history));
    let mut model = Model::new(history.options.clone());
    model.lacks.extend(history.added.iter().map(|added| added.column));
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let mut arrival = project.place.holdable(arrival);
            if let Some(added) = &history.added {
                if index < added.from {
                    arrival = arrival.without(added.column);
                } else if index == added.from {
                    project = project.and("flow", &flow_toml(history));
                    model.lacks.clear();
                }
            }
            let arrival = &arrival;
            let report = arrive(&project, index, arrival, &history.options.columns).await?;
            let expected = model.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards);
            compare_outcome(&report, &expected, &history.options).map_err(|why| at(index, arrival, &why))?;
        }
        if model.batches.is_empty() {
            return Ok(Lived::AsTheModelSays);
        }
        settled(&project, &tables::change_feed(&model)).await
    })
}

/// Executes a batch that arrives.
pub(crate) async fn arrive(project: &TestProject, index: usize, arrival: &Arrival, columns: &[Column]) -> Result<RunReport, TestCaseError> {
    let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(columns));
    let request = Request { batch_id: Some(arrival.batch_id), inputs, accept_guards: arrival.accept_guards, ..Request::default() };
    project.execute(&request).await.map_err(failed)
}

/// The tables are the model's, the invariants hold, and deriving everything again changes nothing.
pub(crate) async fn settled(project: &TestProject, tables: &[tables::TextTable]) -> Result<Lived, TestCaseError> {
    project.has(tables).await?;
    project.verified().await?;
    (project.place.look)(project);
    project.refresh().await?;
    project.has(tables).await.map_err(|why| failed(format!("after a full refresh: {why}")))?;
    Ok(Lived::AsTheModelSays)
}

pub(crate) fn at(index: usize, arrival: &Arrival, why: &str) -> TestCaseError {
    failed(format!("arrival {index} (batch {}): {why}", arrival.batch_id))
}

pub(crate) fn compare_outcome(report: &RunReport, expected: &Outcome, options: &Options) -> Result<(), String> {
    let flow = &report.flows[0];
    let batch = flow.batches.first().ok_or_else(|| format!("no batch: {:?}", flow.error))?;
    let message = batch.error.as_ref().map_or("", |error| error.message.as_str());
    let fits = match expected {
        Outcome::Unchanged => batch.status == Status::Unchanged,
        Outcome::Rejected(reason) => {
            let words = match reason {
                Reason::DuplicateKey => "rows of one key differ",
                Reason::NullKey => "NULL",
                Reason::EmptySnapshot => "the snapshot is empty",
                Reason::DeleteRatio => "max_delete_ratio",
                Reason::Late => "late_batches",
            };
            batch.status == Status::Rejected && message.contains(words)
        }
        Outcome::Succeeded { counts, derived_again } => {
            let steps = batch.steps.iter().filter(|step| step.step == "h_change_feed" || step.step == "h_stale");
            let told: BTreeMap<String, u64> = steps.flat_map(|step| step.counts.clone()).collect();
            let counts: BTreeMap<String, u64> = counts.iter().map(|(word, count)| (word.name().to_owned(), *count as u64)).collect();
            batch.status == Status::Succeeded && told == counts && batch.derived_again == *derived_again
        }
    };
    if fits { Ok(()) } else { Err(format!("expected {expected:?}, found {batch:?}\nwith {options:?}")) }
}
