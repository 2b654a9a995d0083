//! What flows mean, as plain slow Rust, and random histories to try engines with: shared by the tests of all engines.
#![expect(clippy::unwrap_used, reason = "this is for tests alone, and what is wrong here has to stop them")]

pub mod growth;
pub mod histories;
pub mod ledger;
pub mod oracle;
pub mod outcomes;
pub mod parts;
pub mod pipeline;
pub mod scd2;
pub mod sessions;
pub mod tables;
pub mod text;
