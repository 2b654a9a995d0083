//! Rows of replaced keys: listed as deleted while they are few in a file, and gone with it when they are many.

use qetl_runtime::{
    progress::{Event, Progress},
    report::Status,
    waiting::Request,
};
use rusqlite::Connection;

use qetl_test_harness::TestProject;

use crate::{
    cli::Cli,
    project::{delete_files, place},
};

const FLOW: &str = r#"
id = "visits"
flow_type = "sessionization"

[input]
primary_key = ["event_id"]
columns = [{ name = "event_id", schema_type = "integer" }, { name = "user_id", schema_type = "integer" }, "timestamp", "page"]

[properties]
session_timeout_seconds = 1800
"#;

const EVERYTHING: &str = "SELECT * FROM visits_sessions ORDER BY session_id";

/// Five thousand users with a session each; `late` says whose next event comes later, in another batch.
pub(crate) struct Visits {
    pub(crate) cli: Cli,
    batches: i64,
    events: i64,
}

impl Visits {
    pub(crate) const USERS: i64 = 5000;

    pub(crate) fn new() -> Self {
        let cli = Cli::empty();
        cli.write("flows/visits.toml", FLOW);
        cli.write("qetl.toml", "[engine]\nthreads = 1\n");
        let mut visits = Self { cli, batches: 0, events: 0 };
        visits.load((0..Self::USERS).map(|user| (user, "2024-01-01T10:00:00")));
        visits
    }

    pub(crate) fn late(&mut self, users: impl Iterator<Item = i64>) {
        self.load(users.map(|user| (user, "2024-01-01T09:50:00")));
    }

    fn load<'a>(&mut self, events: impl Iterator<Item = (i64, &'a str)>) {
        let mut text = "event_id,user_id,timestamp,page\n".to_owned();
        for (user, time) in events {
            self.events += 1;
            text += &format!("{},{user},{time},p{}\n", self.events, self.events % 7);
        }
        self.batches += 1;
        let (batch, file) = (self.batches.to_string(), format!("in/{}.csv", self.batches));
        self.cli.write(&file, &text);
        self.cli.ok(&["execute", "--batch-id", &batch, "--input", &file]);
    }

    fn catalog(&self) -> Connection {
        Connection::open(self.cli.path("warehouse/catalog.sqlite")).unwrap()
    }

    /// Rows of the live files of sessions, those first that came first: all of them, and how many are deleted.
    fn files(&self) -> Vec<(i64, Option<i64>)> {
        let sql = "SELECT f.record_count, d.delete_count FROM ducklake_data_file f JOIN ducklake_table t USING (table_id)
             LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL
             WHERE t.table_name = 'visits_sessions' AND f.end_snapshot IS NULL ORDER BY f.data_file_id";
        let catalog = self.catalog();
        let mut statement = catalog.prepare(sql).unwrap();
        let files = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        files.map(|file| file.unwrap()).collect()
    }

    fn at(&self, sql: &str, version: i64) -> String {
        self.cli.ok(&["query", sql, "--format", "csv", "--at", &version.to_string()])
    }
}

#[test]
fn few_rows_are_written_for_a_late_batch() {
    let mut visits = Visits::new();
    assert_eq!(visits.files(), [(5000, None)]);
    let first = visits.cli.query(EVERYTHING);
    visits.late((0..5000).step_by(100));
    assert_eq!(visits.files(), [(5000, Some(50)), (50, None)], "the file stays; the new sessions have one of their own");
    let second = visits.cli.query(EVERYTHING);
    visits.late((1..5000).step_by(100));
    assert_eq!(visits.files(), [(5000, Some(100)), (50, None), (50, None)], "old deletions are in the new file, too");

    let totals = "SELECT count(*) AS n, count(DISTINCT user_id) AS users, sum(event_count) AS events, min(start_time) AS first, max(xt_batch_id) AS last FROM visits_sessions";
    let header = "n,users,events,first,last\n";
    assert_eq!(visits.cli.query(totals), format!("{header}5000,5000,5100,2024-01-01T09:50:00.000000Z,3\n"));
    assert_eq!(visits.cli.query("SELECT count(*) AS n FROM visits_sessions"), "n\n5000\n");
    assert_eq!(visits.cli.query("SELECT max(user_id) AS n FROM visits_sessions WHERE xt_batch_id = 1 AND user_id <= 4901"), "n\n4899\n");
    assert_eq!(visits.cli.query("SELECT count(*) AS n FROM (SELECT * FROM visits_sessions LIMIT 4990)"), "n\n4990\n");
    assert_eq!(visits.at(EVERYTHING, 1), first);
    assert_eq!(visits.at(EVERYTHING, 2), second);
    let datasets = visits.cli.ok(&["datasets", "--format", "json"]);
    let mut datasets = datasets.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let sessions = datasets.find(|dataset| dataset["dataset"] == "visits_sessions").unwrap();
    assert_eq!(sessions["rows"], 5000, "{sessions}");

    // A file that lost a tenth of its rows is written anew, without them; so are those that lost all.
    visits.late((2..5000).step_by(10));
    assert_eq!(visits.files().iter().map(|(rows, _)| rows).sum::<i64>(), 5000);
    assert!(visits.files().iter().all(|(_, deleted)| deleted.is_none()), "{:?}", visits.files());
    let before = visits.cli.query(EVERYTHING);
    visits.cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(visits.cli.query(EVERYTHING), before);
    assert_eq!(visits.at(EVERYTHING, 2), second);
}

