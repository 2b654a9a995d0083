//! Databricks and Spark, from Spark 4.1 on, in sessions whose time zone is UTC.

use qetl_core::{
    ir::{BinaryOp, Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, Scratch, concat_ws, ordered, said, standard_call, unsupported};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct Databricks;

impl Dialect for Databricks {
    fn name(&self) -> &'static str {
        "databricks"
    }

    fn session(&self) -> &'static [&'static str] {
        &[
            "SET TIME ZONE 'UTC'",
            "SET spark.sql.ansi.enabled = true",
            "SET spark.sql.cteRecursionLevelLimit = -1",
            "SET spark.sql.cteRecursionRowLimit = -1",
        ]
    }

    fn quote(&self) -> char {
        '`'
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "STRING".to_owned(),
            Type::Int => "BIGINT".to_owned(),
            Type::Float => "DOUBLE".to_owned(),
            Type::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Type::Bool => "BOOLEAN".to_owned(),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "TIMESTAMP".to_owned(),
        })
    }

    fn index_key(&self, _column: ast::Ident, _ty: Type) -> Option<ast::Expr> {
        None
    }

    fn scratch(&self) -> Scratch {
        Scratch::Plain
    }

    fn periods(&self, period: Period) -> Option<ast::Query> {
        Some(tree::skeleton(match period {
            Period::Day => "SELECT EXPLODE(SEQUENCE(a, b, INTERVAL 1 DAY)) AS c FROM t",
            Period::Week => "SELECT EXPLODE(SEQUENCE(a, b, INTERVAL 7 DAY)) AS c FROM t",
            Period::Month => "SELECT EXPLODE(SEQUENCE(a, b, INTERVAL 1 MONTH)) AS c FROM t",
        }))
    }

    fn text(&self, value: &str) -> ast::Expr {
        tree::text_with_backslashes(value)
    }

    fn order(&self, key: ast::Expr, _ty: Type, descending: bool) -> Vec<ast::OrderByExpr> {
        vec![ordered(key, descending, descending.then_some(true))]
    }

    /// A difference of 38 digits loses those behind the sixth of its fraction.
    fn binary(&self, op: BinaryOp, ty: Type, left: ast::Expr, right: ast::Expr) -> Result<ast::Expr, Unsupported> {
        match (op, ty) {
            (BinaryOp::Plus | BinaryOp::Minus, Type::Decimal { precision: 38, scale: 7.. }) => {
                Err(unsupported(self, &format!("`{}` of a {ty} exactly", super::operator(op))))
            }
            _ => Ok(tree::binary(left, super::operator(op), right)),
        }
    }

    fn join_text(&self, separator: &str, parts: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(concat_ws(self, separator, parts))
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            Function::Micros => tree::fill("UNIX_MICROS(a)", &arguments),
            Function::AddDays(days) => tree::fill("DATE_ADD(a, b)", &[arguments, vec![tree::number(days)]].concat()),
            Function::DaysBetween => tree::fill("DATEDIFF(a, b)", &arguments),
            Function::DateIn { zone } => tree::fill("CAST(FROM_UTC_TIMESTAMP(a, b) AS DATE)", &[arguments, vec![self.text(zone)]].concat()),
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            Function::PeriodStart(Period::Week) => tree::fill("TRUNC(a, 'WEEK')", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("TRUNC(a, 'MONTH')", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("DATE_ADD(a, 1)", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("DATE_ADD(TRUNC(a, 'WEEK'), 7)", &arguments),
            Function::NextPeriod(Period::Month) => tree::fill("ADD_MONTHS(TRUNC(a, 'MONTH'), 1)", &arguments),
            Function::CanonicalText(ty) => match ty {
                Type::Text => tree::fill("a", &arguments),
                Type::Int | Type::Bool | Type::Date | Type::Decimal { scale: 0, .. } => tree::fill("CAST(a AS STRING)", &arguments),
                Type::Decimal { .. } => tree::fill("TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST(a AS STRING)))", &arguments),
                Type::Timestamp => {
                    let format = self.text("yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'");
                    tree::fill("DATE_FORMAT(a, b)", &[arguments, vec![format]].concat())
                }
                Type::Float => return Err(unsupported(self, &said(function))),
            },
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}
