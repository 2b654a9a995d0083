//! The columns of datasets of other flows.

use qetl_core::{
    DatasetName, Flow, Problem, Problems,
    plan::Known as KnownType,
    standard::{StandardFlow, same_dataset},
};

use super::bench::{Known, KnownColumns};
use crate::{Engine, RunError, flows, run::plan_of};

/// The columns of other flows' datasets as they are stored, and those that are not there.
pub(super) async fn foreign(
    engine: &dyn Engine,
    flow: &StandardFlow,
    foreign: &[DatasetName],
    project: &[&Flow],
) -> Result<(Known, Problems), RunError> {
    let (mut known, mut absent) = (Known::new(), Problems::default());
    if foreign.is_empty() {
        return Ok((known, absent));
    }
    let stored = engine.datasets().await?;
    for source in flow.foreign_sources() {
        match stored.iter().find(|info| same_dataset(&info.name, &source.dataset)) {
            Some(info) if info.view => known.extend(view(engine, &info.name, project).await?.map(|columns| (info.name.clone(), columns))),
            Some(info) => {
                known.insert(info.name.clone(), KnownColumns { columns: info.columns.clone(), typed: true });
            }
            None => {
                let what = format!("dataset `{}` is not there", source.dataset);
                let problem = Problem::new("qetl::plan::absent_dataset", source.span, what).label("nothing was published yet");
                absent.push(problem.help("execute the flow that makes it first"));
            }
        }
    }
    Ok((known, absent.in_source(&flow.source)))
}

/// The columns of a view, which the flow that makes it knows; without that they are known when it is read.
async fn view(engine: &dyn Engine, name: &DatasetName, project: &[&Flow]) -> Result<Option<KnownColumns>, RunError> {
    let made = flows::makers(project);
    let maker = made.iter().find(|(dataset, _)| dataset == name).and_then(|(_, id)| project.iter().find(|flow| flow.id() == *id));
    let Some(maker) = maker else { return Ok(None) };
    let plan = match plan_of(engine, maker, project, &engine.records(maker.id()).await?, &Known::new()).await {
        Ok((plan, _)) => plan,
        // What is wrong with that flow is told when it is checked.
        Err(RunError::Problems(_)) => return Ok(None),
        Err(other) => return Err(other),
    };
    let typed = plan.input.iter().all(|column| column.known != KnownType::Presumed);
    Ok(plan.dataset(name).map(|dataset| KnownColumns { columns: dataset.schema.columns().to_vec(), typed }))
}
