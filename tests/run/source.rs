//! Flows that read the batches of another flow's dataset.

use crate::cli::{Cli, Output};

/// A change feed of files.
const ORDERS: &str = r#"
id = "orders_change_feed"
flow_type = "change_feed"
[input]
primary_key = ["id"]
columns = ["id", "status", { name = "amount", schema_type = "decimal(10,2)" }]
[properties.load]
source_path = "data"
file_pattern = "orders_*.csv"
batch_id_from = 'orders_(\d+)'
on_changed_file = "replay"
"#;

/// A change feed of a dataset.
fn reader(id: &str, source: &str, more: &str) -> String {
    format!(
        "id = \"{id}_change_feed\"\nflow_type = \"change_feed\"\n[input]\nsource_dataset = \"{source}\"\nprimary_key = [\"id\"]\n\
         columns = [\"id\", \"status\", \"amount\"]\n{more}\n"
    )
}

/// Flows by name, and the first batches of the orders: B is gone in the third.
fn project(flows: &[(&str, String)], batches: &[i64]) -> Cli {
    let cli = Cli::empty();
    cli.write("flows/a_last.toml", ORDERS);
    for (name, flow) in flows {
        cli.write(&format!("flows/{name}.toml"), flow);
    }
    batches.iter().for_each(|batch| orders(&cli, *batch));
    cli
}

fn orders(cli: &Cli, batch: i64) {
    let rows = ["", "A,open,1.5\nB,open,2\n", "A,open,1.5\nB,paid,2\n", "A,paid,1.5\n"][usize::try_from(batch).unwrap()];
    cli.write(&format!("data/orders_{batch}.csv"), &format!("id,status,amount\n{rows}"));
}

/// Rows as CSV lines without the header.
fn rows(cli: &Cli, query: &str) -> Vec<String> {
    cli.query(query).lines().skip(1).map(str::to_owned).collect()
}

fn feed(cli: &Cli, dataset: &str) -> Vec<String> {
    rows(cli, &format!("SELECT xt_batch_id, id, status, amount, xt_record_type FROM {dataset} ORDER BY 1, 2"))
}

fn refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, code, "{output:?}");
    // Lines are broken where they are too long.
    let said = output.stderr.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    for words in words {
        assert!(said.contains(words), "`{words}` is not said:\n{}", output.stderr);
    }
}

#[test]
fn a_feed_over_what_a_standard_flow_ingests() {
    let cli = Cli::empty();
    let config = "path = \"data/raw_*.csv\"\ncolumns = [\"id\", \"status\", { name = \"amount\", schema_type = \"decimal(10,2)\" }]";
    let load = "[[tasks]]\nid = \"load\"\ntask_type = \"ingestion\"\ntarget_dataset = \"raw\"\n[tasks.config]\n";
    cli.write("flows/shop.toml", &format!("id = \"shop\"\nflow_type = \"standard\"\n{load}{config}\n"));
    cli.write("flows/feed.toml", &reader("feed", "raw", ""));
    cli.write("data/raw_1.csv", "id,status,amount\nA,open,1\nB,open,2\n");
    let planned = cli.ok(&["plan"]);
    assert!(planned.contains("1  raw  (once `shop` has published it)") && planned.contains("feed_landing <- raw"), "{planned}");
    cli.ok(&["execute"]);
    cli.write("data/raw_2.csv", "id,status,amount\nA,paid,1\n");
    let second = cli.ok(&["execute"]);
    assert!(second.contains("feed_change_feed batch 2  raw"), "{second}");
    assert_eq!(
        feed(&cli, "feed_change_feed"),
        ["1,A,open,1.00,NEW", "1,B,open,2.00,NEW", "2,A,paid,1.00,CHANGED", "2,B,open,2.00,DELETED"]
    );
    let landed = "SELECT xt_batch_id, xt_source_file, xt_row_number FROM feed_landing ORDER BY 1, 3";
    assert_eq!(rows(&cli, landed), ["1,raw,1", "1,raw,2", "2,raw,1"]);
    let third = cli.ok(&["execute"]);
    assert!(third.contains("feed_change_feed: up to date"), "{third}");
}

