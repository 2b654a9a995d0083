//! Growth accounting from the command line: the specification's examples.

use std::collections::{BTreeMap, BTreeSet};

use qetl_test_harness::{growth::SEARCH, search::failed};
use qetl_test_models::{
    growth::{
        DAILY, DAILY_WITH_LATE_EVENT, Example, MONTHLY, MONTHLY_BY_PERIOD, WEEKLY,
        model::{ChurnRule, Model},
    },
    text::TextRow,
};

use crate::cli::Cli;

#[test]
fn the_model_counts_as_the_rules_say() {
    SEARCH.each(100, |_, history| {
        let mut model = Model::new(history.options.clone());
        for arrival in &history.arrivals {
            model.execute(arrival.batch_id, &arrival.rows);
        }
        check_invariants(&model.growth().tables().into_iter().collect()).map_err(failed)
    });
}

type Tables = BTreeMap<&'static str, Vec<TextRow>>;

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
    let lines: String = example.cells().map(|cells| cells.join(",") + "\n").collect();
    assert_eq!(cli.query("SELECT * FROM growth_growth_summary ORDER BY period"), format!("{header}{lines}"));
}

#[test]
fn the_worked_examples_come_out_cell_by_cell() {
    for example in [DAILY, WEEKLY, MONTHLY, MONTHLY_BY_PERIOD] {
        let churn = match example.churn {
            ChurnRule::Days(days) => format!("churn_threshold_days = {days}"),
            ChurnRule::Period => "churn = \"period\"".to_owned(),
        };
        let properties = format!("period_type = \"{}\"\n{churn}\nas_of = \"{}\"", example.period_type.name(), example.as_of);
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
    let header = "period,acquisitions,churn,resurrections,net_growth,active_users,user_base,is_final\n";
    // More may come on the first day, as nothing has come of a later one.
    let summary = format!("{header}2024-01-01,2,0,0,2,2,2,false\n");
    is(&[("growth_summary", summary.as_str()), ("churn", "period,user_id,last_activity_date,churn_date\n")]);

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
    let rows = "2024-01-01,2,0,0,2,2,2,true\n2024-01-31,0,1,0,-1,0,1,true\n2024-02-09,0,1,0,-1,0,0,true\n2024-02-15,0,0,1,1,1,1,false\n";
    assert_eq!(cli.query(moved), format!("{header}{rows}"));
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
fn users_without_events_churn_and_no_longer_as_periods_end() {
    let cli = flow("growth", TWO_COLUMNS, "period_type = \"monthly\"\nchurn = \"period\"");
    let is = |expected: &[&str], summary: &[&str]| {
        let lines = |rows: &[&str]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        let found = cli.query("SELECT user_id, churn_date FROM growth_churn ORDER BY user_id, churn_date");
        assert_eq!(found, format!("user_id,churn_date\n{}", lines(expected)));
        let found = cli.query("SELECT period, churn, user_base, is_final FROM growth_growth_summary ORDER BY period");
        assert_eq!(found, format!("period,churn,user_base,is_final\n{}", lines(summary)));
        cli.ok(&["verify"]);
    };
    let execute = |batch: &str, events: &[(&str, &str)]| {
        let lines: Vec<String> = events.iter().map(|(user, day)| format!("{user},2024-{day}T12:00:00Z")).collect();
        execute_events(&cli, batch, &lines);
    };
    execute("1", &[("u1", "01-01"), ("u1", "01-31"), ("u2", "01-05")]);
    is(&[], &["2024-01-01,0,2,false"]);
    execute("2", &[("u3", "02-28")]);
    is(&[], &["2024-01-01,0,2,true", "2024-02-01,0,3,false"]);
    // The month ends, and does not any more; then the next one does.
    execute("2", &[("u3", "02-29")]);
    is(&["u1,2024-02-29", "u2,2024-02-29"], &["2024-01-01,0,2,true", "2024-02-01,2,1,false"]);
    execute("2", &[("u3", "02-28")]);
    is(&[], &["2024-01-01,0,2,true", "2024-02-01,0,3,false"]);
    execute("3", &[("u2", "03-31")]);
    is(&["u1,2024-02-29", "u2,2024-02-29", "u3,2024-03-31"], &["2024-01-01,0,2,true", "2024-02-01,2,1,true", "2024-03-01,1,1,false"]);
    execute("3", &[]);
    is(&[], &["2024-01-01,0,2,true", "2024-02-01,0,3,false"]);
}

#[test]
fn nothing_to_count_makes_tables_without_rows() {
    for properties in ["period_type = \"daily\"", "period_type = \"daily\"\nas_of = \"2023-12-31\""] {
        let cli = flow("growth", TWO_COLUMNS, properties);
        let datasets = ["activity_periods", "acquisitions", "churn", "resurrections", "growth_summary"];
        let counts = || datasets.map(|dataset| cli.query(&format!("SELECT count(*) AS n FROM growth_{dataset}")));
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
