//! The program as a user runs it: what each command prints, and with which exit code it ends.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::project::temporary;

/// A folder that the program is run in.
pub(crate) struct Cli {
    pub(crate) folder: TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Output {
    /// -1 when a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Cli {
    pub(crate) fn empty() -> Self {
        Self { folder: temporary() }
    }

    /// A project with one flow.
    pub(crate) fn project(flow: &str) -> Self {
        let cli = Self::empty();
        cli.write("flows/orders_change_feed.toml", flow);
        cli
    }

    /// The project that `init` makes; its three batches wait.
    pub(crate) fn sample() -> Self {
        let cli = Self::empty();
        cli.ok(&["init", "."]);
        cli
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The program, to be run in the folder with nothing of this process's environment that could change what it prints.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qetl-under-test"));
        command.args(args).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        // The last two: where DuckDB's library is, which `scripts/duckdb` fetched.
        for name in ["PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap().into()
    }

    /// Runs what must succeed; gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.code, 0, "{args:?}: {output:?}");
        output.stdout
    }

    /// The rows of a query as CSV, with their header.
    pub(crate) fn query(&self, sql: &str) -> String {
        self.ok(&["query", sql, "--format", "csv"])
    }
}

#[test]
fn init_makes_a_project_and_overwrites_nothing() {
    let cli = Cli::empty();
    let made = cli.ok(&["init", "shop"]);
    assert!(made.contains("cd shop") && made.contains("qetl execute"), "{made}");
    let files = ["shop/.gitignore", "shop/data/orders/orders_1.csv", "shop/flows/orders_change_feed.toml", "shop/qetl.toml"];
    assert!(files.iter().all(|name| cli.path(name).is_file()));
    let again = cli.run(&["init", "shop"]);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("`shop` is there already, and not empty"), "{again:?}");
    let other = cli.run(&["init", "other", "--template", "change_fed"]);
    assert_eq!((other.code, cli.path("other").exists()), (2, false));
    assert!(other.stderr.contains("change_feed"), "{other:?}");
}

