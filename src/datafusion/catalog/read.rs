//! What the catalog says at one version.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use qetl_core::{DatasetName, Type, standard::same_dataset};
use qetl_runtime::{RunError, engine::At};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Catalog, whole::refuse_gaps};
use crate::{deletes, error};

/// The tables and views of one version of the warehouse.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) id: i64,
    pub(crate) tables: BTreeMap<DatasetName, CatalogTable>,
    pub(crate) views: BTreeMap<DatasetName, CatalogView>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogTable {
    pub(crate) id: i64,
    pub(crate) folder: PathBuf,
    pub(crate) columns: Vec<CatalogColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogColumn {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// In the format's words, such as `int64`.
    pub(crate) ty: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogView {
    pub(crate) id: i64,
    pub(crate) sql: String,
}

/// A data file that is visible at a version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DataFile {
    /// Its number in the catalog; `None` when no version names it yet.
    pub(crate) id: Option<i64>,
    pub(crate) path: PathBuf,
    /// Without those that are deleted.
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Least and greatest text of the column that was asked for, if recorded. Deleted rows count.
    pub(crate) bounds: Option<(String, String)>,
    pub(crate) deletes: Option<DeleteFile>,
}

impl DataFile {
    /// Rows in the file, deleted or not.
    pub(crate) fn all_rows(&self) -> u64 {
        self.rows + self.deletes.as_ref().map_or(0, |deletes| deletes.rows)
    }

    /// Bytes of the file and of what says which of its rows are deleted.
    pub(crate) fn all_bytes(&self) -> u64 {
        self.bytes + self.deletes.as_ref().map_or(0, |deletes| deletes.bytes)
    }

    /// The same file with other rows deleted.
    pub(crate) fn with_deletes(self, deletes: DeleteFile) -> Self {
        Self { rows: self.all_rows().saturating_sub(deletes.rows), deletes: Some(deletes), ..self }
    }
}

/// A file of the places of a data file's deleted rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeleteFile {
    /// Its number in the catalog; `None` when no version names it yet.
    pub(crate) id: Option<i64>,
    pub(crate) path: PathBuf,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// The file tells of later versions too: those deleted after this one are not.
    pub(crate) until: Option<i64>,
}

/// The deleted keys of a feed, each with its last row, as they stood after a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) batch_id: i64,
    pub(crate) files: Vec<DataFile>,
}

/// Which batches' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchRange {
    Only(i64),
    /// Above the first and below the second.
    Between(i64, i64),
    All,
}

impl BatchRange {
    pub(crate) fn contains(self, batch: i64) -> bool {
        match self {
            BatchRange::Only(id) => batch == id,
            BatchRange::Between(above, below) => above < batch && batch < below,
            BatchRange::All => true,
        }
    }
}

/// Visible at the snapshot `?1`.
const LIVE: &str = "begin_snapshot <= ?1 AND (end_snapshot IS NULL OR end_snapshot > ?1)";

impl Catalog {
    /// The newest version, or the one that is asked for; empty when nothing was ever published.
    pub(crate) fn snapshot(&self, at: Option<&At>) -> Result<Snapshot, RunError> {
        let Some(connection) = self.read()? else {
            return match at {
                Some(_) => Err(RunError::usage("there are no versions yet", "nothing was published")),
                None => Ok(Snapshot::default()),
            };
        };
        let id = version(&connection, at)?;
        self.tables(&connection, id).map_err(error::catalog)
    }

