//! DuckDB.

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::Dialect;
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct DuckDb;

impl Dialect for DuckDb {
    fn name(&self) -> &'static str {
        "duckdb"
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "VARCHAR".to_owned(),
            Type::Int => "BIGINT".to_owned(),
            Type::Float => "DOUBLE".to_owned(),
            Type::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Type::Bool => "BOOLEAN".to_owned(),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "TIMESTAMP WITH TIME ZONE".to_owned(),
        })
    }
    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match (function, arguments.as_slice()) {
            (Function::Micros, _) => tree::call("EPOCH_US(a)", arguments),
            (Function::AddDays(days), [date]) => tree::binary(date.clone(), ast::BinaryOperator::Plus, tree::number(days)),
            (Function::DaysBetween, [a, b]) => tree::binary(a.clone(), ast::BinaryOperator::Minus, b.clone()),
            (Function::DateIn { zone }, [instant]) => {
                self.cast(tree::call("TIMEZONE(a, b)", vec![tree::text(zone), instant.clone()]), Type::Date)?
            }
            (Function::PeriodStart(period), [date]) => self.cast(truncated(*period, date), Type::Date)?,
            (Function::NextPeriod(period), [date]) => {
                let one = tree::skeleton_expr(match period {
                    Period::Day => "INTERVAL '1' DAY",
                    Period::Week => "INTERVAL '7' DAY",
                    Period::Month => "INTERVAL '1' MONTH",
                });
                self.cast(tree::binary(truncated(*period, date), ast::BinaryOperator::Plus, one), Type::Date)?
            }
            (Function::CanonicalText(ty), [value]) => match ty {
                Type::Text => value.clone(),
                Type::Int | Type::Bool | Type::Date | Type::Decimal { scale: 0, .. } => self.cast(value.clone(), Type::Text)?,
                Type::Decimal { .. } => {
                    let digits = tree::call("RTRIM(a, b)", vec![self.cast(value.clone(), Type::Text)?, tree::text("0")]);
                    tree::call("RTRIM(a, b)", vec![digits, tree::text(".")])
                }
                Type::Timestamp => {
                    let utc = tree::call("TIMEZONE(a, b)", vec![tree::text("UTC"), value.clone()]);
                    tree::call("STRFTIME(a, b)", vec![utc, tree::text("%Y-%m-%dT%H:%M:%S.%fZ")])
                }
                Type::Float => return Err(Unsupported { dialect: self.name(), what: "the canonical text of a float".to_owned() }),
            },
            (Function::Concat | Function::Replace { .. } | Function::Coalesce, _) => {
                return super::standard_call(self, function, arguments);
            }
            (other, _) => return Err(Unsupported { dialect: self.name(), what: format!("{other:?}") }),
        })
    }
}

fn truncated(period: Period, date: &ast::Expr) -> ast::Expr {
    let unit = match period {
        Period::Day => "day",
        Period::Week => "week",
        Period::Month => "month",
    };
    tree::call("DATE_TRUNC(a, b)", vec![tree::text(unit), date.clone()])
}
