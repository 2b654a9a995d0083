//! DuckDB reads the warehouse: the same rows as qetl, in every version.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use qetl_test_peers::venv;
use serde_json::Value;

use crate::{cli::Cli, deletes::Visits};

const PACKAGES: [&str; 4] = ["duckdb==1.5.5", "duckdb-extension-ducklake==1.5.5", "duckdb-extension-sqlite-scanner==1.5.5", "pytz"];

/// Answers the queries on stdin, a JSON list: for each one the column names and the rows, as texts.
const SCRIPT: &str = r#"
import glob, json, os, sys
import duckdb, duckdb_extension_ducklake as ducklake, duckdb_extension_sqlite_scanner as scanner

def load(module, name):
    folder = os.path.join(os.path.dirname(module.__file__), "extensions", "*")
    connection.execute("LOAD '%s'" % glob.glob(os.path.join(folder, name + ".duckdb_extension"))[0])

connection = duckdb.connect()
connection.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false; SET TimeZone = 'UTC'")
load(scanner, "sqlite_scanner")
load(ducklake, "ducklake")
connection.execute("ATTACH 'ducklake:sqlite:%s' AS lake %s" % (sys.argv[1], "" if "write" in sys.argv else "(READ_ONLY)"))
connection.execute("USE lake")
answers = []
for sql in json.load(sys.stdin):
    try:
        result = connection.execute(sql)
        names = [column[0] for column in result.description]
        answers.append([names, [[None if value is None else str(value) for value in row] for row in result.fetchall()]])
    except Exception as error:
        answers.append([["error"], [[str(error)]]])
json.dump(answers, sys.stdout)
"#;

/// The Python that has DuckDB; `None` when there is no Python or no package index.
fn python() -> Option<PathBuf> {
    let imports = "import duckdb, duckdb_extension_ducklake, duckdb_extension_sqlite_scanner, pytz; assert duckdb.__version__ == '1.5.5'";
    venv::python("venv", &PACKAGES, imports)
}

/// Column names and rows; rows are sorted, NULL is `None`.
#[derive(Debug, PartialEq)]
struct Answer {
    names: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    fn new(names: Vec<String>, mut rows: Vec<Vec<Option<String>>>) -> Self {
        rows.sort();
        Self { names, rows }
    }
}

/// A query of both programs; `{at}` stands behind the dataset that is read at a version.
struct Question {
    sql: String,
    at: Option<i64>,
}

fn ask_duckdb(python: &Path, catalog: &Path, questions: &[Question]) -> Vec<Answer> {
    let sql =
        |question: &Question| question.sql.replace("{at}", &question.at.map_or_else(String::new, |at| format!(" AT (VERSION => {at})")));
    run_duckdb(python, catalog, &[], &questions.iter().map(sql).collect::<Vec<_>>())
}

fn run_duckdb(python: &Path, catalog: &Path, args: &[&str], texts: &[String]) -> Vec<Answer> {
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT]).arg(catalog).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(Value::from(texts).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    type Told = (Vec<String>, Vec<Vec<Option<String>>>);
    let answers: Vec<Told> = serde_json::from_slice(&output.stdout).unwrap();
    answers.into_iter().map(|(names, rows)| Answer::new(names, rows)).collect()
}

fn ask_qetl(cli: &Cli, question: &Question) -> Answer {
    let sql = question.sql.replace("{at}", "");
    let version = question.at.map(|at| at.to_string());
    let query = |sql: &str, format: &str| {
        let mut args = vec!["query", sql, "--format", format];
        if let Some(version) = &version {
            args.extend(["--at", version.as_str()]);
        }
        cli.ok(&args)
    };
    let header = query(&format!("SELECT * FROM ({sql}) AS t LIMIT 0"), "csv");
    let names: Vec<String> = header.trim_end().split(',').map(str::to_owned).collect();
    let lines = query(&sql, "json");
    let text = |value: &Value| match (value.is_null(), value.as_str()) {
        (true, _) => None,
        (false, Some(text)) => Some(text.to_owned()),
        (false, None) => Some(value.to_string()),
    };
    let row = |line: &str| -> Vec<Option<String>> {
        let object: Value = serde_json::from_str(line).unwrap();
        names.iter().map(|name| text(&object[name.as_str()])).collect()
    };
    let rows = lines.lines().map(row).collect();
    Answer::new(names, rows)
}

