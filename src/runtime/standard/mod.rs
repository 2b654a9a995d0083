//! Standard flows: which files wait, what each task reads and makes, in which order and how many at once they run.

mod bench;
mod check;
mod files;
mod order;
mod prepare;
mod run;
mod script;
mod types;

pub use bench::{Bench, Checked, From, Known, KnownColumns, Moment, Statement, Target};
pub use check::check_project;
pub use files::StandardJob;
pub use order::{in_order, reads_from};
pub(crate) use order::{makers, read_by};
pub use prepare::{PlannedStandard, PlannedTask, prepare};
pub(crate) use run::StandardRun;
