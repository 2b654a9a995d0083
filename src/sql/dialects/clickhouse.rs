//! ClickHouse, from 25.5 on. Every type is Nullable; integers that overflow wrap around.

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, bool_text, said, standard_call, unsupported};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct ClickHouse;

impl Dialect for ClickHouse {
    fn name(&self) -> &'static str {
        "clickhouse"
    }

    /// Rows without a match have NULL, and names are those of columns before those of results.
    fn session(&self) -> &'static [&'static str] {
        &[
            "SET join_use_nulls = 1",
            "SET prefer_column_name_to_alias = 1",
            "SET allow_experimental_correlated_subqueries = 1",
            "SET max_recursive_cte_evaluation_depth = 1000000000",
            "SET mutations_sync = 2",
        ]
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "Nullable(String)".to_owned(),
            Type::Int => "Nullable(Int64)".to_owned(),
            Type::Float => "Nullable(Float64)".to_owned(),
            Type::Decimal { precision, scale } => format!("Nullable(Decimal({precision}, {scale}))"),
            Type::Bool => "Nullable(Bool)".to_owned(),
            Type::Date => "Nullable(Date32)".to_owned(),
            Type::Timestamp => "Nullable(DateTime64(6, 'UTC'))".to_owned(),
        })
    }

    fn index_key(&self, _column: ast::Ident, _ty: Type) -> Option<ast::Expr> {
        None
    }

    fn finish_table(&self, create: &mut ast::CreateTable) {
        if let ast::Statement::CreateTable(skeleton) = tree::statement("CREATE TABLE t (a INT) ENGINE = MergeTree ORDER BY tuple()") {
            (create.table_options, create.order_by) = (skeleton.table_options, skeleton.order_by);
        }
    }

    fn every_row(&self) -> Option<ast::Expr> {
        Some(tree::skeleton_expr("TRUE"))
    }

    fn parameter(&self, name: &str) -> String {
        let ty = if name == "processed_at" { "String" } else { "Int64" };
        format!("{{{name}:{ty}}}")
    }

    fn text(&self, value: &str) -> ast::Expr {
        tree::text_with_backslashes(value)
    }

    /// It leaves NULL out otherwise.
    fn first_value(&self) -> &'static str {
        "FIRST_VALUE(a) RESPECT NULLS OVER (PARTITION BY a ORDER BY a)"
    }

    fn is_distinct(&self, ty: Type, left: ast::Expr, right: ast::Expr) -> ast::Expr {
        let same = self.is_not_distinct(ty, left, right);
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(tree::nested(same)) }
    }

    /// NaN is not equal to itself.
    fn is_not_distinct(&self, ty: Type, left: ast::Expr, right: ast::Expr) -> ast::Expr {
        if ty == Type::Float {
            return tree::fill("a <=> b OR COALESCE(isNaN(a) AND isNaN(b), FALSE)", &[left, right]);
        }
        tree::fill("a <=> b", &[left, right])
    }

    fn timestamp(&self, iso: &str) -> Result<ast::Expr, Unsupported> {
        Ok(tree::fill("toDateTime64(a, 6, 'UTC')", &[self.text(&iso.replace('T', " ").replace('Z', ""))]))
    }

    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        match (from, to) {
            (Type::Text, Type::Timestamp) => Ok(tree::fill("parseDateTime64BestEffortOrNull(a, 6, 'UTC')", &[expr])),
            (Type::Date, Type::Timestamp) => Ok(tree::fill("toDateTime64(a, 6, 'UTC')", &[expr])),
            (Type::Timestamp, Type::Date) => Ok(tree::fill("toDate32(toTimeZone(a, 'UTC'))", &[expr])),
            _ if from == to => Ok(expr),
            _ => self.plain_cast(expr, to),
        }
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            Function::Micros => tree::fill("toUnixTimestamp64Micro(a)", &arguments),
            Function::AddDays(days) => tree::fill("addDays(a, b)", &[arguments, vec![tree::number(days)]].concat()),
            Function::DaysBetween => tree::fill("dateDiff('day', b, a)", &arguments),
            Function::DateIn { zone } => tree::fill("toDate32(toTimeZone(a, b))", &[arguments, vec![self.text(zone)]].concat()),
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            // toMonday and toStartOfMonth end in 2149.
            Function::PeriodStart(Period::Week) => tree::fill("addDays(a, 1 - toDayOfWeek(a))", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("addDays(a, 1 - toDayOfMonth(a))", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("addDays(a, 1)", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("addDays(a, 8 - toDayOfWeek(a))", &arguments),
            Function::NextPeriod(Period::Month) => tree::fill("addMonths(addDays(a, 1 - toDayOfMonth(a)), 1)", &arguments),
            Function::CanonicalText(ty) => match (ty, arguments.as_slice()) {
                (Type::Bool, [value]) => bool_text(self, value),
                (Type::Text, _) => tree::fill("a", &arguments),
                // It writes a decimal without zeros at its end.
                (Type::Int | Type::Bool | Type::Date | Type::Decimal { .. }, _) => tree::fill("toString(a)", &arguments),
                (Type::Timestamp, _) => tree::fill("formatDateTime(a, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC')", &arguments),
                (Type::Float, _) => return Err(unsupported(self, &said(function))),
            },
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}
