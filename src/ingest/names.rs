//! The names of a file's own columns, for who wants all of them.

use qetl_core::{
    format::{Format, ReaderOptions},
    load::OnExtraColumns,
};

use crate::{
    avro,
    cells::Nowhere,
    csv::CsvRows,
    ipc,
    json::JsonRows,
    parquet,
    problem::DataProblem,
    spec::{ReadSpec, SourceFile},
};

/// The columns that the file has, in its order, then those that its folders give. The keys of JSON objects are known once all of them were read.
pub fn column_names(file: &SourceFile, options: &ReaderOptions) -> Result<Vec<String>, DataProblem> {
    let mut names = own_names(file, options)?;
    names.retain(|name| !options.partition_columns.contains(name));
    names.extend(options.partition_columns.iter().cloned());
    Ok(names)
}

fn own_names(file: &SourceFile, options: &ReaderOptions) -> Result<Vec<String>, DataProblem> {
    let spec = ReadSpec { columns: Vec::new(), options: options.clone(), on_extra_columns: OnExtraColumns::Ignore };
    match file.format {
        Format::Csv if !options.header => Err(DataProblem::new("qetl::ingest::header", &file.name, "the file does not name its columns")
            .help("list them: `columns = [\"…\"]`")),
        Format::Csv => CsvRows::names(file, &spec),
        Format::Json | Format::Jsonl => {
            let mut rows = JsonRows::open(file, &spec)?;
            while rows.next_row(&mut Nowhere)? {}
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
}