/// Two flows, one of them in a schema of its own: replaced batches, a column that came later, a type that widened.
fn warehouse() -> Cli {
    let cli = Cli::empty();
    let flow = |id: &str, more: &str, columns: &str| {
        let input = format!("[input]\nprimary_key = [\"order_id\"]\ncolumns = [{columns}]\n");
        cli.write(&format!("flows/{id}.toml"), &format!("id = \"{id}\"\nflow_type = \"change_feed\"\n{more}\n{input}"));
    };
    let batch = |flow: &str, batch: i64, header: &str, row: &dyn Fn(i64) -> String| {
        let rows: String = (0..1000).filter(|id| (id + batch) % 13 != 0).map(|id| format!("{id},{}\n", row(id))).collect();
        cli.write("late/batch.csv", &format!("order_id,status,{header}\n{rows}"));
        cli.ok(&["execute", flow, "--batch-id", &batch.to_string(), "--input", "late/batch.csv"]);
    };
    let raw = "orders_change_feed";
    flow(raw, "namespace = \"raw\"", "\"order_id\", \"status\", \"amount\"");
    batch(raw, 1, "amount", &|id| format!("s{},{}", id % 3, id % 50));
    batch(raw, 2, "amount", &|id| format!("s{},{}", id % 4, id % 50));
    batch(raw, 3, "amount", &|id| format!("s{},{}", id % 3, id % 49));
    batch(raw, 2, "amount", &|id| format!("s{},{}", id % 5, id % 50));
    flow(raw, "namespace = \"raw\"", "\"order_id\", \"status\", \"amount\", \"note\"");
    batch(raw, 4, "amount,note", &|id| {
        format!("s{},{}.{},{}", id % 3, id % 49, id % 10, if id % 7 == 0 { format!("n{id}") } else { String::new() })
    });
    batch(raw, 5, "amount,note", &|id| format!("\"s \"\"{}\",-{}.25,ü{id}", id % 2, id % 49));

    let stock = "stock_change_feed";
    flow(stock, "[properties]\nemit_stale = false\n", "\"order_id\", \"status\", { name = \"amount\", schema_type = \"decimal(18,2)\" }");
    for id in [1, 3, 2] {
        batch(stock, id, "amount", &|row| format!("s{},{}.5", row % (id + 1), row % 40));
    }
    cli
}

fn questions(versions: i64) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut ask = |sql: String, at: Option<i64>| questions.push(Question { sql, at });
    for (landing, feed, state) in
        [("raw.orders_landing", "raw.orders_change_feed", "raw.orders_state"), ("stock_landing", "stock_change_feed", "stock_state")]
    {
        for table in [landing, feed, state] {
            ask(format!("SELECT count(*) AS n FROM {table}"), None);
            ask(
                format!(
                    "SELECT xt_batch_id, count(*) AS n, sum(amount) AS total, min(amount) AS least, max(amount) AS most FROM {table} GROUP BY xt_batch_id"
                ),
                None,
            );
            // No fractions: DuckDB 1.5.5 rounds them for files from before a column widened, in tables of its own too.
            for filter in [
                "order_id > 900",
                "order_id = 7",
                "order_id < 0",
                "xt_batch_id = 2",
                "xt_batch_id > 2",
                "amount > 40",
                "amount < 0",
                "amount = 12",
                "status = 's1'",
                "status > 's2'",
                "status IS NULL",
            ] {
                ask(format!("SELECT count(*) AS n, sum(order_id) AS ids, sum(amount) AS total FROM {table} WHERE {filter}"), None);
            }
        }
        for kind in ["NEW", "CHANGED", "STALE", "DELETED", "REACTIVATED", "NOTHING"] {
            ask(
                format!(
                    "SELECT xt_batch_id, xt_changed_columns, count(*) AS n, sum(amount) AS total FROM {feed} WHERE xt_record_type = '{kind}' GROUP BY xt_batch_id, xt_changed_columns"
                ),
                None,
            );
        }
        ask(format!("SELECT order_id, status, amount, xt_batch_id FROM {state}"), None);
        ask(format!("SELECT * FROM {landing} WHERE order_id < 0"), None);
        ask(format!("SELECT * FROM {state}"), None);
    }
    for filter in ["note IS NULL", "note IS NOT NULL", "note = 'n14'", "note > 'z'"] {
        ask(
            format!(
                "SELECT xt_batch_id, count(*) AS n, sum(amount) AS total, min(note) AS least, max(note) AS most FROM raw.orders_change_feed WHERE {filter} GROUP BY xt_batch_id"
            ),
            None,
        );
    }
    ask("SELECT count(*) AS n, sum(order_id) AS ids FROM stock_landing WHERE amount > 20.5".to_owned(), None);
    for version in 1..=versions {
        ask(
            "SELECT xt_batch_id, count(*) AS n, sum(amount) AS total FROM raw.orders_landing{at} GROUP BY xt_batch_id".to_owned(),
            Some(version),
        );
        ask("SELECT xt_record_type, count(*) AS n, max(amount) AS most FROM raw.orders_change_feed{at} WHERE amount > 10 GROUP BY xt_record_type".to_owned(), Some(version));
        ask("SELECT order_id, status, amount FROM raw.orders_state{at} WHERE order_id < 50".to_owned(), Some(version));
    }
    questions
}

