//! Versions of dimension rows.

use proptest::{strategy::Strategy, test_runner::TestCaseError};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};
use qetl_test_models::{
    scd2::{
        history::{History, flow_toml, history, history_with_bad_rows},
        model::{Model, Outcome, Reason},
    },
    tables,
};
use tokio::runtime::Runtime;

use crate::{
    change_feed::{at, settled},
    project::TestProject,
    search::{Lived, Places, Search, failed},
};

pub const SEARCH: Search<History> = Search {
    flow_type: "scd2",
    histories: || history().boxed(),
    told: |history| format!("flow:\n{}\narrivals: {:#?}", flow_toml(&history.options), history.arrivals),
    live,
};

/// Some of whose rows do not fit, and are set aside.
pub const BAD_ROWS: Search<History> = Search { histories: || history_with_bad_rows().boxed(), ..SEARCH };

fn live(runtime: &Runtime, places: Places<'_>, history: &History) -> Result<Lived, TestCaseError> {
    let project = TestProject::new(places(), &flow_toml(&history.options));
    let mut model = Model::new(history.options.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let batch = &project.place.holdable(&arrival.batch);
            let execution_date = arrival.execution_date(model.executed.contains_key(&batch.batch_id));
            let inputs = project.write(&format!("arrival_{index}"), &batch.csv(&model.options.feed.columns));
            let accept_guards = batch.accept_guards;
            let request = Request { batch_id: Some(batch.batch_id), inputs, execution_date, accept_guards, ..Request::default() };
            let report = project.execute(&request).await.map_err(failed)?;
            let expected = model.execute(batch.batch_id, &batch.rows, execution_date, accept_guards);
            compare_outcome(&report, &expected).map_err(|why| at(index, batch, &format!("{why}\nwith {:?}", model.options)))?;
        }
        if model.executed.is_empty() {
            return Ok(Lived::AsTheModelSays);
        }
        settled(&project, &tables::scd2(&model)).await
    })
}

fn compare_outcome(report: &RunReport, expected: &Outcome) -> Result<(), String> {
    let flow = &report.flows[0];
    let batch = flow.batches.first().ok_or_else(|| format!("no batch: {:?}", flow.error))?;
    let message = batch.error.as_ref().map_or("", |error| error.message.as_str());
    let fits = match expected {
        Outcome::Unchanged => batch.status == Status::Unchanged,
        Outcome::Succeeded { derived_again } => batch.status == Status::Succeeded && batch.derived_again == *derived_again,
        Outcome::Rejected(reason) => {
            let words = match reason {
                Reason::NullKey => "NULL",
                Reason::ExecutionTime => "execution time",
                Reason::EmptySnapshot => "the snapshot is empty",
                Reason::DuplicateKey => "rows of one key differ",
                Reason::DeleteRatio => "max_delete_ratio",
            };
            batch.status == Status::Rejected && message.contains(words)
        }
    };
    if fits { Ok(()) } else { Err(format!("expected {expected:?}, found {batch:?}")) }
}
