//! Versions of dimension rows.

use proptest::{
    strategy::{BoxedStrategy, Strategy},
    test_runner::TestCaseError,
};
use qetl_runtime::{
    report::{RunReport, Status},
    waiting::Request,
};
use qetl_test_models::{
    oracle::{Row, Value},
    scd2::{
        history::{History, flow_toml, history},
        model::{Model, Outcome, Reason, Version},
    },
    text::TextRow,
};
use tokio::runtime::Runtime;

use crate::{
    project::TestProject,
    search::{equal, failed, on_every_database, text},
    server::Place,
};

on_every_database!(histories, told, check);

fn histories() -> BoxedStrategy<History> {
    history().boxed()
}

fn told(history: &History) -> String {
    format!("flow:\n{}\narrivals: {:#?}", flow_toml(&history.options), history.arrivals)
}

fn check(runtime: &Runtime, place: Place, history: &History) -> Result<(), TestCaseError> {
    let kind = place.kind;
    let project = TestProject::new(place, &flow_toml(&history.options));
    let mut model = Model::new(history.options.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let batch = &kind.holdable(&arrival.batch);
            let execution_date = arrival.execution_date(model.executed.contains_key(&batch.batch_id));
            let inputs = project.write(&format!("arrival_{index}"), &batch.csv(&model.options.feed.columns));
            let accept_guards = batch.accept_guards;
            let request = Request { batch_id: Some(batch.batch_id), inputs, execution_date, accept_guards, ..Request::default() };
            let report = project.execute(&request).await.map_err(failed)?;
            let expected = model.execute(batch.batch_id, &batch.rows, execution_date, batch.accept_guards);
            compare_outcome(&report, &expected)
                .map_err(|why| failed(format!("arrival {index} (batch {}): {why}\nwith {:?}", batch.batch_id, model.options)))?;
        }
        compare_tables(&project, &model).await?;
        // Deriving everything again changes nothing.
        project.execute(&Request { full_refresh: true, ..Request::default() }).await.map_err(failed)?;
        compare_tables(&project, &model).await
    })
}

fn compare_outcome(report: &RunReport, expected: &Outcome) -> Result<(), String> {
    let flow = &report.flows[0];
    let batch = flow.batches.first().ok_or_else(|| format!("no batch: {:?}", flow.error))?;
    let message = batch.error.as_ref().map_or("", |error| error.message.as_str());
    let fits = match expected {
        Outcome::Unchanged => batch.status == Status::Unchanged,
        Outcome::Succeeded { derived_again } => batch.status == Status::Succeeded && batch.derived_again == *derived_again,
        Outcome::Rejected(reason) => {
            let words = match reason {
                Reason::NullKey => "NULL",
                Reason::ExecutionTime => "execution time",
                Reason::EmptySnapshot => "the snapshot is empty",
                Reason::DuplicateKey => "rows of one key differ",
                Reason::DeleteRatio => "max_delete_ratio",
            };
            batch.status == Status::Rejected && message.contains(words)
        }
    };
    if fits { Ok(()) } else { Err(format!("expected {expected:?}, found {batch:?}")) }
}

async fn compare_tables(project: &TestProject, model: &Model) -> Result<(), TestCaseError> {
    if model.executed.is_empty() {
        return Ok(());
    }
    let columns = |more: &[&str]| -> Vec<String> {
        model.options.feed.columns.iter().map(|column| column.name.clone()).chain(more.iter().map(|name| (*name).to_owned())).collect()
    };
    let row = |row: &Row, more: Vec<Option<String>>| row.iter().map(text).chain(more).collect::<TextRow>();
    let number = |number: i64| Some(number.to_string());
    let version = |found: &Version| {
        let (to, is_current) = (found.to.as_ref().and_then(text), found.to.is_none());
        let processed_at = text(&Value::Timestamp(found.processed_at));
        let more = [number(found.version), text(&found.from), to, Some(is_current.to_string()), number(found.batch_id), processed_at];
        row(&found.row, more.to_vec())
    };
    let more = ["xt_version", "xt_effective_from", "xt_effective_to", "xt_is_current", "xt_batch_id", "xt_processed_at"];
    equal("h_scd2", &project.dataset(&columns(&more), "h_scd2").await, model.versions().iter().map(version).collect())?;
    let landed = model.feed.landing().iter().map(|(values, batch)| row(values, vec![number(*batch)])).collect();
    equal("h_landing", &project.dataset(&columns(&["xt_batch_id"]), "h_landing").await, landed)?;
    if model.options.feed.parks() {
        let parked = |(values, reason, batch): &(Row, &str, i64)| row(values, vec![Some((*reason).to_owned()), number(*batch)]);
        let rows = model.parked().iter().map(parked).collect();
        equal("h_parked", &project.dataset(&columns(&["xt_parked_reason", "xt_batch_id"]), "h_parked").await, rows)?;
    }
    Ok(())
}