#[test]
fn duckdb_reads_the_same_rows() {
    let Some(python) = python() else {
        eprintln!("left out: there is no Python with DuckDB, and none could be made (it takes python3 with venv, and PyPI)");
        return;
    };
    let cli = warehouse();
    let versions: i64 = cli.query("SELECT max(version) AS v FROM qetl.versions").lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(versions, 9, "each batch is one version");
    let questions = questions(versions);
    let found = ask_duckdb(&python, &cli.path("warehouse/catalog.sqlite"), &questions);
    for (question, found) in questions.iter().zip(found) {
        assert_eq!(found, ask_qetl(&cli, question), "DuckDB's answer (left) and qetl's to {} at {:?}", question.sql, question.at);
    }
}

/// Columns that had no value in the first batches.
#[test]
fn duckdb_reads_columns_that_got_their_type_later() {
    let Some(python) = python() else {
        eprintln!("left out: there is no Python with DuckDB, and none could be made (it takes python3 with venv, and PyPI)");
        return;
    };
    let cli = Cli::empty();
    let columns = r#"columns = ["id", "price", "seats", "day", "note"]"#;
    let flow = format!("id = \"o_change_feed\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"id\"]\n{columns}\n");
    cli.write("flows/o_change_feed.toml", &flow);
    let rows = ["1,,,,\n2,,,,\"\"\n", "1,,7,,\n2,,,,\n", "1,1.50,7,2024-01-31,x\n2,10,,,\n"];
    for (batch, rows) in (1..).zip(rows) {
        cli.write("late/batch.csv", &format!("id,price,seats,day,note\n{rows}"));
        cli.ok(&["execute", "o_change_feed", "--batch-id", &i32::to_string(&batch), "--input", "late/batch.csv"]);
    }
    let mut questions = Vec::new();
    for table in ["o_landing", "o_change_feed", "o_state"] {
        for filter in ["id > 0", "price > 5", "seats = 7", "day = '2024-01-31'", "note IS NULL", "price IS NULL", "xt_batch_id = 1"] {
            let sql = format!("SELECT xt_batch_id, id, price, seats, day, note FROM {table} WHERE {filter}");
            questions.push(Question { sql, at: None });
        }
        questions.push(Question { sql: format!("SELECT sum(price) AS p, max(seats) AS s, max(day) AS d FROM {table}"), at: None });
    }
    let at = |at: i64| Question { sql: "SELECT id, price, seats, day, note FROM o_landing{at}".to_owned(), at: Some(at) };
    questions.extend((1..=3).map(at));
    for (question, found) in questions.iter().zip(ask_duckdb(&python, &cli.path("warehouse/catalog.sqlite"), &questions)) {
        assert_eq!(found, ask_qetl(&cli, question), "DuckDB's answer (left) and qetl's to {} at {:?}", question.sql, question.at);
    }
}

