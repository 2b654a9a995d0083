//! What an author's SQL on SQLite says otherwise to the database. It has no decimals: they are text with all the digits of their
//! scale. What computes with them becomes calls of the functions that qetl's engine adds; what compares and sorts them uses its
//! collation. And `now` is the time of the batch.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, few concern decimals")]

use chrono::DateTime;
use qetl_core::Type;
use sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, DataType, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, ObjectName, Spanned, UnaryOperator, Value,
};

use super::{
    Case, Kinds, Rules, Wrong,
    types::{self, arguments, arguments_mut, beside, decimal, is_null, plain_decimal, plain_number, scale_of_average, take},
};
use crate::{dialects::decimals as names, tree};

/// Makes decimals exact on SQLite.
#[derive(Debug, Default)]
pub struct SqliteRules {
    now: Option<i64>,
    changed: bool,
}

const CAST_HELP: &str = "say what it is: `CAST(… AS DECIMAL(38,2))`, or `CAST(… AS REAL)` for a float";

fn refuse(expr: &Expr, message: String, help: impl Into<String>) -> Wrong {
    Wrong { code: "qetl::sql::inexact", span: expr.span(), message, label: "cannot be exact", help: help.into() }
}

fn scale_of(expr: &Expr, kinds: &Kinds) -> Option<u8> {
    match kinds.of(expr) {
        Some(Type::Decimal { scale, .. }) => Some(scale),
        _ => None,
    }
}

/// A text of a decimal, with that many digits behind the point.
fn literal(text: &str, scale: u8) -> Expr {
    let has = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let zeros = "0".repeat(usize::from(scale).saturating_sub(has));
    tree::text(&if has == 0 && !zeros.is_empty() { format!("{text}.{zeros}") } else { format!("{text}{zeros}") })
}

fn collated(expr: Expr) -> Expr {
    Expr::Collate { expr: Box::new(tree::nested(expr)), collation: ObjectName::from(vec![Ident::new(names::COLLATION)]) }
}

fn as_real(expr: Expr) -> Expr {
    tree::fill("CAST(a AS REAL)", &[expr])
}

impl SqliteRules {
    /// `now` is that instant, in microseconds since 1970, or the wall clock's.
    pub fn new(now: Option<i64>) -> Self {
        Self { now, changed: false }
    }

