//! Flows as the authors of task pipelines write them: each runs as it is on every engine, two batches each, with the right rows.
//!
//! What such a file leaves out to be short (a source, a target, a column, an ingestion) is added here, in lines that end with
//! `#+` or `-- +`; nothing is changed. A value that the file names others for stands in its place: `("daily", "weekly")`.

use std::{fs, path::Path};

use qetl_runtime::{RunReport, waiting::Request};
use tokio::runtime::Runtime;

use crate::{Place, TestProject};

/// A flow, its two batches, and what it says after each.
struct Example {
    name: &'static str,
    flow: String,
    batches: [Batch; 2],
    /// Ordered.
    query: &'static str,
    rows: [&'static [&'static str]; 2],
    python: bool,
    /// Its SQL has SQLite's functions of time, which the embedded engine and PostgreSQL are told too; other databases refuse it.
    sqlite_words: bool,
}

/// What a batch brings.
struct Batch {
    /// Each file's path in the project, and its text.
    files: &'static [(&'static str, &'static str)],
    /// The files are named to the flow, which names none.
    named: bool,
    date: &'static str,
}

macro_rules! flow {
    ($name:literal) => {
        include_str!(concat!("documented/", $name, ".toml")).to_owned()
    };
}

/// Files that the flow finds.
const fn finds(date: &'static str, files: &'static [(&'static str, &'static str)]) -> Batch {
    Batch { files, named: false, date }
}

/// Files that are named to it.
const fn named(files: &'static [(&'static str, &'static str)]) -> Batch {
    Batch { files, named: true, date: "2024-03-15" }
}

const DAY_1: &str = "2024-03-15";
const DAY_2: &str = "2024-03-16";

/// The people of several examples.
const PEOPLE: [Batch; 2] = [
    finds(
        DAY_1,
        &[(
            "data/input.csv",
            "id,name,email,created_at,status,value\n1,Ada,ada@x.org,2024-01-01,active,10\n2,Bert,bert@x.org,2024-01-02,inactive,20\n\
             3,Cleo,cleo@x.org,2024-01-03,active,30\n",
        )],
    ),
    finds(
        DAY_2,
        &[(
            "data/input.csv",
            "id,name,email,created_at,status,value\n4,Dora,dora@x.org,2024-01-04,active,5\n5,Egon,egon@x.org,2024-01-05,inactive,6\n",
        )],
    ),
];

const USERS: [Batch; 2] = [
    named(&[(
        "inbox/events_1.csv",
        "user_id,timestamp,activity_type\nu1,2024-01-01 10:00:00,view\nu1,2024-01-31 10:00:00,view\nu2,2024-01-31 11:00:00,buy\n\
         u3,2024-01-01 12:00:00,view\n",
    )]),
    named(&[(
        "inbox/events_2.csv",
        "user_id,timestamp,activity_type\nu1,2024-03-02 10:00:00,view\nu3,2024-02-28 10:00:00,view\nu4,2024-03-31 11:00:00,buy\n",
    )]),
];

const GROWTH: &str = "SELECT period, acquisitions, churn, resurrections, net_growth, active_users FROM TABLE \
                      WHERE acquisitions + churn + resurrections + active_users > 0 ORDER BY period";

const EVENTS: [Batch; 2] = [
    named(&[(
        "inbox/events_1.csv",
        "event_id,user_id,timestamp,event_type,page_url\ne1,u1,2024-01-01 10:00:00,view,/\ne2,u1,2024-01-01 10:30:00,view,/a\n\
         e3,u1,2024-01-01 11:00:01,view,/b\ne4,u2,2024-01-01 09:00:00,view,/\n",
    )]),
    named(&[(
        "inbox/events_2.csv",
        "event_id,user_id,timestamp,event_type,page_url\ne5,u1,2024-01-01 10:45:00,view,/c\ne6,u2,2024-01-01 09:40:00,view,/\n",
    )]),
];

const SESSIONS: &str = "SELECT session_id, event_count, duration_seconds FROM user_sessions_sessions ORDER BY session_id";
const EACH_ALONE: [&[&str]; 2] =
    [&["u1_1 1 0", "u1_2 1 0", "u1_3 1 0", "u2_1 1 0"], &["u1_1 1 0", "u1_2 1 0", "u1_3 1 0", "u1_4 1 0", "u2_1 1 0", "u2_2 1 0"]];

const ACCOUNTS: [Batch; 2] = [
    named(&[(
        "inbox/transactions_1.csv",
        "transaction_id,account_id,amount,transaction_date\nT1,A1,100.00,2024-01-01\nT2,A2,40.50,2024-01-01\n",
    )]),
    named(&[(
        "inbox/transactions_2.csv",
        "transaction_id,account_id,amount,transaction_date\nT1,A1,150.00,2024-01-01\nT3,A1,5.00,2024-01-02\n",
    )]),
];

