//! Tasks in the words of a database.

use std::time::Duration;

use qetl_runtime::{RunReport, progress::Progress, waiting::Request};
use qetl_test_harness::{
    TestProject,
    project::{execute as run, workspace},
};

use crate::server::Kind;

#[test]
fn duckdb_runs_its_own_words() {
    pipeline(Kind::DuckDb, "CURRENT_DATE - 60", "CURRENT_DATE - CAST(n AS INTEGER)");
}

#[test]
fn sqlite_runs_its_own_words() {
    pipeline(Kind::Sqlite, "DATE('now', '-60 days')", "DATE('now', '-' || n || ' days')");
}

#[test]
fn mariadb_runs_its_own_words() {
    pipeline(Kind::MariaDb, "DATE_SUB(CURRENT_DATE, INTERVAL 60 DAY)", "DATE_SUB(CURRENT_DATE, INTERVAL n DAY)");
}

#[test]
fn postgres_runs_its_own_words() {
    pipeline(Kind::Postgres, "CURRENT_DATE - 60", "CURRENT_DATE - CAST(n AS INTEGER)");
}

const FLOW: &str = r#"
id = "sales"
flow_type = "standard"

[[tasks]]
id = "ingest"
type = "ingestion"
target_dataset = "raw_sales"
[tasks.config]
path = "data/sales_*.csv"
columns = [{ name = "id", schema_type = "integer" }, "customer", { name = "n", schema_type = "integer" }, { name = "amount", schema_type = "integer" }]

[[tasks]]
id = "recent"
type = "sql_processing"
source_dataset = "raw_sales"
target_dataset = "recent_sales"
source_scope = "batch"
sql = """
INSERT INTO {{ target_dataset }} (id, customer, amount)
SELECT id, TRIM(customer), amount FROM {{ source_dataset }} WHERE DAY >= BOUND
"""

[[tasks]]
id = "sum_up"
type = "sql_processing"
source_dataset = "recent_sales"
target_dataset = "per_customer"
sql = """
CREATE TEMPORARY TABLE sums AS
SELECT customer, COUNT(*) AS sales, SUM(amount) AS amount FROM {{ source_dataset }} GROUP BY customer;

-- From here on the name is this table's.
CREATE TEMP TABLE recent_sales AS SELECT * FROM sums WHERE sales > 0;

SELECT customer, sales, amount FROM recent_sales;
"""

[[tasks]]
id = "newest"
type = "sql_processing"
source_dataset = "raw_sales"
target_dataset = "newest"
source_scope = "batch"
write_mode = "merge"
unique_key = ["customer"]
sql = "SELECT customer, MAX(id) AS id FROM raw_sales GROUP BY customer"
"#;

