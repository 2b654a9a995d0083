//! MySQL, from 8.0.17 on, and MariaDB, from 10.11 on. Instants are DATETIME in UTC.

use qetl_core::{
    ir::{BinaryOp, Function, Period},
    schema::Type,
};
use sqlparser::ast::{self, BinaryOperator};

use super::{Dialect, Fold, MostColumns, Scratch, bool_text, cast_as, concat_ws, ordered, said, standard_call, unsupported};
use crate::{Unsupported, tree};

#[derive(Debug)]
pub struct MySql {
    /// Whether qetl's engine runs it, which has the table [`super::ZONES`].
    engine: bool,
}

impl MySql {
    /// As its shell has it, whose tables of time zones may be empty.
    pub const SHELL: Self = Self { engine: false };
    /// As qetl's engine has it.
    pub const ENGINE: Self = Self { engine: true };
}

/// The date of the instant `a` in the time zone `b`, by the table [`super::ZONES`], which ends with [`super::LAST_YEAR`]: calendars
/// repeat themselves after 400 years.
const DATE_IN: &str = "CAST(TIMESTAMPADD(SECOND, (
    SELECT zones.seconds FROM qetl_zones AS zones
    WHERE zones.zone = b AND zones.since <= CASE
        WHEN TIMESTAMPDIFF(MICROSECOND, CAST('1970-01-01' AS DATETIME(6)), a) < 16725225600000000
        THEN TIMESTAMPDIFF(MICROSECOND, CAST('1970-01-01' AS DATETIME(6)), a)
        ELSE MOD(TIMESTAMPDIFF(MICROSECOND, CAST('2500-01-01' AS DATETIME(6)), a), 12622780800000000) + 4102444800000000
    END
    ORDER BY zones.since DESC LIMIT 1
), a) AS DATE)";

/// Compares bytes, with blanks at the end. The two have it under different names, each in a comment that it alone reads.
const COLLATION: &str = "CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80003 COLLATE utf8mb4_0900_bin */";

/// `value DIV 1`, an integer of 64 bits.
fn whole(value: ast::Expr) -> ast::Expr {
    let (left, right) = (Box::new(tree::nested(value)), Box::new(tree::number(1)));
    ast::Expr::BinaryOp { left, op: ast::BinaryOperator::MyIntegerDivide, right }
}