const LEDGER: &str = "SELECT xt_batch_id, xt_transaction_id, xt_transaction_type, xt_referred_transaction_id, amount \
                      FROM accounting_transactions_delta_transaction ORDER BY xt_batch_id, xt_transaction_id";
const BOOKED: [&str; 2] = ["1 T1#1#B INITIAL_BOOKING - 100", "1 T2#1#B INITIAL_BOOKING - 40.5"];
const REPLAYED: [&[&str]; 2] = [
    &BOOKED,
    &[
        BOOKED[0],
        BOOKED[1],
        "2 T1#2#B INITIAL_BOOKING - 150",
        "2 T1#2#R REVERSAL T1#1#B -100",
        "2 T2#2#R REVERSAL T2#1#B -40.5",
        "2 T3#2#B INITIAL_BOOKING - 5",
    ],
];
const CORRECTED: [&[&str]; 2] = [
    &BOOKED,
    &[BOOKED[0], BOOKED[1], "2 T1#2#D DELTA_CORRECTION T1#1#B 50", "2 T2#2#R REVERSAL T2#1#B -40.5", "2 T3#2#B INITIAL_BOOKING - 5"],
];

fn change_feeds() -> Vec<Example> {
    let ledger = |name, method: &str, rows| Example {
        name,
        flow: flow!("accounting_transactions").replace("\"REVERSE_REPLAY\" #", &format!("\"{method}\" #")),
        batches: ACCOUNTS,
        query: LEDGER,
        rows,
        python: false,
        sqlite_words: false,
    };
    vec![
        Example {
            name: "orders_change_feed",
            flow: flow!("orders_change_feed"),
            batches: [
                finds(
                    DAY_1,
                    &[(
                        "data/orders/orders_1.csv",
                        "order_id,customer_id,order_date,total_amount,status\n1,10,2024-01-01,100.00,open\n2,11,2024-01-01,50.00,open\n\
                         3,12,2024-01-02,70.00,open\n",
                    )],
                ),
                finds(
                    DAY_2,
                    &[(
                        "data/orders/orders_2.csv",
                        "order_id,customer_id,order_date,total_amount,status\n1,10,2024-01-01,100.00,open\n2,11,2024-01-01,55.00,open\n\
                         4,13,2024-01-03,20.00,open\n",
                    )],
                ),
            ],
            query: "SELECT xt_batch_id, order_id, xt_record_type, total_amount FROM orders_change_feed ORDER BY xt_batch_id, order_id",
            rows: [
                &["1 1 NEW 100", "1 2 NEW 50", "1 3 NEW 70"],
                &["1 1 NEW 100", "1 2 NEW 50", "1 3 NEW 70", "2 1 STALE 100", "2 2 CHANGED 55", "2 3 DELETED 70", "2 4 NEW 20"],
            ],
            python: false,
            sqlite_words: false,
        },
        ledger("accounting_transactions, replayed", "REVERSE_REPLAY", REPLAYED),
        ledger("accounting_transactions, corrected", "DELTA_CORRECTION", CORRECTED),
    ]
}

fn events() -> Vec<Example> {
    let growth = |name, period: &str, rows| Example {
        name,
        flow: flow!("user_growth").replace("period_type = \"daily\"", &format!("period_type = \"{period}\"")),
        batches: USERS,
        query: GROWTH,
        rows,
        python: false,
        sqlite_words: false,
    };
    let sessions = |name, limits: &str, rows| Example {
        name,
        flow: flow!("user_sessions").replace("session_timeout_seconds = 1800 # 30 minutes", limits),
        batches: EVENTS,
        query: SESSIONS,
        rows,
        python: false,
        sqlite_words: false,
    };
    let (timeout, gap) = ("session_timeout_seconds = 1800 # 30 minutes", "session_gap_threshold_seconds = 600 # 10 minutes");
    vec![
        growth(
            "user_growth, daily",
            "daily",
            [
                &["2024-01-01 2 0 0 2 2", "2024-01-31 1 1 0 0 2"],
                &[
                    "2024-01-01 2 0 0 2 2",
                    "2024-01-31 1 1 0 0 2",
                    "2024-02-28 0 0 1 1 1",
                    "2024-03-01 0 2 0 -2 0",
                    "2024-03-02 0 0 1 1 1",
                    "2024-03-29 0 1 0 -1 0",
                    "2024-03-31 1 0 0 1 1",
                ],
            ],
        ),
        growth(
            "user_growth, weekly",
            "weekly",
            [
                &["2024-01-01 2 0 0 2 2", "2024-01-29 1 1 0 0 2"],
                &["2024-01-01 2 0 0 2 2", "2024-01-29 1 1 0 0 2", "2024-02-26 0 2 2 0 2", "2024-03-25 1 1 0 0 1"],
            ],
        ),
        growth(
            "user_growth, monthly",
            "monthly",
            [&["2024-01-01 3 1 0 2 3"], &["2024-01-01 3 1 0 2 3", "2024-02-01 0 0 1 1 1", "2024-03-01 1 3 1 -1 2"]],
        ),
        sessions("user_sessions, timeout", timeout, [&["u1_1 2 1800", "u1_2 1 0", "u2_1 1 0"], &["u1_1 4 3601", "u2_1 1 0", "u2_2 1 0"]]),
        sessions("user_sessions, gap", gap, EACH_ALONE),
        sessions("user_sessions, both", &format!("{timeout}\n{gap}"), EACH_ALONE),
    ]
}

