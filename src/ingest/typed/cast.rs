//! From the type that a file's column has to the one that the flow gives it: exactly, or not at all.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray as _, PrimitiveArray, StringViewBuilder},
    datatypes::{Date32Type, Decimal128Type, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
    json::writer::{EncoderOptions, make_encoder},
};
use qetl_core::Type;

use super::{Misfits, normalise::each};
use crate::{
    batch::Column,
    spec::{ReadColumn, arrow_type},
    value::{
        Rules,
        digits::Digits,
        format,
        number::{self, EXACT_FLOAT, Number},
        since_1970,
        time::DAY,
        unfit::Unfit,
    },
};

/// Whether values of one type may be values of the other at all.
pub(super) fn can(own: Type, to: Type, rules: &Rules) -> bool {
    match (own, to) {
        (Type::Text, _) | (_, Type::Text) => true,
        (Type::Int, Type::Bool) | (Type::Bool, Type::Bool) => true,
        (Type::Date | Type::Timestamp, Type::Date | Type::Timestamp) => true,
        (own, Type::Timestamp) => own.is_numeric() && rules.unit.is_some(),
        (own, to) => own.is_numeric() && to.is_numeric(),
    }
}

/// The array as `arrow_type(to)`; what does not fit is NULL, and told.
pub(super) fn cast(array: &ArrayRef, own: Type, to: Type, column: &ReadColumn, rules: &Rules) -> (ArrayRef, Misfits) {
    if own == to {
        return if to == Type::Float && column.finite { finite(array) } else { (Arc::clone(array), Misfits::new()) };
    }
    match (own, to) {
        (Type::Int, Type::Decimal { precision, scale }) => {
            decimal(each(array.as_primitive::<Int64Type>(), |value| Number::of(i128::from(value), 0).to_scale(precision, scale)), to)
        }
        (Type::Decimal { scale: from, .. }, Type::Decimal { precision, scale }) => {
            decimal(each(array.as_primitive::<Decimal128Type>(), |value| Number::of(value, from).to_scale(precision, scale)), to)
        }
        (Type::Decimal { scale, .. }, Type::Int) => shared::<Int64Type>(each(array.as_primitive::<Decimal128Type>(), |value| {
            let whole = Number::of(value, scale).to_scale(38, 0).map_err(|_| Unfit::NotA)?;
            i64::try_from(whole).map_err(|_| Unfit::Range)
        })),
        (Type::Decimal { scale, .. }, Type::Float) => shared::<Float64Type>(each(array.as_primitive::<Decimal128Type>(), |value| {
            let float = number::float(&format::decimal(value, scale), b'.')?;
            if Number::of(value, scale).is_float(float) { Ok(float) } else { Err(Unfit::Digits) }
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
        (Type::Int, Type::Timestamp) => {
            let Some(unit) = rules.unit else { unreachable!("refused when the file was opened") };
            let (instants, misfits): (PrimitiveArray<TimestampMicrosecondType>, _) =
                each(array.as_primitive::<Int64Type>(), |value| since_1970(Number::of(i128::from(value), 0), unit));
            (Arc::new(instants.with_timezone("UTC")), misfits)
        }
        _ => by_text(array, own, to, column, rules),
    }
}

fn shared<T: arrow::datatypes::ArrowPrimitiveType>((values, misfits): (PrimitiveArray<T>, Misfits)) -> (ArrayRef, Misfits) {
    (Arc::new(values), misfits)
}

fn decimal((values, misfits): (PrimitiveArray<Decimal128Type>, Misfits), to: Type) -> (ArrayRef, Misfits) {
    (Arc::new(values.with_data_type(arrow_type(to))), misfits)
}

/// Only what can be added up fits.
fn finite(array: &ArrayRef) -> (ArrayRef, Misfits) {
    let floats = array.as_primitive::<Float64Type>();
    if floats.iter().flatten().all(f64::is_finite) {
        return (Arc::clone(array), Misfits::new());
    }
    shared::<Float64Type>(each(floats, |value| if value.is_finite() { Ok(value) } else { Err(Unfit::NotFinite) }))
}

/// Through the canonical text of each value. Empty text is NULL where the column is not text.
fn by_text(array: &ArrayRef, own: Type, to: Type, wanted: &ReadColumn, rules: &Rules) -> (ArrayRef, Misfits) {
    let is_text = own == Type::Text;
    let mut column = Column::new(to, wanted.inferred && is_text, wanted.finite);
    let digits = if is_text { rules.digits } else { Digits::POINT };
    let mut misfits = Misfits::new();
    let views = array.as_string_view_opt();
    for index in 0..array.len() {
        let put = match views {
            _ if array.is_null(index) => {
                column.put_null();
                continue;
            }
            Some(views) if views.value(index).is_empty() && to != Type::Text => {
                column.put_null();
                continue;
            }
            Some(views) => column.put_text(views.value(index), rules, digits),
            None => column.put_text(&text(array, own, index), rules, digits),
        };
        if let Err(unfit) = put {
            column.put_null();
            misfits.push((index, unfit));
        }
    }
    (column.finish(), misfits)
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
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(field, array, &options)?;
    let (mut column, mut buffer, mut length) = (StringViewBuilder::new(), Vec::new(), 0);
    for index in 0..array.len() {
        if array.is_null(index) {
            column.append_null();
            continue;
        }
        buffer.clear();
        encoder.encode(index, &mut buffer);
        length += buffer.len();
        if length > JSON_LIMIT {
            return Err(ArrowError::JsonError("the text of some thousand rows is longer than 1 GiB".to_owned()));
        }
        let text = std::str::from_utf8(&buffer).map_err(|error| ArrowError::JsonError(error.to_string()))?;
        column.append_value(text);
    }
    Ok(Arc::new(column.finish()))
}

/// The greatest number of values in it of a type that takes no bytes.
fn empty_values(data: &ArrayData) -> usize {
    let own = if data.buffers().is_empty() && data.child_data().is_empty() { data.len() } else { 0 };
    data.child_data().iter().map(empty_values).fold(own, usize::max)
}