    /// The expression as a decimal's text; of that scale, if one is given.
    fn exact(&mut self, expr: &mut Expr, kinds: &Kinds, scale: Option<u8>) -> Result<(), Wrong> {
        if is_null(expr) {
            return Ok(());
        }
        let text = match expr {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => plain_decimal(text),
                _ => None,
            },
            _ => None,
        };
        if let Some((text, own)) = plain_number(expr).or(text) {
            if scale.is_some_and(|scale| own > scale) {
                return Err(refuse(expr, format!("`{expr}` has more digits behind the point than the column"), CAST_HELP));
            }
            *expr = literal(&text, scale.unwrap_or(own));
            self.changed = true;
            return Ok(());
        }
        let ty = kinds.of(expr);
        let known = match ty {
            Some(Type::Decimal { scale, .. }) => Some(scale),
            Some(Type::Int) => Some(0),
            Some(Type::Float) | None => None,
            Some(other) => {
                return Err(refuse(expr, format!("`{expr}` is {}, and a decimal stands beside it", a(other)), CAST_HELP));
            }
        };
        let wanted = scale.or(known);
        if ty.is_some() && matches!(ty, Some(Type::Decimal { .. })) && known == wanted {
            return Ok(());
        }
        self.changed = true;
        let own = take(expr);
        *expr = match wanted {
            Some(scale) => tree::call(names::DECIMAL, vec![own, tree::number(scale)]),
            None => tree::call(names::DECIMAL, vec![own]),
        };
        Ok(())
    }

    /// Brings values of one type together: the parts of a CASE, the arguments of COALESCE.
    fn unify<'a>(&mut self, values: impl Iterator<Item = &'a mut Expr>, ty: Option<Type>, kinds: &Kinds) -> Result<(), Wrong> {
        for value in values {
            match ty {
                Some(Type::Decimal { scale, .. }) => self.exact(value, kinds, Some(scale))?,
                Some(Type::Float) if scale_of(value, kinds).is_some() => {
                    self.changed = true;
                    *value = as_real(take(value));
                }
                Some(_) => (),
                None if scale_of(value, kinds).is_some() => {
                    let message = format!("`{value}` is a decimal, and stands beside values of other types");
                    return Err(refuse(value, message, CAST_HELP));
                }
                None => (),
            }
        }
        Ok(())
    }

    /// Two values that are compared, of which one is a decimal.
    fn compared(&mut self, left: &mut Expr, others: &mut [&mut Expr], kinds: &Kinds) -> Result<(), Wrong> {
        let is_decimal = |expr: &Expr| scale_of(expr, kinds).is_some();
        if !is_decimal(left) && !others.iter().any(|other| is_decimal(other)) {
            return Ok(());
        }
        let is_float = |expr: &Expr| kinds.of(expr) == Some(Type::Float) && plain_number(expr).is_none();
        self.changed = true;
        if is_float(left) || others.iter().any(|other| is_float(other)) {
            for side in std::iter::once(&mut *left).chain(others.iter_mut().map(|other| &mut **other)) {
                if is_decimal(side) {
                    *side = as_real(take(side));
                }
            }
            return Ok(());
        }
        self.exact(left, kinds, None)?;
        for other in others.iter_mut() {
            self.exact(other, kinds, None)?;
        }
        *left = collated(take(left));
        Ok(())
    }

    fn arithmetic(&mut self, expr: &mut Expr, kinds: &Kinds) -> Result<Option<Type>, Wrong> {
        let Expr::BinaryOp { left, op, right } = expr else { return Ok(None) };
        let (l, r) = (beside(left, kinds), beside(right, kinds));
        if scale_of(left, kinds).is_none() && scale_of(right, kinds).is_none() {
            return Ok(types::of(expr, kinds));
        }
        let is_float = |expr: &Expr| kinds.of(expr) == Some(Type::Float) && plain_number(expr).is_none();
        if is_float(left) || is_float(right) {
            for side in [left, right] {
                if scale_of(side, kinds).is_some() {
                    self.changed = true;
                    **side = as_real(take(side));
                }
            }
            return Ok(Some(Type::Float));
        }
        let scale = |side: &Expr, ty: Option<Type>| match ty {
            Some(Type::Decimal { scale, .. }) => Ok(scale),
            Some(Type::Int) => Ok(0),
            None if is_null(side) => Ok(0),
            None => Err(refuse(side, format!("the type of `{side}` is not known, and a decimal stands beside it"), CAST_HELP)),
            Some(other) => Err(refuse(side, format!("`{side}` is {}, and a decimal stands beside it", a(other)), CAST_HELP)),
        };
        let (l, r) = (scale(left, l)?, scale(right, r)?);
        let (function, result) = match op {
            BinaryOperator::Plus => (names::ADD, l.max(r)),
            BinaryOperator::Minus => (names::SUBTRACT, l.max(r)),
            BinaryOperator::Multiply => (names::MULTIPLY, l.saturating_add(r)),
            BinaryOperator::Divide => (names::DIVIDE, scale_of_average(l)),
            BinaryOperator::Modulo => (names::MODULO, l.max(r)),
            _ => return Ok(None),
        };
        if result > types::DIGITS {
            let message = format!("`{expr}` has {result} digits behind the point; a decimal has {} in all", types::DIGITS);
            return Err(refuse(expr, message, "round the operands first: `ROUND(…, 2)`"));
        }
        for side in [&mut *left, &mut *right] {
            self.exact(side, kinds, None)?;
        }
        self.changed = true;
        *expr = tree::call(function, vec![take(left), take(right)]);
        Ok(Some(decimal(result)))
    }

    /// Functions of time get the batch's for `now`, which they also are of without an argument; words that are one become it.
    fn time(&mut self, function: &mut Function) -> Option<Expr> {
        let now = self.now.and_then(DateTime::from_timestamp_micros)?;
        let text = |format: &str| tree::text(&now.format(format).to_string());
        let name = types::name(function);
        let (first, last) = match name.as_str() {
            "current_date" => return Some(text("%Y-%m-%d")),
            "current_time" => return Some(text("%H:%M:%S")),
            "current_timestamp" => return Some(text("%Y-%m-%d %H:%M:%S")),
            "date" | "time" | "datetime" | "julianday" | "unixepoch" => (0, 0),
            "timediff" => (0, 1),
            "strftime" => (1, 1),
            _ => return None,
        };
        let instant = text("%Y-%m-%d %H:%M:%S%.3f");
        for argument in arguments_mut(function).into_iter().take(last + 1).skip(first) {
            if matches!(argument, Expr::Value(value) if is_now(&value.value)) {
                *argument = instant.clone();
                self.changed = true;
            }
        }
        if arguments(function).len() == first
            && let FunctionArguments::List(list) = &mut function.args
        {
            list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(instant)));
            self.changed = true;
        }
        None
    }

    fn call(&mut self, function: &mut Function, kinds: &Kinds) -> Result<Option<Type>, Wrong> {
        let of_decimal = arguments(function).first().and_then(|first| scale_of(first, kinds));
        let any = arguments(function).iter().any(|argument| scale_of(argument, kinds).is_some());
        let name = types::name(function);
        let mut ty = types::call(function, kinds);
        if !any {
            return Ok(ty);
        }
        let count = arguments(function).len();
        let rename = |function: &mut Function, name: &'static str| function.name = ObjectName::from(vec![Ident::new(name)]);
        match (name.as_str(), of_decimal) {
            ("sum", Some(_)) => rename(function, names::SUM),
            ("avg", Some(_)) => rename(function, names::AVERAGE),
            ("abs", Some(_)) => rename(function, names::ABS),
            ("min" | "max", Some(_)) if count == 1 => {
                for argument in arguments_mut(function) {
                    *argument = collated(take(argument));
                }
            }
            ("round", Some(scale)) => {
                let digits = match arguments(function).get(1) {
                    None => 0,
                    Some(digits) => match plain_number(digits).and_then(|(text, own)| text.parse::<u8>().ok().filter(|_| own == 0)) {
                        Some(digits) if digits <= types::DIGITS => digits,
                        _ => {
                            let message = format!("`{function}` does not say how many digits it leaves");
                            return Err(refuse(digits, message, "give a number: `ROUND(…, 2)`"));
                        }
                    },
                };
                let _ = scale;
                rename(function, names::ROUND);
                ty = Some(decimal(digits));
            }
            ("ceil" | "ceiling" | "floor", Some(_)) => {
                rename(function, if name == "floor" { names::FLOOR } else { names::CEIL });
                ty = Some(decimal(0));
            }
            ("nullif", _) => {
                let mut both = arguments_mut(function);
                if let [left, right] = both.as_mut_slice() {
                    ty = beside(left, kinds);
                    self.compared(left, &mut [right], kinds)?;
                }
            }
            ("min" | "max" | "coalesce" | "ifnull", _) => {
                self.unify(arguments_mut(function).into_iter(), ty, kinds)?;
                if let (Some(first), "min" | "max") = (arguments_mut(function).into_iter().next(), name.as_str()) {
                    *first = collated(take(first));
                }
            }
            ("iif" | "if", _) => self.unify(arguments_mut(function).into_iter().skip(1), ty, kinds)?,
            ("lag" | "lead", Some(scale)) if count == 3 => {
                self.unify(arguments_mut(function).into_iter().skip(2), Some(decimal(scale)), kinds)?;
            }
            _ => return Ok(ty),
        }
        self.changed = true;
        Ok(ty)
    }

    fn cast(&mut self, expr: &mut Expr, kinds: &Kinds) -> Option<Type> {
        let Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } = expr else { return None };
        let from = kinds.of(inner);
        match (from, types::cast_to(data_type)) {
            (_, Some(ty @ Type::Decimal { precision, scale })) => {
                self.changed = true;
                *expr = tree::call(names::DECIMAL, vec![take(inner), tree::number(scale), tree::number(precision)]);
                Some(ty)
            }
            (Some(Type::Decimal { .. }), Some(Type::Int)) => {
                self.changed = true;
                *expr = tree::call(names::INTEGER, vec![take(inner)]);
                Some(Type::Int)
            }
            (Some(ty @ Type::Decimal { .. }), None)
                if matches!(data_type, DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_)) =>
            {
                self.changed = true;
                *expr = tree::nested(take(inner));
                Some(ty)
            }
            (_, ty) => ty,
        }
    }
}

