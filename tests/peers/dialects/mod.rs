//! The SQL of every flow type over random histories, run by DuckDB and Spark: the tables must be those of the reference models.
//!
//! `QETL_CASES` and `QETL_SPARK_CASES` are how many histories of each flow type are tried; for Spark one, which costs it ten to fifty
//! seconds of CPU. Histories have seeds, which follow one another; `QETL_SEED` is the first.

mod case;
mod lives;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use qetl_sql::{Dialect, dialects};
use qetl_test_models::outcomes::{self, Outcome};

pub(crate) use self::{
    case::case,
    lives::{FLOW_TYPES, FlowType, drawn},
};
use crate::venv;

#[test]
fn duckdb_gives_the_tables_of_the_models() {
    let Some(python) = venv::python_or_say("duckdb", &["duckdb<3"], "import duckdb") else { return };
    run(&python, "duckdb", number("QETL_CASES").unwrap_or(100));
}

#[test]
fn spark_gives_the_tables_of_the_models() {
    let java = std::env::var_os("JAVA_HOME").map_or_else(|| PathBuf::from("java"), |home| Path::new(&home).join("bin/java"));
    if !venv::succeeds(Command::new(&java).arg("-version")) {
        println!("skipped: there is no Java");
        return;
    }
    let packages = ["pyspark>=4.1,<5", "pyarrow"];
    let Some(python) = venv::python_or_say("spark", &packages, "import pyarrow, pyspark") else { return };
    run(&python, "databricks", number("QETL_SPARK_CASES").unwrap_or(1));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A case that was written.
struct Written {
    flow_type: FlowType,
    seed: u64,
    /// Of its text.
    size: usize,
}

/// Has a program live as many lives of each flow type; the smallest one that fails is told.
fn run(python: &Path, dialect: &str, count: u64) {
    let dialect = dialects::dialect(dialect).unwrap();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let seed = number("QETL_SEED").unwrap_or_else(now);
    println!("{}: QETL_SEED={seed}", dialect.name());
    let folder = tempfile::tempdir().unwrap();
    let (cases, answers) = (folder.path().join("cases.jsonl"), folder.path().join("answers.jsonl"));
    let mut file = BufWriter::new(File::create(&cases).unwrap());
    let written: Vec<Written> = FLOW_TYPES.into_iter().flat_map(|flow_type| write(&mut file, dialect, flow_type, seed, count)).collect();
    drop(file);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("dialects/run.py");
    let output = Command::new(python).arg(script).arg(dialect.name()).args([&cases, &answers]).stdin(Stdio::null()).output().unwrap();
    let answers = fs::read_to_string(&answers).unwrap_or_default();
    let answers: Vec<Option<String>> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ended = output.status.success() && answers.len() == written.len();
    assert!(ended, "{} of {} cases: {}", answers.len(), written.len(), String::from_utf8_lossy(&output.stderr));
    let failed: Vec<(&Written, String)> = written.iter().zip(answers).filter_map(|(case, why)| Some((case, why?))).collect();
    let Some((smallest, why)) = failed.iter().min_by_key(|(case, _)| case.size) else {
        if dialect.name() == "databricks" {
            let outcome = Outcome { histories: count.try_into().unwrap(), refused: BTreeMap::new() };
            FLOW_TYPES.iter().for_each(|(flow_type, _)| outcomes::record("spark", flow_type, &outcome));
        }
        return;
    };
    let life = drawn(smallest.flow_type, smallest.seed);
    panic!(
        "{} of {} histories fail; the smallest, of {} with QETL_SEED={}: {why}\nflow:\n{}\narrivals: {}",
        failed.len(),
        written.len(),
        smallest.flow_type.0,
        smallest.seed,
        life.flow,
        life.told
    );
}

/// Writes cases of a flow type, one a seed. What the dialect refuses is counted, and others come in its place; it must not refuse all.
fn write(file: &mut impl Write, dialect: &dyn Dialect, flow_type: FlowType, first: u64, count: u64) -> Vec<Written> {
    let (mut written, mut refused) = (Vec::new(), BTreeMap::<String, u32>::new());
    for seed in first.. {
        if written.len() as u64 == count {
            break;
        }
        match case(&drawn(flow_type, seed), dialect) {
            Ok(case) => {
                let text = case.json.to_string();
                writeln!(file, "{text}").unwrap();
                written.push(Written { flow_type, seed, size: text.len() });
                for why in case.left_out {
                    *refused.entry(format!("{why} (a query)")).or_default() += 1;
                }
            }
            Err(why) => *refused.entry(why.to_string()).or_default() += 1,
        }
        assert!(seed - first < 20 * count + 20, "{} refuses nearly all of {}: {refused:?}", dialect.name(), flow_type.0);
    }
    println!("{}, {}: {count} histories; refused: {refused:?}", dialect.name(), flow_type.0);
    written
}
