//! Types, columns and schemas of datasets.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

/// What a column holds. Every engine stores each of them without loss or refuses the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// UTF-8, compared byte by byte.
    Text,
    /// 64 bits, signed.
    Int,
    /// IEEE 754 double; NaN equals NaN, −0.0 is 0.0.
    Float,
    /// `precision` digits (1–38), `scale` of them behind the point.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bool,
    Date,
    /// An instant, in UTC, to the microsecond.
    Timestamp,
}

impl Type {
    pub fn is_numeric(self) -> bool {
        matches!(self, Type::Int | Type::Float | Type::Decimal { .. })
    }

    /// Whether values of the type say an order of rows: all but those that are hardly ever exact, and yes or no.
    pub fn is_sequence(self) -> bool {
        matches!(self, Type::Int | Type::Decimal { .. } | Type::Date | Type::Timestamp | Type::Text)
    }

    /// Whether a plainly written literal, as a flow file has it, is a value of the type.
    pub fn has_literal(self, text: &str) -> bool {
        let is_date = |text: &str| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
        match self {
            Type::Text => true,
            Type::Int => text.parse::<i64>().is_ok(),
            Type::Float => text.parse::<f64>().is_ok_and(f64::is_finite),
            Type::Decimal { precision, scale } => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
                let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
                let plain = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
                plain && !fraction.contains('.') && fraction.len() <= usize::from(scale) && whole.len() <= usize::from(precision - scale)
            }
            Type::Bool => matches!(text, "true" | "false"),
            Type::Date => is_date(text),
            Type::Timestamp => {
                is_date(text)
                    || chrono::DateTime::parse_from_rfc3339(text).is_ok()
                    || chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").is_ok()
            }
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Text => f.write_str("string"),
            Type::Int => f.write_str("integer"),
            Type::Float => f.write_str("float"),
            Type::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Type::Bool => f.write_str("boolean"),
            Type::Date => f.write_str("date"),
            Type::Timestamp => f.write_str("timestamp"),
        }
    }
}

/// The text does not name a type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TypeError {
    #[error("`{0}` is not a type")]
    Unknown(String),
    #[error("`{0}`: a decimal has 1 to 38 digits, and no more of them behind the point than in all")]
    Decimal(String),
}

/// The types as a flow author writes them.
pub const TYPE_NAMES: [&str; 7] = ["string", "integer", "float", "decimal(p,s)", "boolean", "date", "timestamp"];

impl FromStr for Type {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, TypeError> {
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "string" => return Ok(Type::Text),
            "integer" => return Ok(Type::Int),
            "float" => return Ok(Type::Float),
            "boolean" => return Ok(Type::Bool),
            "date" => return Ok(Type::Date),
            "timestamp" => return Ok(Type::Timestamp),
            _ => {}
        }
        let arguments = lower
            .strip_prefix("decimal")
            .and_then(|rest| rest.trim().strip_prefix('(')?.strip_suffix(')'))
            .ok_or_else(|| TypeError::Unknown(text.to_owned()))?;
        let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
        match (precision.trim().parse(), scale.trim().parse()) {
            (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => Ok(Type::Decimal { precision, scale }),
            _ => Err(TypeError::Decimal(text.to_owned())),
        }
    }
}

/// The type that other systems' word for one means, as a flow author writes it here.
pub fn meant(text: &str) -> Option<String> {
    let lower = text.trim().to_lowercase();
    let (word, digits) = lower.split_once('(').map_or((lower.as_str(), None), |(word, rest)| (word, rest.strip_suffix(')')));
    let ty = match word.trim() {
        "varchar" | "char" | "text" | "str" | "nvarchar" | "varchar2" | "character varying" | "utf8" | "uuid" | "object" | "json" => {
            "string"
        }
        "int" | "int2" | "int4" | "int8" | "int16" | "int32" | "int64" | "bigint" | "smallint" | "tinyint" | "long" => "integer",
        "double" | "double precision" | "real" | "float4" | "float8" | "float32" | "float64" | "binary_double" => "float",
        "decimal" | "numeric" | "number" | "dec" | "money" | "bignumeric" => {
            let meant = digits.map_or("decimal(18,2)".to_owned(), |digits| format!("decimal({digits})"));
            return meant.parse::<Type>().is_ok().then_some(meant);
        }
        "bool" | "bit" | "logical" => "boolean",
        "timestamptz" | "timestamp_tz" | "timestamp_ntz" | "datetime" | "datetime2" | "datetime64" | "timestamp with time zone" => {
            "timestamp"
        }
        _ => return None,
    };
    Some(ty.to_owned())
}

/// Whether two names are one, as names that differ in case alone are.
pub fn same_name(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() { a.eq_ignore_ascii_case(b) } else { a.to_lowercase() == b.to_lowercase() }
}

