//! The names of a file's own columns, for who wants all of them.

use qetl_core::{
    format::{Format, ReaderOptions},
    load::OnExtraColumns,
};

use crate::{
    avro,
    cells::Nowhere,
    columns::refuse_equal_names,
    csv::CsvRows,
    ipc,
    json::JsonRows,
    parquet,
    problem::DataProblem,
    spec::{BadRows, ReadSpec, SourceFile},
};

/// The names of the columns of files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileColumns {
    pub names: Vec<String>,
    /// What to do if a single name looks like those of several columns.
    pub other_delimiter: Option<String>,
}

/// The columns that the files have: those of the first that names some, which differ in more than their case, then those
/// that folders give.
pub fn columns_of(files: &[SourceFile], options: &ReaderOptions) -> Result<FileColumns, DataProblem> {
    for file in files {
        let mut found = if file.format == Format::Csv && options.header {
            let (names, other_delimiter) = CsvRows::names(file, &spec_of(options))?;
            FileColumns { names, other_delimiter }
        } else {
            FileColumns { names: column_names(file, options)?, other_delimiter: None }
        };
        if !found.names.is_empty() {
            found.names.retain(|name| !options.partition_columns.contains(name));
            found.names.extend(options.partition_columns.iter().cloned());
            refuse_equal_names(&file.name, &found.names)?;
            return Ok(found);
        }
    }
    Ok(FileColumns::default())
}

fn spec_of(options: &ReaderOptions) -> ReadSpec {
    ReadSpec { columns: Vec::new(), options: options.clone(), on_extra_columns: OnExtraColumns::Ignore, bad_rows: BadRows::default() }
}

/// The columns that stand in the file, in its order. The keys of JSON objects are known once all of them were read; of files
/// of which none has a key, nobody knows.
pub fn column_names(file: &SourceFile, options: &ReaderOptions) -> Result<Vec<String>, DataProblem> {
    let spec = spec_of(options);
    match file.format {
        Format::Csv if !options.header => Err(DataProblem::new("qetl::ingest::header", &file.name, "the file does not name its columns")
            .help("list them: `columns = [\"…\"]`")),
        Format::Csv => CsvRows::names(file, &spec).map(|(names, _)| names),
        Format::Json | Format::Jsonl => {
            let mut rows = JsonRows::open(file, &spec)?;
            while rows.next_row(&mut Nowhere)?.is_some() {}
            Ok(rows.key_names())
        }
        Format::Parquet => parquet::names(file),
        Format::Arrow => ipc::names(file),
        Format::Avro => avro::names(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_files_name_their_columns() {
        let dir = tempfile::tempdir().unwrap();
        for (format, text) in
            [(Format::Csv, "b,a\n1,2\n"), (Format::Jsonl, "{\"b\":1}\n{\"a\":2,\"b\":3}\n"), (Format::Json, "[{\"b\":1,\"a\":null}]")]
        {
            let file = SourceFile { path: dir.path().join("file"), name: "file".to_owned(), format };
            std::fs::write(&file.path, text).unwrap();
            assert_eq!(column_names(&file, &ReaderOptions::default()).unwrap(), ["b", "a"], "{text}");
        }
    }

    #[test]
    fn the_first_file_that_has_names_says_them() {
        let dir = tempfile::tempdir().unwrap();
        let check = |texts: &[&str], expected: Result<&[&str], &str>| {
            let files = texts.iter().enumerate().map(|(index, text)| {
                let name = format!("{index}.jsonl");
                std::fs::write(dir.path().join(&name), text).unwrap();
                SourceFile { path: dir.path().join(&name), name, format: Format::Jsonl }
            });
            let found = columns_of(&files.collect::<Vec<_>>(), &ReaderOptions::default());
            let found = found.map(|found| found.names).map_err(|problem| problem.to_string());
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect()).map_err(str::to_owned);
            assert_eq!(found, expected, "{texts:?}");
        };
        check(&["", "{}\n", "{\"id\":1}\n"], Ok(&["id"]));
        check(&["{}\n"], Ok(&[]));
        check(&["{\"id\":1,\"A\":1,\"a\":2}\n"], Err("0.jsonl: the columns `A` and `a` differ in case only"));
        check(&["{\"Ä\":1,\"ä\":2}\n"], Err("0.jsonl: the columns `Ä` and `ä` differ in case only"));
    }
}
