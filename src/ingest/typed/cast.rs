//! From the type that a file's column has to the one that the flow gives it: exactly, or not at all.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray as _, PrimitiveArray},
    datatypes::{Date32Type, Decimal128Type, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
    json::writer::{EncoderOptions, make_encoder},
};
use qetl_core::{Type, format::ReaderOptions};

use super::{Misfit, normalise::each};
use crate::{
    batch::Column,
    spec::arrow_type,
    value::{
        Rules, format,
        number::{self, EXACT_FLOAT, Number},
        time::DAY,
        unfit::Unfit,
    },
};

/// Whether values of one type may be values of the other at all.
pub(super) fn can(own: Type, to: Type) -> bool {
    match (own, to) {
        (Type::Text, _) | (_, Type::Text) => true,
        (Type::Int, Type::Bool) | (Type::Bool, Type::Bool) => true,
        (Type::Date | Type::Timestamp, Type::Date | Type::Timestamp) => true,
        (own, to) => own.is_numeric() && to.is_numeric(),
    }
}

/// The array as `arrow_type(to)`.
pub(super) fn cast(array: &ArrayRef, own: Type, to: Type, rules: &Rules) -> Result<ArrayRef, Misfit> {
    if own == to {
        return Ok(Arc::clone(array));
    }
    match (own, to) {
        (Type::Int, Type::Decimal { precision, scale }) => {
            let values = each(array.as_primitive::<Int64Type>(), |value| Number::of(i128::from(value), 0).to_scale(precision, scale));
            decimal(values, to)
        }
        (Type::Decimal { scale: from, .. }, Type::Decimal { precision, scale }) => {
            let values = each(array.as_primitive::<Decimal128Type>(), |value| Number::of(value, from).to_scale(precision, scale));
            decimal(values, to)
        }
        (Type::Decimal { scale, .. }, Type::Int) => shared::<Int64Type>(each(array.as_primitive::<Decimal128Type>(), |value| {
            let whole = Number::of(value, scale).to_scale(38, 0).map_err(|_| Unfit::NotA)?;
            i64::try_from(whole).map_err(|_| Unfit::Range)
        })),
        (Type::Decimal { scale, .. }, Type::Float) => shared::<Float64Type>(each(array.as_primitive::<Decimal128Type>(), |value| {
            let float = number::float(&format::decimal(value, scale), b'.')?;
            let back = Number::parse(format::float(float).as_bytes(), b'.').and_then(|number| number.to_scale(38, scale));
            if back == Ok(value) { Ok(float) } else { Err(Unfit::Digits) }
        })),
        (Type::Int, Type::Float) => shared::<Float64Type>(each(array.as_primitive::<Int64Type>(), |value| {
            if value.unsigned_abs() <= EXACT_FLOAT { Ok(value as f64) } else { Err(Unfit::Digits) }
        })),
        (Type::Float, Type::Int) => shared::<Int64Type>(each(array.as_primitive::<Float64Type>(), |value| {
            if value.fract() != 0.0 {
                Err(Unfit::NotA)
            } else if value.abs() > EXACT_FLOAT as f64 {
                Err(Unfit::Range)
            } else {
                Ok(value as i64)
            }
        })),
        (Type::Timestamp, Type::Date) => shared::<Date32Type>(each(array.as_primitive::<TimestampMicrosecondType>(), |micros| {
            // The days of any instant in range fit.
            if micros % DAY == 0 { Ok((micros / DAY) as i32) } else { Err(Unfit::TimeOfDay) }
        })),
        _ => by_text(array, own, to, rules),
    }
}

fn shared<T: arrow::datatypes::ArrowPrimitiveType>(values: Result<PrimitiveArray<T>, Misfit>) -> Result<ArrayRef, Misfit> {
    Ok(Arc::new(values?))
}

fn decimal(values: Result<PrimitiveArray<Decimal128Type>, Misfit>, to: Type) -> Result<ArrayRef, Misfit> {
    Ok(Arc::new(values?.with_data_type(arrow_type(to))))
}

/// Through the canonical text of each value.
fn by_text(array: &ArrayRef, own: Type, to: Type, rules: &Rules) -> Result<ArrayRef, Misfit> {
    let mut column = Column::new(to);
    let views = array.as_string_view_opt();
    for index in 0..array.len() {
        let put = match views {
            _ if array.is_null(index) => {
                column.put_null();
                continue;
            }
            Some(views) => column.put_text(views.value(index), rules),
            None => column.put_text(&text(array, own, index), rules),
        };
        put.map_err(|unfit| Misfit { index, unfit })?;
    }
    Ok(column.finish())
}

/// The canonical text of a value of a normalised array.
pub(super) fn text(array: &ArrayRef, own: Type, index: usize) -> String {
    match own {
        Type::Text => array.as_string_view().value(index).to_owned(),
        Type::Int => array.as_primitive::<Int64Type>().value(index).to_string(),
        Type::Float => format::float(array.as_primitive::<Float64Type>().value(index)),
        Type::Decimal { scale, .. } => format::decimal(array.as_primitive::<Decimal128Type>().value(index), scale),
        Type::Bool => array.as_boolean().value(index).to_string(),
        Type::Date => format::date(array.as_primitive::<Date32Type>().value(index)),
        Type::Timestamp => format::timestamp(array.as_primitive::<TimestampMicrosecondType>().value(index)),
    }
}

/// How many values that take no bytes in the file may stand in nested ones: a short file may have them without end.
const EMPTY_LIMIT: usize = 1 << 24;

/// The most bytes of JSON text of all rows of a batch.
const JSON_LIMIT: usize = 1 << 30;

/// Nested values as JSON text.
pub(super) fn json(array: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, ArrowError> {
    if empty_values(&array.to_data()) > EMPTY_LIMIT {
        return Err(ArrowError::JsonError("too many of them are NULL".to_owned()));
    }
    let (options, rules) = (EncoderOptions::default(), Rules::with_point(&ReaderOptions::default()));
    let mut encoder = make_encoder(field, array, &options)?;
    let (mut column, mut buffer, mut length) = (Column::new(Type::Text), Vec::new(), 0);
    for index in 0..array.len() {
        if array.is_null(index) {
            column.put_null();
            continue;
        }
        buffer.clear();
        encoder.encode(index, &mut buffer);
        length += buffer.len();
        if length > JSON_LIMIT {
            return Err(ArrowError::JsonError("the text of some thousand rows is longer than 1 GiB".to_owned()));
        }
        let text = std::str::from_utf8(&buffer).map_err(|error| ArrowError::JsonError(error.to_string()))?;
        let Ok(()) = column.put_text(text, &rules) else { unreachable!("text holds any text") };
    }
    Ok(column.finish())
}

/// The greatest number of values in it of a type that takes no bytes.
fn empty_values(data: &ArrayData) -> usize {
    let own = if data.buffers().is_empty() && data.child_data().is_empty() { data.len() } else { 0 };
    data.child_data().iter().map(empty_values).fold(own, usize::max)
}
