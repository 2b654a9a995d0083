//! What a modifier does to an instant.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, two have parts of a text")]

use qetl_core::Type;
use sqlparser::ast::{BinaryOperator, Expr};

use super::{super::Kinds, literal};
use crate::tree;

/// What a modifier does.
#[derive(Debug)]
pub(super) enum Step {
    /// Adds an interval that has one length.
    Add(Expr),
    /// Adds an interval of months, and what is left of them as days.
    Months(Expr),
    StartOf(&'static str),
    /// The day of that number or the next one, Sunday being 0.
    Weekday(u8),
}

/// `None`: it is no modifier, or none that can be told.
pub(super) fn step(modifier: &Expr, kinds: &Kinds) -> Option<Step> {
    let mut parts = Vec::new();
    concatenated(modifier, &mut parts);
    let texts: Option<Vec<&str>> = parts.iter().map(|part| literal(part)).collect();
    match (texts, parts.as_slice()) {
        (Some(texts), _) => of_text(&texts.concat().to_lowercase()),
        (None, [number, unit]) => of_number("+", number, literal(unit)?, kinds),
        (None, [sign, number, unit]) => of_number(literal(sign)?, number, literal(unit)?, kinds),
        _ => None,
    }
}

fn concatenated<'a>(expr: &'a Expr, parts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => {
            concatenated(left, parts);
            concatenated(right, parts);
        }
        Expr::Nested(inner) => concatenated(inner, parts),
        _ => parts.push(expr),
    }
}

/// A unit as PostgreSQL calls it, and how many days one of it has that is no whole number.
fn unit(text: &str) -> Option<(&'static str, Option<f64>)> {
    Some(match text.strip_suffix('s').unwrap_or(text) {
        "second" => ("second", None),
        "minute" => ("minute", None),
        "hour" => ("hour", None),
        "day" => ("day", None),
        "month" => ("month", Some(30.0)),
        "year" => ("year", Some(365.0)),
        _ => return None,
    })
}

fn interval(text: &str) -> Expr {
    tree::fill("CAST(a AS INTERVAL)", &[tree::text(text)])
}

fn of_text(text: &str) -> Option<Step> {
    if let Some(unit) = text.strip_prefix("start of ") {
        return ["day", "month", "year"].into_iter().find(|own| *own == unit).map(Step::StartOf);
    }
    if let Some(day) = text.strip_prefix("weekday ") {
        return day.parse::<u8>().ok().filter(|day| *day < 7).map(Step::Weekday);
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((number, name)) = text.split_once(|letter: char| letter.is_ascii_whitespace()) else {
        // Hours and minutes.
        let parts: Vec<&str> = text.strip_prefix(['+', '-']).unwrap_or(text).split(':').collect();
        let is_two = |part: &&str| part.len() == 2 && digits(part);
        let is_second = |part: &&str| match part.split_once('.') {
            Some((whole, fraction)) => is_two(&whole) && digits(fraction),
            None => is_two(part),
        };
        let is_time = match parts.as_slice() {
            [hours, minutes] => is_two(hours) && is_two(minutes),
            [hours, minutes, seconds] => is_two(hours) && is_two(minutes) && is_second(seconds),
            _ => false,
        };
        return is_time.then(|| Step::Add(interval(text)));
    };
    let (unit, days) = unit(name.trim_start_matches(|letter: char| letter.is_ascii_whitespace()))?;
    let plain = number.strip_prefix(['+', '-']).unwrap_or(number);
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, "0"));
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let Some(days) = days else { return Some(Step::Add(interval(&format!("{number} {unit}")))) };
    let sign = if number.starts_with('-') { "-" } else { "" };
    let seconds = format!("0.{fraction}").parse::<f64>().ok()? * days * 86_400.0;
    Some(Step::Months(interval(&format!("{sign}{whole} {unit} {sign}{seconds:.3} seconds"))))
}

/// A number of a column: `'-' || n || ' days'`.
fn of_number(sign: &str, number: &Expr, name: &str, kinds: &Kinds) -> Option<Step> {
    let name = name.to_lowercase();
    let (unit, days) = unit(name.strip_prefix(' ')?.trim_start())?;
    if kinds.of(number) != Some(Type::Int) {
        return None;
    }
    let one = interval(&format!("{}1 {unit}", if sign == "-" { sign } else { "" }));
    let interval = tree::fill("a * b", &[number.clone(), one]);
    ["+", "-"].contains(&sign).then(|| if days.is_some() { Step::Months(interval) } else { Step::Add(interval) })
}
