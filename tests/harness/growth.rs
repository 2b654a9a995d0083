//! Growth accounting.

use proptest::{strategy::Strategy, test_runner::TestCaseError};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};
use qetl_test_models::{
    growth::{
        history::{History, Split, flow_toml, history, history_with_bad_rows, split},
        model::{Model, Outcome, Reason},
    },
    histories::Arrival,
    oracle::Column,
    tables::{self, TextTable},
};
use tokio::runtime::Runtime;

use crate::{
    change_feed::{at, settled},
    project::TestProject,
    search::{Lived, Places, Search, failed},
};

pub const SEARCH: Search<History> = Search {
    flow_type: "growth_accounting",
    histories: || history().boxed(),
    told: |history| format!("flow:\n{}\narrivals: {:#?}", flow_toml(&history.options), history.arrivals),
    live,
};

/// Some of whose rows do not fit, and are set aside.
pub const BAD_ROWS: Search<History> = Search { histories: || history_with_bad_rows().boxed(), ..SEARCH };

/// The same rows as one batch and as several.
pub const SPLITS: Search<Split> = Search {
    flow_type: "growth_accounting, however it is cut",
    histories: || split().boxed(),
    told: |split| format!("flow:\n{}\nwhole: {:#?}\nparts: {:#?}", flow_toml(&split.options), split.whole, split.parts),
    live: live_cut,
};

fn live(runtime: &Runtime, places: Places<'_>, history: &History) -> Result<Lived, TestCaseError> {
    let project = TestProject::new(places(), &flow_toml(&history.options));
    let mut model = Model::new(history.options.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let arrival = &project.place.holdable(arrival);
            let report = arrive(&project, index, arrival, &history.options.columns).await?;
            if let Some(why) = project.place.says_no(&report) {
                return Ok(Lived::Refused(why));
            }
            compare_outcome(&report, model.execute(arrival.batch_id, &arrival.rows)).map_err(|why| at(index, arrival, &why))?;
            if history.look_often && !model.batches.is_empty() {
                project.has(&tables::growth_accounting(&model)).await.map_err(|why| at(index, arrival, &why.to_string()))?;
            }
        }
        if model.batches.is_empty() {
            return Ok(Lived::AsTheModelSays);
        }
        settled(&project, &tables::growth_accounting(&model)).await
    })
}

fn live_cut(runtime: &Runtime, places: Places<'_>, split: &Split) -> Result<Lived, TestCaseError> {
    let Split { options, whole, parts } = split;
    runtime.block_on(async {
        let one = TestProject::new(places(), &flow_toml(options));
        let report = arrive(&one, 0, &one.place.holdable(whole), &options.columns).await?;
        if let Some(why) = one.place.says_no(&report) {
            return Ok(Lived::Refused(why));
        }
        compare_outcome(&report, Outcome::Succeeded).map_err(failed)?;
        let several = TestProject::new(places(), &flow_toml(options));
        for (index, part) in parts.iter().enumerate() {
            let report = arrive(&several, index, &several.place.holdable(part), &options.columns).await?;
            compare_outcome(&report, Outcome::Succeeded).map_err(|why| at(index, part, &why))?;
        }
        for TextTable { dataset, columns, .. } in tables::growth_datasets(options) {
            let columns: Vec<String> = columns.iter().map(|column| one.place.quoted(column)).collect();
            let rows = one.rows(&format!("SELECT {} FROM {dataset}", columns.join(", "))).await;
            crate::search::equal(&dataset, &several.rows(&format!("SELECT {} FROM {dataset}", columns.join(", "))).await, &rows)?;
        }
        Ok(Lived::AsTheModelSays)
    })
}

async fn arrive(project: &TestProject, index: usize, arrival: &Arrival, columns: &[Column]) -> Result<RunReport, TestCaseError> {
    let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(columns));
    let request = Request { batch_id: Some(arrival.batch_id), inputs, ..Request::default() };
    project.execute(&request).await.map_err(failed)
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
