//! Flows as authors write them, on databases.

use qetl_test_harness::documented;
use qetl_test_peers::venv;

use crate::server::Kind;

#[test]
fn sqlite_runs_documented_flows() {
    run(Kind::Sqlite);
}

#[test]
fn postgres_runs_documented_flows() {
    run(Kind::Postgres);
}

#[test]
fn duckdb_runs_documented_flows() {
    run(Kind::DuckDb);
}

#[test]
fn mariadb_runs_documented_flows() {
    run(Kind::MariaDb);
}

fn run(kind: Kind) {
    let Some(server) = kind.server() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let python = venv::python("venv", &["pandas", "pyarrow", "polars"], "import pandas, pyarrow, polars");
    documented::run(&runtime, &|| server.place(), python.as_deref());
}
