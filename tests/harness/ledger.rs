//! Ledgers, flows of type `delta_publishing`.

use proptest::test_runner::TestCaseError;
use qetl_runtime::RunReport;
use qetl_test_models::{
    ledger::{
        history::{LedgerHistory, flow_toml, ledger_history, ledger_history_with_bad_rows, told},
        model::Ledger,
    },
    oracle::Outcome,
    tables,
};
use tokio::runtime::Runtime;

use crate::{
    change_feed::{arrive, at, compare_outcome, settled},
    place::Place,
    project::TestProject,
    search::{Lived, Places, Search, equal},
};

pub const SEARCH: Search<LedgerHistory> = Search { flow_type: "delta_publishing", histories: ledger_history, told, live };

/// Some of whose rows do not fit, and are set aside.
pub const BAD_ROWS: Search<LedgerHistory> = Search { histories: ledger_history_with_bad_rows, ..SEARCH };

fn live(runtime: &Runtime, places: Places<'_>, history: &LedgerHistory) -> Result<Lived, TestCaseError> {
    let project = TestProject::new(places(), &flow_toml(history));
    let mut ledger = Ledger::new(history.options.clone(), history.booking.clone());
    runtime.block_on(async {
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let arrival = &project.place.holdable(arrival);
            let report = arrive(&project, index, arrival, &history.options.columns).await?;
            if let Some(why) = project.place.says_no(&report) {
                return Ok(Lived::Refused(why));
            }
            let expected = ledger.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards);
            compare_outcome(&report, &expected, &history.options)
                .and_then(|()| compare_step(&report, &expected, &ledger, arrival.batch_id))
                .map_err(|why| at(index, arrival, &why))?;
            if !ledger.feed.batches.is_empty() {
                let off = project.rows(&differences(&project.place, &ledger)).await;
                equal(&format!("positions less state after arrival {index}"), &off, &[])?;
            }
        }
        if ledger.feed.batches.is_empty() {
            return Ok(Lived::AsTheModelSays);
        }
        settled(&project, &tables::delta_publishing(&ledger)).await
    })
}

/// What the run tells of a batch's transactions.
fn compare_step(report: &RunReport, outcome: &Outcome, ledger: &Ledger, batch_id: i64) -> Result<(), String> {
    if !matches!(outcome, Outcome::Succeeded { .. }) {
        return Ok(());
    }
    let steps = &report.flows[0].batches[0].steps;
    let told = steps.iter().find(|step| step.step == "h_delta_transaction").map(|step| step.rows);
    let posted = ledger.transactions().iter().filter(|posted| posted.batch_id == batch_id).count() as u64;
    if told == Some(posted) { Ok(()) } else { Err(format!("the batch posts {posted} transactions, the run tells {steps:?}")) }
}

/// Where the sums of the transactions are not the state's amounts: key, dimensions, and by how much each measure is off.
fn differences(place: &Place, ledger: &Ledger) -> String {
    let options = &ledger.feed.options;
    let names = |columns: &[usize]| columns.iter().map(|column| place.quoted(&options.columns[*column].name)).collect::<Vec<_>>();
    let measures = names(&ledger.booking.measures(options));
    let dimensions = names(&[options.key.clone(), ledger.booking.dimensions(options)].concat()).join(", ");
    let each = |write: fn(&String) -> String, separator: &str| measures.iter().map(write).collect::<Vec<_>>().join(separator);
    let negated = each(|measure| format!("-{measure} AS {measure}"), ", ");
    let sums = each(|measure| format!("SUM({measure})"), ", ");
    let off = each(|measure| format!("SUM({measure}) <> 0"), " OR ");
    format!(
        "SELECT {dimensions}, {sums} FROM (SELECT {dimensions}, {} FROM h_delta_transaction UNION ALL SELECT {dimensions}, {negated} FROM h_state) AS both_sides \
         GROUP BY {dimensions} HAVING {off}",
        measures.join(", ")
    )
}
