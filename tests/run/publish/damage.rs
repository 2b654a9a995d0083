//! Catalogs and logs that are lost, emptied, cut, or of another time: refused by every command, or nothing is missing.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{Victim, assert_told, catalog, data_files, tables};
use crate::{
    cli::Cli,
    crash::{copy, copy_of},
};

const CATALOG: &str = "warehouse/catalog.sqlite";
const LOG: &str = "warehouse/catalog.sqlite-wal";
const SHARED: &str = "warehouse/catalog.sqlite-shm";

/// Commands that need the catalog; the last ones would write.
const COMMANDS: [&[&str]; 9] = [
    &["query", "SELECT * FROM orders_change_feed"],
    &["query", "SELECT * FROM qetl.batches"],
    &["show", "orders_landing"],
    &["datasets"],
    &["verify"],
    &["history"],
    &["plan"],
    &["execute", "--full-refresh"],
    &["execute"],
];

#[derive(Debug, Clone, Copy)]
enum Damage {
    Deleted,
    Emptied,
    /// To so many of eight parts.
    Cut(u64),
    /// By what it was before the last batch; by nothing, if it was not there.
    Older,
}

const DAMAGES: [Damage; 6] = [Damage::Deleted, Damage::Emptied, Damage::Cut(0), Damage::Cut(3), Damage::Cut(7), Damage::Older];

fn damage(path: &Path, older: &Path, how: Damage) {
    match how {
        Damage::Deleted => fs::remove_file(path).unwrap(),
        Damage::Emptied => fs::write(path, "").unwrap(),
        Damage::Cut(eighths) => {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let bytes = file.metadata().unwrap().len();
            file.set_len((bytes * eighths / 8).max(100)).unwrap();
        }
        Damage::Older if older.is_file() => {
            fs::copy(older, path).unwrap();
        }
        Damage::Older => fs::remove_file(path).unwrap(),
    }
}

/// A project after a batch and after the one behind it; `log`: another program reads it meanwhile, so that the log stays.
fn two_times(log: bool) -> (Cli, Cli, String) {
    let cli = Cli::sample();
    let last = fs::read_to_string(cli.path("data/orders/orders_3.csv")).unwrap();
    fs::remove_file(cli.path("data/orders/orders_3.csv")).unwrap();
    cli.ok(&["execute"]);
    let reader = log.then(|| reading(&cli));
    if log {
        // So the log has something before the last batch, too.
        cli.write("data/orders/orders_3.csv", &last.replace('0', "1"));
        cli.ok(&["execute"]);
    }
    let older = copied(&cli);
    let next = if log { "data/orders/orders_4.csv" } else { "data/orders/orders_3.csv" };
    cli.write(next, &last);
    cli.ok(&["execute"]);
    let newer = copied(&cli);
    drop(reader);
    let rows = tables(&cli);
    assert_eq!(newer.path(LOG).is_file(), log);
    (older, newer, rows)
}

/// A copy that another program makes: whoever closes a file gives up what it has locked in it.
fn copied(cli: &Cli) -> Cli {
    let copy = Cli::empty();
    let made =
        std::process::Command::new("cp").args(["-r", ".", copy.folder.path().to_str().unwrap()]).current_dir(cli.folder.path()).status();
    assert!(made.unwrap().success());
    copy
}

/// Another program that reads the catalog, and goes on doing so.
fn reading(cli: &Cli) -> Connection {
    let reader = catalog(cli);
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT count(*) FROM qetl_batches", (), |_| Ok(())).unwrap();
    reader
}

/// What a damaged project answers to every command; whether it was refused.
fn judge(damaged: &Cli, rows: &str, what: &str) -> bool {
    let files = data_files(damaged);
    let refused = damaged.run(COMMANDS[0]).code != 0;
    // Nothing waits at its path any more that could be landed in place of what is lost.
    fs::remove_dir_all(damaged.path("data")).unwrap();
    fs::create_dir_all(damaged.path("data/orders")).unwrap();
    if refused {
        for command in COMMANDS {
            let output = damaged.run(command);
            assert_told(&output, &format!("{what}, {command:?}"));
            assert!(output.stderr.contains("catalog"), "{what}, {command:?}: {output:?}");
        }
    } else {
        assert_eq!(tables(damaged), rows, "{what}: it was taken, and lacks something");
        damaged.ok(&["verify"]);
        damaged.ok(&["execute"]);
        assert_eq!(tables(damaged), rows, "{what}: after a run");
    }
    assert_eq!(data_files(damaged), files, "{what}: files were removed");
    refused
}