    /// The version in which each dataset changed last; a view counts as the tables that its text names. What is not there
    /// is left out.
    pub(crate) fn changed(&self, datasets: &[DatasetName]) -> Result<BTreeMap<DatasetName, i64>, RunError> {
        let snapshot = self.snapshot(None)?;
        let Some(connection) = self.read()? else { return Ok(BTreeMap::new()) };
        let version = |table: &CatalogTable| {
            let sql = "SELECT max(max(begin_snapshot, coalesce(end_snapshot, 0), coalesce(partial_max, 0))) FROM
                           (SELECT table_id, begin_snapshot, end_snapshot, NULL AS partial_max FROM ducklake_data_file
                            UNION ALL SELECT table_id, begin_snapshot, end_snapshot, partial_max FROM ducklake_delete_file)
                       WHERE table_id = ?1";
            connection.query_row(sql, [table.id], |row| row.get::<_, Option<i64>>(0)).map(|found| found.unwrap_or(0))
        };
        let find = || -> rusqlite::Result<BTreeMap<DatasetName, i64>> {
            let mut found = BTreeMap::new();
            for dataset in datasets {
                let same = |name: &&DatasetName| same_dataset(name, dataset);
                if let Some(name) = snapshot.tables.keys().find(same) {
                    found.insert(dataset.clone(), version(&snapshot.tables[name])?);
                } else if let Some(name) = snapshot.views.keys().find(same) {
                    let text = &snapshot.views[name].sql;
                    let mut newest = 0;
                    for (_, table) in snapshot.tables.iter().filter(|(table, _)| text.contains(&table.name)) {
                        newest = newest.max(version(table)?);
                    }
                    found.insert(dataset.clone(), newest);
                }
            }
            Ok(found)
        };
        find().map_err(error::catalog)
    }

    /// The batches that have files in a table, or had some, each with the version in which they changed last.
    pub(crate) fn batches(&self, table: &CatalogTable) -> Result<BTreeMap<i64, i64>, RunError> {
        let Some(connection) = self.read()? else { return Ok(BTreeMap::new()) };
        let sql = "SELECT CAST(p.partition_value AS INTEGER), max(max(f.begin_snapshot, coalesce(f.end_snapshot, 0)))
                   FROM ducklake_data_file f JOIN ducklake_file_partition_value p USING (data_file_id) WHERE f.table_id = ?1 GROUP BY 1";
        let read = || -> rusqlite::Result<BTreeMap<i64, i64>> {
            connection.prepare(sql)?.query_map([table.id], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        read().map_err(error::catalog)
    }

    fn tables(&self, connection: &Connection, id: i64) -> rusqlite::Result<Snapshot> {
        let mut snapshot = Snapshot { id, ..Snapshot::default() };
        let live = |alias: &str| format!("{alias}.begin_snapshot <= ?1 AND ({alias}.end_snapshot IS NULL OR {alias}.end_snapshot > ?1)");
        let sql = format!(
            "SELECT t.table_id, s.schema_name, t.table_name, s.path, t.path FROM ducklake_table t JOIN ducklake_schema s USING (schema_id) WHERE {} AND {}",
            live("t"),
            live("s")
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            let name = DatasetName { namespace: row.get(1)?, name: row.get(2)? };
            let folder = self.data.join(row.get::<_, String>(3)?).join(row.get::<_, String>(4)?);
            snapshot.tables.insert(name, CatalogTable { id: row.get(0)?, folder, columns: Vec::new() });
        }
        let sql = format!(
            "SELECT table_id, column_id, column_name, column_type FROM ducklake_column WHERE {LIVE} AND parent_column IS NULL ORDER BY table_id, column_order"
        );
        let mut columns: BTreeMap<i64, Vec<CatalogColumn>> = BTreeMap::new();
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            columns.entry(row.get(0)?).or_default().push(CatalogColumn { id: row.get(1)?, name: row.get(2)?, ty: row.get(3)? });
        }
        for table in snapshot.tables.values_mut() {
            table.columns = columns.remove(&table.id).unwrap_or_default();
        }
        let sql = format!(
            "SELECT v.view_id, s.schema_name, v.view_name, v.sql FROM ducklake_view v JOIN ducklake_schema s USING (schema_id) WHERE {} AND {}",
            live("v"),
            live("s")
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            let name = DatasetName { namespace: row.get(1)?, name: row.get(2)? };
            snapshot.views.insert(name, CatalogView { id: row.get(0)?, sql: row.get(3)? });
        }
        Ok(snapshot)
    }

    /// The files of a folder that any version names.
    pub(super) fn known_files(&self, folder: &std::path::Path) -> Result<BTreeSet<PathBuf>, RunError> {
        let Some(connection) = self.read()? else { return Ok(BTreeSet::new()) };
        let read = || -> rusqlite::Result<BTreeSet<PathBuf>> {
            let sql = "SELECT s.path, t.path, f.path FROM (SELECT table_id, path, path_is_relative FROM ducklake_data_file
                            UNION ALL SELECT table_id, path, path_is_relative FROM ducklake_delete_file) f
                       JOIN ducklake_table t USING (table_id) JOIN ducklake_schema s USING (schema_id) WHERE f.path_is_relative";
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map((), |row| {
                Ok(self.data.join(row.get::<_, String>(0)?).join(row.get::<_, String>(1)?).join(row.get::<_, String>(2)?))
            })?;
            let mut known: BTreeSet<PathBuf> = rows.collect::<rusqlite::Result<_>>()?;
            let mut statement = connection.prepare("SELECT path FROM qetl_checkpoints WHERE path IS NOT NULL")?;
            let rows = statement.query_map((), |row| Ok(self.data.join(row.get::<_, String>(0)?)))?;
            known.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
            known.retain(|path| path.starts_with(folder));
            Ok(known)
        };
        read().map_err(error::catalog)
    }

