//! The embedded engine, as the tests of all engines see one.

use std::sync::Arc;

use qetl_datafusion::{DataFusionEngine, Settings};
use qetl_runtime::{Engine, Workspace};
pub(crate) use qetl_test_harness::project::temporary;
use qetl_test_harness::{Place, TestProject};

/// How large a share of a file's rows is deleted one by one: none in files as small as these, some, all.
const MOST_DELETED: [f64; 3] = [1.0, 0.5, Settings::MOST_DELETED];

/// With so many threads, and the `n`th way to delete.
pub(crate) fn place(threads: usize, n: usize) -> Place {
    let most_deleted = MOST_DELETED[n % MOST_DELETED.len()];
    Place {
        engine: "datafusion",
        cases: 100,
        settings: format!("[engine]\nthreads = {threads}\n"),
        database: None,
        open: Arc::new(move |workspace| open(workspace, threads, most_deleted)),
        quote: '"',
        holds: |_| true,
        refuses: &[],
        look: |_| (),
    }
}

fn open(workspace: &Workspace, threads: usize, most_deleted: f64) -> Arc<dyn Engine> {
    let settings = Settings {
        location: workspace.location(),
        catalog: workspace.catalog(),
        memory_limit: workspace.project.engine.memory_bytes(),
        threads,
        most_deleted,
    };
    Arc::new(DataFusionEngine::open(&settings))
}

/// How many files of deletes a project has ever published.
pub(crate) fn delete_files(project: &TestProject) -> usize {
    let catalog = rusqlite::Connection::open(project.folder.path().join("warehouse/catalog.sqlite")).unwrap();
    catalog.query_row("SELECT count(*) FROM ducklake_delete_file", (), |row| row.get(0)).unwrap()
}
