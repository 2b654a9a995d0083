//! Which files are read, and what is said of those that are not.

use std::fs;

use qetl_runtime::{report::Status, run::plan_flow, waiting::Request};
use qetl_test_harness::TestProject;

use crate::project::place;

const INPUT: &str = "[input]\nprimary_key = [\"id\"]\ncolumns = [\"id\", \"v\"]\n";

fn feed(load: &str) -> TestProject {
    let flow = format!("id = \"o\"\nflow_type = \"change_feed\"\n{INPUT}[properties.load]\nsource_path = \"data\"\n{load}");
    TestProject::new(place(1, 0), &flow)
}

fn write(project: &TestProject, path: &str, text: &str) {
    let path = project.folder.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// How the flow's run ended, and what it says.
async fn run(project: &TestProject) -> (i32, String) {
    let report = project.execute(&Request::default()).await.unwrap();
    let flow = &report.flows[0];
    match flow.error.as_ref().or(flow.batches.iter().find_map(|batch| batch.error.as_ref())) {
        Some(error) => (error.exit_code, format!("{}\n{}", error.message, error.help)),
        None => (0, flow.status.name().to_owned()),
    }
}

#[track_caller]
fn says(found: &(i32, String), code: i32, parts: &[&str]) {
    assert_eq!(found.0, code, "{}", found.1);
    for part in parts {
        assert!(found.1.contains(part), "`{part}` is not in `{}`", found.1);
    }
}

#[tokio::test]
async fn a_pattern_that_never_matched_is_told_with_what_is_there() {
    for (pattern, files, parts) in [
        (
            "orders [2024] *.csv",
            &["data/orders [2024] 1.csv"][..],
            &["no file of `data` matches `orders [2024] *.csv`", "is a set of characters", "1 file is there: `orders [2024] 1.csv`"][..],
        ),
        ("*.cvs", &["data/b.csv", "data/a.csv"], &["2 files are there: `a.csv`, `b.csv`"]),
        ("*.parquet", &["data/orders.parquet/part-0.parquet"], &["`orders.parquet` is a folder: `orders.parquet/*` names the files in it"]),
        ("*.csv", &["data/2024/a.csv"], &["files lie in folders below, as `2024/a.csv`: `**/*.csv` looks into them"]),
        (
            "ordr_*.csv",
            &["data/orders_1.csv", "data/orders_2.csv", "data/orders_3.csv", "data/x.csv"],
            &["4 files are there: `orders_1.csv`, "],
        ),
        ("*.csv", &[], &["no file is there", "`may_be_missing = true`"]),
    ] {
        let project = feed(&format!("file_pattern = \"{pattern}\"\n"));
        files.iter().for_each(|file| write(&project, file, "id,v\n1,a\n"));
        says(&run(&project).await, 2, parts);
        let all = project.workspace.good_flows();
        let planned = plan_flow(&*project.engine, all[0], &all, &project.workspace.roots(), &Request::default()).await.unwrap();
        assert!(planned.obstacles.to_string().contains("matches"), "{}", planned.obstacles);
    }
}

#[tokio::test]
async fn a_pattern_may_match_nothing_yet_or_any_more() {
    let project = feed("file_pattern = \"*.csv\"\nmay_be_missing = true\n");
    says(&run(&project).await, 0, &["up_to_date"]);
    fs::remove_dir(project.folder.path().join("data")).unwrap();
    says(&run(&project).await, 0, &["up_to_date"]);

    let project = feed("file_pattern = \"*.csv\"\n");
    write(&project, "data/a.csv", "id,v\n1,a\n");
    says(&run(&project).await, 0, &["succeeded"]);
    fs::remove_file(project.folder.path().join("data/a.csv")).unwrap();
    says(&run(&project).await, 0, &["up_to_date"]);
}

#[tokio::test]
async fn other_flows_go_on() {
    let flow =
        format!("id = \"p\"\nflow_type = \"change_feed\"\n{INPUT}[properties.load]\nsource_path = \"data\"\nfile_pattern = \"*.csv\"\n");
    let project = feed("file_pattern = \"*.cvs\"\n").and("p", &flow);
    write(&project, "data/a.csv", "id,v\n1,a\n");
    let report = project.execute(&Request::default()).await.unwrap();
    assert_eq!(report.flows.iter().map(|flow| flow.status).collect::<Vec<_>>(), [Status::Failed, Status::Succeeded]);
}

#[tokio::test]
async fn a_path_of_a_task_that_never_matched_is_told() {
    let task = |path: &str, more: &str| {
        format!(
            "id = \"s\"\nflow_type = \"standard\"\n[[tasks]]\nid = \"l\"\ntask_type = \"ingestion\"\ntarget_dataset = \"raw\"\n\
             [tasks.config]\npath = \"{path}\"\n{more}"
        )
    };
    for (path, part) in [
        ("data/*.cvs", "1 file is there: `a.csv`"),
        ("data/b.csv", "1 file is there: `a.csv`"),
        ("dta/*.csv", "`dta/`, where `dta/*.csv` is looked for, is not there"),
    ] {
        let project = TestProject::new(place(1, 0), &task(path, ""));
        write(&project, "data/a.csv", "id,v\n1,a\n");
        says(&run(&project).await, 2, &[part]);
        let project = TestProject::new(place(1, 0), &task(path, "may_be_missing = true\n"));
        says(&run(&project).await, 0, &["up_to_date"]);
    }
}

#[tokio::test]
#[cfg(unix)]
async fn names_that_are_not_utf_8_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let project = feed("file_pattern = \"*.csv\"\n");
    let name = std::ffi::OsStr::from_bytes(b"m\xfcller_1.csv");
    let path = project.folder.path().join("data").join(name);
    fs::write(&path, "id,v\n1,a\n").unwrap();
    says(&run(&project).await, 2, &["`data/m\\xfcller_1.csv` cannot be read: its name is not UTF-8"]);
    let named = Request { batch_id: Some(1), inputs: vec![path.clone()], ..Request::default() };
    let report = project.execute(&named).await.unwrap();
    assert!(report.flows[0].error.as_ref().unwrap().message.contains("its name is not UTF-8"), "{report:?}");
    fs::rename(&path, path.with_file_name("müller_1.csv")).unwrap();
    says(&run(&project).await, 0, &["succeeded"]);
}

