//! Rows of a query in an Arrow file, on their way to another place.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Schema},
    ipc::{reader::FileReader, writer::FileWriter},
};
use qetl_core::Column;

use crate::{
    cell::{Builder, Cell},
    database::{Connection, Failure},
};

/// Rows that are written at once.
const CHUNK: usize = 8192;

/// The type that texts have in a file that any Arrow library reads.
fn plain(ty: &DataType) -> DataType {
    if *ty == DataType::Utf8View { DataType::Utf8 } else { ty.clone() }
}

/// Types a row's values.
pub(crate) type Typed<'a> = &'a mut dyn FnMut(Vec<Cell<'static>>) -> Result<Vec<Cell<'static>>, Failure>;

/// Writes the rows of a query, which `typed` makes values of these columns.
pub(crate) fn write(
    connection: &mut dyn Connection,
    query: &str,
    columns: &[Column],
    path: &Path,
    typed: Typed<'_>,
) -> Result<(), Failure> {
    let other = |why: &dyn std::fmt::Display| Failure::Other(format!("`{}`: {why}", path.display()));
    let mut builder = Builder::new(columns);
    let fields = builder.schema().fields().iter().map(|field| Field::new(field.name(), plain(field.data_type()), true)).collect::<Vec<_>>();
    let schema = Arc::new(Schema::new(fields));
    let file = File::create(path).map_err(|why| other(&why))?;
    let mut writer = FileWriter::try_new(file, &schema).map_err(|why| other(&why))?;
    let mut write = |builder: &mut Builder| -> Result<(), Failure> {
        let batch = builder.take().map_err(|why| other(&why))?;
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let column = |(column, field): (&ArrayRef, &Arc<Field>)| cast_with_options(column, field.data_type(), &strict);
        let columns = batch.columns().iter().zip(schema.fields()).map(column).collect::<Result<Vec<_>, _>>().map_err(|why| other(&why))?;
        let batch = RecordBatch::try_new(schema.clone(), columns).map_err(|why| other(&why))?;
        writer.write(&batch).map_err(|why| other(&why))
    };
    connection.query(query, &[], &mut |_, row| {
        builder.push(typed(row)?);
        if builder.rows() == CHUNK { write(&mut builder) } else { Ok(()) }
    })?;
    write(&mut builder)?;
    writer.finish().map_err(|why| other(&why))
}

/// The rows of such a file, with the types that are loaded.
pub(crate) fn read(path: &Path) -> Result<impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>, String> {
    let other = |why: &dyn std::fmt::Display| format!("`{}`: {why}", path.display());
    let file = File::open(path).map_err(|why| other(&why))?;
    let reader = FileReader::try_new_buffered(file, None).map_err(|why| other(&why))?;
    Ok(reader.map(|batch| {
        let batch = batch?;
        let view = |column: &ArrayRef| {
            let ty = if *column.data_type() == DataType::Utf8 { &DataType::Utf8View } else { column.data_type() };
            cast_with_options(column, ty, &CastOptions { safe: false, ..CastOptions::default() })
        };
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let columns =
            columns.map(|(field, column)| Ok((field.name(), view(column)?))).collect::<Result<Vec<_>, arrow::error::ArrowError>>()?;
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
    }))
}

/// A file that is gone when it is dropped.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    pub(crate) fn new() -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!("qetl-{}-{}.arrow", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            match File::create_new(&path) {
                Ok(_) => return Ok(Self(path)),
                // Nobody else's file is written to.
                Err(why) if why.kind() == ErrorKind::AlreadyExists => (),
                Err(why) => return Err(format!("`{}`: {why}", path.display())),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
