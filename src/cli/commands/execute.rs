//! `qetl execute`.

use std::{num::NonZeroUsize, time::Duration};

use qetl_core::standard::parse_var;
use qetl_runtime::{
    Interrupt, RunError,
    report::{RunReport, Status, Transactions},
    run, standard,
    waiting::Request,
};

use super::check::counted;
use crate::{
    args::{BatchArgs, Format},
    library::Project,
    output::Output,
    time::parse_time,
};

/// How `--var` is written.
const VAR_HELP: &str = "`--var NAME=VALUE`, once for each variable";

/// The most transactions that are listed on a terminal.
const SHOWN: usize = 50;

pub(crate) struct Options {
    /// `None`: as many as there are processors.
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Seconds to wait for another run of the flow.
    pub(crate) wait: u64,
    /// A version that is older than what was published, to go on from.
    pub(crate) accepted: Option<i64>,
    pub(crate) format: Format,
}

/// What the arguments ask for.
pub(crate) fn request(args: &BatchArgs) -> Result<Request, RunError> {
    Ok(Request {
        batch_id: args.batch_id,
        inputs: args.input.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect(),
        full_refresh: args.full_refresh,
        execution_date: args.execution_date.as_deref().map(parse_time).transpose()?,
        accept_guards: args.accept_guards,
        vars: args.var.iter().map(|text| parse_var(text)).collect::<Result<_, _>>().map_err(|why| RunError::usage(why, VAR_HELP))?,
        jobs: 0,
        interrupt: Interrupt::default(),
    })
}

/// A batch belongs to one flow.
pub(crate) fn refuse_several(flows: usize, args: &BatchArgs) -> Result<(), RunError> {
    if args.batch_id.is_some() && flows != 1 {
        return Err(RunError::usage("`--batch-id` needs exactly one flow", "name it: `qetl execute FLOW --batch-id N`"));
    }
    Ok(())
}

pub(crate) async fn run(
    project: &Project,
    args: &BatchArgs,
    options: &Options,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<i32, RunError> {
    let format = options.format;
    let (flows, wrong) = project.workspace.chosen(&args.flows)?;
    // A flow that is named and not found among those that are right may stand in any of the others.
    refuse_several(if args.flows.is_empty() { flows.len() + wrong.len() } else { flows.len().max(1) }, args)?;
    let request = Request { jobs: options.jobs.map_or(0, NonZeroUsize::get), interrupt: interrupt.clone(), ..request(args)? };
    // So may a variable.
    if wrong.is_empty() {
        standard::refuse_unknown_vars(&flows, &request.vars)?;
    }
    let progress = output.progress(format == Format::Text);
    if let Some(version) = options.accepted {
        project.engine.accept_version(version).await?;
    }
    let wait = Duration::from_secs(options.wait);
    let all = project.workspace.good_flows();
    let outcome = run::execute(&*project.engine, &flows, &all, &project.workspace.roots(), &request, wait, &progress).await;
    output.progress_done();
    let mut report = outcome?;
    wrong.into_iter().for_each(|(file, problems)| report.add_wrong_file(file, problems));
    match format {
        Format::Json => output.print(&format!("{}\n", serde_json::to_string(&report).map_err(RunError::failed)?)),
        Format::Text => summary(&report, output),
    }
    Ok(run::exit_code(&report))
}

/// What the steps' own lines have not said.
fn summary(report: &RunReport, output: &Output) {
    for flow in &report.flows {
        if !flow.refreshed.is_empty() {
            let ids = flow.refreshed.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
            output.print(&format!("{}: derived again from what was landed: batches {ids}\n", flow.flow));
        }
        if let Some(transactions) = &flow.transactions {
            output.print(&changed(transactions));
        }
        for batch in &flow.batches {
            batch.warnings.iter().for_each(|warning| output.warn(&format!("{} batch {}: {warning}", flow.flow, batch.batch_id)));
            match batch.status {
                Status::Unchanged => {
                    output.print(&format!("{} batch {}: unchanged, the same rows are there already\n", flow.flow, batch.batch_id))
                }
                Status::Succeeded if !batch.derived_again.is_empty() => {
                    let ids = batch.derived_again.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
                    let which = if batch.derived_again.iter().all(|again| *again > batch.batch_id) { "later" } else { "other" };
                    output.print(&format!("{} batch {}: {which} batches were derived again: {ids}\n", flow.flow, batch.batch_id));
                }
                Status::Succeeded | Status::UpToDate | Status::Failed | Status::Rejected | Status::Skipped => (),
            }
            if let Some(error) = &batch.error {
                output.failed(error);
            }
        }
        match (&flow.error, flow.status) {
            (Some(error), _) => output.failed(error),
            (None, Status::UpToDate) => output.print(&format!("{}: up to date\n", flow.flow)),
            (None, _) => (),
        }
    }
}

/// The transactions of a ledger that are others now.
fn changed(transactions: &Transactions) -> String {
    let count = transactions.changed.len();
    let mut text = format!("{}: {} changed\n", transactions.dataset, counted(count, "transaction", "transactions"));
    for (id, change) in transactions.changed.iter().take(SHOWN) {
        text.push_str(&format!("  {id}  {}\n", change.name()));
    }
    if count > SHOWN {
        text.push_str(&format!("  and {} more: `--format json` lists all of them\n", count - SHOWN));
    }
    text
}