#[test]
fn sessions_over_another_flows_landing() {
    let cli = Cli::empty();
    let columns = "columns = [\"event_id\", \"user_id\", { name = \"timestamp\", schema_type = \"timestamp\" }]";
    let events =
        "id = \"events_change_feed\"\nflow_type = \"change_feed\"\n[input]\nbatch_mode = \"delta\"\nprimary_key = [\"event_id\"]\n";
    let load = "[properties.load]\nsource_path = \"data\"\nfile_pattern = \"*.csv\"\n";
    cli.write("flows/z_events.toml", &format!("{events}{columns}\n{load}"));
    let input = "[input]\nsource_dataset = \"events_landing\"\nprimary_key = [\"event_id\"]\ncolumns = [\"event_id\", \"user_id\", \"timestamp\"]\n";
    cli.write("flows/a_visits.toml", &format!("id = \"visits\"\nflow_type = \"sessionization\"\n{input}"));
    cli.write("data/1.csv", "event_id,user_id,timestamp\ne1,u1,2024-01-01 10:00:00\ne3,u1,2024-01-01 11:00:01\n");
    cli.ok(&["execute"]);
    let sessions = "SELECT session_id, event_count FROM visits_sessions ORDER BY 1";
    assert_eq!(rows(&cli, sessions), ["u1_1,1", "u1_2,1"]);
    // A late event bridges them.
    cli.write("data/2.csv", "event_id,user_id,timestamp\ne2,u1,2024-01-01 10:30:00\ne4,u1,2024-01-01 10:45:00\n");
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, sessions), ["u1_1,4"]);
    assert_eq!(cli.run(&["verify"]).code, 0);
}

#[test]
fn late_and_changed_batches_go_down_a_chain() {
    let chain =
        [("0_last", reader("last", "copy_change_feed", "batch_mode = \"delta\"")), ("1_copy", reader("copy", "Orders_Landing", ""))];
    let cli = project(&chain, &[1, 3]);
    cli.ok(&["execute"]);
    let copied = ["1,A,open,1.50,NEW", "1,B,open,2.00,NEW", "3,A,paid,1.50,CHANGED", "3,B,open,2.00,DELETED"];
    assert_eq!(feed(&cli, "orders_change_feed"), copied);
    assert_eq!(feed(&cli, "copy_change_feed"), copied);
    // The last one reads the feed's rows, a deleted one too.
    let last = ["1,A,open,1.50,NEW", "1,B,open,2.00,NEW", "3,A,paid,1.50,CHANGED", "3,B,open,2.00,STALE"];
    assert_eq!(feed(&cli, "last_change_feed"), last);

    // A late batch; what is derived again because of it is read again.
    orders(&cli, 2);
    cli.ok(&["execute"]);
    let copied = [
        "1,A,open,1.50,NEW",
        "1,B,open,2.00,NEW",
        "2,A,open,1.50,STALE",
        "2,B,paid,2.00,CHANGED",
        "3,A,paid,1.50,CHANGED",
        "3,B,paid,2.00,DELETED",
    ];
    assert_eq!(feed(&cli, "copy_change_feed"), copied);
    let last = [
        "1,A,open,1.50,NEW",
        "1,B,open,2.00,NEW",
        "2,A,open,1.50,STALE",
        "2,B,paid,2.00,CHANGED",
        "3,A,paid,1.50,CHANGED",
        "3,B,paid,2.00,STALE",
    ];
    assert_eq!(feed(&cli, "last_change_feed"), last);
    assert_eq!(cli.ok(&["execute"]).matches("up to date").count(), 3);

    // A batch with other content.
    cli.write("data/orders_2.csv", "id,status,amount\nA,open,1.5\nB,shut,2\n");
    cli.ok(&["execute"]);
    let batch = "SELECT id, status, xt_record_type FROM last_change_feed WHERE xt_batch_id = 2 ORDER BY 1";
    assert_eq!(rows(&cli, batch), ["A,open,STALE", "B,shut,CHANGED"]);
    assert_eq!(cli.run(&["verify"]).code, 0);
    for flow in ["copy_change_feed", "last_change_feed"] {
        let before = feed(&cli, flow);
        cli.ok(&["execute", flow, "--full-refresh"]);
        assert_eq!(feed(&cli, flow), before);
    }
}

