//! Staged data files: written and synced, but in no version yet.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use parquet::{
    arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY},
    basic::{Compression, ZstdLevel},
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};
use qetl_core::{Column, Type};
use qetl_ingest::arrow_type;
use qetl_runtime::{RunError, durable};
use uuid::Uuid;

use crate::{
    catalog::{CatalogTable, type_word},
    error,
    stats::{self, ColumnStats},
};

/// The column that the engine keeps for itself: the hash of a feed row's tracked values.
pub(crate) const ROW_HASH: &str = "xt_row_hash";

/// Rows in a row group, and the bytes at which a file is full.
pub(crate) const GROUP_ROWS: usize = 128 * 1024;
const FILE_BYTES: usize = 512 << 20;

/// What every file of this program is called; others are not ours to remove.
pub(crate) const PREFIX: &str = "qetl-";

/// What the format calls the columns of a file of deletes, with the field ids that it gives them.
const DELETED_FILE: (i64, &str) = (2_147_483_646, "file_path");
pub(crate) const DELETED_ROW: (i64, &str) = (2_147_483_645, "pos");

/// A data file that is complete on disk.
#[derive(Debug, Clone)]
pub(crate) struct StagedFile {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) footer_bytes: u32,
    pub(crate) columns: Vec<ColumnStats>,
}

/// How a table's files are written.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    /// Id, name and type of the columns that are written; no type: the engine's own.
    pub(crate) columns: Vec<(i64, String, Option<Type>)>,
    schema: SchemaRef,
    properties: WriterProperties,
    /// What the files' names end in.
    suffix: &'static str,
}

impl Layout {
    /// Columns that the table has keep their ids; others get new ones.
    pub(crate) fn new(
        folder: PathBuf,
        table: Option<&CatalogTable>,
        columns: &[Column],
        with_hash: bool,
        about: &[(&str, String)],
    ) -> Self {
        let mut next = table.and_then(|table| table.columns.iter().map(|column| column.id).max()).unwrap_or(0);
        let wanted = columns.iter().map(|column| (column.name.as_str(), Some(column.ty)));
        let wanted = wanted.chain(with_hash.then_some((ROW_HASH, None)));
        let known = table.into_iter().flat_map(|table| &table.columns);
        let known: HashMap<&str, i64> = known.map(|column| (column.name.as_str(), column.id)).collect();
        let mut id_of = |name: &str| match known.get(name) {
            Some(id) => *id,
            None => {
                next += 1;
                next
            }
        };
        let columns = wanted.map(|(name, ty)| (id_of(name), name.to_owned(), ty)).collect();
        Self::of_columns(folder, columns, about, ".parquet")
    }

    /// Files that say which rows of a data file are deleted, by their places in it.
    pub(crate) fn of_deletes(folder: PathBuf) -> Self {
        let columns = [(DELETED_FILE, Type::Text), (DELETED_ROW, Type::Int)].map(|((id, name), ty)| (id, name.to_owned(), Some(ty)));
        Self::of_columns(folder, columns.to_vec(), &[], "-delete.parquet")
    }

    fn of_columns(folder: PathBuf, columns: Vec<(i64, String, Option<Type>)>, about: &[(&str, String)], suffix: &'static str) -> Self {
        let field = |(id, name, ty): &(i64, String, Option<Type>)| {
            let ty = ty.map_or(DataType::FixedSizeBinary(16), arrow_type);
            Field::new(name, ty, true).with_metadata([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())].into())
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        Self { folder, columns, schema, properties: properties(about), suffix }
    }

    /// The columns as the catalog names them.
    pub(crate) fn catalog_columns(&self) -> Vec<(i64, String, String)> {
        let word = |ty: &Option<Type>| ty.map_or_else(|| "blob".to_owned(), type_word);
        self.columns.iter().map(|(id, name, ty)| (*id, name.clone(), word(ty))).collect()
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

fn properties(about: &[(&str, String)]) -> WriterProperties {
    let hash = || ColumnPath::from(ROW_HASH);
    let about = about.iter().map(|(key, value)| KeyValue::new(format!("qetl.{key}"), value.clone())).collect();
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(256))
        .set_key_value_metadata(Some(about))
        .set_created_by(format!("qetl {}", env!("CARGO_PKG_VERSION")))
        // Random bytes: nothing to compress, nothing to prune by.
        .set_column_dictionary_enabled(hash(), false)
        .set_column_compression(hash(), Compression::UNCOMPRESSED)
        .set_column_statistics_enabled(hash(), EnabledStatistics::None)
        .build()
}

/// Writes rows to files of a table, one after another. Files that are not finished are removed when it is dropped.
pub(crate) struct Stager {
    layout: Arc<Layout>,
    open: Option<Open>,
    done: Vec<StagedFile>,
    finished: bool,
}

struct Open {
    path: PathBuf,
    writer: ArrowWriter<File>,
}

impl Stager {
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        Self { layout, open: None, done: Vec::new(), finished: false }
    }

