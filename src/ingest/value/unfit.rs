//! Why a value does not fit its column, and how that is said.

use qetl_core::Type;

use crate::{
    problem::{DataProblem, shown},
    spec::ReadColumn,
};

/// Why a value does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// NULL where none may stand.
    Null,
    /// Not written as the type's values are.
    NotA,
    /// A year of fewer digits than the pattern's has.
    ShortYear,
    /// What stands between digits does not make groups of three.
    Groups,
    /// As a value of the inferred type it would lose characters.
    Loses,
    /// More digits behind the point than the column has.
    Decimals,
    /// More digits than the column has.
    Digits,
    /// Past the type's greatest or least value.
    Range,
    /// Finer than a microsecond.
    Finer,
    /// A time of day in a date.
    TimeOfDay,
    /// A list or an object where a single value is expected.
    Nested,
    /// NaN or ±∞ in a column that is added up.
    NotFinite,
    /// Bytes that are no text.
    NotText,
}

/// The type with its article.
pub(crate) fn a(ty: Type) -> String {
    match ty {
        Type::Int => format!("an {ty}"),
        Type::Text | Type::Float | Type::Decimal { .. } | Type::Bool | Type::Date | Type::Timestamp => format!("a {ty}"),
    }
}

impl Unfit {
    /// The problem, still without its line or row.
    pub(crate) fn problem(self, file: &str, column: &ReadColumn, value: &str) -> DataProblem {
        let ty = column.ty.unwrap_or(Type::Text);
        let value = shown(value);
        let message = match self {
            Unfit::Null => "NULL, and the column is required".to_owned(),
            Unfit::NotA => format!("`{value}` is not {}", a(ty)),
            Unfit::ShortYear => format!("`{value}` is not {}: its year has too few digits: `%Y` is four digits, `%y` two", a(ty)),
            Unfit::Groups => format!("`{value}` is not {}: its digits do not stand in groups of three", a(ty)),
            Unfit::Loses => format!("`{value}` would lose characters as {}, as the column was inferred", a(ty)),
            Unfit::Decimals => format!("`{value}` has too many digits behind the point for a {ty}"),
            Unfit::Digits => format!("`{value}` has too many digits for {}", a(ty)),
            Unfit::Range => format!("`{value}` is outside the range of {}", a(ty)),
            Unfit::Finer => format!("`{value}` is finer than a microsecond"),
            Unfit::TimeOfDay => format!("`{value}` has a time of day, which a date has not"),
            Unfit::Nested => format!("`{value}` is a nested value, not {}", a(ty)),
            Unfit::NotFinite => format!("`{value}` is no amount: sums of the measure could never balance"),
            Unfit::NotText => format!("its bytes are not UTF-8 text: {value}"),
        };
        let code = match self {
            Unfit::Null => "qetl::ingest::null",
            Unfit::NotA | Unfit::ShortYear | Unfit::Groups | Unfit::Loses | Unfit::Decimals | Unfit::Digits | Unfit::Range => VALUE,
            Unfit::Finer | Unfit::TimeOfDay | Unfit::Nested | Unfit::NotFinite | Unfit::NotText => VALUE,
        };
        let mut problem = DataProblem::new(code, file, message).of_column(&column.name).help(self.help(ty, &value));
        problem.place.value = (self != Unfit::Null).then_some(value);
        problem
    }

