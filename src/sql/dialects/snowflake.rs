//! Snowflake.

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, Fold, said, standard_call, unsupported};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct Snowflake;

impl Dialect for Snowflake {
    fn name(&self) -> &'static str {
        "snowflake"
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "VARCHAR".to_owned(),
            Type::Int => "BIGINT".to_owned(),
            Type::Float => "DOUBLE".to_owned(),
            Type::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Type::Bool => "BOOLEAN".to_owned(),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "TIMESTAMP_LTZ(6)".to_owned(),
        })
    }

    fn index_key(&self, _column: ast::Ident, _ty: Type) -> Option<ast::Expr> {
        None
    }

    /// A variable of the session: `SET batch_id = 2`.
    fn parameter(&self, name: &str) -> String {
        format!("${name}")
    }

    fn text(&self, value: &str) -> ast::Expr {
        tree::text_with_backslashes(value)
    }

    fn folded(&self, fold: Fold, ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        if (fold, ty) == (Fold::Sum, Type::Int) { self.plain_cast(value, ty) } else { Ok(value) }
    }

    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        match (from, to) {
            (Type::Date, Type::Timestamp) => {
                Ok(tree::fill("CAST(TO_VARCHAR(a, 'YYYY-MM-DD') || 'T00:00:00Z' AS TIMESTAMP_LTZ(6))", &[expr]))
            }
            (Type::Timestamp, Type::Date) => Ok(tree::fill("CAST(CONVERT_TIMEZONE('UTC', a) AS DATE)", &[expr])),
            _ if from == to => Ok(expr),
            _ => self.plain_cast(expr, to),
        }
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            Function::Micros => tree::fill("DATE_PART('EPOCH_MICROSECOND', a)", &arguments),
            Function::AddDays(days) => tree::fill("DATEADD('DAY', b, a)", &[arguments, vec![tree::number(days)]].concat()),
            Function::DaysBetween => tree::fill("DATEDIFF('DAY', b, a)", &arguments),
            Function::DateIn { zone } => tree::fill("CAST(CONVERT_TIMEZONE(b, a) AS DATE)", &[arguments, vec![self.text(zone)]].concat()),
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            // Where a week begins for DATE_TRUNC is a setting.
            Function::PeriodStart(Period::Week) => tree::fill("DATEADD('DAY', 1 - DAYOFWEEKISO(a), a)", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("DATE_TRUNC('MONTH', a)", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("DATEADD('DAY', 1, a)", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("DATEADD('DAY', 8 - DAYOFWEEKISO(a), a)", &arguments),
            Function::NextPeriod(Period::Month) => tree::fill("DATEADD('MONTH', 1, DATE_TRUNC('MONTH', a))", &arguments),
            Function::CanonicalText(ty) => match ty {
                Type::Text => tree::fill("a", &arguments),
                Type::Int | Type::Bool | Type::Decimal { scale: 0, .. } => tree::fill("CAST(a AS VARCHAR)", &arguments),
                Type::Decimal { .. } => tree::fill("RTRIM(RTRIM(CAST(a AS VARCHAR), '0'), '.')", &arguments),
                Type::Date => tree::fill("TO_VARCHAR(a, 'YYYY-MM-DD')", &arguments),
                Type::Timestamp => tree::fill("TO_VARCHAR(CONVERT_TIMEZONE('UTC', a), 'YYYY-MM-DD\"T\"HH24:MI:SS.FF6\"Z\"')", &arguments),
                Type::Float => return Err(unsupported(self, &said(function))),
            },
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}