#[test]
fn a_catalog_that_lacks_something_is_refused_by_every_command() {
    for log in [false, true] {
        let (older, newer, rows) = two_times(log);
        let mut told = Vec::new();
        let mut both = vec![(vec![CATALOG], DAMAGES.to_vec())];
        if log {
            both.extend([(vec![LOG], DAMAGES.to_vec()), (vec![CATALOG, LOG], DAMAGES.to_vec())]);
        }
        for (names, damages) in both {
            for how in damages {
                let damaged = copy_of(&newer);
                names.iter().for_each(|name| damage(&damaged.path(name), &older.path(name), how));
                let _ = fs::remove_file(damaged.path(SHARED));
                let what = format!("{names:?} {how:?}, log there: {log}");
                told.push(format!("{what}: {}", if judge(&damaged, &rows, &what) { "refused" } else { "nothing is missing" }));
            }
        }
        println!("{}", told.join("\n"));
        assert!(told.iter().any(|line| line.ends_with("refused")));
        // The shared memory and the locks say nothing that is not said elsewhere.
        let damaged = copy_of(&newer);
        let _ = fs::remove_file(damaged.path(SHARED));
        fs::remove_dir_all(damaged.path("warehouse/locks")).unwrap();
        assert!(!judge(&damaged, &rows, "locks"));
    }
}

#[test]
fn a_log_that_is_lost_after_each_publish_loses_nothing() {
    let victim = Victim::of("change_feed");
    // Somebody reads only now and then: so what is published does not stay in the log.
    let cli = copy_of(&victim.base);
    let idle = catalog(&cli);
    idle.query_row("SELECT count(*) FROM qetl_batches", (), |_| Ok(())).unwrap();
    cli.ok(&["execute"]);
    let damaged = copied(&cli);
    drop(idle);
    let _ = (fs::remove_file(damaged.path(LOG)), fs::remove_file(damaged.path(SHARED)));
    assert_eq!(tables(&damaged), victim.after);
}