/// Batches that were made again and hold the same rows are looked at once.
#[test]
fn what_did_not_change_is_read_once() {
    let cli = project(&[("copy", reader("copy", "orders_change_feed", "batch_mode = \"delta\""))], &[1, 2]);
    cli.ok(&["execute"]);
    cli.ok(&["execute", "orders_change_feed", "--full-refresh"]);
    let plan = cli.ok(&["plan", "copy_change_feed"]);
    assert!(plan.contains("2 batches wait") && plan.contains("1  orders_change_feed  (again)"), "{plan}");
    let again = cli.ok(&["execute", "copy_change_feed"]);
    assert!(again.contains("copy_change_feed batch 1: unchanged") && again.contains("copy_change_feed batch 2: unchanged"), "{again}");
    assert_eq!(cli.ok(&["execute", "copy_change_feed"]), "copy_change_feed: up to date\n");
    let generations = "SELECT count(*), max(generation) FROM qetl.batches WHERE flow = 'copy_change_feed'";
    assert_eq!(rows(&cli, generations), ["2,1"]);
}

#[test]
fn batches_are_named_as_their_maker_has_them() {
    let cli = project(&[("copy", reader("copy", "orders_landing", ""))], &[1, 3]);
    let nothing = cli.run(&["execute", "copy_change_feed"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, "copy_change_feed: up to date\n"));
    assert!(
        nothing.stderr.contains("nothing of `orders_landing` is published yet: execute flow `orders_change_feed` first"),
        "{nothing:?}"
    );
    cli.ok(&["execute", "orders_change_feed"]);
    cli.ok(&["execute", "copy_change_feed", "--batch-id", "3"]);
    assert_eq!(feed(&cli, "copy_change_feed"), ["3,A,paid,1.50,NEW"]);
    let unknown = cli.run(&["execute", "copy_change_feed", "--batch-id", "2"]);
    refused(&unknown, 2, &["dataset `orders_landing` has no batch 2", "it has the batches 1, 3"]);
    let files = cli.run(&["execute", "copy_change_feed", "--batch-id", "1", "--input", "data/orders_1.csv"]);
    refused(&files, 2, &["flow `copy_change_feed` reads the dataset `orders_landing`, not files", "leave `--input` out"]);
    let json: serde_json::Value = serde_json::from_str(&cli.ok(&["execute", "copy_change_feed", "--format", "json"])).unwrap();
    let batch = &json["flows"][0]["batches"][0];
    assert!(batch["batch_id"] == 1 && batch["source_dataset"] == "orders_landing" && batch["files"] == serde_json::json!([]), "{json}");
}

#[test]
fn who_reads_what_failed_is_skipped() {
    let cli = project(&[("0_copy", reader("copy", "orders_landing", ""))], &[1]);
    cli.ok(&["execute"]);
    cli.write("data/orders_2.csv", "id,status,amount\nA,open,x\n");
    let failed = cli.run(&["execute"]);
    refused(&failed, 3, &["flow `copy_change_feed` was skipped: `orders_change_feed`, whose datasets it reads, failed"]);
    orders(&cli, 2);
    cli.ok(&["execute"]);
    assert_eq!(feed(&cli, "copy_change_feed"), feed(&cli, "orders_change_feed"));
}

/// What a dataset's value is must be what the flow says it is.
#[test]
fn values_that_do_not_fit_are_told_with_their_row() {
    let copy = reader("copy", "orders_landing", "").replace("\"status\"", "{ name = \"status\", schema_type = \"integer\" }");
    let cli = project(&[("copy", copy)], &[1]);
    cli.ok(&["execute", "orders_change_feed"]);
    let failed = cli.run(&["execute", "copy_change_feed"]);
    let told = "flow `copy_change_feed`, batch 1, step `copy_landing`: orders_landing: row 1: column `status`: `open` is not an integer; \
                the row: id = A, status = open, amount = 1.50";
    refused(&failed, 3, &[told, "mend the batch in `orders_landing`, or declare another `schema_type`"]);
    assert!(!cli.ok(&["datasets"]).contains("copy_landing"));
    cli.write("flows/copy.toml", &reader("copy", "orders_landing", ""));
    cli.ok(&["execute"]);
    assert_eq!(feed(&cli, "copy_change_feed").len(), 2);
}