    /// The newest checkpoint of a table.
    pub(crate) fn checkpoint(&self, table: &CatalogTable) -> Result<Option<Checkpoint>, RunError> {
        let Some(connection) = self.read()? else { return Ok(None) };
        let sql = "SELECT batch_id, path, row_count, bytes FROM qetl_checkpoints WHERE table_id = ?1";
        let read = || -> rusqlite::Result<Option<Checkpoint>> {
            let mut found: Option<Checkpoint> = None;
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([table.id])?;
            while let Some(row) = rows.next()? {
                let batch_id = row.get(0)?;
                let checkpoint = found.get_or_insert_with(|| Checkpoint { batch_id, files: Vec::new() });
                if let Some(path) = row.get::<_, Option<String>>(1)? {
                    checkpoint.files.push(DataFile {
                        id: None,
                        path: self.data.join(path),
                        rows: row.get(2)?,
                        bytes: row.get(3)?,
                        bounds: None,
                        deletes: None,
                    });
                }
            }
            Ok(found)
        };
        let found = read().map_err(error::catalog)?;
        refuse_gaps(found.iter().flat_map(|found| &found.files))?;
        Ok(found)
    }

    /// The files of a table at a version, as `listed` gives them; refused when one is not there as it was written.
    pub(crate) fn files(
        &self,
        snapshot: i64,
        table: &CatalogTable,
        range: BatchRange,
        bounds_of: Option<&str>,
    ) -> Result<Vec<(Option<i64>, DataFile)>, RunError> {
        let files = self.listed(snapshot, table, range, bounds_of)?;
        refuse_gaps(files.iter().map(|(_, file)| file))?;
        Ok(files)
    }

