//! Values of a column whose type becomes another one, as the embedded engine changes them: by Arrow's casts.

use arrow::{
    array::RecordBatch,
    compute::{CastOptions, cast_with_options},
};
use qetl_core::{Column, Type};
use qetl_ingest::arrow_type;

use crate::cell::{Builder, Cell, Cells, coerce};

/// The value of one type as one of the other, if it fits: it comes back as it was.
pub(crate) fn converted(cell: Cell<'_>, from: Type, to: Type) -> Option<Cell<'static>> {
    let value = owned(coerce(cell, from)?);
    if from == to || value == Cell::Null {
        return Some(value);
    }
    let there = cast(&value, from, to)?;
    (cast(&there, to, from)? == value).then_some(there)
}

/// `None` for a value that the other type does not hold.
fn cast(value: &Cell<'static>, from: Type, to: Type) -> Option<Cell<'static>> {
    let mut one = Builder::new(&[Column::new("value", from)]);
    one.push(vec![value.clone()]);
    let one = one.take().ok()?;
    let cast = cast_with_options(one.column(0), &arrow_type(to), &CastOptions { safe: true, ..CastOptions::default() }).ok()?;
    let one = RecordBatch::try_from_iter_with_nullable([("value", cast, true)]).ok()?;
    Some(owned(Cells::of(&one).cell(0, 0))).filter(|cell| *cell != Cell::Null)
}

fn owned(cell: Cell<'_>) -> Cell<'static> {
    match cell {
        Cell::Null => Cell::Null,
        Cell::Bool(value) => Cell::Bool(value),
        Cell::Int(value) => Cell::Int(value),
        Cell::Float(value) => Cell::Float(value),
        Cell::Decimal(value, scale) => Cell::Decimal(value, scale),
        Cell::Date(value) => Cell::Date(value),
        Cell::Timestamp(value) => Cell::Timestamp(value),
        Cell::Text(value) => Cell::Text(value.into_owned().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_comes_back() {
        let decimal = |scale| Type::Decimal { precision: 10, scale };
        let check = |cell: Cell<'static>, from: Type, to: Type, expected: Option<Cell<'static>>| {
            assert_eq!(converted(cell.clone(), from, to), expected, "{cell:?} {from} {to}");
        };
        check(Cell::Int(10), Type::Int, Type::Text, Some("10".into()));
        check(Cell::Int(1), Type::Bool, Type::Text, Some("true".into()));
        check(Cell::Date(19_753), Type::Date, Type::Text, Some("2024-01-31".into()));
        check(Cell::Decimal(150, 2), decimal(2), Type::Text, Some("1.50".into()));
        check("10".into(), Type::Text, Type::Int, Some(Cell::Int(10)));
        check("010".into(), Type::Text, Type::Int, None);
        check("N/A".into(), Type::Text, Type::Int, None);
        check(Cell::Int(7), Type::Int, decimal(2), Some(Cell::Decimal(700, 2)));
        check(Cell::Decimal(150, 2), decimal(2), decimal(1), Some(Cell::Decimal(15, 1)));
        check(Cell::Decimal(155, 2), decimal(2), decimal(1), None);
        check(Cell::Int(i64::MAX), Type::Int, Type::Float, None);
        check(Cell::Null, Type::Int, Type::Date, Some(Cell::Null));
    }
}
