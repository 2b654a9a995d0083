//! Rows that are computed once and read again: in memory while they are few, then in a file of the spill folder.

use std::{fs::File, path::PathBuf, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{Field, FieldRef, Schema, SchemaRef},
};
use datafusion::{catalog::TableProvider, datasource::MemTable, error::Result};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    file::properties::{EnabledStatistics, WriterProperties},
};
use uuid::Uuid;

use crate::scan::PinnedTable;

/// Bytes that stay in memory.
const MEMORY_BYTES: usize = 32 << 20;

/// Rows on their way to be read again.
pub(crate) struct Scratch {
    schema: SchemaRef,
    folder: PathBuf,
    memory: Vec<RecordBatch>,
    memory_bytes: usize,
    rows: u64,
    file: Option<(PathBuf, ArrowWriter<File>)>,
}

impl Scratch {
    /// Rows of these columns. What a plan says of NULL may differ from what its execution does: so NULL may stand in all of them.
    pub(crate) fn new(schema: &Schema, folder: PathBuf) -> Self {
        let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
        let fields: Vec<Field> = schema.fields().iter().map(nullable).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        Self { schema, folder, memory: Vec::new(), memory_bytes: 0, rows: 0, file: None }
    }

    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        let batch = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?;
        if let Some((_, writer)) = &mut self.file {
            return Ok(writer.write(&batch)?);
        }
        self.memory_bytes += batch.get_array_memory_size();
        self.memory.push(batch);
        if self.memory_bytes > MEMORY_BYTES {
            std::fs::create_dir_all(&self.folder)?;
            let path = self.folder.join(format!("scratch-{}.parquet", Uuid::now_v7()));
            let properties =
                WriterProperties::builder().set_compression(Compression::LZ4_RAW).set_statistics_enabled(EnabledStatistics::None).build();
            let mut writer = ArrowWriter::try_new(File::create_new(&path)?, self.schema.clone(), Some(properties))?;
            for batch in self.memory.drain(..) {
                writer.write(&batch)?;
            }
            self.file = Some((path, writer));
        }
        Ok(())
    }

    /// The rows to read; `None` when there are none. A file goes when nothing reads it any more.
    pub(crate) fn finish(mut self) -> Result<Option<Arc<dyn TableProvider>>> {
        if self.rows == 0 {
            return Ok(None);
        }
        match self.file.take() {
            None => Ok(Some(Arc::new(MemTable::try_new(self.schema.clone(), vec![std::mem::take(&mut self.memory)])?))),
            Some((path, writer)) => {
                writer.close()?;
                let bytes = std::fs::metadata(&path)?.len();
                Ok(Some(Arc::new(PinnedTable::temporary(self.schema.clone(), path, self.rows, bytes))))
            }
        }
    }
}
