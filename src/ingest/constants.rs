//! Columns that have one value in all rows of a file: what its folders say, and what is not read any more.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, UInt32Array, new_null_array},
    compute::take,
    datatypes::{Schema, SchemaRef},
    record_batch::RecordBatch,
};
use percent_encoding::percent_decode_str;
use qetl_core::Type;

use crate::{
    bad::Rows,
    batch::Batch,
    cells::{Cell, Sink},
    problem::{DataProblem, shown},
    spec::{ReadColumn, ReadSpec, SourceFile, arrow_type},
    value::{Rules, unfit::Unfit},
};

/// What a folder is called whose rows have no value: `dt=__HIVE_DEFAULT_PARTITION__`.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

impl ReadSpec {
    pub(crate) fn is_of_folders(&self, column: &ReadColumn) -> bool {
        self.options.partition_columns.contains(&column.name)
    }

    /// The same of the columns that stand in the file itself.
    pub(crate) fn in_file(&self) -> ReadSpec {
        let own = |column: &&ReadColumn| !column.gone && !self.is_of_folders(column);
        ReadSpec { columns: self.columns.iter().filter(own).cloned().collect(), ..self.clone() }
    }

    /// The same of the columns that the file's folders give.
    pub(crate) fn of_folders(&self) -> ReadSpec {
        let given = |column: &&ReadColumn| !column.gone && self.is_of_folders(column);
        ReadSpec { columns: self.columns.iter().filter(given).cloned().collect(), ..self.clone() }
    }
}

/// What the folders of a path say of a column: the last one that is called `column=…`, without its percent signs. NULL is `None`.
pub fn folder_value(path: &Path, column: &str) -> Option<Result<Option<String>, String>> {
    let folders = path.parent()?.components().rev();
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
    folders.into_iter().find_map(|folder| {
        let folder = folder.as_os_str().to_str()?;
        let (name, value) = folder.split_once('=')?;
        (decoded(name).as_deref() == Ok(column)).then(|| match value {
            NO_VALUE => Ok(None),
            value => decoded(value).map(Some).map_err(|_| value.to_owned()),
        })
    })
}

/// The values that the folders of a file give to the columns of the spec, in its order; NULL is `None`.
pub(crate) fn values(file: &SourceFile, spec: &ReadSpec) -> Result<Vec<Option<String>>, DataProblem> {
    let value = |column: &ReadColumn| match folder_value(&file.path, &column.source) {
        Some(Ok(value)) => Ok(value),
        Some(Err(value)) => {
            let message = format!("`{}` is not UTF-8 once its percent signs are decoded", shown(&value));
            Err(DataProblem::new("qetl::ingest::folder", &file.name, message).of_column(&column.name).help("rename the folder"))
        }
        None if column.optional => Ok(None),
        None => {
            let message = format!("no folder on its path is called `{}=…`", shown(&column.source));
            Err(DataProblem::new("qetl::ingest::folder", &file.name, message)
                .of_column(&column.name)
                .help("`partition_columns` are read from the names of folders: put the file into one, or take the column out of the list"))
        }
    };
    spec.columns.iter().map(value).collect()
}

/// Puts the values into a sink, one row.
pub(crate) fn put(file: &SourceFile, spec: &ReadSpec, sink: &mut impl Sink) -> Result<(), DataProblem> {
    for (index, (column, value)) in spec.columns.iter().zip(values(file, spec)?).enumerate() {
        let cell = value.as_deref().map_or(Cell::Null, Cell::Field);
        sink.put(index, cell).map_err(|unfit| unfit.problem(&file.name, column, value.as_deref().unwrap_or_default()))?;
    }
    Ok(())
}

/// Adds to the rows of one file what does not stand in it. Columns are known by their number in the whole spec.
pub(crate) struct Constants {
    schema: SchemaRef,
    /// For each column of the spec: its one value, or its place among the columns of the file.
    columns: Vec<Result<ArrayRef, usize>>,
    /// Where each column of the file stands among all.
    numbers: Vec<usize>,
    /// What the values need.
    pub(crate) wider: Vec<(usize, Type)>,
    pub(crate) untyped: Vec<usize>,
    pub(crate) emptied: Vec<usize>,
    /// What is wrong with every row of the file, if it has any.
    refused: Option<DataProblem>,
}

