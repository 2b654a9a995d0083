//! The history of runs that came to nothing.

use std::{fs, thread, time::Duration};

use super::{catalog, statuses};
use crate::cli::Cli;

#[test]
fn runs_that_are_held_or_refused_stand_in_the_history() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    assert_eq!(statuses(&cli), ["succeeded"; 3]);
    // A run that finds nothing to do, and commands that read, write nothing.
    let before = (fs::read(cli.path("warehouse/catalog.sqlite")).unwrap(), fs::read(cli.path("warehouse/published.json")).unwrap());
    for command in [&["execute"][..], &["plan"], &["history"], &["datasets"], &["verify"], &["query", "SELECT 1"], &["check"]] {
        cli.ok(command);
    }
    let after = (fs::read(cli.path("warehouse/catalog.sqlite")).unwrap(), fs::read(cli.path("warehouse/published.json")).unwrap());
    assert!(before == after, "something was written");

    cli.write("data/orders/orders_2.csv", "order_id,customer,status,amount\n1,ada,open,9.00\n");
    assert_eq!(cli.run(&["execute"]).code, 3);
    assert_eq!(statuses(&cli)[3..], ["rejected"]);
    cli.write("data/orders/orders_4.csv", "order_id,customer,status,amount\n1,ada,open,x\n");
    cli.write("flows/orders_change_feed.toml", &{
        let flow = fs::read_to_string(cli.path("flows/orders_change_feed.toml")).unwrap();
        flow.replace("[properties.load]", "[properties.load]\non_changed_file = \"replay\"")
    });
    assert_eq!(cli.run(&["execute"]).code, 3);
    assert_eq!(statuses(&cli)[4..], ["succeeded", "rejected"]);

    let lock = fs::File::create(cli.path("warehouse/locks/orders_change_feed.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(cli.run(&["execute"]).code, 4);
    assert_eq!(statuses(&cli)[6..], ["held"]);
    lock.unlock().unwrap();
    let told = cli.ok(&["history"]);
    assert!(told.contains("held") && told.contains("is held by another run"), "{told}");
}

#[test]
fn a_run_stands_in_the_history_before_its_first_row_is_landed() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let rows: String = (0..400_000).map(|id| format!("{id},ada,open,1.00\n")).collect();
    cli.write("data/orders/orders_4.csv", &format!("order_id,customer,status,amount\n{rows}"));
    let mut child = cli.command(&["execute"]).spawn().unwrap();
    let connection = catalog(&cli);
    let running = "SELECT count(*) FROM qetl_runs WHERE status = 'running' AND batch_id = 4";
    while connection.query_row(running, (), |row| row.get::<_, i64>(0)).unwrap() == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it ended unseen");
        thread::sleep(Duration::from_millis(1));
    }
    let told = cli.ok(&["history", "--format", "json"]);
    assert!(told.lines().next().unwrap().contains("\"status\":\"running\""), "{told}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(statuses(&cli)[3..], ["running"], "who reads ends nothing");
    // Whoever finds it dead ends it, even with nothing else to do.
    fs::remove_file(cli.path("data/orders/orders_4.csv")).unwrap();
    cli.ok(&["execute"]);
    assert_eq!(statuses(&cli)[3..], ["killed"]);
}
