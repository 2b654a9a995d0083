//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod execute;
pub(crate) mod generate;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod plan;
pub(crate) mod query;
pub(crate) mod types;
pub(crate) mod verify;

use std::future::Future;

use clap::CommandFactory;
use qetl_core::Registry;
use qetl_runtime::{Interrupt, RunError, panics};

use crate::{
    args::{Args, Command},
    library::Project,
    output::Output,
};

/// Runs the command; the result is the process's exit code.
pub(crate) fn run(args: &Args, registry: &Registry, output: &Output) -> Result<i32, RunError> {
    let open = || Project::open(args.global.project.as_deref(), args.global.profile.as_deref(), registry);
    match &args.command {
        Command::Init { dir, template } => init::run(dir, template, output),
        Command::Check { flows, format } => {
            let project = open()?;
            wait(check::run(&project, flows, *format, output))
        }
        Command::Plan { batch, show, dialect, graph, format } => {
            let options = plan::Options { show: *show, dialect, graph: *graph, format: *format };
            let project = open()?;
            wait(plan::run(&project, batch, &options, output))
        }
        Command::Execute { batch, dry_run: true, format, .. } => {
            let options = plan::Options { show: None, dialect: "sqlite", graph: None, format: *format };
            let project = open()?;
            wait(plan::run(&project, batch, &options, output))
        }
        Command::Execute { batch, jobs, wait: seconds, accept_catalog_version, format, .. } => {
            let project = open()?;
            let accepted = *accept_catalog_version;
            let options = execute::Options { jobs: *jobs, wait: *seconds, accepted, format: *format };
            let interrupt = Interrupt::default();
            wait_whole(execute::run(&project, batch, &options, &interrupt, output), &interrupt, output)
        }
        Command::Generate { flows, target, dialect, out, check, format } => {
            let options = generate::Options { target: *target, dialect: dialect.as_deref(), out, check: *check, format: *format };
            generate::run(&open()?, flows, &options, output)
        }
        Command::Query { sql, rows } => {
            let project = open()?;
            wait(query::run(&project, sql, rows, output))
        }
        Command::Show { dataset, batch, limit, rows } => {
            let project = open()?;
            wait(query::show(&project, dataset, *batch, *limit, rows, output))
        }
        Command::Verify { flows, format } => {
            let project = open()?;
            wait(verify::run(&project, flows, *format, output))
        }
        Command::Datasets { format } => {
            let project = open()?;
            wait(history::datasets(&project, *format, output))
        }
        Command::History { flow, limit, format } => {
            let project = open()?;
            wait(history::run(&project, flow.as_deref(), *limit, *format, output))
        }
        Command::FlowTypes { name, format } => types::flow_types(registry, name.as_deref(), *format, output),
        Command::Schema => types::schema(registry, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "qetl", &mut script);
            output.print(&String::from_utf8_lossy(&script));
            Ok(0)
        }
    }
}

/// Runs async work until it is done, or until Ctrl-C.
fn wait(work: impl Future<Output = Result<i32, RunError>>) -> Result<i32, RunError> {
    block_on(work, async {
        interrupted().await;
        RunError::interrupted()
    })
}

/// The same for work that ends itself, once a publish under way has its outcome. Who asks twice does not wait.
fn wait_whole(work: impl Future<Output = Result<i32, RunError>>, interrupt: &Interrupt, output: &Output) -> Result<i32, RunError> {
    block_on(work, async {
        interrupted().await;
        interrupt.ask();
        if interrupt.is_publishing() {
            output.note("a batch is being published: its outcome is waited for; interrupt again to leave at once");
        }
        interrupted().await;
        if !interrupt.is_publishing() {
            return RunError::interrupted();
        }
        let message = "interrupted: a batch is being published, whole or not at all; which of them is not known yet".to_owned();
        RunError::Interrupted { message, help: "run the same command again, or see `qetl history`".to_owned() }
    })
}

fn block_on(work: impl Future<Output = Result<i32, RunError>>, ended: impl Future<Output = RunError>) -> Result<i32, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RunError::failed)?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = panics::caught(work) => outcome,
            why = ended => Err(why),
        }
    });
    // Blocking threads see within a batch that nobody waits for them.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome
}

/// Ctrl-C, or the polite request to end that service managers send.
async fn interrupted() {
    let ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    match ended {
        Ok(mut ended) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => (),
                _ = ended.recv() => (),
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
