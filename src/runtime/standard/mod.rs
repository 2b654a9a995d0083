//! Standard flows: which files wait, what each task reads and makes, in which order and how many at once they run.

mod bench;
mod check;
mod files;
mod hold;
pub(crate) mod kept;
mod known;
mod prepare;
mod reads;
mod run;
mod script;
mod settle;
mod types;
mod vars;
mod work;

pub use bench::{Bench, Checked, Filled, From, Known, KnownColumns, Moment, Scopes, Statement, Target, TemporaryTable};
pub use check::check_project;
pub(crate) use check::modes;
pub use files::StandardJob;
pub use prepare::{PlannedStandard, PlannedTask, prepare};
pub(crate) use run::StandardRun;
pub use vars::refuse_unknown_vars;
