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

use super::Misfit;
use crate::{
    spec::arrow_type,
    value::{number, time, unfit::Unfit},
};

/// What a column of a file is to qetl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Type(Type),
    /// It has no type, and only NULL.
    Nothing,
    Nested,
}

/// The type of a file's column, or the words for what qetl cannot hold.
pub(super) fn own(ty: &DataType) -> Result<Own, String> {
    use DataType as D;
    let ty = match ty {
        D::Null => return Ok(Own::Nothing),
        D::List(_) | D::LargeList(_) | D::ListView(_) | D::LargeListView(_) | D::FixedSizeList(..) | D::Struct(_) | D::Map(..) => {
            return Ok(Own::Nested);
        }
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 => Type::Int,
        D::UInt64 => Type::Decimal { precision: 20, scale: 0 },
        D::Float16 | D::Float32 | D::Float64 => Type::Float,
        D::Decimal32(precision, scale)
        | D::Decimal64(precision, scale)
        | D::Decimal128(precision, scale)
        | D::Decimal256(precision, scale) => {
            let precision = (*precision).min(38);
            match u8::try_from(*scale) {
                Ok(scale) if scale <= precision => Type::Decimal { precision, scale },
                _ => return Err(format!("decimals with {scale} digits behind the point")),
            }
        }
        D::Boolean => Type::Bool,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => Type::Text,
        D::Date32 | D::Date64 => Type::Date,
        D::Timestamp(..) => Type::Timestamp,
        D::Dictionary(_, value) => {
            return match own(value) {
                Ok(Own::Nested) => Err("nested values in a dictionary".to_owned()),
                other => other,
            };
        }
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => return Err("binary values".to_owned()),
        D::Time32(_) | D::Time64(_) => return Err("times of day".to_owned()),
        D::Duration(_) => return Err("durations".to_owned()),
        D::Interval(_) => return Err("intervals".to_owned()),
        D::Union(..) => return Err("values of several types".to_owned()),
        other => return Err(format!("values of type {other}")),
    };
    Ok(Own::Type(ty))
}

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

/// The array as [`arrow_type`] of its own type.
pub(super) fn normalise(array: &ArrayRef, own: Type) -> Result<ArrayRef, Misfit> {
    match own {
        Type::Text => Ok(text(array)),
        Type::Int => Ok(integers(array)),
        Type::Float => Ok(floats(array)),
        Type::Decimal { .. } => decimals(array, own),
        Type::Bool => Ok(Arc::clone(array)),
        Type::Date => dates(array),
        Type::Timestamp => timestamps(array),
    }
}

/// Every value by a function that may refuse it.
pub(super) fn each<I, O>(
    array: &PrimitiveArray<I>,
    convert: impl Fn(I::Native) -> Result<O::Native, Unfit>,
) -> Result<PrimitiveArray<O>, Misfit>
where
    I: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let refused = match array.try_unary(&convert) {
        Ok(converted) => return Ok(converted),
        Err(unfit) => unfit,
    };
    let index = (0..array.len()).find(|index| array.is_valid(*index) && convert(array.value(*index)).is_err());
    Err(Misfit { index: index.unwrap_or(0), unfit: refused })
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

fn decimals(array: &ArrayRef, own: Type) -> Result<ArrayRef, Misfit> {
    let decimals: PrimitiveArray<Decimal128Type> = match array.data_type() {
        DataType::UInt64 => array.as_primitive::<UInt64Type>().unary(i128::from),
        DataType::Decimal256(..) => each(array.as_primitive::<Decimal256Type>(), |value| {
            value.to_i128().filter(|value| value.unsigned_abs() < number::POWERS[38]).ok_or(Unfit::Digits)
        })?,
        DataType::Decimal32(..) => array.as_primitive::<Decimal32Type>().unary(i128::from),
        DataType::Decimal64(..) => array.as_primitive::<Decimal64Type>().unary(i128::from),
        _ => array.as_primitive::<Decimal128Type>().clone(),
    };
    within(&decimals.with_data_type(arrow_type(own)), own)
}

/// Files do not promise that their decimals keep to their precision.
fn within(array: &PrimitiveArray<Decimal128Type>, own: Type) -> Result<ArrayRef, Misfit> {
    let Type::Decimal { precision, .. } = own else { unreachable!("decimals are decimal") };
    let limit = number::POWERS[usize::from(precision)];
    let past = array.iter().position(|value| value.is_some_and(|value| value.unsigned_abs() >= limit));
    match past {
        Some(index) => Err(Misfit { index, unfit: Unfit::Digits }),
        None => Ok(Arc::new(array.clone())),
    }
}

fn dates(array: &ArrayRef) -> Result<ArrayRef, Misfit> {
    let in_range = |days: i32| if (time::FIRST_DAY..=time::LAST_DAY).contains(&days) { Ok(days) } else { Err(Unfit::Range) };
    let dates: PrimitiveArray<Date32Type> = match array.data_type() {
        DataType::Date64 => {
            each(array.as_primitive::<Date64Type>(), |millis| match (millis / (time::DAY / 1000), millis % (time::DAY / 1000)) {
                (days, 0) => in_range(i32::try_from(days).map_err(|_| Unfit::Range)?),
                _ => Err(Unfit::TimeOfDay),
            })?
        }
        _ => each(array.as_primitive::<Date32Type>(), in_range)?,
    };
    Ok(Arc::new(dates))
}

fn timestamps(array: &ArrayRef) -> Result<ArrayRef, Misfit> {
    let times = |factor: i64| move |value: i64| time::checked(value.checked_mul(factor).ok_or(Unfit::Range)?);
    let micros: PrimitiveArray<TimestampMicrosecondType> = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => each(array.as_primitive::<TimestampSecondType>(), times(1_000_000))?,
        DataType::Timestamp(TimeUnit::Millisecond, _) => each(array.as_primitive::<TimestampMillisecondType>(), times(1000))?,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => each(array.as_primitive::<TimestampNanosecondType>(), |nanos| {
            if nanos % 1000 == 0 { time::checked(nanos / 1000) } else { Err(Unfit::Finer) }
        })?,
        _ => each(array.as_primitive::<TimestampMicrosecondType>(), times(1))?,
    };
    Ok(Arc::new(micros.with_timezone("UTC")))
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