fn tasks() -> Vec<Example> {
    vec![
        Example {
            name: "task types: processed_data",
            flow: without_scripts(&flow!("task_types")),
            batches: PEOPLE,
            query: "SELECT id, name, email, created_at, xt_batch_id FROM processed_data ORDER BY id",
            rows: [
                &["1 Ada ADA@X.ORG 2024-01-01 1", "3 Cleo CLEO@X.ORG 2024-01-03 1"],
                &["1 Ada ADA@X.ORG 2024-01-01 1", "3 Cleo CLEO@X.ORG 2024-01-03 1", "4 Dora DORA@X.ORG 2024-01-04 2"],
            ],
            python: false,
            sqlite_words: false,
        },
        Example {
            name: "task types: final_data",
            flow: flow!("task_types"),
            batches: PEOPLE,
            query: "SELECT id, value, processed FROM final_data ORDER BY id",
            rows: [&["1 10 20", "3 30 60"], &["1 10 20", "3 30 60", "4 5 10"]],
            python: true,
            sqlite_words: false,
        },
        Example {
            name: "fan out, fan in",
            flow: flow!("fan_out_and_in"),
            batches: PEOPLE,
            query: "SELECT id, name FROM merged_data ORDER BY id",
            rows: [&["1 Ada", "2 Bert", "3 Cleo"], &["1 Ada", "2 Bert", "3 Cleo", "4 Dora", "5 Egon"]],
            python: false,
            sqlite_words: false,
        },
        Example {
            name: "join_data",
            flow: flow!("join_data"),
            batches: PEOPLE,
            query: "SELECT id, name, id_1, value FROM joined_data ORDER BY id",
            rows: [&["1 Ada 1 10", "3 Cleo 3 30"], &["1 Ada 1 10", "3 Cleo 3 30", "4 Dora 4 5"]],
            python: false,
            sqlite_words: false,
        },
        Example {
            name: "source_dataset()",
            flow: flow!("source_dataset_function"),
            batches: PEOPLE,
            query: "SELECT id, name, value FROM (SELECT id, name, value FROM joined_data UNION ALL SELECT n, NULL, NULL FROM counts) AS both_of_them \
                    ORDER BY id, COALESCE(name, '~')",
            rows: [&["1 Ada 10", "2 - -", "3 Cleo 30", "3 - -"], &["1 Ada 10", "3 Cleo 30", "3 - -", "4 Dora 5", "5 - -"]],
            python: false,
            sqlite_words: false,
        },
        Example {
            name: "custom_transform",
            flow: flow!("custom_transform"),
            batches: [
                finds(DAY_1, &[("data/input_1.csv", "id,value,status\n1,10,open\n2,4,open\n")]),
                finds(DAY_2, &[("data/input_2.csv", "id,value,status\n3,1,open\n")]),
            ],
            query: "SELECT id, value, status, execution_date FROM transformed_data ORDER BY id",
            rows: [
                &["1 25 active 2024-03-15", "2 10 active 2024-03-15"],
                &["1 25 active 2024-03-16", "2 10 active 2024-03-16", "3 2.5 active 2024-03-16"],
            ],
            python: true,
            sqlite_words: false,
        },
    ]
}

