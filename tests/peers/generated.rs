//! Generated code, run by those that it is for. What is not installed, and cannot be, is skipped, and the test says so.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use qetl_core::Flow;
use qetl_generate::{Target, folder};

use crate::venv::python_or_say;

/// What a script of `generated/` ends with when what it needs is not there.
const SKIPPED: i32 = 77;

/// A folder with what a target makes of the flows of another.
fn generated(flows: &str, target: Target, dialect: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let registry = qetl_plugins::registry();
    let flow = |path: &Path| Flow::parse(&path.to_string_lossy(), &fs::read_to_string(path).unwrap(), &registry).unwrap();
    let paths = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(flows)).unwrap().map(|entry| entry.unwrap().path());
    let flows: Vec<Flow> = paths.map(|path| flow(&path)).collect();
    let reads = |flow: &Flow| match flow.id() {
        "orders_pipeline" => vec!["orders_change_feed".to_owned(), "invoices".to_owned()],
        _ => Vec::new(),
    };
    let files = qetl_generate::generate(&flows.iter().collect::<Vec<&Flow>>(), target, dialect, "My shop", &reads).unwrap();
    folder::write(folder.path(), &files).unwrap();
    folder
}

fn run(python: &Path, script: &str, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated").join(script);
    let bin = python.parent().filter(|bin| !bin.as_os_str().is_empty());
    let mut command = Command::new(python);
    command.arg(script).args(arguments).stdin(Stdio::null());
    if let Some(bin) = bin {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&paths));
        command.env("PATH", std::env::join_paths(paths).unwrap());
    }
    let Ok(output) = command.output() else {
        println!("skipped: there is no python3");
        return;
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success() || output.status.code() == Some(SKIPPED), "{arguments:?}: {said}");
}

fn examples(python: &Path, dialect: &str) {
    let folder = generated("generated/flows", Target::Sql, dialect);
    run(python, "examples.py", &[dialect, &folder.path().to_string_lossy()]);
}

#[test]
fn scripts_give_the_worked_examples_on_sqlite() {
    examples(Path::new("python3"), "sqlite");
}

#[test]
fn scripts_give_the_worked_examples_on_postgres() {
    examples(Path::new("python3"), "postgres");
}

#[test]
fn scripts_give_the_worked_examples_on_mariadb() {
    examples(Path::new("python3"), "mysql");
}

#[test]
fn scripts_give_the_worked_examples_on_duckdb() {
    if let Some(python) = python_or_say(
        "duckdb-shell",
        &["duckdb-cli"],
        "import sysconfig, os; assert os.path.exists(sysconfig.get_path('scripts') + '/duckdb')",
    ) {
        examples(&python, "duckdb");
    }
}

#[test]
fn sqlglot_parses_every_script() {
    let Some(python) = python_or_say("sqlglot", &["sqlglot"], "import sqlglot") else { return };
    for dialect in Target::Sql.dialects() {
        let folder = generated("generated/flows", Target::Sql, dialect);
        run(&python, "parse.py", &[dialect, &folder.path().to_string_lossy()]);
    }
}

#[test]
fn dbt_gives_the_worked_examples() {
    // dbt 2 has parts that are not in the package index.
    let packages = ["dbt-core<1.11", "dbt-duckdb<1.11", "dbt-postgres<1.11"];
    let Some(python) = python_or_say("dbt", &packages, "import dbt.cli.main, dbt.adapters.duckdb, dbt.adapters.postgres") else { return };
    for dialect in ["duckdb", "postgres"] {
        let folder = generated("generated/flows", Target::Dbt, dialect);
        run(&python, "dbt_examples.py", &[dialect, &folder.path().to_string_lossy()]);
    }
}

#[test]
fn airflow_loads_the_dags() {
    let Some(python) = python_or_say("airflow", &["apache-airflow>=3,<4"], "import airflow.sdk") else { return };
    let folder = generated("../../flows", Target::Airflow, "");
    run(&python, "load_dags.py", &[&folder.path().to_string_lossy()]);
}
