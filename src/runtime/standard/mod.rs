//! Standard flows: which files wait, what each task reads and makes, in which order and how many at once they run.

mod bench;
mod check;
mod files;
mod hold;
mod prepare;
mod run;
mod script;
mod types;

pub use bench::{Bench, Checked, From, Known, KnownColumns, Moment, Statement, Target, TemporaryTable};
pub use check::check_project;
pub(crate) use check::modes;
pub use files::StandardJob;
pub use prepare::{PlannedStandard, PlannedTask, prepare};
pub(crate) use run::StandardRun;
