//! BigQuery.

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, MostColumns, ordered, said, standard_call, unsupported};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct BigQuery;

impl Dialect for BigQuery {
    fn name(&self) -> &'static str {
        "bigquery"
    }

    fn quote(&self) -> char {
        '`'
    }

    fn most_columns(&self) -> Option<MostColumns> {
        Some(MostColumns { table: 10_000, result: 10_000 })
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "STRING".to_owned(),
            Type::Int => "INT64".to_owned(),
            Type::Float => "FLOAT64".to_owned(),
            Type::Decimal { precision, scale } if scale <= 9 && precision - scale <= 29 => format!("NUMERIC({precision},{scale})"),
            Type::Decimal { precision, scale } => format!("BIGNUMERIC({precision},{scale})"),
            Type::Bool => "BOOL".to_owned(),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "TIMESTAMP".to_owned(),
        })
    }

    fn index_key(&self, _column: ast::Ident, _ty: Type) -> Option<ast::Expr> {
        None
    }

    fn every_row(&self) -> Option<ast::Expr> {
        Some(tree::skeleton_expr("TRUE"))
    }

    fn parameter(&self, name: &str) -> String {
        format!("@{name}")
    }

    fn recursion(&self) -> Result<(), Unsupported> {
        Err(unsupported(self, "how sessions follow from one another: a recursion ends after 500 steps"))
    }

    fn periods(&self, period: Period) -> Option<ast::Query> {
        Some(tree::skeleton(match period {
            Period::Day => "SELECT xt_day AS c FROM t CROSS JOIN UNNEST(GENERATE_DATE_ARRAY(a, b, INTERVAL 1 DAY)) AS xt_day",
            Period::Week => "SELECT xt_day AS c FROM t CROSS JOIN UNNEST(GENERATE_DATE_ARRAY(a, b, INTERVAL 1 WEEK)) AS xt_day",
            Period::Month => "SELECT xt_day AS c FROM t CROSS JOIN UNNEST(GENERATE_DATE_ARRAY(a, b, INTERVAL 1 MONTH)) AS xt_day",
        }))
    }

    fn text(&self, value: &str) -> ast::Expr {
        tree::text_with_backslashes(value)
    }

    /// Several columns are one value, on both sides.
    fn among(&self, columns: Vec<ast::Expr>, table: ast::TableFactor) -> ast::Expr {
        let value = tree::tuple(columns);
        let subquery = Box::new(tree::select(vec![ast::SelectItem::UnnamedExpr(value.clone())], table));
        ast::Expr::InSubquery { expr: Box::new(value), subquery, negated: false }
    }

    fn order(&self, key: ast::Expr, _ty: Type, descending: bool) -> Vec<ast::OrderByExpr> {
        vec![ordered(key, descending, descending.then_some(true))]
    }

    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        match (from, to) {
            (Type::Date, Type::Timestamp) => Ok(tree::fill("TIMESTAMP(a, 'UTC')", &[expr])),
            (Type::Timestamp, Type::Date) => Ok(tree::fill("DATE(a, 'UTC')", &[expr])),
            _ if from == to => Ok(expr),
            _ => self.plain_cast(expr, to),
        }
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            Function::Micros => tree::fill("UNIX_MICROS(a)", &arguments),
            Function::AddDays(days) => tree::fill("DATE_ADD(a, INTERVAL b DAY)", &[arguments, vec![tree::number(days)]].concat()),
            Function::DaysBetween => tree::fill("DATE_DIFF(a, b, DAY)", &arguments),
            Function::DateIn { zone } => tree::fill("DATE(a, b)", &[arguments, vec![self.text(zone)]].concat()),
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            Function::PeriodStart(Period::Week) => tree::fill("DATE_TRUNC(a, ISOWEEK)", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("DATE_TRUNC(a, MONTH)", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("DATE_ADD(a, INTERVAL 1 DAY)", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("DATE_ADD(DATE_TRUNC(a, ISOWEEK), INTERVAL 7 DAY)", &arguments),
            Function::NextPeriod(Period::Month) => tree::fill("DATE_ADD(DATE_TRUNC(a, MONTH), INTERVAL 1 MONTH)", &arguments),
            Function::CanonicalText(ty) => match ty {
                Type::Text => tree::fill("a", &arguments),
                // It writes a decimal without zeros at its end.
                Type::Int | Type::Bool | Type::Date | Type::Decimal { .. } => tree::fill("CAST(a AS STRING)", &arguments),
                Type::Timestamp => tree::fill("FORMAT_TIMESTAMP('%Y-%m-%dT%H:%M:%E6SZ', a, 'UTC')", &arguments),
                Type::Float => return Err(unsupported(self, &said(function))),
            },
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}
