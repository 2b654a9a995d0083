//! Builds the columns of a batch from values.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, StringViewBuilder,
        TimestampMicrosecondBuilder,
    },
    datatypes::SchemaRef,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use qetl_core::Type;

use crate::{
    cells::{Cell, Sink},
    spec::{ReadColumn, ReadSpec, arrow_type},
    value::{
        Rules, boolean_word,
        digits::Digits,
        number::{self, Number},
        trimmed,
        unfit::Unfit,
    },
};

/// One column in the making.
pub(crate) struct Column {
    ty: Type,
    values: Values,
    /// What would lose characters as a value does not fit.
    strict: bool,
    /// NaN and ±∞ do not fit.
    finite: bool,
}

enum Values {
    Text(StringViewBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Decimal(Decimal128Builder),
    Bool(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Column {
    pub(crate) fn new(ty: Type, strict: bool, finite: bool) -> Self {
        let values = match ty {
            Type::Text => Values::Text(StringViewBuilder::new()),
            Type::Int => Values::Int(Int64Builder::new()),
            Type::Float => Values::Float(Float64Builder::new()),
            Type::Decimal { .. } => Values::Decimal(Decimal128Builder::new().with_data_type(arrow_type(ty))),
            Type::Bool => Values::Bool(BooleanBuilder::new()),
            Type::Date => Values::Date(Date32Builder::new()),
            Type::Timestamp => Values::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(arrow_type(ty))),
        };
        Self { ty, values, strict, finite }
    }

    pub(crate) fn put_null(&mut self) {
        match &mut self.values {
            Values::Text(values) => values.append_null(),
            Values::Int(values) => values.append_null(),
            Values::Float(values) => values.append_null(),
            Values::Decimal(values) => values.append_null(),
            Values::Bool(values) => values.append_null(),
            Values::Date(values) => values.append_null(),
            Values::Timestamp(values) => values.append_null(),
        }
    }

    /// The value that the text is; an empty text is one only as text.
    #[inline]
    pub(crate) fn put_text(&mut self, text: &str, rules: &Rules, digits: Digits) -> Result<(), Unfit> {
        if let Values::Text(values) = &mut self.values {
            values.append_value(text);
            return Ok(());
        }
        let text = trimmed(text);
        let loses = || self.strict && digits.loses_characters(text);
        match &mut self.values {
            Values::Text(values) => values.append_value(text),
            Values::Int(values) => match digits.integer(text)? {
                _ if loses() => return Err(Unfit::Loses),
                value => values.append_value(value),
            },
            Values::Float(values) => {
                let value = digits.float(text)?;
                if self.finite && !value.is_finite() {
                    return Err(Unfit::NotFinite);
                }
                if self.strict && digits.number(text).is_ok_and(|number| !number.is_float(value)) {
                    return Err(Unfit::Digits);
                }
                values.append_value(value);
            }
            Values::Decimal(values) => {
                let Type::Decimal { precision, scale } = self.ty else { unreachable!("a decimal builder's type is decimal") };
                let value = digits.number(text)?.to_scale(precision, scale)?;
                if loses() {
                    return Err(Unfit::Loses);
                }
                values.append_value(value);
            }
            Values::Bool(values) => {
                let value = rules.boolean(text)?;
                if self.strict && boolean_word(text).is_none() {
                    return Err(Unfit::Loses);
                }
                values.append_value(value);
            }
            Values::Date(values) => values.append_value(rules.date(text)?),
            Values::Timestamp(values) => values.append_value(rules.timestamp(text, digits)?),
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match &mut self.values {
            Values::Text(values) => Arc::new(values.finish()),
            Values::Int(values) => Arc::new(values.finish()),
            Values::Float(values) => Arc::new(values.finish()),
            Values::Decimal(values) => Arc::new(values.finish()),
            Values::Bool(values) => Arc::new(values.finish()),
            Values::Date(values) => Arc::new(values.finish()),
            Values::Timestamp(values) => Arc::new(values.finish()),
        }
    }
}

/// The batch in the making.
pub(crate) struct Batch {
    columns: Vec<Building>,
    schema: SchemaRef,
    rules: Rules,
    /// Bytes of text held.
    pub(crate) bytes: usize,
}

struct Building {
    column: Column,
    required: bool,
    open: bool,
    /// An open column had texts that are NULL.
    emptied: bool,
    /// An open column had a value.
    untyped: bool,
    widening: Widening,
}

impl Batch {
    pub(crate) fn new(spec: &ReadSpec, rules: Rules) -> Self {
        let columns = spec.columns.iter().zip(spec.types()).map(|(column, ty)| Building {
            column: Column::new(ty, column.inferred, column.finite),
            required: column.required,
            open: column.open,
            emptied: false,
            untyped: false,
            widening: Widening::of(column, ty),
        });
        Self { columns: columns.collect(), schema: spec.schema(), rules, bytes: 0 }
    }

    pub(crate) fn finish(&mut self, rows: usize) -> RecordBatch {
        self.bytes = 0;
        let arrays = self.columns.iter_mut().map(|building| building.column.finish()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .unwrap_or_else(|error| unreachable!("the builders follow the schema: {error}"))
    }

    /// The columns that need another type, and which.
    pub(crate) fn wider(&self) -> Vec<(usize, Type)> {
        wider(self.columns.iter().map(|building| &building.widening))
    }

    /// The open columns that had texts which are NULL.
    pub(crate) fn emptied(&self) -> Vec<usize> {
        self.which(|building| building.emptied)
    }

    /// The open columns that had values.
    pub(crate) fn untyped(&self) -> Vec<usize> {
        self.which(|building| building.untyped)
    }

    fn which(&self, is_one: impl Fn(&Building) -> bool) -> Vec<usize> {
        self.columns.iter().enumerate().filter(|(_, building)| is_one(building)).map(|(index, _)| index).collect()
    }
}

impl Building {
    #[inline]
    fn put(&mut self, cell: Cell<'_>, rules: &Rules) -> Result<(), Unfit> {
        let is_text = self.column.ty == Type::Text;
        let (is_null, text) = match cell {
            Cell::Null => (true, ""),
            Cell::Nested(_) if !is_text && !self.open => return Err(Unfit::Nested),
            Cell::Field(text) => (!is_text && rules.is_null_word(trimmed(text)), text),
            Cell::Quoted(text) if is_text && !self.open => (rules.quoted_nulls && rules.is_null(text), text),
            Cell::Quoted(text) => (text.is_empty() || rules.is_null_word(trimmed(text)), text),
            Cell::String(text) => (text.is_empty() && (!is_text || self.open), text),
            Cell::Number(text) | Cell::Bool(text) | Cell::Nested(text) => (false, text),
        };
        if is_null {
            if self.required {
                return Err(Unfit::Null);
            }
            self.emptied |= self.open && !matches!(cell, Cell::Null);
            self.column.put_null();
            return Ok(());
        }
        if self.open {
            self.untyped = true;
            self.column.put_null();
            return Ok(());
        }
        let digits = if let Cell::Number(_) = cell { Digits::POINT } else { rules.digits };
        self.column.put_text(text, rules, digits)
    }
}

impl Sink for Batch {
    #[inline]
    fn put(&mut self, column: usize, cell: Cell<'_>) -> Result<(), Unfit> {
        self.bytes += cell.text().len();
        let building = &mut self.columns[column];
        match building.put(cell, &self.rules) {
            Ok(()) => Ok(()),
            Err(unfit) => building.misfit(unfit, cell, &self.rules),
        }
    }

    fn put_none(&mut self, column: usize) {
        self.columns[column].column.put_null();
    }
}

impl Building {
    /// A value that does not fit is as good as none, unless it fits a wider type.
    #[cold]
    fn misfit(&mut self, unfit: Unfit, cell: Cell<'_>, rules: &Rules) -> Result<(), Unfit> {
        self.column.put_null();
        let number = match cell {
            Cell::Number(text) => Digits::POINT.number(text).ok(),
            // An exponent without a point says no number by itself: `12e4` may be a code.
            Cell::Field(text) | Cell::Quoted(text) => {
                rules.digits.number(trimmed(text)).ok().filter(|number| number.point || !number.power || self.column.ty != Type::Int)
            }
            Cell::Null | Cell::String(_) | Cell::Bool(_) | Cell::Nested(_) => None,
        };
        let is_number = unfit != Unfit::Loses && !rules.digits.loses_characters(trimmed(cell.text()));
        if number.is_some_and(|number| is_number && self.widening.takes(number)) { Ok(()) } else { Err(unfit) }
    }
}

/// The type that an inferred column gets, so that numbers fit that do not fit the one it has.
pub(crate) struct Widening {
    /// `None`: the column stays what it is.
    ty: Option<Type>,
    grew: bool,
}

impl Widening {
    pub(crate) fn of(column: &ReadColumn, ty: Type) -> Self {
        Self { ty: (column.inferred && !column.key).then_some(ty), grew: false }
    }

    /// Whether the number fits the type that the column gets; it grows where that is enough.
    pub(crate) fn takes(&mut self, number: Number) -> bool {
        let Some(wider) = self.ty.and_then(|ty| number::wider(ty, number)) else { return false };
        (self.ty, self.grew) = (Some(wider), true);
        true
    }
}

/// Which of the columns need another type.
pub(crate) fn wider<'a>(columns: impl Iterator<Item = &'a Widening>) -> Vec<(usize, Type)> {
    columns.enumerate().filter(|(_, column)| column.grew).filter_map(|(index, column)| Some((index, column.ty?))).collect()
}
