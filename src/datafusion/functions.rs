//! Scalar functions of the instructions that the engine has not, or has otherwise.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, StringViewBuilder},
    datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, TimestampMicrosecondType},
    util::display::{ArrayFormatter, FormatOptions},
};
use chrono::{Datelike, Months, NaiveDate};
use datafusion::{
    common::{Result, internal_err, plan_err},
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, expr::ScalarFunction},
};
use qetl_core::ir::Period;
use qetl_runtime::zones::Zone;

/// A function of one argument.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Unary {
    what: What,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    CanonicalText,
    PeriodStart(Unit),
    NextPeriod(Unit),
}

/// [`Period`], with what the engine wants of a function's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Day,
    Week,
    Month,
}

impl From<Period> for Unit {
    fn from(period: Period) -> Self {
        match period {
            Period::Day => Unit::Day,
            Period::Week => Unit::Week,
            Period::Month => Unit::Month,
        }
    }
}

fn unary(what: What, argument: Expr) -> Expr {
    let function = ScalarUDF::new_from_impl(Unary { what, signature: Signature::any(1, Volatility::Immutable) });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![argument]))
}

/// A value's text, the same on every engine.
pub(crate) fn canonical_text(argument: Expr) -> Expr {
    unary(What::CanonicalText, argument)
}

/// The first day of the period that a date is in.
pub(crate) fn period_start(period: Period, argument: Expr) -> Expr {
    unary(What::PeriodStart(period.into()), argument)
}

/// The first day of the period after that.
pub(crate) fn next_period(period: Period, argument: Expr) -> Expr {
    unary(What::NextPeriod(period.into()), argument)
}

/// The date of an instant in a time zone.
#[derive(Debug)]
struct DateIn {
    name: String,
    zone: Zone,
    signature: Signature,
}

impl PartialEq for DateIn {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for DateIn {}

impl Hash for DateIn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The date that an instant has in a time zone.
pub(crate) fn date_in(zone: &str, argument: Expr) -> Result<Expr> {
    let own = Zone::of(zone).or_else(|why| plan_err!("{why}"))?;
    let signature = Signature::any(1, Volatility::Immutable);
    let function = ScalarUDF::new_from_impl(DateIn { name: format!("date_in_{zone}"), zone: own, signature });
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![argument])))
}

impl ScalarUDFImpl for DateIn {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let instants = arrays.first().and_then(|array| array.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(instants) = instants else { return internal_err!("dates in time zones are of instants") };
        let dates = instants.iter().map(|instant| instant.map(|micros| self.zone.date(micros)));
        Ok(ColumnarValue::Array(Arc::new(dates.collect::<Date32Array>())))
    }
}

impl ScalarUDFImpl for Unary {
    fn name(&self) -> &str {
        match self.what {
            What::CanonicalText => "canonical_text",
            What::PeriodStart(Unit::Day) => "day_start",
            What::PeriodStart(Unit::Week) => "week_start",
            What::PeriodStart(Unit::Month) => "month_start",
            What::NextPeriod(Unit::Day) => "next_day",
            What::NextPeriod(Unit::Week) => "next_week",
            What::NextPeriod(Unit::Month) => "next_month",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.what {
            What::CanonicalText => DataType::Utf8View,
            What::PeriodStart(_) | What::NextPeriod(_) => DataType::Date32,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [argument] = arrays.as_slice() else { return internal_err!("{} takes one argument", self.name()) };
        let result: ArrayRef = match self.what {
            What::CanonicalText => texts(argument)?,
            What::PeriodStart(unit) => dates(argument, |day| start(unit, day))?,
            What::NextPeriod(unit) => dates(argument, |day| next(unit, start(unit, day)?))?,
        };
        Ok(ColumnarValue::Array(result))
    }
}

fn dates(argument: &ArrayRef, function: impl Fn(i32) -> Option<i32>) -> Result<ArrayRef> {
    let Some(days) = argument.as_primitive_opt::<Date32Type>() else { return internal_err!("periods are of dates") };
    Ok(Arc::new(days.iter().map(|day| day.and_then(&function)).collect::<Date32Array>()))
}

fn start(unit: Unit, day: i32) -> Option<i32> {
    match unit {
        Unit::Day => Some(day),
        // 1970-01-01 was a Thursday.
        Unit::Week => Some(day - (day + 3).rem_euclid(7)),
        Unit::Month => days(Date32Type::to_naive_date_opt(day)?.with_day(1)?),
    }
}

fn next(unit: Unit, day: i32) -> Option<i32> {
    match unit {
        Unit::Day => Some(day + 1),
        Unit::Week => Some(day + 7),
        Unit::Month => days(Date32Type::to_naive_date_opt(day)?.checked_add_months(Months::new(1))?),
    }
}

fn days(date: NaiveDate) -> Option<i32> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    i32::try_from(date.signed_duration_since(epoch).num_days()).ok()
}

/// The first days of the periods from one date to another.
pub(crate) fn periods(period: Period, first: i32, last: i32) -> Vec<i32> {
    let unit = Unit::from(period);
    if first > last {
        return Vec::new();
    }
    std::iter::successors(start(unit, first), |day| next(unit, *day)).take_while(|day| *day <= last).collect()
}

/// As `query --format csv` prints values; decimals without zeros at their end, and −0 as 0.
fn texts(argument: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"));
    let formatter = ArrayFormatter::try_new(argument.as_ref(), &options)?;
    let mut texts = StringViewBuilder::with_capacity(argument.len());
    let floats = argument.as_primitive_opt::<Float64Type>();
    let is_decimal = argument.as_primitive_opt::<Decimal128Type>().is_some();
    let mut text = String::new();
    for row in 0..argument.len() {
        if argument.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        let written = match floats {
            Some(floats) => write_float(&mut text, floats.value(row)),
            None => formatter.value(row).write(&mut text).map_err(|_| fmt::Error),
        };
        if written.is_err() {
            return internal_err!("a value cannot be written");
        }
        let whole = if is_decimal && text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        texts.append_value(whole);
    }
    Ok(Arc::new(texts.finish()))
}

fn write_float(text: &mut String, value: f64) -> fmt::Result {
    use fmt::Write;
    if value.is_infinite() {
        text.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else if value == 0.0 {
        text.write_str("0.0")
    } else {
        write!(text, "{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> i32 {
        days(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn weeks_begin_on_mondays_and_months_on_their_first() {
        let check = |unit: Unit, date: &str, first: &str, after: &str| {
            assert_eq!((start(unit, day(date)), next(unit, day(first))), (Some(day(first)), Some(day(after))));
        };
        check(Unit::Week, "2024-01-07", "2024-01-01", "2024-01-08");
        check(Unit::Week, "1969-12-31", "1969-12-29", "1970-01-05");
        check(Unit::Month, "2024-02-29", "2024-02-01", "2024-03-01");
        check(Unit::Month, "1969-12-31", "1969-12-01", "1970-01-01");
        check(Unit::Day, "2023-12-31", "2023-12-31", "2024-01-01");
    }

    #[test]
    fn periods_reach_from_the_first_to_the_last() {
        assert_eq!(periods(Period::Week, day("2024-01-07"), day("2024-01-08")), [day("2024-01-01"), day("2024-01-08")]);
        assert_eq!(periods(Period::Day, day("2024-01-07"), day("2024-01-06")), [0; 0]);
    }
}