fn dated() -> Vec<Example> {
    const FIRST: &str = "1 2024-03-15 20240315 2024-03-15T10:20:30 20240315T102030 2024-03-14 2024-03-16 2024-03-14 2024-03-16 \
                 2024-03-15 10:20:30 2024 10 15.03.24 2024-03-15T10:20:30 ABabx";
    const SECOND: &str = "2 2024-03-16 20240316 2024-03-16T00:00:00 20240316T000000 2024-03-15 2024-03-17 2024-03-15 2024-03-17 \
                  2024-03-16 00:00:00 2024 0 16.03.24 2024-03-16T00:00:00 ABabx";
    vec![
        Example {
            name: "sql_pipeline",
            flow: flow!("sql_pipeline"),
            batches: [
                finds(
                    DAY_1,
                    &[(
                        "data/orders_1.csv",
                        "order_id,customer_id,order_date,amount,status\n1,10,2024-03-01,10.50,completed\n2,11,2024-03-01,20.00,completed\n\
                         3,12,2024-03-02,5.00,open\n4,12,2023-12-01,99.00,completed\n,13,2024-03-01,7.00,completed\n\
                         5,14,2024-03-02,0.00,completed\n",
                    )],
                ),
                finds(
                    DAY_2,
                    &[(
                        "data/orders_2.csv",
                        "order_id,customer_id,order_date,amount,status\n6,10,2024-03-01,8.00,completed\n7,11,2024-03-02,4.00,completed\n\
                         8,11,2024-03-02,6.00,completed\n",
                    )],
                ),
            ],
            query: "SELECT xt_batch_id, sale_date, order_count, total_sales, avg_order_value FROM TABLE ORDER BY xt_batch_id, sale_date",
            rows: [&["1 2024-03-01 2 30.5 15.25"], &["1 2024-03-01 2 30.5 15.25", "2 2024-03-01 1 8 8", "2 2024-03-02 2 10 5"]],
            python: false,
            sqlite_words: true,
        },
        Example {
            name: "filtered_query",
            flow: flow!("filtered_query"),
            batches: [
                finds(
                    DAY_1,
                    &[(
                        "data/input_1.csv",
                        "id,value,status,created_at\n1,250,active,2024-03-10\n2,150,active,2024-03-10\n3,300,closed,2024-03-10\n\
                         4,500,active,2024-01-01\n6,300,active,2024-02-14\n",
                    )],
                ),
                finds(DAY_2, &[("data/input_2.csv", "id,value,status,created_at\n5,201,active,2024-03-15\n")]),
            ],
            query: "SELECT id, value FROM filtered_data ORDER BY id",
            rows: [&["1 250", "6 300"], &["1 250", "5 201"]],
            python: false,
            sqlite_words: true,
        },
        Example {
            name: "daily_aggregation",
            flow: flow!("daily"),
            batches: [
                finds(
                    DAY_1,
                    &[
                        (
                            "data/input_1.csv",
                            "id,created_at,amount\n1,2024-03-15 08:00:00,10.00\n2,2024-03-15 23:59:59,5.50\n3,2024-03-14 12:00:00,1.00\n",
                        ),
                        ("data/input/20240315.csv", "id\n1\n"),
                    ],
                ),
                finds(
                    DAY_2,
                    &[
                        ("data/input_2.csv", "id,created_at,amount\n4,2024-03-16 00:00:00,4.00\n5,2024-03-15 09:00:00,9.00\n"),
                        ("data/input/20240316.csv", "id\n2\n3\n"),
                    ],
                ),
            ],
            query: "SELECT date, records, total, (SELECT COUNT(*) FROM daily_data) AS daily FROM daily_stats ORDER BY date",
            rows: [&["2024-03-15 2 15.5 1"], &["2024-03-15 2 15.5 3", "2024-03-16 1 4 3"]],
            python: false,
            sqlite_words: false,
        },
        Example {
            name: "the batch's now",
            flow: flow!("now"),
            batches: [finds("2024-03-15T10:20:30", &[("data/input_1.csv", "id\n1\n")]), finds(DAY_2, &[("data/input_2.csv", "id\n2\n")])],
            query: "SELECT id, today, earlier, later FROM moments ORDER BY id",
            rows: [&["1 2024-03-15 2024-01-15 2024-04-01"], &["1 2024-03-15 2024-01-15 2024-04-01", "2 2024-03-16 2024-01-16 2024-04-01"]],
            python: false,
            sqlite_words: true,
        },
        Example {
            name: "dates and filters",
            flow: flow!("dates"),
            batches: [finds("2024-03-15T10:20:30", &[("data/input_1.csv", "id\n1\n")]), finds(DAY_2, &[("data/input_2.csv", "id\n2\n")])],
            query: "SELECT id, days, moment, filters FROM dates ORDER BY id",
            rows: [&[FIRST], &[FIRST, SECOND]],
            python: false,
            sqlite_words: false,
        },
    ]
}