#[tokio::test]
async fn ids_of_days_and_of_hours_do_not_mix() {
    let project = feed("file_pattern = \"**/*.csv\"\nbatch_id_from = '(\\d{4}-\\d\\d-\\d\\d(T\\d\\d)?)'\n");
    write(&project, "data/2024-01-31/a.csv", "id,v\n1,a\n");
    says(&run(&project).await, 0, &["succeeded"]);
    write(&project, "data/2024-02-01T10/a.csv", "id,v\n1,a\n");
    says(&run(&project).await, 2, &["20240131 is the id of a day and 2024020110 that of an hour"]);
}

#[tokio::test]
async fn a_file_is_looked_at_again_when_it_is_another_one() {
    let project = feed("file_pattern = \"*.csv\"\non_changed_file = \"replay\"\n");
    let path = project.folder.path().join("data/a.csv");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let put = |text: &str| {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::File::options().write(true).open(&new).unwrap().set_modified(long_ago).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    put("id,v\n1,a\n");
    says(&run(&project).await, 0, &["succeeded"]);
    says(&run(&project).await, 0, &["up_to_date"]);
    // The same size and time of modification.
    put("id,v\n1,b\n");
    says(&run(&project).await, 0, &["succeeded"]);
    assert_eq!(project.rows("SELECT v FROM o_change_feed").await, [[Some("b".to_owned())]]);
    // Another file with the content that was read is none that changed.
    put("id,v\n1,b\n");
    says(&run(&project).await, 0, &["up_to_date"]);
    // One whose rows are the same is read once.
    put("id,v\n\"1\",b\n");
    says(&run(&project).await, 0, &["unchanged"]);
    says(&run(&project).await, 0, &["up_to_date"]);
}

#[tokio::test]
async fn advice_on_an_append_only_ledger_works() {
    let flow = "id = \"b\"\nflow_type = \"delta_publishing\"\n[input]\nprimary_key = [\"id\"]\n\
                columns = [\"id\", { name = \"v\", schema_type = \"decimal(10,2)\" }]\n[properties.load]\nsource_path = \"data\"\nbatch_id_from = '_(\\d+)'\n";
    let project = TestProject::new(place(1, 0), flow);
    for batch in [2, 3] {
        write(&project, &format!("data/b_{batch}.csv"), &format!("id,v\n1,{batch}\n"));
        says(&run(&project).await, 0, &["succeeded"]);
    }
    // A late batch is refused before it is landed.
    write(&project, "data/b_1.csv", "id,v\n1,1\n");
    let report = project.execute(&Request::default()).await.unwrap();
    let batch = &report.flows[0].batches[0];
    assert!(batch.steps.is_empty() && batch.status == Status::Rejected, "{batch:#?}");
    let help = &batch.error.as_ref().unwrap().help;
    assert!(help.contains("`--batch-id 4 --input FILE`"), "{help}");
    fs::remove_file(project.folder.path().join("data/b_1.csv")).unwrap();
    // A changed file of an older batch cannot be replayed, and nobody is told to.
    write(&project, "data/b_2.csv", "id,v\n1,20\n");
    let found = run(&project).await;
    says(
        &found,
        3,
        &[
            "`data/b_2.csv` was read as batch 2 and has other content now",
            "batch 2 cannot be replaced",
            "`--batch-id 4 --input data/b_2.csv`",
        ],
    );
    let inputs = vec![project.folder.path().join("data/b_2.csv")];
    let report = project.execute(&Request { batch_id: Some(4), inputs, ..Request::default() }).await.unwrap();
    assert_eq!(report.flows[0].status, Status::Succeeded, "{report:#?}");
    // Nor can one of what is not the newest batch any more.
    write(&project, "data/b_3.csv", "id,v\n1,30\n");
    says(&run(&project).await, 3, &["batch 3 cannot be replaced"]);
}

#[tokio::test]
async fn verify_sees_rows_that_are_lost() {
    let project = feed("file_pattern = \"*.csv\"\n");
    write(&project, "data/a.csv", "id,v\n1,a\n2,b\n");
    says(&run(&project).await, 0, &["succeeded"]);
    project.verified().await.unwrap();
    let catalog = rusqlite::Connection::open(project.folder.path().join("warehouse/catalog.sqlite")).unwrap();
    catalog.execute("UPDATE qetl_batches SET row_count = 3", ()).unwrap();
    let why = project.verified().await.unwrap_err().to_string();
    assert!(why.contains("xt_batch_id = 1, landed = 3, stored = 2"), "{why}");
}
