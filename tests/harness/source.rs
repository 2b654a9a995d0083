//! Flows that read the batches of another flow's dataset: whatever happens to that flow, they have the tables that it has.

use proptest::{strategy::Strategy, test_runner::TestCaseError};
use qetl_runtime::{report::Status, waiting::Request};
use qetl_test_models::{
    histories::{History, flow_toml, history},
    oracle::OnDuplicateKey,
};
use tokio::runtime::Runtime;

use crate::{
    project::TestProject,
    search::{Lived, Places, Search, equal, failed},
};

pub const SEARCH: Search<History> = Search {
    flow_type: "source_dataset",
    histories: || history(true).prop_map(without_order).boxed(),
    told: |history| format!("flows:\n{}\n{}\narrivals: {:#?}", flow_toml(history), reader_toml(history), history.arrivals),
    live,
};

/// Rows of a dataset come in another order than those of its files did.
fn without_order(mut history: History) -> History {
    // The maker has all columns from the start.
    history.added = None;
    if matches!(history.options.on_duplicate_key, OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast) {
        history.options.on_duplicate_key = OnDuplicateKey::Park;
    }
    history
}

fn reader_toml(history: &History) -> String {
    let maker = flow_toml(history);
    let (flow, _) = maker.split_once("[properties.load]").unwrap();
    flow.replacen("h_change_feed", "r_change_feed", 1).replacen("[input]\n", "[input]\nsource_dataset = \"h_landing\"\n", 1)
}

fn live(runtime: &Runtime, places: Places<'_>, history: &History) -> Result<Lived, TestCaseError> {
    let project = TestProject::new(places(), &flow_toml(history)).and("reader", &reader_toml(history));
    runtime.block_on(async {
        let (maker, reader) = (["h_change_feed".to_owned()], ["r_change_feed".to_owned()]);
        // Guards let the reader's batches through as those of its maker were.
        let all = Request { accept_guards: true, ..Request::default() };
        let run = async |ids: &[String], request: &Request| project.execute_some(ids, request).await.map_err(failed);
        for (index, arrival) in history.arrivals.iter().enumerate() {
            let arrival = project.place.holdable(arrival);
            let inputs = project.write(&format!("arrival_{index}"), &arrival.csv(&history.options.columns));
            let request = Request { batch_id: Some(arrival.batch_id), inputs, accept_guards: arrival.accept_guards, ..Request::default() };
            run(&maker, &request).await?;
            if arrival.rows.len().is_multiple_of(2) {
                run(&reader, &all).await?;
            }
        }
        let last = run(&reader, &all).await?;
        let again = run(&reader, &all).await?;
        if again.flows[0].status != Status::UpToDate {
            return Err(failed(format!("{last:?}\nthen {again:?}")));
        }
        same_tables(&project, history).await?;
        run(&reader, &Request { full_refresh: true, ..all.clone() }).await?;
        same_tables(&project, history).await?;
        Ok(Lived::AsTheModelSays)
    })
}

async fn same_tables(project: &TestProject, history: &History) -> Result<(), TestCaseError> {
    if project.engine.records("h_change_feed").await.map_err(failed)?.batches.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = history.options.columns.iter().map(|column| project.place.quoted(&column.name)).collect();
    let feed = "xt_batch_id, xt_record_type, xt_changed_columns";
    let mut tables = vec![("landing", "xt_batch_id"), ("change_feed", feed), ("state", "xt_batch_id")];
    if !history.options.emit_stale {
        tables.push(("stale", feed));
    }
    if history.options.parks() {
        tables.push(("parked", "xt_parked_reason, xt_batch_id"));
    }
    for (table, more) in tables {
        let query = |prefix: &str| format!("SELECT {}, {more} FROM {prefix}_{table}", names.join(", "));
        equal(&format!("r_{table}"), &project.rows(&query("r")).await, &project.rows(&query("h")).await)?;
    }
    Ok(())
}
