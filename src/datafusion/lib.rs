//! The embedded engine: DataFusion over a warehouse of Parquet files and one catalog in the DuckLake format.
//!
//! Nothing outside this crate knows the catalog's tables or a logical plan. Everything that a batch writes is staged
//! and synced first, and becomes visible in one transaction of the catalog.

mod author;
mod by_name;
mod calendar;
mod catalog;
mod classify;
mod deletes;
mod engine;
mod error;
mod exact;
mod functions;
mod hash;
mod history;
mod landed;
mod landing;
mod lower;
mod named;
mod pipe;
mod prepare;
mod query;
mod scan;
mod scratch;
mod session;
mod sessions;
mod stage;
mod staging;
mod stats;
mod tasks;
mod view;
mod work;

pub use engine::{DataFusionEngine, Settings, Tuning};
