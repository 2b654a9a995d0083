//! Random histories of every flow type, on every kind of database.

use qetl_test_harness::{
    Place, change_feed, cuts, growth, ledger, names, parts, scd2, search::Search, sessions, slt, source, standard, wholes,
};

use crate::server::Kind;

macro_rules! on {
    ($($database:ident: $kind:expr),*) => {
        $(mod $database {
            use super::*;
            #[test] fn change_feed() { search($kind, &change_feed::SEARCH) }
            #[test] fn files_that_come_one_by_one() { files($kind) }
            #[test] fn batches_that_come_in_parts() { in_parts($kind) }
            #[test] fn change_feeds_in_every_order() { in_every_order($kind) }
            #[test] fn delta_publishing() { search($kind, &ledger::SEARCH) }
            #[test] fn sessionization() { search($kind, &sessions::SEARCH) }
            #[test] fn growth_accounting() { search($kind, &growth::SEARCH) }
            #[test] fn scd2() { search($kind, &scd2::SEARCH) }
            #[test] fn change_feeds_with_rows_that_do_not_fit() { search($kind, &change_feed::BAD_ROWS) }
            #[test] fn ledgers_with_rows_that_do_not_fit() { search($kind, &ledger::BAD_ROWS) }
            #[test] fn sessions_of_rows_some_of_which_do_not_fit() { search($kind, &sessions::BAD_ROWS) }
            #[test] fn growth_of_rows_some_of_which_do_not_fit() { search($kind, &growth::BAD_ROWS) }
            #[test] fn versions_of_rows_some_of_which_do_not_fit() { search($kind, &scd2::BAD_ROWS) }
            #[test] fn standard() { search($kind, &standard::SEARCH) }
            #[test] fn any_names() { search($kind, &names::SEARCH) }
            #[test] fn flows_that_read_flows() { search($kind, &source::SEARCH) }
        })*
    };
}

on!(duckdb: Kind::DuckDb, sqlite: Kind::Sqlite, postgres: Kind::Postgres, mariadb: Kind::MariaDb);

fn search<H: std::fmt::Debug>(kind: Kind, search: &Search<H>) {
    let Some(server) = kind.server() else { return };
    search.on(&|| server.place());
}

fn files(kind: Kind) {
    let Some(server) = kind.server() else { return };
    parts::search(&|| server.place());
}

fn in_parts(kind: Kind) {
    let Some(server) = kind.server() else { return };
    wholes::search(&|| server.place());
}

/// Each history is lived a dozen times.
fn in_every_order(kind: Kind) {
    let Some(server) = kind.server() else { return };
    cuts::SEARCH.on(&|| {
        let place = server.place();
        Place { cases: place.cases.div_ceil(10), ..place }
    });
}

#[test]
fn the_same_answers_on_duckdb() {
    ask(Kind::DuckDb);
}

#[test]
fn the_same_answers_on_sqlite() {
    ask(Kind::Sqlite);
}

#[test]
fn the_same_answers_on_postgres() {
    ask(Kind::Postgres);
}

#[test]
fn the_same_answers_on_mariadb() {
    ask(Kind::MariaDb);
}

fn ask(kind: Kind) {
    let Some(server) = kind.server() else { return };
    slt::ask(&|| server.place());
}
