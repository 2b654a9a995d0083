//! The embedded engine, as the tests of all engines see one.

use std::sync::Arc;

use qetl_datafusion::{DataFusionEngine, Settings, Tuning};
use qetl_runtime::{Engine, Workspace};
pub(crate) use qetl_test_harness::project::temporary;
use qetl_test_harness::{Place, TestProject};

/// How large a share of a file's rows is deleted one by one (none in files as small as these, some, all); whether rows are looked
/// for by their keys, and latest rows kept, although there are few.
const TUNINGS: [Tuning; 3] = [
    Tuning { most_deleted: 1.0, rows_a_key: 0, kept_after: 1 },
    Tuning { most_deleted: 0.5, rows_a_key: 0, ..Tuning::USUAL },
    Tuning { kept_after: 2, ..Tuning::USUAL },
];

/// With so many threads, and the `n`th way to delete and to look for rows.
pub(crate) fn place(threads: usize, n: usize) -> Place {
    let tuning = TUNINGS[n % TUNINGS.len()];
    Place {
        engine: "datafusion",
        cases: 100,
        settings: format!("[engine]\nthreads = {threads}\n"),
        database: None,
        open: Arc::new(move |workspace| open(workspace, threads, tuning)),
        quote: '"',
        holds: |_| true,
        refuses: &[],
        look: |_| (),
    }
}

fn open(workspace: &Workspace, threads: usize, tuning: Tuning) -> Arc<dyn Engine> {
    let settings = Settings {
        location: workspace.location(),
        catalog: workspace.catalog(),
        memory_limit: workspace.project.engine.memory_bytes(),
        threads,
        tuning,
    };
    Arc::new(DataFusionEngine::open(&settings))
}

/// How many files of deletes a project has ever published.
pub(crate) fn delete_files(project: &TestProject) -> usize {
    let catalog = rusqlite::Connection::open(project.folder.path().join("warehouse/catalog.sqlite")).unwrap();
    catalog.query_row("SELECT count(*) FROM ducklake_delete_file", (), |row| row.get(0)).unwrap()
}