/// Days are told from today, as the bound is.
fn pipeline(kind: Kind, bound: &str, day: &str) {
    let Some(server) = kind.server() else { return };
    let project = TestProject::new(server.place(), &FLOW.replace("DAY", day).replace("BOUND", bound));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let write = |batch: u32, rows: &str| {
        let path = project.folder.path().join(format!("data/sales_{batch}.csv"));
        std::fs::write(path, format!("id,customer,n,amount\n{rows}")).unwrap();
    };
    let done = |report: RunReport| {
        let flow = &report.flows[0];
        assert!(flow.error.is_none() && flow.batches.iter().all(|batch| batch.error.is_none()), "{report:?}");
        flow.batches.len()
    };
    let execute = |request: Request| runtime.block_on(project.execute(&request)).unwrap();
    let rows = |sql: &str| -> Vec<String> {
        let rows = runtime.block_on(project.ordered(sql));
        rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(",")).collect()
    };
    let all = || {
        [
            rows("SELECT id, customer, amount, xt_batch_id FROM recent_sales ORDER BY id"),
            rows("SELECT customer, sales, amount FROM per_customer ORDER BY customer"),
            rows("SELECT customer, id, xt_batch_id FROM newest ORDER BY customer"),
        ]
    };
    write(1, "1, Ada ,3,10\n2,Bert,59,5\n3,Bert,61,7\n");
    assert_eq!(done(execute(Request::default())), 1);
    let first = [vec!["1,Ada,10,1", "2,Bert,5,1"], vec!["Ada,1,10", "Bert,1,5"], vec![" Ada ,1,1", "Bert,3,1"]];
    assert_eq!(all(), first.map(|rows| rows.into_iter().map(str::to_owned).collect::<Vec<_>>()));
    assert_eq!(done(execute(Request::default())), 0, "up to date");

    write(2, "4,Ada,1,1\n5,Bert,100,1\n");
    assert_eq!(done(execute(Request::default())), 1);
    let second = [vec!["1,Ada,10,1", "2,Bert,5,1", "4,Ada,1,2"], vec!["Ada,2,11", "Bert,1,5"], vec![" Ada ,1,1", "Ada,4,2", "Bert,5,2"]]
        .map(|rows| rows.into_iter().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(all(), second);
    done(execute(Request { full_refresh: true, ..Request::default() }));
    assert_eq!(all(), second, "deriving everything again changes nothing");

    // A batch that is replaced replaces its rows everywhere.
    write(3, "6,Cleo,1,1\n");
    assert_eq!(done(execute(Request::default())), 1);
    let third = all();
    let report = execute(Request { batch_id: Some(3), ..Request::default() });
    assert_eq!((done(report), all()), (1, third));

    // What fails leaves everything as it was, and says where it stands.
    let before = all();
    let flow = std::fs::read_to_string(project.folder.path().join("flows/flow.toml")).unwrap();
    let wrong = flow.replace("COUNT(*) AS sales", "COUNT(nothing) AS sales");
    std::fs::write(project.folder.path().join("flows/flow.toml"), wrong).unwrap();
    let changed = workspace(project.folder.path());
    let silent = Progress::silent();
    let report = runtime.block_on(run(&changed, &*project.engine, &[], &Request::default(), Duration::ZERO, &silent)).unwrap();
    let error = report.flows[0].batches[0].error.clone().unwrap();
    assert!(error.message.contains("nothing") && error.message.contains("flows/flow.toml:"), "{error:?}");
    assert_eq!(all(), before);
}

/// A flow over two batches of a file `data/t_N.csv`; the rows of its last dataset, sorted.
fn rows_after(kind: Kind, flow: &str, batches: &[&str], sql: &str) -> Option<Vec<String>> {
    let server = kind.server()?;
    let project = TestProject::new(server.place(), flow);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (number, text) in (1..).zip(batches) {
        std::fs::write(project.folder.path().join(format!("data/t_{number}.csv")), text).unwrap();
        let report = runtime.block_on(project.execute(&Request::default())).unwrap();
        let flow = &report.flows[0];
        assert!(flow.error.is_none() && flow.batches.iter().all(|batch| batch.error.is_none()), "{report:?}");
        assert_eq!(flow.batches.len(), 1);
    }
    let rows = runtime.block_on(project.rows(sql));
    Some(rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(",")).collect())
}

#[test]
fn a_dataset_with_a_namespace_is_read_batch_by_batch() {
    let flow = r#"
id = "raw_sales"
flow_type = "standard"
namespace = "raw"
[[tasks]]
id = "ingest"
type = "ingestion"
target_dataset = "t"
[tasks.config]
path = "data/t_*.csv"
columns = [{ name = "id", schema_type = "integer" }]
[[tasks]]
id = "copy"
type = "sql_processing"
source_dataset = "t"
target_dataset = "copied"
source_scope = "batch"
sql = "INSERT INTO {{ target_dataset }} SELECT t.id FROM {{ source_dataset }} AS t WHERE EXISTS (SELECT 1 FROM raw.t AS other WHERE other.id = t.id)"
"#;
    for kind in [Kind::DuckDb, Kind::Postgres] {
        let Some(rows) = rows_after(kind, flow, &["id\n1\n2\n", "id\n3\n"], "SELECT id, xt_batch_id FROM raw.copied") else { continue };
        assert_eq!(rows, ["1,1", "2,1", "3,2"], "{kind:?}");
    }
}

#[test]
fn a_column_that_widens_takes_its_tasks_along() {
    let flow = r#"
id = "widening"
flow_type = "standard"
[[tasks]]
id = "ingest"
type = "ingestion"
target_dataset = "t"
[tasks.config]
path = "data/t_*.csv"
[[tasks]]
id = "doubled"
type = "sql_processing"
source_dataset = "t"
target_dataset = "doubled"
sql = "SELECT id, amount + amount AS amount FROM t"
"#;
    for kind in [Kind::DuckDb, Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        let batches = ["id,amount\n1,5\n", "id,amount\n2,1.5\n"];
        let Some(rows) = rows_after(kind, flow, &batches, "SELECT id FROM doubled WHERE amount IS NOT NULL") else { continue };
        assert_eq!(rows, ["1", "2"], "{kind:?}");
    }
}

