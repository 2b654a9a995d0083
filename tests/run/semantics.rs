//! What a change feed means, from the command line: the worked example cell by cell, and one small test a rule.

use serde_json::{Value, json};

use crate::cli::Cli;

const COLUMNS: &str = "columns = [\"id\", \"status\", \"amount\"]";
const IDS_FROM_NAMES: &str = "batch_id_from = 'orders_(\\d+)'";
const FEED: &str =
    "SELECT xt_batch_id, id, xt_record_type, status, amount, xt_changed_columns FROM orders_change_feed ORDER BY xt_batch_id, id";

/// A project whose flow has these lines in `[input]`, `[properties]` and `[properties.load]`.
fn project(input: &str, properties: &str, load: &str) -> Cli {
    let header = "id = \"orders_change_feed\"\nname = \"Orders Change Feed\"\nflow_type = \"change_feed\"\n";
    let load = format!("[properties.load]\nsource_path = \"data/orders\"\nfile_pattern = \"orders_*.csv\"\n{load}\n");
    let cli = Cli::project(&format!("{header}\n[input]\nprimary_key = [\"id\"]\n{input}\n\n[properties]\n{properties}\n\n{load}"));
    std::fs::create_dir_all(cli.path("data/orders")).unwrap();
    cli
}

fn orders(cli: &Cli, batch: i64, rows: &[&str]) {
    cli.write(&format!("data/orders/orders_{batch}.csv"), &csv(rows));
}

fn csv(rows: &[&str]) -> String {
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    format!("id,status,amount\n{rows}")
}

/// Of the worked example; 3 is late.
fn example(batch: i64) -> &'static [&'static str] {
    match batch {
        1 => &["A,open,100", "B,open,100", "C,open,50", "D,open,70", "E,open,10"],
        2 => &["A,open,100", "B,open,150", "E,open,"],
        3 => &["A,open,100", "B,open,120", "C,open,50", "E,open,"],
        4 => &["A,open,100", "B,open,150", "D,open,75", "E,open,", "F,open,20"],
        5 => &["A,open,100", "B,paid,150", "C,open,50", "D,open,75", "E,open,10", "F,open,20", "F,open,20"],
        6 => &["A,open,100", "B,paid,150", "C,open,50", "E,open,10", "F,open,25"],
        _ => unreachable!("the example has six batches"),
    }
}

const HEADER: &str = "xt_batch_id,id,xt_record_type,status,amount,xt_changed_columns\n";
const BATCH_1: &str = "1,A,NEW,open,100,\n1,B,NEW,open,100,\n1,C,NEW,open,50,\n1,D,NEW,open,70,\n1,E,NEW,open,10,\n";
const BATCH_2: &str =
    "2,A,STALE,open,100,\n2,B,CHANGED,open,150,amount\n2,C,DELETED,open,50,\n2,D,DELETED,open,70,\n2,E,CHANGED,open,,amount\n";
const BATCH_3: &str = "3,A,STALE,open,100,\n3,B,CHANGED,open,120,amount\n3,C,REACTIVATED,open,50,\n3,E,STALE,open,,\n";
const BATCH_4: &str = "4,A,STALE,open,100,\n4,B,STALE,open,150,\n4,D,REACTIVATED,open,75,amount\n4,E,STALE,open,,\n4,F,NEW,open,20,\n";
const BATCH_4_AFTER_3: &str = "4,A,STALE,open,100,\n4,B,CHANGED,open,150,amount\n4,C,DELETED,open,50,\n4,D,REACTIVATED,open,75,amount\n4,E,STALE,open,,\n4,F,NEW,open,20,\n";
const BATCH_5: &str = "5,A,STALE,open,100,\n5,B,CHANGED,paid,150,status\n5,C,REACTIVATED,open,50,\n5,D,STALE,open,75,\n5,E,CHANGED,open,10,amount\n5,F,STALE,open,20,\n";
const BATCH_6: &str =
    "6,A,STALE,open,100,\n6,B,STALE,paid,150,\n6,C,STALE,open,50,\n6,D,DELETED,open,75,\n6,E,STALE,open,10,\n6,F,CHANGED,open,25,amount\n";