/// Compares what both programs say of the sessions, now and in each version.
fn compare_sessions(python: &Path, cli: &Cli) {
    let versions: i64 = cli.query("SELECT max(version) AS v FROM qetl.versions").lines().nth(1).unwrap().parse().unwrap();
    let mut questions = Vec::new();
    for at in (1..=versions).map(Some).chain([None]) {
        for sql in [
            // No times: each program writes them in its own form.
            "SELECT session_id, user_id, duration_seconds, event_count, first_event_id, last_page, xt_batch_id FROM visits_sessions{at}",
            "SELECT count(*) AS n FROM visits_sessions{at}",
            "SELECT min(user_id) AS least, max(user_id) AS most, count(DISTINCT start_time) AS times FROM visits_sessions{at}",
            "SELECT xt_batch_id, count(*) AS n, sum(event_count) AS events FROM visits_sessions{at} WHERE user_id >= 100 GROUP BY xt_batch_id",
        ] {
            questions.push(Question { sql: sql.to_owned(), at });
        }
    }
    for (question, found) in questions.iter().zip(ask_duckdb(python, &cli.path("warehouse/catalog.sqlite"), &questions)) {
        assert_eq!(found, ask_qetl(cli, question), "DuckDB's answer (left) and qetl's to {} at {:?}", question.sql, question.at);
    }
}

#[test]
fn each_reads_what_the_other_deleted() {
    let Some(python) = python() else {
        eprintln!("left out: there is no Python with DuckDB, and none could be made (it takes python3 with venv, and PyPI)");
        return;
    };
    let mut visits = Visits::new();
    visits.late((0..Visits::USERS).step_by(200));
    visits.late((1..Visits::USERS).step_by(200));
    compare_sessions(&python, &visits.cli);

    // Once more from a file with deletions, and from one that has none yet, twice: then DuckDB keeps both in one file.
    let deletions = ["user_id % 200 = 2", "user_id % 200 = 3 OR user_id = 1", "user_id = 201"];
    let deletions = deletions.map(|which| format!("DELETE FROM visits_sessions WHERE {which}"));
    for answer in run_duckdb(&python, &visits.cli.path("warehouse/catalog.sqlite"), &["write"], &deletions) {
        assert_eq!(answer.names, ["Count"], "{answer:?}");
    }
    compare_sessions(&python, &visits.cli);
    let count = |visits: &Visits| visits.cli.query("SELECT count(*) AS n FROM visits_sessions");
    assert_eq!(count(&visits), format!("n\n{}\n", Visits::USERS - 52));
    // The sessions of the user that qetl makes anew come back; the other ones stay away.
    visits.late([3, 4].into_iter());
    compare_sessions(&python, &visits.cli);
    assert_eq!(count(&visits), format!("n\n{}\n", Visits::USERS - 51));
    visits.late((5..Visits::USERS).step_by(5));
    compare_sessions(&python, &visits.cli);
}

#[test]
fn duckdb_commits_after_a_publish_without_changes() {
    let Some(python) = python() else {
        eprintln!("left out: there is no Python with DuckDB, and none could be made (it takes python3 with venv, and PyPI)");
        return;
    };
    let cli = Cli::sample();
    let flow = std::fs::read_to_string(cli.path("flows/orders_change_feed.toml")).unwrap();
    cli.write("flows/orders_change_feed.toml", &flow.replace("batch_mode = \"snapshot\"", "batch_mode = \"delta\""));
    cli.ok(&["execute"]);
    cli.write("data/orders/orders_4.csv", "order_id,customer,status,amount\n");
    cli.ok(&["execute"]);
    let texts = [
        "SELECT snapshot_id, changes FROM lake.snapshots() WHERE snapshot_id = 4",
        "CREATE TABLE own (i INTEGER)",
        "INSERT INTO own VALUES (1)",
        "SELECT i FROM own",
    ]
    .map(str::to_owned);
    let answers = run_duckdb(&python, &cli.path("warehouse/catalog.sqlite"), &["write"], &texts);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(answers[0].rows, [[text("4"), text("{}")]]);
    assert_eq!(answers[3].rows, [[text("1")]], "{answers:?}");
    assert!(cli.ok(&["execute"]).contains("up to date"), "the empty batch is published");
}
