//! Warehouses that an older qetl made: `tests/harness/old`. What it published is read as it is; a flow whose tables the rules of today would
//! make otherwise stops and names the batches, and every other goes on as if today's program had made them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use qetl_core::{Column, Type};
use qetl_runtime::{
    report::Status,
    run::{exit_code, plan_flow},
    verify::verify,
    waiting::Request,
};
use qetl_test_models::text::TextRow;

use crate::{Place, TestProject, project::temporary, project::workspace};

/// The flows that stop, each with the batches that its message names.
const STOPS: &[(&str, &str)] = &[("growth", "batches 1, 2"), ("marked", "batch 1"), ("pipeline", "batch 2")];

/// What the older qetl executed: the day, and which files came.
const STEPS: [(u32, &str); 4] = [(1, "_1.csv"), (2, "_2.csv"), (4, "orders_4.csv"), (3, "orders_3.csv")];
/// What waits.
const NEXT: [(u32, &[&str]); 1] = [(5, &["_3.csv", "orders_5.csv"])];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("old")
}

/// A file of `tests/harness/old`, as it was before it was compressed.
pub fn unpacked(name: &str) -> Vec<u8> {
    let packed = fs::read(folder().join(format!("{name}.zst"))).unwrap();
    zstd::decode_all(packed.as_slice()).unwrap()
}

/// A project with the flows of `tests/harness/old` and no files; `prepare` gets its folder before the engine is opened.
pub fn project(place: Place, prepare: &dyn Fn(&Path)) -> TestProject {
    let root = temporary();
    fs::create_dir(root.path().join("flows")).unwrap();
    for file in fs::read_dir(folder().join("project/flows")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), root.path().join("flows").join(file.file_name())).unwrap();
    }
    for data in fs::read_dir(folder().join("project/data")).unwrap() {
        fs::create_dir_all(root.path().join("data").join(data.unwrap().file_name())).unwrap();
    }
    fs::write(root.path().join("qetl.toml"), &place.settings).unwrap();
    prepare(root.path());
    let workspace = workspace(root.path());
    TestProject { folder: root, engine: (place.open)(&workspace), workspace, place }
}

/// Files come.
fn bring(project: &TestProject, ending: &str) {
    for data in fs::read_dir(folder().join("project/data")).unwrap() {
        let data = data.unwrap();
        for file in fs::read_dir(data.path()).unwrap() {
            let file = file.unwrap();
            let name = file.file_name();
            let is_late = name.to_string_lossy() == "orders_3.csv";
            if name.to_string_lossy().ends_with(ending) && (!is_late || ending == "orders_3.csv") {
                fs::copy(file.path(), project.folder.path().join("data").join(data.file_name()).join(&name)).unwrap();
            }
        }
    }
}

fn on(day: u32) -> Request {
    let at = chrono::NaiveDate::from_ymd_opt(2024, 5, day).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc();
    Request { execution_date: Some(at.timestamp_micros()), ..Request::default() }
}

/// Executes all flows, which must go through.
async fn execute(project: &TestProject, request: &Request) {
    let report = project.execute(request).await.unwrap();
    assert_eq!(exit_code(&report), 0, "{}: {report:#?}", project.place.engine);
}

/// What a flow has stored of a dataset.
struct Table {
    name: String,
    columns: Vec<Column>,
    rows: Vec<TextRow>,
}

/// What a flow has stored, without the times of loading and execution.
async fn tables(project: &TestProject, flow: &str) -> Vec<Table> {
    let flow = project.workspace.flows(&[flow.to_owned()]).unwrap()[0].clone();
    let all = project.workspace.good_flows();
    let request = Request { full_refresh: true, ..Request::default() };
    let planned = plan_flow(&*project.engine, &flow, &all, &project.workspace.roots(), &request).await.unwrap();
    let mut tables = Vec::new();
    for dataset in planned.plan.datasets.iter().filter(|dataset| dataset.is_stored()) {
        let stored = project.engine.stored(&dataset.name).await.unwrap().unwrap_or_default();
        let is_kept = |column: &Column| !["xt_loaded_at", "xt_processed_at"].contains(&column.name.as_str());
        let columns: Vec<Column> = stored.columns.into_iter().filter(is_kept).collect();
        let names: Vec<String> = columns.iter().map(|column| project.place.quoted(&column.name)).collect();
        let rows = project.rows(&format!("SELECT {} FROM {}", names.join(", "), dataset.name)).await;
        tables.push(Table { name: dataset.name.to_string(), columns, rows });
    }
    tables
}

