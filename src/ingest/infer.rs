//! The types of columns that declare none, from all rows of all files.

use qetl_core::{Type, format::Format};

use crate::{
    avro, constants,
    guess::{Guess, Guesses},
    ipc, parquet,
    problem::{DataProblem, shown},
    rows::TextRows,
    spec::{ReadColumn, ReadSpec, SourceFile},
    value::{Rules, unfit::a},
};

/// What a column's values say of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inferred {
    pub ty: Type,
    /// The most digits that any value has behind its point, as written; decimal(38, `decimals`) holds every value.
    /// `None` when no decimal does: NaN or ±∞ is among the values, or there are too many digits, or they are no numbers,
    /// or they are binary floats of a file that brings its types. Such a file's integers and decimals have what their type
    /// says.
    pub decimals: Option<u8>,
    /// Some value, or a file that brings types, says what the type is.
    pub seen: bool,
    /// A value of a column of text whose values would all be numbers, if their separators were others.
    pub foreign_number: Option<String>,
}

impl Inferred {
    /// What a source that brings the type says.
    pub fn of(ty: Type) -> Self {
        let decimals = match ty {
            Type::Int => Some(0),
            Type::Decimal { scale, .. } => Some(scale),
            Type::Text | Type::Float | Type::Bool | Type::Date | Type::Timestamp => None,
        };
        Self { ty, decimals, seen: true, foreign_number: None }
    }
}

/// A column's type in the files that bring types, and the file that brought it.
type Brought<'a> = Option<(Type, &'a str)>;

/// One type per column of the spec: its own, or where it has none, the inferred one.
///
/// Text files are read from the first row to the last, rows that cannot be read aside; Parquet, Arrow and Avro files bring
/// their types. A column with nothing but NULL is text, as long as nothing was seen.
pub fn infer(files: &[SourceFile], spec: &ReadSpec) -> Result<Vec<Inferred>, DataProblem> {
    let (own, given) = (spec.in_file(), spec.of_folders());
    let (mut found, mut of_folders) = (infer_own(files, &own)?.into_iter(), infer_given(files, &given)?.into_iter());
    let one = |column: &ReadColumn| {
        let next = match (column.gone, spec.is_of_folders(column)) {
            (true, _) => None,
            (false, true) => of_folders.next(),
            (false, false) => found.next(),
        };
        next.unwrap_or_else(|| Inferred::of(column.ty.unwrap_or(Type::Text)))
    };
    Ok(spec.columns.iter().map(one).collect())
}

fn infer_given(files: &[SourceFile], spec: &ReadSpec) -> Result<Vec<Inferred>, DataProblem> {
    let mut guesses = Guesses::new(spec, Rules::new(&spec.options));
    for file in files.iter().filter(|_| !spec.columns.is_empty()) {
        constants::put(file, spec, &mut guesses)?;
    }
    spec.columns.iter().zip(&guesses.columns).map(|(column, guess)| one(column.ty, guess.as_ref(), None, &column.name)).collect()
}

fn infer_own(files: &[SourceFile], spec: &ReadSpec) -> Result<Vec<Inferred>, DataProblem> {
    let mut guesses = Guesses::new(spec, Rules::new(&spec.options));
    let mut brought: Vec<Brought<'_>> = vec![None; spec.columns.len()];
    let open = guesses.columns.iter().any(Option::is_some);
    for file in files.iter().filter(|_| open) {
        let types = match file.format {
            Format::Csv | Format::Json | Format::Jsonl => {
                let mut rows = TextRows::open(file, spec)?;
                while rows.next_row(&mut guesses)?.is_some() && !guesses.settled() {}
                continue;
            }
            Format::Parquet => parquet::types(file, spec)?,
            Format::Arrow => ipc::types(file, spec)?,
            Format::Avro => avro::types(file, spec)?,
        };
        for (column, ty) in types.into_iter().enumerate() {
            if let (Some(ty), None) = (ty, spec.columns[column].ty) {
                brought[column] = Some(both(brought[column], ty, file, &spec.columns[column].name)?);
            }
        }
    }
    let columns = spec.columns.iter().zip(&guesses.columns).zip(brought);
    columns.map(|((column, guess), brought)| one(column.ty, guess.as_ref(), brought, &column.name)).collect()
}

fn one(declared: Option<Type>, guess: Option<&Guess>, brought: Brought<'_>, column: &str) -> Result<Inferred, DataProblem> {
    let Some(guess) = guess else {
        return Ok(Inferred::of(declared.unwrap_or(Type::Text)));
    };
    match brought {
        None => {
            Ok(Inferred { ty: guess.ty(), decimals: guess.decimals(), seen: guess.seen, foreign_number: guess.foreign_number().map(shown) })
        }
        Some((ty, _)) if !guess.seen => Ok(Inferred::of(ty)),
        // Text files and files with types side by side.
        Some((ty, file)) => match common(guess.least(), ty) {
            Some(common) => {
                let decimals = guess.decimals().zip(Inferred::of(common).decimals).map(|(a, b)| a.max(b));
                Ok(Inferred { decimals, ..Inferred::of(common) })
            }
            None => Err(unlike(file, column, ty, guess.ty())),
        },
    }
}

