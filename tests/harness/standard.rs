//! Flows of tasks: pure SQL gives the same tables whatever the order of arrival, by replays and by a full refresh.

use proptest::{collection::vec, prelude::*, test_runner::TestCaseError};
use qetl_runtime::waiting::Request;
use qetl_test_models::text::TextRow;
use tokio::runtime::Runtime;

use crate::{
    project::TestProject,
    search::{Lived, Places, Search, failed},
};

/// Batches as they arrive: id, and rows of `k` and `v`.
type Arrivals = Vec<(i64, Vec<(i64, Option<i64>)>)>;

pub const SEARCH: Search<Arrivals> = Search { flow_type: "standard", histories: arrivals, told: |arrivals| format!("{arrivals:?}"), live };

/// Every way to write, from every kind of source, in SQL that all engines share.
const PIPELINE: &str = r#"
id = "pipeline"
flow_type = "standard"

[[tasks]]
id = "t"
task_type = "ingestion"
target_dataset = "t"
[tasks.config]
path = "data/t_*.csv"
columns = [{ name = "k", schema_type = "integer" }, { name = "v", schema_type = "integer" }]

[[tasks]]
id = "cleaned"
task_type = "sql_processing"
target_dataset = "cleaned"
source_scope = "batch"
sql = "INSERT INTO cleaned SELECT k, v FROM t WHERE v IS NOT NULL"

[[tasks]]
id = "running"
task_type = "sql_processing"
target_dataset = "running"
source_scope = "all"
sql = "INSERT INTO running SELECT COUNT(*) AS n, SUM(v) AS v FROM cleaned"

[[tasks]]
id = "latest"
task_type = "sql_processing"
target_dataset = "latest"
source_scope = "batch"
write_mode = "merge"
unique_key = ["k"]
sql = "SELECT k, MAX(v) AS v FROM cleaned GROUP BY k"

[[tasks]]
id = "summary"
task_type = "sql_processing"
target_dataset = "summary"
sql = "SELECT k, COUNT(*) AS n, SUM(v) AS v FROM cleaned GROUP BY k"

[[tasks]]
id = "from_summary"
task_type = "sql_processing"
target_dataset = "from_summary"
source_scope = "all"
sql = "INSERT INTO from_summary SELECT s.k, s.n, l.v FROM summary s JOIN latest l ON s.k = l.k"
"#;

const TABLES: [(&str, &str); 6] =
    [("t", "k, v"), ("cleaned", "k, v"), ("running", "n, v"), ("latest", "k, v"), ("summary", "k, n, v"), ("from_summary", "k, n, v")];

fn arrivals() -> BoxedStrategy<Arrivals> {
    let row = (0..4_i64, prop::option::weighted(0.9, 0..10_i64));
    vec((1..5_i64, vec(row, 0..6)), 1..6).boxed()
}

fn csv(rows: &[(i64, Option<i64>)]) -> String {
    let line = |(k, v): &(i64, Option<i64>)| format!("{k},{}\n", v.map_or_else(String::new, |v| v.to_string()));
    format!("k,v\n{}", rows.iter().map(line).collect::<String>())
}

async fn tables(project: &TestProject) -> Vec<Vec<TextRow>> {
    let mut all = Vec::new();
    for (table, columns) in TABLES {
        all.push(project.rows(&format!("SELECT {columns}, xt_batch_id FROM {table}")).await);
    }
    all
}

/// What the engine refuses, if it refuses the batch.
async fn load(
    project: &TestProject,
    name: &str,
    (batch_id, rows): &(i64, Vec<(i64, Option<i64>)>),
) -> Result<Option<String>, TestCaseError> {
    let inputs = project.write(name, &[csv(rows)]);
    let report = project.execute(&Request { batch_id: Some(*batch_id), inputs, ..Request::default() }).await.map_err(failed)?;
    if let Some(why) = project.place.says_no(&report) {
        return Ok(Some(why));
    }
    let errors = report.flows.iter().flat_map(|flow| flow.batches.iter().filter_map(|batch| batch.error.as_ref()).chain(&flow.error));
    match errors.map(|error| error.message.clone()).next() {
        Some(message) => Err(failed(message)),
        None => Ok(None),
    }
}

fn live(runtime: &Runtime, places: Places<'_>, arrivals: &Arrivals) -> Result<Lived, TestCaseError> {
    runtime.block_on(async {
        let project = TestProject::new(places(), PIPELINE);
        for (index, arrival) in arrivals.iter().enumerate() {
            if let Some(why) = load(&project, &format!("arrival_{index}"), arrival).await? {
                return Ok(Lived::Refused(why));
            }
        }
        let incremental = tables(&project).await;
        // The last content of each batch, in order, in a database of its own.
        let mut last = Arrivals::new();
        for (batch_id, rows) in arrivals {
            last.retain(|(other, _)| other != batch_id);
            last.push((*batch_id, rows.clone()));
        }
        last.sort_by_key(|(batch_id, _)| *batch_id);
        let other = TestProject::new(places(), PIPELINE);
        for (index, batch) in last.iter().enumerate() {
            load(&other, &format!("batch_{index}"), batch).await?;
        }
        prop_assert_eq!(&incremental, &tables(&other).await, "in order");
        project.refresh().await?;
        prop_assert_eq!(&incremental, &tables(&project).await, "full refresh");
        Ok(Lived::AsTheModelSays)
    })
}