    /// The files of a table that the catalog names at a version, with the batch of each; the bounds of one column come along
    /// when asked for.
    pub(crate) fn listed(
        &self,
        snapshot: i64,
        table: &CatalogTable,
        range: BatchRange,
        bounds_of: Option<&str>,
    ) -> Result<Vec<(Option<i64>, DataFile)>, RunError> {
        let Some(connection) = self.read()? else { return Ok(Vec::new()) };
        const BETWEEN: &str = "CAST(p.partition_value AS INTEGER) > ?4 AND CAST(p.partition_value AS INTEGER) < ?5";
        let column = bounds_of.and_then(|name| table.columns.iter().find(|column| column.name == name)).map_or(-1, |column| column.id);
        let (condition, above, below) = match range {
            BatchRange::Only(id) => (BETWEEN, id - 1, id + 1),
            BatchRange::Between(above, below) => (BETWEEN, above, below),
            BatchRange::All => ("?4 <> ?5", 0, 1),
        };
        let sql = format!(
            "SELECT f.path, f.path_is_relative, f.record_count, f.file_size_bytes, s.min_value, s.max_value, CAST(p.partition_value AS INTEGER),
                 f.data_file_id, d.delete_file_id, d.path, d.path_is_relative, d.delete_count, d.file_size_bytes, d.partial_max,
                 coalesce(d.format = 'parquet', 0) AND d.encryption_key IS NULL
             FROM ducklake_data_file f
             LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id
                 AND d.begin_snapshot <= ?1 AND (d.end_snapshot IS NULL OR d.end_snapshot > ?1)
             LEFT JOIN ducklake_file_partition_value p USING (data_file_id)
             LEFT JOIN ducklake_file_column_stats s ON s.data_file_id = f.data_file_id AND s.table_id = f.table_id AND s.column_id = ?3
             WHERE f.table_id = ?2 AND f.begin_snapshot <= ?1 AND (f.end_snapshot IS NULL OR f.end_snapshot > ?1) AND {condition}
             ORDER BY f.data_file_id"
        );
        let place = |path: String, relative: bool| if relative { table.folder.join(path) } else { PathBuf::from(path) };
        let mut unread = None;
        let mut read = || -> rusqlite::Result<Vec<(Option<i64>, DataFile)>> {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![snapshot, table.id, column, above, below], |row| {
                let path = place(row.get(0)?, row.get(1)?);
                let bounds = row.get::<_, Option<String>>(4)?.zip(row.get::<_, Option<String>>(5)?);
                let file = DataFile { id: Some(row.get(7)?), path, rows: row.get(2)?, bytes: row.get(3)?, bounds, deletes: None };
                let batch = row.get(6)?;
                let Some(id) = row.get::<_, Option<i64>>(8)? else { return Ok((batch, file)) };
                if !row.get::<_, bool>(14)? {
                    unread = Some(file.path.clone());
                }
                let until = row.get::<_, Option<i64>>(13)?.filter(|last| *last > snapshot).map(|_| snapshot);
                let path = place(row.get(9)?, row.get(10)?);
                Ok((batch, file.with_deletes(DeleteFile { id: Some(id), path, rows: row.get(11)?, bytes: row.get(12)?, until })))
            })?;
            rows.collect()
        };
        let mut files = read().map_err(error::catalog)?;
        if let Some(path) = unread {
            let message = format!("another program deleted single rows of `{}` in a way that qetl does not read", path.display());
            let help = "rewrite the file from there: in DuckDB, `CALL ducklake_rewrite_data_files('…', '…', delete_threshold => 0)`";
            return Err(RunError::Failed { place: Default::default(), message, help: help.to_owned() });
        }
        // How many rows were deleted up to an earlier version than the newest that the file tells of, only the file says.
        for (_, file) in &mut files {
            if let Some(deletes) = file.deletes.clone().filter(|deletes| deletes.until.is_some()) {
                let rows = deletes::positions(&deletes)?.len() as u64;
                *file = file.clone().with_deletes(DeleteFile { rows, ..deletes });
            }
        }
        Ok(files)
    }
}

fn version(connection: &Connection, at: Option<&At>) -> Result<i64, RunError> {
    let newest: i64 =
        connection.query_row("SELECT max(snapshot_id) FROM ducklake_snapshot", (), |row| row.get(0)).map_err(error::catalog)?;
    let found = match at {
        None => Some(newest),
        Some(At::Version(id)) => {
            let sql = "SELECT snapshot_id FROM ducklake_snapshot WHERE snapshot_id = ?1";
            connection.query_row(sql, [id], |row| row.get(0)).optional().map_err(error::catalog)?
        }
        Some(At::Time(micros)) => {
            let sql = "SELECT snapshot_id FROM ducklake_snapshot WHERE snapshot_time <= ?1 ORDER BY snapshot_time DESC LIMIT 1";
            connection.query_row(sql, [super::commit::time_text(*micros)], |row| row.get(0)).optional().map_err(error::catalog)?
        }
    };
    found.ok_or_else(|| {
        RunError::usage("there is no such version", format!("versions are 0 to {newest}; `SELECT * FROM qetl.versions` lists them"))
    })
}

/// The format's word for a type.
pub(crate) fn type_word(ty: Type) -> String {
    match ty {
        Type::Text => "varchar".to_owned(),
        Type::Int => "int64".to_owned(),
        Type::Float => "float64".to_owned(),
        Type::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        Type::Bool => "boolean".to_owned(),
        Type::Date => "date".to_owned(),
        Type::Timestamp => "timestamptz".to_owned(),
    }
}

/// The type of one of the format's words; `None` for types that qetl has not.
pub(crate) fn word_type(word: &str) -> Option<Type> {
    match word {
        "varchar" => Some(Type::Text),
        "int64" => Some(Type::Int),
        "float64" => Some(Type::Float),
        "boolean" => Some(Type::Bool),
        "date" => Some(Type::Date),
        "timestamptz" => Some(Type::Timestamp),
        decimal => decimal.starts_with("decimal").then(|| decimal.parse().ok())?,
    }
}
