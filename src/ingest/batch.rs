//! Builds the columns of a batch from values.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, StringViewBuilder,
        TimestampMicrosecondBuilder,
    },
    datatypes::SchemaRef,
    record_batch::RecordBatch,
};
use qetl_core::Type;

use crate::{
    cells::{Cell, Sink},
    spec::{ReadSpec, arrow_type},
    value::{Rules, boolean, number, trimmed, unfit::Unfit},
};

/// One column in the making.
pub(crate) struct Column {
    ty: Type,
    values: Values,
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
    pub(crate) fn new(ty: Type) -> Self {
        let values = match ty {
            Type::Text => Values::Text(StringViewBuilder::new()),
            Type::Int => Values::Int(Int64Builder::new()),
            Type::Float => Values::Float(Float64Builder::new()),
            Type::Decimal { .. } => Values::Decimal(Decimal128Builder::new().with_data_type(arrow_type(ty))),
            Type::Bool => Values::Bool(BooleanBuilder::new()),
            Type::Date => Values::Date(Date32Builder::new()),
            Type::Timestamp => Values::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(arrow_type(ty))),
        };
        Self { ty, values }
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

    /// The value that the text is.
    #[inline]
    pub(crate) fn put_text(&mut self, text: &str, rules: &Rules) -> Result<(), Unfit> {
        if let Values::Text(values) = &mut self.values {
            values.append_value(text);
            return Ok(());
        }
        if text.is_empty() {
            return Err(Unfit::Empty);
        }
        let text = trimmed(text);
        match &mut self.values {
            Values::Text(values) => values.append_value(text),
            Values::Int(values) => values.append_value(number::integer(text.as_bytes())?),
            Values::Float(values) => values.append_value(number::float(text, rules.separator)?),
            Values::Decimal(values) => {
                let Type::Decimal { precision, scale } = self.ty else { unreachable!("a decimal builder's type is decimal") };
                let number = number::Number::parse(text.as_bytes(), rules.separator)?;
                values.append_value(number.to_scale(precision, scale)?);
            }
            Values::Bool(values) => values.append_value(boolean(text)?),
            Values::Date(values) => values.append_value(rules.date(text)?),
            Values::Timestamp(values) => values.append_value(rules.timestamp(text)?),
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
    inferred: bool,
}

impl Batch {
    pub(crate) fn new(spec: &ReadSpec, rules: Rules) -> Self {
        let columns = spec.columns.iter().zip(spec.types());
        let columns =
            columns.map(|(column, ty)| Building { column: Column::new(ty), required: column.required, inferred: column.inferred });
        Self { columns: columns.collect(), schema: spec.schema(), rules, bytes: 0 }
    }

    pub(crate) fn finish(&mut self) -> RecordBatch {
        self.bytes = 0;
        let arrays = self.columns.iter_mut().map(|building| building.column.finish()).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .unwrap_or_else(|error| unreachable!("the builders follow the schema: {error}"))
    }
}

impl Sink for Batch {
    #[inline]
    fn put(&mut self, column: usize, cell: Cell<'_>) -> Result<(), Unfit> {
        let building = &mut self.columns[column];
        let text = match cell {
            Cell::Null if building.required => return Err(Unfit::Null),
            Cell::Null => {
                building.column.put_null();
                return Ok(());
            }
            Cell::Nested(_) if building.column.ty != Type::Text => return Err(Unfit::Nested),
            Cell::Field(text) | Cell::String(text) | Cell::Number(text) | Cell::Bool(text) | Cell::Nested(text) => text,
        };
        self.bytes += text.len();
        let put = building.column.put_text(text, &self.rules);
        put.map_err(|unfit| widened(unfit, building.inferred, building.column.ty, text, self.rules.separator))
    }
}

/// The reason, or the wider type that an inferred column needs.
#[cold]
pub(crate) fn widened(unfit: Unfit, inferred: bool, ty: Type, text: &str, separator: u8) -> Unfit {
    let wider = if inferred { number::wider(ty, trimmed(text), separator) } else { None };
    wider.map_or(unfit, Unfit::Widen)
}
