//! Pure SQL gives the same tables whatever the order of arrival, by replays and by a full refresh.

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use qetl_runtime::waiting::Request;

use super::{flow, ingestion, sql};
use crate::project::{TestProject, TextRow};

const TABLES: [&str; 6] = ["t", "cleaned", "running", "latest", "summary", "from_summary"];

/// Every way to write, from every kind of source.
fn pipeline() -> String {
    let columns = "columns = [{ name = \"k\", schema_type = \"integer\" }, { name = \"v\", schema_type = \"integer\" }]";
    let merge = "source_scope = 'batch'\nwrite_mode = 'merge'\nunique_key = ['k']";
    let tasks = [
        ingestion("t", columns),
        sql("cleaned", "INSERT INTO cleaned SELECT k, v FROM t WHERE v IS NOT NULL", "source_scope = 'batch'"),
        sql("running", "INSERT INTO running SELECT COUNT(*) AS n, SUM(v) AS v FROM cleaned", "source_scope = 'all'"),
        sql("latest", "SELECT k, MAX(v) AS v FROM cleaned GROUP BY k", merge),
        sql("summary", "SELECT k, COUNT(*) AS n, SUM(v) AS v FROM cleaned GROUP BY k", ""),
        sql(
            "from_summary",
            "INSERT INTO from_summary SELECT s.k, s.n, l.v FROM summary s JOIN latest l ON s.k = l.k",
            "source_scope = 'all'",
        ),
    ];
    flow(&tasks.concat())
}

type Batch = (i64, Vec<(i64, Option<i64>)>);

fn arrivals() -> impl Strategy<Value = Vec<Batch>> {
    let row = (0..4_i64, prop::option::weighted(0.9, 0..10_i64));
    vec((1..5_i64, vec(row, 0..6)), 1..6)
}

fn csv(rows: &[(i64, Option<i64>)]) -> String {
    let line = |(k, v): &(i64, Option<i64>)| format!("{k},{}\n", v.map_or_else(String::new, |v| v.to_string()));
    format!("k,v\n{}", rows.iter().map(line).collect::<String>())
}

async fn tables(project: &TestProject) -> Vec<Vec<TextRow>> {
    let mut all = Vec::new();
    for table in TABLES {
        let columns = if matches!(table, "t" | "cleaned" | "latest") {
            "k, v"
        } else if table == "running" {
            "n, v"
        } else {
            "k, n, v"
        };
        all.push(project.rows(&format!("SELECT {columns}, xt_batch_id FROM {table}")).await);
    }
    all
}

async fn load(project: &TestProject, name: &str, (batch_id, rows): &Batch) -> Result<(), TestCaseError> {
    let inputs = project.write(name, &[csv(rows)]);
    let request = Request { batch_id: Some(*batch_id), inputs, ..Request::default() };
    run(project, &request).await
}

async fn run(project: &TestProject, request: &Request) -> Result<(), TestCaseError> {
    let report = project.execute(request).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let errors = report.flows.iter().flat_map(|flow| flow.batches.iter().filter_map(|batch| batch.error.as_ref()).chain(&flow.error));
    match errors.map(|error| error.message.clone()).next() {
        Some(message) => Err(TestCaseError::fail(message)),
        None => Ok(()),
    }
}

fn check(runtime: &tokio::runtime::Runtime, arrivals: &[Batch]) -> Result<(), TestCaseError> {
    runtime.block_on(async {
        let project = TestProject::new(&pipeline(), "");
        for (index, arrival) in arrivals.iter().enumerate() {
            load(&project, &format!("arrival_{index}"), arrival).await?;
        }
        let incremental = tables(&project).await;
        // The last content of each batch, in order, in a warehouse of its own.
        let mut last: Vec<Batch> = Vec::new();
        for (batch_id, rows) in arrivals {
            last.retain(|(other, _)| other != batch_id);
            last.push((*batch_id, rows.clone()));
        }
        last.sort_by_key(|(batch_id, _)| *batch_id);
        let other = TestProject::new(&pipeline(), "");
        for (index, batch) in last.iter().enumerate() {
            load(&other, &format!("batch_{index}"), batch).await?;
        }
        prop_assert_eq!(&incremental, &tables(&other).await, "in order");
        run(&project, &Request { full_refresh: true, ..Request::default() }).await?;
        prop_assert_eq!(&incremental, &tables(&project).await, "full refresh");
        Ok(())
    })
}

#[test]
fn order_replays_and_refreshes_change_nothing() {
    let cases = std::env::var("QETL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    match TestRunner::new(config).run(&arrivals(), |arrivals| check(&runtime, &arrivals)) {
        Ok(()) => (),
        Err(TestError::Fail(why, arrivals)) => panic!("{why}\n{arrivals:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