fn both<'a>(before: Brought<'a>, ty: Type, file: &'a SourceFile, column: &str) -> Result<(Type, &'a str), DataProblem> {
    let Some((other, first)) = before else { return Ok((ty, &file.name)) };
    common(other, ty).map(|common| (common, first)).ok_or_else(|| unlike(&file.name, column, ty, other))
}

fn unlike(file: &str, column: &str, ty: Type, other: Type) -> DataProblem {
    let message = format!("is {} in this file and {} in another", a(ty), a(other));
    DataProblem::new("qetl::ingest::type", file, message).of_column(column).help(format!("declare a `schema_type` for `{}`", shown(column)))
}

/// The type that holds all values of both without loss.
fn common(one: Type, other: Type) -> Option<Type> {
    let shape = |ty| match ty {
        Type::Int => Some((19, 0)),
        Type::Decimal { precision, scale } => Some((precision - scale, scale)),
        Type::Text | Type::Float | Type::Bool | Type::Date | Type::Timestamp => None,
    };
    if one == other {
        return Some(one);
    }
    if let (Type::Date, Type::Timestamp) | (Type::Timestamp, Type::Date) = (one, other) {
        return Some(Type::Timestamp);
    }
    let ((one_whole, one_scale), (other_whole, other_scale)) = (shape(one)?, shape(other)?);
    let scale = one_scale.max(other_scale);
    let precision = one_whole.max(other_whole) + scale;
    (precision <= 38).then_some(Type::Decimal { precision, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECIMAL: Type = Type::Decimal { precision: 38, scale: 1 };

    fn check(files: &[(&str, &str)], expected: Result<&[Type], &str>) {
        let dir = tempfile::tempdir().unwrap();
        let sources = files.iter().map(|(name, text)| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            SourceFile { path, name: (*name).to_owned(), format: Format::of_file(name).unwrap() }
        });
        let inferred = infer(&sources.collect::<Vec<_>>(), &crate::testing::spec("a; b string!; c"));
        let types = inferred.map(|all| all.into_iter().map(|column| column.ty).collect::<Vec<_>>()).map_err(|problem| problem.to_string());
        assert_eq!(types, expected.map(<[Type]>::to_vec).map_err(str::to_owned), "{files:?}");
    }

    #[test]
    fn from_all_rows_of_all_files() {
        let first = ("1.csv", "a,b,c\n1,1,2024-01-01\n");
        check(&[first], Ok(&[Type::Int, Type::Text, Type::Date]));
        check(&[first, ("2.csv", "c,b,a\n,1,\n2024-01-01T10:00,1,2.5\n")], Ok(&[DECIMAL, Type::Text, Type::Timestamp]));
        check(&[first, ("2.jsonl", "{\"a\":2,\"b\":{},\"c\":\"2024-01-02\"}")], Ok(&[Type::Int, Type::Text, Type::Date]));
        check(&[first, ("2.jsonl", "{\"a\":\"2\",\"b\":{},\"c\":true}")], Ok(&[Type::Text, Type::Text, Type::Text]));
        check(&[("1.csv", "a,b,c\n")], Ok(&[Type::Text, Type::Text, Type::Text]));
        check(&[first, ("2.csv", "a,b,d\n1,2,3\n")], Err("2.csv:1: the file has no column `c`"));
        // Rows that do not fit are told of when they are landed.
        check(&[first, ("2.csv", "a,b,c\nx,2\n2.5,1,\n")], Ok(&[DECIMAL, Type::Text, Type::Date]));
        check(&[first, ("2.jsonl", "{\"a\":\n{\"a\":2,\"b\":1,\"c\":null}\n")], Ok(&[Type::Int, Type::Text, Type::Date]));
    }

    #[test]
    fn quoted_numbers_are_numbers_and_quoted_nothing_is_null() {
        check(&[("1.csv", "a,b,c\n\"1\",1,\"true\"\n")], Ok(&[Type::Int, Type::Text, Type::Bool]));
        check(&[("1.csv", "a,b,c\n1,1,1\n\"\",1,1")], Ok(&[Type::Int, Type::Text, Type::Int]));
    }

    #[test]
    fn common_types() {
        let decimal = |precision, scale| Type::Decimal { precision, scale };
        assert_eq!(common(Type::Int, decimal(10, 2)), Some(decimal(21, 2)));
        assert_eq!(common(decimal(38, 0), decimal(38, 2)), None);
        assert_eq!(common(Type::Date, Type::Timestamp), Some(Type::Timestamp));
        assert_eq!(common(Type::Int, Type::Float), None);
    }
}
