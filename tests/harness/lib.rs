//! What the tests of all engines share: projects in temporary folders, random histories of every flow type that are lived and
//! compared with the reference models, and files of questions that every engine answers alike.
//!
//! `QETL_CASES` is how many histories each search tries, `QETL_SEED` which: with one seed all engines live the same ones.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "this is for tests alone, and what is wrong here has to stop them")]

pub mod change_feed;
pub mod cuts;
pub mod documented;
pub mod growth;
pub mod ledger;
pub mod names;
pub mod old;
pub mod parts;
pub mod place;
pub mod project;
pub mod scd2;
pub mod search;
pub mod sessions;
pub mod slt;
pub mod source;
pub mod standard;
pub mod wholes;

pub use place::Place;
pub use project::TestProject;
pub use search::Search;
