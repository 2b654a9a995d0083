//! SQLite's functions of time, in PostgreSQL's words: an instant is a timestamp without a time zone, in UTC.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, one is a text")]

mod modifier;

use chrono::DateTime;
use qetl_core::Type;
use sqlparser::ast::{Expr, Function, Spanned, Value};

use super::{
    Kinds, Wrong,
    types::{self, arguments},
};
use crate::tree;

use modifier::{Step, step};

fn refuse(expr: &Expr, message: String, help: &str) -> Wrong {
    Wrong { code: "qetl::sql::time", span: expr.span(), message, label: "not known", help: help.to_owned() }
}

/// A call of one of the functions in other words, with its type. `None`: the call is PostgreSQL's own, or none of these. `now` is that
/// instant, in microseconds since 1970, or the wall clock's.
pub(super) fn rewritten(function: &Function, kinds: &Kinds, now: Option<i64>) -> Result<Option<(Expr, Type)>, Wrong> {
    let name = types::name(function);
    let all = arguments(function);
    let (format, times) = match (name.as_str(), all.as_slice()) {
        // A cast.
        ("date", [only]) if !is_now(only) => return Ok(None),
        ("strftime", [format, times @ ..]) => (Some(*format), times),
        ("date" | "time" | "datetime" | "julianday" | "unixepoch", times) => (None, times),
        _ => return Ok(None),
    };
    let instant = instant(times, kinds, now)?;
    let fill = |text: &'static str| tree::fill(text, std::slice::from_ref(&instant));
    let (expr, ty) = match name.as_str() {
        "date" => (fill("CAST(a AS DATE)"), Type::Date),
        "time" => (fill("TO_CHAR(a, 'HH24:MI:SS')"), Type::Text),
        "datetime" => (fill("TO_CHAR(a, 'YYYY-MM-DD HH24:MI:SS')"), Type::Text),
        "unixepoch" => (fill("CAST(FLOOR(EXTRACT(EPOCH FROM a)) AS BIGINT)"), Type::Int),
        "julianday" => (fill(JULIAN_DAY), Type::Float),
        _ => (formatted(format, &instant)?, Type::Text),
    };
    Ok(Some((tree::nested(expr), ty)))
}

/// From milliseconds, as SQLite has it.
const JULIAN_DAY: &str = "CAST(FLOOR(EXTRACT(EPOCH FROM a) * 1000 + 0.5) + 210866760000000 AS DOUBLE PRECISION) / 86400000";

pub(super) fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn is_now(expr: &Expr) -> bool {
    literal(expr).is_some_and(|text| text.eq_ignore_ascii_case("now"))
}

/// The instant that a time and its modifiers say.
fn instant(times: &[&Expr], kinds: &Kinds, now: Option<i64>) -> Result<Expr, Wrong> {
    let now = || match now.and_then(DateTime::from_timestamp_micros) {
        Some(now) => tree::fill("CAST(a AS TIMESTAMP)", &[tree::text(&now.format("%Y-%m-%d %H:%M:%S%.3f").to_string())]),
        None => tree::fill("CURRENT_TIMESTAMP AT TIME ZONE 'UTC'", &[]),
    };
    let Some((time, mut modifiers)) = times.split_first() else { return Ok(now()) };
    let is_epoch = modifiers.first().and_then(|first| literal(first)).is_some_and(|first| first.eq_ignore_ascii_case("unixepoch"));
    if is_epoch {
        modifiers = &modifiers[1..];
    }
    let number = kinds.of(time).filter(|ty| ty.is_numeric());
    let begin = match (is_now(time), is_epoch, kinds.of(time)) {
        (true, false, _) => now(),
        (false, true, _) if number.is_some() => tree::fill(UNIX_EPOCH, &[(*time).clone()]),
        (_, true, _) => return Err(refuse(time, format!("`{time}` is no number: `unixepoch` is of seconds since 1970"), "leave it out")),
        (_, _, Some(Type::Date)) => tree::fill("CAST(a AS TIMESTAMP)", &[(*time).clone()]),
        (_, _, Some(Type::Timestamp)) => tree::fill("a AT TIME ZONE 'UTC'", &[(*time).clone()]),
        (_, _, Some(Type::Int | Type::Float | Type::Decimal { .. })) => tree::fill(OF_JULIAN_DAY, &[(*time).clone()]),
        (_, _, Some(Type::Text)) if literal(time).is_none() => tree::fill(OF_TEXT, &[(*time).clone()]),
        (_, _, Some(Type::Text | Type::Bool) | None) => tree::fill(OF_TEXT, &[tree::fill("CAST(a AS TEXT)", &[(*time).clone()])]),
    };
    modified(begin, modifiers, kinds)
}

