//! What an author's SQL on PostgreSQL says otherwise to the database. Averages of decimals have as many digits as on qetl's other
//! engines, rounded half away from zero: PostgreSQL's depend on the values. SQLite's functions of time are told in its own words, and
//! what is no text is cast where a text is wanted. What PostgreSQL takes stays as it is.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, few are written otherwise")]

use qetl_core::{Type, ir};
use sqlparser::ast::{BinaryOperator, DataType, Expr, Function, Ident, ObjectName};

use super::{
    Case, Kinds, Rules, Wrong, calendar,
    types::{self, DIGITS, arguments, arguments_mut, decimal, plain_number, scale_of_average, take},
};
use crate::{Dialect, dialects::Postgres, tree};

/// Gives averages of decimals the digits that they have on other engines, and takes SQLite's functions of time.
#[derive(Debug, Default)]
pub struct PostgresRules {
    now: Option<i64>,
    changed: bool,
}

/// Functions whose first argument is text.
const TEXT_FUNCTIONS: [&str; 17] = [
    "btrim",
    "ltrim",
    "rtrim",
    "upper",
    "lower",
    "substr",
    "substring",
    "left",
    "right",
    "lpad",
    "rpad",
    "replace",
    "split_part",
    "starts_with",
    "length",
    "char_length",
    "character_length",
];

impl PostgresRules {
    /// `now` is that instant in SQLite's functions of time, in microseconds since 1970, or the wall clock's.
    pub fn new(now: Option<i64>) -> Self {
        Self { now, changed: false }
    }

    /// A value that stands where a text is wanted, and is of another type.
    fn as_text(&mut self, expr: &mut Expr, kinds: &Kinds) {
        let Some(ty) = kinds.of(expr).filter(|ty| *ty != Type::Text) else { return };
        let own = take(expr);
        *expr = match ty {
            Type::Date | Type::Timestamp | Type::Float => Postgres.call(&ir::Function::CanonicalText(ty), vec![own.clone()]).unwrap_or(own),
            Type::Text | Type::Int | Type::Decimal { .. } | Type::Bool => tree::fill("CAST(a AS TEXT)", &[own]),
        };
        self.changed = true;
    }

    /// Brings a text and a date that are compared together, which PostgreSQL refuses to compare. As in SQLite, dates are texts; a
    /// text beside an instant becomes one.
    fn compared(&mut self, sides: &mut [&mut Expr], kinds: &Kinds) {
        let is_text = |expr: &Expr| kinds.of(expr) == Some(Type::Text) && calendar::literal(expr).is_none();
        if !sides.iter().any(|side| is_text(side)) {
            return;
        }
        if sides.iter().any(|side| kinds.of(side) == Some(Type::Timestamp)) {
            for side in sides.iter_mut().filter(|side| is_text(side)) {
                **side = tree::fill("CAST(a AS TIMESTAMP WITH TIME ZONE)", &[take(side)]);
                self.changed = true;
            }
            return;
        }
        for side in sides.iter_mut().filter(|side| kinds.of(side) == Some(Type::Date)) {
            self.as_text(side, kinds);
        }
    }

    fn average(&mut self, function: &Function, scale: u8) -> (Expr, Type) {
        let called = |name: &str| Expr::Function(Function { name: ObjectName::from(vec![Ident::new(name)]), ..function.clone() });
        let scale = scale_of_average(scale);
        let one = tree::number(format!("1{}", "0".repeat(usize::from(scale))));
        let last = tree::number(format!("0.{:0>1$}", 1, usize::from(scale)));
        // What DIV and products give is exact, whatever the number of digits.
        let average = tree::fill("DIV(2 * a * c + SIGN(a) * b, 2 * b) * d", &[called("SUM"), called("COUNT"), one, last]);
        self.changed = true;
        let expr = Expr::Cast {
            kind: sqlparser::ast::CastKind::Cast,
            expr: Box::new(average),
            data_type: tree::raw_type(&format!("NUMERIC({DIGITS},{scale})")),
            array: false,
            format: None,
        };
        (expr, decimal(scale))
    }
}

