//! The flow type scd2 from the command line: the worked example.

use crate::cli::Cli;

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
