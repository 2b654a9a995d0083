//! Runs that are killed: the tables are as before the batch, or as after it, and the same batch goes through afterwards.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use qetl_runtime::{progress::Progress, report::Status, waiting::Request};

use qetl_test_harness::{
    TestProject,
    project::{execute, workspace},
};

use crate::server::{self, Kind};

const ROWS: usize = 2000;
const FLOW: &str = "id = \"h_change_feed\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"id\"]\ncolumns = [\"id\", \"v\"]\n\
                    [properties.load]\nsource_path = \"data\"\nformat = \"csv\"\n";

#[test]
fn duckdb_is_before_or_after() {
    kill(Kind::DuckDb);
}

#[test]
fn sqlite_is_before_or_after() {
    kill(Kind::Sqlite);
}

#[test]
fn postgres_is_before_or_after() {
    kill(Kind::Postgres);
}

#[test]
fn mariadb_is_before_or_after() {
    kill(Kind::MariaDb);
}

/// What is killed: this test alone, in a process of its own, on the project of another one's.
#[test]
fn victim() {
    let (Ok(folder), Ok(batch)) = (std::env::var("QETL_VICTIM"), std::env::var("QETL_VICTIM_BATCH")) else { return };
    let batch: i64 = batch.parse().unwrap();
    let input = Path::new(&folder).join(format!("inbox/b{batch}_0.csv"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let workspace = workspace(Path::new(&folder));
    let engine = server::open(&workspace);
    let request = Request { batch_id: Some(batch), inputs: vec![input], ..Request::default() };
    let wait = Duration::from_secs(30);
    let report = runtime.block_on(execute(&workspace, &*engine, &[], &request, wait, &Progress::silent())).unwrap();
    assert_eq!(report.flows[0].batches[0].status, Status::Succeeded);
}

fn kill(kind: Kind) {
    let Some(server) = kind.server() else { return };
    let kills: i64 = std::env::var("QETL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let project = TestProject::new(server.place(), FLOW);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut before, mut after, mut longest) = (0, 0, Duration::from_millis(200));
    // A plain generator: the moments are to be spread, not to be guessed.
    let mut random = u64::from(std::process::id());
    runtime.block_on(async {
        for batch in 1..=kills {
            let rows: String = (0..ROWS).map(|row| format!("{row},{}\n", row as i64 * batch % 7)).collect();
            let inputs = project.write(&format!("b{batch}"), &[format!("id,v\n{rows}")]);
            let mut victim = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "crash::victim"])
                .env("QETL_VICTIM", project.folder.path())
                .env("QETL_VICTIM_BATCH", batch.to_string())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let started = Instant::now();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The first runs to its end, so that it is known how long they take.
            if batch > 1 {
                std::thread::sleep(longest.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64 * 1.1));
                let _ = victim.kill();
            }
            victim.wait().unwrap();
            if batch == 1 {
                longest = started.elapsed();
            }
            // What a server still does for the dead ends before it is looked at: the next run waits for its locks.
            let is_there = project.engine.records("h_change_feed").await.unwrap().batch(batch).is_some();
            let request = Request { batch_id: Some(batch), inputs, ..Request::default() };
            if is_there {
                after += 1;
            } else {
                before += 1;
            }
            for dataset in ["h_landing", "h_change_feed"] {
                if batch == 1 && !is_there {
                    continue;
                }
                let found =
                    project.ordered(&format!("SELECT count(*) AS n FROM {dataset} WHERE xt_batch_id = {batch}")).await[0][0].clone();
                let told = project.engine.records("h_change_feed").await.unwrap().batch(batch).is_some();
                assert_eq!(found, Some(if told { ROWS } else { 0 }.to_string()), "{dataset}, batch {batch}");
            }
            let report = project.execute_in_turn(&request).await.unwrap();
            let status = report.flows[0].batches[0].status;
            assert!(matches!(status, Status::Succeeded | Status::Unchanged), "batch {batch}: {report:?}");
            let all = project.ordered("SELECT count(*) AS n FROM h_change_feed").await[0][0].clone();
            assert_eq!(all, Some((ROWS as i64 * batch).to_string()));
        }
    });
    println!("{kind:?}: killed {before} times before, {after} times after the publish");
}
