//! Trino.

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, Scratch, concat_ws, said, standard_call, unsupported};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct Trino;

impl Dialect for Trino {
    fn name(&self) -> &'static str {
        "trino"
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "VARCHAR".to_owned(),
            Type::Int => "BIGINT".to_owned(),
            Type::Float => "DOUBLE".to_owned(),
            Type::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Type::Bool => "BOOLEAN".to_owned(),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "TIMESTAMP(6) WITH TIME ZONE".to_owned(),
        })
    }

    fn index_key(&self, _column: ast::Ident, _ty: Type) -> Option<ast::Expr> {
        None
    }

    fn scratch(&self) -> Scratch {
        Scratch::Plain
    }

    fn recursion(&self) -> Result<(), Unsupported> {
        Err(unsupported(self, "how sessions follow from one another: a recursion is planned for ten steps"))
    }

    fn periods(&self, period: Period) -> Option<ast::Query> {
        Some(tree::skeleton(match period {
            Period::Day => "SELECT xt_day AS c FROM t CROSS JOIN UNNEST(SEQUENCE(a, b, INTERVAL '1' DAY)) AS days (xt_day)",
            Period::Week => "SELECT xt_day AS c FROM t CROSS JOIN UNNEST(SEQUENCE(a, b, INTERVAL '7' DAY)) AS days (xt_day)",
            Period::Month => "SELECT xt_day AS c FROM t CROSS JOIN UNNEST(SEQUENCE(a, b, INTERVAL '1' MONTH)) AS days (xt_day)",
        }))
    }

    fn timestamp(&self, iso: &str) -> Result<ast::Expr, Unsupported> {
        self.plain_cast(self.text(&iso.replace('T', " ").replace('Z', " UTC")), Type::Timestamp)
    }

    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        match (from, to) {
            (Type::Date, Type::Timestamp) => Ok(tree::fill("WITH_TIMEZONE(CAST(a AS TIMESTAMP(6)), 'UTC')", &[expr])),
            (Type::Timestamp, Type::Date) => Ok(tree::fill("CAST(a AT TIME ZONE 'UTC' AS DATE)", &[expr])),
            (Type::Text, Type::Timestamp) => self.plain_cast(tree::fill("REPLACE(REPLACE(a, 'T', ' '), 'Z', ' UTC')", &[expr]), to),
            _ if from == to => Ok(expr),
            _ => self.plain_cast(expr, to),
        }
    }

    fn join_text(&self, separator: &str, parts: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(concat_ws(self, separator, parts))
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            // TO_UNIXTIME is a float; the text has all six digits.
            Function::Micros => tree::fill(
                "DATE_DIFF('second', CAST('1970-01-01 00:00:00 UTC' AS TIMESTAMP(6) WITH TIME ZONE), DATE_TRUNC('second', a)) * 1000000 \
                 + CAST(SUBSTR(CAST(a AT TIME ZONE 'UTC' AS VARCHAR), 21, 6) AS BIGINT)",
                &arguments,
            ),
            Function::AddDays(days) => tree::fill("DATE_ADD('day', b, a)", &[arguments, vec![tree::number(days)]].concat()),
            Function::DaysBetween => tree::fill("DATE_DIFF('day', b, a)", &arguments),
            Function::DateIn { zone } => tree::fill("CAST(a AT TIME ZONE b AS DATE)", &[arguments, vec![tree::text(zone)]].concat()),
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            Function::PeriodStart(Period::Week) => tree::fill("DATE_TRUNC('week', a)", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("DATE_TRUNC('month', a)", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("DATE_ADD('day', 1, a)", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("DATE_ADD('day', 7, DATE_TRUNC('week', a))", &arguments),
            Function::NextPeriod(Period::Month) => tree::fill("DATE_ADD('month', 1, DATE_TRUNC('month', a))", &arguments),
            Function::CanonicalText(ty) => match ty {
                Type::Text => tree::fill("a", &arguments),
                Type::Int | Type::Bool | Type::Date | Type::Decimal { scale: 0, .. } => tree::fill("CAST(a AS VARCHAR)", &arguments),
                Type::Decimal { .. } => tree::fill("TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST(a AS VARCHAR)))", &arguments),
                Type::Timestamp => tree::fill("REPLACE(SUBSTR(CAST(a AT TIME ZONE 'UTC' AS VARCHAR), 1, 26), ' ', 'T') || 'Z'", &arguments),
                Type::Float => return Err(unsupported(self, &said(function))),
            },
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}
