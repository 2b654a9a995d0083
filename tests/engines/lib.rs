//! Flows, executed on databases: against the plain reference models, and by the specification's examples.
//!
//! Databases that are not installed are left out, and the test says so. `QETL_CASES` is how many random histories each
//! search tries.
#![cfg(test)]

mod change_feed;
mod crash;
mod cut;
mod examples;
mod growth;
mod ledger;
mod project;
mod scd2;
mod search;
mod server;
mod sessions;
mod standard;
