//! Why a value does not fit its column, and how that is said.

use qetl_core::Type;

use crate::{
    problem::{DataProblem, ProblemKind, shown},
    spec::ReadColumn,
};

/// Why a value does not fit its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// NULL where none may stand.
    Null,
    /// Empty text, where only text may be empty.
    Empty,
    /// Not written as the type's values are.
    NotA,
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
    /// An inferred column would have to be of this type.
    Widen(Type),
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
    pub(crate) fn problem(self, file: &str, index: usize, column: &ReadColumn, value: &str) -> DataProblem {
        let ty = column.ty.unwrap_or(Type::Text);
        let value = shown(value);
        let message = match self {
            Unfit::Null => "NULL, and the column is required".to_owned(),
            Unfit::Empty => format!("an empty text is not {}", a(ty)),
            Unfit::NotA => format!("`{value}` is not {}", a(ty)),
            Unfit::Decimals => format!("`{value}` has too many digits behind the point for a {ty}"),
            Unfit::Digits => format!("`{value}` has too many digits for {}", a(ty)),
            Unfit::Range => format!("`{value}` is outside the range of {}", a(ty)),
            Unfit::Finer => format!("`{value}` is finer than a microsecond"),
            Unfit::TimeOfDay => format!("`{value}` has a time of day, which a date has not"),
            Unfit::Nested => format!("`{value}` is a nested value, not {}", a(ty)),
            Unfit::Widen(to) => format!("`{value}` is not {}, as the column was inferred; {} holds it", a(ty), a(to)),
        };
        let (kind, code) = match self {
            Unfit::Widen(to) => (ProblemKind::Widen { column: index, to }, "qetl::ingest::widen"),
            Unfit::Null => (ProblemKind::Refused, "qetl::ingest::null"),
            Unfit::Empty | Unfit::NotA | Unfit::Decimals | Unfit::Digits | Unfit::Range => (ProblemKind::Refused, "qetl::ingest::value"),
            Unfit::Finer | Unfit::TimeOfDay | Unfit::Nested => (ProblemKind::Refused, "qetl::ingest::value"),
        };
        let mut problem = DataProblem::new(code, file, message).of_column(&column.name).help(self.help(ty, &value));
        problem.kind = kind;
        problem.place.value = (self != Unfit::Null).then_some(value);
        problem
    }

    fn help(self, ty: Type, value: &str) -> String {
        match self {
            Unfit::Null => "mend the file, or take the column out of `primary_key` or its `required`".to_owned(),
            Unfit::Empty => "mend the file: an empty field without quotes is NULL, one with quotes is text".to_owned(),
            Unfit::NotA => not_a(ty, value),
            Unfit::Decimals => "mend the file, or declare a `schema_type` with a larger scale".to_owned(),
            Unfit::Digits | Unfit::Range if ty == Type::Int => "mend the file, or declare `schema_type = \"decimal(38,0)\"`".to_owned(),
            Unfit::Digits | Unfit::Range => "mend the file, or declare a `schema_type` that holds the value".to_owned(),
            Unfit::Finer => "mend the file, or declare `schema_type = \"string\"`: timestamps are exact to the microsecond".to_owned(),
            Unfit::TimeOfDay => "declare `schema_type = \"timestamp\"`".to_owned(),
            Unfit::Nested => "declare `schema_type = \"string\"` to get its JSON text".to_owned(),
            Unfit::Widen(to) => format!("declare `schema_type = \"{to}\"`"),
        }
    }
}

fn not_a(ty: Type, value: &str) -> String {
    let lower = value.trim().to_lowercase();
    if matches!(lower.as_str(), "" | "null" | "none" | "na" | "n/a" | "nil" | "-" | "\\n" | "#n/a") {
        return format!("if it means NULL, say so with `null_values = [\"{}\"]`", value.replace('\\', "\\\\"));
    }
    let written = match ty {
        Type::Int => "integers are written `-12`",
        Type::Float | Type::Decimal { .. } if value.contains(',') => {
            "numbers have a decimal point and no thousands separators; `decimal_separator = \",\"` reads commas"
        }
        Type::Float | Type::Decimal { .. } => "numbers are written `-12.5`",
        Type::Bool => "booleans are written `true`, `false`, `t`, `f`, `1` or `0`",
        Type::Date => "dates are written `2024-01-31`; `date_format` names another form",
        Type::Timestamp => "timestamps are written `2024-01-31T10:00:00Z`; `timestamp_format` names another form",
        Type::Text => "",
    };
    format!("{written}; mend the file, or declare another `schema_type`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_and_the_way_out() {
        let column = |ty| ReadColumn { name: "amount".into(), ty: Some(ty), required: false, inferred: false, gone: false };
        let decimal = Type::Decimal { precision: 18, scale: 2 };
        let problem = Unfit::NotA.problem("o.csv", 0, &column(decimal), "12,5x").at(17, 9);
        assert_eq!(problem.to_string(), "o.csv:17:9: column `amount`: `12,5x` is not a decimal(18,2)");
        assert!(problem.help.contains("decimal_separator"), "{}", problem.help);
        let problem = Unfit::NotA.problem("o.csv", 0, &column(Type::Int), "N/A");
        assert_eq!(problem.to_string(), "o.csv: column `amount`: `N/A` is not an integer");
        assert!(problem.help.contains("null_values = [\"N/A\"]"), "{}", problem.help);
        assert_eq!(Unfit::Widen(decimal).problem("o", 3, &column(Type::Int), "1.5").kind, ProblemKind::Widen { column: 3, to: decimal });
    }
}