#[test]
fn many_small_files_become_one() {
    let mut visits = Visits::new();
    for batch in 0..40 {
        visits.late(Visits::USERS + batch * 10..Visits::USERS + batch * 10 + 10);
        assert!(visits.files().len() <= 18, "{:?}", visits.files());
    }
    assert_eq!(visits.cli.query("SELECT count(*) AS n, count(DISTINCT user_id) AS users FROM visits_sessions"), "n,users\n5400,5400\n");
}

#[test]
fn deletions_that_are_not_as_the_catalog_says_are_told() {
    let mut visits = Visits::new();
    visits.late((0..5000).step_by(100));
    let before = visits.cli.query(EVERYTHING);
    visits.catalog().execute("UPDATE ducklake_delete_file SET delete_count = delete_count + 1", ()).unwrap();
    let refused = visits.cli.run(&["query", EVERYTHING]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("it should name 51 rows below 5000"), "{refused:?}");
    visits.catalog().execute("UPDATE ducklake_delete_file SET delete_count = delete_count - 1, format = 'puffin'", ()).unwrap();
    let refused = visits.cli.run(&["query", EVERYTHING]);
    assert!(refused.stderr.contains("in a way that qetl does not read"), "{refused:?}");
    visits.catalog().execute("UPDATE ducklake_delete_file SET format = 'parquet'", ()).unwrap();
    assert_eq!(visits.cli.query(EVERYTHING), before);
}

#[test]
fn places_in_files_that_another_program_wrote_anew_meanwhile_are_not_published() {
    let project = TestProject::new(place(1, 2), FLOW);
    let events = |users: &mut dyn Iterator<Item = i64>| {
        let rows: String = users.map(|user| format!("{user}0,{user},2024-01-01T10:00:00,p\n")).collect();
        format!("event_id,user_id,timestamp,page\n{rows}")
    };
    let request = |batch, inputs| Request { batch_id: Some(batch), inputs, ..Request::default() };
    let first = request(1, project.write("first", &[events(&mut (1..1000))]));
    let more = project.write("more", &["event_id,user_id,timestamp,page\n1,7,2024-01-01T12:00:00,p\n".to_owned()]);
    let catalog = project.folder.path().join("warehouse/catalog.sqlite");
    // As many rows as before, in another file: what compacting does.
    let meanwhile = Progress::new(move |event| {
        if matches!(event, Event::StepDone { report, .. } if report.step == "visits_sessions") {
            let sql = "UPDATE ducklake_data_file SET data_file_id = data_file_id + 1000
                 WHERE table_id = (SELECT table_id FROM ducklake_table WHERE table_name = 'visits_sessions')";
            Connection::open(&catalog).unwrap().execute(sql, ()).unwrap();
        }
    });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        assert_eq!(project.execute(&first).await.unwrap().flows[0].batches[0].status, Status::Succeeded);
        let report = project.execute_told(&request(2, more.clone()), &meanwhile).await.unwrap();
        let told = format!("{:?}", report.flows[0]);
        assert!(told.contains("another program changed `visits_sessions` meanwhile"), "{told}");
        assert_eq!(project.rows("SELECT count(*) AS n FROM visits_sessions").await, [[Some("999".to_owned())]]);
        assert_eq!(project.execute(&request(2, more)).await.unwrap().flows[0].batches[0].status, Status::Succeeded);
        assert_eq!(project.rows("SELECT count(*) AS n FROM visits_sessions").await, [[Some("1000".to_owned())]]);
        assert_eq!(delete_files(&project), 1);
    });
}
