//! Flows as authors write them, on the embedded engine.

use qetl_test_harness::documented;

use super::scripts::python;
use crate::project::place;

#[test]
fn the_embedded_engine_runs_documented_flows() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    documented::run(&runtime, &|| place(2, 0), python().as_deref());
}