#[test]
fn sqlite_takes_no_name_for_a_text() {
    let flow = r#"
id = "quoted"
flow_type = "standard"
[[tasks]]
id = "t"
task_type = "sql_processing"
target_dataset = "made"
sql = "SELECT \"amuont\" AS amount FROM (SELECT 1 AS amount) s"
"#;
    let Some(server) = Kind::Sqlite.server() else { return };
    let project = TestProject::new(server.place(), flow);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(project.execute(&Request { batch_id: Some(1), ..Request::default() })).unwrap();
    let error = report.flows[0].batches[0].error.clone().unwrap();
    assert!(error.message.contains("no such column: \"amuont\""), "{error:?}");
}

#[test]
fn of_tasks_that_end_together_the_one_that_failed_is_told() {
    let task = |id: &str, sql: &str| {
        format!(
            "[[tasks]]\nid = \"{id}\"\ntask_type = \"sql_processing\"\nsource_dataset = \"t\"\ntarget_dataset = \"{id}\"\nsql = \"{sql}\"\n"
        )
    };
    let mut flow = r#"
id = "several"
flow_type = "standard"
[[tasks]]
id = "ingest"
task_type = "ingestion"
target_dataset = "t"
[tasks.config]
path = "data/t_*.csv"
"#
    .to_owned();
    // The sum is too large for its type, on both engines.
    flow += &task("wrong", "SELECT id, 9223372036854775807 + id AS amount FROM t");
    flow.extend((1..8).map(|number| task(&format!("right_{number}"), "SELECT id FROM t")));
    for kind in [Kind::DuckDb, Kind::Postgres] {
        let Some(server) = kind.server() else { continue };
        let project = TestProject::new(server.place(), &flow);
        std::fs::write(project.folder.path().join("data/t_1.csv"), "id\n9\n").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        for _ in 0..10 {
            let report = runtime.block_on(project.execute(&Request { jobs: 8, ..Request::default() })).unwrap();
            let error = report.flows[0].batches[0].error.clone().unwrap();
            assert!(error.message.contains("step `wrong`"), "{kind:?}: {error:?}");
        }
    }
}

#[test]
fn large_sql_is_run_or_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for kind in [Kind::DuckDb, Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        let Some(server) = kind.server() else { continue };
        let outcome = |sql: &str| {
            let flow = format!(
                "id = \"large\"\nflow_type = \"standard\"\n[[tasks]]\nid = \"t\"\ntask_type = \"sql_processing\"\n\
                 target_dataset = \"made\"\nsql = \"{sql}\"\n"
            );
            let project = TestProject::new(server.place(), &flow);
            let report = runtime.block_on(project.execute(&Request { batch_id: Some(1), ..Request::default() }));
            let failed = match report {
                Ok(report) => {
                    let flow = &report.flows[0];
                    flow.error.as_ref().or(flow.batches.iter().find_map(|batch| batch.error.as_ref())).map(|error| error.message.clone())
                }
                Err(error) => Some(error.to_string()),
            };
            match failed {
                Some(why) => Err(why),
                None => Ok(runtime.block_on(project.ordered("SELECT COUNT(*), MAX(n) FROM made"))),
            }
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(outcome("SELECT 1{% for i in range(1000) %}+1{% endfor %} AS n"), Ok(vec![vec![text("1"), text("1001")]]), "{kind:?}");
        let unions = "SELECT 1 AS n{% for i in range(500) %} UNION ALL SELECT 1{% endfor %}";
        assert_eq!(outcome(unions), Ok(vec![vec![text("501"), text("1")]]), "{kind:?}");
        let values = "SELECT k AS n FROM (SELECT 1 AS k) s WHERE k IN (0{% for i in range(9999) %}, 1{% endfor %})";
        assert_eq!(outcome(values), Ok(vec![vec![text("1"), text("1")]]), "{kind:?}");
        for large in [
            "SELECT 1{% for i in range(9999) %}+1{% endfor %} AS n",
            "SELECT 1 AS n{% for i in range(5000) %} UNION ALL SELECT 1{% endfor %}",
        ] {
            let why = outcome(large).unwrap_err();
            assert!(why.contains("are the most"), "{kind:?}: {why}");
        }
    }
}
