//! Growth accounting, executed: random lives against the reference model, and the specification's examples from the command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    cli::Cli,
    histories::Arrival,
    oracle::{Column, OnNullKey, Row},
    project::{TestProject, TextRow},
};
use qetl_test_models::growth::{
    DAILY, DAILY_WITH_LATE_EVENT, Example, MONTHLY, WEEKLY,
    history::{History, Split, flow_toml, history, split},
    model::{Model, Options, Outcome, Reason},
};

/// How many cases each test tries; the splits a quarter of them.
fn cases() -> u32 {
    std::env::var("QETL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[test]
fn datafusion_is_as_the_model_says() {
    search(history, cases(), as_the_model_says);
}

#[test]
fn where_batches_are_cut_does_not_matter() {
    search(split, cases().div_ceil(4), same_however_cut);
}

/// Tries random cases on two threads; the smallest one that fails is told.
fn search<S>(strategy: fn() -> S, cases: u32, check: fn(&Runtime, &S::Value) -> Result<(), TestCaseError>)
where
    S: Strategy,
    S::Value: Debug,
{
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                let config = Config {
                    cases: cases.div_ceil(2),
                    max_shrink_iters: std::env::var("QETL_SHRINK").ok().and_then(|text| text.parse().ok()).unwrap_or(400),
                    failure_persistence: None,
                    ..Config::default()
                };
                match TestRunner::new(config).run(&strategy(), |case| check(&runtime, &case)) {
                    Ok(()) => (),
                    Err(TestError::Fail(why, case)) => panic!("{why}\n{case:#?}"),
                    Err(TestError::Abort(why)) => panic!("{why}"),
                }
            });
        }
    });
}

fn as_the_model_says(runtime: &Runtime, history: &History) -> Result<(), TestCaseError> {
    let project = project(&history.options, history.arrivals.len());
    let mut model = Model::new(history.options.clone());
    let run = async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let report = execute(&project, arrival, &history.options.columns, index).await?;
            compare_outcome(&report, model.execute(arrival.batch_id, &arrival.rows))
                .map_err(|why| format!("arrival {index} (batch {}): {why}", arrival.batch_id))?;
            if history.look_often {
                compare_tables(&project, &model).await.map_err(|why| format!("after arrival {index}: {why}"))?;
            }
        }
        compare_tables(&project, &model).await?;
        project.verified().await?;
        let refresh = Request { full_refresh: true, ..Request::default() };
        project.execute(&refresh).await.map_err(|error| error.to_string())?;
        compare_tables(&project, &model).await.map_err(|why| format!("after a full refresh: {why}"))
    };
    runtime.block_on(run).map_err(|why| told(&why, &history.options))
}

fn same_however_cut(runtime: &Runtime, split: &Split) -> Result<(), TestCaseError> {
    let Split { options, whole, parts } = split;
    let run = async {
        let one = project(options, 0);
        let report = execute(&one, whole, &options.columns, 0).await?;
        compare_outcome(&report, Outcome::Succeeded)?;
        let several = project(options, parts.len());
        for (index, part) in parts.iter().enumerate() {
            let report = execute(&several, part, &options.columns, index).await?;
            compare_outcome(&report, Outcome::Succeeded)?;
        }
        let (one, several) = (tables(&one).await, tables(&several).await);
        one.iter().try_for_each(|(dataset, rows)| equal(dataset, &several[dataset], rows))
    };
    runtime.block_on(run).map_err(|why| told(&why, options))
}

fn told(why: &str, options: &Options) -> TestCaseError {
    TestCaseError::fail(format!("{why}\nflow:\n{}", flow_toml(options)))
}

fn project(options: &Options, count: usize) -> TestProject {
    TestProject::new(&flow_toml(options), &format!("[engine]\nthreads = {}\n", 1 + count % 3))
}

async fn execute(project: &TestProject, arrival: &Arrival, columns: &[Column], index: usize) -> Result<RunReport, String> {
    let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(columns));
    let request = Request { batch_id: Some(arrival.batch_id), inputs, ..Request::default() };
    project.execute(&request).await.map_err(|error| error.to_string())
}

