//! Decimals of 38 digits, which SQLite has not: functions of their texts, and the order of these by value.

use std::cmp::Ordering;

use arrow::datatypes::i256;
use qetl_sql::dialects::decimals as names;
use rusqlite::{
    Connection, Error, Result,
    functions::{Aggregate, Context, FunctionFlags, WindowAggregate},
    types::{ToSql, ToSqlOutput, Value, ValueRef},
};

use crate::cell::decimal_text;

const DIGITS: u8 = 38;

/// A decimal's digits, and how many of them stand behind the point. Wide enough for sums and products of decimals.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Decimal {
    digits: i256,
    scale: u8,
}

/// A number as SQLite has it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Int(i64),
    Float(f64),
    Decimal(Decimal),
}

fn failed(what: impl Into<String>) -> Error {
    Error::UserFunctionError(what.into().into())
}

fn too_long() -> Error {
    failed(format!("decimal overflow: a result has more than {DIGITS} digits"))
}

fn int_overflow() -> Error {
    failed("integer overflow")
}

fn power(digits: u8) -> i256 {
    i256::from_i128(10).wrapping_pow(u32::from(digits))
}

impl Decimal {
    fn of(digits: i128, scale: u8) -> Self {
        Self { digits: i256::from_i128(digits), scale }
    }

    /// A plain decimal's text, of any length; digits beyond the scale are rounded, if one is given.
    fn parse(text: &str, scale: Option<u8>) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = text.strip_prefix('-').map_or((false, text.strip_prefix('+').unwrap_or(text)), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let kept = fraction.len().min(usize::from(scale.unwrap_or(DIGITS).saturating_add(1)));
        if whole.len() > usize::from(DIGITS) || (scale.is_none() && fraction.len() > usize::from(DIGITS)) {
            return None;
        }
        let value = i256::from_string(&format!("0{whole}{}", &fraction[..kept]))?;
        let found = Self { digits: if negative { value.wrapping_neg() } else { value }, scale: u8::try_from(kept).ok()? };
        match scale {
            Some(scale) => Some(found.rescaled(scale)),
            None => Some(found),
        }
    }

    /// With more digits behind the point, or fewer: rounded half away from zero.
    fn rescaled(self, scale: u8) -> Self {
        let digits = if scale >= self.scale {
            self.digits.wrapping_mul(power(scale - self.scale))
        } else {
            rounded(self.digits, power(self.scale - scale))
        };
        Self { digits, scale }
    }

    /// Both with as many digits behind the point.
    fn aligned(self, other: Self) -> (i256, i256, u8) {
        let scale = self.scale.max(other.scale);
        (self.rescaled(scale).digits, other.rescaled(scale).digits, scale)
    }

    /// With no digits behind the point: those not greater, or those not less.
    fn whole(self, up: bool) -> Self {
        let one = power(self.scale);
        let (whole, rest) = (self.digits.wrapping_div(one), self.digits.wrapping_rem(one));
        let step = match (rest.cmp(&i256::ZERO), up) {
            (Ordering::Greater, true) => i256::ONE,
            (Ordering::Less, false) => i256::MINUS_ONE,
            _ => i256::ZERO,
        };
        Self { digits: whole.wrapping_add(step), scale: 0 }
    }

    fn text(self) -> Result<String> {
        self.text_within(DIGITS)
    }

    fn text_within(self, precision: u8) -> Result<String> {
        let bound = power(precision);
        let fits = self.digits < bound && self.digits > bound.wrapping_neg() && self.scale <= DIGITS;
        let digits = self.digits.to_i128().filter(|_| fits);
        digits.map(|digits| decimal_text(digits, self.scale)).ok_or_else(|| match precision {
            DIGITS => too_long(),
            _ => failed(format!("decimal overflow: a value has more than {precision} digits")),
        })
    }
}

/// Divided, rounded half away from zero.
fn rounded(digits: i256, by: i256) -> i256 {
    let (quotient, rest) = (digits.wrapping_div(by), digits.wrapping_rem(by));
    if rest.wrapping_abs().wrapping_mul(i256::from_i128(2)) < by.wrapping_abs() {
        return quotient;
    }
    let negative = (digits < i256::ZERO) != (by < i256::ZERO);
    quotient.wrapping_add(if negative { i256::MINUS_ONE } else { i256::ONE })
}

impl Number {
    /// NULL is nothing.
    fn of(value: ValueRef<'_>) -> Result<Option<Self>> {
        Ok(Some(match value {
            ValueRef::Null => return Ok(None),
            ValueRef::Integer(value) => Number::Int(value),
            ValueRef::Real(value) => Number::Float(value),
            ValueRef::Text(_) | ValueRef::Blob(_) => {
                let text = value.as_str().map_err(|_| failed("a value is not a number"))?;
                Number::Decimal(Decimal::parse(text, None).ok_or_else(|| failed(format!("`{text}` is not a decimal")))?)
            }
        }))
    }