/// The flow without its tasks of Python.
fn without_scripts(flow: &str) -> String {
    let mut tasks: Vec<&str> = flow.split("[[tasks]]").collect();
    tasks.retain(|task| !task.contains("custom_script"));
    tasks.join("[[tasks]]")
}

/// A cell as it is compared: numbers by value, NULL as `-`.
fn cell(text: Option<String>) -> String {
    let Some(text) = text else { return "-".to_owned() };
    let is_number =
        text.contains('.') && text.bytes().enumerate().all(|(at, byte)| byte.is_ascii_digit() || byte == b'.' || (at == 0 && byte == b'-'));
    if is_number { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Runs every example on new projects of an engine, and prints a line for each batch. Without a Python those with scripts are
/// left out, which is said.
pub fn run(runtime: &Runtime, place: &dyn Fn() -> Place, python: Option<&Path>) {
    let mut wrong = Vec::new();
    for example in change_feeds().into_iter().chain(events()).chain(tasks()).chain(dated()) {
        let place = place();
        let engine = place.engine;
        if example.python && python.is_none() {
            println!("{:<36} {engine:<12} left out: there is no Python with pandas", example.name);
            continue;
        }
        let settings = match python {
            Some(python) => format!("[python]\ninterpreter = \"{}\"\n{}", python.display(), place.settings),
            None => place.settings.clone(),
        };
        let project = TestProject::new(Place { settings, ..place }, &example.flow);
        let steps = [Some(&example.batches[0]), Some(&example.batches[1]), None];
        for (index, batch) in steps.into_iter().enumerate() {
            let found = runtime.block_on(execute(&project, &example, i64::try_from(index + 1).unwrap(), batch));
            let expected = example.rows[index.min(1)];
            let is_foreign = example.sqlite_words && !["datafusion", "sqlite", "postgres"].contains(&engine);
            let said = match &found {
                Err(why) if is_foreign && why.contains("flows/flow.toml:") => format!("right: refused, {why}"),
                Ok(rows) if is_foreign => format!("WRONG: {rows:?}, of SQL that it does not know"),
                Ok(rows) if rows == expected => format!("right: {} rows", rows.len()),
                Ok(rows) => format!("WRONG: {rows:?}, not {expected:?}"),
                Err(why) => format!("FAILED: {why}"),
            };
            let step = if batch.is_some() { format!("batch {}", index + 1) } else { "refreshed".to_owned() };
            println!("{:<36} {engine:<12} {step:<10} {said}", example.name);
            if !said.starts_with("right") {
                wrong.push(format!("{} on {engine}, {step}: {said}", example.name));
            }
            if found.is_err() || !said.starts_with("right") {
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Executes a batch, or derives all again, on a day that is none of theirs; what the flow says then.
async fn execute(project: &TestProject, example: &Example, batch_id: i64, batch: Option<&Batch>) -> Result<Vec<String>, String> {
    let mut request = Request { full_refresh: batch.is_none(), ..Request::default() };
    if let Some(batch) = batch {
        let mut inputs = Vec::new();
        for (name, text) in batch.files {
            let path = project.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(project.folder.path())).unwrap();
            fs::write(&path, text).unwrap();
            inputs.push(path);
        }
        let time = if batch.date.contains('T') { "" } else { "T00:00:00" };
        let date = chrono::DateTime::parse_from_rfc3339(&format!("{}{time}Z", batch.date)).unwrap();
        request.execution_date = Some(date.timestamp_micros());
        if batch.named {
            (request.batch_id, request.inputs) = (Some(batch_id), inputs);
        }
    }
    let report = project.execute(&request).await.map_err(|error| error.to_string())?;
    errors(&report)?;
    let done = report.flows[0].batches.iter().map(|batch| batch.batch_id);
    if done.ne(batch.map(|_| batch_id)) {
        return Err(format!("{report:?}"));
    }
    let flow = project.flow();
    let dataset = match example.name {
        name if name.starts_with("user_growth") => "user_growth_growth_summary",
        _ => "daily_sales",
    };
    let table = project.engine.table(&qetl_core::DatasetName { namespace: flow.namespace().to_owned(), name: dataset.to_owned() });
    let rows = project.asked(&example.query.replace("TABLE", &table)).await.map_err(|error| error.to_string())?;
    Ok(rows.into_iter().map(|row| row.into_iter().map(cell).collect::<Vec<_>>().join(" ")).collect())
}

fn errors(report: &RunReport) -> Result<(), String> {
    let flow = &report.flows[0];
    let error = flow.error.as_ref().or(flow.batches.iter().find_map(|batch| batch.error.as_ref()));
    error.map_or(Ok(()), |error| Err(format!("{} ({})", error.message, error.help)))
}
