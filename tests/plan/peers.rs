//! Generated code, run by those that it is for. What is not installed, and cannot be, is skipped, and the test says so.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use qetl_core::Flow;
use qetl_generate::{Target, folder};

use crate::generate::{flows_of, made};

/// What a script of `generated/` ends with when what it needs is not there.
const SKIPPED: i32 = 77;

/// A folder with what a target makes of the flows.
fn generated(flows: &str, target: Target, dialect: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let flows = flows_of(flows);
    let files = made(&flows.iter().collect::<Vec<&Flow>>(), target, dialect).unwrap();
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

/// The Python of an environment with these packages, made if need be; `None` where there is no Python or no package index.
fn python(name: &str, packages: &[&str], imports: &str) -> Option<PathBuf> {
    let cache = PathBuf::from(std::env::var_os("HOME")?).join(".cache");
    fs::create_dir_all(&cache).ok()?;
    let lock = File::create(cache.join(format!("qetl-test-{name}.lock"))).ok()?;
    lock.lock().ok()?;
    let folder = cache.join(format!("qetl-test-{name}"));
    let python = folder.join("bin/python");
    let succeeds = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let works = || succeeds(Command::new(&python).args(["-c", imports]));
    if works() {
        return Some(python);
    }
    let made = python.is_file() || succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"];
    let found = (made && succeeds(Command::new(&python).args(pip).args(packages)) && works()).then_some(python);
    if found.is_none() {
        println!("skipped: {} cannot be installed", packages.join(", "));
    }
    found
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
    if let Some(python) =
        python("duckdb-shell", &["duckdb-cli"], "import sysconfig, os; assert os.path.exists(sysconfig.get_path('scripts') + '/duckdb')")
    {
        examples(&python, "duckdb");
    }
}

#[test]
fn sqlglot_parses_every_script() {
    let Some(python) = python("sqlglot", &["sqlglot"], "import sqlglot") else { return };
    for dialect in Target::Sql.dialects() {
        let folder = generated("generated/flows", Target::Sql, dialect);
        run(&python, "parse.py", &[dialect, &folder.path().to_string_lossy()]);
    }
}

#[test]
fn dbt_gives_the_worked_examples() {
    // dbt 2 has parts that are not in the package index.
    let packages = ["dbt-core<1.11", "dbt-duckdb<1.11", "dbt-postgres<1.11"];
    let Some(python) = python("dbt", &packages, "import dbt.cli.main, dbt.adapters.duckdb, dbt.adapters.postgres") else { return };
    for dialect in ["duckdb", "postgres"] {
        let folder = generated("generated/flows", Target::Dbt, dialect);
        run(&python, "dbt_examples.py", &[dialect, &folder.path().to_string_lossy()]);
    }
}

#[test]
fn airflow_loads_the_dags() {
    let Some(python) = python("airflow", &["apache-airflow>=3,<4"], "import airflow.sdk") else { return };
    let folder = generated("../../flows", Target::Airflow, "");
    run(&python, "load_dags.py", &[&folder.path().to_string_lossy()]);
}