/// A column that an older qetl inferred as float stays so, where today's infers a decimal: then the numbers are compared.
async fn compare(old: &TestProject, fresh: &TestProject, flow: &str, when: &str) {
    let (own, expected) = (tables(old, flow).await, tables(fresh, flow).await);
    let names = |tables: &[Table]| -> Vec<String> { tables.iter().map(|table| table.name.clone()).collect() };
    assert_eq!(names(&own), names(&expected), "{}, {flow}, {when}", old.place.engine);
    for (own, expected) in own.into_iter().zip(expected) {
        let differ = |(was, is): (&Column, &Column)| matches!((was.ty, is.ty), (Type::Float, Type::Decimal { .. }));
        let differ: Vec<bool> = own.columns.iter().zip(&expected.columns).map(differ).collect();
        let name = format!("{}, {flow}, `{}`, {when}: as made by the older qetl, and by this one", old.place.engine, own.name);
        let columns = |table: &Table| -> Vec<(String, Option<Type>)> {
            let typed = table.columns.iter().zip(&differ);
            typed.map(|(column, differs)| (column.name.clone(), (!differs).then_some(column.ty))).collect()
        };
        assert_eq!(columns(&own), columns(&expected), "{name}");
        assert_eq!(as_numbers(own.rows, &differ), as_numbers(expected.rows, &differ), "{name}");
    }
}

/// The rows, sorted, with numbers in place of the texts of some columns.
fn as_numbers(mut rows: Vec<TextRow>, columns: &[bool]) -> Vec<TextRow> {
    for row in &mut rows {
        for (value, _) in row.iter_mut().zip(columns).filter(|(_, is_one)| **is_one) {
            *value = value.take().map(|text| text.parse::<f64>().unwrap().to_string());
        }
    }
    rows.sort();
    rows
}

async fn holds(project: &TestProject, flow: &str) {
    let one = project.workspace.flows(&[flow.to_owned()]).unwrap()[0].clone();
    let found = verify(&*project.engine, &one).await.unwrap();
    assert!(found.holds(), "{}, {flow}: {found:#?}", project.place.engine);
}

/// Opens the old warehouse, and lives on in it beside a project that today's program has made from the first batch on.
pub async fn lives_on(old: &TestProject, fresh: &TestProject) {
    for (day, ending) in STEPS {
        bring(old, ending);
        bring(fresh, ending);
        execute(fresh, &on(day)).await;
    }
    let ids: Vec<String> = old.workspace.good_flows().iter().map(|flow| flow.id().to_owned()).collect();
    for id in &ids {
        let alone = [id.clone()];
        let report = old.execute_some(&alone, &Request::default()).await.unwrap();
        let stops = STOPS.iter().find(|(flow, _)| flow == id).map(|(_, batches)| *batches);
        match (&report.flows[0].error, stops) {
            (None, None) => {
                assert_eq!(report.flows[0].status, Status::UpToDate, "{id}");
                holds(old, id).await;
            }
            (Some(error), Some(batches)) => {
                assert_eq!(error.exit_code, 2, "{id}: {}", error.message);
                let names = format!("made {batches} by other rules");
                assert!(error.message.contains(&names), "{id}: `{names}` is not in `{}`", error.message);
                let refresh = Request { full_refresh: true, ..Request::default() };
                let report = old.execute_some(&alone, &refresh).await.unwrap();
                assert_eq!(exit_code(&report), 0, "{}, {id}: {report:#?}", old.place.engine);
            }
            (error, stops) => panic!("{}, {id}: should stop at {stops:?}, and says {error:?}", old.place.engine),
        }
        compare(old, fresh, id, "before anything new comes").await;

        let again = Request { batch_id: Some(1), ..Request::default() };
        let report = old.execute_some(&alone, &again).await.unwrap();
        assert_eq!(report.flows[0].status, Status::Unchanged, "{id}: {report:#?}");
    }
    for (day, endings) in NEXT {
        for ending in endings {
            bring(old, ending);
            bring(fresh, ending);
        }
        execute(fresh, &on(day)).await;
        execute(old, &on(day)).await;
    }
    for id in &ids {
        compare(old, fresh, id, "with one more batch").await;
        holds(old, id).await;
    }
    execute(old, &Request { full_refresh: true, ..Request::default() }).await;
    for id in &ids {
        compare(old, fresh, id, "after a full refresh").await;
    }
}
