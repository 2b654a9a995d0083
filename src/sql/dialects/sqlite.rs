//! SQLite, from 3.39 on.
#![expect(clippy::wildcard_enum_match_arm, reason = "few types and nodes are special")]

use std::ops::ControlFlow;

use qetl_core::{
    ir::{BinaryOp, Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::{Dialect, Fold, MostColumns, bool_text, decimals, ordered, said, standard_call, unsupported};
use crate::{Unsupported, tree};

/// Dates and instants are ISO 8601 text, which sorts as they do. Decimals are text with all the digits of their scale: qetl's
/// engine brings functions of them, elsewhere they are computed with as integers of 64 bits.
#[derive(Debug)]
pub struct Sqlite {
    /// Whether it is qetl's own, which has [`super::DATE_IN`] and the functions of [`super::decimals`].
    embedded: bool,
}

impl Sqlite {
    /// As its makers give it out, without time zones.
    pub const SHELL: Self = Self { embedded: false };
    /// As qetl's engine has it.
    pub const EMBEDDED: Self = Self { embedded: true };
}

/// The tables that EXISTS asks.
struct LookedUp(Vec<String>);

impl ast::Visitor for LookedUp {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Exists { subquery, .. } = expr
            && let ast::SetExpr::Select(select) = &*subquery.body
        {
            for from in &select.from {
                if let ast::TableFactor::Table { name, .. } = &from.relation
                    && let Some(ident) = name.0.last().and_then(ast::ObjectNamePart::as_ident)
                {
                    self.0.push(ident.value.clone());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Digits that an integer of 64 bits surely holds.
const DIGITS: u8 = 18;

impl Dialect for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    /// As it is compiled by default.
    fn most_columns(&self) -> Option<MostColumns> {
        Some(MostColumns { table: 2000, result: 2000 })
    }

    /// `true` and `false` are words for it even in quotes: it calls such a column of a subquery or view `column1`.
    fn keeps_name(&self, name: &str) -> bool {
        !["true", "false"].iter().any(|word| name.eq_ignore_ascii_case(word))
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Bool | Type::Int => "INTEGER",
            Type::Float => "REAL",
            Type::Text | Type::Date | Type::Timestamp | Type::Decimal { .. } => "TEXT",
        }
        .to_owned())
    }

    /// SQLite keeps the words, so that they tell what a column holds. What it makes of values goes by what the words contain:
    /// with TEXT among them, all is kept as it is written.
    fn column_type(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text | Type::Int | Type::Float => return self.type_name(ty),
            Type::Decimal { precision, scale } => format!("DECIMAL_TEXT({precision},{scale})"),
            Type::Bool => "BOOLEAN".to_owned(),
            Type::Date => "DATE_TEXT".to_owned(),
            Type::Timestamp => "TIMESTAMP_TEXT".to_owned(),
        })
    }

    /// There are some, but by reading one side whole for each row of the other.
    fn full_join(&self) -> Option<()> {
        None
    }

    /// What is looked up row by row must stand somewhere: only then does SQLite make itself an index of it.
    fn finish_query(&self, query: &mut ast::Query) {
        let mut looked_up = LookedUp(Vec::new());
        let _ = ast::Visit::visit(query, &mut looked_up);
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            if looked_up.0.contains(&cte.alias.name.value) {
                cte.materialized = Some(ast::CteAsMaterialized::Materialized);
            }
        }
    }

    fn null(&self, _ty: Type) -> Result<ast::Expr, Unsupported> {
        Ok(ast::Expr::Value(ast::Value::Null.into()))
    }

    fn order(&self, key: ast::Expr, ty: Type, descending: bool) -> Vec<ast::OrderByExpr> {
        let nulls_first = descending.then_some(true);
        if !matches!(ty, Type::Decimal { .. }) {
            return vec![ordered(key, descending, nulls_first)];
        }
        if self.embedded {
            return vec![ordered(collated(key), descending, nulls_first)];
        }
        // Texts of as many digits behind the point are in order by sign, then length, then digits.
        let size = tree::fill("CASE WHEN a LIKE '-%' THEN -LENGTH(a) ELSE LENGTH(a) END", std::slice::from_ref(&key));
        let of_negative = tree::fill("CASE WHEN a LIKE '-%' THEN a END", std::slice::from_ref(&key));
        vec![ordered(size, descending, nulls_first), ordered(of_negative, !descending, None), ordered(key, descending, None)]
    }

    fn timestamp(&self, iso: &str) -> Result<ast::Expr, Unsupported> {
        Ok(tree::text(iso))
    }

    fn binary(&self, op: BinaryOp, ty: Type, left: ast::Expr, right: ast::Expr) -> Result<ast::Expr, Unsupported> {
        if let (Type::Int, BinaryOp::Plus | BinaryOp::Minus) = (ty, op) {
            // In a script there are none but counts and distances in time, which do not overflow, and amounts that were looked at before.
            let checked = if op == BinaryOp::Plus { decimals::ADD } else { decimals::SUBTRACT };
            return Ok(if self.embedded { tree::call(checked, vec![left, right]) } else { tree::binary(left, super::operator(op), right) });
        }
        let (
            Type::Decimal { precision, scale },
            BinaryOp::Plus | BinaryOp::Minus | BinaryOp::Lt | BinaryOp::LtEq | BinaryOp::Gt | BinaryOp::GtEq,
        ) = (ty, op)
        else {
            return Ok(tree::binary(left, super::operator(op), right));
        };
        if self.embedded {
            return Ok(match op {
                BinaryOp::Plus => tree::call(decimals::ADD, vec![left, right]),
                BinaryOp::Minus => tree::call(decimals::SUBTRACT, vec![left, right]),
                _ => tree::binary(collated(left), super::operator(op), right),
            });
        }
        if op == BinaryOp::Minus && is_zero(&left) {
            let negated = "CASE WHEN a LIKE '-%' THEN SUBSTR(a, 2) WHEN a = b THEN a ELSE '-' || a END";
            return Ok(tree::fill(negated, &[right, left]));
        }
        if precision > DIGITS {
            return Err(unsupported(self, &format!("`{}` of a {ty} exactly: it computes with {DIGITS} digits", super::operator(op))));
        }
        let result = tree::binary(unscaled(&left), super::operator(op), unscaled(&right));
        Ok(if matches!(op, BinaryOp::Plus | BinaryOp::Minus) { scaled(result, scale) } else { result })
    }

    fn sum(&self, ty: Type) -> &'static str {
        // The database's own is an error when it overflows on the way, whatever comes of it.
        if self.embedded && matches!(ty, Type::Decimal { .. } | Type::Int) { decimals::SUM } else { "SUM" }
    }

    /// A decimal with more digits than an integer has ends in the database's error of an integer overflow.
    fn operand(&self, fold: Fold, ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        let Type::Decimal { precision, scale } = ty else { return Ok(value) };
        if self.embedded {
            return Ok(if fold == Fold::Sum { value } else { collated(value) });
        }
        if scale > DIGITS {
            return Err(unsupported(self, &format!("a sum of a {ty} exactly: it computes with {DIGITS} digits")));
        }
        if precision <= DIGITS {
            return Ok(unscaled(&value));
        }
        let bounded =
            "CASE WHEN LENGTH(REPLACE(REPLACE(a, '.', ''), '-', '')) > b THEN ABS(-9223372036854775807 - 1 + 0 * LENGTH(a)) ELSE c END";
        Ok(tree::fill(bounded, &[value.clone(), tree::number(DIGITS), unscaled(&value)]))
    }

    fn folded(&self, _fold: Fold, ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        match ty {
            Type::Decimal { scale, .. } if !self.embedded => Ok(scaled(value, scale)),
            _ => Ok(value),
        }
    }

    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        let refused = || Err(unsupported(self, &format!("a cast of a {from} to a {to}")));
        match (from, to) {
            _ if from == to => Ok(expr),
            (_, Type::Decimal { scale, .. }) if matches!(expr, ast::Expr::Value(_)) => {
                let ast::Expr::Value(value) = &expr else { return refused() };
                let digits = match &value.value {
                    ast::Value::SingleQuotedString(text) | ast::Value::Number(text, _) => decimal_text(text, scale),
                    _ => None,
                };
                digits.map_or_else(refused, |text| Ok(tree::text(&text)))
            }
            (Type::Decimal { .. } | Type::Int, Type::Decimal { precision, scale }) if self.embedded => {
                Ok(tree::call(decimals::DECIMAL, vec![expr, tree::number(scale), tree::number(precision)]))
            }
            (Type::Decimal { scale: old, .. }, Type::Decimal { scale, .. }) if old <= scale => Ok(with_digits(expr, old, scale)),
            (Type::Int, Type::Decimal { scale, .. }) => Ok(with_digits(self.plain_cast(expr, Type::Text)?, 0, scale)),
            (Type::Date, Type::Timestamp) => Ok(tree::fill("a || 'T00:00:00.000000Z'", &[expr])),
            (Type::Timestamp, Type::Date) => Ok(tree::fill("SUBSTR(a, 1, 10)", &[expr])),
            (Type::Text, Type::Date | Type::Timestamp) => Ok(expr),
            (_, Type::Decimal { .. } | Type::Date | Type::Timestamp) => refused(),
            (_, Type::Text | Type::Int | Type::Float | Type::Bool) => self.plain_cast(expr, to),
        }
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            // The function rounds to milliseconds, so that it gets whole seconds.
            Function::Micros => {
                let micros = "CAST(STRFTIME('%s', SUBSTR(a, 1, 19)) AS INTEGER) * 1000000 + CAST(SUBSTR(a, 21, 6) AS INTEGER)";
                tree::fill(micros, &arguments)
            }
            Function::AddDays(days) => tree::fill("DATE(a, b)", &[arguments, vec![tree::text(&format!("{days:+} days"))]].concat()),
            Function::DaysBetween => tree::fill("CAST(JULIANDAY(a) - JULIANDAY(b) AS INTEGER)", &arguments),
            Function::DateIn { zone } if zone == "UTC" => tree::fill("SUBSTR(a, 1, 10)", &arguments),
            Function::DateIn { zone } if self.embedded => tree::fill("qetl_date_in(a, b)", &[arguments, vec![tree::text(zone)]].concat()),
            Function::DateIn { .. } => return Err(unsupported(self, &format!("{}: it knows no time zones", said(function)))),
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            Function::PeriodStart(Period::Week) => tree::fill("DATE(a, 'weekday 0', '-6 days')", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("DATE(a, 'start of month')", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("DATE(a, '+1 days')", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("DATE(a, 'weekday 0', '+1 days')", &arguments),
            Function::NextPeriod(Period::Month) => tree::fill("DATE(a, 'start of month', '+1 months')", &arguments),
            Function::CanonicalText(ty) => match (ty, arguments.as_slice()) {
                (Type::Bool, [value]) => bool_text(self, value),
                (Type::Int, _) => tree::fill("CAST(a AS TEXT)", &arguments),
                (Type::Float, _) => tree::fill(FLOAT_TEXT, &arguments),
                (Type::Text | Type::Date | Type::Timestamp | Type::Bool | Type::Decimal { scale: 0, .. }, _) => tree::fill("a", &arguments),
                (Type::Decimal { .. }, _) => tree::fill("RTRIM(RTRIM(a, '0'), '.')", &arguments),
            },
            Function::Concat | Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}

/// The decimal in the order of values.
fn collated(decimal: ast::Expr) -> ast::Expr {
    ast::Expr::Collate {
        expr: Box::new(tree::nested(decimal)),
        collation: ast::ObjectName::from(vec![ast::Ident::new(decimals::COLLATION)]),
    }
}

/// The first of 15, 16 and 17 digits that are read back as the same number, with an exponent where qetl writes one. From
/// 1e16 to 1e17, 17 digits would be written without.
const FLOAT_TEXT: &str = "CASE \
    WHEN a = 0 THEN '0.0' \
    WHEN ABS(a) > 1.7976931348623157e308 THEN CASE WHEN a > 0 THEN 'Infinity' ELSE '-Infinity' END \
    WHEN ABS(a) >= 1e16 OR ABS(a) < 1e-4 THEN REPLACE(REPLACE(REPLACE(CASE \
        WHEN CAST(PRINTF('%!.15g', a) AS REAL) = a THEN PRINTF('%!.15g', a) \
        WHEN CAST(PRINTF('%!.16g', a) AS REAL) = a THEN PRINTF('%!.16g', a) \
        ELSE PRINTF('%!.16e', a) END, '.0e', 'e'), 'e+', 'e'), 'e-0', 'e-') \
    WHEN ABS(a) < 1e15 AND CAST(PRINTF('%!.15g', a) AS REAL) = a THEN PRINTF('%!.15g', a) \
    WHEN CAST(PRINTF('%!.16g', a) AS REAL) = a THEN PRINTF('%!.16g', a) \
    ELSE PRINTF('%!.17g', a) END";

/// A decimal as the integer of its digits.
fn unscaled(decimal: &ast::Expr) -> ast::Expr {
    tree::fill("CAST(REPLACE(a, '.', '') AS INTEGER)", std::slice::from_ref(decimal))
}

/// The decimal whose digits are those of an integer.
fn scaled(integer: ast::Expr, scale: u8) -> ast::Expr {
    if scale == 0 {
        return tree::fill("CAST(a AS TEXT)", &[integer]);
    }
    let text = "PRINTF(b, CASE WHEN a < 0 THEN '-' ELSE '' END, ABS(a / c), ABS(a % c))";
    let one = format!("1{}", "0".repeat(usize::from(scale)));
    let all = "CASE WHEN a IS NOT NULL THEN b END";
    let digits = tree::fill(text, &[integer.clone(), tree::text(&format!("%s%d.%0{scale}d")), tree::number(one)]);
    tree::fill(all, &[integer, digits])
}

/// A decimal with more digits behind the point.
fn with_digits(decimal: ast::Expr, old: u8, scale: u8) -> ast::Expr {
    let zeros = "0".repeat(usize::from(scale - old));
    let more = if old == 0 && scale > 0 { format!(".{zeros}") } else { zeros };
    if more.is_empty() { decimal } else { tree::fill("a || b", &[decimal, tree::text(&more)]) }
}

fn is_zero(decimal: &ast::Expr) -> bool {
    match decimal {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) => text.bytes().all(|byte| matches!(byte, b'0' | b'.')),
            _ => false,
        },
        _ => false,
    }
}

/// A number's text with all the digits of its scale; `None` when it is not plain or has more of them.
fn decimal_text(text: &str, scale: u8) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || fraction.len() > usize::from(scale) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && fraction.is_empty() { "" } else { sign };
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction:0<width$}", width = usize::from(scale)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_all_their_digits() {
        let check = |text: &str, scale: u8, digits: Option<&str>| assert_eq!(decimal_text(text, scale).as_deref(), digits);
        check("1", 2, Some("1.00"));
        check("-01.5", 2, Some("-1.50"));
        check("-0.00", 2, Some("0.00"));
        check("7", 0, Some("7"));
        check("1.234", 2, None);
        check("1e3", 2, None);
    }
}
