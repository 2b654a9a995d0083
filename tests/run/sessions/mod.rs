//! Sessionization from the command line: the worked examples.

use crate::cli::Cli;

const SESSIONS: &str = "SELECT session_id, start_time, end_time, event_count, xt_batch_id FROM visits_sessions ORDER BY session_id";

/// A flow of visits; these lines stand in `[input]` and `[properties]`.
fn visits(input: &str, properties: &str) -> Cli {
    let cli = Cli::empty();
    write_visits(&cli, input, properties);
    cli
}

fn write_visits(cli: &Cli, input: &str, properties: &str) {
    let input = format!("[input]\ncolumns = [\"event_id\", \"user_id\", \"timestamp\"]\n{input}\n");
    let header = "id = \"visits\"\nflow_type = \"sessionization\"\n";
    cli.write("flows/visits.toml", &format!("{header}\n{input}\n[properties]\n{properties}\n"));
}

/// Loads a batch whose rows are `event user time`, of 1 January unless the time has its date.
fn load(cli: &Cli, batch: i64, rows: &[&str]) -> String {
    let line = |row: &&str| {
        let words: Vec<&str> = row.split(' ').collect();
        let date = if words[2].contains('T') { "" } else { "2024-01-01T" };
        format!("{},{},{date}{}\n", words[0], words[1], words[2])
    };
    let file = format!("in/visits_{batch}.csv");
    cli.write(&file, &format!("event_id,user_id,timestamp\n{}", rows.iter().map(line).collect::<String>()));
    cli.ok(&["execute", "--batch-id", &batch.to_string(), "--input", &file])
}

/// Of the worked example.
fn example(batch: i64) -> &'static [&'static str] {
    match batch {
        1 => &["e1 u1 10:00:00", "e2 u1 10:30:00", "e3 u1 11:00:01", "e4 u1 11:00:01", "e5 u2 23:50:00"],
        2 => &["e6 u2 2024-01-02T00:10:00", "e7 u1 10:45:00", "e8 u1 12:00:00", "e1 u1 10:00:00"],
        3 => &["e9 u1 09:00:00"],
        _ => unreachable!("the example has three batches"),
    }
}

/// The rows of `SESSIONS`, from lines such as `u1_1 10:00:00 10:30:00 2 1`.
fn sessions(lines: &[&str]) -> String {
    let time = |time: &str| match time.split_once('T') {
        Some((day, time)) => format!("2024-01-{day}T{time}.000000Z"),
        None => format!("2024-01-01T{time}.000000Z"),
    };
    let row = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        format!("{},{},{},{},{}\n", words[0], time(words[1]), time(words[2]), words[3], words[4])
    };
    format!("session_id,start_time,end_time,event_count,xt_batch_id\n{}", lines.iter().map(row).collect::<String>())
}

const KEY: &str = "primary_key = [\"event_id\"]";
const TIMEOUT: &str = "session_timeout_seconds = 1800";
const AFTER_3: [&str; 4] =
    ["u1_1 09:00:00 09:00:00 1 3", "u1_2 10:00:00 11:00:01 5 2", "u1_3 12:00:00 12:00:00 1 2", "u2_1 23:50:00 02T00:10:00 2 2"];

#[test]
fn the_worked_example_comes_out_session_by_session() {
    let cli = visits(KEY, TIMEOUT);
    load(&cli, 1, example(1));
    let after_1 = ["u1_1 10:00:00 10:30:00 2 1", "u1_2 11:00:01 11:00:01 2 1", "u2_1 23:50:00 23:50:00 1 1"];
    assert_eq!(cli.query(SESSIONS), sessions(&after_1));
    load(&cli, 2, example(2));
    let after_2 = ["u1_1 10:00:00 11:00:01 5 2", "u1_2 12:00:00 12:00:00 1 2", "u2_1 23:50:00 02T00:10:00 2 2"];
    assert_eq!(cli.query(SESSIONS), sessions(&after_2));
    load(&cli, 3, example(3));
    assert_eq!(cli.query(SESSIONS), sessions(&AFTER_3));
    let durations = "SELECT session_id, duration_seconds, first_event_id, last_event_id FROM visits_sessions ORDER BY session_id";
    let expected = "u1_1,0.0,e9,e9\nu1_2,3601.0,e1,e4\nu1_3,0.0,e8,e8\nu2_1,1200.0,e5,e6\n";
    assert_eq!(cli.query(durations), format!("session_id,duration_seconds,first_event_id,last_event_id\n{expected}"));

    let everything = "SELECT * FROM visits_sessions ORDER BY session_id";
    let before = cli.query(everything);
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(cli.query(everything), before, "processing times stay as they are, too");
    let told = load(&cli, 2, example(2));
    assert!(told.contains("batch 2: unchanged"), "{told}");
    assert_eq!(cli.query(everything), before);

    // Without e7 a session falls apart; its parts have no event of batch 2.
    load(&cli, 2, &["e6 u2 2024-01-02T00:10:00", "e8 u1 12:00:00"]);
    let apart = [
        "u1_1 09:00:00 09:00:00 1 3",
        "u1_2 10:00:00 10:30:00 2 1",
        "u1_3 11:00:01 11:00:01 2 1",
        "u1_4 12:00:00 12:00:00 1 2",
        "u2_1 23:50:00 02T00:10:00 2 2",
    ];
    assert_eq!(cli.query(SESSIONS), sessions(&apart));
}