    fn help(self, ty: Type, value: &str) -> String {
        match self {
            Unfit::Null => "mend the file, or take out the column's `required`".to_owned(),
            Unfit::NotA => not_a(ty, value),
            Unfit::ShortYear => "mend the file, or write `%y` in the pattern for years of two digits".to_owned(),
            Unfit::Groups => "mend the file, or declare `schema_type = \"string\"`".to_owned(),
            Unfit::Loses => {
                format!("declare `schema_type = \"string\"` to keep it as it is written, or `schema_type = \"{ty}\"` to take its value")
            }
            Unfit::Decimals => "mend the file, or declare a `schema_type` with a larger scale".to_owned(),
            Unfit::Digits | Unfit::Range if ty == Type::Int => "mend the file, or declare `schema_type = \"decimal(38,0)\"`".to_owned(),
            Unfit::Range if ty == Type::Timestamp => {
                "`timestamp_unit` says what numbers since 1970 count: `s`, `ms`, `us` or `ns`".to_owned()
            }
            Unfit::Digits | Unfit::Range => "mend the file, or declare a `schema_type` that holds the value".to_owned(),
            Unfit::Finer => "mend the file, or declare `schema_type = \"string\"`: timestamps are exact to the microsecond".to_owned(),
            Unfit::TimeOfDay => "declare `schema_type = \"timestamp\"`".to_owned(),
            Unfit::Nested => "declare `schema_type = \"string\"` to get its JSON text".to_owned(),
            Unfit::NotFinite => "mend the file: leave the field empty where there is no amount".to_owned(),
            Unfit::NotText => "leave the column out of the flow's `columns`, or write it as another type".to_owned(),
        }
    }
}

const VALUE: &str = "qetl::ingest::value";

fn not_a(ty: Type, value: &str) -> String {
    let lower = value.trim().to_lowercase();
    if matches!(lower.as_str(), "" | "null" | "none" | "na" | "n/a" | "nil" | "-" | "\\n" | "#n/a") {
        return format!("if it means NULL, say so with `null_values = [\"{}\"]`", value.replace('\\', "\\\\"));
    }
    let digits = value.trim_start_matches('-');
    let written = match ty {
        Type::Int if value.contains([',', '\'', ' ']) => "integers are written `-12`; `thousands_separator` reads groups of three".to_owned(),
        Type::Int => "integers are written `-12`".to_owned(),
        Type::Float | Type::Decimal { .. } if value.contains([',', '\'', ' ']) => {
            "numbers are written `-12.5`; `decimal_separator = \",\"` reads a comma as the point, `thousands_separator` reads groups of three"
                .to_owned()
        }
        Type::Float | Type::Decimal { .. } => "numbers are written `-12.5`".to_owned(),
        Type::Bool => "booleans are written `true`, `false`, `t`, `f`, `1` or `0`; `true_values` and `false_values` add others".to_owned(),
        Type::Date => "dates are written `2024-01-31`; `date_format` names another form".to_owned(),
        Type::Timestamp if digits.len() >= 9 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            let unit = match digits.split('.').next().map_or(0, str::len) {
                0..=11 => "s",
                12..=14 => "ms",
                15..=17 => "us",
                _ => "ns",
            };
            format!("`timestamp_unit = \"{unit}\"` reads numbers since 1970, if that is what it is; timestamps are written `2024-01-31T10:00:00Z`")
        }
        Type::Timestamp => "timestamps are written `2024-01-31T10:00:00Z`; `timestamp_format` names another form".to_owned(),
        Type::Text => String::new(),
    };
    format!("{written}; mend the file, or declare another `schema_type`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_and_the_way_out() {
        let column = |ty| ReadColumn::new("amount", Some(ty));
        let decimal = Type::Decimal { precision: 18, scale: 2 };
        let problem = Unfit::NotA.problem("o.csv", &column(decimal), "12,5x").at(17, 9);
        assert_eq!(problem.to_string(), "o.csv:17:9: column `amount`: `12,5x` is not a decimal(18,2)");
        assert!(problem.help.contains("decimal_separator"), "{}", problem.help);
        let problem = Unfit::NotA.problem("o.csv", &column(Type::Int), "N/A");
        assert_eq!(problem.to_string(), "o.csv: column `amount`: `N/A` is not an integer");
        assert!(problem.help.contains("null_values = [\"N/A\"]"), "{}", problem.help);
        for (text, unit) in
            [("1704103200", "\"s\""), ("1704103200123", "\"ms\""), ("1704103200123456", "\"us\""), ("1704103200123456789", "\"ns\"")]
        {
            let problem = Unfit::NotA.problem("o", &column(Type::Timestamp), text);
            assert!(problem.help.contains(unit), "{}", problem.help);
        }
    }
}