const UNIX_EPOCH: &str =
    "CASE WHEN a BETWEEN -62167219200 AND 253402300799 THEN CAST('1970-01-01' AS TIMESTAMP) + a * CAST('1 second' AS INTERVAL) END";

const OF_JULIAN_DAY: &str =
    "CASE WHEN a >= 0 AND a < 5373484.5 THEN CAST('1970-01-01' AS TIMESTAMP) + (a - 2440587.5) * CAST('1 day' AS INTERVAL) END";

/// NULL for what is no time. A day that its month has not is one of the next month.
const OF_TEXT: &str = "CASE \
    WHEN a ~ '^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(( +|T)([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)? *([Zz]|[+-](0[0-9]|1[0-4])(:[0-5][0-9])?)?)? *$' \
    THEN (CAST(OVERLAY(a PLACING '01' FROM 9 FOR 2) AS TIMESTAMP WITH TIME ZONE) AT TIME ZONE 'UTC') + (CAST(SUBSTR(a, 9, 2) AS INTEGER) - 1) * CAST('1 day' AS INTERVAL) \
    WHEN a ~ '^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)? *([Zz]|[+-](0[0-9]|1[0-4]):[0-5][0-9])? *$' \
    THEN CAST('2000-01-01 ' || a AS TIMESTAMP WITH TIME ZONE) AT TIME ZONE 'UTC' \
    WHEN a ~ '^[0-9]{1,6}([.][0-9]+)?$|^[1-4][0-9]{6}([.][0-9]+)?$' \
    THEN CAST('1970-01-01' AS TIMESTAMP) + (CAST(a AS DOUBLE PRECISION) - 2440587.5) * CAST('1 day' AS INTERVAL) END";

/// How often an instant may be said again by what a modifier makes of it: the text triples each time.
const REPEATED: usize = 4;

fn modified(mut instant: Expr, modifiers: &[&Expr], kinds: &Kinds) -> Result<Expr, Wrong> {
    let (mut is_first_of_month, mut repeated) = (false, 0);
    for modifier in modifiers {
        let step = step(modifier, kinds).ok_or_else(|| {
            let message = format!("`{modifier}` is no modifier of time that PostgreSQL can be told");
            refuse(modifier, message, "`'-30 days'`, `'+1 month'`, `'start of month'`, `'weekday 0'` and the like are")
        })?;
        if matches!(step, Step::Weekday(_)) || (matches!(step, Step::Months(_)) && !is_first_of_month) {
            repeated += 1;
            if repeated > REPEATED {
                let message = format!("more than {REPEATED} modifiers of months and weekdays are too many for PostgreSQL");
                return Err(refuse(modifier, message, "add the months at once"));
            }
        }
        instant = match &step {
            Step::Add(interval) => tree::fill("a + b", &[instant, interval.clone()]),
            Step::Months(interval) if is_first_of_month => tree::fill("a + b", &[instant, interval.clone()]),
            // A day that the month has not is one of the next month.
            Step::Months(interval) => tree::fill("DATE_TRUNC('month', a) + b + (a - DATE_TRUNC('month', a))", &[instant, interval.clone()]),
            Step::StartOf(unit) => tree::fill("DATE_TRUNC(b, a)", &[instant, tree::text(unit)]),
            Step::Weekday(day) => tree::fill(
                "a + MOD(b - CAST(EXTRACT(DOW FROM a) AS INTEGER), 7) * CAST('1 day' AS INTERVAL)",
                &[instant, tree::number(day + 7)],
            ),
        };
        is_first_of_month = match step {
            Step::StartOf(unit) => unit != "day",
            Step::Months(_) => is_first_of_month,
            Step::Add(_) | Step::Weekday(_) => false,
        };
    }
    Ok(instant)
}