fn compare_outcome(report: &RunReport, expected: Outcome) -> Result<(), String> {
    let flow = &report.flows[0];
    let batch = flow.batches.first().ok_or_else(|| format!("no batch: {:?}", flow.error))?;
    let message = batch.error.as_ref().map_or("", |error| error.message.as_str());
    let fits = match expected {
        Outcome::Succeeded => batch.status == Status::Succeeded,
        Outcome::Unchanged => batch.status == Status::Unchanged,
        Outcome::Rejected(Reason::NullKey) => batch.status == Status::Rejected && message.contains("NULL"),
        Outcome::Rejected(Reason::TooManyPeriods) => batch.status == Status::Rejected && message.contains("max_periods"),
    };
    if fits { Ok(()) } else { Err(format!("expected {expected:?}, found {batch:?}")) }
}

type Tables = BTreeMap<&'static str, Vec<TextRow>>;

const DATASETS: [&str; 5] = ["activity_periods", "acquisitions", "churn", "resurrections", "growth_summary"];

/// The five datasets, with all columns that they have.
async fn tables(project: &TestProject) -> Tables {
    let mut tables = Tables::new();
    for dataset in DATASETS {
        tables.insert(dataset, project.rows(&format!("SELECT * FROM h_{dataset}")).await);
    }
    tables
}

async fn compare_tables(project: &TestProject, model: &Model) -> Result<(), String> {
    if model.batches.is_empty() {
        return Ok(());
    }
    let found = tables(project).await;
    for (dataset, rows) in model.growth().tables() {
        equal(dataset, &found[dataset], &rows)?;
    }
    check_invariants(&found)?;
    let names: Vec<String> = model.options.columns.iter().map(|column| format!("\"{}\"", column.name.replace('"', "\"\""))).collect();
    let mut landed = vec![("landing", model.landing())];
    if model.options.on_null_key == OnNullKey::Park {
        landed.push(("parked", model.parked()));
    }
    for (dataset, rows) in landed {
        let found = project.rows(&format!("SELECT {}, xt_batch_id FROM h_{dataset}", names.join(", "))).await;
        equal(dataset, &found, &landed_texts(&rows))?;
    }
    Ok(())
}

fn landed_texts(rows: &[(Row, i64)]) -> Vec<TextRow> {
    let text = |(row, batch): &(Row, i64)| {
        let cells = row.iter().map(|value| (*value != crate::oracle::Value::Null).then(|| value.text()));
        cells.chain([Some(batch.to_string())]).collect()
    };
    let mut rows: Vec<TextRow> = rows.iter().map(text).collect();
    rows.sort();
    rows
}

fn equal(dataset: &str, found: &[TextRow], expected: &[TextRow]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let list = |rows: &[TextRow]| rows.iter().map(|row| format!("\n    {row:?}")).collect::<String>();
    let only = |a: &[TextRow], b: &[TextRow]| list(&a.iter().filter(|row| !b.contains(row)).cloned().collect::<Vec<_>>());
    Err(format!(
        "`{dataset}` differs: {} rows, {} expected\n  too much:{}\n  missing:{}",
        found.len(),
        expected.len(),
        only(found, expected),
        only(expected, found)
    ))
}

