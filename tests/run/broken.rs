//! Broken data: every case of `broken/inputs.toml` as a project of its own, run from the command line.
//!
//! A refusal has its exit code, says where the data is wrong and names a way out, and leaves what was published as it was.

#[path = "broken/generators.rs"]
mod generators;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde::Deserialize;
use tempfile::TempDir;

use crate::project::temporary;

/// Cases that are mended afterwards, by a good file in place of their last one: the same command then goes through, and
/// these batches are published.
const MENDED: [(&str, &[i64]); 5] = [
    ("quote_never_closed", &[1]),
    ("gzip_truncated", &[1]),
    ("jsonl_cut_short", &[1]),
    ("parquet_page_corrupt", &[1]),
    ("second_of_two_files_is_broken", &[1, 2]),
];

/// The most characters of a stream that a failure shows.
const SHOWN: usize = 4000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    case: Vec<Case>,
}

/// The manifest's head says what each key means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    flow: Difference,
    #[serde(default)]
    setup: Vec<InputFile>,
    files: Vec<InputFile>,
    then: Option<Vec<InputFile>>,
    #[serde(default)]
    remove: Vec<String>,
    batch_id: Option<i64>,
    #[serde(default)]
    inputs: Vec<String>,
    exit: i32,
    says: Vec<String>,
    published: Option<Vec<i64>>,
    #[serde(default)]
    skip_as_root: bool,
}

/// What differs from the default flow.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Difference {
    columns: String,
    primary_key: String,
    source_path: String,
    input: String,
    properties: String,
    load: String,
}

impl Default for Difference {
    fn default() -> Self {
        let columns = r#"[{ name = "id", schema_type = "integer" }, { name = "status", schema_type = "string" },
           { name = "amount", schema_type = "decimal(18,2)" }, { name = "day", schema_type = "date" }]"#;
        Difference {
            columns: columns.to_owned(),
            primary_key: r#"["id"]"#.to_owned(),
            source_path: "data/orders".to_owned(),
            input: String::new(),
            properties: String::new(),
            load: String::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputFile {
    name: String,
    text: Option<String>,
    base64: Option<String>,
    generate: Option<String>,
    link: Option<String>,
    mode: Option<String>,
}

#[test]
fn broken_data_is_refused_with_a_way_out() {
    let Manifest { case: cases } = toml::from_str(include_str!("broken/inputs.toml")).unwrap();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    MENDED.iter().for_each(|(name, _)| assert!(names.contains(name), "there is no case `{name}`"));

    let root = is_root();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !(root && case.skip_as_root)
                && let Err(why) = run(case)
            {
                failed.push(format!("=== {}\n{why}", case.name));
            }
        }
        failed
    };
    let failed: Vec<String> =
        thread::scope(|scope| [scope.spawn(work), scope.spawn(work)].into_iter().flat_map(|thread| thread.join().unwrap()).collect());
    assert!(failed.is_empty(), "{} of {} cases:\n\n{}", failed.len(), cases.len(), failed.join("\n"));
}

/// Runs a case; the error tells what is not as the manifest says.
fn run(case: &Case) -> Result<(), String> {
    let folder = folder(case);
    let folder = folder.path();
    fs::create_dir(folder.join("flows")).unwrap();
    fs::write(folder.join("flows/orders.toml"), flow(&case.flow)).unwrap();
    let mut before = Published::new();
    if !case.setup.is_empty() {
        case.setup.iter().for_each(|file| write(folder, file));
        before = executed(folder, "setup")?;
    }
    case.files.iter().for_each(|file| write(folder, file));
    if let Some(then) = &case.then {
        before = executed(folder, "files")?;
        then.iter().for_each(|file| write(folder, file));
    }
    case.remove.iter().for_each(|name| fs::remove_file(folder.join(name)).unwrap());

    let command = command(case);
    let output = qetl(folder, &command);
    let mut wrong = complaints(case, &output);
    let after = published(folder)?;
    match &case.published {
        Some(ids) => wrong.extend(unlike(&after, ids)),
        None if after != before => wrong.push(format!("published before: {before:?}\npublished after: {after:?}")),
        None => (),
    }
    if !wrong.is_empty() {
        return Err(format!("{}\n{}", wrong.join("\n"), shown(&output)));
    }

    let Some((_, ids)) = MENDED.iter().find(|(name, _)| *name == case.name) else { return Ok(()) };
    let last = &case.files.last().unwrap().name;
    fs::write(folder.join(last), generators::good(last)).unwrap();
    let output = qetl(folder, &command);
    let mut wrong = Vec::from_iter((output.status.code() != Some(0)).then(|| "mended, the same command does not go through".to_owned()));
    wrong.extend(unlike(&published(folder)?, ids));
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{}", wrong.join("\n"), shown(&output))) }
}

/// What is wrong with the judged run's exit code and words.
fn complaints(case: &Case, output: &Output) -> Vec<String> {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut wrong = Vec::new();
    if output.status.code() != Some(case.exit) {
        wrong.push(format!("expected exit code {}", case.exit));
    }
    wrong.extend(case.says.iter().filter(|says| !text.contains(*says)).map(|says| format!("not said: {says}")));
    if text.contains("panicked at") {
        wrong.push("it panicked".to_owned());
    }
    // Of wrong arguments, the parser of the command line names its help instead.
    if !text.lines().any(|line| line.trim_start().starts_with("help:")) && !text.contains("try '--help'") {
        wrong.push("no way out is named: there is no `help:` line".to_owned());
    }
    wrong
}

