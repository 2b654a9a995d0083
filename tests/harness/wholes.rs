//! Batches whose files come one by one, and go: whatever the flow type, the tables are those of batches that come whole.

use std::{collections::BTreeMap, fs};

use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestCaseError};
use qetl_runtime::waiting::Request;
use qetl_test_models::text::TextRow;
use tokio::runtime::Runtime;

use crate::{
    place::Place,
    project::TestProject,
    search::{Lived, Places, Search, equal, failed},
};

/// Flows over `id`, `v`, `user` and `at`, each with the datasets that are compared.
const FLOWS: [(&str, &[&str]); 6] = [
    (
        "id = \"f\"\nflow_type = \"delta_publishing\"\n[input]\nprimary_key = [\"id\"]\non_duplicate_key = \"keep_last\"\nCOLUMNS\n\
         [properties]\nlate_batches = \"cascade\"\nLOAD",
        &["f_landing", "f_change_feed", "f_delta_transaction"],
    ),
    (
        "id = \"f\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"id\"]\non_duplicate_key = \"park\"\nbatch_mode = \"delta\"\nCOLUMNS\n\
         [properties]\nemit_stale = false\nLOAD",
        &["f_landing", "f_change_feed", "f_stale", "f_parked"],
    ),
    (
        "id = \"f\"\nflow_type = \"sessionization\"\n[input]\nprimary_key = [\"id\"]\nCOLUMNS\n[properties]\nuser_id_field = \"user\"\n\
         timestamp_field = \"at\"\nsession_timeout_seconds = 100000\nsession_events = true\nLOAD",
        &["f_landing", "f_sessions", "f_session_events"],
    ),
    (
        "id = \"f\"\nflow_type = \"growth_accounting\"\n[input]\nCOLUMNS\n[properties]\nuser_id_column = \"user\"\ntimestamp_column = \"at\"\n\
         churn_threshold_days = 2\nLOAD",
        &["f_landing", "f_activity_periods", "f_acquisitions", "f_churn", "f_resurrections", "f_growth_summary"],
    ),
    (
        "id = \"f\"\nflow_type = \"scd2\"\n[input]\nprimary_key = [\"id\"]\non_duplicate_key = \"keep_first\"\nbatch_mode = \"delta\"\nCOLUMNS\n\
         [properties]\neffective_date_column = \"at\"\nLOAD",
        &["f_landing", "f_scd2"],
    ),
    (
        "id = \"f\"\nflow_type = \"standard\"\n[[tasks]]\nid = \"l\"\ntask_type = \"ingestion\"\ntarget_dataset = \"f_landing\"\n\
         [tasks.config]\npath = \"data/f_{{ batch_id }}_*.csv\"\non_changed_file = \"replay\"\nCOLUMNS\n[[tasks]]\nid = \"t\"\n\
         task_type = \"sql_processing\"\nsource_dataset = \"f_landing\"\ntarget_dataset = \"f_kept\"\nsource_scope = \"batch\"\n\
         sql = \"INSERT INTO {{ target_dataset }} SELECT id, v FROM {{ source_dataset }}\"\n",
        &["f_landing", "f_kept"],
    ),
];

const COLUMNS: &str = "columns = [{ name = \"id\", schema_type = \"integer\" }, { name = \"v\", schema_type = \"decimal(10,2)\" }, \
                       { name = \"user\", schema_type = \"string\" }, { name = \"at\", schema_type = \"timestamp\" }]";
const LOAD: &str =
    "[properties.load]\nsource_path = \"data\"\nbatch_id_from = 'f_(\\d+)_'\non_changed_file = \"replay\"\nmay_be_missing = true\n";

#[derive(Debug, Clone)]
struct Life {
    flow: usize,
    /// Batch, part and rows of each file, as they come.
    files: Vec<(usize, usize, Vec<[u8; 4]>)>,
    /// Which of the files that were read are moved away after each run.
    moved: Vec<Index>,
}

fn lives() -> BoxedStrategy<Life> {
    let row = (0..5_u8, 0..3_u8, 0..3_u8, 0..6_u8).prop_map(|(id, v, user, day)| [id, v, user, day]);
    let file = (1..4_usize, 0..3_usize, vec(row, 0..4));
    let life = (0..FLOWS.len(), vec(file, 1..8), vec(any::<Index>(), 8));
    life.prop_map(|(flow, mut files, moved)| {
        // The next batch of a task is looked for once there is the one before it.
        if FLOWS[flow].0.contains("standard") {
            let mut known = 0;
            files.iter_mut().for_each(|file| {
                file.0 = file.0.min(known + 1);
                known = known.max(file.0);
            });
        }
        Life { flow, files, moved }
    })
    .boxed()
}

