//! What engines share: the [`Engine`] trait, which files wait for which batch, the records, and the run of a flow.
//!
//! Nothing here knows SQL, an engine or a flow type.

pub mod acknowledged;
pub mod durable;
pub mod engine;
pub mod error;
pub mod flows;
mod had;
pub mod interrupt;
pub mod natural;
pub mod panics;
pub mod progress;
pub mod records;
pub mod report;
mod rules;
pub mod run;
pub mod source;
pub mod standard;
mod times;
pub mod types;
pub mod verify;
pub mod waiting;
mod warnings;
pub mod workspace;
pub mod zones;

pub use engine::{BatchContext, Engine, Fence, FlowLock, Work};
pub use error::{Place, RunError};
pub use interrupt::Interrupt;
pub use records::FlowRecords;
pub use report::RunReport;
pub use workspace::Workspace;
