//! qetl as a program and as a library.
//!
//! The program is [`main`]; a binary of someone else's calls it with a larger registry. As a library, a project is
//! opened, a flow planned, the plan executed:
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let folder = std::env::temp_dir().join(format!("qetl-doc-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&folder);
//! use qetl::Project;
//!
//! qetl::init(&folder, "change_feed")?;
//! let project = Project::open(Some(&folder), None, &qetl_plugins::registry())?;
//!
//! // Batch 1 alone; without a batch id, everything that waits.
//! let plan = project.plan("orders_change_feed", None, Some("2024-01-31")).await?;
//! assert_eq!(plan.batch_ids(), [1, 2, 3]);
//! let report = project.execute(&plan).await?;
//! assert_eq!(report.flows[0].batches.len(), 3);
//!
//! // There is nothing left to do.
//! assert!(project.plan("orders_change_feed", None, None).await?.batch_ids().is_empty());
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), qetl_runtime::RunError>(())
//! # }).unwrap();
//! ```

mod args;
mod commands;
mod library;
mod output;
mod time;

use std::process::ExitCode;

use clap::Parser;
use qetl_core::Registry;
use qetl_runtime::panics;

pub use commands::init::init;
pub use library::{PlannedRun, Project};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the program with the process's arguments and gives its exit code.
pub fn main(registry: &Registry) -> ExitCode {
    panics::keep_quiet();
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let output = output::Output::new(&args.global);
    let code = match panics::caught_here(|| commands::run(&args, registry, &output)) {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            error.exit_code()
        }
    };
    // Threads that still read or write end with the process: what they do is in no version yet.
    std::process::exit(code)
}
