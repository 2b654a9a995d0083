//! SQLite, from 3.44 on.
#![expect(clippy::wildcard_enum_match_arm, reason = "the parser's syntax tree has many nodes, of which few are made here")]

use qetl_core::{
    ir::{Function, Period},
    schema::Type,
};
use sqlparser::ast;

use super::Dialect;
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct Sqlite;

impl Dialect for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    /// SQLite has no dates: ISO 8601 text sorts as dates do. Decimals are text with all the digits of their scale.
    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Bool | Type::Int => "INTEGER",
            Type::Float => "REAL",
            Type::Text | Type::Date | Type::Timestamp | Type::Decimal { .. } => "TEXT",
        }
        .to_owned())
    }

    fn timestamp(&self, iso: &str) -> Result<ast::Expr, Unsupported> {
        Ok(tree::text(iso))
    }

    fn cast(&self, expr: ast::Expr, ty: Type) -> Result<ast::Expr, Unsupported> {
        match (ty, &expr) {
            (Type::Text | Type::Date | Type::Timestamp, ast::Expr::Value(_)) => Ok(expr),
            (Type::Text | Type::Int | Type::Float | Type::Bool, _) => {
                let mut cast = tree::skeleton_expr("CAST(x AS INTEGER)");
                if let ast::Expr::Cast { expr: inner, data_type, .. } = &mut cast {
                    **inner = expr;
                    *data_type = tree::data_type(&self.type_name(ty)?, ty);
                }
                Ok(cast)
            }
            (Type::Decimal { scale, .. }, ast::Expr::Value(value)) => {
                let digits = match &value.value {
                    ast::Value::SingleQuotedString(text) | ast::Value::Number(text, _) => decimal_text(text, scale),
                    ast::Value::Null => return Ok(expr),
                    _ => None,
                };
                digits.map(|text| tree::text(&text)).ok_or_else(|| Unsupported { dialect: self.name(), what: format!("{value} as a {ty}") })
            }
            (Type::Decimal { .. } | Type::Date | Type::Timestamp, _) => {
                Err(Unsupported { dialect: self.name(), what: format!("a cast to {ty}") })
            }
        }
    }
    /// Dates and timestamps are ISO 8601 text.
    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        let unsupported = |what: &str| Err(Unsupported { dialect: self.name(), what: what.to_owned() });
        Ok(match (function, arguments.as_slice()) {
            (Function::Micros, [instant]) => {
                // The function rounds to milliseconds, so that it gets whole seconds.
                let part =
                    |from: i64, length: i64| tree::call("SUBSTR(a, b, c)", vec![instant.clone(), tree::number(from), tree::number(length)]);
                let seconds = self.cast(tree::call("STRFTIME(a, b)", vec![tree::text("%s"), part(1, 19)]), Type::Int)?;
                let micros = tree::binary(seconds, ast::BinaryOperator::Multiply, tree::number(1_000_000));
                tree::binary(micros, ast::BinaryOperator::Plus, self.cast(part(21, 6), Type::Int)?)
            }
            (Function::AddDays(days), [day]) => date(day, &[&format!("{days:+} days")]),
            (Function::DaysBetween, [a, b]) => {
                let day = |date: &ast::Expr| tree::call("JULIANDAY(a)", vec![date.clone()]);
                self.cast(tree::nested(tree::binary(day(a), ast::BinaryOperator::Minus, day(b))), Type::Int)?
            }
            (Function::DateIn { zone }, [instant]) if zone == "UTC" => {
                tree::call("SUBSTR(a, b, c)", vec![instant.clone(), tree::number(1), tree::number(10)])
            }
            (Function::DateIn { zone }, _) => return unsupported(&format!("the time zone {zone}")),
            (Function::PeriodStart(period), [day]) => match period {
                Period::Day => day.clone(),
                Period::Week => date(day, &["weekday 0", "-6 days"]),
                Period::Month => date(day, &["start of month"]),
            },
            (Function::NextPeriod(period), [day]) => match period {
                Period::Day => date(day, &["+1 days"]),
                Period::Week => date(day, &["weekday 0", "+1 days"]),
                Period::Month => date(day, &["start of month", "+1 months"]),
            },
            (Function::CanonicalText(ty), [value]) => match ty {
                Type::Text | Type::Date | Type::Timestamp | Type::Decimal { scale: 0, .. } => value.clone(),
                Type::Int => self.cast(value.clone(), Type::Text)?,
                Type::Decimal { .. } => {
                    let digits = tree::call("RTRIM(a, b)", vec![value.clone(), tree::text("0")]);
                    tree::call("RTRIM(a, b)", vec![digits, tree::text(".")])
                }
                Type::Bool => {
                    let mut words = tree::skeleton_expr("CASE WHEN a THEN 'true' WHEN NOT a THEN 'false' END");
                    if let ast::Expr::Case { conditions, .. } = &mut words {
                        conditions[0].condition = value.clone();
                        conditions[1].condition =
                            ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(tree::nested(value.clone())) };
                    }
                    words
                }
                Type::Float => return unsupported("the canonical text of a float"),
            },
            _ => return super::standard_call(self, function, arguments),
        })
    }
}

/// A call of a date function with its modifiers.
fn date(argument: &ast::Expr, modifiers: &[&str]) -> ast::Expr {
    tree::call("DATE(a)", std::iter::once(argument.clone()).chain(modifiers.iter().map(|modifier| tree::text(modifier))).collect())
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