/// What holds of the five datasets whatever the events are. ISO dates of equal length sort as texts.
fn check_invariants(tables: &Tables) -> Result<(), String> {
    let column = |dataset: &str, at: usize| -> Vec<String> {
        tables[dataset].iter().map(|row| row[at].clone().unwrap_or_else(|| unreachable!("{dataset} has a NULL"))).collect()
    };
    let pairs = |dataset: &str, one: usize, other: usize| column(dataset, one).into_iter().zip(column(dataset, other));
    let activity: Vec<(String, String)> = pairs("activity_periods", 1, 0).collect();
    let acquired: Vec<(String, String)> = pairs("acquisitions", 0, 1).collect();
    // A churn is known by its user and its date; the return from it has both.
    let churned: Vec<(String, (String, String))> = column("churn", 0).into_iter().zip(pairs("churn", 1, 3)).collect();
    let returned: Vec<(String, (String, String))> = column("resurrections", 0).into_iter().zip(pairs("resurrections", 1, 2)).collect();
    let mut before = 0;
    for row in &tables["growth_summary"] {
        let period = row[0].as_deref().unwrap_or_default();
        let number = |at: usize| row[at].as_deref().and_then(|text| text.parse::<usize>().ok());
        let signed = |at: usize| row[at].as_deref().and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| format!("{row:?}"));
        let within = |day: &str| day == period;
        let (net, base) = (signed(4)?, signed(6)?);
        let counts = [
            (1, acquired.iter().filter(|(day, _)| within(day)).count()),
            (2, churned.iter().filter(|(day, _)| within(day)).count()),
            (3, returned.iter().filter(|(day, _)| within(day)).count()),
            (5, activity.iter().filter(|(day, _)| within(day)).count()),
        ];
        let ever: BTreeSet<&str> = activity.iter().filter(|(day, _)| day.as_str() <= period).map(|(_, user)| user.as_str()).collect();
        let is_back = |churn: &(String, String)| returned.iter().any(|(day, from)| day.as_str() <= period && from == churn);
        let away: BTreeSet<&str> =
            churned.iter().filter(|(day, churn)| day.as_str() <= period && !is_back(churn)).map(|(_, (user, _))| user.as_str()).collect();
        let rules = [
            ("each count is that of its dataset", counts.iter().all(|(at, count)| number(*at) == Some(*count))),
            ("net_growth = acquisitions - churn + resurrections", net == signed(1)? - signed(2)? + signed(3)?),
            ("user_base is the running sum of net_growth", base == before + net),
            ("user_base >= 0", base >= 0),
            ("user_base = users ever - users churned now", base == ever.len() as i64 - away.len() as i64),
        ];
        if let Some((rule, _)) = rules.iter().find(|(_, holds)| !holds) {
            return Err(format!("{rule}: not in {row:?}"));
        }
        before = base;
    }
    // All periods but the last one are over.
    let finals: Vec<String> = column("growth_summary", 7);
    match finals.iter().rev().skip(1).all(|text| text == "true") {
        true => Ok(()),
        false => Err(format!("a period before the last is not final: {finals:?}")),
    }
}

fn flow(id: &str, input: &str, properties: &str) -> Cli {
    let cli = Cli::empty();
    let header = format!("id = \"{id}\"\nname = \"Growth\"\nflow_type = \"growth_accounting\"\n");
    cli.write(&format!("flows/{id}.toml"), &format!("{header}\n[input]\n{input}\n\n[properties]\n{properties}\n"));
    cli
}

const TWO_COLUMNS: &str = "columns = [\n    { name = \"user_id\", schema_type = \"string\" },\n    \
                           { name = \"timestamp\", schema_type = \"timestamp\" },\n]";

/// Executes a batch of lines `user,time`.
fn execute_events(cli: &Cli, batch: &str, lines: &[String]) {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    cli.write(&format!("inbox/events_{batch}.csv"), &format!("user_id,timestamp\n{lines}"));
    cli.ok(&["execute", "--batch-id", batch, "--input", &format!("inbox/events_{batch}.csv")]);
}

fn summary_is(cli: &Cli, example: &Example) {
    let header = "period,acquisitions,churn,resurrections,net_growth,active_users,user_base,is_final\n";
    let lines: String = example.summary.iter().map(|line| line.replace(": ", ",").replace(' ', ",") + ",true\n").collect();
    assert_eq!(cli.query("SELECT * FROM growth_growth_summary ORDER BY period"), format!("{header}{lines}"));
}

#[test]
fn the_worked_examples_come_out_cell_by_cell() {
    for example in [DAILY, WEEKLY, MONTHLY] {
        let Example { period_type, churn_threshold_days, as_of, .. } = example;
        let period_type = period_type.name();
        let properties = format!("period_type = \"{period_type}\"\nchurn_threshold_days = {churn_threshold_days}\nas_of = \"{as_of}\"");
        let cli = flow("growth", TWO_COLUMNS, &properties);
        let events: Vec<String> = example.rows().map(|(user, day)| format!("{user},{day}T08:15:00Z")).collect();
        execute_events(&cli, "2", &events);
        summary_is(&cli, &example);
        if example.summary == DAILY.summary {
            let returned = "SELECT * FROM growth_resurrections";
            let expected = "period,user_id,churn_date,return_date,days_inactive\n2024-01-08,u1,2024-01-07,2024-01-08,4\n";
            assert_eq!(cli.query(returned), expected);
            // Late twice over: its day is past, and so is its batch.
            execute_events(&cli, "1", &["u2,2024-01-03T00:00:00Z".to_owned()]);
            summary_is(&cli, &DAILY_WITH_LATE_EVENT);
            cli.ok(&["execute", "--full-refresh"]);
            summary_is(&cli, &DAILY_WITH_LATE_EVENT);
        }
    }
}

