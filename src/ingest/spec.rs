//! What to read: a file, and the columns wanted of it.

use std::{path::PathBuf, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use qetl_core::{
    Type,
    format::{Format, ReaderOptions},
    load::OnExtraColumns,
    plan::{BAD_COLUMNS, PARKED_COLUMNS},
};

/// One file to read.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFile {
    pub path: PathBuf,
    /// How messages and records call it: its path from the project, with `/` between folders.
    pub name: String,
    pub format: Format,
}

/// A column wanted of a file, found by its exact name there.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadColumn {
    pub name: String,
    /// What the file calls it.
    pub source: String,
    /// `None`: to be inferred. `read` needs a type.
    pub ty: Option<Type>,
    /// NULL is an error.
    pub required: bool,
    /// It is one whatever becomes of other rows that do not fit.
    pub needed: bool,
    /// It is NULL where a file does not have it.
    pub optional: bool,
    /// The type was pinned by inference: what would lose characters does not fit, an integer may widen to a decimal, and a
    /// decimal's scale may grow.
    pub inferred: bool,
    /// No value was seen yet that says what the type is: an empty text is NULL, and a value is not read but told.
    pub open: bool,
    /// It says whose a row is. Texts that differ are different keys, so its type is not inferred as one that makes them equal.
    pub key: bool,
    /// It is added up: NaN and ±∞ do not fit.
    pub finite: bool,
    /// It is not looked for: NULL in every row.
    pub gone: bool,
}

/// Which columns to read, in the order of the batches, and how text becomes values. Names are unique, and the options'
/// characters are ASCII, as a flow's are.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadSpec {
    pub columns: Vec<ReadColumn>,
    pub options: ReaderOptions,
    pub on_extra_columns: OnExtraColumns,
    pub bad_rows: BadRows,
}

/// Where rows that do not fit are, if they are set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BadRows {
    /// Among the rows that fit.
    #[default]
    Among,
    /// Elsewhere.
    LeftOut,
    /// They alone are landed.
    Alone,
}

/// The Arrow type that holds a type's values.
pub fn arrow_type(ty: Type) -> DataType {
    match ty {
        Type::Text => DataType::Utf8View,
        Type::Int => DataType::Int64,
        Type::Float => DataType::Float64,
        // Core's decimals have at most 38 digits, so the scale fits an i8.
        Type::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
        Type::Bool => DataType::Boolean,
        Type::Date => DataType::Date32,
        Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

impl ReadColumn {
    /// A column that is called the same in the file, and of which nothing else is known.
    pub fn new(name: &str, ty: Option<Type>) -> Self {
        let (name, source) = (name.to_owned(), name.to_owned());
        Self {
            name,
            source,
            ty,
            required: false,
            needed: false,
            optional: false,
            inferred: false,
            open: false,
            key: false,
            finite: false,
            gone: false,
        }
    }
}

impl ReadSpec {
    /// The same of the columns that are not gone.
    pub fn present(&self) -> ReadSpec {
        ReadSpec { columns: self.columns.iter().filter(|column| !column.gone).cloned().collect(), ..self.clone() }
    }

    /// The columns that landing adds for rows that do not fit, where they are set aside.
    pub fn bad_columns(&self) -> &'static [(&'static str, Type)] {
        match self.bad_rows {
            _ if !self.options.parks_bad_rows() => &[],
            BadRows::Among => &BAD_COLUMNS,
            BadRows::LeftOut => &[],
            BadRows::Alone => &PARKED_COLUMNS,
        }
    }

    /// The columns that make rows of a batch the same: those of the rows, and the text of what does not fit.
    pub fn content_columns(&self) -> impl Iterator<Item = &str> {
        let text = self.bad_columns().iter().map(|(name, _)| *name).find(|name| *name == BAD_COLUMNS[0].0);
        self.columns.iter().map(|column| column.name.as_str()).chain(text)
    }

    /// The types of the columns; a column whose type is still open counts as text.
    pub(crate) fn types(&self) -> impl Iterator<Item = Type> {
        self.columns.iter().map(|column| column.ty.unwrap_or(Type::Text))
    }

    /// The schema of the batches. Every column may hold NULL: whether it does is checked while reading.
    pub(crate) fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().zip(self.types());
        let fields = fields.map(|(column, ty)| Field::new(&column.name, arrow_type(ty), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}
