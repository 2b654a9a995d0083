//! Corruptions that are planted into stored tables behind the engine's back.

use std::fs::{self, File};

use parquet::file::reader::{FileReader, SerializedFileReader};
use rusqlite::{Connection, params};

use crate::{cli::Cli, crash::copy_of};

/// Columns and their new values, as SQL.
type Values = &'static [(&'static str, &'static str)];

/// What is done to the rows of a table that meet a condition.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edit {
    /// They get these values.
    Set(&'static str, Values),
    Remove(&'static str),
    /// They stand there once more, with these values.
    Repeat(&'static str, Values),
}

impl Edit {
    /// All rows of the table as they are afterwards.
    fn sql(self, dataset: &str) -> String {
        let columns = |values: Values, value: &dyn Fn(&str, &str) -> String| {
            let replaced: Vec<String> = values.iter().map(|(name, new)| format!("{} AS {name}", value(name, new))).collect();
            if replaced.is_empty() { "*".to_owned() } else { format!("* REPLACE ({})", replaced.join(", ")) }
        };
        match self {
            Edit::Set(condition, values) => {
                let columns = columns(values, &|name, new| format!("CASE WHEN {condition} THEN {new} ELSE {name} END"));
                format!("SELECT {columns} FROM {dataset}")
            }
            Edit::Remove(condition) => format!("SELECT * FROM {dataset} WHERE ({condition}) IS NOT TRUE"),
            Edit::Repeat(condition, values) => {
                let columns = columns(values, &|_, new| new.to_owned());
                format!("SELECT * FROM {dataset} UNION ALL SELECT {columns} FROM {dataset} WHERE {condition}")
            }
        }
    }
}

/// A copy of a project, in which the rows of a table are other ones. The first file of the table has all of them.
pub(super) fn corrupted(sound: &Cli, dataset: &str, edit: Edit) -> Cli {
    let cli = copy_of(sound);
    let catalog = Connection::open(cli.path("warehouse/catalog.sqlite")).unwrap();
    let first = "SELECT f.data_file_id, 'warehouse/data/' || s.path || t.path || f.path
         FROM ducklake_data_file f JOIN ducklake_table t USING (table_id) JOIN ducklake_schema s USING (schema_id)
         WHERE t.table_name = ?1 AND f.end_snapshot IS NULL ORDER BY f.data_file_id LIMIT 1";
    let (id, path): (i64, String) = catalog.query_row(first, [dataset], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    cli.ok(&["query", &edit.sql(dataset), "--format", "parquet", "--out", &path]);

    let path = cli.path(&path);
    let rows = SerializedFileReader::new(File::open(&path).unwrap()).unwrap().metadata().file_metadata().num_rows();
    let bytes = fs::metadata(&path).unwrap().len();
    let others = "UPDATE ducklake_data_file SET end_snapshot = begin_snapshot WHERE end_snapshot IS NULL AND data_file_id <> ?1
         AND table_id = (SELECT table_id FROM ducklake_data_file WHERE data_file_id = ?1)";
    catalog.execute(others, [id]).unwrap();
    let sizes = "UPDATE ducklake_data_file SET record_count = ?2, file_size_bytes = ?3, footer_size = NULL WHERE data_file_id = ?1";
    catalog.execute(sizes, params![id, rows, bytes]).unwrap();
    catalog.execute("DELETE FROM ducklake_delete_file WHERE data_file_id = ?1", [id]).unwrap();
    // What is recorded of the old values must not keep a reader from looking at the new ones.
    catalog.execute("DELETE FROM ducklake_file_column_stats WHERE data_file_id = ?1", [id]).unwrap();
    cli
}
