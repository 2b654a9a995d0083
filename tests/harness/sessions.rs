//! Sessions.

use proptest::{strategy::Strategy, test_runner::TestCaseError};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};
use qetl_test_models::{
    histories::Arrival,
    oracle::Row,
    sessions::{
        history::{History, flow_toml, history, history_with_bad_rows},
        model::{Model, Outcome},
    },
    tables::{self, TextTable},
};
use tokio::runtime::Runtime;

use crate::{
    change_feed::{at, settled},
    project::TestProject,
    search::{Lived, Places, Search, failed},
};

pub const SEARCH: Search<History> = Search {
    flow_type: "sessionization",
    histories: || history().boxed(),
    told: |history| format!("flow:\n{}\narrivals: {:#?}", flow_toml(history), history.arrivals),
    live,
};

/// Some of whose rows do not fit, and are set aside.
pub const BAD_ROWS: Search<History> = Search { histories: || history_with_bad_rows().boxed(), ..SEARCH };

fn live(runtime: &Runtime, places: Places<'_>, history: &History) -> Result<Lived, TestCaseError> {
    let project = TestProject::new(places(), &flow_toml(history));
    let mut model = Model::new(history.options.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let arrival = &project.place.holdable(arrival);
            let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(&history.options.columns));
            // Every other replay says nothing of its time; the batch keeps what it has.
            let is_told = index % 2 == 0 || !model.batches.contains_key(&arrival.batch_id);
            let execution_date = is_told.then_some(1_700_000_000_000_000 + index as i64 * 86_400_000_001);
            let request = Request { batch_id: Some(arrival.batch_id), inputs, execution_date, ..Request::default() };
            let report = project.execute(&request).await.map_err(failed)?;
            if let Some(why) = project.place.says_no(&report) {
                return Ok(Lived::Refused(why));
            }
            let expected = model.execute(arrival.batch_id, files(arrival), execution_date);
            compare_outcome(&report, expected).map_err(|why| at(index, arrival, &why))?;
        }
        if model.batches.is_empty() {
            return Ok(Lived::AsTheModelSays);
        }
        let tables = tables::sessionization(&model);
        settled(&project, &tables).await?;
        in_one_batch(places, history, &model, tables).await
    })
}

/// How the events are split into batches changes what is said of batches alone.
async fn in_one_batch(places: Places<'_>, history: &History, model: &Model, tables: Vec<TextTable>) -> Result<Lived, TestCaseError> {
    let project = TestProject::new(places(), &flow_toml(history));
    let rows: Vec<&[Row]> = model.batches.values().flat_map(|batch| &batch.files).map(Vec::as_slice).collect();
    let files = rows.iter().map(|rows| rows.len()).collect();
    let arrival = Arrival { batch_id: 1, rows: rows.concat(), accept_guards: false, files, respelled: false };
    let inputs = project.write("whole", &arrival.csv(&history.options.columns));
    let report = project.execute(&Request { batch_id: Some(1), inputs, ..Request::default() }).await.map_err(failed)?;
    compare_outcome(&report, Outcome::Succeeded).map_err(|why| failed(format!("in one batch: {why}")))?;
    let tables: Vec<TextTable> = tables.into_iter().map(without_system_columns).collect();
    project.has(&tables).await.map_err(|why| failed(format!("in one batch: {why}")))?;
    Ok(Lived::AsTheModelSays)
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

fn without_system_columns(table: TextTable) -> TextTable {
    let kept: Vec<usize> = (0..table.columns.len()).filter(|at| !table.columns[*at].starts_with("xt_")).collect();
    let columns = kept.iter().map(|at| table.columns[*at].clone()).collect();
    let rows = table.rows.iter().map(|row| kept.iter().map(|at| row[*at].clone()).collect()).collect();
    TextTable { dataset: table.dataset, columns, rows }
}
