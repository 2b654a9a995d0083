//! The relational IR: what is to be computed, for every engine.
//!
//! Relations and expressions are immutable, typed when they are built, and print in one stable text form. Beside the
//! plain operators there are a few at the level of meaning (latest per key, classify); [`expand`](expand()) turns each
//! into plain ones, which is its definition. An engine may know a better way to the same rows.

mod expand;
mod expr;
mod rel;
mod text;
mod walk;

pub use expand::expand;
pub use expr::{BinaryOp, Expr, Function, Param, Period, Side, TypeOfColumn, Value};
pub use rel::{
    AggregateFunction, AsOf, Classify, Gone, JoinKind, LatestPerKey, Op, Order, Rel, RelError, Sessionize, Sessions, Step, Steps,
    WindowFunction,
};
pub use walk::time_zones;