impl Dialect for MySql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    /// How often a table expression may read itself has a bound, each of the two in its own words. MariaDB refuses a wide table
    /// by what its rows could need at most, unless it is told to see what they do need; and where it works a grouped table expression
    /// out for single keys (`split_materialized`), some rows outside get those of others (MDEV-37057, MDEV-37407).
    fn session(&self) -> &'static [&'static str] {
        &[
            "SET NAMES utf8mb4",
            "SET time_zone = '+00:00'",
            "SET sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
            "SET /*M! max_recursive_iterations = 4294967295, innodb_strict_mode = OFF, optimizer_switch = 'split_materialized=off' */ /*!80003 cte_max_recursion_depth = 4294967295 */",
        ]
    }

    fn quote(&self) -> char {
        '`'
    }

    /// InnoDB's tables have fewer than the server would take.
    fn most_columns(&self) -> Option<MostColumns> {
        Some(MostColumns { table: 1017, result: 4096 })
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "CHAR".to_owned(),
            Type::Int | Type::Bool => "SIGNED".to_owned(),
            Type::Float => "DOUBLE".to_owned(),
            Type::Decimal { scale, .. } if scale > 30 => {
                return Err(unsupported(self, &format!("a {ty}: it has at most 30 digits behind the point")));
            }
            Type::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "DATETIME(6)".to_owned(),
        })
    }

    fn column_type(&self, ty: Type) -> Result<String, Unsupported> {
        match ty {
            Type::Text => Ok(format!("LONGTEXT {COLLATION}")),
            Type::Int => Ok("BIGINT".to_owned()),
            Type::Bool => Ok("BOOLEAN".to_owned()),
            Type::Float | Type::Decimal { .. } | Type::Date | Type::Timestamp => self.type_name(ty),
        }
    }

    /// Of a text, an index holds the beginning.
    fn index_key(&self, column: ast::Ident, ty: Type) -> Option<ast::Expr> {
        let column = ast::Expr::Identifier(column);
        if ty != Type::Text {
            return Some(column);
        }
        let mut prefix = tree::call("F", vec![tree::number(100)]);
        if let (ast::Expr::Function(function), ast::Expr::Identifier(name)) = (&mut prefix, column) {
            function.name = ast::ObjectName::from(vec![name]);
        }
        Some(prefix)
    }

    fn rereads_scratch(&self) -> bool {
        false
    }

    fn scratch(&self) -> Scratch {
        Scratch::TemporaryDropped
    }

    /// A variable of the session: `SET @batch_id = 2`.
    fn parameter(&self, name: &str) -> String {
        format!("@{name}")
    }

    fn full_join(&self) -> Option<()> {
        None
    }

    /// In MariaDB, `CASE WHEN NOT (a <=> LAG(a) …) AND NOT (LAG(b) … >= 2) THEN …` is NULL where the condition alone is true.
    fn computes_with_windows(&self) -> bool {
        false
    }

    fn repeats_anti_joins(&self) -> bool {
        true
    }

    fn text(&self, value: &str) -> ast::Expr {
        tree::text_with_backslashes(value)
    }

    fn null(&self, ty: Type) -> Result<ast::Expr, Unsupported> {
        self.plain_cast(ast::Expr::Value(ast::Value::Null.into()), ty)
    }

    fn is_distinct(&self, ty: Type, left: ast::Expr, right: ast::Expr) -> ast::Expr {
        let same = self.is_not_distinct(ty, left, right);
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(tree::nested(same)) }
    }

    fn is_not_distinct(&self, _ty: Type, left: ast::Expr, right: ast::Expr) -> ast::Expr {
        tree::binary(left, BinaryOperator::Spaceship, right)
    }

    fn order(&self, key: ast::Expr, _ty: Type, descending: bool) -> Vec<ast::OrderByExpr> {
        let null = ast::Expr::IsNull(Box::new(tree::nested(key.clone())));
        descending.then(|| ordered(null, true, None)).into_iter().chain([ordered(key, descending, None)]).collect()
    }

    /// Sums of integers are decimals.
    /// Sums of integers are made wider. A cast would cut off in silence what is too great; this is an error then.
    fn folded(&self, fold: Fold, ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        Ok(if (fold, ty) == (Fold::Sum, Type::Int) { whole(value) } else { value })
    }

    fn timestamp(&self, iso: &str) -> Result<ast::Expr, Unsupported> {
        self.plain_cast(self.text(&iso.replace('T', " ").replace('Z', "")), Type::Timestamp)
    }

    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        match (from, to) {
            _ if from == to => Ok(expr),
            // The engine's own name of a text type in a cast has the collation of the connection.
            (_, Type::Text) => Ok(cast_as(expr, "CHAR")),
            (Type::Text, Type::Timestamp) => self.plain_cast(tree::fill("REPLACE(REPLACE(a, 'T', ' '), 'Z', '')", &[expr]), to),
            _ => self.plain_cast(expr, to),
        }
    }

    fn binary(&self, op: BinaryOp, _ty: Type, left: ast::Expr, right: ast::Expr) -> Result<ast::Expr, Unsupported> {
        Ok(tree::binary(left, super::operator(op), right))
    }

    fn join_text(&self, separator: &str, parts: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(concat_ws(self, separator, parts))
    }

    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        Ok(match function {
            Function::Concat => tree::call("CONCAT", arguments),
            Function::Micros => tree::fill("TIMESTAMPDIFF(MICROSECOND, CAST('1970-01-01' AS DATETIME(6)), a)", &arguments),
            Function::AddDays(days) => tree::fill("DATE_ADD(a, INTERVAL b DAY)", &[arguments, vec![tree::number(days)]].concat()),
            Function::DaysBetween => tree::fill("DATEDIFF(a, b)", &arguments),
            Function::DateIn { zone } if zone == "UTC" => tree::fill("CAST(a AS DATE)", &arguments),
            Function::DateIn { zone } if self.engine => tree::fill(DATE_IN, &[arguments, vec![self.text(zone)]].concat()),
            Function::DateIn { .. } => {
                return Err(unsupported(
                    self,
                    &format!("{}: its tables of time zones may be empty, and then it says NULL", said(function)),
                ));
            }
            Function::PeriodStart(Period::Day) => tree::fill("a", &arguments),
            Function::PeriodStart(Period::Week) => tree::fill("DATE_SUB(a, INTERVAL WEEKDAY(a) DAY)", &arguments),
            Function::PeriodStart(Period::Month) => tree::fill("DATE_SUB(a, INTERVAL (DAYOFMONTH(a) - 1) DAY)", &arguments),
            Function::NextPeriod(Period::Day) => tree::fill("DATE_ADD(a, INTERVAL 1 DAY)", &arguments),
            Function::NextPeriod(Period::Week) => tree::fill("DATE_ADD(a, INTERVAL (7 - WEEKDAY(a)) DAY)", &arguments),
            Function::NextPeriod(Period::Month) => tree::fill("DATE_ADD(LAST_DAY(a), INTERVAL 1 DAY)", &arguments),
            Function::CanonicalText(ty) => match (ty, arguments.as_slice()) {
                (Type::Text, _) => tree::fill("a", &arguments),
                (Type::Bool, [value]) => bool_text(self, value),
                (Type::Int | Type::Bool | Type::Decimal { scale: 0, .. }, _) => tree::fill("CAST(a AS CHAR)", &arguments),
                (Type::Decimal { .. }, _) => tree::fill("TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST(a AS CHAR)))", &arguments),
                (Type::Date, _) => tree::fill("DATE_FORMAT(a, '%Y-%m-%d')", &arguments),
                (Type::Timestamp, _) => tree::fill("DATE_FORMAT(a, '%Y-%m-%dT%H:%i:%s.%fZ')", &arguments),
                (Type::Float, _) => return Err(unsupported(self, &said(function))),
            },
            Function::Replace { .. } | Function::Coalesce | Function::FilePosition | Function::BatchHas { .. } => {
                return standard_call(self, function, arguments);
            }
        })
    }
}