#[test]
fn user_growth_is_loaded_by_hand() {
    let columns = TWO_COLUMNS.replace("\n]", "\n    { name = \"event_type\", schema_type = \"string\" },\n]");
    let input = format!("primary_key = [\"user_id\", \"timestamp\"]\n{columns}");
    let cli = flow("user_growth", &input, "period_type = \"daily\"\nchurn_threshold_days = 30");
    cli.ok(&["check"]);
    let execute = |batch: &str, lines: &[&str]| {
        let file = format!("inbox/batch_{batch}.csv");
        cli.write(&file, &format!("user_id,timestamp,event_type\n{}\n", lines.join("\n")));
        cli.ok(&["execute", "--batch-id", batch, "--input", &file])
    };
    let january = ["alice,2024-01-01T09:00:00Z,login", "bob,2024-01-01T10:00:00Z,login", "alice,2024-01-01T18:30:00Z,view"];
    execute("1", &january);
    let is = |expected: &[(&str, &str)]| {
        for (dataset, rows) in expected {
            assert_eq!(cli.query(&format!("SELECT * FROM user_growth_{dataset} ORDER BY 1, 2")), *rows, "{dataset}");
        }
    };
    let summary = "period,acquisitions,churn,resurrections,net_growth,active_users,user_base,is_final\n2024-01-01,2,0,0,2,2,2,true\n";
    is(&[("growth_summary", summary), ("churn", "period,user_id,last_activity_date,churn_date\n")]);

    // The same key again is no second event.
    execute("2", &["alice,2024-01-01T09:00:00Z,again", "alice,2024-01-10T23:59:59.999999Z,view", "bob,2024-02-15T00:00:00Z,login"]);
    let all = [
        (
            "activity_periods",
            "user_id,period,activity_count,first_activity_at,last_activity_at\n\
             alice,2024-01-01,2,2024-01-01T09:00:00.000000Z,2024-01-01T18:30:00.000000Z\n\
             alice,2024-01-10,1,2024-01-10T23:59:59.999999Z,2024-01-10T23:59:59.999999Z\n\
             bob,2024-01-01,1,2024-01-01T10:00:00.000000Z,2024-01-01T10:00:00.000000Z\n\
             bob,2024-02-15,1,2024-02-15T00:00:00.000000Z,2024-02-15T00:00:00.000000Z\n",
        ),
        (
            "acquisitions",
            "period,user_id,first_activity_at\n\
             2024-01-01,alice,2024-01-01T09:00:00.000000Z\n2024-01-01,bob,2024-01-01T10:00:00.000000Z\n",
        ),
        (
            "churn",
            "period,user_id,last_activity_date,churn_date\n\
             2024-01-31,bob,2024-01-01,2024-01-31\n2024-02-09,alice,2024-01-10,2024-02-09\n",
        ),
        ("resurrections", "period,user_id,churn_date,return_date,days_inactive\n2024-02-15,bob,2024-01-31,2024-02-15,45\n"),
    ];
    is(&all);
    let moved = "SELECT * FROM user_growth_growth_summary WHERE acquisitions + churn + resurrections > 0 ORDER BY period";
    let rows = "2024-01-31,0,1,0,-1,0,1,true\n2024-02-09,0,1,0,-1,0,0,true\n2024-02-15,0,0,1,1,1,1,true\n";
    assert_eq!(cli.query(moved), format!("{summary}{rows}"));
    assert_eq!(cli.query("SELECT count(*) AS n FROM user_growth_growth_summary"), "n\n46\n");
    assert_eq!(cli.query("SELECT count(*) AS n FROM user_growth_landing"), "n\n6\n");

    assert!(execute("1", &january).contains("batch 1: unchanged"));
    cli.ok(&["execute", "--full-refresh"]);
    is(&all);
    // Without its last event the second batch takes `as_of` back.
    execute("2", &["alice,2024-01-10T23:59:59.999999Z,view"]);
    assert_eq!(cli.query("SELECT max(period) AS day, count(*) AS n FROM user_growth_growth_summary"), "day,n\n2024-01-10,10\n");
    is(&[("churn", "period,user_id,last_activity_date,churn_date\n")]);
}