impl Constants {
    /// `None` where all columns stand in the file.
    pub(crate) fn of(file: &SourceFile, spec: &ReadSpec) -> Result<Option<Self>, DataProblem> {
        let mut given = spec.of_folders();
        if given.columns.is_empty() {
            return Ok(Self::of_gone(spec));
        }
        let lacking = given.columns.iter().zip(values(file, &given)?).find(|(column, value)| column.required && value.is_none());
        let refused = lacking.map(|(column, _)| Unfit::Null.problem(&file.name, column, ""));
        given.columns.iter_mut().for_each(|column| column.required = false);
        let mut one = Batch::new(&given, Rules::new(&given.options));
        put(file, &given, &mut one)?;
        let number = |index: usize| spec.columns.iter().position(|own| own.name == given.columns[index].name).unwrap_or(index);
        let all = |indexes: Vec<usize>| indexes.into_iter().map(number).collect();
        let wider = one.wider().into_iter().map(|(index, ty)| (number(index), ty)).collect();
        let (untyped, emptied) = (all(one.untyped()), all(one.emptied()));
        Ok(Some(Self { wider, untyped, emptied, refused, ..Self::with(spec, &one.finish(1)) }))
    }

    /// The columns alone that are gone; `None` where there are none.
    pub(crate) fn of_gone(spec: &ReadSpec) -> Option<Self> {
        let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
        spec.columns.iter().any(|column| column.gone).then(|| Self::with(spec, &nothing))
    }

    /// `given`: one row of the columns that the folders give.
    fn with(spec: &ReadSpec, given: &RecordBatch) -> Self {
        let mut numbers = Vec::new();
        let columns = spec.columns.iter().enumerate().map(|(number, column)| {
            if let Some(value) = given.column_by_name(&column.name) {
                Ok(Arc::clone(value))
            } else if column.gone {
                Ok(new_null_array(&arrow_type(column.ty.unwrap_or(Type::Text)), 1))
            } else {
                numbers.push(number);
                Err(numbers.len() - 1)
            }
        });
        let columns = columns.collect();
        Self { columns, schema: spec.schema(), numbers, wider: Vec::new(), untyped: Vec::new(), emptied: Vec::new(), refused: None }
    }

    /// Where a column of the file stands among all.
    pub(crate) fn number(&self, column: usize) -> usize {
        self.numbers[column]
    }

    /// The rows with all columns.
    ///
    /// # Errors
    /// There are rows, and a folder gives no value to a column that needs one.
    pub(crate) fn add(&self, rows: Rows) -> Result<Rows, DataProblem> {
        if let (Some(problem), true) = (&self.refused, rows.good.num_rows() + rows.bad.len() > 0) {
            return Err(problem.clone());
        }
        let Rows { good, before, mut bad, bad_values, own_numbers } = rows;
        bad.iter_mut().flat_map(|row| &mut row.unreadable).for_each(|column| *column = self.number(*column));
        Ok(Rows { good: self.widened(&good), before, bad, bad_values: self.widened(&bad_values), own_numbers })
    }

