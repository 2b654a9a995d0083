//! What the catalog records of a data file's columns, from the file's own statistics, in the format's text forms.

use chrono::{Days, NaiveDate};
use parquet::file::{metadata::ParquetMetaData, statistics::Statistics};
use qetl_core::Type;

use crate::catalog;

/// One column of a data file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnStats {
    pub(crate) column_id: i64,
    pub(crate) bytes: i64,
    pub(crate) nulls: Option<i64>,
    /// `None` when no exact bound is known: a reader then leaves no file out.
    pub(crate) min: Option<String>,
    pub(crate) max: Option<String>,
}

/// The statistics of all columns; `types` are in file order, `None` for columns that are never pruned by.
pub(crate) fn of_file(metadata: &ParquetMetaData, columns: &[(i64, Option<Type>)]) -> Vec<ColumnStats> {
    let column = |(index, (column_id, ty)): (usize, &(i64, Option<Type>))| {
        let chunks: Vec<_> = metadata.row_groups().iter().map(|group| group.column(index)).collect();
        let statistics: Option<Vec<&Statistics>> = chunks.iter().map(|chunk| chunk.statistics()).collect();
        let nulls = statistics.as_ref().and_then(|all| all.iter().map(|one| one.null_count_opt().map(|nulls| nulls as i64)).sum());
        let bounds = statistics.zip(*ty).and_then(|(all, ty)| bounds(&all, ty));
        let (min, max) = bounds.map_or((None, None), |(min, max)| (Some(min), Some(max)));
        let bytes = chunks.iter().map(|chunk| chunk.compressed_size()).sum();
        ColumnStats { column_id: *column_id, bytes, nulls, min, max }
    };
    columns.iter().enumerate().map(column).collect()
}

/// The least and the greatest value of all row groups; groups of NULLs alone say nothing.
fn bounds(groups: &[&Statistics], ty: Type) -> Option<(String, String)> {
    let groups: Vec<&&Statistics> = groups.iter().filter(|group| group.min_bytes_opt().is_some()).collect();
    match ty {
        Type::Text => text_bounds(&groups),
        // Statistics leave NaN out, so a bound would hide it.
        Type::Float => None,
        Type::Int | Type::Decimal { .. } | Type::Bool | Type::Date | Type::Timestamp => {
            let numbers: Option<Vec<(i128, i128)>> = groups.iter().map(|group| number_bounds(group)).collect();
            let numbers = numbers?;
            let (min, max) = (numbers.iter().map(|n| n.0).min()?, numbers.iter().map(|n| n.1).max()?);
            Some((number_text(min, ty)?, number_text(max, ty)?))
        }
    }
}

fn text_bounds(groups: &[&&Statistics]) -> Option<(String, String)> {
    if !groups.iter().all(|group| group.min_is_exact() && group.max_is_exact()) {
        return None;
    }
    let min = groups.iter().filter_map(|group| group.min_bytes_opt()).min()?;
    let max = groups.iter().filter_map(|group| group.max_bytes_opt()).max()?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().filter(|text| text.len() <= 256 && !text.contains('\0'));
    text(min).zip(text(max))
}

fn number_bounds(group: &Statistics) -> Option<(i128, i128)> {
    match group {
        Statistics::Boolean(values) => Some((i128::from(*values.min_opt()?), i128::from(*values.max_opt()?))),
        Statistics::Int32(values) => Some((i128::from(*values.min_opt()?), i128::from(*values.max_opt()?))),
        Statistics::Int64(values) => Some((i128::from(*values.min_opt()?), i128::from(*values.max_opt()?))),
        Statistics::FixedLenByteArray(values) => Some((big_endian(values.min_opt()?.data())?, big_endian(values.max_opt()?.data())?)),
        Statistics::Int96(_) | Statistics::Float(_) | Statistics::Double(_) | Statistics::ByteArray(_) => None,
    }
}

/// A signed big-endian number of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 16];
    wide.get_mut(16usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn number_text(value: i128, ty: Type) -> Option<String> {
    match ty {
        Type::Int | Type::Bool => Some(value.to_string()),
        Type::Decimal { scale, .. } => Some(decimal_text(value, scale)),
        Type::Date => {
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
            let days = Days::new(value.unsigned_abs().try_into().ok()?);
            let date = if value < 0 { epoch.checked_sub_days(days)? } else { epoch.checked_add_days(days)? };
            Some(date.to_string())
        }
        Type::Timestamp => Some(catalog::time_text(value.try_into().ok()?)),
        Type::Text | Type::Float => None,
    }
}

fn decimal_text(value: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_format_wants_them() {
        let decimal = Type::Decimal { precision: 18, scale: 2 };
        let check = |value, ty, text: &str| assert_eq!(number_text(value, ty).as_deref(), Some(text));
        check(-5, decimal, "-0.05");
        check(1234, decimal, "12.34");
        check(-7, Type::Int, "-7");
        check(-1, Type::Date, "1969-12-31");
        check(-1, Type::Timestamp, "1969-12-31 23:59:59.999999+00");
        assert_eq!(big_endian(&[0xff, 0xfe]), Some(-2));
    }
}