#[test]
fn users_without_events_churn_and_no_longer_as_as_of_moves() {
    for period in ["daily", "weekly", "monthly"] {
        let cli = flow("growth", TWO_COLUMNS, &format!("period_type = \"{period}\"\nchurn_threshold_days = 10"));
        let is = |expected: &[&str]| {
            let rows: String = expected.iter().map(|row| format!("{row}\n")).collect();
            let found = cli.query("SELECT user_id, churn_date FROM growth_churn ORDER BY user_id, churn_date");
            assert_eq!(found, format!("user_id,churn_date\n{rows}"), "{period}");
        };
        let execute = |batch: &str, events: &[(&str, &str)]| {
            let lines: Vec<String> = events.iter().map(|(user, day)| format!("{user},2024-{day}T12:00:00Z")).collect();
            execute_events(&cli, batch, &lines);
        };
        execute("1", &[("u1", "01-01"), ("u2", "01-05")]);
        is(&[]);
        execute("2", &[("u3", "01-28")]);
        is(&["u1,2024-01-11", "u2,2024-01-15"]);
        // Back within the month, then to where nobody is churned, and on again.
        execute("2", &[("u3", "01-12")]);
        is(&["u1,2024-01-11"]);
        execute("2", &[("u3", "01-10")]);
        is(&[]);
        execute("2", &[("u3", "01-15")]);
        is(&["u1,2024-01-11", "u2,2024-01-15"]);
        execute("3", &[("u1", "02-20")]);
        is(&["u1,2024-01-11", "u2,2024-01-15", "u3,2024-01-25"]);
        execute("3", &[]);
        is(&["u1,2024-01-11", "u2,2024-01-15"]);
    }
}

#[test]
fn nothing_to_count_makes_tables_without_rows() {
    for properties in ["period_type = \"daily\"", "period_type = \"daily\"\nas_of = \"2023-12-31\""] {
        let cli = flow("growth", TWO_COLUMNS, properties);
        let counts = || DATASETS.map(|dataset| cli.query(&format!("SELECT count(*) AS n FROM growth_{dataset}")));
        cli.write("inbox/empty.csv", "user_id,timestamp\n");
        cli.ok(&["execute", "--batch-id", "1", "--input", "inbox/empty.csv"]);
        assert_eq!(counts(), ["n\n0\n"; 5], "{properties}");
        execute_events(&cli, "2", &["u1,2024-01-01T00:00:00Z".to_owned()]);
        assert_eq!(counts()[4], if properties.contains("as_of") { "n\n0\n" } else { "n\n1\n" });
    }
}

#[test]
fn a_mistyped_year_is_refused_by_the_event_that_has_it() {
    for (wrong, day) in [("typo,9024-01-02T00:00:00Z", "9024-01-02"), ("typo,1024-01-02T00:00:00Z", "1024-01-02")] {
        let cli = flow("growth", TWO_COLUMNS, "period_type = \"daily\"");
        execute_events(&cli, "1", &["u1,2024-01-01T00:00:00Z".to_owned(), "u2,2024-01-02T00:00:00Z".to_owned()]);
        let all = "SELECT * FROM growth_growth_summary ORDER BY period";
        let before = cli.query(all);
        cli.write("inbox/wrong.csv", &format!("user_id,timestamp\nu1,2024-01-03T00:00:00Z\n{wrong}\n"));
        let refused = cli.run(&["execute", "--batch-id", "2", "--input", "inbox/wrong.csv"]);
        assert_eq!(refused.code, 3, "{refused:?}");
        for told in ["batch 2", "typo", day, "max_periods"] {
            assert!(refused.stderr.contains(told), "{told}: {refused:?}");
        }
        assert_eq!((cli.query(all), cli.query("SELECT count(*) AS n FROM growth_landing")), (before, "n\n2\n".to_owned()));
        execute_events(&cli, "2", &["u1,2024-01-03T00:00:00Z".to_owned()]);
        assert_eq!(cli.query("SELECT count(*) AS n FROM growth_growth_summary"), "n\n3\n");
    }
}
