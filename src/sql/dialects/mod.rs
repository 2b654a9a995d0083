//! Dialects: each file is what one differs in from standard SQL.

mod duckdb;
mod sqlite;

use qetl_core::schema::Type;
use sqlparser::ast;

use crate::{Unsupported, tree};

pub use duckdb::DuckDb;
pub use sqlite::Sqlite;

/// Every dialect, by name.
pub const DIALECTS: [&dyn Dialect; 2] = [&DuckDb, &Sqlite];

/// The dialect of that name.
pub fn dialect(name: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.into_iter().find(|dialect| dialect.name() == name)
}

/// A way to write SQL. The defaults are standard SQL.
pub trait Dialect: Sync {
    fn name(&self) -> &'static str;

    /// The character around names.
    fn quote(&self) -> char {
        '"'
    }

    /// What a type is called.
    fn type_name(&self, ty: Type) -> Result<String, Unsupported>;

    /// Whether two values differ, NULL being a value.
    fn is_distinct(&self, left: ast::Expr, right: ast::Expr) -> ast::Expr {
        ast::Expr::IsDistinctFrom(Box::new(tree::nested(left)), Box::new(tree::nested(right)))
    }

    fn is_not_distinct(&self, left: ast::Expr, right: ast::Expr) -> ast::Expr {
        ast::Expr::IsNotDistinctFrom(Box::new(tree::nested(left)), Box::new(tree::nested(right)))
    }

    /// An instant, given as ISO 8601 text in UTC with microseconds.
    fn timestamp(&self, iso: &str) -> Result<ast::Expr, Unsupported> {
        self.cast(tree::text(iso), Type::Timestamp)
    }

    fn cast(&self, expr: ast::Expr, ty: Type) -> Result<ast::Expr, Unsupported> {
        let mut cast = tree::skeleton_expr("CAST(x AS INTEGER)");
        if let ast::Expr::Cast { expr: inner, data_type, .. } = &mut cast {
            **inner = expr;
            *data_type = tree::data_type(&self.type_name(ty)?, ty);
        }
        Ok(cast)
    }

    /// The texts that are not NULL, joined.
    fn join_text(&self, separator: &str, parts: Vec<ast::Expr>) -> ast::Expr {
        let arguments = std::iter::once(tree::text(separator)).chain(parts).collect();
        tree::call("NULLIF(a, b)", vec![tree::call("CONCAT_WS(a, b)", arguments), tree::text("")])
    }
}
