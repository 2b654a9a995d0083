//! Change feeds.

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
    histories::{History, flow_toml, history},
    oracle::{Model, Options, Outcome, Reason, RecordType, Row},
    text::TextRow,
};
use tokio::runtime::Runtime;

use crate::{
    project::TestProject,
    search::{equal, failed, on_every_database, text},
    server::Place,
};

on_every_database!(histories, told, check);

fn histories() -> BoxedStrategy<History> {
    history(true).boxed()
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
            let request = Request { batch_id: Some(arrival.batch_id), inputs, accept_guards: arrival.accept_guards, ..Request::default() };
            let report = project.execute(&request).await.map_err(failed)?;
            let expected = model.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards);
            compare_outcome(&report, &expected, &history.options)
                .map_err(|why| failed(format!("arrival {index} (batch {}): {why}", arrival.batch_id)))?;
        }
        compare_tables(&project, &model).await?;
        // Deriving everything again changes nothing.
        project.execute(&Request { full_refresh: true, ..Request::default() }).await.map_err(failed)?;
        compare_tables(&project, &model).await
    })
}

pub(crate) async fn compare_tables(project: &TestProject, model: &Model) -> Result<(), TestCaseError> {
    if model.batches.is_empty() {
        return Ok(());
    }
    for (dataset, columns, rows) in expected(model) {
        equal(dataset, &project.dataset(&columns, dataset).await, rows)?;
    }
    Ok(())
}

/// Each dataset with its columns and its rows.
fn expected(model: &Model) -> Vec<(&'static str, Vec<String>, Vec<TextRow>)> {
    let columns = |more: &[&str]| -> Vec<String> {
        model.options.columns.iter().map(|column| column.name.clone()).chain(more.iter().map(|name| (*name).to_owned())).collect()
    };
    let row = |row: &Row, more: Vec<Option<String>>| row.iter().map(text).chain(more).collect::<TextRow>();
    let mut datasets = Vec::new();
    let feed = model.history();
    let feed_rows = |stale: bool| {
        let wanted = feed.iter().filter(|found| model.options.emit_stale || (found.record_type == RecordType::Stale) == stale);
        let more = |batch: i64, kind: RecordType, changed: &Option<String>| {
            vec![Some(batch.to_string()), Some(kind.name().to_owned()), changed.clone()]
        };
        wanted.map(|found| row(&found.row, more(found.batch_id, found.record_type, &found.changed_columns))).collect::<Vec<_>>()
    };
    let feed_columns = columns(&["xt_batch_id", "xt_record_type", "xt_changed_columns"]);
    datasets.push(("h_change_feed", feed_columns.clone(), feed_rows(false)));
    if !model.options.emit_stale {
        datasets.push(("h_stale", feed_columns, feed_rows(true)));
    }
    let with_batch = |(values, batch): &(Row, i64)| row(values, vec![Some(batch.to_string())]);
    datasets.push(("h_state", columns(&["xt_batch_id"]), model.state().iter().map(with_batch).collect()));
    datasets.push(("h_landing", columns(&["xt_batch_id"]), model.landing().iter().map(with_batch).collect()));
    if model.options.parks() {
        let parked = |(values, reason, batch): &(Row, &str, i64)| row(values, vec![Some((*reason).to_owned()), Some(batch.to_string())]);
        datasets.push(("h_parked", columns(&["xt_parked_reason", "xt_batch_id"]), model.parked().iter().map(parked).collect()));
    }
    datasets
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