impl Rules for PostgresRules {
    fn case(&self) -> Case {
        Case::Lower
    }

    fn changed(&self) -> bool {
        self.changed
    }

    fn expression(&mut self, expr: &mut Expr, kinds: &Kinds) -> Result<Option<Type>, Wrong> {
        use BinaryOperator as B;
        match expr {
            Expr::BinaryOp { left, op: B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq, right } => {
                self.compared(&mut [left, right], kinds);
            }
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => self.compared(&mut [left, right], kinds),
            Expr::Between { expr: of, low, high, .. } => self.compared(&mut [of, low, high], kinds),
            Expr::InList { expr: of, list, .. } => {
                self.compared(&mut std::iter::once(&mut **of).chain(list.iter_mut()).collect::<Vec<_>>(), kinds);
            }
            Expr::Trim { expr: of, .. } | Expr::Substring { expr: of, .. } => {
                self.as_text(of, kinds);
                return Ok(Some(Type::Text));
            }
            Expr::Cast { data_type: DataType::Date, .. } => return Ok(Some(Type::Date)),
            Expr::Function(function) => {
                let name = types::name(function);
                if TEXT_FUNCTIONS.contains(&name.as_str()) {
                    if let Some(first) = arguments_mut(function).into_iter().next() {
                        self.as_text(first, kinds);
                    }
                    let gives_text = !name.ends_with("length") && name != "starts_with";
                    return Ok(if gives_text { Some(Type::Text) } else { types::call(function, kinds) });
                }
                if let Some((own, ty)) = calendar::rewritten(function, kinds, self.now)? {
                    self.changed = true;
                    *expr = own;
                    return Ok(Some(ty));
                }
                let first = arguments(function).first().and_then(|first| kinds.of(first));
                match (name.as_str(), first) {
                    ("date" | "current_date", _) => return Ok(Some(Type::Date)),
                    ("avg", Some(Type::Decimal { scale, .. })) => {
                        let (average, ty) = self.average(function, scale);
                        *expr = average;
                        return Ok(Some(ty));
                    }
                    _ => (),
                }
            }
            _ => (),
        }
        Ok(match plain_number(expr) {
            Some((_, scale)) if scale > 0 => Some(decimal(scale)),
            _ => types::of(expr, kinds),
        })
    }

    fn result_name(&self, expr: &Expr) -> Option<String> {
        let Expr::Function(function) = expr else { return None };
        let own = ["avg", "date", "time", "datetime", "strftime", "julianday", "unixepoch"];
        Some(types::name(function)).filter(|name| own.contains(&name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::PostgreSqlDialect;

    use super::super::{Named, Table, prepare};
    use super::*;

    #[test]
    fn averages_of_decimals_have_four_digits_more() {
        let column = |name: &str, ty: Type| Named { name: name.to_owned(), ty: Some(ty) };
        let table = Table { name: vec!["t".to_owned()], columns: vec![column("n", Type::Int), column("amount", decimal(2))] };
        let written =
            |sql: &str| prepare(sql, &PostgreSqlDialect {}, &|_| Some(table.clone()), &mut PostgresRules::default()).unwrap().text;
        assert_eq!(written("SELECT avg(n) FROM t"), "SELECT avg(n) FROM t");
        assert!(written("SELECT avg(amount * 0.01) AS a FROM t").ends_with("AS NUMERIC(38,8)) AS a FROM t"));
        assert_eq!(
            written("SELECT avg(amount) FROM t"),
            "SELECT CAST(DIV(2 * SUM(amount) * 1000000 + SIGN(SUM(amount)) * COUNT(amount), 2 * COUNT(amount)) * 0.000001 \
             AS NUMERIC(38,6)) AS \"avg\" FROM t"
        );
    }
}
