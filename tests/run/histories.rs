//! Random histories of every flow type on the embedded engine, with one to three threads, and all ways to delete rows.

use std::{
    fmt::Debug,
    sync::atomic::{AtomicUsize, Ordering},
};

use qetl_test_harness::{
    Place, Search, TestProject, change_feed, cuts, growth, ledger, names, parts, scd2, search::cases, sessions, slt, source, standard,
    wholes,
};

use crate::project::{delete_files, place};

fn search<H: Debug>(search: &Search<H>, look: fn(&TestProject)) {
    let next = AtomicUsize::new(0);
    search.on(&|| {
        let n = next.fetch_add(1, Ordering::Relaxed);
        Place { look, ..place(1 + n % 3, n / 3) }
    });
}

#[test]
fn change_feed() {
    search(&change_feed::SEARCH, |_| ());
}

#[test]
fn change_feeds_with_rows_that_do_not_fit() {
    search(&change_feed::BAD_ROWS, |_| ());
}

#[test]
fn ledgers_with_rows_that_do_not_fit() {
    search(&ledger::BAD_ROWS, |_| ());
}

#[test]
fn sessions_of_rows_some_of_which_do_not_fit() {
    search(&sessions::BAD_ROWS, |_| ());
}

#[test]
fn growth_of_rows_some_of_which_do_not_fit() {
    search(&growth::BAD_ROWS, |_| ());
}

#[test]
fn versions_of_rows_some_of_which_do_not_fit() {
    search(&scd2::BAD_ROWS, |_| ());
}

#[test]
fn files_that_come_one_by_one() {
    let next = AtomicUsize::new(0);
    parts::search(&|| place(1 + next.fetch_add(1, Ordering::Relaxed) % 3, 0));
}

#[test]
fn batches_that_come_in_parts() {
    wholes::search(&|| place(2, 0));
}

#[test]
fn any_names() {
    search(&names::SEARCH, |_| ());
}

#[test]
fn change_feeds_in_every_order() {
    // Each of them is lived a dozen times.
    cuts::SEARCH.on(&|| {
        let place = place(2, 0);
        Place { cases: place.cases / 10, ..place }
    });
}

#[test]
fn delta_publishing() {
    search(&ledger::SEARCH, |_| ());
}

#[test]
fn sessionization() {
    static DELETE_FILES: AtomicUsize = AtomicUsize::new(0);
    search(&sessions::SEARCH, |project| _ = DELETE_FILES.fetch_add(delete_files(project), Ordering::Relaxed));
    assert!(cases(100) < 50 || DELETE_FILES.load(Ordering::Relaxed) > 0, "no row was deleted by its place");
}

#[test]
fn growth_accounting() {
    search(&growth::SEARCH, |_| ());
}

#[test]
fn growth_accounting_however_it_is_cut() {
    search(&growth::SPLITS, |_| ());
}

#[test]
fn scd2() {
    static DELETE_FILES: AtomicUsize = AtomicUsize::new(0);
    search(&scd2::SEARCH, |project| _ = DELETE_FILES.fetch_add(delete_files(project), Ordering::Relaxed));
    assert!(cases(100) < 50 || DELETE_FILES.load(Ordering::Relaxed) > 0, "no row was deleted by its place");
}

#[test]
fn standard() {
    search(&standard::SEARCH, |_| ());
}

#[test]
fn flows_that_read_flows() {
    search(&source::SEARCH, |_| ());
}

#[test]
fn the_same_answers() {
    slt::ask(&|| place(2, 0));
}
