//! DuckDB.

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, Fold, concat_ws, standard_call};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct DuckDb {
    /// Whether it is qetl's own, which has [`super::DATE_IN`] in place of the extension that knows time zones.
    embedded: bool,
}

impl DuckDb {
    /// With its extension `icu`, which is part of what its makers give out.
    pub const SHELL: Self = Self { embedded: false };
    /// As qetl's engine has it.
    pub const EMBEDDED: Self = Self { embedded: true };
}

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

    /// Rows of a batch are found by the bounds of their blocks, and keys are joined by hash: an index would only cost.
    fn index_key(&self, _column: ast::Ident, _ty: Type) -> Option<ast::Expr> {
        None
    }

    /// A variable of the session: `SET VARIABLE batch_id = 2`.
    fn parameter(&self, name: &str) -> String {
        format!("GETVARIABLE('{name}')")
    }

    /// Sums of integers are made wider.
    fn folded(&self, fold: Fold, ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        if (fold, ty) == (Fold::Sum, Type::Int) { self.plain_cast(value, ty) } else { Ok(value) }
    }

    /// Without the time zone of the session, and without the extension that knows time zones.
    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        match (from, to) {
            (Type::Date, Type::Timestamp) => Ok(tree::fill("TO_TIMESTAMP(EPOCH(a))", &[expr])),
            (Type::Timestamp, Type::Date) => Ok(tree::fill("CAST(MAKE_TIMESTAMP(EPOCH_US(a)) AS DATE)", &[expr])),
            _ if from == to => Ok(expr),
            _ => self.plain_cast(expr, to),
        }
    }

    fn join_text(&self, separator: &str, parts: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(concat_ws(self, separator, parts))
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            Function::Micros => tree::fill("EPOCH_US(a)", &arguments),
            Function::AddDays(days) => tree::fill("a + b", &[arguments, vec![tree::number(days)]].concat()),
            Function::DaysBetween => tree::fill("a - b", &arguments),
            Function::DateIn { zone } if zone == "UTC" => tree::fill("CAST(MAKE_TIMESTAMP(EPOCH_US(a)) AS DATE)", &arguments),
            Function::DateIn { zone } => {
                let date = if self.embedded { "qetl_date_in(EPOCH_US(a), b)" } else { "CAST(TIMEZONE(b, a) AS DATE)" };
                tree::fill(date, &[arguments, vec![tree::text(zone)]].concat())
            }
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            Function::PeriodStart(Period::Week) => tree::fill("CAST(DATE_TRUNC('week', a) AS DATE)", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("CAST(DATE_TRUNC('month', a) AS DATE)", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("a + 1", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("CAST(DATE_TRUNC('week', a) + INTERVAL '7' DAY AS DATE)", &arguments),
            Function::NextPeriod(Period::Month) => tree::fill("CAST(DATE_TRUNC('month', a) + INTERVAL '1' MONTH AS DATE)", &arguments),
            Function::CanonicalText(ty) => match ty {
                Type::Text => tree::fill("a", &arguments),
                Type::Int | Type::Bool | Type::Date | Type::Decimal { scale: 0, .. } => tree::fill("CAST(a AS VARCHAR)", &arguments),
                Type::Decimal { .. } => tree::fill("RTRIM(RTRIM(CAST(a AS VARCHAR), '0'), '.')", &arguments),
                Type::Timestamp => tree::fill("STRFTIME(MAKE_TIMESTAMP(EPOCH_US(a)), '%Y-%m-%dT%H:%M:%S.%fZ')", &arguments),
                Type::Float => tree::fill(FLOAT_TEXT, &arguments),
            },
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}

/// The database's own text, but for zero, the names of what is no number, and how an exponent is written.
const FLOAT_TEXT: &str = "CASE \
    WHEN a = 0 THEN '0.0' \
    WHEN ISNAN(a) THEN 'NaN' \
    WHEN ISINF(a) THEN CASE WHEN a > 0 THEN 'Infinity' ELSE '-Infinity' END \
    ELSE REPLACE(REPLACE(CAST(a AS VARCHAR), 'e+', 'e'), 'e-0', 'e-') END";
