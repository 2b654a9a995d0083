//! Random lives of flows: what their models accept of a history, and the tables in the end.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use qetl_test_models::{
    growth, histories,
    ledger::{self, model::Ledger},
    oracle::{self, Model, Row},
    scd2, sessions,
    tables::{self, TextTable},
};

/// A flow type and how one of its lives is drawn.
pub(crate) type FlowType = (&'static str, fn(&mut TestRunner) -> Life);

pub(crate) const FLOW_TYPES: [FlowType; 5] = [
    ("change_feed", change_feed),
    ("delta_publishing", delta_publishing),
    ("sessionization", sessionization),
    ("growth_accounting", growth_accounting),
    ("scd2", scd2),
];

pub(crate) struct Life {
    /// The flow file.
    pub(crate) flow: String,
    /// The history, for people.
    pub(crate) told: String,
    /// In the order in which they came; an id that was there before is a replay.
    pub(crate) batches: Vec<Batch>,
    pub(crate) tables: Vec<TextTable>,
}

/// A batch that was accepted.
pub(crate) struct Batch {
    pub(crate) id: i64,
    /// Microseconds since 1970.
    pub(crate) processed_at: i64,
    pub(crate) files: Vec<Vec<Row>>,
}

/// The life that a seed stands for: the first one drawn in which a batch is accepted.
pub(crate) fn drawn((_, live): FlowType, seed: u64) -> Life {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    loop {
        let life = live(&mut runner);
        if !life.batches.is_empty() {
            return life;
        }
    }
}

fn draw<S: Strategy>(strategy: S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// The rows of each file.
fn files(arrival: &histories::Arrival) -> Vec<Vec<Row>> {
    let mut rows = arrival.rows.iter().cloned();
    arrival.files.iter().map(|count| rows.by_ref().take(*count).collect()).collect()
}

/// Times of flow types whose tables do not tell them.
fn some_time(index: usize) -> i64 {
    1_700_000_000_000_000 + index as i64 * 86_400_000_001
}

/// Batches of a flow whose model accepts them as a change feed does.
fn fed(arrivals: &[histories::Arrival], mut execute: impl FnMut(&histories::Arrival) -> oracle::Outcome) -> Vec<Batch> {
    let mut batches = Vec::new();
    for (index, arrival) in arrivals.iter().enumerate() {
        if let oracle::Outcome::Succeeded { .. } = execute(arrival) {
            batches.push(Batch { id: arrival.batch_id, processed_at: some_time(index), files: files(arrival) });
        }
    }
    batches
}

fn change_feed(runner: &mut TestRunner) -> Life {
    let history = draw(histories::history(true), runner);
    let mut model = Model::new(history.options.clone());
    let batches = fed(&history.arrivals, |arrival| model.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards));
    let told = format!("{:#?}", history.arrivals);
    Life { flow: histories::flow_toml(&history), told, batches, tables: tables::change_feed(&model) }
}

fn delta_publishing(runner: &mut TestRunner) -> Life {
    let history = draw(ledger::history::ledger_history(), runner);
    let mut model = Ledger::new(history.options.clone(), history.booking.clone());
    let batches = fed(&history.arrivals, |arrival| model.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards));
    let told = format!("{:?}\n{:#?}", history.booking, history.arrivals);
    Life { flow: ledger::history::flow_toml(&history), told, batches, tables: tables::delta_publishing(&model) }
}

fn sessionization(runner: &mut TestRunner) -> Life {
    let history = draw(sessions::history::history(), runner);
    let mut model = sessions::model::Model::new(history.options.clone());
    let mut batches = Vec::new();
    for (index, arrival) in history.arrivals.iter().enumerate() {
        // Every other replay says nothing of its time; the batch keeps what it has.
        let is_told = index % 2 == 0 || !model.batches.contains_key(&arrival.batch_id);
        let (id, files) = (arrival.batch_id, files(arrival));
        if model.execute(id, files.clone(), is_told.then(|| some_time(index))) == sessions::model::Outcome::Succeeded {
            batches.push(Batch { id, processed_at: model.batches[&id].processed_at, files });
        }
    }
    let told = format!("{:#?}", history.arrivals);
    Life { flow: sessions::history::flow_toml(&history), told, batches, tables: tables::sessionization(&model) }
}

fn growth_accounting(runner: &mut TestRunner) -> Life {
    let history = draw(growth::history::history(), runner);
    let mut model = growth::model::Model::new(history.options.clone());
    let mut batches = Vec::new();
    for (index, arrival) in history.arrivals.iter().enumerate() {
        if model.execute(arrival.batch_id, &arrival.rows) == growth::model::Outcome::Succeeded {
            batches.push(Batch { id: arrival.batch_id, processed_at: some_time(index), files: files(arrival) });
        }
    }
    let told = format!("{:#?}", history.arrivals);
    Life { flow: growth::history::flow_toml(&history.options), told, batches, tables: tables::growth_accounting(&model) }
}

fn scd2(runner: &mut TestRunner) -> Life {
    let history = draw(scd2::history::history(), runner);
    let mut model = scd2::model::Model::new(history.options.clone());
    let mut batches = Vec::new();
    for arrival in &history.arrivals {
        let (id, batch) = (arrival.batch.batch_id, &arrival.batch);
        let date = arrival.execution_date(model.executed.contains_key(&id));
        if let scd2::model::Outcome::Succeeded { .. } = model.execute(id, &batch.rows, date, batch.accept_guards) {
            batches.push(Batch { id, processed_at: model.micros(id), files: files(batch) });
        }
    }
    let told = format!("{:#?}", history.arrivals);
    Life { flow: scd2::history::flow_toml(&history.options), told, batches, tables: tables::scd2(&model) }
}