    fn decimal(self, scale: Option<u8>) -> Result<Decimal> {
        Ok(match self {
            Number::Int(value) => Decimal::of(value.into(), 0),
            Number::Decimal(value) => value,
            // The shortest text that the float is read back from.
            Number::Float(value) => Decimal::parse(&value.to_string(), scale).ok_or_else(|| failed(format!("{value} is not a decimal")))?,
        })
    }

    fn float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
            Number::Decimal(value) => value.text().ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
        }
    }
}

impl ToSql for Number {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(match self {
            Number::Int(value) => Value::Integer(*value),
            Number::Float(value) => Value::Real(*value),
            Number::Decimal(value) => Value::Text(value.text()?),
        }))
    }
}

type Two = (fn(i64, i64) -> Option<i64>, fn(f64, f64) -> f64, fn(Decimal, Decimal) -> Result<Decimal>);

/// What a function of two numbers makes of integers, of a float and another number, and of a decimal and another one.
fn two(call: &Context<'_>, (of_ints, of_floats, of_decimals): Two) -> Result<Option<Number>> {
    let (Some(a), Some(b)) = (Number::of(call.get_raw(0))?, Number::of(call.get_raw(1))?) else { return Ok(None) };
    Ok(Some(match (a, b) {
        (Number::Int(a), Number::Int(b)) => Number::Int(of_ints(a, b).ok_or_else(int_overflow)?),
        (Number::Float(_), _) | (_, Number::Float(_)) => Number::Float(of_floats(a.float(), b.float())),
        _ => Number::Decimal(of_decimals(a.decimal(None)?, b.decimal(None)?)?),
    }))
}

fn one(call: &Context<'_>, function: fn(Decimal) -> Decimal) -> Result<Option<Number>> {
    let Some(value) = Number::of(call.get_raw(0))? else { return Ok(None) };
    Ok(Some(Number::Decimal(function(value.decimal(None)?))))
}

const ADD: Two = (
    i64::checked_add,
    |a, b| a + b,
    |a, b| {
        let (a, b, scale) = a.aligned(b);
        Ok(Decimal { digits: a.wrapping_add(b), scale })
    },
);
const SUBTRACT: Two = (
    i64::checked_sub,
    |a, b| a - b,
    |a, b| {
        let (a, b, scale) = a.aligned(b);
        Ok(Decimal { digits: a.wrapping_sub(b), scale })
    },
);
const MULTIPLY: Two = (
    i64::checked_mul,
    |a, b| a * b,
    |a, b| Ok(Decimal { digits: a.digits.wrapping_mul(b.digits), scale: a.scale.saturating_add(b.scale) }),
);
const MODULO: Two = (
    i64::checked_rem,
    |a, b| a % b,
    |a, b| {
        let (a, b, scale) = a.aligned(b);
        if b == i256::ZERO { Err(failed("division by zero")) } else { Ok(Decimal { digits: a.wrapping_rem(b), scale }) }
    },
);

fn divide(call: &Context<'_>) -> Result<Option<Number>> {
    let (Some(a), Some(b)) = (Number::of(call.get_raw(0))?, Number::of(call.get_raw(1))?) else { return Ok(None) };
    if matches!(a, Number::Float(_)) || matches!(b, Number::Float(_)) {
        return Ok(Some(Number::Float(a.float() / b.float())));
    }
    let (a, b) = (a.decimal(None)?, b.decimal(None)?);
    if b.digits == i256::ZERO {
        return Err(failed("division by zero"));
    }
    let scale = (a.scale + 4).min(DIGITS);
    // What is too great here is too great as a result, too.
    let dividend = a.digits.wrapping_mul(power(scale - a.scale)).checked_mul(power(b.scale)).ok_or_else(too_long)?;
    Ok(Some(Number::Decimal(Decimal { digits: rounded(dividend, b.digits), scale })))
}

fn scale_of(call: &Context<'_>, place: usize) -> Result<Option<u8>> {
    if call.len() > place { call.get::<u8>(place).map(Some) } else { Ok(None) }
}

fn convert(call: &Context<'_>) -> Result<Option<String>> {
    let (scale, precision) = (scale_of(call, 1)?, scale_of(call, 2)?.unwrap_or(DIGITS));
    let value = match call.get_raw(0) {
        ValueRef::Text(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            Decimal::parse(&text, scale).ok_or_else(|| failed(format!("`{text}` is not a decimal")))?
        }
        other => match Number::of(other)? {
            Some(value) => value.decimal(scale)?,
            None => return Ok(None),
        },
    };
    scale.map_or(value, |scale| value.rescaled(scale)).text_within(precision).map(Some)
}

