//! The many types of Arrow as qetl's few.

#![expect(clippy::wildcard_enum_match_arm, reason = "Arrow has some forty types, and most need nothing done")]

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray as _, PrimitiveArray, StringViewArray},
    compute::take,
    datatypes::{
        DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type,
        Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use qetl_core::Type;

use super::Misfits;
use crate::{
    spec::arrow_type,
    value::{number, time, unfit::Unfit},
};

/// The type to ask the Parquet reader for.
pub(crate) fn read_as(ty: &DataType) -> DataType {
    match ty {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Dictionary(_, value) => read_as(value),
        other => other.clone(),
    }
}

/// A dictionary's values in the place of its keys. Equal texts share their memory.
pub(crate) fn unpacked(array: &ArrayRef) -> ArrayRef {
    let Some(dictionary) = array.as_any_dictionary_opt() else { return Arc::clone(array) };
    let values = text(&unpacked(dictionary.values()));
    take(&values, dictionary.keys(), None).unwrap_or_else(|error| unreachable!("a dictionary's keys are among its values: {error}"))
}

/// The array as [`arrow_type`] of its own type; what no value of ours is, is NULL, and told.
pub(super) fn normalise(array: &ArrayRef, own: Type) -> (ArrayRef, Misfits) {
    match own {
        Type::Text => (text(array), Misfits::new()),
        Type::Int => (integers(array), Misfits::new()),
        Type::Float => (floats(array), Misfits::new()),
        Type::Decimal { .. } => decimals(array, own),
        Type::Bool => (Arc::clone(array), Misfits::new()),
        Type::Date => dates(array),
        Type::Timestamp => timestamps(array),
    }
}

/// Every value by a function that may refuse it; what it refuses is NULL, and told.
pub(super) fn each<I, O>(array: &PrimitiveArray<I>, convert: impl Fn(I::Native) -> Result<O::Native, Unfit>) -> (PrimitiveArray<O>, Misfits)
where
    I: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    if let Ok(converted) = array.try_unary(&convert) {
        return (converted, Misfits::new());
    }
    let mut misfits = Misfits::new();
    let values = array.iter().enumerate().map(|(index, value)| convert(value?).map_err(|unfit| misfits.push((index, unfit))).ok());
    (values.collect(), misfits)
}

fn text(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8 => Arc::new(array.as_string::<i32>().iter().collect::<StringViewArray>()),
        DataType::LargeUtf8 => Arc::new(array.as_string::<i64>().iter().collect::<StringViewArray>()),
        _ => Arc::clone(array),
    }
}

fn integers(array: &ArrayRef) -> ArrayRef {
    fn from<T: ArrowPrimitiveType>(array: &ArrayRef) -> ArrayRef
    where
        i64: From<T::Native>,
    {
        Arc::new(array.as_primitive::<T>().unary::<_, Int64Type>(i64::from))
    }
    match array.data_type() {
        DataType::Int8 => from::<Int8Type>(array),
        DataType::Int16 => from::<Int16Type>(array),
        DataType::Int32 => from::<Int32Type>(array),
        DataType::UInt8 => from::<UInt8Type>(array),
        DataType::UInt16 => from::<UInt16Type>(array),
        DataType::UInt32 => from::<UInt32Type>(array),
        _ => Arc::clone(array),
    }
}

fn floats(array: &ArrayRef) -> ArrayRef {
    let floats: PrimitiveArray<Float64Type> = match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().unary(|value| number::canonical(value.to_f64())),
        DataType::Float32 => array.as_primitive::<Float32Type>().unary(|value| number::canonical(f64::from(value))),
        _ => array.as_primitive::<Float64Type>().unary(number::canonical),
    };
    Arc::new(floats)
}

fn decimals(array: &ArrayRef, own: Type) -> (ArrayRef, Misfits) {
    let Type::Decimal { precision, .. } = own else { unreachable!("decimals are decimal") };
    // Files do not promise that their decimals keep to their precision.
    let limit = number::POWERS[usize::from(precision)];
    let within = |value: i128| if value.unsigned_abs() < limit { Ok(value) } else { Err(Unfit::Digits) };
    // Digits before the point that are left out.
    let shift = match array.data_type() {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
            usize::from(scale.min(&0).unsigned_abs())
        }
        _ => 0,
    };
    let shifted = |value: i128| value.checked_mul(number::POWERS[shift] as i128).ok_or(Unfit::Digits).and_then(within);
    let (decimals, misfits): (PrimitiveArray<Decimal128Type>, _) = match array.data_type() {
        DataType::UInt64 => each(array.as_primitive::<UInt64Type>(), |value| Ok(i128::from(value))),
        DataType::Decimal256(..) => each(array.as_primitive::<Decimal256Type>(), |value| shifted(value.to_i128().ok_or(Unfit::Digits)?)),
        DataType::Decimal32(..) => each(array.as_primitive::<Decimal32Type>(), |value| shifted(i128::from(value))),
        DataType::Decimal64(..) => each(array.as_primitive::<Decimal64Type>(), |value| shifted(i128::from(value))),
        _ => each(array.as_primitive::<Decimal128Type>(), shifted),
    };
    (Arc::new(decimals.with_data_type(arrow_type(own))), misfits)
}

fn dates(array: &ArrayRef) -> (ArrayRef, Misfits) {
    let in_range = |days: i32| if (time::FIRST_DAY..=time::LAST_DAY).contains(&days) { Ok(days) } else { Err(Unfit::Range) };
    let (dates, misfits): (PrimitiveArray<Date32Type>, _) = match array.data_type() {
        DataType::Date64 => {
            each(array.as_primitive::<Date64Type>(), |millis| match (millis / (time::DAY / 1000), millis % (time::DAY / 1000)) {
                (days, 0) => in_range(i32::try_from(days).map_err(|_| Unfit::Range)?),
                _ => Err(Unfit::TimeOfDay),
            })
        }
        _ => each(array.as_primitive::<Date32Type>(), in_range),
    };
    (Arc::new(dates), misfits)
}

fn timestamps(array: &ArrayRef) -> (ArrayRef, Misfits) {
    let times = |factor: i64| move |value: i64| time::checked(value.checked_mul(factor).ok_or(Unfit::Range)?);
    let (micros, misfits): (PrimitiveArray<TimestampMicrosecondType>, _) = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => each(array.as_primitive::<TimestampSecondType>(), times(1_000_000)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => each(array.as_primitive::<TimestampMillisecondType>(), times(1000)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => each(array.as_primitive::<TimestampNanosecondType>(), |nanos| {
            if nanos % 1000 == 0 { time::checked(nanos / 1000) } else { Err(Unfit::Finer) }
        }),
        _ => each(array.as_primitive::<TimestampMicrosecondType>(), times(1)),
    };
    (Arc::new(micros.with_timezone("UTC")), misfits)
}

/// The value's text as Arrow prints it, for messages about values that have no text of ours; past the calendar, its
/// number.
pub(crate) fn raw_text(array: &dyn Array, index: usize) -> String {
    let options = FormatOptions::new().with_display_error(false);
    let text = ArrayFormatter::try_new(array, &options).and_then(|formatter| formatter.value(index).try_to_string());
    let number = || {
        let number = array.as_primitive_opt::<TimestampSecondType>().map(|array| array.value(index));
        let number = number.or_else(|| Some(array.as_primitive_opt::<TimestampMillisecondType>()?.value(index)));
        number.or_else(|| Some(array.as_primitive_opt::<TimestampMicrosecondType>()?.value(index))).map(|number| number.to_string())
    };
    text.ok().or_else(number).unwrap_or_default()
}
