//! Arithmetic that is exact or an error: integers do not wrap around, decimals have 38 digits at most.

mod arithmetic;
mod chain;
mod fold;

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    compute::{CastOptions, cast_with_options},
    datatypes::DataType,
    util::display::FormatOptions,
};
use datafusion::{error::Result, logical_expr::ScalarUDF, prelude::SessionContext};

pub(crate) use chain::CHAIN;
pub(crate) use fold::summing;

/// Makes the arithmetic of a session exact.
pub(crate) fn register(session: &SessionContext) {
    session.add_analyzer_rule(Arc::new(arithmetic::CheckedArithmetic));
    session.register_udf(ScalarUDF::new_from_impl(chain::Chain::new()));
    for function in fold::functions() {
        session.register_udaf(function);
    }
}

/// The values in a type that holds all of them.
fn cast(values: &ArrayRef, ty: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(values, ty, &CastOptions { safe: false, format_options: FormatOptions::default() })?)
}

/// The decimals' digits that this many hold.
fn bound(precision: u8) -> i128 {
    10_i128.pow(u32::from(precision.min(38)))
}
