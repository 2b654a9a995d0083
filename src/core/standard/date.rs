//! A run's execution date in templates: `ds`, `ts` and so on, and `execution_date` itself. All of it is UTC.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use chrono::{
    DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Timelike,
    format::{Item, StrftimeItems},
};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Enumerator, Object, ObjectRepr},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct ExecutionDate {
    at: NaiveDateTime,
    yesterday: NaiveDate,
    tomorrow: NaiveDate,
}

const FIELDS: [&str; 7] = ["year", "month", "day", "hour", "minute", "second", "microsecond"];

impl ExecutionDate {
    /// The instant, in microseconds since 1970; years of four digits alone.
    pub(super) fn new(microseconds: i64) -> Option<Self> {
        let at = DateTime::from_timestamp_micros(microseconds)?.naive_utc();
        let one = Days::new(1);
        let (yesterday, tomorrow) = (at.date().checked_sub_days(one)?, at.date().checked_add_days(one)?);
        (1..=9999).contains(&yesterday.year()).then_some(())?;
        (1..=9999).contains(&tomorrow.year()).then_some(Self { at, yesterday, tomorrow })
    }

    /// The values that templates have by name. Without a schedule, the previous and the next run are a day away.
    pub(super) fn texts(&self) -> [(&'static str, String); 8] {
        let day = |date: NaiveDate| date.format("%Y-%m-%d").to_string();
        [
            ("ds", day(self.at.date())),
            ("ds_nodash", self.at.format("%Y%m%d").to_string()),
            ("ts", self.at.format("%Y-%m-%dT%H:%M:%S").to_string()),
            ("ts_nodash", self.at.format("%Y%m%dT%H%M%S").to_string()),
            ("yesterday_ds", day(self.yesterday)),
            ("tomorrow_ds", day(self.tomorrow)),
            ("prev_ds", day(self.yesterday)),
            ("next_ds", day(self.tomorrow)),
        ]
    }

    /// As Python's `isoformat` of a time without an offset: microseconds only if there are any.
    fn iso(&self) -> String {
        let micros = self.at.and_utc().timestamp_subsec_micros();
        let pattern = if micros == 0 { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S%.6f" };
        self.at.format(pattern).to_string()
    }

    fn strftime(&self, pattern: &str) -> Result<String, Error> {
        let wrong = || Error::new(ErrorKind::InvalidOperation, format!("`{pattern}` is not a `strftime` pattern"));
        let items: Vec<Item<'_>> = StrftimeItems::new(pattern).collect();
        if pattern.len() > 1000 || items.iter().any(|item| matches!(item, Item::Error)) {
            return Err(wrong());
        }
        let mut text = String::new();
        write!(text, "{}", self.at.and_utc().format_with_items(items.iter())).map_err(|_| wrong())?;
        Ok(text)
    }
}

impl fmt::Display for ExecutionDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As Python shows it: as `isoformat`, but for the `T`.
        f.write_str(&self.iso().replace('T', " "))
    }
}

impl Object for ExecutionDate {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let value = match key.as_str()? {
            "year" => return Some(Value::from(self.at.year())),
            "month" => self.at.month(),
            "day" => self.at.day(),
            "hour" => self.at.hour(),
            "minute" => self.at.minute(),
            "second" => self.at.second(),
            "microsecond" => self.at.and_utc().timestamp_subsec_micros(),
            _ => return None,
        };
        Some(Value::from(value))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&FIELDS)
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        match (method, arguments) {
            ("isoformat", []) => Ok(Value::from(self.iso())),
            ("strftime", [pattern]) => match pattern.as_str() {
                Some(pattern) => self.strftime(pattern).map(Value::from),
                None => Err(Error::new(ErrorKind::InvalidOperation, "`strftime(…)` takes a pattern such as \"%Y-%m\"")),
            },
            ("isoformat" | "strftime", _) => {
                Err(Error::new(ErrorKind::InvalidOperation, "`isoformat()` takes nothing, `strftime(…)` a pattern such as \"%Y-%m\""))
            }
            _ => Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("`execution_date` has no `{method}()`: it has {}, `strftime(…)` and `isoformat()`", FIELDS.join(", ")),
            )),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