/// A format's parts that one pattern of `TO_CHAR` says.
fn pattern(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "DD",
        'f' => "SS.MS",
        'F' => "YYYY-MM-DD",
        'g' => "IY",
        'G' => "IYYY",
        'H' => "HH24",
        'I' => "HH12",
        'j' => "DDD",
        'm' => "MM",
        'M' => "MI",
        'p' => "AM",
        'P' => "am",
        'R' => "HH24:MI",
        'S' => "SS",
        'T' => "HH24:MI:SS",
        'u' => "ID",
        'V' => "IW",
        'Y' => "YYYY",
        _ => return None,
    })
}

/// Those that have an expression of their own.
fn own(letter: char) -> Option<&'static str> {
    Some(match letter {
        'e' => "LPAD(TO_CHAR(a, 'FMDD'), 2)",
        'k' => "LPAD(TO_CHAR(a, 'FMHH24'), 2)",
        'l' => "LPAD(TO_CHAR(a, 'FMHH12'), 2)",
        's' => "CAST(CAST(FLOOR(EXTRACT(EPOCH FROM a)) AS BIGINT) AS TEXT)",
        'U' => "LPAD(CAST(CAST(EXTRACT(DOY FROM a) + 6 - EXTRACT(DOW FROM a) AS INTEGER) / 7 AS TEXT), 2, '0')",
        'w' => "CAST(CAST(EXTRACT(DOW FROM a) AS INTEGER) AS TEXT)",
        'W' => "LPAD(CAST(CAST(EXTRACT(DOY FROM a) + 7 - EXTRACT(ISODOW FROM a) AS INTEGER) / 7 AS TEXT), 2, '0')",
        _ => return None,
    })
}

