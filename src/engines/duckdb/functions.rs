//! Functions that an instance is given: dates in time zones, of which the library knows nothing, and rows on their way in.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use ::duckdb::{
    Connection,
    arrow::{array as theirs, datatypes as types},
    core::{DataChunkHandle, LogicalTypeHandle, LogicalTypeId},
    vscalar::{ArrowFunctionSignature, VArrowScalar},
    vtab::{BindInfo, InitInfo, TableFunctionInfo, VTab, record_batch_to_duckdb_data_chunk, to_duckdb_logical_type},
};
use qetl_core::Column;
use qetl_ingest::arrow_type;

use super::arrow::{handed_over, their_type};
use crate::{
    database::{Batches, Failure},
    zones,
};

/// Rows of a chunk of DuckDB's.
const CHUNK: usize = 2048;
/// Chunks that wait.
const WAITING: usize = 32;
/// The table function.
const ROWS: &str = "qetl_rows";

pub(super) fn register(connection: &Connection) -> ::duckdb::Result<()> {
    connection.register_scalar_function::<DateIn>(qetl_sql::dialects::DATE_IN)?;
    connection.register_table_function::<Rows>(ROWS)
}

/// The date of an instant in a time zone.
struct DateIn;

impl VArrowScalar for DateIn {
    type State = ();

    fn invoke((): &(), rows: theirs::RecordBatch) -> Result<Arc<dyn theirs::Array>, Box<dyn Error>> {
        use theirs::AsArray;
        let (instants, zones) = (rows.column(0).as_primitive::<types::Int64Type>(), rows.column(1).as_string::<i32>());
        let date = |(instant, zone): (Option<i64>, Option<&str>)| match (instant, zone) {
            (Some(instant), Some(zone)) => zones::date_in(instant, zone).map(Some),
            (None, _) | (_, None) => Ok(None),
        };
        Ok(Arc::new(instants.iter().zip(zones).map(date).collect::<Result<theirs::Date32Array, String>>()?))
    }

    fn signatures() -> Vec<ArrowFunctionSignature> {
        vec![ArrowFunctionSignature::exact(vec![types::DataType::Int64, types::DataType::Utf8], types::DataType::Date32)]
    }
}

/// Rows that a statement takes, each by one thread of many.
struct Source {
    columns: Vec<(String, types::DataType)>,
    chunks: Mutex<Receiver<theirs::RecordBatch>>,
}

/// Sources by number, as a statement can name no more than that.
static SOURCES: Mutex<BTreeMap<i64, Arc<Source>>> = Mutex::new(BTreeMap::new());

/// A source that can be read once, as long as this lives.
pub(super) struct RowsIn(i64);

impl RowsIn {
    pub(super) fn new(columns: &[Column]) -> (Self, SyncSender<theirs::RecordBatch>) {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        let (sender, receiver) = sync_channel(WAITING);
        let column = |column: &Column| (column.name.clone(), their_type(&arrow_type(column.ty)));
        let source = Source { columns: columns.iter().map(column).collect(), chunks: Mutex::new(receiver) };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        SOURCES.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::new(source));
        (Self(number), sender)
    }

    pub(super) fn query(&self) -> String {
        format!("SELECT * FROM {ROWS}({})", self.0)
    }
}

impl Drop for RowsIn {
    fn drop(&mut self) {
        SOURCES.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Sends rows until there are no more, or nobody takes them.
pub(super) fn send(rows: Batches<'_>, sender: &SyncSender<theirs::RecordBatch>) -> Result<(), Failure> {
    for batch in rows {
        let batch = handed_over(&batch)?;
        for begin in (0..batch.num_rows()).step_by(CHUNK) {
            let chunk = batch.slice(begin, CHUNK.min(batch.num_rows() - begin));
            if sender.send(chunk).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

struct Rows;

impl VTab for Rows {
    type BindData = Arc<Source>;
    type InitData = ();

    fn bind(bind: &BindInfo) -> Result<Arc<Source>, Box<dyn Error>> {
        let number = bind.get_parameter(0).to_int64();
        let source = SOURCES.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        let source = source.ok_or("these rows are not for statements of authors")?;
        for (name, ty) in &source.columns {
            bind.add_result_column(name, to_duckdb_logical_type(ty)?);
        }
        Ok(source)
    }

    fn init(init: &InitInfo) -> Result<(), Box<dyn Error>> {
        // As many as the instance has.
        init.set_max_threads(u64::from(u16::MAX));
        Ok(())
    }

    fn func(rows: &TableFunctionInfo<Self>, output: &mut DataChunkHandle) -> Result<(), Box<dyn Error>> {
        let next = rows.get_bind_data().chunks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(chunk) => record_batch_to_duckdb_data_chunk(&chunk, output),
            Err(_) => {
                output.set_len(0);
                Ok(())
            }
        }
    }

    fn parameters() -> Option<Vec<LogicalTypeHandle>> {
        Some(vec![LogicalTypeHandle::from(LogicalTypeId::Bigint)])
    }
}