/// A named, typed column. Whether NULL may stand in it is the input's business, not the table's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub ty: Type,
}

impl Column {
    pub fn new(name: &str, ty: Type) -> Self {
        Self { name: name.to_owned(), ty }
    }
}

/// A dataset's columns, in the order they are written. Names are unique, whatever their case. Clones share the columns.
#[derive(Debug, Clone, Default)]
pub struct Schema(Arc<Columns>);

#[derive(Debug, Default)]
struct Columns {
    all: Vec<Column>,
    /// Where each name stands in `all`.
    places: HashMap<String, usize>,
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.all == other.0.all
    }
}

impl Eq for Schema {}

impl Schema {
    /// The columns, or the first name that stands twice.
    pub fn new(columns: Vec<Column>) -> Result<Self, String> {
        let mut seen = HashSet::with_capacity(columns.len());
        if let Some(twice) = columns.iter().find(|column| !seen.insert(column.name.to_ascii_lowercase())) {
            return Err(twice.name.clone());
        }
        let places = columns.iter().enumerate().map(|(place, column)| (column.name.clone(), place)).collect();
        Ok(Self(Arc::new(Columns { all: columns, places })))
    }

    pub fn columns(&self) -> &[Column] {
        &self.0.all
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns().iter().map(|column| column.name.as_str())
    }

    /// Where the column stands, from 0.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.0.places.get(name).copied()
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.place(name).map(|place| &self.columns()[place])
    }

    pub fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, column) in self.columns().iter().enumerate() {
            write!(f, "{}{} {}", if index == 0 { "" } else { ", " }, column.name, column.ty)?;
        }
        Ok(())
    }
}

/// Why a name cannot be an input column's, if it cannot.
pub fn refuse_column_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("a column name is not empty")
    } else if name.len() > 63 {
        Some("a column name has at most 63 bytes")
    } else if name.chars().any(char::is_control) {
        Some("a column name has no control characters")
    } else if name.contains(',') {
        Some("a column name has no comma (lists of columns are joined by commas)")
    } else if name.to_ascii_lowercase().starts_with("xt_") {
        Some("names that begin with `xt_` are reserved for qetl's own columns")
    } else {
        None
    }
}

/// Names a dataset, flow or namespace may have: `[A-Za-z][A-Za-z0-9_]*`, at most 63 bytes.
pub fn is_identifier(name: &str) -> bool {
    name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_what_they_print() {
        let decimal = Type::Decimal { precision: 18, scale: 2 };
        for ty in [Type::Text, Type::Int, Type::Float, decimal, Type::Bool, Type::Date, Type::Timestamp] {
            assert_eq!(ty.to_string().parse(), Ok(ty));
        }
        assert_eq!("Decimal( 10 )".parse(), Ok(Type::Decimal { precision: 10, scale: 0 }));
        assert_eq!("decimal(39,2)".parse::<Type>(), Err(TypeError::Decimal("decimal(39,2)".into())));
        assert_eq!("decimal(2,3)".parse::<Type>(), Err(TypeError::Decimal("decimal(2,3)".into())));
        assert_eq!("varchar".parse::<Type>(), Err(TypeError::Unknown("varchar".into())));
    }

    #[test]
    fn words_of_other_systems_are_understood() {
        for (text, meaning) in [
            ("varchar(20)", "string"),
            ("INT", "integer"),
            ("numeric(10,2)", "decimal(10,2)"),
            ("decimal", "decimal(18,2)"),
            ("timestamptz", "timestamp"),
        ] {
            assert_eq!(meant(text).as_deref(), Some(meaning), "{text}");
            assert!(meaning.parse::<Type>().is_ok());
        }
        assert_eq!([meant("colour"), meant("numeric(0,2)")], [None, None]);
    }

    #[test]
    fn literals_are_of_a_type() {
        let decimal = Type::Decimal { precision: 4, scale: 2 };
        for (ty, good, bad) in [
            (decimal, vec!["12.34", "-1", "0012.300"], vec!["123", "0.001", "1e2", "inf", "", "1.2.3"]),
            (Type::Date, vec!["2024-02-29"], vec!["2023-02-29", "x"]),
            (Type::Timestamp, vec!["2024-01-01", "2024-01-01T10:00:00", "2024-01-01T10:00:00+01:00"], vec!["x", "2024"]),
            (Type::Int, vec!["-7"], vec!["1.0", "x"]),
        ] {
            good.iter().for_each(|text| assert!(ty.has_literal(text), "{ty} {text}"));
            bad.iter().for_each(|text| assert!(!ty.has_literal(text), "{ty} {text}"));
        }
    }

    #[test]
    fn names_are_unique_whatever_their_case() {
        let twice = vec![Column::new("a", Type::Int), Column::new("A", Type::Int)];
        assert_eq!(Schema::new(twice), Err("A".to_owned()));
    }
}
