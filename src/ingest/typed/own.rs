//! What a column of a file is to qetl.

#![expect(clippy::wildcard_enum_match_arm, reason = "Arrow has some forty types, and most are none of qetl's")]

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray as _, StringViewArray},
    datatypes::{DataType, Field},
    util::display::{ArrayFormatter, DurationFormat, FormatOptions},
};
use qetl_core::Type;

use super::Misfits;
use crate::value::unfit::Unfit;

/// What a column of a file is to qetl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Type(Type),
    /// It has no type, and only NULL.
    Nothing,
    Nested,
    /// Sixteen bytes that are written as text.
    Uuid,
    /// Bytes, which may be text that is not marked as such.
    Bytes,
    /// Values that qetl has no type for, but which have a text; with the words for them.
    Shown(&'static str),
}

impl Own {
    /// The words for what qetl has no type for.
    pub(super) fn words(self) -> &'static str {
        match self {
            Own::Nested => "nested values",
            Own::Bytes => "binary values",
            Own::Shown(what) => what,
            Own::Type(_) | Own::Nothing | Own::Uuid => "values",
        }
    }

    /// What can be done about it.
    pub(super) fn way_out(self) -> &'static str {
        match self {
            Own::Nested => "declare `schema_type = \"string\"` to get their JSON text",
            Own::Bytes => {
                "declare `schema_type = \"string\"` if the bytes are UTF-8 text; else leave the column out of the flow's `columns`"
            }
            Own::Shown(_) => "declare `schema_type = \"string\"` to get their ISO 8601 text",
            Own::Type(_) | Own::Nothing | Own::Uuid => "leave the column out of the flow's `columns`",
        }
    }
}

const EXTENSION: &str = "ARROW:extension:name";
const UUID: &str = "arrow.uuid";

/// The field, marked as one of UUIDs.
pub(crate) fn as_uuid(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(EXTENSION.to_owned(), UUID.to_owned());
    field.clone().with_metadata(metadata)
}

fn is_uuid(field: &Field) -> bool {
    let says = |key: &str, value: &str| field.metadata().get(key).is_some_and(|own| own == value);
    says(EXTENSION, UUID) || says("logicalType", "uuid")
}

/// What a file's column is, or the words for what qetl cannot hold.
pub(super) fn own(field: &Field) -> Result<Own, String> {
    match field.data_type() {
        DataType::FixedSizeBinary(16) if is_uuid(field) => Ok(Own::Uuid),
        ty => of_type(ty),
    }
}

fn of_type(ty: &DataType) -> Result<Own, String> {
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
            // Digits before the point that are left out count.
            let precision = precision.saturating_add(scale.min(&0).unsigned_abs()).min(38);
            match u8::try_from((*scale).max(0)) {
                Ok(scale) if scale <= precision => Type::Decimal { precision, scale },
                _ => return Err(format!("decimals with {scale} digits behind the point")),
            }
        }
        D::Boolean => Type::Bool,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => Type::Text,
        D::Date32 | D::Date64 => Type::Date,
        D::Timestamp(..) => Type::Timestamp,
        D::Dictionary(_, value) => {
            return match of_type(value) {
                Ok(Own::Nested) => Err("nested values in a dictionary".to_owned()),
                other => other,
            };
        }
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => return Ok(Own::Bytes),
        D::Time32(_) | D::Time64(_) => return Ok(Own::Shown("times of day")),
        D::Duration(_) => return Ok(Own::Shown("durations")),
        D::Interval(_) => return Err("intervals".to_owned()),
        D::Union(..) => return Err("values of several types".to_owned()),
        other => return Err(format!("values of type {other}")),
    };
    Ok(Own::Type(ty))
}

/// UUIDs in their usual form.
pub(super) fn uuid_text(array: &ArrayRef) -> ArrayRef {
    let Some(uuids) = array.as_fixed_size_binary_opt() else { unreachable!("UUIDs are sixteen bytes") };
    let text = |bytes: &[u8]| {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let parts = [0..8, 8..12, 12..16, 16..20, 20..hex.len()].map(|part| hex.get(part).unwrap_or_default().to_owned());
        parts.join("-")
    };
    Arc::new(uuids.iter().map(|bytes| bytes.map(text)).collect::<StringViewArray>())
}

/// Bytes that are UTF-8, as text.
pub(super) fn bytes_text(array: &ArrayRef) -> (ArrayRef, Misfits) {
    let mut misfits = Misfits::new();
    let mut text = |(index, bytes): (usize, Option<&[u8]>)| {
        let text = std::str::from_utf8(bytes?).ok();
        if text.is_none() {
            misfits.push((index, Unfit::NotText));
        }
        text.map(str::to_owned)
    };
    let texts: StringViewArray = match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().iter().enumerate().map(&mut text).collect(),
        DataType::LargeBinary => array.as_binary::<i64>().iter().enumerate().map(&mut text).collect(),
        DataType::BinaryView => array.as_binary_view().iter().enumerate().map(&mut text).collect(),
        _ => array.as_fixed_size_binary().iter().enumerate().map(&mut text).collect(),
    };
    (Arc::new(texts), misfits)
}

/// The ISO 8601 text of times of day and durations.
pub(super) fn shown_text(array: &ArrayRef) -> (ArrayRef, Misfits) {
    let mut misfits = Misfits::new();
    let options = FormatOptions::new().with_display_error(false).with_duration_format(DurationFormat::ISO8601);
    let formatter = ArrayFormatter::try_new(array, &options).ok();
    let text = |index: usize| {
        if array.is_null(index) {
            return None;
        }
        let text = formatter.as_ref().and_then(|formatter| formatter.value(index).try_to_string().ok());
        if text.is_none() {
            misfits.push((index, Unfit::Range));
        }
        text
    };
    let texts: StringViewArray = (0..array.len()).map(text).collect();
    (Arc::new(texts), misfits)
}