fn round(call: &Context<'_>) -> Result<Option<Number>> {
    let (Some(value), scale) = (Number::of(call.get_raw(0))?, scale_of(call, 1)?.unwrap_or(0)) else { return Ok(None) };
    Ok(Some(Number::Decimal(value.decimal(Some(scale))?.rescaled(scale))))
}

fn integer(call: &Context<'_>) -> Result<Option<i64>> {
    let Some(value) = Number::of(call.get_raw(0))? else { return Ok(None) };
    let value = value.decimal(None)?;
    let whole = value.digits.wrapping_div(power(value.scale));
    whole.to_i128().and_then(|whole| i64::try_from(whole).ok()).map(Some).ok_or_else(int_overflow)
}

/// The order of two texts: by value if both are decimals, else by bytes.
fn order(a: &str, b: &str) -> Ordering {
    match (Decimal::parse(a, None), Decimal::parse(b, None)) {
        (Some(a), Some(b)) => {
            let (a, b, _) = a.aligned(b);
            a.cmp(&b)
        }
        // Numbers stand together, so that this is an order.
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// A sum so far. No order of adding overflows: the bound is the result's.
#[derive(Debug, Clone)]
struct Total {
    sum: Decimal,
    count: i64,
    /// All of them are integers.
    ints: bool,
}

/// [`names::SUM`] and [`names::AVERAGE`].
#[derive(Debug, Clone, Copy)]
struct Fold {
    average: bool,
}

impl Total {
    fn none() -> Self {
        Self { sum: Decimal::of(0, 0), count: 0, ints: true }
    }

    fn add(&mut self, call: &Context<'_>, negate: bool) -> Result<()> {
        let Some(value) = Number::of(call.get_raw(0))? else { return Ok(()) };
        self.ints &= matches!(value, Number::Int(_));
        let (sum, more, scale) = self.sum.aligned(value.decimal(None)?);
        let digits = if negate { sum.wrapping_sub(more) } else { sum.wrapping_add(more) };
        self.sum = Decimal { digits, scale };
        self.count += if negate { -1 } else { 1 };
        Ok(())
    }

    fn result(&self, average: bool) -> Result<Option<Number>> {
        if self.count == 0 {
            return Ok(None);
        }
        if average {
            let scale = (self.sum.scale + 4).min(DIGITS);
            let digits = rounded(self.sum.rescaled(scale).digits, i256::from_i128(self.count.into()));
            return Ok(Some(Number::Decimal(Decimal { digits, scale })));
        }
        match self.sum.digits.to_i128() {
            Some(sum) if self.ints => i64::try_from(sum).map(|sum| Some(Number::Int(sum))).map_err(|_| int_overflow()),
            _ => Ok(Some(Number::Decimal(self.sum))),
        }
    }
}

impl Aggregate<Total, Option<Number>> for Fold {
    fn init(&self, _: &mut Context<'_>) -> Result<Total> {
        Ok(Total::none())
    }

    fn step(&self, call: &mut Context<'_>, total: &mut Total) -> Result<()> {
        total.add(call, false)
    }

    fn finalize(&self, _: &mut Context<'_>, total: Option<Total>) -> Result<Option<Number>> {
        total.map_or(Ok(None), |total| total.result(self.average))
    }
}

impl WindowAggregate<Total, Option<Number>> for Fold {
    fn value(&self, total: Option<&mut Total>) -> Result<Option<Number>> {
        total.map_or(Ok(None), |total| total.result(self.average))
    }

    fn inverse(&self, call: &mut Context<'_>, total: &mut Total) -> Result<()> {
        total.add(call, true)
    }
}

/// Adds them to a connection.
pub(super) fn register(connection: &Connection) -> Result<()> {
    let pure = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    for (name, function) in [(names::ADD, ADD), (names::SUBTRACT, SUBTRACT), (names::MULTIPLY, MULTIPLY), (names::MODULO, MODULO)] {
        connection.create_scalar_function(name, 2, pure, move |call| two(call, function))?;
    }
    connection.create_scalar_function(names::DIVIDE, 2, pure, divide)?;
    connection.create_scalar_function(names::DECIMAL, -1, pure, convert)?;
    connection.create_scalar_function(names::ROUND, -1, pure, round)?;
    connection.create_scalar_function(names::INTEGER, 1, pure, integer)?;
    connection
        .create_scalar_function(names::ABS, 1, pure, |call| one(call, |value| Decimal { digits: value.digits.wrapping_abs(), ..value }))?;
    connection.create_scalar_function(names::FLOOR, 1, pure, |call| one(call, |value| value.whole(false)))?;
    connection.create_scalar_function(names::CEIL, 1, pure, |call| one(call, |value| value.whole(true)))?;
    connection.create_window_function(names::SUM, 1, pure, Fold { average: false })?;
    connection.create_window_function(names::AVERAGE, 1, pure, Fold { average: true })?;
    connection.create_collation(names::COLLATION, order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> std::result::Result<Option<String>, String> {
        let connection = Connection::open_in_memory().unwrap();
        register(&connection).unwrap();
        let value = connection.query_row(sql, (), |row| row.get::<_, Value>(0)).map_err(|why| why.to_string())?;
        Ok(match value {
            Value::Null => None,
            Value::Integer(value) => Some(format!("{value}i")),
            Value::Real(value) => Some(format!("{value}f")),
            Value::Text(text) => Some(text),
            Value::Blob(_) => unreachable!("none of them gives bytes"),
        })
    }

    #[test]
    fn decimals_are_computed_with_exactly() {
        let check = |sql: &str, result: &str| assert_eq!(of(&format!("SELECT {sql}")), Ok(Some(result.to_owned())), "{sql}");
        let most = "9".repeat(36) + ".99";
        check("qetl_add('0.10', '0.2')", "0.30");
        check(&format!("qetl_subtract('{most}', '0.01')"), &("9".repeat(36) + ".98"));
        check("qetl_subtract('0', '12.30')", "-12.30");
        check("qetl_subtract('0', '0.00')", "0.00");
        check("qetl_multiply('1.5', '-2.25')", "-3.375");
        check("qetl_divide('10.00', 3)", "3.333333");
        check("qetl_divide('-0.00005', 1000)", "-0.000000050");
        check("qetl_divide('20', '3')", "6.6667");
        check("qetl_modulo('-7.5', '2')", "-1.5");
        check("qetl_decimal(7, 2)", "7.00");
        check("qetl_decimal('-2.345', 2)", "-2.35");
        check("qetl_decimal(1e-7, 10)", "0.0000001000");
        check("qetl_round('2.5')", "3");
        check("qetl_round('1.005', 2)", "1.01");
        check("qetl_floor('-1.2')", "-2");
        check("qetl_ceil('-1.2')", "-1");
        check("qetl_integer('-12.9')", "-12i");
        check("qetl_abs('-0.10')", "0.10");
        check("qetl_add(1, 2)", "3i");
        check("qetl_add('1.5', 0.25)", "1.75f");
        check("'9.00' COLLATE qetl_decimal < '10.0'", "1i");
        check("'1.0' COLLATE qetl_decimal = '1.00'", "1i");
        check("(SELECT MAX(x COLLATE qetl_decimal) FROM (SELECT '9' AS x UNION ALL SELECT '10'))", "10");
    }

    #[test]
    fn sums_and_averages_are_exact_and_have_their_bounds() {
        let of_values = |function: &str, values: &[&str]| {
            let rows: Vec<String> = values.iter().map(|value| format!("({value})")).collect();
            of(&format!("SELECT {function}(column1) FROM (VALUES {})", rows.join(", ")))
        };
        let most = format!("'{}'", "9".repeat(38));
        assert_eq!(of_values("qetl_sum", &["'0.10'", "'0.20'", "NULL"]), Ok(Some("0.30".to_owned())));
        assert_eq!(of_values("qetl_sum", &["NULL"]), Ok(None));
        // What is too great on the way is not, in the end.
        assert_eq!(of_values("qetl_sum", &[&most, &most, &format!("'-{}'", "9".repeat(38))]), Ok(Some("9".repeat(38))));
        assert!(of_values("qetl_sum", &[&most, "'1'"]).unwrap_err().contains("more than 38 digits"));
        assert!(of_values("qetl_sum", &["9223372036854775807", "1"]).unwrap_err().contains("integer overflow"));
        assert!(of("SELECT qetl_subtract(-9223372036854775807, 2)").unwrap_err().contains("integer overflow"));
        assert_eq!(of_values("qetl_avg", &["'1.00'", "'1.00'", "'2.00'"]), Ok(Some("1.333333".to_owned())));
        assert_eq!(of_values("qetl_avg", &["'-0.01'", "'0.00'"]), Ok(Some("-0.005000".to_owned())));
        assert_eq!(of_values("qetl_avg", &[&most, &most]), Err(too_long().to_string()));
        let running = "SELECT GROUP_CONCAT(s, ' ') FROM (SELECT qetl_sum(column1) OVER \
            (ORDER BY column1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM (VALUES ('1.0'), ('2.0'), ('4.0')))";
        assert_eq!(of(running), Ok(Some("1.0 3.0 6.0".to_owned())));
    }
}