impl Rules for SqliteRules {
    fn case(&self) -> Case {
        Case::Ignored
    }

    fn changed(&self) -> bool {
        self.changed
    }

    fn expression(&mut self, expr: &mut Expr, kinds: &Kinds) -> Result<Option<Type>, Wrong> {
        use BinaryOperator as B;
        match expr {
            Expr::BinaryOp { op: B::Plus | B::Minus | B::Multiply | B::Divide | B::Modulo, .. } => return self.arithmetic(expr, kinds),
            Expr::BinaryOp { left, op: B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq, right }
            | Expr::IsDistinctFrom(left, right)
            | Expr::IsNotDistinctFrom(left, right) => self.compared(left, &mut [right], kinds)?,
            Expr::Between { expr: of, low, high, .. } => self.compared(of, &mut [low, high], kinds)?,
            Expr::InList { expr: of, list, .. } => self.compared(of, &mut list.iter_mut().collect::<Vec<_>>(), kinds)?,
            Expr::InSubquery { expr: of, subquery, .. } => {
                let (own, others) = (kinds.of(of), kinds.of_query(subquery));
                let is_decimal = |ty: Option<Type>| matches!(ty, Some(Type::Decimal { .. }));
                if is_decimal(own) != is_decimal(others) {
                    let message = format!("`{of}` and what it is looked for in are not of one type");
                    return Err(refuse(of, message, CAST_HELP));
                }
                if is_decimal(own) {
                    self.changed = true;
                    **of = collated(take(of));
                }
            }
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } if scale_of(inner, kinds).is_some() => {
                let ty = kinds.of(inner).map(|ty| if let Type::Decimal { scale, .. } = ty { decimal(scale) } else { ty });
                self.changed = true;
                *expr = tree::call(names::SUBTRACT, vec![tree::text("0"), take(inner)]);
                return Ok(ty);
            }
            Expr::UnaryOp { op: UnaryOperator::Plus, expr: inner } if scale_of(inner, kinds).is_some() => {
                let ty = kinds.of(inner);
                self.changed = true;
                *expr = tree::nested(take(inner));
                return Ok(ty);
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                if let Some(operand) = operand {
                    let mut whens: Vec<&mut Expr> = conditions.iter_mut().map(|when| &mut when.condition).collect();
                    self.compared(operand, &mut whens, kinds)?;
                }
                let results = conditions.iter().map(|when| &when.result).chain(else_result.as_deref());
                let all: Vec<&Expr> = results.filter(|result| !is_null(result)).collect();
                if all.iter().any(|result| scale_of(result, kinds).is_some()) {
                    let ty = types::common(all.into_iter(), kinds);
                    let results = conditions.iter_mut().map(|when| &mut when.result).chain(else_result.as_deref_mut());
                    self.unify(results, ty, kinds)?;
                    return Ok(ty);
                }
            }
            Expr::Ceil { expr: inner, field } | Expr::Floor { expr: inner, field } if scale_of(inner, kinds).is_some() => {
                if matches!(field, CeilFloorKind::DateTimeField(DateTimeField::NoDateTime)) {
                    let inner = take(inner);
                    let name = if matches!(expr, Expr::Floor { .. }) { names::FLOOR } else { names::CEIL };
                    self.changed = true;
                    *expr = tree::call(name, vec![inner]);
                    return Ok(Some(decimal(0)));
                }
            }
            Expr::Tuple(values) => {
                if let Some(value) = values.iter().find(|value| scale_of(value, kinds).is_some()) {
                    let message = format!("`{value}` is a decimal: values in parentheses are compared as text");
                    return Err(refuse(value, message, "compare the values one by one"));
                }
            }
            Expr::Function(function) => {
                if let Some(now) = self.time(function) {
                    self.changed = true;
                    *expr = now;
                    return Ok(None);
                }
                return self.call(function, kinds);
            }
            Expr::Cast { .. } => return Ok(self.cast(expr, kinds)),
            _ => (),
        }
        Ok(types::of(expr, kinds))
    }

    fn sort_key(&mut self, key: &mut Expr, ty: Option<Type>) {
        if matches!(ty, Some(Type::Decimal { .. })) {
            self.changed = true;
            *key = collated(take(key));
        }
    }

    fn widened(&mut self, expr: &mut Expr, from: Option<Type>, to: Type) -> Result<(), Wrong> {
        let Type::Decimal { scale, .. } = to else {
            if matches!(from, Some(Type::Decimal { .. })) && to == Type::Float && !matches!(expr, Expr::Wildcard(_)) {
                self.changed = true;
                *expr = as_real(take(expr));
            }
            return Ok(());
        };
        if matches!(from, Some(Type::Decimal { scale: own, .. }) if own == scale) {
            return Ok(());
        }
        if matches!(expr, Expr::Wildcard(_)) {
            let message = "the parts of the query have decimals of different scales".to_owned();
            return Err(refuse(expr, message, "list the columns instead of `*`"));
        }
        self.changed = true;
        *expr = match plain_number(expr) {
            Some((text, own)) if own <= scale => literal(&text, scale),
            _ => tree::call(names::DECIMAL, vec![take(expr), tree::number(scale)]),
        };
        Ok(())
    }

    fn compared(&self, left: Option<Type>, right: Option<Type>, name: &Ident) -> Result<(), Wrong> {
        let scale = |ty: Option<Type>| if let Some(Type::Decimal { scale, .. }) = ty { Some(scale) } else { None };
        if scale(left) == scale(right) {
            return Ok(());
        }
        Err(Wrong {
            code: "qetl::sql::inexact",
            span: name.span,
            message: format!("the columns `{}` of the two tables are not of one type", name.value),
            label: "cannot be exact",
            help: format!("join them with `ON a.{0} = b.{0}`", name.value),
        })
    }

    /// Its text, as far as the parser keeps that.
    fn result_name(&self, expr: &Expr) -> Option<String> {
        Some(expr.to_string())
    }
}