#[test]
fn the_worked_example_comes_out_cell_by_cell() {
    let cli = project(COLUMNS, "", IDS_FROM_NAMES);
    for batch in [1, 2, 4, 5, 6] {
        orders(&cli, batch, example(batch));
    }
    cli.ok(&["execute"]);
    assert_eq!(cli.query(FEED), [HEADER, BATCH_1, BATCH_2, BATCH_4, BATCH_5, BATCH_6].concat());
    let state = "id,status,amount,xt_batch_id\nA,open,100,6\nB,paid,150,6\nC,open,50,6\nE,open,10,6\nF,open,25,6\n";
    assert_eq!(cli.query("SELECT * FROM orders_state ORDER BY id"), state);
    assert_eq!(cli.ok(&["execute"]), "orders_change_feed: up to date\n");

    orders(&cli, 3, example(3));
    let told = cli.ok(&["execute"]);
    assert!(told.contains("batch 3: later batches were derived again: 4, 5, 6"), "{told}");
    let with_3 = [HEADER, BATCH_1, BATCH_2, BATCH_3, BATCH_4_AFTER_3, BATCH_5, BATCH_6].concat();
    assert_eq!(cli.query(FEED), with_3);
    let everything = "SELECT * FROM orders_change_feed ORDER BY xt_batch_id, id";
    let before = cli.query(everything);
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(cli.query(everything), before, "processing times stay as they are, too");

    cli.write("late/five.csv", &csv(example(5)).replace("B,paid,150", "B,paid,155"));
    cli.ok(&["execute", "--batch-id", "5", "--input", "late/five.csv"]);
    let replayed = with_3
        .replace("5,B,CHANGED,paid,150,status", "5,B,CHANGED,paid,155,\"status,amount\"")
        .replace("6,B,STALE,paid,150,", "6,B,CHANGED,paid,150,amount");
    assert_eq!(cli.query(FEED), replayed);

    // The same rows in another order, under another name.
    let mut rows = example(5).to_vec();
    rows.reverse();
    cli.write("late/again.csv", &csv(&rows).replace("B,paid,150", "B,paid,155"));
    let (before, versions) = (cli.query(everything), cli.query("SELECT count(*) AS n FROM qetl.versions"));
    let told = cli.ok(&["execute", "--batch-id", "5", "--input", "late/again.csv"]);
    assert!(told.contains("batch 5: unchanged"), "{told}");
    assert_eq!((cli.query(everything), cli.query("SELECT count(*) AS n FROM qetl.versions")), (before, versions));
}