/// A dataset's rows have no order of their own: so they are counted in the order of their values.
#[test]
fn rows_count_in_the_order_of_their_values() {
    let cli = Cli::empty();
    let columns = "columns = [\"id\", \"status\", \"amount\", { name = \"timestamp\", schema_type = \"timestamp\" }]";
    let load = "[properties]\nuser_id_field = \"id\"\n[properties.load]\nsource_path = \"data\"\n";
    cli.write("flows/seen.toml", &format!("id = \"seen\"\nflow_type = \"sessionization\"\n[input]\n{columns}\n{load}"));
    cli.write("flows/first.toml", &reader("first", "seen_landing", "on_duplicate_key = \"keep_first\""));
    let at = "2024-01-01 10:00:00";
    cli.write("data/1.csv", &format!("id,status,amount,timestamp\nB,x,1,{at}\nA,c,1,{at}\nA,b,2,{at}\nA,b,1,{at}\n"));
    cli.ok(&["execute"]);
    let landed = "SELECT xt_row_number, id, status, amount FROM first_landing ORDER BY 1";
    assert_eq!(rows(&cli, landed), ["1,A,b,1", "2,A,b,2", "3,A,c,1", "4,B,x,1"]);
    assert_eq!(rows(&cli, "SELECT id, status, amount FROM first_state ORDER BY 1"), ["A,b,1", "B,x,1"]);
}

#[test]
fn what_cannot_be_read_is_refused_with_the_way_out() {
    let sessions = "id = \"visits\"\nflow_type = \"sessionization\"\n[input]\ncolumns = [\"user_id\", \"timestamp\"]\n";
    let standard = "id = \"sums\"\nflow_type = \"standard\"\n[[tasks]]\nid = \"sum\"\ntask_type = \"sql_processing\"\n\
                    target_dataset = \"sums\"\nsql = \"SELECT id, status, amount FROM copy_landing\"\n";
    let cases: [(&str, &[&str]); 8] = [
        ("orders_landng", &["no flow makes `orders_landng`", "did you mean `orders_landing`?", "flows/copy.toml:4:18"]),
        ("raw.orders_landing", &["no flow makes `raw.orders_landing`"]),
        ("orders_state", &["it is a view", "`orders_landing`, `orders_change_feed` can be read batch by batch"]),
        ("visits_sessions", &["its rows are replaced key by key", "of flow `visits`, `visits_landing` can be read"]),
        ("sums", &["flows wait for each other: copy_change_feed → sums → copy_change_feed"]),
        ("totals", &["each publish writes all of its rows anew", "INSERT INTO {{ target_dataset }}"]),
        ("copy_landing", &["the flow reads `copy_landing`, which it makes itself"]),
        ("visits_landing", &["column `id` is not in `visits_landing`", "column `amount`", "known: user_id, timestamp"]),
    ];
    let cli =
        project(&[("visits", sessions.to_owned()), ("totals", standard.replace("sums", "totals").replace("copy_l", "orders_l"))], &[1]);
    for (dataset, words) in cases {
        if dataset == "sums" {
            let sums = standard.replace("target_dataset", "source_dataset = \"copy_landing\"\ntarget_dataset");
            cli.write("flows/sums.toml", &sums);
        } else if cli.path("flows/sums.toml").exists() {
            std::fs::remove_file(cli.path("flows/sums.toml")).unwrap();
        }
        cli.write("flows/copy.toml", &reader("copy", dataset, ""));
        for command in [["check", "copy_change_feed"], ["execute", "copy_change_feed"], ["plan", "copy_change_feed"]] {
            refused(&cli.run(&command), 2, words);
        }
    }
    cli.write("flows/copy.toml", &reader("copy", "orders_landing", "[properties.load]\nsource_path = \"data\""));
    let both = cli.run(&["check"]);
    refused(&both, 2, &["`source_dataset` and `[properties.load]` both say what the flow reads", "flows/copy.toml:8:15"]);
}
