//! The flow type scd2: random histories against a reference model, and the worked example from the command line.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::{strategy::Strategy, test_runner::TestCaseError};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};

use crate::{
    cli::Cli,
    oracle::{Row, Value},
    project::{TestProject, TextRow, most_deleted},
    properties::{cases, equal, search, text},
};
use qetl_test_models::scd2::{
    history::{Arrival, History, flow_toml, history},
    model::{Model, Outcome, Reason, Version},
};

#[test]
fn datafusion_is_as_the_model_says() {
    search("scd2", || history().boxed(), told, on_datafusion);
    assert!(cases() < 50 || DELETE_FILES.load(Ordering::Relaxed) > 0, "no row was deleted by its place");
}

/// How many files of deletes the histories have made.
static DELETE_FILES: AtomicUsize = AtomicUsize::new(0);

fn told(history: &History) -> String {
    format!("flow:\n{}\narrivals: {:#?}", flow_toml(&history.options), history.arrivals)
}

fn on_datafusion(runtime: &tokio::runtime::Runtime, history: &History) -> Result<(), TestCaseError> {
    let threads = 1 + history.arrivals.len() % 3;
    let project = TestProject::with_deletes(&flow_toml(&history.options), threads, most_deleted(history.arrivals.len() / 3));
    let mut model = Model::new(history.options.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            arrive(&project, &mut model, index, arrival).await?;
        }
        compare_tables(&project, &model).await?;
        project.verified().await.map_err(TestCaseError::fail)?;
        if !model.executed.is_empty() {
            DELETE_FILES.fetch_add(project.delete_files(), Ordering::Relaxed);
        }
        // Deriving everything again changes nothing.
        let refresh = Request { full_refresh: true, ..Request::default() };
        project.execute(&refresh).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
        compare_tables(&project, &model).await
    })
}

async fn arrive(project: &TestProject, model: &mut Model, index: usize, arrival: &Arrival) -> Result<(), TestCaseError> {
    let batch = &arrival.batch;
    let execution_date = arrival.execution_date(model.executed.contains_key(&batch.batch_id));
    let inputs = project.write(&format!("arrival_{index}"), &batch.csv(&model.options.feed.columns));
    let request =
        Request { batch_id: Some(batch.batch_id), inputs, execution_date, accept_guards: batch.accept_guards, ..Request::default() };
    let report = project.execute(&request).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let expected = model.execute(batch.batch_id, &batch.rows, execution_date, batch.accept_guards);
    compare_outcome(&report, &expected)
        .map_err(|why| TestCaseError::fail(format!("arrival {index} (batch {}): {why}\nwith {:?}", batch.batch_id, model.options)))
}

fn compare_outcome(report: &RunReport, expected: &Outcome) -> Result<(), String> {
    let flow = &report.flows[0];
    let batch = flow.batches.first().ok_or_else(|| format!("no batch: {:?}", flow.error))?;
    let message = batch.error.as_ref().map_or("", |error| error.message.as_str());
    let fits = match expected {
        Outcome::Unchanged => batch.status == Status::Unchanged,
        Outcome::Succeeded { derived_again } => batch.status == Status::Succeeded && batch.derived_again == *derived_again,
        Outcome::Rejected(reason) => {
            let words = match reason {
                Reason::NullKey => "NULL",
                Reason::ExecutionTime => "execution time",
                Reason::EmptySnapshot => "the snapshot is empty",
                Reason::DuplicateKey => "rows of one key differ",
                Reason::DeleteRatio => "max_delete_ratio",
            };
            batch.status == Status::Rejected && message.contains(words)
        }
    };
    if fits { Ok(()) } else { Err(format!("expected {expected:?}, found {batch:?}")) }
}

async fn compare_tables(project: &TestProject, model: &Model) -> Result<(), TestCaseError> {
    if model.executed.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = model.options.feed.columns.iter().map(|column| format!("\"{}\"", column.name.replace('"', "\"\""))).collect();
    let row = |row: &Row, more: Vec<Option<String>>| row.iter().map(text).chain(more).collect::<TextRow>();
    let number = |number: i64| Some(number.to_string());
    let version = |found: &Version| {
        let (to, is_current) = (found.to.as_ref().and_then(text), found.to.is_none());
        let processed_at = text(&Value::Timestamp(found.processed_at));
        let more = [number(found.version), text(&found.from), to, Some(is_current.to_string()), number(found.batch_id), processed_at];
        row(&found.row, more.to_vec())
    };
    let versions = model.versions().iter().map(version).collect();
    let columns = "xt_version, xt_effective_from, xt_effective_to, xt_is_current, xt_batch_id, xt_processed_at";
    let mut tables: Vec<(&str, &str, Vec<TextRow>)> = vec![("h_scd2", columns, versions)];
    let landing = model.feed.landing().iter().map(|(values, batch)| row(values, vec![number(*batch)])).collect();
    tables.push(("h_landing", "xt_batch_id", landing));
    if model.options.feed.parks() {
        let parked = |(values, reason, batch): &(Row, &str, i64)| row(values, vec![Some((*reason).to_owned()), number(*batch)]);
        tables.push(("h_parked", "xt_parked_reason, xt_batch_id", model.parked().iter().map(parked).collect()));
    }
    for (dataset, columns, mut expected) in tables {
        expected.sort();
        let found = project.rows(&format!("SELECT {}, {columns} FROM {dataset}", names.join(", "))).await;
        equal(dataset, &found, &expected)?;
    }
    Ok(())
}

/// Customers of a project, a snapshot a day of January 2024; the day is the batch id.
struct Customers {
    cli: Cli,
    has_times: bool,
}