fn is_now(value: &Value) -> bool {
    matches!(value, Value::SingleQuotedString(text) if text.eq_ignore_ascii_case("now"))
}

fn a(ty: Type) -> String {
    let word = ty.to_string();
    format!("{} {word}", if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::SQLiteDialect;

    use super::super::{Named, Table, prepare};
    use super::*;

    fn tables(name: &ObjectName) -> Option<Table> {
        let named = |name: &str, ty: Type| Named { name: name.to_owned(), ty: Some(ty) };
        let columns = vec![
            named("id", Type::Int),
            named("amount", decimal(2)),
            named("fee", Type::Decimal { precision: 18, scale: 4 }),
            named("rate", Type::Float),
            named("note", Type::Text),
        ];
        (name.to_string() == "t").then(|| Table { name: vec!["t".to_owned()], columns })
    }

    fn written(sql: &str) -> Result<(String, Option<Type>), String> {
        let mut rules = SqliteRules::new(Some(1_705_314_030_500_000));
        let prepared = prepare(sql, &SQLiteDialect {}, &tables, &mut rules).map_err(|wrong| wrong.message)?;
        Ok((prepared.text, prepared.columns.first().and_then(|column| column.ty)))
    }

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        let sql = format!("SELECT {sql} FROM t");
        assert_eq!(written(&sql).unwrap().0, format!("SELECT {expected} FROM t"));
    }

    #[track_caller]
    fn check_where(condition: &str, expected: &str) {
        assert_eq!(written(&format!("SELECT id FROM t WHERE {condition}")).unwrap().0, format!("SELECT id FROM t WHERE {expected}"));
    }

    #[test]
    fn decimals_are_compared_by_value() {
        check_where("amount >= 0.01", "amount COLLATE qetl_decimal >= '0.01'");
        check_where("10 < amount", "'10' COLLATE qetl_decimal < amount");
        check_where("amount = id", "amount COLLATE qetl_decimal = qetl_decimal(id, 0)");
        check_where("amount BETWEEN -1 AND fee", "amount COLLATE qetl_decimal BETWEEN '-1' AND fee");
        check_where("amount IN (1, 2.50)", "amount COLLATE qetl_decimal IN ('1', '2.50')");
        check_where("amount > rate", "CAST(amount AS REAL) > rate");
        check_where("amount > 1e2", "CAST(amount AS REAL) > 1e2");
        check_where("amount IS NULL OR id > 2", "amount IS NULL OR id > 2");
        assert_eq!(written("SELECT id FROM t WHERE amount > note").unwrap_err(), "`note` is a string, and a decimal stands beside it");
    }

    #[test]
    fn decimals_are_computed_with_exactly() {
        check("amount + 1 AS x", "qetl_add(amount, '1') AS x");
        check("-amount AS x", "qetl_subtract('0', amount) AS x");
        check("amount * 1.19 - fee AS x", "qetl_subtract(qetl_multiply(amount, '1.19'), fee) AS x");
        check("SUM(amount) AS x, AVG(fee) AS y", "qetl_sum(amount) AS x, qetl_avg(fee) AS y");
        check("MAX(amount) AS x", "MAX(amount COLLATE qetl_decimal) AS x");
        check("amount * rate AS x", "CAST(amount AS REAL) * rate AS x");
        check("COALESCE(amount, 0) AS x", "COALESCE(amount, '0.00') AS x");
        check("CASE WHEN id = 1 THEN amount ELSE fee END AS x", "CASE WHEN id = 1 THEN qetl_decimal(amount, 4) ELSE fee END AS x");
        check("CAST(note AS DECIMAL(10,2)) AS x", "qetl_decimal(note, 2, 10) AS x");
        check("id + 1 AS x", "id + 1 AS x");
        assert!(written("SELECT amount + LENGTH(note) FROM t").is_ok());
        assert!(written("SELECT amount + PRINTF('%d', 1) FROM t").unwrap_err().contains("is not known"));
    }

    #[test]
    fn results_keep_their_names_and_have_their_types() {
        check("SUM(amount), id", "qetl_sum(amount) AS \"SUM(amount)\", id");
        let ty = |sql: &str| written(sql).unwrap().1;
        assert_eq!(ty("SELECT amount FROM t"), Some(decimal(2)));
        assert_eq!(ty("SELECT AVG(amount) FROM t"), Some(decimal(6)));
        assert_eq!(ty("SELECT x FROM (SELECT amount * fee AS x FROM t) s"), Some(decimal(6)));
        assert_eq!(ty("SELECT amount FROM t UNION ALL SELECT fee FROM t"), Some(Type::Decimal { precision: 38, scale: 4 }));
    }

    #[test]
    fn decimals_are_sorted_by_value() {
        let check = |sql: &str, expected: &str| assert_eq!(written(sql).unwrap().0, expected);
        check("SELECT amount FROM t ORDER BY amount DESC", "SELECT amount FROM t ORDER BY amount COLLATE qetl_decimal DESC");
        check("SELECT amount FROM t ORDER BY 1", "SELECT amount FROM t ORDER BY 1 COLLATE qetl_decimal");
        check(
            "SELECT SUM(amount) AS total FROM t GROUP BY id HAVING total > 100 ORDER BY total",
            "SELECT qetl_sum(amount) AS total FROM t GROUP BY id HAVING total COLLATE qetl_decimal > '100' \
             ORDER BY total COLLATE qetl_decimal",
        );
        // Within an expression the name is the column's, which is a decimal.
        check(
            "SELECT COUNT(*) AS amount FROM t GROUP BY id ORDER BY MAX(amount), amount",
            "SELECT COUNT(*) AS amount FROM t GROUP BY id ORDER BY MAX(amount COLLATE qetl_decimal) COLLATE qetl_decimal, amount",
        );
        check(
            "SELECT ROW_NUMBER() OVER (ORDER BY amount) AS n FROM t",
            "SELECT ROW_NUMBER() OVER (ORDER BY amount COLLATE qetl_decimal) AS n FROM t",
        );
        check(
            "SELECT amount FROM t UNION SELECT fee FROM t",
            "SELECT qetl_decimal(amount, 4) AS \"amount\" FROM t UNION SELECT fee FROM t",
        );
        let joined = written("SELECT a.id FROM t a JOIN (SELECT fee AS amount FROM t) b USING (amount)").unwrap_err();
        assert_eq!(joined, "the columns `amount` of the two tables are not of one type");
    }

    #[test]
    fn now_is_the_batchs_time() {
        let at = "'2024-01-15 10:20:30.500'";
        check("DATE('now', '-60 days') AS x", &format!("DATE({at}, '-60 days') AS x"));
        check("DATE() AS x", &format!("DATE({at}) AS x"));
        check("STRFTIME('%Y') AS x", &format!("STRFTIME('%Y', {at}) AS x"));
        check("CURRENT_DATE AS x", "'2024-01-15' AS x");
        check("CURRENT_TIMESTAMP AS x", "'2024-01-15 10:20:30' AS x");
        check("DATE(note) AS x", "DATE(note) AS x");
    }
}
