//! The same changes, dealt to batches in several ways: each way is lived in every order of arrival.

use proptest::{collection::vec, prelude::*};

use super::{Arrival, content, options, table};
use crate::oracle::{BatchMode, LateBatches, Options, Row};

/// Changes whose sequences say their order, and ways to cut them into batches.
#[derive(Debug, Clone)]
pub struct Cuts {
    pub options: Options,
    /// Each is a list of batches, ids ascending; every row is in one of them.
    pub cuts: Vec<Vec<Arrival>>,
}

/// The most batches of a cut.
const BATCHES: usize = 3;

pub fn cuts() -> BoxedStrategy<Cuts> {
    let with_order = |options: &Options| !options.sequence.is_empty();
    table(true)
        .prop_flat_map(|table| (options(&table), Just(table)))
        .prop_filter("an order", move |(options, _)| with_order(options))
        .prop_flat_map(|(options, table)| {
            // What depends on the batches that are there when one arrives is none of the question.
            let allow_empty_snapshot = options.batch_mode == BatchMode::Snapshot && options.snapshot_of.is_empty();
            let late_batches = LateBatches::Cascade;
            let options = Options { max_delete_ratio: None, allow_empty_snapshot, late_batches, ..options };
            let rows = (content(&table, &options), content(&table, &options)).prop_map(|(rows, more)| [rows, more].concat());
            (rows, Just(options))
        })
        .prop_flat_map(|(rows, options)| {
            let places = vec(vec(0..BATCHES, rows.len()), 2);
            (places, Just(rows), Just(options))
        })
        .prop_map(|(places, rows, options)| {
            let cuts = places.iter().map(|places| cut(&rows, places)).collect();
            Cuts { options, cuts }
        })
        .boxed()
}

fn cut(rows: &[Row], places: &[usize]) -> Vec<Arrival> {
    let batch = |batch: usize| {
        let own: Vec<Row> = rows.iter().zip(places).filter(|(_, place)| **place == batch).map(|(row, _)| row.clone()).collect();
        Arrival { batch_id: batch as i64 + 1, files: vec![own.len()], rows: own, accept_guards: false, respelled: false }
    };
    (0..BATCHES).map(batch).collect()
}

/// Every order of some things.
pub fn orders<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |first: usize| {
        let mut rest = of.to_vec();
        let first = rest.remove(first);
        orders(&rest).into_iter().map(move |order| [vec![first.clone()], order].concat())
    };
    (0..of.len()).flat_map(with_first).collect()
}
