//! What was published stays: database files that are lost, emptied, cut or of another time, and runs that came to nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use qetl_runtime::{
    Engine, RunError,
    progress::{Event, Progress},
    records::{RUNNING, RunRecord},
    report::Status,
    waiting::Request,
};
use qetl_test_harness::{
    Place, TestProject,
    project::{temporary, workspace},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::server::{Kind, Server};

const FLOW: &str = "id = \"orders_change_feed\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"id\"]\ncolumns = [\"id\", \"v\"]\n\
                    [properties.load]\nsource_path = \"data\"\nformat = \"csv\"\n";
const FEED: &str = "SELECT xt_batch_id, id, xt_record_type, v FROM orders_change_feed ORDER BY xt_batch_id, id";

/// One test on each kind of database.
macro_rules! each {
    ($($name:ident),*) => {
        mod duckdb {
            $(#[test] fn $name() { super::on(crate::server::Kind::DuckDb, super::$name) })*
        }
        mod sqlite {
            $(#[test] fn $name() { super::on(crate::server::Kind::Sqlite, super::$name) })*
        }
        mod postgres {
            $(#[test] fn $name() { super::on(crate::server::Kind::Postgres, super::$name) })*
        }
        mod mariadb {
            $(#[test] fn $name() { super::on(crate::server::Kind::MariaDb, super::$name) })*
        }
    };
}

each!(runs_that_came_to_nothing_stand_in_the_history, an_interrupt_waits_for_the_publish);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn on(kind: Kind, test: fn(&Runtime, &'static Server)) {
    let Some(server) = kind.server() else { return };
    test(&runtime(), server);
}

fn write(project: &TestProject, file: i64, text: &str) {
    fs::write(project.folder.path().join(format!("data/orders_{file}.csv")), format!("id,v\n{text}")).unwrap();
}

/// The statuses of the runs, oldest first, with their batches.
async fn statuses(project: &TestProject) -> Vec<(String, Option<i64>)> {
    let runs = project.engine.runs(Some("orders_change_feed")).await.unwrap();
    runs.into_iter().rev().map(|run| (run.status, run.batch_id)).collect()
}

fn runs_that_came_to_nothing_stand_in_the_history(runtime: &Runtime, server: &'static Server) {
    let project = TestProject::new(server.place(), FLOW);
    let mut expected: Vec<(String, Option<i64>)> = Vec::new();
    runtime.block_on(async {
        let mut then = async |status: &str, batch: Option<i64>| {
            expected.push((status.to_owned(), batch));
            assert_eq!(statuses(&project).await, expected);
        };
        write(&project, 1, "1,a\n");
        project.execute(&Request::default()).await.unwrap();
        then("succeeded", Some(1)).await;

        // A file that was changed, before any batch is reached; a value that does not fit, in a batch.
        write(&project, 1, "1,b\n");
        project.execute(&Request::default()).await.unwrap();
        then("rejected", None).await;
        write(&project, 1, "1,a\n");
        write(&project, 2, "1,a\n1,b\n");
        project.execute(&Request::default()).await.unwrap();
        then("rejected", Some(2)).await;

        let held = project.engine.lock("orders_change_feed", Duration::ZERO).await.unwrap();
        project.execute(&Request::default()).await.unwrap();
        then("held", None).await;
        drop(held);

        // Somebody interrupts it while it is landed.
        write(&project, 2, "1,b\n");
        let request = Request::default();
        let interrupt = request.interrupt.clone();
        let progress = Progress::new(move |event| {
            if matches!(event, Event::StepStarted { .. }) {
                interrupt.ask();
            }
        });
        let interrupted = project.execute_told(&request, &progress).await.unwrap_err();
        assert!(interrupted.to_string().contains("batch 2 of flow `orders_change_feed` is not published"), "{interrupted}");
        then("interrupted", Some(2)).await;

        // A run that dies has not ended; the next one ends it, even with nothing to do.
        let lock = project.engine.lock("orders_change_feed", Duration::from_secs(10)).await.unwrap();
        let run = RunRecord {
            run_id: "dead".to_owned(),
            flow: "orders_change_feed".to_owned(),
            batch_id: Some(2),
            status: RUNNING.to_owned(),
            started_at: i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap(),
            seconds: 0.0,
            rows: 0,
            message: String::new(),
        };
        project.engine.begin_run(&*lock, &run).await.unwrap();
        drop(lock);
        fs::remove_file(project.folder.path().join("data/orders_2.csv")).unwrap();
        project.execute(&Request::default()).await.unwrap();
        then("killed", Some(2)).await;

        // A run that finds nothing to do is none.
        project.execute(&Request::default()).await.unwrap();
        write(&project, 2, "1,b\n");
        project.execute(&Request::default()).await.unwrap();
        then("succeeded", Some(2)).await;
        project.execute(&Request { full_refresh: true, ..Request::default() }).await.unwrap();
        then("succeeded", None).await;
    });
}

fn an_interrupt_waits_for_the_publish(runtime: &Runtime, server: &'static Server) {
    let project = TestProject::new(server.place(), FLOW);
    runtime.block_on(async {
        for batch in 1..=5 {
            write(&project, batch, &format!("{batch},a\n"));
            let request = Request::default();
            let interrupt = request.interrupt.clone();
            let asking = std::thread::spawn(move || {
                while !interrupt.is_publishing() && !interrupt.is_asked() {
                    std::hint::spin_loop();
                }
                interrupt.ask();
            });
            let outcome = project.execute(&request).await;
            // A publish may be too short for whoever asks.
            request.interrupt.ask();
            asking.join().unwrap();
            if let Err(interrupted) = outcome {
                assert!(matches!(interrupted, RunError::Interrupted { .. }));
                let told = format!("batch {batch} of flow `orders_change_feed` is published");
                assert!(interrupted.to_string().contains(&told), "{interrupted}");
            }
            assert!(project.engine.records("orders_change_feed").await.unwrap().batch(batch).is_some());
        }
    });
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Deleted,
    Emptied,
    /// To so many of eight parts.
    Cut(u64),
    /// By what it was before the last batch.
    Older,
}

const DAMAGES: [Damage; 5] = [Damage::Deleted, Damage::Emptied, Damage::Cut(3), Damage::Cut(7), Damage::Older];

fn damage(path: &Path, older: &Path, how: Damage) {
    match how {
        Damage::Deleted => fs::remove_file(path).unwrap(),
        Damage::Emptied => fs::write(path, "").unwrap(),
        Damage::Cut(eighths) => {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() * eighths / 8).unwrap();
        }
        Damage::Older if older.is_file() => {
            fs::copy(older, path).unwrap();
        }
        Damage::Older => fs::remove_file(path).unwrap(),
    }
}

/// A database in a file of a project's folder.
struct FileEngine {
    place: Place,
    log: &'static str,
}

impl FileEngine {
    fn new(kind: Kind) -> Option<Self> {
        let server = kind.server()?;
        let name = if kind == Kind::DuckDb { "duckdb" } else { "sqlite" };
        let settings = format!("[engine]\nname = \"{name}\"\nthreads = 1\n[engine.config]\npath = \"test.db\"\nlock_timeout_seconds = 5\n");
        let log = if kind == Kind::DuckDb { "test.db.wal" } else { "test.db-wal" };
        Some(Self { place: Place { settings, ..server.place() }, log })
    }

    fn open(&self, folder: &Path) -> Arc<dyn Engine> {
        (self.place.open)(&workspace(folder))
    }
}

/// A copy that another program makes: whoever closes a file gives up what it has locked in it.
fn copied(from: &Path) -> TempDir {
    let to = temporary();
    assert!(Command::new("cp").args(["-r", "."]).arg(to.path()).current_dir(from).status().unwrap().success());
    to
}

/// All rows of the feed; or why they are not had.
async fn feed(project: &TestProject) -> Result<String, RunError> {
    Ok(format!("{:?}", project.asked(FEED).await?))
}

/// A project before and after its last batch, and its rows after. `log`: what is published stays in the log.
async fn two_times(files: &FileEngine, log: bool) -> (TempDir, TempDir, String) {
    let mut project = TestProject::new(files.place.clone(), FLOW);
    let kept = if log { Some(project.engine.lock("another", Duration::ZERO).await.unwrap()) } else { None };
    let mut readers = Vec::new();
    for batch in 1..=3 {
        let rows: String = (0..50).map(|id| format!("{id},{}\n", id * batch)).collect();
        write(&project, batch, &rows);
        project.execute(&Request::default()).await.unwrap();
        if log && files.log.ends_with("-wal") {
            readers.push(reading(project.folder.path()));
        }
    }
    if !log {
        project.engine = files.open(project.folder.path());
    }
    let older = copied(project.folder.path());
    write(&project, 4, "7,9\n");
    let report = project.execute(&Request::default()).await.unwrap();
    assert_eq!(report.status, Status::Succeeded, "{report:?}");
    if !log {
        project.engine = files.open(project.folder.path());
    }
    let newer = copied(project.folder.path());
    let rows = feed(&project).await.unwrap();
    drop((kept, readers));
    assert_eq!(newer.path().join(files.log).is_file(), log);
    (older, newer, rows)
}

/// Another program that reads the database, and goes on doing so.
fn reading(folder: &Path) -> rusqlite::Connection {
    let reader = rusqlite::Connection::open(folder.join("test.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT count(*) FROM qetl_batches", (), |_| Ok(())).unwrap();
    reader
}

fn damages(kind: Kind) {
    let Some(files) = FileEngine::new(kind) else { return };
    runtime().block_on(async {
        for log in [false, true] {
            let (older, newer, rows) = two_times(&files, log).await;
            let file = "test.db";
            let cases = if log { vec![vec![file], vec![files.log], vec![file, files.log]] } else { vec![vec![file]] };
            for (names, how) in cases.iter().flat_map(|names| DAMAGES.map(|how| (names, how))) {
                let damaged = copied(newer.path());
                names.iter().for_each(|name| damage(&damaged.path().join(name), &older.path().join(name), how));
                let _ = fs::remove_file(damaged.path().join("test.db-shm"));
                let what = format!("{kind:?}: {names:?} {how:?}, log there: {log}");
                println!("{what}: {}", judge(&files, damaged, &rows, &what).await);
            }
        }
    });
}

/// What a damaged project answers to everything that is asked of it.
async fn judge(files: &FileEngine, damaged: TempDir, rows: &str, what: &str) -> String {
    // An empty log is none.
    let contents = |name: &str| fs::read(damaged.path().join(name)).unwrap_or_default();
    let before = (contents("test.db"), contents(files.log));
    let project = |folder: PathBuf| TestProject {
        workspace: workspace(&folder),
        engine: files.open(&folder),
        place: files.place.clone(),
        folder: temporary(),
    };
    // Nothing waits at its path any more that could be landed in place of what is lost.
    fs::remove_dir_all(damaged.path().join("data")).unwrap();
    fs::create_dir(damaged.path().join("data")).unwrap();
    let project = project(damaged.path().to_owned());
    let told = match feed(&project).await {
        Ok(found) => {
            assert_eq!(found, rows, "{what}: it was taken, and lacks something");
            project.execute(&Request::default()).await.unwrap();
            assert_eq!(feed(&project).await.unwrap(), rows, "{what}: after a run");
            return "nothing is missing".to_owned();
        }
        Err(error) => error.to_string(),
    };
    let engine = &project.engine;
    assert!(engine.datasets().await.is_err(), "{what}");
    assert!(engine.records("orders_change_feed").await.is_err(), "{what}");
    assert!(engine.runs(None).await.is_err(), "{what}");
    let report = project.execute(&Request::default()).await.unwrap();
    assert!(report.flows[0].error.is_some(), "{what}: {report:?}");
    drop(project);
    assert!(before == (contents("test.db"), contents(files.log)), "{what}: what is left was changed");
    told
}

#[test]
fn a_duckdb_file_that_lacks_something_is_refused() {
    damages(Kind::DuckDb);
}

#[test]
fn a_sqlite_file_that_lacks_something_is_refused() {
    damages(Kind::Sqlite);
}

#[test]
fn an_older_file_is_gone_on_from_when_that_is_asked_for() {
    for kind in [Kind::DuckDb, Kind::Sqlite] {
        let Some(files) = FileEngine::new(kind) else { continue };
        runtime().block_on(async {
            let (older, newer, rows) = two_times(&files, false).await;
            fs::copy(older.path().join("test.db"), newer.path().join("test.db")).unwrap();
            let engine = files.open(newer.path());
            let refused = engine.datasets().await.unwrap_err();
            assert!(refused.to_string().contains("is at version 3, and version 4 was published"), "{refused}");
            assert!(refused.help().contains("--accept-catalog-version 3"), "{}", refused.help());
            assert_eq!(engine.accept_version(2).await.unwrap_err().exit_code(), 2);
            engine.accept_version(3).await.unwrap();
            let project = TestProject { workspace: workspace(newer.path()), engine, place: files.place.clone(), folder: temporary() };
            project.execute(&Request::default()).await.unwrap();
            assert_eq!(feed(&project).await.unwrap(), rows, "the batch that was lost is landed again");
        });
    }
}
