//! Files as other programs write them: what is landed is what was written, or the file is refused with its reason.
//!
//! `written/write.py` has pandas, Polars, DuckDB, pyarrow, fastavro and Python itself write random files; `written/rules.py` says what
//! their texts mean. So many files are written as `QETL_FILES` says.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use qetl_test_peers::venv;

use crate::cli::{Cli, Output};

/// Files without more.
const FILES: u64 = 60;

fn python() -> Option<PathBuf> {
    const PACKAGES: [&str; 6] = ["pandas", "pyarrow", "polars", "duckdb<3", "fastavro[codecs]", "zstandard"];
    let found = venv::python("files", &PACKAGES, "import pandas, pyarrow, polars, duckdb, fastavro, zstandard, cramjam");
    if found.is_none() && std::env::var_os("CI").is_some() {
        panic!("CI has no Python with {}", PACKAGES.join(", "));
    }
    found
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn files_of_other_programs_are_landed_as_they_were_written() {
    let Some(python) = python() else {
        println!("skipped: there is no Python with the programs that write files");
        return;
    };
    let (files, seed) = (number("QETL_FILES", FILES), number("QETL_SEED", 1));
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("written");
    let cli = Cli::empty();
    let folder = cli.folder.path();
    let ran = |command: &mut Command| Output::from(command.output().unwrap());
    let written = ran(Command::new(&python).arg(scripts.join("write.py")).args([seed.to_string(), files.to_string()]).arg(folder));
    assert_eq!(written.code, 0, "{written:?}");
    // Files that must be refused are among them, so the exit code says nothing.
    let report = cli.run(&["execute", "--format", "json"]);
    assert!(report.stdout.starts_with('{'), "{report:?}");
    cli.write("report.json", &report.stdout);
    let qetl = env!("CARGO_BIN_EXE_qetl-under-test");
    let compared = ran(Command::new(&python).arg(scripts.join("compare.py")).arg(qetl).arg(folder));
    println!("{}", compared.stdout);
    assert_eq!(compared.code, 0, "seed {seed}: {}{}", compared.stdout, compared.stderr);
}
