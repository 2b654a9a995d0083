//! Flows, executed: against a plain reference model, from the command line, on broken data, killed and raced.
//!
//! One test binary: every further one would link the engine again.
#![cfg(test)]

mod broken;
mod changes;
mod cli;
mod crash;
mod deletes;
mod duckdb;
mod files;
mod growth;
mod histories;
mod ledger;
mod old;
mod parked;
mod project;
mod publish;
mod race;
mod scd2;
mod semantics;
mod sessions;
mod source;
mod standard;
mod values;
mod verify;
mod written;