#[test]
fn the_worked_example_is_the_same_in_any_order() {
    for order in [[1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
        let cli = visits(KEY, TIMEOUT);
        for batch in order {
            load(&cli, batch, example(batch));
        }
        assert_eq!(cli.query(SESSIONS), sessions(&AFTER_3), "{order:?}");
    }
}

#[test]
fn the_smaller_of_timeout_and_gap_wins() {
    let cli = visits(KEY, &format!("{TIMEOUT}\nsession_gap_threshold_seconds = 600\nsession_events = true"));
    for batch in 1..=3 {
        load(&cli, batch, example(batch));
    }
    let events = "SELECT session_id, event_id, xt_batch_id FROM visits_session_events ORDER BY session_id, event_id";
    let expected = "u1_1,e9,3\nu1_2,e1,1\nu1_3,e2,1\nu1_4,e7,2\nu1_5,e3,1\nu1_5,e4,1\nu1_6,e8,2\nu2_1,e5,1\nu2_2,e6,2\n";
    assert_eq!(cli.query(events), format!("session_id,event_id,xt_batch_id\n{expected}"));
    assert_eq!(
        cli.query("SELECT * FROM visits_session_events LIMIT 0"),
        "event_id,user_id,timestamp,session_id,xt_batch_id,xt_processed_at\n"
    );
    // Another rule makes other sessions of the same events.
    write_visits(&cli, KEY, &format!("{TIMEOUT}\nsession_events = true"));
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(cli.query(SESSIONS), sessions(&AFTER_3));
}

#[test]
fn rows_without_a_user_or_a_time_are_refused_or_parked() {
    let rows = "event_id,user_id,timestamp\ne1,u1,2024-01-01T10:00:00\ne2,,2024-01-01T10:00:01\ne3,u1,\n";
    let cli = visits(KEY, TIMEOUT);
    load(&cli, 1, example(1));
    for (row, place) in [("e2,,2024-01-01T10:00:01", "`user_id`"), ("e3,u1,", "`timestamp`"), (",u1,2024-01-01T10:00:01", "`event_id`")] {
        cli.write("in/wrong.csv", &format!("event_id,user_id,timestamp\n{row}\n"));
        let refused = cli.run(&["execute", "--batch-id", "2", "--input", "in/wrong.csv"]);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(["in/wrong.csv:2", place, "NULL"].iter().all(|told| refused.stderr.contains(told)), "{refused:?}");
    }
    assert_eq!(cli.query("SELECT count(*) AS n FROM visits_landing"), "n\n5\n");

    let cli = visits(&format!("{KEY}\non_null_key = \"park\""), TIMEOUT);
    cli.write("in/some.csv", rows);
    cli.ok(&["execute", "--batch-id", "1", "--input", "in/some.csv"]);
    assert_eq!(cli.query(SESSIONS), sessions(&["u1_1 10:00:00 10:00:00 1 1"]));
    assert_eq!(
        cli.query("SELECT event_id, user_id, xt_parked_reason, xt_row_number, xt_batch_id FROM visits_parked ORDER BY event_id"),
        "event_id,user_id,xt_parked_reason,xt_row_number,xt_batch_id\ne2,,null_key,2,1\ne3,u1,null_key,3,1\n"
    );
}

#[test]
fn bare_columns_and_no_load_section_are_enough() {
    let cli = Cli::empty();
    cli.write(
        "flows/user_sessions.toml",
        "id = \"user_sessions\"\nname = \"User Sessions\"\nflow_type = \"sessionization\"\n\n[input]\n\
         columns = [\"user_id\", \"timestamp\", \"page\", \"event_type\", \"device\"]\n\n[properties]\nsession_timeout_seconds = 1800\n",
    );
    let header = "user_id,timestamp,page,event_type,device\n";
    let first = "u1,2024-01-01T10:00:00,home,view,\nu1,2024-01-01T10:30:00,cart,click,phone\nu2,2024-01-01T10:00:00,home,view,desk\n";
    cli.write("in/first.csv", &format!("{header}{first}"));
    cli.write("in/second.csv", &format!("{header}u1,2024-01-01T11:00:00.000001,home,view,desk\nu2,2024-01-01T09:45:00,help,view,\n"));
    let date = "2024-02-01T00:00:00Z";
    cli.ok(&["execute", "--batch-id", "1", "--input", "in/first.csv", "--execution-date", date]);
    cli.ok(&["execute", "--batch-id", "2", "--input", "in/second.csv", "--execution-date", "2024-02-02"]);
    let expected = "session_id,user_id,start_time,end_time,duration_seconds,event_count,first_page,last_page,first_event_type,\
                    last_event_type,first_device,last_device,xt_batch_id,xt_processed_at\n\
        u1_1,u1,2024-01-01T10:00:00.000000Z,2024-01-01T10:30:00.000000Z,1800.0,2,home,cart,view,click,,phone,1,2024-02-01T00:00:00.000000Z\n\
        u1_2,u1,2024-01-01T11:00:00.000001Z,2024-01-01T11:00:00.000001Z,0.0,1,home,home,view,view,desk,desk,2,2024-02-02T00:00:00.000000Z\n\
        u2_1,u2,2024-01-01T09:45:00.000000Z,2024-01-01T10:00:00.000000Z,900.0,2,help,home,view,view,,desk,2,2024-02-02T00:00:00.000000Z\n";
    assert_eq!(cli.query("SELECT * FROM user_sessions_sessions ORDER BY session_id"), expected);
    cli.ok(&["execute"]);
}
