//! Processes that run at the same time: nothing is lost, nothing is done twice.

use std::{
    fs::File,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    cli::{Cli, Output},
    crash::{copy_of, orders, three_batches},
};

fn spawn(cli: &Cli, args: &[&str]) -> Child {
    cli.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs commands at the same time; exit codes with the status of the report.
fn at_once(cli: &Cli, commands: &[&[&str]]) -> Vec<(i32, String)> {
    let children: Vec<Child> = commands.iter().map(|args| spawn(cli, args)).collect();
    let ended = |child: Child| {
        let output: Output = child.wait_with_output().unwrap().into();
        assert!(matches!(output.code, 0 | 4), "{output:?}");
        let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|why| panic!("{why}: {output:?}"));
        (output.code, report["status"].as_str().unwrap().to_owned())
    };
    children.into_iter().map(ended).collect()
}

#[test]
fn one_of_four_runs_of_a_batch_succeeds() {
    let base = three_batches();
    let args: &[&str] = &["execute", "--batch-id", "4", "--input", "late/4.csv", "--format", "json"];
    let feed = "SELECT * EXCLUDE (xt_processed_at) FROM orders_change_feed ORDER BY xt_batch_id, id";
    let alone = copy_of(&base);
    alone.ok(args);
    let expected = alone.query(feed);
    for round in 0..10 {
        let cli = copy_of(&base);
        let ends = at_once(&cli, &[args; 4]);
        let succeeded = ends.iter().filter(|(code, status)| *code == 0 && status == "succeeded").count();
        assert_eq!(succeeded, 1, "round {round}: {ends:?}");
        let others = ends.iter().filter(|(code, status)| *code == 4 || status == "unchanged" || status == "up_to_date").count();
        assert_eq!(others, 3, "round {round}: {ends:?}");
        assert_eq!(cli.query(feed), expected, "round {round}");
        let generations = cli.query("SELECT generation FROM qetl.batches WHERE batch_id = 4");
        assert_eq!(generations, "generation\n1\n", "round {round}");
    }
}

#[test]
fn two_flows_publish_into_one_warehouse_at_once() {
    for round in 0..5 {
        // There is no catalog yet: the first to come makes it.
        let cli = Cli::empty();
        for flow in ["left", "right"] {
            let input = "[input]\nprimary_key = [\"id\"]\ncolumns = [\"id\", \"status\", \"amount\"]\n";
            cli.write(
                &format!("flows/{flow}.toml"),
                &format!("id = \"{flow}\"\nflow_type = \"change_feed\"\n{input}[properties.load]\nsource_path = \"data/{flow}\"\n"),
            );
            for batch in 1..=3 {
                cli.write(&format!("data/{flow}/{batch}.csv"), &orders(batch));
            }
        }
        let run = |flow| ["execute", flow, "--wait", "60", "--format", "json"];
        let (left, right) = (run("left"), run("right"));
        let mut ends = at_once(&cli, &[&left, &right, &left, &right]);
        ends.sort();
        let both = |status: &str| (0, status.to_owned());
        assert_eq!(ends, [both("succeeded"), both("succeeded"), both("up_to_date"), both("up_to_date")], "round {round}");
        assert_eq!(cli.query("SELECT version FROM qetl.versions ORDER BY version"), "version\n0\n1\n2\n3\n4\n5\n6\n", "round {round}");
        let tables = |flow: &str| {
            cli.query(&format!("SELECT xt_batch_id, xt_record_type, count(*) AS n, sum(amount) AS total FROM {flow}_change_feed GROUP BY 1, 2 ORDER BY 1, 2"))
        };
        assert_eq!(tables("left"), tables("right"), "round {round}");
        assert!(tables("left").contains("\n3,REACTIVATED,"), "{}", tables("left"));
    }
}

#[test]
fn a_run_that_holds_the_flow_is_waited_for_or_told() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let lock = File::create(cli.path("warehouse/locks/orders_change_feed.lock")).unwrap();
    lock.lock().unwrap();
    let held = cli.run(&["execute"]);
    assert_eq!(held.code, 4, "{held:?}");
    assert!(held.stderr.contains("flow `orders_change_feed` is held by another run") && held.stderr.contains("--wait"), "{held:?}");
    // Readers never wait.
    assert_eq!(cli.query("SELECT count(*) AS n FROM orders_state"), "n\n4\n");

    let mut waiting = cli.command(&["execute", "--wait", "5"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    drop(lock);
    let output: Output = waiting.wait_with_output().unwrap().into();
    assert_eq!((output.code, output.stdout.as_str()), (0, "orders_change_feed: up to date\n"), "{output:?}");
}
