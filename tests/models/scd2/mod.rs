//! Versions of dimension rows: the reference model, and random lives of it.

pub mod history;
pub mod model;
