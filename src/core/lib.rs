//! Flow files, diagnostics, schemas, the relational IR and the registry of flow types.
//!
//! Planning is a pure function of a flow's text and of the types of its columns: nothing in this crate knows SQL, an
//! engine, files, the clock or the command line.

pub mod decode;
pub mod flow;
pub mod format;
pub mod input;
pub mod ir;
pub mod load;
pub mod plan;
pub mod problem;
pub mod project;
pub mod reference;
pub mod registry;
pub mod rules;
pub mod schema;
pub mod standard;
pub mod suggest;

pub use flow::Flow;
pub use plan::{Dataset, DatasetName, Plan, Task};
pub use problem::{Problem, Problems, SourceText, Span};
pub use registry::{FlowType, Registry};
pub use rules::{Concerns, RULES, RuleChange};
pub use schema::{Column, Schema, Type};
