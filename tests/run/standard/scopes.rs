//! Which rows of its sources a task reads, and which batches of another flow.

use rusqlite::Connection;

use super::{flow, ingestion, project, rows, sql};
use crate::cli::Cli;

/// A flow of another id.
fn named(id: &str, tasks: &str) -> String {
    flow(tasks).replace("\"shop\"", &format!("\"{id}\""))
}

fn batch(cli: &Cli, name: &str, text: &str) {
    cli.write(&format!("data/{name}.csv"), text);
}

/// What the flow's records say that only a newer qetl knows is taken away.
fn as_an_older_qetl_made_it(cli: &Cli) {
    let catalog = Connection::open(cli.path("warehouse/catalog.sqlite")).unwrap();
    for table in ["qetl_flows", "qetl_batches"] {
        catalog.execute(&format!("UPDATE {table} SET details = '{{}}'"), ()).unwrap();
    }
}

#[test]
fn an_insert_adds_the_rows_of_its_batch() {
    let tasks = [
        ingestion("orders_raw", ""),
        sql("orders_clean", "INSERT INTO {{ target_dataset }} SELECT id, v FROM orders_raw", "source_dataset = \"orders_raw\""),
        sql(
            "daily_sales",
            "INSERT INTO {{ target_dataset }} SELECT COUNT(*) AS n, SUM(v) AS v FROM orders_clean",
            "source_dataset = \"orders_clean\"",
        ),
    ];
    let cli = project(&flow(&tasks.concat()));
    batch(&cli, "orders_raw_1", "id,v\n1,10\n2,20\n");
    cli.ok(&["execute"]);
    batch(&cli, "orders_raw_2", "id,v\n3,30\n4,40\n5,50\n");
    cli.ok(&["execute"]);
    let tables = |cli: &Cli| {
        (
            rows(cli, "SELECT id, v, xt_batch_id FROM orders_clean ORDER BY id"),
            rows(cli, "SELECT n, v, xt_batch_id FROM daily_sales ORDER BY xt_batch_id"),
        )
    };
    let expected =
        (["1,10,1", "2,20,1", "3,30,2", "4,40,2", "5,50,2"].map(str::to_owned).to_vec(), vec!["2,30,1".to_owned(), "3,120,2".to_owned()]);
    assert_eq!(tables(&cli), expected);
    assert!(cli.ok(&["execute", "shop", "--batch-id", "1"]).contains("unchanged"));
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(tables(&cli), expected);
}

