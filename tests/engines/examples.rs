//! The specification's example, and what else holds on every database.

use std::{collections::BTreeMap, time::Duration};

use qetl_runtime::{RunError, report::Status, verify::verify, waiting::Request};
use qetl_test_models::text::TextRow;
use tokio::runtime::Runtime;

use qetl_test_harness::TestProject;

use crate::server::{Kind, Server};

/// One small test a rule, on each kind of database.
macro_rules! each {
    ($($name:ident),*) => {
        mod duckdb {
            $(#[test] fn $name() { super::on(crate::server::Kind::DuckDb, super::$name) })*
        }
        mod sqlite {
            $(#[test] fn $name() { super::on(crate::server::Kind::Sqlite, super::$name) })*
        }
        mod postgres {
            $(#[test] fn $name() { super::on(crate::server::Kind::Postgres, super::$name) })*
        }
        mod mariadb {
            $(#[test] fn $name() { super::on(crate::server::Kind::MariaDb, super::$name) })*
        }
    };
}

each!(
    the_worked_example,
    a_finer_amount_widens_its_column,
    nobody_else_is_disturbed,
    what_cannot_be_held_is_refused,
    what_is_as_it_was_is_read_once,
    two_at_once
);

fn on(kind: Kind, test: fn(&Runtime, &'static Server)) {
    let Some(server) = kind.server() else { return };
    test(&tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(), server);
}

fn flow(header: &str, columns: &str) -> String {
    let header = format!("id = \"orders_change_feed\"\nflow_type = \"change_feed\"\n{header}\n");
    format!(
        "{header}\n[input]\nprimary_key = [\"id\"]\ncolumns = [{columns}]\n\n[properties.load]\nsource_path = \"data\"\nformat = \"csv\"\n"
    )
}

const COLUMNS: &str = "\"id\", \"status\", \"amount\"";

/// Of the worked example; 3 is late.
fn example(batch: i64) -> &'static [&'static str] {
    match batch {
        1 => &["A,open,100", "B,open,100", "C,open,50", "D,open,70", "E,open,10"],
        2 => &["A,open,100", "B,open,150", "E,open,"],
        3 => &["A,open,100", "B,open,120", "C,open,50", "E,open,"],
        4 => &["A,open,100", "B,open,150", "D,open,75", "E,open,", "F,open,20"],
        5 => &["A,open,100", "B,paid,150", "C,open,50", "D,open,75", "E,open,10", "F,open,20", "F,open,20"],
        _ => &["A,open,100", "B,paid,150", "C,open,50", "E,open,10", "F,open,25"],
    }
}

async fn load(project: &TestProject, batch: i64, rows: &[&str]) -> Result<Status, String> {
    let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let inputs = project.write(&format!("orders_{batch}"), &[format!("id,status,amount\n{rows}")]);
    let request = Request { batch_id: Some(batch), inputs, ..Request::default() };
    let report = project.execute(&request).await.map_err(|error| error.to_string())?;
    let error = report.flows[0].error.as_ref().or(report.flows[0].batches.first().and_then(|batch| batch.error.as_ref()));
    error.map_or_else(|| Ok(report.flows[0].batches[0].status), |error| Err(error.message.clone()))
}

fn lines(rows: Vec<TextRow>) -> Vec<String> {
    let text = |cell: Option<String>| cell.unwrap_or_else(|| "∅".to_owned());
    rows.into_iter().map(|row| row.into_iter().map(text).collect::<Vec<_>>().join(" ")).collect()
}

const FEED: &str = "SELECT xt_batch_id, id, xt_record_type, amount FROM orders_change_feed ORDER BY xt_batch_id, id";

fn the_worked_example(runtime: &Runtime, server: &'static Server) {
    let project = TestProject::new(server.place(), &flow("", COLUMNS));
    runtime.block_on(async {
        for batch in [1, 2, 4, 5, 6] {
            assert_eq!(load(&project, batch, example(batch)).await, Ok(Status::Succeeded));
        }
        let last = ["6 A STALE 100", "6 B STALE 150", "6 C STALE 50", "6 D DELETED 75", "6 E STALE 10", "6 F CHANGED 25"];
        let feed = lines(project.ordered(FEED).await);
        assert_eq!(feed.len(), 27);
        assert_eq!(feed[21..], last);
        assert_eq!(load(&project, 3, example(3)).await, Ok(Status::Succeeded));
        let feed = lines(project.ordered(FEED).await);
        let third = ["3 A STALE 100", "3 B CHANGED 120", "3 C REACTIVATED 50", "3 E STALE ∅"];
        let fourth = ["4 A STALE 100", "4 B CHANGED 150", "4 C DELETED 50", "4 D REACTIVATED 75", "4 E STALE ∅", "4 F NEW 20"];
        assert_eq!(feed[10..20], [third.as_slice(), fourth.as_slice()].concat());
        let state = lines(project.ordered("SELECT id, amount, xt_batch_id FROM orders_state ORDER BY id").await);
        assert_eq!(state, ["A 100 6", "B 150 6", "C 50 6", "E 10 6", "F 25 6"]);
        assert_eq!(load(&project, 5, example(5)).await, Ok(Status::Unchanged));

        let flow = project.workspace.flows(&[]).unwrap()[0];
        let verified = verify(&*project.engine, flow).await.unwrap();
        assert!(verified.holds(), "{verified:?}");
        let datasets = project.engine.datasets().await.unwrap();
        let rows: BTreeMap<String, (u64, u64)> =
            datasets.iter().map(|dataset| (dataset.name.to_string(), (dataset.rows, dataset.batches))).collect();
        assert_eq!(rows["orders_change_feed"], (feed.len() as u64, 6));
        assert_eq!(rows["orders_landing"], (29, 6));
        let runs = project.engine.runs(Some("orders_change_feed")).await.unwrap();
        assert_eq!((runs.len(), runs.iter().filter(|run| run.status == "unchanged").count()), (7, 1));
        let records = match server.kind() {
            Kind::DuckDb | Kind::Postgres => "SELECT count(*) AS n FROM qetl.batches",
            Kind::Sqlite | Kind::MariaDb => "SELECT count(*) AS n FROM qetl_batches",
        };
        assert_eq!(lines(project.ordered(records).await), ["6"]);
    });
}

/// The column was one of integers; its table follows, in a namespace too.
fn a_finer_amount_widens_its_column(runtime: &Runtime, server: &'static Server) {
    let project = TestProject::new(server.place(), &flow("namespace = \"raw\"", COLUMNS));
    let feed = match server.kind() {
        Kind::DuckDb | Kind::Postgres => "raw.orders_change_feed",
        Kind::Sqlite | Kind::MariaDb => "raw_orders_change_feed",
    };
    runtime.block_on(async {
        assert_eq!(load(&project, 1, &["A,open,100", "B,open,7"]).await, Ok(Status::Succeeded));
        assert_eq!(load(&project, 2, &["A,open,100.25", "B,open,7"]).await, Ok(Status::Succeeded));
        let rows = project.ordered(&format!("SELECT xt_batch_id, id, xt_record_type, amount FROM {feed} ORDER BY 1, 2")).await;
        assert_eq!(lines(rows), ["1 A NEW 100.00", "1 B NEW 7.00", "2 A CHANGED 100.25", "2 B STALE 7.00"]);
    });
}

fn nobody_else_is_disturbed(runtime: &Runtime, server: &'static Server) {
    let project = TestProject::new(server.place(), &flow("", COLUMNS));
    runtime.block_on(async {
        assert_eq!(load(&project, 1, example(1)).await, Ok(Status::Succeeded));
        let before = project.ordered(FEED).await;
        for text in [
            "DELETE FROM orders_change_feed",
            "DROP TABLE orders_change_feed",
            "INSERT INTO orders_change_feed SELECT * FROM orders_change_feed",
            "SELECT 1; DROP TABLE orders_change_feed",
            "SELECT no_such_column FROM orders_change_feed",
        ] {
            match project.engine.query(text, None).await.map(|_| ()) {
                Err(RunError::Usage { .. }) => (),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(project.ordered(FEED).await, before);
        let types = project.ordered("SELECT id, amount, amount / 4.0 AS a_quarter, NULL AS missing FROM orders_state WHERE id = 'B'").await;
        assert!(lines(types)[0].starts_with("B 100 25"), "numbers are told as numbers");
    });
    match server.kind() {
        // Of two datasets that would be one table the second is refused.
        Kind::Sqlite => {
            let place = server.place();
            let renamed = flow("", COLUMNS).replace("orders_change_feed", "other_change_feed");
            let same_table = renamed
                .replace("flow_type", "namespace = \"a\"\nflow_type")
                .replace("[properties.load]", "[properties]\ndataset_prefix = \"b_c\"\n[properties.load]");
            let twin = renamed
                .replace("other_change_feed", "twin_change_feed")
                .replace("flow_type", "namespace = \"a_b\"\nflow_type")
                .replace("[properties.load]", "[properties]\ndataset_prefix = \"c\"\n[properties.load]");
            let (one, two) = (TestProject::new(place.clone(), &same_table), TestProject::new(place, &twin));
            runtime.block_on(async {
                assert_eq!(load(&one, 1, example(1)).await, Ok(Status::Succeeded));
                let refused = load(&two, 1, example(1)).await.unwrap_err();
                assert!(refused.contains("would be one table"), "{refused}");
            });
        }
        // A table that is somebody else's.
        Kind::Postgres | Kind::MariaDb => {
            let url = server.address();
            let other = TestProject::new(server.place_at(&url), &flow("", COLUMNS));
            server.sql(url.rsplit('/').next().unwrap(), "CREATE TABLE orders_landing (theirs INT)");
            runtime.block_on(async {
                let refused = load(&other, 1, example(1)).await.unwrap_err();
                assert!(refused.contains("`orders_landing` that qetl did not make"), "{refused}");
            });
        }
        Kind::DuckDb => (),
    }
}

fn what_cannot_be_held_is_refused(runtime: &Runtime, server: &'static Server) {
    let columns = "\"id\", \"status\", { name = \"amount\", schema_type = \"float\" }";
    let project = TestProject::new(server.place(), &flow("", columns));
    runtime.block_on(async {
        assert_eq!(load(&project, 1, &["A,open,1.5"]).await, Ok(Status::Succeeded));
        for (row, kinds) in
            [("B,open,NaN", [Kind::Sqlite, Kind::MariaDb].as_slice()), ("B,open,inf", &[Kind::MariaDb]), ("B,o\0pen,1", &[Kind::Postgres])]
        {
            let landed = "SELECT count(*) AS n FROM orders_landing";
            let before = project.ordered(landed).await;
            let outcome = load(&project, 2, &["A,open,1.5", row]).await;
            if kinds.contains(&server.kind()) {
                let message = outcome.unwrap_err();
                assert!(message.contains("orders_2_0.csv:3") && message.contains("cannot hold"), "{message}");
                assert_eq!(project.ordered(landed).await, before, "nothing of the batch is there");
            }
        }
    });
}

/// A reader of a batch that was replaced, and then had its first content back.
fn what_is_as_it_was_is_read_once(runtime: &Runtime, server: &'static Server) {
    let (maker, _) = flow("", COLUMNS).split_once("[properties.load]").map(|(flow, rest)| (flow.to_owned(), rest.to_owned())).unwrap();
    let reader = maker.replacen("orders_change_feed", "copies_change_feed", 1);
    let reader = reader.replacen("[input]\n", "[input]\nsource_dataset = \"orders_landing\"\n", 1);
    let project = TestProject::new(server.place(), &flow("", COLUMNS)).and("reader", &reader);
    let run = async |id: &str, request: &Request| {
        let report = project.execute_some(&[id.to_owned()], request).await.unwrap();
        let flow = &report.flows[0];
        assert!(flow.error.is_none(), "{:?}", flow.error);
        flow.batches.first().map_or(flow.status, |batch| batch.status)
    };
    let write = async |content: i64| {
        let text = format!("id,status,amount\n{}\n", example(content).join("\n"));
        let inputs = project.write(&format!("content_{content}"), &[text]);
        run("orders_change_feed", &Request { batch_id: Some(1), inputs, ..Request::default() }).await
    };
    let read = async || run("copies_change_feed", &Request::default()).await;
    runtime.block_on(async {
        assert_eq!((write(1).await, read().await), (Status::Succeeded, Status::Succeeded));
        assert_eq!((write(2).await, write(1).await), (Status::Succeeded, Status::Succeeded));
        assert_eq!((read().await, read().await), (Status::Unchanged, Status::UpToDate));
    });
}

fn two_at_once(runtime: &Runtime, server: &'static Server) {
    let project = TestProject::new(server.place(), &flow("", COLUMNS));
    runtime.block_on(async {
        let held = project.engine.lock("orders_change_feed", Duration::ZERO).await.unwrap();
        let second = project.engine.lock("orders_change_feed", Duration::ZERO).await;
        assert!(matches!(second, Err(RunError::Locked { .. })));
        let other = project.engine.lock("another", Duration::ZERO).await.unwrap();
        assert!(load(&project, 1, example(1)).await.unwrap_err().contains("held by another run"));
        let fence = held.fence().number();
        drop((held, other));
        assert_eq!(load(&project, 1, example(1)).await, Ok(Status::Succeeded));
        let next = project.engine.lock("orders_change_feed", Duration::ZERO).await.unwrap();
        assert_eq!(next.fence().number(), fence + 1, "who does nothing takes no number");
    });
}
