//! Between the driver's Arrow, which is another version, and ours: batches are handed over buffer by buffer.

use std::sync::Arc;

use ::duckdb::arrow::{
    array as theirs,
    array::Array as _,
    buffer::{BooleanBuffer, Buffer, NullBuffer},
    datatypes as types,
    error::ArrowError,
};
use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    datatypes::DataType,
};
use bytes::Bytes;
use qetl_core::Type;

use crate::{cell::Cell, database::Failure};

/// The driver's name for a type that columns have.
pub(super) fn their_type(ty: &DataType) -> types::DataType {
    match ty {
        DataType::Boolean => types::DataType::Boolean,
        DataType::Int64 => types::DataType::Int64,
        DataType::Float64 => types::DataType::Float64,
        DataType::Decimal128(precision, scale) => types::DataType::Decimal128(*precision, *scale),
        DataType::Date32 => types::DataType::Date32,
        DataType::Timestamp(_, zone) => types::DataType::Timestamp(types::TimeUnit::Microsecond, zone.clone()),
        _ => types::DataType::Utf8View,
    }
}

/// The batch in the driver's Arrow: the same buffers, looked over once more.
pub(super) fn handed_over(batch: &RecordBatch) -> Result<theirs::RecordBatch, Failure> {
    struct Owner(arrow::buffer::Buffer);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_slice()
        }
    }
    let buffer = |buffer: &arrow::buffer::Buffer| Buffer::from(Bytes::from_owner(Owner(buffer.clone())));
    let other = |why: ArrowError| Failure::Other(why.to_string());
    let column = |column: &ArrayRef| {
        let data = column.to_data();
        let nulls = data.nulls().map(|nulls| NullBuffer::new(BooleanBuffer::new(buffer(nulls.buffer()), nulls.offset(), nulls.len())));
        let ty = their_type(column.data_type());
        let builder = theirs::ArrayData::builder(ty).len(data.len()).offset(data.offset()).nulls(nulls);
        Ok(theirs::make_array(builder.buffers(data.buffers().iter().map(buffer).collect()).build()?))
    };
    let columns = batch.columns().iter().map(column).collect::<Result<Vec<_>, _>>().map_err(other)?;
    let field = |(field, column): (&Arc<arrow::datatypes::Field>, &theirs::ArrayRef)| {
        types::Field::new(field.name(), column.data_type().clone(), true)
    };
    let fields: Vec<types::Field> = batch.schema_ref().fields().iter().zip(&columns).map(field).collect();
    theirs::RecordBatch::try_new(Arc::new(types::Schema::new(fields)), columns).map_err(other)
}

/// The type of a column; sums are wider than any type of qetl's.
pub(super) fn known(ty: &types::DataType) -> Option<Type> {
    use types::DataType as Their;
    match ty {
        Their::Boolean => Some(Type::Bool),
        Their::Int8 | Their::Int16 | Their::Int32 | Their::Int64 | Their::UInt8 | Their::UInt16 | Their::UInt32 => Some(Type::Int),
        Their::Float32 | Their::Float64 => Some(Type::Float),
        Their::Null => None,
        Their::UInt64 => Some(Type::Decimal { precision: 38, scale: 0 }),
        Their::Decimal128(precision, scale) => Some(Type::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }),
        Their::Date32 => Some(Type::Date),
        Their::Timestamp(..) => Some(Type::Timestamp),
        Their::Utf8 => Some(Type::Text),
        _ => None,
    }
}

pub(super) fn cell(column: &theirs::ArrayRef, row: usize) -> Option<Cell<'static>> {
    use theirs::AsArray;
    use types::{DataType as Their, TimeUnit};
    if column.is_null(row) {
        return Some(Cell::Null);
    }
    Some(match column.data_type() {
        Their::Null => Cell::Null,
        Their::Boolean => Cell::Bool(column.as_boolean().value(row)),
        Their::Int8 => Cell::Int(column.as_primitive::<types::Int8Type>().value(row).into()),
        Their::Int16 => Cell::Int(column.as_primitive::<types::Int16Type>().value(row).into()),
        Their::Int32 => Cell::Int(column.as_primitive::<types::Int32Type>().value(row).into()),
        Their::Int64 => Cell::Int(column.as_primitive::<types::Int64Type>().value(row)),
        Their::UInt8 => Cell::Int(column.as_primitive::<types::UInt8Type>().value(row).into()),
        Their::UInt16 => Cell::Int(column.as_primitive::<types::UInt16Type>().value(row).into()),
        Their::UInt32 => Cell::Int(column.as_primitive::<types::UInt32Type>().value(row).into()),
        Their::UInt64 => Cell::Decimal(column.as_primitive::<types::UInt64Type>().value(row).into(), 0),
        Their::Float32 => Cell::Float(column.as_primitive::<types::Float32Type>().value(row).into()),
        Their::Float64 => Cell::Float(column.as_primitive::<types::Float64Type>().value(row)),
        Their::Decimal128(_, scale) => Cell::Decimal(column.as_primitive::<types::Decimal128Type>().value(row), u8::try_from(*scale).ok()?),
        Their::Date32 => Cell::Date(column.as_primitive::<types::Date32Type>().value(row)),
        Their::Timestamp(TimeUnit::Second, _) => {
            Cell::Timestamp(column.as_primitive::<types::TimestampSecondType>().value(row).checked_mul(1_000_000)?)
        }
        Their::Timestamp(TimeUnit::Millisecond, _) => {
            Cell::Timestamp(column.as_primitive::<types::TimestampMillisecondType>().value(row).checked_mul(1000)?)
        }
        Their::Timestamp(TimeUnit::Microsecond, _) => Cell::Timestamp(column.as_primitive::<types::TimestampMicrosecondType>().value(row)),
        Their::Utf8 => Cell::from(column.as_string::<i32>().value(row).to_owned()),
        _ => return None,
    })
}
