//! SQLite, from 3.44 on.

use qetl_core::schema::Type;
use sqlparser::ast;

use super::Dialect;
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct Sqlite;

impl Dialect for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    /// SQLite has no dates: ISO 8601 text sorts as dates do. Decimals are text with all the digits of their scale.
    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Bool | Type::Int => "INTEGER",
            Type::Float => "REAL",
            Type::Text | Type::Date | Type::Timestamp | Type::Decimal { .. } => "TEXT",
        }
        .to_owned())
    }

    fn timestamp(&self, iso: &str) -> Result<ast::Expr, Unsupported> {
        Ok(tree::text(iso))
    }

    fn cast(&self, expr: ast::Expr, ty: Type) -> Result<ast::Expr, Unsupported> {
        match (ty, &expr) {
            (Type::Text | Type::Date | Type::Timestamp, ast::Expr::Value(_)) => Ok(expr),
            (Type::Text | Type::Int | Type::Float | Type::Bool, _) => {
                let mut cast = tree::skeleton_expr("CAST(x AS INTEGER)");
                if let ast::Expr::Cast { expr: inner, data_type, .. } = &mut cast {
                    **inner = expr;
                    *data_type = tree::data_type(&self.type_name(ty)?, ty);
                }
                Ok(cast)
            }
            (Type::Decimal { .. } | Type::Date | Type::Timestamp, _) => Err(Unsupported { dialect: self.name(), what: format!("a cast to {ty}") }),
        }
    }
}
