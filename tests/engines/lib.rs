//! Flows, executed on databases: against the plain reference models, and by the specification's examples.
//!
//! Databases that are not installed are left out, and the test says so. `QETL_CASES` is how many random histories each
//! search tries.
#![cfg(test)]

mod crash;
mod cut;
mod documented;
mod examples;
mod histories;
mod old;
mod publish;
mod server;
mod standard;
