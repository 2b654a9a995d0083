//! Functions of time in the SQL of authors: SQLite's, worked out by SQLite itself, and what `now` is.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the many types, few are of time")]

use std::{
    fmt,
    hash::Hash,
    sync::{Arc, Mutex},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, StringViewArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType},
    util::display::{ArrayFormatter, FormatOptions},
};
use chrono::{DateTime, NaiveDate};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
    prelude::SessionContext,
    scalar::ScalarValue,
};
use rusqlite::{Connection, params_from_iter, types::Value};

use crate::staging::{external, lock};

const INSTANT: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Lets a session's SQL say `now` for that instant, in microseconds since 1970.
pub(crate) fn register(session: &SessionContext, now: i64) -> Result<()> {
    let library = Arc::new(Library(Mutex::new(Connection::open_in_memory().map_err(failed)?)));
    for what in [What::Date, What::Time, What::Datetime, What::Format, What::JulianDay, What::UnixEpoch] {
        let signature = Signature::variadic_any(Volatility::Immutable);
        session.register_udf(ScalarUDF::new_from_impl(Calendar { what, now, signature, library: library.clone() }));
    }
    for (name, aliases, ty) in [
        ("now", &["current_timestamp"][..], DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("current_date", &["today"], DataType::Date32),
        ("current_time", &[], DataType::Time64(TimeUnit::Nanosecond)),
    ] {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        session.register_udf(ScalarUDF::new_from_impl(Now {
            name,
            aliases,
            now,
            ty,
            signature: Signature::nullary(Volatility::Immutable),
        }));
    }
    Ok(())
}

fn failed(error: rusqlite::Error) -> DataFusionError {
    external(crate::error::catalog(error))
}

/// `now()` and what it is called otherwise.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Now {
    name: &'static str,
    aliases: Vec<String>,
    now: i64,
    ty: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.ty.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        const DAY: i64 = 86_400_000_000;
        Ok(ColumnarValue::Scalar(match self.name {
            "current_date" => ScalarValue::Date32(i32::try_from(self.now.div_euclid(DAY)).ok()),
            "current_time" => ScalarValue::Time64Nanosecond(Some(self.now.rem_euclid(DAY) * 1000)),
            _ => ScalarValue::TimestampMicrosecond(Some(self.now), Some("UTC".into())),
        }))
    }
}

/// A function of SQLite's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Date,
    Time,
    Datetime,
    Format,
    JulianDay,
    UnixEpoch,
}

/// SQLite, which knows calendars.
struct Library(Mutex<Connection>);

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SQLite")
    }
}

#[derive(Debug)]
struct Calendar {
    what: What,
    now: i64,
    signature: Signature,
    library: Arc<Library>,
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        (self.what, self.now) == (other.what, other.now)
    }
}

impl Eq for Calendar {}

impl Hash for Calendar {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.what, self.now).hash(state);
    }
}

impl Calendar {
    /// Which argument is the first that may be `now`.
    fn first(&self) -> usize {
        usize::from(self.what == What::Format)
    }

    /// The arguments' texts, as SQLite would have them; `now` is said.
    fn texts(&self, arguments: &[ArrayRef]) -> Result<Vec<StringViewArray>> {
        let options = FormatOptions::new()
            .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"))
            .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.6f"));
        let text = |array: &ArrayRef| -> Result<StringViewArray> {
            let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
            Ok((0..array.len()).map(|row| (!array.is_null(row)).then(|| formatter.value(row).to_string())).collect())
        };
        arguments.iter().map(text).collect()
    }
}

