//! Random histories through the embedded engine and through SQLite's words, against the reference model.
#![expect(clippy::wildcard_enum_match_arm, reason = "all other values are written by the model")]

use std::{collections::BTreeMap, fmt::Debug};

use proptest::{
    strategy::{BoxedStrategy, Strategy},
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};

use crate::{
    histories::{History, flow_toml, history},
    oracle::{Model, Options, Outcome, Reason, RecordType, Row, Value},
    project::{TestProject, TextRow, float_text},
    sqlite::SqliteTables,
};

/// How many histories each test tries.
pub(crate) fn cases() -> u32 {
    std::env::var("QETL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[test]
fn datafusion_is_as_the_model_says() {
    search("datafusion", || history(true).boxed(), told, on_datafusion);
}

#[test]
fn sqlite_is_as_the_model_says() {
    search("sqlite", || history(false).boxed(), told, on_sqlite);
}

/// Tries random histories on two threads; the smallest one that fails is told.
pub(crate) fn search<H: Debug>(
    name: &'static str,
    histories: fn() -> BoxedStrategy<H>,
    told: fn(&H) -> String,
    check: fn(&tokio::runtime::Runtime, &H) -> Result<(), TestCaseError>,
) {
    let each = cases().div_ceil(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                let config = Config {
                    cases: each,
                    max_shrink_iters: std::env::var("QETL_SHRINK").ok().and_then(|text| text.parse().ok()).unwrap_or(400),
                    failure_persistence: None,
                    ..Config::default()
                };
                let mut runner = TestRunner::new(config);
                match runner.run(&histories(), |history| check(&runtime, &history)) {
                    Ok(()) => (),
                    Err(TestError::Fail(why, history)) => panic!("{name}: {why}\n{}", told(&history)),
                    Err(TestError::Abort(why)) => panic!("{name}: {why}"),
                }
            });
        }
    });
}

fn told(history: &History) -> String {
    format!("flow:\n{}\narrivals: {:#?}", flow_toml(history), history.arrivals)
}

fn on_datafusion(runtime: &tokio::runtime::Runtime, history: &History) -> Result<(), TestCaseError> {
    let threads = 1 + history.arrivals.len() % 3;
    let project = TestProject::new(&flow_toml(history), &format!("[engine]\nthreads = {threads}\n"));
    let mut model = Model::new(history.options.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(&history.options.columns));
            let request = Request { batch_id: Some(arrival.batch_id), inputs, accept_guards: arrival.accept_guards, ..Request::default() };
            let report = project.execute(&request).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let expected = model.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards);
            compare_outcome(&report, &expected, &history.options)
                .map_err(|why| TestCaseError::fail(format!("arrival {index} (batch {}): {why}", arrival.batch_id)))?;
        }
        compare_tables(&project, &model).await?;
        project.verified().await.map_err(TestCaseError::fail)?;
        // Deriving everything again changes nothing.
        project
            .execute(&Request { full_refresh: true, ..Request::default() })
            .await
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        compare_tables(&project, &model).await
    })
}

fn on_sqlite(_: &tokio::runtime::Runtime, history: &History) -> Result<(), TestCaseError> {
    let project = TestProject::new(&flow_toml(history), "");
    let mut tables = SqliteTables::new(&project.flow(), &history.options);
    let mut model = Model::new(history.options.clone());
    for arrival in &history.arrivals {
        let outcome = model.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards);
        if let Outcome::Succeeded { .. } = outcome {
            tables.land(arrival);
        }
    }
    let expected = expected(&model);
    for (dataset, rows) in &expected {
        if dataset != "h_landing" {
            let found = tables.rows(dataset, rows.columns.as_str());
            equal(dataset, &found, &rows.rows)?;
        }
    }
    Ok(())
}

/// A dataset's rows as the model has them, in the order of `columns`.
struct Expected {
    columns: String,
    rows: Vec<TextRow>,
}

pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        // −0.0 is stored as 0.0.
        Value::Float(value) => Some(float_text(if *value == 0.0 { 0.0 } else { *value })),
        other => Some(other.text()),
    }
}

/// A name as SQL has it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn expected(model: &Model) -> BTreeMap<String, Expected> {
    let names: Vec<String> = model.options.columns.iter().map(|column| quoted(&column.name)).collect();
    let columns = |more: &str| format!("{}{more}", names.join(", "));
    let row = |row: &Row, more: Vec<Option<String>>| row.iter().map(text).chain(more).collect::<TextRow>();
    let sorted = |mut rows: Vec<TextRow>| {
        rows.sort();
        rows
    };
    let mut datasets = BTreeMap::new();
    let feed = model.history();
    let feed_rows = |stale: bool| {
        let wanted = feed.iter().filter(|found| model.options.emit_stale || (found.record_type == RecordType::Stale) == stale);
        let rows = wanted.map(|found| {
            row(
                &found.row,
                vec![Some(found.batch_id.to_string()), Some(found.record_type.name().to_owned()), found.changed_columns.clone()],
            )
        });
        sorted(rows.collect())
    };
    let feed_columns = columns(", xt_batch_id, xt_record_type, xt_changed_columns");
    datasets.insert("h_change_feed".to_owned(), Expected { columns: feed_columns.clone(), rows: feed_rows(false) });
    if !model.options.emit_stale {
        datasets.insert("h_stale".to_owned(), Expected { columns: feed_columns, rows: feed_rows(true) });
    }
    let state = model.state().iter().map(|(values, batch)| row(values, vec![Some(batch.to_string())])).collect();
    datasets.insert("h_state".to_owned(), Expected { columns: columns(", xt_batch_id"), rows: sorted(state) });
    let landing = model.landing().iter().map(|(values, batch)| row(values, vec![Some(batch.to_string())])).collect();
    datasets.insert("h_landing".to_owned(), Expected { columns: columns(", xt_batch_id"), rows: sorted(landing) });
    let parks = model.options.parks();
    if parks {
        let parked = model
            .parked()
            .iter()
            .map(|(values, reason, batch)| row(values, vec![Some((*reason).to_owned()), Some(batch.to_string())]))
            .collect();
        datasets.insert("h_parked".to_owned(), Expected { columns: columns(", xt_parked_reason, xt_batch_id"), rows: sorted(parked) });
    }
    datasets
}

pub(crate) async fn compare_tables(project: &TestProject, model: &Model) -> Result<(), TestCaseError> {
    if model.batches.is_empty() {
        return Ok(());
    }
    for (dataset, Expected { columns, rows }) in &expected(model) {
        let found = project.rows(&format!("SELECT {columns} FROM {dataset}")).await;
        equal(dataset, &found, rows)?;
    }
    Ok(())
}

pub(crate) fn equal(dataset: &str, found: &[TextRow], expected: &[TextRow]) -> Result<(), TestCaseError> {
    if found == expected {
        return Ok(());
    }
    let only =
        |a: &[TextRow], b: &[TextRow]| a.iter().filter(|row| !b.contains(row)).map(|row| format!("\n    {row:?}")).collect::<String>();
    Err(TestCaseError::fail(format!(
        "`{dataset}` differs\n  only there:{}\n  only in the model:{}",
        only(found, expected),
        only(expected, found)
    )))
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
            let told: BTreeMap<String, u64> = batch
                .steps
                .iter()
                .filter(|step| step.step == "h_change_feed" || step.step == "h_stale")
                .flat_map(|step| step.counts.clone())
                .collect();
            let counts: BTreeMap<String, u64> = counts.iter().map(|(word, count)| (word.name().to_owned(), *count as u64)).collect();
            batch.status == Status::Succeeded && told == counts && batch.derived_again == *derived_again
        }
    };
    if fits { Ok(()) } else { Err(format!("expected {expected:?}, found {batch:?}\nwith {options:?}")) }
}
