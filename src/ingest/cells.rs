//! What a text file's reader hands on: one cell after the other.

use crate::value::unfit::Unfit;

/// A value as it stands in a text file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Null,
    /// A field of a CSV file, which says nothing of its type.
    Field(&'a str),
    /// The same in quotes, which may be empty, or the text that means NULL without them.
    Quoted(&'a str),
    /// A JSON string, without its quotes and escapes.
    String(&'a str),
    /// A JSON number, with all its digits.
    Number(&'a str),
    /// `true` or `false` in JSON.
    Bool(&'a str),
    /// The text of a JSON object or array.
    Nested(&'a str),
}

impl<'a> Cell<'a> {
    pub(crate) fn text(self) -> &'a str {
        match self {
            Cell::Null => "",
            Cell::Field(text) | Cell::Quoted(text) => text,
            Cell::String(text) | Cell::Number(text) | Cell::Bool(text) | Cell::Nested(text) => text,
        }
    }
}

/// Takes the cells of a file. Each row gives every wanted column exactly one cell, or says that it has none.
pub(crate) trait Sink {
    /// The value of the wanted column number `column` in the current row. One that does not fit is as good as none.
    fn put(&mut self, column: usize, cell: Cell<'_>) -> Result<(), Unfit>;

    /// The current row has nothing that could be read for the column.
    fn put_none(&mut self, column: usize);
}

/// Takes no notice.
pub(crate) struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _column: usize, _cell: Cell<'_>) -> Result<(), Unfit> {
        Ok(())
    }

    fn put_none(&mut self, _column: usize) {}
}
