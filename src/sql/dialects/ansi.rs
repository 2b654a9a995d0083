//! Standard SQL, for reading, and for databases that have no dialect of their own. It has few functions of dates.

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, said, standard_call, unsupported};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct Ansi;

impl Dialect for Ansi {
    fn name(&self) -> &'static str {
        "ansi"
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "VARCHAR".to_owned(),
            Type::Int => "BIGINT".to_owned(),
            Type::Float => "DOUBLE PRECISION".to_owned(),
            Type::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Type::Bool => "BOOLEAN".to_owned(),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "TIMESTAMP(6) WITH TIME ZONE".to_owned(),
        })
    }

    fn index_key(&self, _column: ast::Ident, _ty: Type) -> Option<ast::Expr> {
        None
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            Function::AddDays(days) => {
                let days = [arguments, vec![tree::text(&days.to_string())]].concat();
                tree::fill("a + INTERVAL b DAY", &days)
            }
            Function::DateIn { zone } => tree::fill("CAST(a AT TIME ZONE b AS DATE)", &[arguments, vec![tree::text(zone)]].concat()),
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            Function::CanonicalText(Type::Text) => tree::fill("a", &arguments),
            Function::CanonicalText(Type::Int | Type::Date | Type::Decimal { scale: 0, .. }) => {
                tree::fill("CAST(a AS VARCHAR)", &arguments)
            }
            Function::CanonicalText(Type::Decimal { .. }) => {
                tree::fill("TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST(a AS VARCHAR)))", &arguments)
            }
            Function::CanonicalText(Type::Bool) => tree::fill("CASE WHEN a THEN 'true' WHEN NOT a THEN 'false' END", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("a + INTERVAL '1' DAY", &arguments),
            Function::Micros
            | Function::DaysBetween
            | Function::PeriodStart(_)
            | Function::NextPeriod(_)
            | Function::CanonicalText(Type::Float | Type::Timestamp) => {
                return Err(unsupported(self, &format!("{}: the standard has no function for it", said(function))));
            }
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}
