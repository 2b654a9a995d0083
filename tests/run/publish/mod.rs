//! What was published stays: through signals, lost and damaged files, and runs that died.

mod damage;
mod durable;
mod format;
mod interrupts;
mod panics;
mod past;

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use crate::{
    cli::{Cli, Output},
    crash::{copy_of, files_below},
};

/// A project of each flow type.
const TEMPLATES: [&str; 6] = ["change_feed", "delta_publishing", "growth_accounting", "scd2", "sessionization", "standard"];

/// What no two runs have in common.
const TIMES: [&str; 2] = ["xt_processed_at", "xt_loaded_at"];

/// A project of which all but the last file is executed, and its tables before and after that is.
struct Victim {
    template: &'static str,
    base: Cli,
    before: String,
    after: String,
}

impl Victim {
    fn of(template: &'static str) -> Self {
        let base = Cli::empty();
        base.ok(&["init", ".", "--template", template]);
        let last = files_below(&base.path("data")).pop_last().unwrap();
        let text = fs::read_to_string(base.path("data").join(&last)).unwrap();
        fs::remove_file(base.path("data").join(&last)).unwrap();
        base.ok(&["execute"]);
        let before = tables(&base);
        base.write(&format!("data/{last}"), &text);
        let whole = copy_of(&base);
        whole.ok(&["execute"]);
        let after = tables(&whole);
        assert_ne!(before, after, "{template}");
        Self { template, base, before, after }
    }
}

/// The rows of all datasets, without the times of runs.
fn tables(cli: &Cli) -> String {
    let mut text = String::new();
    for line in cli.ok(&["datasets", "--format", "json"]).lines() {
        let dataset: Value = serde_json::from_str(line).unwrap();
        let names = dataset["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap());
        let names: Vec<String> = names.filter(|name| !TIMES.contains(name)).map(|name| format!("\"{name}\"")).collect();
        // Views have none.
        if !names.is_empty() {
            let (name, all) = (dataset["dataset"].as_str().unwrap(), names.join(", "));
            text.push_str(&format!("{name}\n{}", cli.query(&format!("SELECT {all} FROM {name} ORDER BY {all}"))));
        }
    }
    text
}

fn catalog(cli: &Cli) -> rusqlite::Connection {
    let catalog = rusqlite::Connection::open(cli.path("warehouse/catalog.sqlite")).unwrap();
    catalog.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    catalog
}

/// The statuses of the runs, oldest first, as `history` tells them.
fn statuses(cli: &Cli) -> Vec<String> {
    let runs = cli.ok(&["history", "--format", "json"]);
    let status = |line: &str| serde_json::from_str::<Value>(line).unwrap()["status"].as_str().unwrap().to_owned();
    let mut statuses: Vec<String> = runs.lines().map(status).collect();
    statuses.reverse();
    statuses
}

fn data_files(cli: &Cli) -> BTreeSet<String> {
    files_below(&cli.path("warehouse/data"))
}

/// The data files of a project, with where they are.
fn data_paths(cli: &Cli) -> Vec<PathBuf> {
    data_files(cli).iter().map(|name| cli.path("warehouse/data").join(name)).collect()
}

/// A refusal that says what and why, and no panic.
fn assert_told(output: &Output, what: &str) {
    assert!((1..=4).contains(&output.code), "{what}: {output:?}");
    assert!(output.stderr.contains("error: ") && !output.stderr.contains("panicked"), "{what}: {output:?}");
}