fn flow(life: &Life) -> String {
    FLOWS[life.flow].0.replace("COLUMNS", COLUMNS).replace("LOAD", LOAD)
}

/// The parts' numbers are not in the order of text.
fn name(batch: usize, part: usize) -> String {
    format!("data/f_{batch}_{}.csv", [2, 10, 1][part])
}

fn text(rows: &[[u8; 4]]) -> String {
    let row = |[id, v, user, day]: &[u8; 4]| format!("{id},{v}.50,u{user},2024-01-0{}T0{id}:00:00\n", day + 1);
    format!("id,v,user,at\n{}", rows.iter().map(row).collect::<String>())
}

/// Lives such histories on an engine.
pub fn search(places: Places<'_>) {
    SEARCH.each(places().cases, |runtime, life| live(runtime, places, life).map(|_| ()));
}

const SEARCH: Search<Life> = Search {
    flow_type: "batches that come in parts",
    histories: lives,
    told: |life| {
        let file = |(batch, part, rows): &(usize, usize, Vec<[u8; 4]>)| format!("{}\n{}", name(*batch, *part), text(rows));
        format!("{}\n{}\nmoved: {:?}", flow(life), life.files.iter().map(file).collect::<Vec<_>>().join("\n"), life.moved)
    },
    live,
};

fn live(runtime: &Runtime, places: Places<'_>, life: &Life) -> Result<Lived, TestCaseError> {
    let project = |place: Place| TestProject::new(place, &flow(life));
    let (parts, whole) = (project(places()), project(places()));
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    runtime.block_on(async {
        for (index, (batch, part, rows)) in life.files.iter().enumerate() {
            let (name, text) = (name(*batch, *part), text(rows));
            let path = parts.folder.path().join(&name);
            // By its inode it is another file, however little time has passed.
            let _ = fs::remove_file(&path);
            fs::write(&path, &text).unwrap();
            files.insert(name, text);
            execute(&parts).await?;
            let there: Vec<&String> = files.keys().filter(|name| parts.folder.path().join(name).exists()).collect();
            if index % 2 == 0 {
                fs::remove_file(parts.folder.path().join(life.moved[index].get(&there))).unwrap();
            }
        }
        for (name, text) in &files {
            fs::write(whole.folder.path().join(name), text).unwrap();
        }
        let batches = life.files.iter().map(|file| file.0).max().unwrap_or(0);
        for _ in 0..batches {
            execute(&whole).await?;
        }
        for when in ["one by one", "after a full refresh"] {
            for dataset in FLOWS[life.flow].1 {
                equal(&format!("{dataset}, {when}"), &rows(&parts, dataset).await, &rows(&whole, dataset).await)?;
            }
            parts.verified().await?;
            parts.refresh().await?;
        }
        Ok(Lived::AsTheModelSays)
    })
}

async fn execute(project: &TestProject) -> Result<(), TestCaseError> {
    let report = project.execute(&Request { accept_guards: true, execution_date: Some(0), ..Request::default() }).await.map_err(failed)?;
    match report.flows[0].error.as_ref().or(report.flows[0].batches.iter().find_map(|batch| batch.error.as_ref())) {
        Some(error) => Err(failed(format!("{}\n{}", error.message, error.help))),
        None => Ok(()),
    }
}

/// The rows of a dataset, without the times of loading.
async fn rows(project: &TestProject, dataset: &str) -> Vec<TextRow> {
    let namespaced = qetl_core::DatasetName { namespace: "main".to_owned(), name: dataset.to_owned() };
    let stored = project.engine.stored(&namespaced).await.unwrap().unwrap_or_default();
    let kept = stored.columns.iter().filter(|column| column.name != "xt_loaded_at" && column.name != "xt_processed_at");
    let names: Vec<String> = kept.map(|column| project.place.quoted(&column.name)).collect();
    if names.is_empty() { Vec::new() } else { project.rows(&format!("SELECT {} FROM {dataset}", names.join(", "))).await }
}
