//! `verify`, on tables as runs leave them, and on the same tables with one corruption planted in them.

mod corrupt;

use std::collections::BTreeSet;

use qetl::Project;
use qetl_runtime::verify::{self, FlowVerified};
use serde_json::Value;

use self::corrupt::{
    Edit::{self, Remove, Repeat, Set},
    corrupted,
};
use crate::cli::Cli;

/// A corruption: what it is, the dataset, how its rows are edited; the invariant that it breaks, and what stands in a row
/// that is shown of that.
type Case = (&'static str, &'static str, Edit, &'static str, &'static str);

/// A project with one flow, that has loaded these batches: number 1 on 1 February, and so on.
fn stored(flow: &str, batches: &[&str]) -> Cli {
    let cli = Cli::empty();
    cli.write("flows/flow.toml", flow);
    for (batch, text) in (1..).zip(batches) {
        let (id, file, date) = (batch.to_string(), format!("inbox/{batch}.csv"), format!("2024-02-{batch:02}"));
        cli.write(&file, text);
        cli.ok(&["execute", "--batch-id", &id, "--input", &file, "--execution-date", &date]);
    }
    cli
}

fn verified(cli: &Cli) -> FlowVerified {
    let project = Project::open(Some(cli.folder.path()), None, &qetl_plugins::registry()).unwrap();
    let flows = project.workspace.flows(&[]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(verify::verify(&*project.engine, flows[0])).unwrap()
}

/// Each corruption is found, and each invariant of the flow finds one.
fn finds(flow: &str, batches: &[&str], cases: &[Case]) {
    let sound = stored(flow, batches);
    let before = verified(&sound);
    assert_eq!((before.batches, before.holds()), (batches.len(), true), "{before:#?}");

    let mut missed = Vec::new();
    for (what, dataset, edit, breaks, shows) in cases {
        let found = verified(&corrupted(&sound, dataset, *edit));
        let broken: Vec<_> = found.invariants.iter().filter(|invariant| invariant.broken > 0).collect();
        let is_shown = |row: &String| row.split(", ").any(|cell| cell == *shows);
        if !broken.iter().any(|invariant| invariant.name == *breaks && invariant.rows.iter().any(is_shown)) {
            missed.push(format!("{what}: `{breaks}` does not show `{shows}`; broken are {broken:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));

    let tried: BTreeSet<&str> = cases.iter().map(|(_, _, _, breaks, _)| *breaks).collect();
    // What every flow promises of its landing is tried with files.
    let own = before.invariants.iter().map(|invariant| invariant.name.as_str()).filter(|name| *name != "landed_rows_are_there");
    let promised: BTreeSet<&str> = own.collect();
    assert_eq!(tried, promised, "invariants with a case, and all of the flow");
}

const FEED: &str = "\
id = \"orders\"
flow_type = \"change_feed\"

[input]
primary_key = [\"id\"]
columns = [\"id\", \"status\", { name = \"amount\", schema_type = \"decimal(18,2)\" }]
";

const FEED_ROWS: &str = "orders_change_feed";

/// What can be wrong with a feed of the orders.
const FEED_CASES: [Case; 14] = [
    ("a row is doubled", FEED_ROWS, Repeat("id = 'A' AND xt_batch_id = 2", &[]), "one_row_a_batch", "id = A"),
    (
        "a batch was never loaded",
        FEED_ROWS,
        Set("id = 'D' AND xt_batch_id = 2", &[("xt_batch_id", "9")]),
        "rows_of_their_batch",
        "xt_batch_id = 9",
    ),
    (
        "a batch's time is another",
        FEED_ROWS,
        Set("id = 'A' AND xt_batch_id = 2", &[("xt_processed_at", "xt_processed_at - INTERVAL '1 day'")]),
        "rows_of_their_batch",
        "id = A",
    ),
    ("a key is new twice", FEED_ROWS, Set("id = 'A' AND xt_batch_id = 2", &[("xt_record_type", "'NEW'")]), "types_follow", "id = A"),
    (
        "a deleted key only changes",
        FEED_ROWS,
        Set("id = 'C' AND xt_batch_id = 3", &[("xt_record_type", "'CHANGED'")]),
        "types_follow",
        "id = C",
    ),
    ("the first row of a key is lost", FEED_ROWS, Remove("id = 'D' AND xt_batch_id = 1"), "types_follow", "id = D"),
    (
        "a change is not named",
        FEED_ROWS,
        Set("id = 'B' AND xt_batch_id = 2", &[("xt_changed_columns", "NULL")]),
        "changes_are_named",
        "id = B",
    ),
    (
        "another change is named",
        FEED_ROWS,
        Set("id = 'B' AND xt_batch_id = 3", &[("xt_changed_columns", "'amount'")]),
        "changes_are_named",
        "xt_expected = status",
    ),
    (
        "a change passes for none",
        FEED_ROWS,
        Set("id = 'B' AND xt_batch_id = 2", &[("xt_record_type", "'STALE'"), ("xt_changed_columns", "NULL")]),
        "changes_are_named",
        "id = B",
    ),
    (
        "none passes for a change",
        FEED_ROWS,
        Set("id = 'A' AND xt_batch_id = 2", &[("xt_record_type", "'CHANGED'")]),
        "changes_are_named",
        "id = A",
    ),
    (
        "a deleted row has other values",
        FEED_ROWS,
        Set("id = 'D' AND xt_batch_id = 2", &[("amount", "amount + 0.01")]),
        "deleted_as_known",
        "id = D",
    ),
    (
        "a value was never landed",
        FEED_ROWS,
        Set("id = 'A' AND xt_batch_id = 2", &[("amount", "amount + 0.01")]),
        "values_were_landed",
        "id = A",
    ),
    ("a row is lost", FEED_ROWS, Remove("id = 'A' AND xt_batch_id = 2"), "landed_keys_have_a_row", "id = A"),
    ("a deletion is lost", FEED_ROWS, Remove("id = 'D' AND xt_batch_id = 2"), "live_keys_go_on", "id = D"),
];

#[test]
fn corrupt_feeds_are_found() {
    finds(FEED, &ORDERS, &FEED_CASES);
}

const LEDGER: &str = "\
id = \"orders\"
flow_type = \"delta_publishing\"

[input]
primary_key = [\"id\"]
columns = [\"id\", \"status\", { name = \"amount\", schema_type = \"decimal(18,2)\" }]
";

/// They book A once, move B twice, delete and reactivate C, and delete D.
const ORDERS: [&str; 3] = [
    "id,status,amount\nA,open,100\nB,open,100\nC,open,50\nD,open,70\n",
    "id,status,amount\nA,open,100\nB,open,150\n",
    "id,status,amount\nA,open,100\nB,paid,150\nC,open,50\n",
];

const TRANSACTIONS: &str = "orders_delta_transaction";
const TO_LATER: Edit = Set("xt_transaction_id = 'B#2#R'", &[("xt_referred_transaction_id", "'B#3#B'")]);

#[test]
fn corrupt_ledgers_are_found() {
    let cases: [Case; 20] = [
        (
            "an attribute of a booking is another",
            TRANSACTIONS,
            Set("id = 'A'", &[("status", "'paid'")]),
            "values_of_the_feed",
            "status = paid",
        ),
        (
            "an id is of another batch",
            TRANSACTIONS,
            Set("id = 'A'", &[("xt_transaction_id", "'A#2#B'")]),
            "ids_are_as_said",
            "xt_transaction_id = A#2#B",
        ),
        ("a batch is another", TRANSACTIONS, Set("id = 'A'", &[("xt_batch_id", "2")]), "posted_in_a_batch", "xt_transaction_id = A#1#B"),
        ("a batch was never loaded", TRANSACTIONS, Set("id = 'A'", &[("xt_batch_id", "9")]), "posted_in_a_batch", "xt_batch_id = 9"),
        ("a booking is lost with its reversal", TRANSACTIONS, Remove("id = 'D'"), "changes_are_posted", "id = D"),
        ("a transaction is doubled", TRANSACTIONS, Repeat("id = 'A'", &[]), "ids_are_unique", "xt_transaction_id = A#1#B"),
        (
            "two transactions have one id",
            TRANSACTIONS,
            Set("xt_transaction_id = 'B#2#R'", &[("xt_transaction_id", "'B#2#B'")]),
            "ids_are_unique",
            "xt_transaction_id = B#2#B",
        ),
        ("a booking is lost", TRANSACTIONS, Remove("xt_transaction_id = 'A#1#B'"), "sums_are_the_state", "id = A"),
        ("an amount is off by a cent", TRANSACTIONS, Set("id = 'A'", &[("amount", "amount + 0.01")]), "sums_are_the_state", "id = A"),
        ("a dimension is another", TRANSACTIONS, Set("id = 'A'", &[("status", "'paid'")]), "sums_are_the_state", "id = A"),
        (
            "a key was never there",
            TRANSACTIONS,
            Repeat("id = 'A'", &[("id", "'Z'"), ("xt_transaction_id", "'Z#1#B'")]),
            "sums_are_the_state",
            "id = Z",
        ),
        (
            "a sign is turned",
            TRANSACTIONS,
            Set("xt_transaction_id = 'B#2#R'", &[("amount", "-amount")]),
            "closed_is_zero",
            "xt_transaction_id = B#1#B",
        ),
        (
            "two amounts are off and make up for it",
            TRANSACTIONS,
            Set("xt_transaction_id IN ('B#1#B', 'B#2#B')", &[("amount", "CASE WHEN xt_batch_id = 1 THEN amount + 1 ELSE amount - 1 END")]),
            "closed_is_zero",
            "xt_transaction_id = B#2#B",
        ),
        (
            "a booking is reversed twice",
            TRANSACTIONS,
            Repeat("xt_transaction_id = 'C#2#R'", &[("xt_transaction_id", "'C#3#R'"), ("xt_batch_id", "3")]),
            "reversed_once",
            "xt_referred_transaction_id = C#1#B",
        ),
        ("what is referred to is lost", TRANSACTIONS, Remove("xt_transaction_id = 'C#2#R'"), "references_hold", "id = C"),
        ("a reference to a later transaction", TRANSACTIONS, TO_LATER, "references_hold", "xt_transaction_id = B#2#R"),
        (
            "a reference to another key's transaction",
            TRANSACTIONS,
            Set("xt_transaction_id = 'B#2#R'", &[("xt_referred_transaction_id", "'A#1#B'")]),
            "references_hold",
            "xt_transaction_id = B#2#R",
        ),
        (
            "a reversal without a reference",
            TRANSACTIONS,
            Set("xt_transaction_id = 'C#2#R'", &[("xt_referred_transaction_id", "NULL")]),
            "references_hold",
            "xt_transaction_id = C#2#R",
        ),
        (
            "a republish of what is open",
            TRANSACTIONS,
            Set("xt_transaction_id = 'C#3#B'", &[("xt_referred_transaction_id", "'C#1#B'")]),
            "references_hold",
            "xt_transaction_id = C#3#B",
        ),
        (
            "a first booking that refers to something",
            TRANSACTIONS,
            Set("xt_transaction_id = 'B#3#B'", &[("xt_referred_transaction_id", "'B#2#B'")]),
            "references_hold",
            "xt_transaction_id = B#3#B",
        ),
    ];
    finds(LEDGER, &ORDERS, &cases.into_iter().chain(FEED_CASES).collect::<Vec<_>>());
}

const VISITS: &str = "\
id = \"visits\"
flow_type = \"sessionization\"

[input]
primary_key = [\"event_id\"]
columns = [\"event_id\", \"user_id\", \"timestamp\"]
on_null_key = \"park\"

[properties]
session_timeout_seconds = 1800
session_events = true
";

/// Sessions of u1 begin at 10:00, 11:00:01 and 12:00, the one of u2 at 23:50. Of one event the user is not known.
const EVENTS: [&str; 2] = [
    "event_id,user_id,timestamp\ne1,u1,2024-01-01T10:00:00\ne2,u1,2024-01-01T10:30:00\ne3,u1,2024-01-01T11:00:01\ne5,u2,2024-01-01T23:50:00\n",
    "event_id,user_id,timestamp\ne6,u2,2024-01-02T00:10:00\ne8,u1,2024-01-01T12:00:00\ne9,,2024-01-01T12:00:00\n",
];

#[test]
fn corrupt_sessions_are_found() {
    const SESSIONS: &str = "visits_sessions";
    const SESSION_EVENTS: &str = "visits_session_events";
    let cases: [Case; 20] = [
        (
            "a first value is another event's",
            SESSIONS,
            Set("session_id = 'u1_1'", &[("first_event_id", "'e8'")]),
            "ends_are_events",
            "event_id = e8",
        ),
        (
            "an event is counted twice",
            SESSIONS,
            Set("session_id = 'u1_1'", &[("event_count", "event_count + 1")]),
            "every_event_in_a_session",
            "user_id = u1",
        ),
        ("a session is lost", SESSIONS, Remove("session_id = 'u1_2'"), "every_event_in_a_session", "user_id = u1"),
        (
            "a user was never there",
            SESSIONS,
            Repeat("session_id = 'u2_1'", &[("session_id", "'u9_1'"), ("user_id", "'u9'")]),
            "every_event_in_a_session",
            "user_id = u9",
        ),
        (
            "a session ends before it starts",
            SESSIONS,
            Set("session_id = 'u1_2'", &[("end_time", "end_time - INTERVAL '10 minutes'")]),
            "session_figures",
            "session_id = u1_2",
        ),
        (
            "a duration is wrong",
            SESSIONS,
            Set("session_id = 'u2_1'", &[("duration_seconds", "duration_seconds + 1")]),
            "session_figures",
            "session_id = u2_1",
        ),
        ("a session has no events", SESSIONS, Set("session_id = 'u1_2'", &[("event_count", "0")]), "session_figures", "session_id = u1_2"),
        (
            "two sessions overlap",
            SESSIONS,
            Set("session_id = 'u1_1'", &[("end_time", "end_time + INTERVAL '45 minutes'")]),
            "sessions_apart",
            "session_id = u1_1",
        ),
        (
            "two sessions should be one",
            SESSIONS,
            Set("session_id = 'u1_2'", &[("start_time", "start_time - INTERVAL '1 second'")]),
            "sessions_apart",
            "session_id = u1_1",
        ),
        ("a session is doubled", SESSIONS, Repeat("session_id = 'u2_1'", &[]), "session_id_once", "session_id = u2_1"),
        (
            "a number is skipped",
            SESSIONS,
            Set("session_id = 'u1_3'", &[("session_id", "'u1_4'")]),
            "session_id_as_said",
            "session_id = u1_4",
        ),
        (
            "a session is another user's",
            SESSIONS,
            Set("session_id = 'u2_1'", &[("user_id", "'u1'")]),
            "session_id_as_said",
            "session_id = u2_1",
        ),
        (
            "a batch was never loaded",
            SESSIONS,
            Set("session_id = 'u1_1'", &[("xt_batch_id", "9")]),
            "session_of_a_batch",
            "session_id = u1_1",
        ),
        ("a batch is another", SESSIONS, Set("session_id = 'u2_1'", &[("xt_batch_id", "1")]), "session_of_a_batch", "session_id = u2_1"),
        (
            "a batch and its time are another's",
            SESSIONS,
            Set("session_id = 'u2_1'", &[("xt_batch_id", "1"), ("xt_processed_at", "xt_processed_at - INTERVAL '1 day'")]),
            "every_event_in_a_session",
            "user_id = u2",
        ),
        (
            "an event is in the session before its own",
            SESSION_EVENTS,
            Set("event_id = 'e3'", &[("session_id", "'u1_1'")]),
            "no_silence_in_a_session",
            "session_id = u1_1",
        ),
        ("an event is lost", SESSION_EVENTS, Remove("event_id = 'e2'"), "events_of_their_session", "session_id = u1_1"),
        ("an event is doubled", SESSION_EVENTS, Repeat("event_id = 'e1'", &[]), "events_of_their_session", "session_id = u1_1"),
        (
            "an event is in no session",
            SESSION_EVENTS,
            Set("event_id = 'e8'", &[("session_id", "'u1_9'")]),
            "events_of_their_session",
            "session_id = u1_9",
        ),
        ("a parked row is lost", "visits_parked", Remove("event_id = 'e9'"), "what_lacks_something_is_parked", "xt_batch_id = 2"),
    ];
    finds(VISITS, &EVENTS, &cases);
}

const GROWTH: &str = "\
id = \"growth\"
flow_type = \"growth_accounting\"

[input]
columns = [\"user_id\", { name = \"timestamp\", schema_type = \"timestamp\" }]

[properties]
period_type = \"daily\"
churn_threshold_days = 3
as_of = \"2024-01-09\"
";

/// Churned are u2 on the 4th, u3 on the 6th, and u1 on the 7th, who returns on the 8th.
const ACTIVITY: [&str; 2] = [
    "user_id,timestamp\nu1,2024-01-01T08:15:00Z\nu2,2024-01-01T08:15:00Z\nu3,2024-01-02T08:15:00Z\n",
    "user_id,timestamp\nu1,2024-01-04T08:15:00Z\nu3,2024-01-03T08:15:00Z\nu1,2024-01-08T08:15:00Z\n",
];

#[test]
fn corrupt_growth_is_found() {
    const PERIODS: &str = "growth_activity_periods";
    const ACQUISITIONS: &str = "growth_acquisitions";
    const CHURN: &str = "growth_churn";
    const RESURRECTIONS: &str = "growth_resurrections";
    const SUMMARY: &str = "growth_growth_summary";
    let cases: [Case; 21] = [
        (
            "a user's activity is miscounted",
            PERIODS,
            Set("user_id = 'u2'", &[("activity_count", "activity_count + 1")]),
            "activity_is_as_landed",
            "user_id = u2",
        ),
        ("a user is active twice in a period", PERIODS, Repeat("user_id = 'u2'", &[]), "one_activity_row", "user_id = u2"),
        (
            "the activity that was followed by a churn is lost",
            PERIODS,
            Remove("user_id = 'u1' AND period = DATE '2024-01-04'"),
            "churn_after_silence",
            "user_id = u1",
        ),
        ("a user is acquired twice", ACQUISITIONS, Repeat("user_id = 'u2'", &[]), "acquired_once", "user_id = u2"),
        ("a user is never acquired", ACQUISITIONS, Remove("user_id = 'u2'"), "acquired_once", "user_id = u2"),
        (
            "a user is acquired too late",
            ACQUISITIONS,
            Set("user_id = 'u3'", &[("period", "DATE '2024-01-03'")]),
            "acquired_once",
            "user_id = u3",
        ),
        (
            "a user is acquired without activity",
            ACQUISITIONS,
            Repeat("user_id = 'u2'", &[("user_id", "'u9'")]),
            "acquired_once",
            "user_id = u9",
        ),
        (
            "a churn on the day of an activity",
            CHURN,
            Repeat(
                "user_id = 'u1'",
                &[("period", "DATE '2024-01-04'"), ("last_activity_date", "DATE '2024-01-01'"), ("churn_date", "DATE '2024-01-04'")],
            ),
            "churn_after_silence",
            "user_id = u1",
        ),
        (
            "a churn before the end of the threshold",
            CHURN,
            Set("user_id = 'u3'", &[("period", "DATE '2024-01-05'"), ("churn_date", "DATE '2024-01-05'")]),
            "churn_after_silence",
            "user_id = u3",
        ),
        (
            "a churn after the last date",
            CHURN,
            Repeat(
                "user_id = 'u1'",
                &[("period", "DATE '2024-01-11'"), ("last_activity_date", "DATE '2024-01-08'"), ("churn_date", "DATE '2024-01-11'")],
            ),
            "churn_up_to_as_of",
            "user_id = u1",
        ),
        ("a churn is doubled", CHURN, Repeat("user_id = 'u2'", &[]), "one_return_a_churn", "user_id = u2"),
        ("a churn is lost", CHURN, Remove("user_id = 'u3'"), "summary_counts", "period = 2024-01-06"),
        ("a return without a churn", RESURRECTIONS, Set("user_id = 'u1'", &[("user_id", "'u3'")]), "one_return_a_churn", "user_id = u3"),
        ("a user returns twice", RESURRECTIONS, Repeat("user_id = 'u1'", &[]), "one_return_a_churn", "user_id = u1"),
        (
            "a return on the day of the churn",
            RESURRECTIONS,
            Set("user_id = 'u1'", &[("period", "DATE '2024-01-07'"), ("return_date", "DATE '2024-01-07'"), ("days_inactive", "3")]),
            "return_after_churn",
            "user_id = u1",
        ),
        (
            "the days of a silence are wrong",
            RESURRECTIONS,
            Set("user_id = 'u1'", &[("days_inactive", "days_inactive + 1")]),
            "return_after_churn",
            "user_id = u1",
        ),
        ("a period is missing", SUMMARY, Remove("period = DATE '2024-01-05'"), "summary_counts", "period = 2024-01-05"),
        (
            "the active users are miscounted",
            SUMMARY,
            Set("period = DATE '2024-01-02'", &[("active_users", "active_users + 1")]),
            "summary_counts",
            "period = 2024-01-02",
        ),
        (
            "the net growth is wrong",
            SUMMARY,
            Set("period = DATE '2024-01-04'", &[("net_growth", "net_growth + 1")]),
            "user_base",
            "period = 2024-01-04",
        ),
        (
            "the user base is wrong",
            SUMMARY,
            Set("period = DATE '2024-01-09'", &[("user_base", "user_base + 1")]),
            "user_base",
            "period = 2024-01-09",
        ),
        (
            "a period that is past is not final",
            SUMMARY,
            Set("period = DATE '2024-01-08'", &[("is_final", "false")]),
            "final_periods",
            "period = 2024-01-08",
        ),
    ];
    finds(GROWTH, &ACTIVITY, &cases);
}

const CUSTOMERS: &str = "\
id = \"customers\"
flow_type = \"scd2\"

[input]
primary_key = [\"id\"]
columns = [
    \"id\",
    { name = \"v\", schema_type = \"integer\" },
    \"mail\",
    { name = \"since\", schema_type = \"date\" },
]

[properties]
effective_date_column = \"since\"
type1_columns = [\"mail\"]
";

/// K has two versions, L ends, and M comes with the last batch.
const SNAPSHOTS: [&str; 3] = [
    "id,v,mail,since\nK,1,k@a,2024-01-01\nL,7,l@a,2024-01-01\n",
    "id,v,mail,since\nK,2,k@b,2024-01-02\nL,7,l@a,2024-01-01\n",
    "id,v,mail,since\nK,2,k@b,2024-01-02\nM,5,m@a,2024-01-03\n",
];

#[test]
fn corrupt_versions_are_found() {
    const VERSIONS: &str = "customers_scd2";
    const FIRST: &str = "id = 'K' AND xt_version = 1";
    const SECOND: &str = "id = 'K' AND xt_version = 2";
    let cases: [Case; 15] = [
        ("a version is lost", VERSIONS, Remove(FIRST), "versions_are_numbered", "id = K"),
        ("a number is skipped", VERSIONS, Set(SECOND, &[("xt_version", "3")]), "versions_are_numbered", "id = K"),
        ("a version is doubled", VERSIONS, Repeat("id = 'M'", &[]), "versions_are_numbered", "id = M"),
        (
            "a version ends before it begins",
            VERSIONS,
            Set("id = 'L'", &[("xt_effective_to", "DATE '2023-12-31'")]),
            "versions_last",
            "id = L",
        ),
        ("two versions overlap", VERSIONS, Set(FIRST, &[("xt_effective_to", "DATE '2024-01-03'")]), "versions_do_not_overlap", "id = K"),
        (
            "the numbers are not in the order of time",
            VERSIONS,
            Set("id = 'K'", &[("xt_version", "3 - xt_version")]),
            "versions_do_not_overlap",
            "id = K",
        ),
        ("a current version has an end", VERSIONS, Set(SECOND, &[("xt_effective_to", "DATE '2024-01-09'")]), "current_is_open", "id = K"),
        ("an open version is not current", VERSIONS, Set("id = 'M'", &[("xt_is_current", "false")]), "current_is_open", "id = M"),
        ("two versions are current", VERSIONS, Set(FIRST, &[("xt_is_current", "true")]), "one_current_version", "id = K"),
        ("a type-1 value is an old one", VERSIONS, Set(FIRST, &[("mail", "'k@a'")]), "versions_are_as_landed", "id = K"),
        ("a value differs from landing", VERSIONS, Set(SECOND, &[("v", "v + 1")]), "versions_are_as_landed", "id = K"),
        ("a key is lost", VERSIONS, Remove("id = 'M'"), "versions_are_as_landed", "id = M"),
        ("a key was never landed", VERSIONS, Repeat("id = 'M'", &[("id", "'Z'")]), "versions_are_as_landed", "id = Z"),
        (
            "a version begins too early",
            VERSIONS,
            Set("id = 'M'", &[("xt_effective_from", "DATE '2024-01-02'")]),
            "versions_are_as_landed",
            "id = M",
        ),
        ("a batch is another", VERSIONS, Set("id = 'L'", &[("xt_batch_id", "2")]), "versions_are_as_landed", "id = L"),
    ];
    finds(CUSTOMERS, &SNAPSHOTS, &cases);
}

#[test]
fn the_command_says_what_is_broken_and_exits_1() {
    let sound = stored(LEDGER, &ORDERS);
    let told = sound.ok(&["verify"]);
    assert!(told.starts_with("orders: ") && told.ends_with(" invariants hold\n"), "{told}");

    let broken = corrupted(&sound, TRANSACTIONS, TO_LATER);
    let output = broken.run(&["verify", "orders"]);
    assert_eq!(output.code, 1, "{output:?}");
    for told in ["orders: 2 of ", "references_hold: ", "closed_is_zero: ", "id = B, xt_transaction_id = B#2#R"] {
        assert!(output.stdout.contains(told), "{told}: {output:?}");
    }

    let output = broken.run(&["verify", "--format", "json"]);
    assert_eq!(output.code, 1, "{output:?}");
    let flows: Value = serde_json::from_str(&output.stdout).unwrap();
    let invariants = flows[0]["invariants"].as_array().unwrap();
    let found = invariants.iter().find(|invariant| invariant["name"] == "references_hold").unwrap();
    assert_eq!((flows[0]["flow"].as_str(), found["broken"].as_u64()), (Some("orders"), Some(1)));
    assert!(found["rows"][0].as_str().unwrap().contains("xt_transaction_id = B#2#R"), "{found}");
}