    /// Writes the rows; the batch's columns are found by name.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), RunError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let names = batch.schema_ref().fields().iter().map(|field| field.name().as_str());
        let found: HashMap<&str, &ArrayRef> = names.zip(batch.columns()).collect();
        let columns = self.layout.columns.iter().map(|(_, name, _)| {
            let column = found.get(name.as_str()).map(|column| ArrayRef::clone(column));
            column.ok_or_else(|| RunError::failed(format!("the rows have no column `{name}`")))
        });
        let batch = RecordBatch::try_new(self.layout.schema.clone(), columns.collect::<Result<_, _>>()?).map_err(RunError::failed)?;
        if self.open.is_none() {
            self.open = Some(self.start()?);
        }
        let Some(open) = &mut self.open else { unreachable!("it was opened a line ago") };
        let wrote = open.writer.write(&batch);
        wrote.map_err(|why| error::file(&open.path, why))?;
        if open.writer.bytes_written() + open.writer.in_progress_size() >= FILE_BYTES {
            self.close()?;
        }
        Ok(())
    }

    fn start(&self) -> Result<Open, RunError> {
        let folder = &self.layout.folder;
        durable::create_folder(folder).map_err(|why| error::file(folder, why))?;
        let path = folder.join(format!("{PREFIX}{}{}", Uuid::now_v7(), self.layout.suffix));
        let file = File::create_new(&path).map_err(|why| error::file(&path, why))?;
        let writer = ArrowWriter::try_new(file, self.layout.schema.clone(), Some(self.layout.properties.clone()))
            .map_err(|why| error::file(&path, why))?;
        Ok(Open { path, writer })
    }

    fn close(&mut self) -> Result<(), RunError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let finish = || -> Result<StagedFile, Box<dyn std::error::Error>> {
            let metadata = open.writer.finish()?;
            let file = open.writer.inner();
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            let columns: Vec<_> = self.layout.columns.iter().map(|(id, _, ty)| (*id, *ty)).collect();
            let rows = u64::try_from(metadata.file_metadata().num_rows())?;
            let name = open.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Ok(StagedFile {
                name,
                path: open.path.clone(),
                rows,
                bytes,
                footer_bytes: footer_bytes(&open.path)?,
                columns: stats::of_file(&metadata, &columns),
            })
        };
        let mut finish = finish;
        match finish() {
            Ok(file) => self.done.push(file),
            Err(why) => {
                let failed = error::file(&open.path, why);
                let _ = fs::remove_file(&open.path);
                return Err(failed);
            }
        }
        Ok(())
    }

    /// Ends the last file.
    pub(crate) fn finish(mut self) -> Result<Vec<StagedFile>, RunError> {
        self.close()?;
        self.finished = true;
        Ok(std::mem::take(&mut self.done))
    }
}

impl Drop for Stager {
    fn drop(&mut self) {
        if !self.finished {
            let open = self.open.take().map(|open| open.path);
            for path in self.done.iter().map(|file| &file.path).chain(&open) {
                // What cannot be removed now is a leftover that the next run reclaims.
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The length of the Parquet footer: the four bytes before the closing mark.
fn footer_bytes(path: &Path) -> std::io::Result<u32> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    let mut tail = [0; 4];
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut tail)?;
    Ok(u32::from_le_bytes(tail))
}

/// Removes files that were never published; one that stays is reclaimed by a later run.
pub(crate) fn remove(files: &[StagedFile]) {
    for file in files {
        let _ = fs::remove_file(&file.path);
    }
}

/// Removes the program's files in a folder that are not among `known`: what runs that died left there. Files that are
/// older than `kept_before`, in microseconds since 1970, or do not say how old they are, stay.
pub(crate) fn reclaim(folder: &Path, known: &std::collections::BTreeSet<PathBuf>, kept_before: i64) -> std::io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if made_at(&path).is_some_and(|made| made >= kept_before) && !known.contains(&path) {
            fs::remove_file(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// When one of the program's files was made, in microseconds since 1970, to the millisecond; its name says so.
pub(crate) fn made_at(path: &Path) -> Option<i64> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let (seconds, nanos) = Uuid::try_parse(name.get(..36)?).ok()?.get_timestamp()?.to_unix();
    Some(i64::try_from(seconds).ok()? * 1_000_000 + i64::from(nanos / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_when_they_were_made() {
        let now = chrono::Utc::now().timestamp_micros();
        for name in [format!("qetl-{}.parquet", Uuid::now_v7()), format!("qetl-{}-delete.parquet", Uuid::now_v7())] {
            let made = made_at(Path::new(&name)).unwrap();
            assert!((now - 1000..now + 60_000_000).contains(&made), "{name}: {made}, {now}");
        }
        assert_eq!(made_at(Path::new("qetl-x.parquet")), None);
        assert_eq!(made_at(Path::new(&format!("{}.parquet", Uuid::now_v7()))), None);
    }
}