#[test]
fn an_older_catalog_is_gone_on_from_when_that_is_asked_for() {
    let (older, newer, rows) = two_times(false);
    let damaged = copy_of(&newer);
    fs::copy(older.path(CATALOG), damaged.path(CATALOG)).unwrap();
    let files = data_files(&damaged);
    let told = damaged.run(&["execute"]);
    assert!(told.stderr.contains("is at version 2, and version 3 was published"), "{told:?}");
    assert!(told.stderr.contains("--accept-catalog-version 2"), "{told:?}");
    let other = damaged.run(&["execute", "--accept-catalog-version", "1"]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(other.stderr.contains("is at version 2, not 1"), "{other:?}");

    damaged.ok(&["execute", "--accept-catalog-version", "2"]);
    assert_eq!(tables(&damaged), rows, "the batch that was lost is landed again from its file");
    assert!(data_files(&damaged).is_superset(&files), "files were removed");
    damaged.ok(&["execute", "--full-refresh"]);
    assert!(data_files(&damaged).is_superset(&files), "files were removed by a later run");
    // The catalog that was lost is another one from now on, whatever its version is.
    fs::copy(newer.path(CATALOG), damaged.path(CATALOG)).unwrap();
    let told = damaged.run(&["verify"]);
    assert!(told.stderr.contains("version 4 was published") || told.stderr.contains("is not the one"), "{told:?}");
    assert_eq!(told.code, 1);
}

#[test]
fn a_missing_catalog_is_begun_anew_when_that_is_asked_for() {
    let (_, newer, rows) = two_times(false);
    let damaged = copy_of(&newer);
    let files = data_files(&damaged);
    fs::remove_file(damaged.path(CATALOG)).unwrap();
    assert_eq!(damaged.run(&["execute", "--accept-catalog-version", "3"]).code, 2);
    damaged.ok(&["execute", "--accept-catalog-version", "0"]);
    assert_eq!(tables(&damaged), rows);
    assert!(data_files(&damaged).is_superset(&files), "files were removed");
}

#[test]
fn what_was_said_to_be_published_is_said_by_a_whole_file() {
    let (_, newer, rows) = two_times(false);
    for text in ["", "{\"version\":", "[]"] {
        let damaged = copy_of(&newer);
        damaged.write("warehouse/published.json", text);
        assert!(judge(&damaged, &rows, text), "{text}: it was taken");
        damaged.ok(&["execute", "--accept-catalog-version", "3"]);
        assert_eq!(tables(&damaged), rows);
    }
    // A warehouse of an older qetl has no such file.
    let damaged = copy_of(&newer);
    fs::remove_file(damaged.path("warehouse/published.json")).unwrap();
    assert!(!judge(&damaged, &rows, "no such file"));
}

#[test]
fn files_of_a_warehouse_without_the_file_stay() {
    let victim = Victim::of("change_feed");
    let cli = copy_of(&victim.base);
    let one = data_files(&cli).pop_first().unwrap();
    let stray = "warehouse/data/main/orders_landing/qetl-0190163d-8694-739b-aea5-966c26f8ad91.parquet";
    fs::copy(cli.path("warehouse/data").join(one), cli.path(stray)).unwrap();
    fs::remove_file(cli.path("warehouse/published.json")).unwrap();
    cli.ok(&["execute"]);
    assert!(cli.path(stray).is_file(), "whose it is was not known");
    // Of a warehouse that knows what was published, it is a dead run's.
    let cli = copy_of(&victim.base);
    let one = data_files(&cli).pop_first().unwrap();
    fs::copy(cli.path("warehouse/data").join(one), cli.path(stray)).unwrap();
    cli.ok(&["execute"]);
    assert!(!cli.path(stray).is_file(), "leftovers are reclaimed");
}

#[test]
fn data_without_a_catalog_is_no_new_project() {
    let (_, newer, rows) = two_times(false);
    for how in [Damage::Deleted, Damage::Emptied] {
        let damaged = copy_of(&newer);
        fs::remove_file(damaged.path("warehouse/published.json")).unwrap();
        damage(&damaged.path(CATALOG), Path::new(""), how);
        assert!(judge(&damaged, &rows, "data alone"));
    }
    // A project that never ran is one.
    let cli = Cli::sample();
    fs::create_dir_all(cli.path("warehouse/data")).unwrap();
    fs::write(cli.path(CATALOG), "").unwrap();
    assert_eq!(cli.ok(&["datasets"]), "no datasets yet: `qetl execute` makes them\n");
    cli.ok(&["execute"]);
}

#[test]
fn a_file_that_is_missing_or_cut_is_named_by_every_command_that_needs_it() {
    let victim = Victim::of("change_feed");
    for (index, name) in data_files(&victim.base).iter().enumerate() {
        for cut in [false, true] {
            let damaged = copy_of(&victim.base);
            let path = damaged.path("warehouse/data").join(name);
            if cut {
                fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(50).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            let table = name.split('/').nth(1).unwrap();
            let sql = format!("SELECT * FROM {table}");
            for command in [&["query", &sql][..], &["datasets"], &["show", table], &["plan"], &["execute"], &["execute", "--batch-id", "1"]]
            {
                let output = damaged.run(command);
                assert_told(&output, &format!("{command:?}"));
                assert!(output.stderr.contains(name.rsplit('/').next().unwrap()), "{name}, {command:?}: {output:?}");
                assert!(output.stderr.contains("does not fit together"), "{name}, {command:?}: {output:?}");
            }
            if index == 0 {
                let rest = copy_of(&damaged);
                copy(&damaged.path("flows"), &rest.path("flows"));
                assert_eq!(rest.run(&["history"]).code, 0, "the history needs no data");
            }
            // What is derived is made anew from what was landed.
            if table == "orders_change_feed" {
                damaged.ok(&["execute", "--full-refresh"]);
                assert_eq!(tables(&damaged), victim.after);
            }
        }
    }
}
