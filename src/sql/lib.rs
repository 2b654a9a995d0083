//! From the IR to SQL text: a syntax tree of sqlparser's, printed; steps become common table expressions of their names.
//!
//! Names are always quoted, values are nodes of the tree, the same instructions give the same bytes.

pub mod author;
mod batch;
mod block;
mod compose;
pub mod dialects;
mod expr;
mod prepare;
mod query;
pub mod size;
mod statements;
pub mod task;
mod tree;

pub use batch::{Batch, Of, Parameters};
pub use dialects::Dialect;
use qetl_core::{DatasetName, ir::Steps};
pub use query::Sql;
use sqlparser::tokenizer::Token;
pub use sqlparser::{
    ast::{Ident, ObjectName},
    dialect as syntax,
};
pub use statements::{Extent, kept};
pub use tree::ident;

/// A column by its name, as an argument of [`Dialect::call`].
pub fn syntax_column(name: Ident) -> sqlparser::ast::Expr {
    sqlparser::ast::Expr::Identifier(name)
}

/// Whether the text is a single statement, with or without a semicolon behind it.
pub fn is_one_statement(sql: &str, syntax: &dyn syntax::Dialect) -> bool {
    let Ok(tokens) = sqlparser::tokenizer::Tokenizer::new(syntax, sql).tokenize() else { return false };
    let is_blank = |token: &Token| matches!(token, Token::Whitespace(_) | Token::SemiColon);
    let end = tokens.iter().rposition(|token| !is_blank(token)).map_or(0, |last| last + 1);
    end > 0 && !tokens[..end].contains(&Token::SemiColon)
}

/// The byte of a text at a line and column, both from 1, the column in characters.
pub fn byte_at(text: &str, line: u64, column: u64) -> usize {
    let count = |number: u64| usize::try_from(number).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(count(line)).map(str::len).sum();
    let rest = &text[start..];
    start + rest.char_indices().nth(count(column)).map_or(rest.len(), |(at, _)| at)
}

/// What a dialect cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{dialect} cannot say {what}")]
pub struct Unsupported {
    pub dialect: &'static str,
    pub what: String,
}

/// The query that the steps are, for one batch. `table` says what a dataset is called.
pub fn query<'a>(
    dialect: &'a dyn Dialect,
    steps: &Steps,
    batch: impl Into<Of<'a>>,
    table: &'a dyn Fn(&DatasetName) -> ObjectName,
) -> Result<String, Unsupported> {
    Sql { dialect, batch: batch.into(), table }.query(steps)
}