impl Customers {
    /// With `has_times`, a row takes effect at its `since`.
    fn new(has_times: bool, properties: &str) -> Self {
        let (column, property) = match has_times {
            true => (", { name = \"since\", schema_type = \"date\" }", "effective_date_column = \"since\""),
            false => ("", ""),
        };
        let cli = Cli::empty();
        cli.write(
            "flows/customers.toml",
            &format!(
                "id = \"customers\"\nflow_type = \"scd2\"\n\n[input]\nprimary_key = [\"id\"]\n\
                 columns = [\"id\", {{ name = \"v\", schema_type = \"integer\" }}{column}]\n\n[properties]\n{property}\n{properties}\n\n\
                 [properties.load]\nsource_path = \"data\"\nfile_pattern = \"*.csv\"\nbatch_id_from = 'customers_(\\d+)'\n"
            ),
        );
        Self { cli, has_times }
    }

    /// Writes the file of a day; each row is a key, `v`, and the day that it takes effect.
    fn write(&self, day: u8, rows: &[(&str, i64, u8)]) {
        let header = if self.has_times { "id,v,since\n" } else { "id,v\n" };
        let row = |(id, v, since): &(&str, i64, u8)| {
            let since = if self.has_times { format!(",2024-01-{since:02}") } else { String::new() };
            format!("{id},{v}{since}\n")
        };
        self.cli.write(&format!("data/customers_{day}.csv"), &(header.to_owned() + &rows.iter().map(row).collect::<String>()));
    }

    fn execute(&self, day: u8) {
        self.cli.ok(&["execute", "--execution-date", &format!("2024-01-{day:02}")]);
    }

    /// The versions of `K`, a line each, without the header.
    fn versions(&self) -> Vec<String> {
        let columns = "v, xt_version, xt_effective_from, xt_effective_to, xt_is_current, xt_batch_id";
        let found = self.cli.query(&format!("SELECT {columns} FROM customers_scd2 WHERE id = 'K' ORDER BY xt_version"));
        found.lines().skip(1).map(|line| line.replace("T00:00:00.000000Z", "")).collect()
    }
}

/// `K` on the days 1 to 5; it is absent on the 4th.
const EXAMPLE: [Option<i64>; 5] = [Some(1), Some(1), Some(2), None, Some(2)];
const EXAMPLE_VERSIONS: [&str; 3] = ["1,1,2024-01-01,2024-01-03,false,1", "2,2,2024-01-03,2024-01-04,false,3", "2,3,2024-01-05,,true,5"];

fn example(customers: &Customers, day: u8) {
    let k = EXAMPLE[usize::from(day) - 1].map(|v| ("K", v, day));
    customers.write(day, &[Some(("L", 7, day)), k].into_iter().flatten().collect::<Vec<_>>());
    customers.execute(day);
}

#[test]
fn the_worked_example_comes_out_in_every_order() {
    for has_times in [true, false] {
        for order in [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [3, 1, 5, 2, 4]] {
            let customers = Customers::new(has_times, "");
            for day in order {
                example(&customers, day);
            }
            assert_eq!(customers.versions(), EXAMPLE_VERSIONS, "{has_times} {order:?}");
            customers.cli.ok(&["execute", "--full-refresh"]);
            assert_eq!(customers.versions(), EXAMPLE_VERSIONS, "{has_times} {order:?}, refreshed");
        }
    }
}

#[test]
fn ignored_deletions_close_nothing() {
    let customers = Customers::new(true, "on_delete = \"ignore\"");
    (1..=5).for_each(|day| example(&customers, day));
    assert_eq!(customers.versions(), ["1,1,2024-01-01,2024-01-03,false,1", "2,2,2024-01-03,,true,3"]);
}

#[test]
fn a_late_effective_time_splits_an_interval() {
    let customers = Customers::new(true, "");
    for (day, v, since) in [(1, 1, 1), (2, 2, 9), (3, 3, 5)] {
        customers.write(day, &[("K", v, since)]);
        customers.execute(day);
    }
    assert_eq!(customers.versions(), ["1,1,2024-01-01,2024-01-05,false,1", "3,2,2024-01-05,2024-01-09,false,3", "2,3,2024-01-09,,true,2"]);
}

#[test]
fn without_effective_times_a_late_batch_needs_a_time_between_its_neighbours() {
    let customers = Customers::new(false, "");
    for day in [1, 3] {
        example(&customers, day);
    }
    let before = customers.versions();
    customers.write(2, &[("K", 9, 2)]);
    for more in [&[] as &[&str], &["--execution-date", "2024-01-03"], &["--execution-date", "2023-12-31"]] {
        let refused = customers.cli.run(&[&["execute"], more].concat());
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.stderr.contains("batch 2") && refused.stderr.contains("--execution-date"), "{refused:?}");
        assert_eq!(customers.versions(), before);
    }
    customers.execute(2);
    assert_eq!(customers.versions(), ["1,1,2024-01-01,2024-01-02,false,1", "9,2,2024-01-02,2024-01-03,false,2", "2,3,2024-01-03,,true,3"]);
    // A replay keeps its recorded time.
    customers.cli.write("late.csv", "id,v\nK,8\n");
    customers.cli.ok(&["execute", "--batch-id", "2", "--input", "late.csv"]);
    assert_eq!(customers.versions()[1], "8,2,2024-01-02,2024-01-03,false,2");
}

#[test]
fn the_columns_stand_in_their_order() {
    let customers = Customers::new(true, "type1_columns = [\"v\"]");
    example(&customers, 1);
    assert_eq!(
        customers.cli.query("SELECT * FROM customers_scd2 LIMIT 0"),
        "id,v,since,xt_version,xt_effective_from,xt_effective_to,xt_is_current,xt_batch_id,xt_processed_at\n"
    );
}