#[test]
fn check_tells_people_and_programs() {
    let cli = Cli::sample();
    assert_eq!(cli.ok(&["check"]), "1 flow is right\n");
    assert_eq!(cli.ok(&["check", "--format", "json"]), "{\"flows\":[\"orders_change_feed\"],\"warnings\":0}\n");
    cli.write("flows/second.toml", "id = \"second\"\nflow_type = \"change_fed\"\nnam = \"x\"\n");
    let wrong = cli.run(&["check"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("flows/second.toml:2:13") && wrong.stderr.contains("did you mean `change_feed`"), "{wrong:?}");
}

#[test]
fn a_plan_shows_what_waits_and_draws_the_dag() {
    let cli = Cli::sample();
    insta::assert_snapshot!(cli.ok(&["plan"]), @r#"
    flow orders_change_feed (change_feed)

      3 batches wait:
        1  data/orders/orders_1.csv
        2  data/orders/orders_2.csv
        3  data/orders/orders_3.csv

      datasets:
        orders_landing  every row that was read, batch by batch
          order_id integer, customer string, status string, amount decimal(18,2), xt_batch_id integer, xt_loaded_at timestamp, xt_source_file string, xt_row_number integer
        orders_change_feed  what became of each key in each batch
          order_id integer, customer string, status string, amount decimal(18,2), xt_batch_id integer, xt_record_type string, xt_changed_columns string, xt_processed_at timestamp
        orders_state  (view)  the live keys, each with its latest values
          order_id integer, customer string, status string, amount decimal(18,2), xt_batch_id integer

      columns, with the types that were not declared:
        columns = [
          { name = "order_id", schema_type = "integer" },  # inferred from the files that wait
          { name = "customer", schema_type = "string" },  # inferred from the files that wait
          { name = "status", schema_type = "string" },  # inferred from the files that wait
          { name = "amount", schema_type = "decimal(18,2)" },
        ]

      steps:
        orders_landing <- files
        orders_change_feed <- orders_landing  (replace batch)
          check: the batch has rows
          check: no two different rows of one key (order_id)
        orders_state <- orders_change_feed
    "#);
    insta::assert_snapshot!(cli.ok(&["plan", "--graph", "mermaid"]), @r"
    flowchart LR
      files([files]) --> orders_landing
      orders_landing --> orders_change_feed
      orders_change_feed --> orders_state
    ");
    insta::assert_snapshot!(cli.ok(&["plan", "--graph", "dot"]), @r#"
    digraph "orders_change_feed" {
      rankdir = LR;
      "files" -> "orders_landing";
      "orders_landing" -> "orders_change_feed";
      "orders_change_feed" -> "orders_state";
    }
    "#);
    assert_eq!(cli.ok(&["execute", "--dry-run"]), cli.ok(&["plan"]));
    assert!(!cli.path("warehouse").exists(), "planning writes nothing");
}

#[test]
fn execute_prints_a_line_a_step() {
    let cli = Cli::sample();
    insta::with_settings!({ filters => vec![(r" +\d+\.\d\d s", "  0.00 s")] }, {
        insta::assert_snapshot!(cli.ok(&["execute"]), @r"
        orders_change_feed batch 1  1 file
          orders_landing                               4 rows  0.00 s
          orders_change_feed                           4 rows  0.00 s   NEW 4
        orders_change_feed batch 2  1 file
          orders_landing                               4 rows  0.00 s
          orders_change_feed                           5 rows  0.00 s   CHANGED 2  DELETED 1  NEW 1  STALE 1
        orders_change_feed batch 3  1 file
          orders_landing                               4 rows  0.00 s
          orders_change_feed                           5 rows  0.00 s   CHANGED 1  DELETED 1  REACTIVATED 1  STALE 2
        ");
    });
    assert_eq!(cli.ok(&["run"]), "orders_change_feed: up to date\n");
    assert!(cli.ok(&["plan"]).contains("up to date: no batch waits"));
}

#[test]
fn quiet_prints_results_only_and_colour_is_asked_for() {
    let cli = Cli::sample();
    let output = cli.run(&["-q", "execute"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "", ""));
    let result = cli.run(&["-q", "query", "SELECT count(*) AS n FROM orders_state", "--format", "csv"]);
    assert_eq!((result.stdout.as_str(), result.stderr.as_str()), ("n\n4\n", ""));
    let escapes = |args: &[&str]| {
        let output: Output = cli.command(args).env("NO_COLOR", "1").output().unwrap().into();
        output.stderr.contains('\u{1b}')
    };
    assert!(!escapes(&["check", "nope"]));
    assert!(!escapes(&["--color", "never", "check", "nope"]));
    assert!(escapes(&["--color", "always", "check", "nope"]), "what is asked for counts more than NO_COLOR");
}

#[test]
fn projects_and_profiles_are_named() {
    let cli = Cli::sample();
    cli.write("qetl.toml", "[storage]\nlocation = \"here\"\n[profiles.prod.storage]\nlocation = \"there\"\n");
    let elsewhere = Cli::empty();
    let project = cli.folder.path().to_str().unwrap();
    elsewhere.ok(&["--project", project, "execute"]);
    assert!(cli.path("here/catalog.sqlite").is_file() && !cli.path("there").exists());
    elsewhere.ok(&["execute", "--project", project, "--profile", "prod"]);
    assert!(cli.path("there/catalog.sqlite").is_file());
    let wrong = cli.run(&["--profile", "prd", "check"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("did you mean `prod`"), "{wrong:?}");
    let nowhere = elsewhere.run(&["check"]);
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.stderr.contains("there is no project") && nowhere.stderr.contains("--project"), "{nowhere:?}");
}

#[test]
fn the_environment_is_needed_and_never_printed() {
    let cli = Cli::sample();
    cli.write("qetl.toml", "[project]\nname = \"${QETL_TEST_SECRET}\"\n");
    let unset = cli.run(&["check"]);
    assert_eq!(unset.code, 2);
    assert!(unset.stderr.contains("`QETL_TEST_SECRET` is not set") && unset.stderr.contains("qetl.toml:2:8"), "{unset:?}");

    let with_secret = |args: &[&str]| -> Output { cli.command(args).env("QETL_TEST_SECRET", "hunter2").output().unwrap().into() };
    let silent = |args: &[&str], code: i32| {
        let output = with_secret(args);
        assert_eq!(output.code, code, "{output:?}");
        assert!(!output.stdout.contains("hunter2") && !output.stderr.contains("hunter2"), "{args:?}: {output:?}");
    };
    for args in [&["-v", "plan"][..], &["-v", "execute"], &["plan", "--format", "json"], &["history"], &["datasets"]] {
        silent(args, 0);
    }
    silent(&["query", "SELECT * FROM nope"], 2);
}

#[test]
fn a_wrong_setting_does_not_show_what_the_environment_had() {
    let cli = Cli::sample();
    for wrong in ["[engine]\nmemory_limit = \"${QETL_TEST_SECRET}\"\n", "[engine]\nname = \"${QETL_TEST_SECRET}\"\n"] {
        cli.write("qetl.toml", wrong);
        let output: Output = cli.command(&["check"]).env("QETL_TEST_SECRET", "hunter2").output().unwrap().into();
        assert_eq!(output.code, 2, "{output:?}");
        assert!(!output.stderr.contains("hunter2"), "{output:?}");
    }
}

#[test]
fn wrong_usage_exits_2_and_says_the_way_out() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let check = |args: &[&str], told: &str| {
        let output = cli.run(args);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{args:?}: {output:?}");
        assert!(output.stderr.contains(told), "{args:?}: {}", output.stderr);
    };
    check(&["nope"], "unrecognized subcommand 'nope'");
    check(&["execute", "orders_chang_feed"], "did you mean `orders_change_feed`?");
    check(&["check", "nope"], "there is no flow `nope`");
    check(&["history", "nope"], "there is no flow `nope`");
    check(&["flow-types", "changefeed"], "did you mean `change_feed`?");
    check(&["show", "orders_stat"], "did you mean `orders_state`?");
    check(&["execute", "--batch-id", "0"], "--batch-id");
    check(&["execute", "--input", "x.csv"], "--batch-id");
    check(&["execute", "--batch-id", "4", "--input", "x.csv"], "x.csv` cannot be read");
    check(&["execute", "--batch-id", "4"], "--input FILE");
    check(&["execute", "--execution-date", "soon"], "2024-01-31");
    check(&["plan", "--show", "sql", "--dialect", "nope"], "known: ansi, bigquery");
    check(&["-q", "-v", "check"], "cannot be used with");
    check(&["execute", "--jobs", "0"], "--jobs");
    check(&["query", "SELECT 1 AS n", "--out", "y.parquet", "--format", "csv"], "another format than `--format csv`");
    check(&["query", "SELECT 1 AS n", "--out", "y.xlsx"], "names no format");
    check(&["query", "SELECT 1 AS n", "--out", "y.csv", "--format", "table"], "for the screen");
    fs::create_dir_all(cli.path("empty")).unwrap();
    for command in ["check", "plan", "execute", "verify", "datasets", "history"] {
        check(&["--project", "empty", command], "there is no project in");
    }
    cli.write("without/qetl.toml", "");
    for command in ["check", "plan", "execute", "verify"] {
        check(&["--project", "without", command], "has no flow files");
    }
}

#[test]
fn a_file_that_is_wrong_stops_its_own_flow() {
    let cli = Cli::sample();
    cli.write("flows/second.toml", "id = \"second\"\nflow_type = \"change_fed\"\n");
    let run = cli.run(&["execute"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("[flows/second.toml:2:13]") && run.stderr.contains("did you mean `change_feed`"), "{run:?}");
    assert_eq!(cli.query("SELECT count(*) AS n FROM orders_change_feed"), "n\n14\n");
    let report: Value = serde_json::from_str(&cli.run(&["execute", "--format", "json"]).stdout).unwrap();
    assert_eq!((&report["status"], &report["flows"][1]["flow"]), (&"failed".into(), &"flows/second.toml".into()));
    assert_eq!(cli.run(&["execute", "second"]).code, 2);
    assert_eq!(cli.run(&["execute", "orders_change_feed"]).code, 0);
}

#[test]
fn flows_that_are_up_to_date_do_not_hide_a_refusal() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let flow = "id = \"b\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"id\"]\ncolumns = [\"id\", \"v\"]\n";
    cli.write("flows/b.toml", &format!("{flow}[properties.load]\nsource_path = \"b\"\n"));
    cli.write("flows/c.toml", &format!("{}source_dataset = \"b_landing\"\n", flow.replace("\"b\"", "\"c\"")));
    cli.write("b/1.csv", "id,v\n1,a\n1,b\n");
    let run = cli.run(&["execute"]);
    assert_eq!(run.code, 3, "one refused, one up to date, one skipped: {run:?}");
    let report: Value = serde_json::from_str(&cli.run(&["execute", "--format", "json"]).stdout).unwrap();
    let status: Vec<&Value> = report["flows"].as_array().unwrap().iter().map(|flow| &flow["status"]).collect();
    assert_eq!(status, ["rejected", "skipped", "up_to_date"]);
}

#[test]
fn a_query_prints_tables_csv_json_and_parquet() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    insta::assert_snapshot!(cli.ok(&["query", "SELECT order_id, customer, amount FROM orders_state ORDER BY order_id"]), @r"
    ┌──────────────────────────────┐
    │ order_id   customer   amount │
    ╞══════════════════════════════╡
    │ 1001       ada        100.00 │
    │ 1002       ben        250.50 │
    │ 1003       eve        75.25  │
    │ 1005       kim        310.00 │
    └──────────────────────────────┘
    ");
    let values = "SELECT CAST('NaN' AS DOUBLE) AS n, 1.10 AS d, true AS b, DATE '2024-01-01' AS day, CAST(NULL AS VARCHAR) AS nothing, '' AS empty, 'a\"b,' AS quoted";
    let csv = "n,d,b,day,nothing,empty,quoted\nNaN,1.10,true,2024-01-01,,\"\",\"a\"\"b,\"\n";
    assert_eq!(cli.query(values), csv);
    let json = "{\"n\":\"NaN\",\"d\":1.10,\"b\":true,\"day\":\"2024-01-01\",\"nothing\":null,\"empty\":\"\",\"quoted\":\"a\\\"b,\"}\n";
    assert_eq!(cli.ok(&["query", values, "--format", "json"]), json);

    assert_eq!(cli.ok(&["query", values, "--format", "csv", "--out", "values.csv"]), "");
    assert_eq!(fs::read_to_string(cli.path("values.csv")).unwrap(), csv);
    cli.ok(&["query", values, "--format", "parquet", "--out", "values.parquet"]);
    let parquet = fs::read(cli.path("values.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let failed = cli.run(&["query", "SELECT 1 / 0", "--format", "csv", "--out", "values.csv"]);
    assert_ne!(failed.code, 0, "{failed:?}");
    assert_eq!(fs::read_to_string(cli.path("values.csv")).unwrap(), csv, "a failed query leaves what was there");
}

#[test]
fn older_versions_can_be_read() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let at = |at: &str| cli.ok(&["query", "SELECT order_id, amount FROM orders_state ORDER BY order_id", "--format", "csv", "--at", at]);
    let first = "order_id,amount\n1001,100.00\n1002,250.50\n1003,75.25\n1004,19.99\n";
    let second = "order_id,amount\n1001,100.00\n1002,250.50\n1004,24.99\n1005,310.00\n";
    assert_eq!((at("1").as_str(), at("2").as_str()), (first, second));
    let times = cli.query("SELECT published_at FROM qetl.versions WHERE version IN (1, 2) ORDER BY version");
    let times: Vec<&str> = times.lines().skip(1).collect();
    assert_eq!((at(times[0]).as_str(), at(times[1]).as_str()), (first, second));
    for (at, told) in [("99", "versions are 0 to 3"), ("2020-01-01", "versions are 0 to 3"), ("tomorrow", "`tomorrow` is not a time")] {
        let output = cli.run(&["query", "SELECT 1", "--at", at]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(told), "{output:?}");
    }
}

#[test]
fn a_wrong_query_exits_2_and_says_what_would_be_right() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let check = |sql: &str, told: &[&str]| {
        let output = cli.run(&["query", sql]);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{sql}: {output:?}");
        assert!(told.iter().all(|text| output.stderr.contains(text)), "{sql}: {}", output.stderr);
    };
    check("SELEC 1", &["SELEC"]);
    check("SELECT 1; SELECT 2", &["single"]);
    check("SELECT * FROM order_state", &["did you mean `orders_state`?"]);
    check("SELECT statuss FROM orders_state", &["order_id", "customer", "status", "amount", "xt_batch_id"]);
    let parquet = cli.run(&["query", "SELECT 1", "--format", "parquet"]);
    assert_eq!(parquet.code, 2);
    assert!(parquet.stderr.contains("--out FILE"), "{parquet:?}");
}

#[test]
fn a_query_only_reads_and_says_so() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    for sql in [
        "DELETE FROM orders_state",
        "DROP TABLE orders_landing",
        "CREATE TABLE x AS SELECT 1",
        "SET x = 1",
        "COPY orders_landing TO 'x.csv'",
    ] {
        let output = cli.run(&["query", sql]);
        assert_eq!(output.code, 2, "{sql}: {output:?}");
        assert!(output.stderr.contains("`qetl query` only reads"), "{sql}: {}", output.stderr);
    }
    assert!(!cli.path("x.csv").exists());
    assert_eq!(cli.query("SELECT count(*) AS n FROM orders_landing"), "n\n12\n");
}

#[test]
fn a_null_without_a_type_is_null() {
    let cli = Cli::sample();
    assert_eq!(cli.query("SELECT NULL AS nothing, 1 AS one"), "nothing,one\n,1\n");
    assert_eq!(cli.ok(&["query", "SELECT NULL AS nothing", "--format", "json"]), "{\"nothing\":null}\n");
}

#[test]
fn records_can_be_read_before_the_first_run() {
    let cli = Cli::sample();
    for table in ["batches", "files", "runs", "versions"] {
        let rows = cli.query(&format!("SELECT * FROM qetl.{table}"));
        assert_eq!(rows.lines().count(), 1, "{table}: {rows}");
        assert_eq!(cli.query(&format!("SELECT count(*) AS n FROM qetl.{table}")), "n\n0\n");
    }
    assert!(!cli.path("warehouse").exists(), "reading makes nothing");
}

#[test]
fn names_are_found_whatever_their_case() {
    let flow = "id = \"orders_change_feed\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"OrderId\"]\ncolumns = [\"OrderId\", \"status\"]\n";
    let cli = Cli::project(&format!("{flow}[properties.load]\nsource_path = \"data\"\n"));
    cli.write("data/1.csv", "OrderId,status\n7,open\n");
    cli.ok(&["execute"]);
    for name in ["OrderId", "orderid", "ORDERID", "\"OrderId\"", "s.oRDERiD"] {
        assert_eq!(cli.query(&format!("SELECT {name} FROM Orders_State AS s WHERE {name} = 7")), "OrderId\n7\n");
    }
    assert_eq!(
        cli.query("SELECT orderid AS k, count(*) AS n FROM ORDERS_LANDING JOIN orders_state USING (ORDERID) GROUP BY OrderID"),
        "k,n\n7,1\n"
    );
    assert_eq!(cli.ok(&["show", "ORDERS_state", "--format", "csv"]), "OrderId,status,xt_batch_id\n7,open,1\n");
}

#[test]
fn what_is_stored_and_what_was_done_is_listed() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let lines = |args: &[&str]| -> Vec<Value> { cli.ok(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let datasets = lines(&["datasets", "--format", "json"]);
    let names: Vec<&str> = datasets.iter().map(|dataset| dataset["dataset"].as_str().unwrap()).collect();
    assert_eq!(names, ["orders_change_feed", "orders_landing", "orders_state"]);
    assert_eq!((datasets[0]["rows"].as_i64(), datasets[0]["batches"].as_i64()), (Some(14), Some(3)));
    assert!(cli.ok(&["datasets"]).contains("customer string"));
    let history = lines(&["history", "--format", "json"]);
    let batches: Vec<(Option<i64>, Option<&str>)> = history.iter().map(|run| (run["batch_id"].as_i64(), run["status"].as_str())).collect();
    assert_eq!(batches, [(Some(3), Some("succeeded")), (Some(2), Some("succeeded")), (Some(1), Some("succeeded"))]);
    assert_eq!(cli.ok(&["history", "orders_change_feed", "--limit", "1", "--format", "json"]).lines().count(), 1);
    assert!(cli.ok(&["history"]).contains("succeeded"));
    let shown = cli.ok(&["show", "orders_change_feed", "--batch", "2", "--limit", "2", "--format", "csv"]);
    assert_eq!(shown.lines().next(), Some("order_id,customer,status,amount,xt_batch_id,xt_record_type,xt_changed_columns,xt_processed_at"));
    assert_eq!(shown.lines().skip(1).filter(|line| line.contains(",2,")).count(), 2, "{shown}");
}

#[test]
fn plugins_and_shells_are_described() {
    let cli = Cli::empty();
    assert!(cli.ok(&["flow-types"]).contains("change_feed"));
    let properties = cli.ok(&["flow-types", "change_feed"]);
    for name in ["primary_key", "max_delete_ratio", "change_detection_columns", "emit_stale", "late_batches", "batch_id_from", "delimiter"]
    {
        assert!(properties.contains(name), "{name}: {properties}");
    }
    let schema: Value = serde_json::from_str(&cli.ok(&["schema"])).unwrap();
    assert_eq!(schema["title"], "qetl flow file");
    for shell in ["bash", "zsh", "fish"] {
        assert!(cli.ok(&["completions", shell]).contains("full-refresh"), "{shell}");
    }
}