    fn widened(&self, rows: &RecordBatch) -> RecordBatch {
        let first = UInt32Array::from(vec![0; rows.num_rows()]);
        let column = |column: &Result<ArrayRef, usize>| match column {
            Err(place) => Arc::clone(rows.column(*place)),
            Ok(one) => take(one, &first, None).unwrap_or_else(|error| unreachable!("there is a first value: {error}")),
        };
        let columns = self.columns.iter().map(column).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .unwrap_or_else(|error| unreachable!("the columns follow the schema: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use qetl_core::format::Format;

    use super::*;
    use crate::{infer, read, testing::spec};

    fn file(folder: &std::path::Path, path: &str, text: &str) -> SourceFile {
        let full = folder.join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, text).unwrap();
        SourceFile { path: full, name: path.to_owned(), format: Format::of_file(path).unwrap() }
    }

    fn of_folders(columns: &str, folders: &[&str]) -> ReadSpec {
        let mut spec = spec(columns);
        spec.options.partition_columns = folders.iter().map(|name| (*name).to_owned()).collect();
        spec
    }

    #[test]
    fn folders_give_columns_their_values() {
        let dir = tempfile::tempdir().unwrap();
        let check = |path: &str, columns: &str, expected: Result<&str, &str>| {
            let text = if path.ends_with("jsonl") { "{\"id\":1}\n{\"id\":2}\n" } else { "id\n1\n2\n" };
            let rows = read(&file(dir.path(), path, text), &of_folders(columns, &["dt"])).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let shown = rows.map(|batches| {
                let batch = &batches[0].good;
                let cell = |column: usize, row| {
                    let null = batch.column(column).is_null(row);
                    if null { "∅".to_owned() } else { arrow::util::display::array_value_to_string(batch.column(column), row).unwrap() }
                };
                (0..2).map(|row| format!("{} {}", cell(0, row), cell(1, row))).collect::<Vec<_>>().join(", ")
            });
            assert_eq!(shown.map_err(|problem| problem.to_string()), expected.map(str::to_owned).map_err(str::to_owned), "{path}");
        };
        check("dt=2024-01-01/a.csv", "dt date; id integer", Ok("2024-01-01 1, 2024-01-01 2"));
        check("x=1/dt=b/y/a.jsonl", "id integer; dt string", Ok("1 b, 2 b"));
        check("dt=old/dt=new/a.csv", "id integer; dt string", Ok("1 new, 2 new"));
        check("dt=a%2Fb%20c/a.csv", "id integer; dt string", Ok("1 a/b c, 2 a/b c"));
        check("dt=__HIVE_DEFAULT_PARTITION__/a.csv", "id integer; dt string", Ok("1 ∅, 2 ∅"));
        check(
            "dt=__HIVE_DEFAULT_PARTITION__/a.csv",
            "id integer; dt string!",
            Err("dt=__HIVE_DEFAULT_PARTITION__/a.csv: column `dt`: NULL, and the column is required"),
        );
        check("dt=x/a.csv", "id integer; dt date", Err("dt=x/a.csv: column `dt`: `x` is not a date"));
        check(
            "dt=%ff/a.csv",
            "id integer; dt string",
            Err("dt=%ff/a.csv: column `dt`: `%ff` is not UTF-8 once its percent signs are decoded"),
        );
        check("a.csv", "id integer; dt string", Err("a.csv: column `dt`: no folder on its path is called `dt=…`"));
    }

    #[test]
    fn a_folder_without_a_value_matters_to_rows_alone() {
        let dir = tempfile::tempdir().unwrap();
        let empty = file(dir.path(), "dt=__HIVE_DEFAULT_PARTITION__/a.csv", "id\n");
        let rows: Result<Vec<Rows>, _> = read(&empty, &of_folders("id integer; dt string!", &["dt"])).and_then(Iterator::collect);
        assert!(rows.unwrap().iter().all(|rows| rows.good.num_rows() == 0));
    }

    #[test]
    fn types_of_folders_are_inferred_from_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let check = |folders: [&str; 2], expected: Type| {
            let files: Vec<SourceFile> = folders.iter().map(|folder| file(dir.path(), &format!("{folder}/a.csv"), "id\nx\n")).collect();
            let found = infer(&files, &of_folders("dt; id", &["dt"])).unwrap();
            assert_eq!([found[0].ty, found[1].ty], [expected, Type::Text], "{folders:?}");
        };
        check(["dt=2024-01-01", "dt=2024-01-02"], Type::Date);
        check(["dt=1", "dt=2"], Type::Int);
        check(["dt=1", "dt=b"], Type::Text);
    }

    #[test]
    fn columns_that_are_gone_are_null() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec("id integer; v string");
        spec.columns[1].gone = true;
        let file = file(dir.path(), "a.csv", "id,v\n1,x\n");
        let batches: Vec<Rows> = read(&file, &spec).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!((batches[0].good.num_rows(), batches[0].good.column(1).null_count()), (1, 1));
    }

    #[test]
    fn what_columns_need_is_told_by_their_number_among_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = of_folders("x string; dt integer?; hour string?; id integer?; n integer", &["dt", "hour"]);
        (spec.columns[0].gone, spec.columns[2].open) = (true, true);
        let file = file(dir.path(), "dt=1.5/hour=07/a.csv", "id,n\n2.25,1\n1,z\n");
        let mut rows = read(&file, &spec).unwrap();
        let all: Vec<Rows> = rows.by_ref().collect::<Result<_, _>>().unwrap();
        let decimal = |scale| Type::Decimal { precision: 38, scale };
        assert_eq!((rows.wider(), rows.untyped()), (vec![(1, decimal(1)), (3, decimal(2))], vec![2]));
        assert_eq!((&*all[0].bad[0].unreadable, all[0].bad_values.num_columns()), (&[4][..], 5));
    }

    #[test]
    fn folders_may_have_another_name_or_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = of_folders("id integer; dt string", &["dt"]);
        (spec.columns[1].source, spec.columns[1].optional) = ("day of".to_owned(), true);
        for (path, nulls) in [("day%20of=1/a.csv", 0), ("a.csv", 1)] {
            let rows: Vec<Rows> = read(&file(dir.path(), path, "id\n1\n"), &spec).unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(rows[0].good.column(1).null_count(), nulls, "{path}");
        }
    }
}
