//! A run: for each flow its waiting batches, one after another, each published whole or not at all.

use std::{collections::BTreeSet, time::Duration};

use qetl_core::{Flow, Problems};
use uuid::Uuid;

use self::flow::FlowRun;
use crate::{
    engine::Engine,
    error::RunError,
    flows::{self, Readers},
    panics,
    progress::Progress,
    report::{BatchReport, ErrorReport, FlowReport, RunReport, Status, Transactions},
    standard::StandardRun,
    waiting::{Request, Roots},
};

mod derive;
mod flow;
mod history;
mod judge;
mod landing;
mod planned;
mod refresh;
mod transactions;

pub(crate) use derive::{context_of, known_batches};
pub(crate) use history::History;
pub(crate) use judge::shown;
pub(crate) use landing::{fingerprints, refuse_bad_rows, refuse_changed_files};
pub(crate) use planned::plan_of;
pub use planned::{Planned, plan_flow};
pub(crate) use refresh::stored_values;

/// Runs flows of a project, each with its request. A flow that fails keeps those from going on that read what it makes.
pub async fn execute(
    engine: &dyn Engine,
    flows: &[&Flow],
    project: &[&Flow],
    roots: &Roots,
    request: &Request,
    wait: Duration,
    progress: &Progress,
) -> Result<RunReport, RunError> {
    let run_id = Uuid::now_v7().to_string();
    let mut reports: Vec<FlowReport> = Vec::new();
    let readers = Readers::new(project);
    for flow in flows::in_order(flows, project) {
        let failed = |maker: &&str| reports.iter().find(|report| report.flow == *maker && flow_exit_code(report) != 0);
        if let Some(maker) = readers.makers_of(flow.id()).iter().find_map(failed) {
            let report = skipped(flow, maker);
            reports.push(report);
            continue;
        }
        let (history, interrupt) = (History::new(engine, flow.id(), &run_id, progress), &request.interrupt);
        let (history, done, outcome) = match flow.standard() {
            Some(tasks) => {
                let mut run = StandardRun {
                    engine,
                    flow,
                    project,
                    roots,
                    request,
                    progress,
                    run_id: &run_id,
                    history,
                    tells: false,
                    done: Done::default(),
                };
                let outcome = interrupt.over(panics::caught(run.all(&tasks, wait))).await;
                (run.history, run.done, outcome)
            }
            None => {
                let (waiting, done) = (Vec::new(), Done::default());
                let mut run = FlowRun { engine, flow, project, roots, request, progress, run_id: &run_id, waiting, history, done };
                let outcome = interrupt.over(panics::caught(run.all(wait))).await;
                (run.history, run.done, outcome)
            }
        };
        let outcome = history.settle(outcome, interrupt.is_asked(), &done.batches).await;
        if let Err(interrupted @ RunError::Interrupted { .. }) = outcome {
            return Err(interrupted);
        }
        reports.push(flow_report(flow, done, outcome));
    }
    let status = overall(reports.iter().map(|report| report.status));
    Ok(RunReport { run_id, status, flows: reports })
}

/// The exit code of a run: that of the flows that failed if they agree, else 1. Flows that were skipped do not count.
pub fn exit_code(report: &RunReport) -> i32 {
    let own = report.flows.iter().filter(|flow| flow.status != Status::Skipped).map(flow_exit_code);
    let codes: BTreeSet<i32> = own.filter(|code| *code != 0).collect();
    match (codes.len(), codes.first()) {
        (0, _) => 0,
        (1, Some(code)) => *code,
        _ => 1,
    }
}

fn flow_exit_code(flow: &FlowReport) -> i32 {
    let errors = flow.batches.iter().filter_map(|batch| batch.error.as_ref()).chain(&flow.error);
    errors.map(|error| error.exit_code).next().unwrap_or(0)
}

fn overall(statuses: impl Iterator<Item = Status>) -> Status {
    let statuses: Vec<Status> = statuses.collect();
    let has = |status: Status| statuses.contains(&status);
    [Status::Failed, Status::Rejected, Status::Skipped, Status::Succeeded, Status::Unchanged]
        .into_iter()
        .find(|status| has(*status))
        .unwrap_or(Status::UpToDate)
}

/// A flow that reads what another could not make.
fn skipped(flow: &Flow, maker: &FlowReport) -> FlowReport {
    let message = format!("flow `{}` was skipped: `{}`, whose datasets it reads, failed", flow.id(), maker.flow);
    let error = ErrorReport { message, help: String::new(), exit_code: flow_exit_code(maker), problems: Problems::default() };
    let Done { refreshed, transactions, batches } = Done::default();
    FlowReport { flow: flow.id().to_owned(), status: Status::Skipped, refreshed, transactions, batches, error: Some(error) }
}

/// What the run of a flow has done so far.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Batches that a full refresh derived again.
    pub(crate) refreshed: Vec<i64>,
    pub(crate) transactions: Option<Transactions>,
    pub(crate) batches: Vec<BatchReport>,
}

fn flow_report(flow: &Flow, done: Done, outcome: Result<(), RunError>) -> FlowReport {
    let Done { refreshed, transactions, batches } = done;
    let of_batch = batches.iter().any(|batch| batch.error.is_some());
    let error = outcome.as_ref().err().filter(|_| !of_batch).map(ErrorReport::from);
    let status = match &outcome {
        Ok(()) => overall(batches.iter().map(|batch| batch.status).chain((!refreshed.is_empty()).then_some(Status::Succeeded))),
        Err(error) => failure_status(error),
    };
    FlowReport { flow: flow.id().to_owned(), status, refreshed, transactions, batches, error }
}

pub(crate) fn failure_status(error: &RunError) -> Status {
    if error.exit_code() == 3 { Status::Rejected } else { Status::Failed }
}

/// Runs work that blocks beside the async threads.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RunError> + Send + 'static) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(panics::joined(panic)))
}
