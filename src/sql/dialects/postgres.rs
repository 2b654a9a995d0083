//! PostgreSQL, from 13 on.

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, Fold, MostColumns, concat_ws, ordered, standard_call};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct Postgres;

impl Dialect for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn most_columns(&self) -> Option<MostColumns> {
        Some(MostColumns { table: 1600, result: 1664 })
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "TEXT".to_owned(),
            Type::Int => "BIGINT".to_owned(),
            Type::Float => "DOUBLE PRECISION".to_owned(),
            Type::Decimal { precision, scale } => format!("NUMERIC({precision},{scale})"),
            Type::Bool => "BOOLEAN".to_owned(),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "TIMESTAMP WITH TIME ZONE".to_owned(),
        })
    }

    fn column_type(&self, ty: Type) -> Result<String, Unsupported> {
        if ty == Type::Text { Ok("TEXT COLLATE \"C\"".to_owned()) } else { self.type_name(ty) }
    }

    fn copies_tables(&self) -> bool {
        true
    }

    /// A setting of the session: `SET qetl.batch_id = '2'`.
    fn parameter(&self, name: &str) -> String {
        let setting = format!("CURRENT_SETTING('qetl.{name}')");
        if name == "processed_at" { setting } else { format!("CAST({setting} AS BIGINT)") }
    }

    fn order(&self, key: ast::Expr, ty: Type, descending: bool) -> Vec<ast::OrderByExpr> {
        let key = if ty == Type::Text { tree::fill("a COLLATE \"C\"", &[key]) } else { key };
        // A descending order has NULL first by itself.
        vec![ordered(key, descending, (!descending).then_some(true))]
    }

    fn operand(&self, fold: Fold, ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        Ok(if (fold, ty) == (Fold::Extreme, Type::Text) { tree::fill("a COLLATE \"C\"", &[value]) } else { value })
    }

    /// Sums of integers are made wider.
    fn folded(&self, fold: Fold, ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        if (fold, ty) == (Fold::Sum, Type::Int) { self.plain_cast(value, ty) } else { Ok(value) }
    }

    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        match (from, to) {
            (Type::Date, Type::Timestamp) => Ok(tree::fill("CAST(a AS TIMESTAMP) AT TIME ZONE 'UTC'", &[expr])),
            (Type::Timestamp, Type::Date) => Ok(tree::fill("CAST(a AT TIME ZONE 'UTC' AS DATE)", &[expr])),
            _ if from == to => Ok(expr),
            _ => self.plain_cast(expr, to),
        }
    }

    fn join_text(&self, separator: &str, parts: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(concat_ws(self, separator, parts))
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            Function::Micros => tree::fill("CAST(EXTRACT(EPOCH FROM a) * 1000000 AS BIGINT)", &arguments),
            Function::AddDays(days) => tree::fill("a + b", &[arguments, vec![tree::number(days)]].concat()),
            Function::DaysBetween => tree::fill("a - b", &arguments),
            Function::DateIn { zone } => tree::fill("CAST(a AT TIME ZONE b AS DATE)", &[arguments, vec![tree::text(zone)]].concat()),
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            Function::PeriodStart(Period::Week) => tree::fill("CAST(DATE_TRUNC('week', CAST(a AS TIMESTAMP)) AS DATE)", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("CAST(DATE_TRUNC('month', CAST(a AS TIMESTAMP)) AS DATE)", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("a + 1", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("CAST(DATE_TRUNC('week', CAST(a AS TIMESTAMP)) AS DATE) + 7", &arguments),
            Function::NextPeriod(Period::Month) => {
                tree::fill("CAST(DATE_TRUNC('month', CAST(a AS TIMESTAMP)) + INTERVAL '1' MONTH AS DATE)", &arguments)
            }
            Function::CanonicalText(ty) => match ty {
                Type::Text => tree::fill("a", &arguments),
                Type::Int | Type::Bool => tree::fill("CAST(a AS TEXT)", &arguments),
                Type::Decimal { .. } => tree::fill("CAST(TRIM_SCALE(a) AS TEXT)", &arguments),
                Type::Date => tree::fill("TO_CHAR(a, 'YYYY-MM-DD')", &arguments),
                Type::Timestamp => tree::fill("TO_CHAR(a AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')", &arguments),
                Type::Float => tree::fill(FLOAT_TEXT, &arguments),
            },
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}

/// The shortest text that is read back as the same number. From 1e15 to 1e16 the database writes an exponent, and qetl none.
const FLOAT_TEXT: &str = "CASE \
    WHEN a = 0 THEN '0.0' \
    WHEN ABS(a) >= 1e15 AND ABS(a) < 1e16 THEN \
        REGEXP_REPLACE(CAST(a AS TEXT), '[0-9.]+e.*$', '') || SUBSTR(RPAD(REGEXP_REPLACE(CAST(a AS TEXT), '^-|[.]|e.*$', '', 'g'), 16, '0'), 1, 16) || '.' || \
        COALESCE(NULLIF(SUBSTR(REGEXP_REPLACE(CAST(a AS TEXT), '^-|[.]|e.*$', '', 'g'), 17), ''), '0') \
    WHEN CAST(a AS TEXT) LIKE '%e%' THEN REPLACE(REPLACE(CAST(a AS TEXT), 'e+', 'e'), 'e-0', 'e-') \
    WHEN CAST(a AS TEXT) LIKE '%.%' OR CAST(a AS TEXT) LIKE '%N%' OR CAST(a AS TEXT) LIKE '%I%' THEN CAST(a AS TEXT) \
    ELSE CAST(a AS TEXT) || '.0' END";
