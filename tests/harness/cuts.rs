//! Change feeds whose rows say their order: the same changes in several cuts, each in every order of arrival.

use proptest::test_runner::TestCaseError;
use qetl_test_models::{
    histories::{
        History,
        cuts::{Cuts, cuts, orders},
        flow_toml,
    },
    oracle::Model,
    tables,
};
use tokio::runtime::Runtime;

use crate::{
    change_feed::{arrive, at, compare_outcome},
    project::TestProject,
    search::{Lived, Places, Search, failed},
};

pub const SEARCH: Search<Cuts> = Search {
    flow_type: "change_feed, in every order",
    histories: cuts,
    told: |cuts| format!("flow:\n{}\ncuts: {:#?}", toml(cuts), cuts.cuts),
    live,
};

fn toml(cuts: &Cuts) -> String {
    flow_toml(&History { options: cuts.options.clone(), arrivals: Vec::new(), added: None })
}

fn live(runtime: &Runtime, places: Places<'_>, cuts: &Cuts) -> Result<Lived, TestCaseError> {
    for cut in &cuts.cuts {
        let mut told = None;
        for order in orders(cut) {
            let project = TestProject::new(places(), &toml(cuts));
            let mut model = Model::new(cuts.options.clone());
            runtime.block_on(async {
                for (index, arrival) in order.iter().enumerate() {
                    let arrival = &project.place.holdable(arrival);
                    let report = arrive(&project, index, arrival, &cuts.options.columns).await?;
                    let expected = model.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards);
                    compare_outcome(&report, &expected, &cuts.options).map_err(|why| at(index, arrival, &why))?;
                }
                if model.batches.is_empty() {
                    return Ok(());
                }
                project.has(&tables::change_feed(&model)).await?;
                // One table is as sound as an equal one.
                if told.is_none() { project.verified().await } else { Ok(()) }
            })?;
            let tables = tables::change_feed(&model);
            if told.get_or_insert_with(|| tables.clone()) != &tables {
                return Err(failed(format!("the model's tables depend on the order of arrival: {order:#?}")));
            }
        }
    }
    Ok(Lived::AsTheModelSays)
}