fn formatted(format: Option<&Expr>, instant: &Expr) -> Result<Expr, Wrong> {
    let Some(format) = format else { return Ok(tree::text("")) };
    let help = "of SQLite's formats, PostgreSQL can be told %d %e %f %F %g %G %H %I %j %k %l %m %M %p %P %R %s %S %T %u %U %V %w %W %Y";
    let Some(text) = literal(format) else {
        return Err(refuse(format, format!("`{format}` is no text that stands here: PostgreSQL cannot be told such a format"), help));
    };
    let (mut parts, mut open) = (Vec::new(), String::new());
    let mut letters = text.chars();
    let told = |open: &mut String, parts: &mut Vec<Expr>| {
        if !open.is_empty() {
            let format = Expr::Value(Value::SingleQuotedString(std::mem::take(open)).into());
            parts.push(tree::fill("TO_CHAR(a, b)", &[instant.clone(), format]));
        }
    };
    while let Some(letter) = letters.next() {
        match (letter, if letter == '%' { letters.next() } else { None }) {
            ('%', Some('%')) => open.push_str("\"%\""),
            ('%', Some(letter)) => match (pattern(letter), own(letter)) {
                (Some(pattern), _) => open.push_str(pattern),
                (None, Some(own)) => {
                    told(&mut open, &mut parts);
                    parts.push(tree::fill(own, std::slice::from_ref(instant)));
                }
                (None, None) => return Err(refuse(format, format!("`%{letter}` is a format that PostgreSQL cannot be told"), help)),
            },
            ('%', None) => return Err(refuse(format, "the format ends in `%`".to_owned(), "write `%%` for the character")),
            ('"' | '\\', _) => open.extend(['\\', letter]),
            _ => open.extend(['"', letter, '"']),
        }
    }
    told(&mut open, &mut parts);
    Ok(tree::chain(&sqlparser::ast::BinaryOperator::StringConcat, parts).unwrap_or_else(|| tree::text("")))
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::PostgreSqlDialect;

    use super::super::{Named, PostgresRules, Table, prepare};
    use super::*;

    fn written(sql: &str) -> Result<String, String> {
        let named = |name: &str, ty: Type| Named { name: name.to_owned(), ty: Some(ty) };
        let columns = vec![
            named("n", Type::Int),
            named("day", Type::Date),
            named("at", Type::Timestamp),
            named("note", Type::Text),
            named("rate", Type::Float),
        ];
        let table = Table { name: vec!["t".to_owned()], columns };
        let mut rules = PostgresRules::new(Some(1_705_314_030_500_000));
        prepare(sql, &PostgreSqlDialect {}, &|_| Some(table.clone()), &mut rules)
            .map(|prepared| prepared.text)
            .map_err(|wrong| wrong.message)
    }

    #[track_caller]
    fn check(expr: &str, expected: &str) {
        assert_eq!(written(&format!("SELECT {expr} AS x FROM t")), Ok(format!("SELECT {expected} AS x FROM t")));
    }

    #[track_caller]
    fn stays(expr: &str) {
        check(expr, expr);
    }

    #[test]
    fn what_postgres_takes_stays() {
        for expr in [
            "date(note)",
            "DATE '2024-01-31'",
            "NOW()",
            "CURRENT_DATE - 60",
            "day - INTERVAL '1 month'",
            "TRIM(note)",
            "day >= '2024-01-31'",
        ] {
            stays(expr);
        }
    }

    #[test]
    fn now_is_the_batchs_time() {
        let at = "CAST('2024-01-15 10:20:30.500' AS TIMESTAMP)";
        check("DATE('now')", &format!("CAST({at} AS DATE)"));
        check("DATE()", &format!("CAST({at} AS DATE)"));
        check("DATETIME('now', '-1 hour')", &format!("TO_CHAR(({at} + CAST('-1 hour' AS INTERVAL)), 'YYYY-MM-DD HH24:MI:SS')"));
        assert_eq!(
            written("SELECT DATE('now', 'start of day') FROM t"),
            Ok(format!("SELECT CAST(DATE_TRUNC('day', {at}) AS DATE) AS \"date\" FROM t"))
        );
    }

    #[test]
    fn days_that_a_month_has_not_are_of_the_next_one() {
        let at = "CAST(day AS TIMESTAMP)";
        let month = "CAST('1 month 0.000 seconds' AS INTERVAL)";
        check("DATE(day, '1 month')", &format!("CAST((DATE_TRUNC('month', {at}) + {month} + ({at} - DATE_TRUNC('month', {at}))) AS DATE)"));
        check("DATE(day, 'Start of Month', '1 month')", &format!("CAST((DATE_TRUNC('month', {at}) + {month}) AS DATE)"));
    }

    #[test]
    fn a_number_may_come_from_a_column() {
        check("DATE(at, '-' || n || ' days')", "CAST(((at AT TIME ZONE 'UTC') + (n * CAST('-1 day' AS INTERVAL))) AS DATE)");
    }

    #[test]
    fn formats_are_translated() {
        let at = "CAST(day AS TIMESTAMP)";
        check("STRFTIME('%Y-%m', day)", &format!("TO_CHAR({at}, 'YYYY\"-\"MM')"));
        check("STRFTIME('%Y%w', day)", &format!("(TO_CHAR({at}, 'YYYY') || CAST(CAST(EXTRACT(DOW FROM {at}) AS INTEGER) AS TEXT))"));
    }

    #[test]
    fn texts_and_dates_are_compared_as_texts() {
        check(
            "note >= DATE('now', 'start of year')",
            "note >= TO_CHAR(CAST(DATE_TRUNC('year', CAST('2024-01-15 10:20:30.500' AS TIMESTAMP)) AS DATE), 'YYYY-MM-DD')",
        );
        check("TRIM(day)", "TRIM(TO_CHAR(day, 'YYYY-MM-DD'))");
        check("UPPER(n)", "UPPER(CAST(n AS TEXT))");
        check("SUBSTR(day, 1, 4) = '2024'", "SUBSTR(TO_CHAR(day, 'YYYY-MM-DD'), 1, 4) = '2024'");
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for (expr, said) in [
            ("DATE('now', 'localtime')", "`'localtime'` is no modifier"),
            ("DATE(day, '+1 days ago')", "`'+1 days ago'` is no modifier"),
            ("DATE(day, note)", "`note` is no modifier"),
            ("STRFTIME('%J', day)", "`%J` is a format"),
            ("STRFTIME(note, day)", "`note` is no text that stands here"),
            ("DATETIME(note, 'unixepoch')", "`note` is no number"),
            (&format!("DATE(day{})", ", '1 month'".repeat(5)), "too many"),
        ] {
            let message = written(&format!("SELECT {expr} FROM t")).unwrap_err();
            assert!(message.contains(said), "{expr}: {message}");
        }
    }
}