#[test]
fn without_ids_in_names_a_late_file_needs_its_batch_named() {
    let cli = project(COLUMNS, "", "");
    for batch in [1, 2, 4, 5, 6] {
        orders(&cli, batch, example(batch));
        cli.ok(&["execute", "--batch-id", &batch.to_string()]);
    }
    let before = cli.query(FEED);
    assert_eq!(before, [HEADER, BATCH_1, BATCH_2, BATCH_4, BATCH_5, BATCH_6].concat());
    assert_eq!(cli.ok(&["execute"]), "orders_change_feed: up to date\n");

    orders(&cli, 3, example(3));
    let refused = cli.run(&["execute"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for told in ["orders_3.csv", "orders_6.csv", "--batch-id", "batch_id_from"] {
        assert!(refused.stderr.contains(told), "{told}: {refused:?}");
    }
    assert_eq!(cli.query(FEED), before);
    cli.ok(&["execute", "--batch-id", "3"]);
    assert_eq!(cli.query(FEED), [HEADER, BATCH_1, BATCH_2, BATCH_3, BATCH_4_AFTER_3, BATCH_5, BATCH_6].concat());
    assert_eq!(cli.ok(&["execute"]), "orders_change_feed: up to date\n");
}

#[test]
fn a_batch_that_was_replaced_by_hand_stays_so() {
    for load in ["", IDS_FROM_NAMES] {
        let cli = project(COLUMNS, "", load);
        for (batch, row) in [(1, "A,open,1"), (2, "A,open,2"), (3, "A,open,3")] {
            orders(&cli, batch, &[row]);
        }
        cli.ok(&["execute"]);
        cli.write("late/two.csv", &csv(&["A,open,22"]));
        cli.ok(&["execute", "--batch-id", "2", "--input", "late/two.csv"]);
        let replaced = cli.query(FEED);
        assert!(replaced.contains("2,A,CHANGED,open,22,amount"), "{replaced}");
        // `orders_2.csv` was loaded once, and is as it was.
        let again = cli.run(&["execute"]);
        assert_eq!((again.code, again.stdout.as_str()), (0, "orders_change_feed: up to date\n"), "{load}: {again:?}");
        assert_eq!(cli.query(FEED), replaced, "{load}");
    }
}

#[test]
fn a_feed_without_stale_rows_says_the_same_otherwise() {
    let cli = project(COLUMNS, "emit_stale = false", IDS_FROM_NAMES);
    for batch in 1..=6 {
        orders(&cli, batch, example(batch));
    }
    cli.ok(&["execute"]);
    let all = [HEADER, BATCH_1, BATCH_2, BATCH_3, BATCH_4_AFTER_3, BATCH_5, BATCH_6].concat();
    let without: String = all.lines().filter(|line| !line.contains(",STALE,")).map(|line| format!("{line}\n")).collect();
    assert_eq!(cli.query(FEED), without);
    assert_eq!(cli.query("SELECT id, xt_batch_id FROM orders_state ORDER BY id"), "id,xt_batch_id\nA,6\nB,6\nC,6\nE,6\nF,6\n");
}

#[test]
fn a_delta_deletes_by_its_marks_alone() {
    let columns =
        "columns = [\"id\", \"status\", \"amount\"]\nbatch_mode = \"delta\"\ndelete_column = \"status\"\ndelete_values = [\"gone\"]";
    let cli = project(columns, "", "");
    orders(&cli, 1, &["A,open,1", "B,open,2"]);
    orders(&cli, 2, &["B,gone,9", "C,open,3"]);
    orders(&cli, 3, &["B,back,2", "A,seen,1", "Z,gone,"]);
    orders(&cli, 4, &[]);
    cli.ok(&["execute"]);
    let feed = "1,A,NEW,open,1,\n1,B,NEW,open,2,\n2,B,DELETED,open,2,\n2,C,NEW,open,3,\n3,A,STALE,seen,1,\n3,B,REACTIVATED,back,2,\n";
    assert_eq!(cli.query(FEED), [HEADER, feed].concat());
    assert_eq!(
        cli.query("SELECT id, status, xt_batch_id FROM orders_state ORDER BY id"),
        "id,status,xt_batch_id\nA,seen,3\nB,back,3\nC,open,2\n"
    );
}

#[test]
fn parked_rows_leave_their_keys_as_they_are() {
    let cli = project(&format!("{COLUMNS}\non_duplicate_key = \"park\"\non_null_key = \"park\""), "", "");
    orders(&cli, 1, &["A,open,1", "B,open,2"]);
    orders(&cli, 2, &["A,open,1", "B,open,2", "B,paid,2", ",open,5"]);
    cli.ok(&["execute"]);
    assert_eq!(cli.query(FEED), [HEADER, "1,A,NEW,open,1,\n1,B,NEW,open,2,\n2,A,STALE,open,1,\n"].concat());
    let parked = cli.query("SELECT id, status, xt_parked_reason, xt_batch_id, xt_row_number FROM orders_parked ORDER BY xt_row_number");
    assert_eq!(
        parked,
        "id,status,xt_parked_reason,xt_batch_id,xt_row_number\nB,open,duplicate_key,2,2\nB,paid,duplicate_key,2,3\n,open,null_key,2,4\n"
    );
    assert_eq!(cli.query("SELECT id, xt_batch_id FROM orders_state ORDER BY id"), "id,xt_batch_id\nA,2\nB,1\n");
    assert_eq!(cli.query("SELECT count(*) AS n FROM orders_landing"), "n\n6\n", "landing keeps every row");
}

/// Runs what must be refused: nothing is visible afterwards.
fn refused(cli: &Cli, args: &[&str], told: &[&str]) {
    let before = cli.query(FEED);
    let output = cli.run(args);
    assert_eq!(output.code, 3, "{args:?}: {output:?}");
    assert!(told.iter().all(|text| output.stderr.contains(text)), "{told:?}: {}", output.stderr);
    assert_eq!(cli.query(FEED), before);
}

#[test]
fn guards_refuse_a_batch_until_they_are_accepted() {
    let cli = project(&format!("{COLUMNS}\nmax_delete_ratio = 0.5"), "", "");
    orders(&cli, 1, &["A,open,1", "B,open,2", "C,open,3", "D,open,4"]);
    cli.ok(&["execute"]);
    orders(&cli, 2, &["A,open,1"]);
    refused(&cli, &["execute"], &["batch 2", "3 of 4 live keys", "max_delete_ratio = 0.5", "--accept-guards"]);
    cli.ok(&["execute", "--accept-guards"]);
    assert!(cli.query(FEED).ends_with("2,A,STALE,open,1,\n2,B,DELETED,open,2,\n2,C,DELETED,open,3,\n2,D,DELETED,open,4,\n"));
    orders(&cli, 3, &[]);
    refused(&cli, &["execute"], &["batch 3", "the snapshot is empty", "allow_empty_snapshot", "--accept-guards"]);
    orders(&cli, 3, &["A,open,1", "A,paid,1"]);
    refused(&cli, &["execute"], &["id = A: data/orders/orders_3.csv:2, data/orders/orders_3.csv:3", "on_duplicate_key"]);
    orders(&cli, 3, &["A,open,1", ",open,2"]);
    refused(&cli, &["execute"], &["data/orders/orders_3.csv:3:1", "`id`"]);
    orders(&cli, 3, &["A,open,one"]);
    refused(&cli, &["execute"], &["data/orders/orders_3.csv:2:8", "`amount`", "`one`"]);
}

#[test]
fn late_batches_are_refused_where_the_flow_says_so() {
    let cli = project(COLUMNS, "late_batches = \"reject\"", IDS_FROM_NAMES);
    orders(&cli, 2, &["A,open,2"]);
    orders(&cli, 3, &["A,open,3"]);
    cli.ok(&["execute"]);
    orders(&cli, 1, &["A,open,1"]);
    refused(&cli, &["execute"], &["batch 1 arrives late", "late_batches"]);
    refused(&cli, &["execute", "--batch-id", "2", "--input", "data/orders/orders_3.csv"], &["batch 2", "other content", "late_batches"]);
    // The same content is no other batch, and the newest one may be replaced.
    cli.ok(&["execute", "--batch-id", "2"]);
    cli.write("late/three.csv", &csv(&["A,open,33"]));
    cli.ok(&["execute", "--batch-id", "3", "--input", "late/three.csv"]);
    assert!(cli.query(FEED).ends_with("3,A,CHANGED,open,33,amount\n"));
}

#[test]
fn a_column_added_later_stands_among_the_input_columns() {
    let cli = project(COLUMNS, "", "");
    orders(&cli, 1, &["A,open,1"]);
    cli.ok(&["execute"]);
    let flow = std::fs::read_to_string(cli.path("flows/orders_change_feed.toml")).unwrap();
    cli.write("flows/orders_change_feed.toml", &flow.replace("\"amount\"]", "\"amount\", \"note\"]"));
    cli.write("data/orders/orders_2.csv", "id,status,amount,note\nA,open,1,hello\n");
    cli.ok(&["execute"]);
    assert_eq!(
        cli.query("SELECT id, note, xt_changed_columns FROM orders_change_feed ORDER BY xt_batch_id"),
        "id,note,xt_changed_columns\nA,,\nA,hello,note\n"
    );
    let header = cli.query("SELECT * FROM orders_change_feed LIMIT 0");
    assert_eq!(header, "id,status,amount,note,xt_batch_id,xt_record_type,xt_changed_columns,xt_processed_at\n");
    assert_eq!(
        cli.query("SELECT * FROM orders_landing LIMIT 0"),
        "id,status,amount,note,xt_batch_id,xt_loaded_at,xt_source_file,xt_row_number\n"
    );
}

#[test]
fn the_report_has_the_shape_that_programs_rely_on() {
    let cli = project(COLUMNS, "", IDS_FROM_NAMES);
    orders(&cli, 1, example(1));
    orders(&cli, 2, example(2));
    let report = |args: &[&str]| -> Value { serde_json::from_str(&cli.run(args).stdout).unwrap() };
    let mut run = report(&["execute", "--format", "json"]);
    assert!(run["run_id"].as_str().is_some_and(|id| !id.is_empty()));
    assert_eq!((&run["status"], &run["flows"][0]["flow"]), (&json!("succeeded"), &json!("orders_change_feed")));
    let mut batch = run["flows"][0]["batches"][1].take();
    for step in batch["steps"].as_array_mut().unwrap() {
        assert!(step["seconds"].take().is_f64());
    }
    let landing = json!({ "step": "orders_landing", "rows": 3, "seconds": null });
    let feed = json!({ "step": "orders_change_feed", "rows": 5, "seconds": null, "counts": { "CHANGED": 2, "DELETED": 2, "STALE": 1 } });
    let files = ["data/orders/orders_2.csv"];
    assert_eq!(batch, json!({ "batch_id": 2, "status": "succeeded", "files": files, "steps": [landing, feed] }));

    let replay = report(&["execute", "--batch-id", "2", "--format", "json"]);
    assert_eq!(replay["flows"][0]["batches"][0]["status"], "unchanged");
    assert_eq!(report(&["execute", "--format", "json"])["flows"][0]["batches"], json!([]));
    orders(&cli, 3, &[]);
    let rejected = report(&["execute", "--format", "json"]);
    assert_eq!((&rejected["status"], &rejected["flows"][0]["batches"][0]["status"]), (&json!("rejected"), &json!("rejected")));
}

#[test]
fn a_removed_column_changes_nothing() {
    let cli = project(COLUMNS, "", "");
    orders(&cli, 1, &["A,open,1", "B,open,2"]);
    cli.ok(&["execute"]);
    let flow = std::fs::read_to_string(cli.path("flows/orders_change_feed.toml")).unwrap();
    cli.write("flows/orders_change_feed.toml", &flow.replace(", \"amount\"]", "]"));
    orders(&cli, 2, &["A,open,9", "B,paid,2"]);
    cli.ok(&["execute"]);
    let feed = "SELECT id, status, amount, xt_record_type, xt_changed_columns FROM orders_change_feed WHERE xt_batch_id = 2 ORDER BY id";
    let expected = "id,status,amount,xt_record_type,xt_changed_columns\nA,open,,STALE,\nB,paid,,CHANGED,status\n";
    assert_eq!(cli.query(feed), expected);
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(cli.query(feed), expected);
}

#[test]
fn a_type_may_change_when_every_stored_value_fits() {
    let with_type = |ty: &str| format!("columns = [\"id\", \"status\", {{ name = \"amount\", schema_type = \"{ty}\" }}]");
    let cli = project(&with_type("string"), "", "");
    orders(&cli, 1, &["A,open,1", "B,open,2"]);
    cli.ok(&["execute"]);
    let flow = std::fs::read_to_string(cli.path("flows/orders_change_feed.toml")).unwrap();
    cli.write("flows/orders_change_feed.toml", &flow.replace("schema_type = \"string\"", "schema_type = \"integer\""));
    orders(&cli, 2, &["A,open,1", "B,open,3"]);
    cli.ok(&["execute"]);
    assert_eq!(
        cli.query("SELECT id, amount, xt_record_type FROM orders_change_feed ORDER BY xt_batch_id, id"),
        "id,amount,xt_record_type\nA,1,NEW\nB,2,NEW\nA,1,STALE\nB,3,CHANGED\n"
    );
    cli.write("flows/orders_change_feed.toml", &flow.replace("schema_type = \"string\"", "schema_type = \"boolean\""));
    let refused = cli.run(&["execute"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("column `amount` was integer and is declared boolean now"), "{refused:?}");
}

#[test]
fn queries_find_nan() {
    let cli = project("columns = [\"id\", { name = \"v\", schema_type = \"float\" }]", "", "");
    cli.write("data/orders/orders_1.csv", "id,v\nA,NaN\nB,1\nC,\n");
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT id FROM orders_state WHERE v > 5"), "id\nA\n");
    assert_eq!(cli.query("SELECT id FROM orders_state WHERE v = CAST('NaN' AS DOUBLE)"), "id\nA\n");
    assert_eq!(cli.query("SELECT l.id FROM orders_state l JOIN orders_state r ON l.v = r.v ORDER BY 1"), "id\nA\nB\n");
}