/// In memory, but for the files that a small `/dev/shm` would not hold.
fn folder(case: &Case) -> TempDir {
    let is_long = |file: &InputFile| file.generate.as_ref().is_some_and(|name| name.starts_with("long_"));
    if case.files.iter().any(is_long) { TempDir::new().unwrap() } else { temporary() }
}

fn flow(difference: &Difference) -> String {
    let Difference { columns, primary_key, source_path, input, properties, load } = difference;
    let source_path = toml::Value::String(source_path.clone());
    format!(
        r#"id = "orders_change_feed"
flow_type = "change_feed"

[input]
primary_key = {primary_key}
columns = {columns}
{input}

[properties]
{properties}

[properties.load]
source_path = {source_path}
{load}
"#
    )
}

fn write(folder: &Path, file: &InputFile) {
    let path = folder.join(&file.name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match (&file.text, &file.base64, &file.generate, &file.link) {
        (Some(text), None, None, None) => fs::write(&path, text).unwrap(),
        (None, Some(digits), None, None) => fs::write(&path, base64(digits)).unwrap(),
        (None, None, Some(generator), None) => fs::write(&path, generators::generated(generator)).unwrap(),
        (None, None, None, Some(target)) => symlink(target, &path).unwrap(),
        _ => panic!("`{}` is one of `text`, `base64`, `generate`, `link`", file.name),
    }
    if let Some(mode) = &file.mode {
        fs::set_permissions(&path, fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap())).unwrap();
    }
}

fn base64(digits: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in digits.bytes().filter(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).unwrap();
        bits = (bits << 6) | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// The command of the judged run.
fn command(case: &Case) -> Vec<String> {
    let mut command = vec!["execute".to_owned()];
    command.extend(case.batch_id.iter().flat_map(|id| ["--batch-id".to_owned(), id.to_string()]));
    command.extend(case.inputs.iter().flat_map(|path| ["--input".to_owned(), path.clone()]));
    command
}

fn qetl(folder: &Path, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qetl-under-test")).args(arguments).current_dir(folder).output().unwrap()
}

/// What is published after a run that has to go through.
fn executed(folder: &Path, what: &str) -> Result<Published, String> {
    let output = qetl(folder, &["execute"]);
    let found = published(folder)?;
    match output.status.code() {
        Some(0) if !found.is_empty() => Ok(found),
        _ => Err(format!("the run of `{what}` is to go through and publish; published: {found:?}\n{}", shown(&output))),
    }
}

/// For each dataset and batch id, the number of its rows; for the record of batches, the generation.
type Published = BTreeMap<(String, i64), i64>;

fn published(folder: &Path) -> Result<Published, String> {
    const SQL: &str = "SELECT 'batches' AS dataset, batch_id AS id, max(generation) AS number FROM qetl.batches GROUP BY batch_id
        UNION ALL SELECT 'landing', xt_batch_id, count(*) FROM orders_landing GROUP BY xt_batch_id
        UNION ALL SELECT 'change_feed', xt_batch_id, count(*) FROM orders_change_feed GROUP BY xt_batch_id
        UNION ALL SELECT 'state', xt_batch_id, count(*) FROM orders_state GROUP BY xt_batch_id";
    let answer = |arguments: &[&str]| {
        let output = qetl(folder, arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(text) } else { Err(format!("`{}` failed\n{}", arguments.join(" "), shown(&output))) }
    };
    if answer(&["datasets", "--format", "json"])?.is_empty() {
        return Ok(Published::new());
    }
    let text = answer(&["query", SQL, "--format", "csv"])?;
    let row = |line: &str| -> Option<((String, i64), i64)> {
        let mut fields = line.split(',');
        let (dataset, id, number) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(((dataset.to_owned(), id), number))
    };
    text.lines().skip(1).map(|line| row(line).ok_or_else(|| format!("`query` answers `{line}`"))).collect()
}

/// What is wrong, if not exactly these batches are published.
fn unlike(found: &Published, ids: &[i64]) -> Option<String> {
    let there = |dataset: &str, id: i64| found.contains_key(&(dataset.to_owned(), id));
    let all = ids.iter().all(|id| ["batches", "landing", "change_feed"].iter().all(|dataset| there(dataset, *id)));
    let alone = found.keys().all(|(_, id)| ids.contains(id));
    (!all || !alone).then(|| format!("expected batches {ids:?} to be published, found {found:?}"))
}

/// What a run gave.
fn shown(output: &Output) -> String {
    let mut text = output.status.code().map_or_else(|| format!("got {}\n", output.status), |code| format!("got exit code {code}\n"));
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let stream: String = String::from_utf8_lossy(bytes).chars().take(SHOWN).collect();
        writeln!(text, "--- {name}\n{}", stream.trim_end()).unwrap();
    }
    text
}

/// Permissions do not bind root.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
