//! Dialects: each file is what one differs in from standard SQL.
#![expect(clippy::wildcard_enum_match_arm, reason = "a dialect says what it can")]

mod duckdb;
mod sqlite;

use qetl_core::{ir::Function, schema::Type};
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

    /// A call of a function, but for those that the batch answers.
    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        standard_call(self, function, arguments)
    }

    /// The texts that are not NULL, joined.
    fn join_text(&self, separator: &str, parts: Vec<ast::Expr>) -> ast::Expr {
        let arguments = std::iter::once(tree::text(separator)).chain(parts).collect();
        tree::call("NULLIF(a, b)", vec![tree::call("CONCAT_WS(a, b)", arguments), tree::text("")])
    }
}

/// The functions that every dialect writes alike.
fn standard_call<D: Dialect + ?Sized>(dialect: &D, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
    Ok(match function {
        Function::Concat => {
            let parts = arguments.into_iter().map(tree::nested);
            let joined = parts.reduce(|all, next| ast::Expr::BinaryOp {
                left: Box::new(all),
                op: ast::BinaryOperator::StringConcat,
                right: Box::new(next),
            });
            joined.unwrap_or_else(|| tree::text(""))
        }
        Function::Replace { from, to } => {
            tree::call("REPLACE(a, b, c)", arguments.into_iter().chain([tree::text(from), tree::text(to)]).collect())
        }
        Function::Coalesce => tree::call("COALESCE(a, b)", arguments),
        other => return Err(Unsupported { dialect: dialect.name(), what: format!("{other:?}") }),
    })
}