#[test]
fn an_insert_of_several_datasets_of_batches_is_asked_how() {
    let joined = "INSERT INTO named SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer";
    let with = |more: &str| flow(&[ingestion("orders", ""), ingestion("customers", ""), sql("named", joined, more)].concat());
    let cli = project(&with(""));
    batch(&cli, "orders_1", "id,customer\n1,7\n");
    batch(&cli, "customers_1", "id,name\n7,Ada\n8,Bert\n");
    let line = "source_scope = { orders = \"batch\", customers = \"all\" }";
    for command in ["check", "execute", "plan"] {
        let asked = cli.run(&[command]);
        assert!(asked.code == 2 && asked.stderr.contains(line), "{command}: {asked:?}");
    }
    // What is shown is what helps.
    cli.write("flows/flow.toml", &with(line));
    cli.ok(&["check"]);
    cli.ok(&["execute"]);
    batch(&cli, "orders_2", "id,customer\n2,8\n");
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT id, name, xt_batch_id FROM named ORDER BY id"), ["1,Ada,1", "2,Bert,2"]);
    cli.write("flows/flow.toml", &with("source_scope = { orders = \"batch\", customer = \"all\" }"));
    let wrong = cli.run(&["check"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("did you mean `customers`"), "{wrong:?}");
}

/// A flow reads each batch of another once, in whatever batch of its own; what was replaced moves.
#[test]
fn batches_of_another_flow_are_read_once() {
    let cli = Cli::empty();
    cli.write("flows/maker.toml", &named("maker", &ingestion("t", "on_changed_file = 'replay'")));
    let reads = [
        sql("kept", "INSERT INTO kept SELECT id, v FROM t", "source_dataset = \"t\""),
        sql("total", "SELECT SUM(v) AS v, COUNT(*) AS n FROM kept", ""),
    ];
    cli.write("flows/reader.toml", &named("reader", &reads.concat()));
    cli.ok(&["check"]);
    batch(&cli, "t_1", "id,v\n1,10\n2,20\n");
    cli.ok(&["execute"]);
    batch(&cli, "t_2", "id,v\n3,30\n");
    cli.ok(&["execute", "maker"]);
    batch(&cli, "t_3", "id,v\n4,40\n");
    cli.ok(&["execute"]);
    let kept = |cli: &Cli| rows(cli, "SELECT id, v, xt_batch_id FROM kept ORDER BY id");
    assert_eq!(kept(&cli), ["1,10,1", "2,20,1", "3,30,2", "4,40,2"]);
    assert!(cli.ok(&["execute"]).contains("reader: up to date"));
    assert!(cli.ok(&["execute", "reader", "--batch-id", "2"]).contains("unchanged"));

    // Replaced there, it is read again here, and counted once.
    batch(&cli, "t_1", "id,v\n1,11\n");
    cli.ok(&["execute"]);
    let moved = ["1,11,3", "3,30,2", "4,40,2"];
    assert_eq!(kept(&cli), moved);
    assert_eq!(rows(&cli, "SELECT v, n FROM total"), ["81,3"]);
    cli.ok(&["execute", "reader", "--full-refresh"]);
    assert_eq!(kept(&cli), moved);
    // A batch that is executed again reads what it read, not what came since.
    batch(&cli, "t_4", "id,v\n5,50\n");
    cli.ok(&["execute", "maker"]);
    cli.ok(&["execute", "reader", "--batch-id", "2"]);
    assert_eq!(kept(&cli), moved);
    cli.ok(&["execute"]);
    assert_eq!(kept(&cli), ["1,11,3", "3,30,2", "4,40,2", "5,50,4"]);
}

/// A task that is added later begins with all that there is; one whose scope is changed goes on from where it was.
#[test]
fn a_task_reads_on_from_its_last_batch() {
    let cli = Cli::empty();
    cli.write("flows/maker.toml", &named("maker", &ingestion("t", "")));
    let kept = |scope: &str| sql("kept", "INSERT INTO kept SELECT id FROM t", &format!("source_dataset = \"t\"\n{scope}"));
    cli.write("flows/reader.toml", &named("reader", &kept("source_scope = \"all\"")));
    batch(&cli, "t_1", "id\n1\n");
    cli.ok(&["execute"]);
    let later = sql("later", "INSERT INTO later SELECT id FROM t", "source_dataset = \"t\"");
    cli.write("flows/reader.toml", &named("reader", &[kept("source_scope = \"batch\""), later].concat()));
    batch(&cli, "t_2", "id\n2\n");
    let said = cli.run(&["execute"]);
    assert!(said.code == 0 && said.stderr.contains("rows of batch 1 keep the old logic; `--full-refresh` derives them again"), "{said:?}");
    let all = |cli: &Cli, table: &str| rows(cli, &format!("SELECT id, xt_batch_id FROM {table} ORDER BY id"));
    assert_eq!(all(&cli, "kept"), ["1,1", "2,2"]);
    assert_eq!(all(&cli, "later"), ["1,2", "2,2"]);
    cli.ok(&["execute", "reader", "--full-refresh"]);
    assert_eq!(
        (all(&cli, "kept"), all(&cli, "later")),
        (vec!["1,1".to_owned(), "2,2".to_owned()], vec!["1,2".to_owned(), "2,2".to_owned()])
    );
}

#[test]
fn what_has_no_batches_is_not_read_by_batch() {
    let cli = Cli::sample();
    let reader = |more: &str| {
        named("reader", &sql("x", "INSERT INTO x SELECT order_id FROM orders_state", &format!("source_dataset = \"orders_state\"\n{more}")))
    };
    cli.write("flows/reader.toml", &reader(""));
    let warned = cli.run(&["check"]);
    assert!(warned.code == 0 && warned.stderr.contains("each batch inserts all of `orders_state` again: it is a view"), "{warned:?}");
    cli.write("flows/reader.toml", &reader("source_scope = \"batch\""));
    for command in ["check", "execute"] {
        let refused = cli.run(&[command, "reader"]);
        assert!(refused.code == 2 && refused.stderr.contains("`orders_state` cannot be read batch by batch"), "{command}: {refused:?}");
    }
    cli.write("flows/reader.toml", &reader("source_scope = \"all\""));
    assert!(!cli.run(&["check"]).stderr.contains("again"));
}

/// An INSERT without `source_scope` read everything once: what was made so is not gone on with.
#[test]
fn what_older_rules_made_stops_and_is_derived_again() {
    let tasks = |scope: &str| flow(&[ingestion("t", ""), sql("kept", "INSERT INTO kept SELECT id FROM t", scope)].concat());
    let cli = project(&tasks("source_scope = \"all\""));
    for number in [1, 2, 3] {
        batch(&cli, &format!("t_{number}"), &format!("id\n{number}\n"));
        cli.ok(&["execute"]);
    }
    assert_eq!(rows(&cli, "SELECT COUNT(*) FROM kept"), ["6"]);
    as_an_older_qetl_made_it(&cli);
    // Who said so means it.
    cli.ok(&["execute"]);
    as_an_older_qetl_made_it(&cli);
    cli.write("flows/flow.toml", &tasks(""));
    let stopped = cli.run(&["execute"]);
    assert_eq!(stopped.code, 2, "{stopped:?}");
    for said in ["batches 2, 3", "the INSERT of task `make_kept` reads the", "rows of its batch of `t`, not all", "--full-refresh"] {
        assert!(stopped.stderr.contains(said), "{said}: {stopped:?}");
    }
    assert!(cli.run(&["plan"]).stderr.contains("batches 2, 3"));
    assert_eq!(rows(&cli, "SELECT COUNT(*) FROM kept"), ["6"]);
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(rows(&cli, "SELECT id, xt_batch_id FROM kept ORDER BY id"), ["1,1", "2,2", "3,3"]);
    batch(&cli, "t_4", "id\n4\n");
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT COUNT(*) FROM kept"), ["4"]);
}

/// The same for a dataset of another flow: who had read what is known by the versions that were recorded.
#[test]
fn what_older_rules_read_of_another_flow_is_shared_out() {
    let cli = Cli::empty();
    cli.write("flows/maker.toml", &named("maker", &ingestion("t", "")));
    let reader =
        |scope: &str| named("reader", &sql("kept", "INSERT INTO kept SELECT id FROM t", &format!("source_dataset = \"t\"\n{scope}")));
    cli.write("flows/reader.toml", &reader("source_scope = \"all\""));
    let mut versions = Vec::new();
    for number in [1, 2, 3] {
        batch(&cli, &format!("t_{number}"), &format!("id\n{number}\n"));
        cli.ok(&["execute"]);
        versions.push(rows(&cli, "SELECT MAX(version) FROM qetl.versions"));
    }
    as_an_older_qetl_made_it(&cli);
    let catalog = Connection::open(cli.path("warehouse/catalog.sqlite")).unwrap();
    let changed: Vec<i64> = catalog
        .prepare(
            "SELECT f.begin_snapshot FROM ducklake_data_file f JOIN ducklake_table t USING (table_id) WHERE t.table_name = 't' ORDER BY 1",
        )
        .unwrap()
        .query_map((), |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (batch_id, version) in [(1, changed[0]), (2, changed[1]), (3, changed[2])] {
        let set =
            "UPDATE qetl_batches SET shape = json_set(shape, '$.sources', json_object('t', ?2)) WHERE flow = 'reader' AND batch_id = ?1";
        catalog.execute(set, [batch_id, version]).unwrap();
    }
    drop(catalog);
    cli.write("flows/reader.toml", &reader(""));
    assert_eq!(cli.run(&["execute", "reader"]).code, 2);
    batch(&cli, "t_4", "id\n4\n");
    cli.ok(&["execute", "maker"]);
    cli.ok(&["execute", "reader", "--full-refresh"]);
    assert_eq!(rows(&cli, "SELECT id, xt_batch_id FROM kept ORDER BY id"), ["1,1", "2,2", "3,3", "4,4"]);
}

#[test]
fn a_source_that_nobody_makes_is_refused_by_every_command() {
    let cli = project(&flow(&sql("x", "SELECT * FROM nowhere", "source_dataset = \"nowhere\"")));
    for command in ["check", "plan", "execute"] {
        let refused = cli.run(&[command]);
        assert!(refused.code == 2 && refused.stderr.contains("no task makes `nowhere`"), "{command}: {refused:?}");
    }
}