impl ScalarUDFImpl for Calendar {
    fn name(&self) -> &str {
        match self.what {
            What::Date => "date",
            What::Time => "time",
            What::Datetime => "datetime",
            What::Format => "strftime",
            What::JulianDay => "julianday",
            What::UnixEpoch => "unixepoch",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.what {
            What::Date => DataType::Date32,
            What::Time | What::Datetime | What::Format => DataType::Utf8View,
            What::JulianDay => DataType::Float64,
            What::UnixEpoch => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut arguments = ColumnarValue::values_to_arrays(&args.args)?;
        let rows = arguments.first().map_or(1, |first| first.len());
        if let ([only], What::Date) = (arguments.as_slice(), self.what)
            && let Some(dates) = dates(only)?
        {
            return Ok(ColumnarValue::Array(dates));
        }
        let now = DateTime::from_timestamp_micros(self.now).unwrap_or_default().format("%Y-%m-%d %H:%M:%S%.3f").to_string();
        if arguments.len() == self.first() {
            arguments.push(Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(&now, rows))));
        }
        let numbers: Vec<bool> = arguments.iter().map(|array| array.data_type().is_numeric()).collect();
        let texts = self.texts(&arguments)?;
        let places: Vec<String> = (1..=texts.len()).map(|place| format!("?{place}")).collect();
        let connection = lock(&self.library.0);
        let mut statement = connection.prepare_cached(&format!("SELECT {}({})", self.name(), places.join(", "))).map_err(failed)?;
        let mut results = Vec::with_capacity(rows);
        for row in 0..rows {
            let value = |(place, texts): (usize, &StringViewArray)| {
                if texts.is_null(row) {
                    return Value::Null;
                }
                let text = texts.value(row);
                match text.parse() {
                    Ok(number) if numbers[place] => Value::Real(number),
                    _ if place == self.first() && text.eq_ignore_ascii_case("now") => Value::Text(now.clone()),
                    _ => Value::Text(text.to_owned()),
                }
            };
            let values: Vec<Value> = texts.iter().enumerate().map(value).collect();
            results.push(statement.query_row(params_from_iter(values), |row| row.get::<_, Value>(0)).map_err(failed)?);
        }
        let result = self.array(results);
        let scalar = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        Ok(match scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    }
}

impl Calendar {
    fn array(&self, results: Vec<Value>) -> ArrayRef {
        let text = |value: Value| match value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Integer(_) | Value::Real(_) | Value::Blob(_) => None,
        };
        let number = |value: Value| match value {
            Value::Real(value) => Some(value),
            Value::Integer(value) => Some(value as f64),
            Value::Null | Value::Text(_) | Value::Blob(_) => None,
        };
        let integer = |value: Value| match value {
            Value::Integer(value) => Some(value),
            Value::Null | Value::Real(_) | Value::Text(_) | Value::Blob(_) => None,
        };
        let day = |value: Value| text(value)?.parse::<NaiveDate>().ok().map(Date32Type::from_naive_date);
        match self.what {
            What::Date => Arc::new(results.into_iter().map(day).collect::<Date32Array>()),
            What::Time | What::Datetime | What::Format => Arc::new(results.into_iter().map(text).collect::<StringViewArray>()),
            What::JulianDay => Arc::new(results.into_iter().map(number).collect::<arrow::array::Float64Array>()),
            What::UnixEpoch => Arc::new(results.into_iter().map(integer).collect::<arrow::array::Int64Array>()),
        }
    }
}

/// The dates of dates and instants, for which nobody has to be asked.
fn dates(values: &ArrayRef) -> Result<Option<ArrayRef>> {
    let instants = match values.data_type() {
        DataType::Date32 => return Ok(Some(values.clone())),
        DataType::Timestamp(TimeUnit::Microsecond, _) => values.clone(),
        DataType::Timestamp(..) => cast_with_options(values, &INSTANT, &CastOptions { safe: false, ..CastOptions::default() })?,
        DataType::Null => return Ok(Some(arrow::array::new_null_array(&DataType::Date32, values.len()))),
        _ => return Ok(None),
    };
    let Some(instants) = instants.as_primitive_opt::<TimestampMicrosecondType>() else { return Ok(None) };
    let day = |micros: i64| i32::try_from(micros.div_euclid(86_400_000_000)).ok();
    Ok(Some(Arc::new(instants.iter().map(|micros| micros.and_then(day)).collect::<Date32Array>())))
}
