//! `sessionize` by users in buckets: a bucket's events are sorted once, and one pass over them cuts the sessions.
//!
//! A window would sort all events with all their columns. Here rows are dealt into buckets by a hash of the user, which
//! go to disk when they are too many; then bucket after bucket only numbers are sorted, and rows are fetched last.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array},
    compute::{BatchCoalescer, concat_batches, take, take_record_batch},
    datatypes::{Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
    ipc::{
        CompressionType,
        reader::StreamReader,
        writer::{IpcWriteOptions, StreamWriter},
    },
    row::{RowConverter, SortField},
};
use datafusion::{
    common::{HashMap, Result, hash_utils::RandomState, hash_utils::create_hashes, internal_err},
    execution::TaskContext,
    physical_plan::{SendableRecordBatchStream, stream::RecordBatchReceiverStream, streaming::PartitionStream},
};
use qetl_core::{
    Column,
    ir::{Sessionize, Sessions},
};
use qetl_ingest::arrow_type;
use uuid::Uuid;

/// Rows that are dealt at once: fewer would make the pieces small.
const DEALT_ROWS: usize = 64 * 1024;

/// What the column of the `n`th order expression is called.
pub(crate) fn order_column(n: usize) -> String {
    format!("xt_order_{n}")
}

/// The rows of all events, by a hash of the user.
pub(crate) struct Buckets {
    schema: SchemaRef,
    user: usize,
    folder: PathBuf,
    buckets: Vec<Bucket>,
    memory_bytes: usize,
    most_bytes: usize,
}

#[derive(Default)]
struct Bucket {
    memory: Vec<RecordBatch>,
    spilled: Option<Spilled>,
}

struct Spilled {
    path: PathBuf,
    writer: Option<StreamWriter<File>>,
}

impl Drop for Spilled {
    fn drop(&mut self) {
        // What stays is removed with its folder, when the flow is locked the next time.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Deals the rows of one stream.
pub(crate) struct Dealer {
    buckets: Arc<Mutex<Buckets>>,
    user: usize,
    count: usize,
    waiting: BatchCoalescer,
}

impl Buckets {
    /// Buckets for so many rows; beyond `most_bytes` they go to files in the folder.
    pub(crate) fn new(schema: SchemaRef, user: &str, rows: Option<usize>, most_bytes: usize, folder: PathBuf) -> Result<Self> {
        let count = rows.map_or(128, |rows| rows / 500_000).clamp(8, 512);
        let user = schema.index_of(user)?;
        let buckets = std::iter::repeat_with(Bucket::default).take(count).collect();
        Ok(Self { schema, user, folder, buckets, memory_bytes: 0, most_bytes })
    }

    fn keep(&mut self, pieces: Vec<(usize, RecordBatch)>) -> Result<()> {
        for (bucket, piece) in pieces {
            self.memory_bytes += piece.get_array_memory_size();
            self.buckets[bucket].memory.push(piece);
        }
        if self.memory_bytes <= self.most_bytes {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)?;
        for bucket in &mut self.buckets {
            if bucket.memory.is_empty() {
                continue;
            }
            let spilled = match &mut bucket.spilled {
                Some(spilled) => spilled,
                None => {
                    let path = self.folder.join(format!("bucket-{}.arrow", Uuid::now_v7()));
                    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
                    let writer = StreamWriter::try_new_with_options(File::create_new(&path)?, &self.schema, options)?;
                    bucket.spilled.insert(Spilled { path, writer: Some(writer) })
                }
            };
            let rows = concat_batches(&self.schema, &bucket.memory)?;
            if let Some(writer) = &mut spilled.writer {
                writer.write(&rows)?;
            }
            bucket.memory.clear();
        }
        self.memory_bytes = 0;
        Ok(())
    }

    /// No more rows come.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for spilled in self.buckets.iter_mut().filter_map(|bucket| bucket.spilled.as_mut()) {
            if let Some(mut writer) = spilled.writer.take() {
                writer.finish()?;
            }
        }
        Ok(())
    }

    fn rows(&self, bucket: usize) -> Result<RecordBatch> {
        let bucket = &self.buckets[bucket];
        let mut batches = Vec::new();
        if let Some(spilled) = &bucket.spilled {
            for batch in StreamReader::try_new(std::io::BufReader::new(File::open(&spilled.path)?), None)? {
                batches.push(batch?);
            }
        }
        batches.extend(bucket.memory.iter().cloned());
        Ok(concat_batches(&self.schema, &batches)?)
    }
}

impl Dealer {
    pub(crate) fn new(buckets: Arc<Mutex<Buckets>>) -> Self {
        let (schema, user, count) = {
            let buckets = lock(&buckets);
            (buckets.schema.clone(), buckets.user, buckets.buckets.len())
        };
        Self { buckets, user, count, waiting: BatchCoalescer::new(schema, DEALT_ROWS) }
    }

    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.waiting.push_batch(batch)?;
        self.deal()
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.waiting.finish_buffered_batch()?;
        self.deal()
    }

    fn deal(&mut self) -> Result<()> {
        while let Some(batch) = self.waiting.next_completed_batch() {
            let mut hashes = vec![0; batch.num_rows()];
            create_hashes([batch.column(self.user)], &RandomState::with_seed(7), &mut hashes)?;
            let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.count];
            for (row, hash) in (0_u32..).zip(&hashes) {
                rows[usize::try_from(hash % self.count as u64).unwrap_or(0)].push(row);
            }
            let pieces = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
            let pieces = pieces.map(|(bucket, rows)| Ok((bucket, on_its_own(take_record_batch(&batch, &UInt32Array::from(rows))?)?)));
            let pieces = pieces.collect::<Result<Vec<_>>>()?;
            lock(&self.buckets).keep(pieces)?;
        }
        Ok(())
    }
}

/// The rows without the texts of those that they were taken from, which each piece would count and spill again.
fn on_its_own(rows: RecordBatch) -> Result<RecordBatch> {
    let columns = rows.columns().iter().map(|column| match column.as_string_view_opt() {
        Some(texts) if !texts.data_buffers().is_empty() => Arc::new(texts.gc()),
        _ => column.clone(),
    });
    Ok(RecordBatch::try_new(rows.schema(), columns.collect())?)
}

/// The sessions of every `of`th bucket, from the `first` on.
pub(crate) struct Cut {
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) spec: Arc<Sessionize>,
    pub(crate) schema: SchemaRef,
    pub(crate) first: usize,
    pub(crate) of: usize,
}

impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cut").field("first", &self.first).field("of", &self.of).finish_non_exhaustive()
    }
}

impl PartitionStream for Cut {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = context.session_config().batch_size();
        let mut builder = RecordBatchReceiverStream::builder(self.schema.clone(), 2);
        let (sender, buckets, spec, schema) = (builder.tx(), self.buckets.clone(), self.spec.clone(), self.schema.clone());
        let (first, of) = (self.first, self.of);
        builder.spawn_blocking(move || {
            for bucket in (first..buckets.buckets.len()).step_by(of) {
                let sessions = cut(&buckets.rows(bucket)?, &spec, &schema)?;
                for start in (0..sessions.num_rows()).step_by(rows) {
                    let part = sessions.slice(start, rows.min(sessions.num_rows() - start));
                    if sender.blocking_send(Ok(part)).is_err() {
                        // Nobody reads any more.
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        builder.build()
    }
}

/// The columns that come of it, as the engine has them.
pub(crate) fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| Field::new(&column.name, arrow_type(column.ty), true)).collect::<Vec<_>>()))
}

struct Event {
    user: u32,
    time: i64,
    row: u32,
}

/// The sessions of a bucket's events; each user's events are all there.
fn cut(events: &RecordBatch, spec: &Sessionize, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |name: &str| events.column_by_name(name).map_or_else(|| internal_err!("the events have no column `{name}`"), Ok);
    let times = column(&spec.time)?.as_primitive::<TimestampMicrosecondType>();
    let users = numbered(column(&spec.user)?)?;
    let mut order: Vec<Event> =
        users.iter().zip(times.values()).zip(0_u32..).map(|((user, time), row)| Event { user: *user, time: *time, row }).collect();
    order.sort_unstable_by_key(|event| (event.user, event.time, event.row));
    let has_ties = order.windows(2).any(|pair| (pair[0].user, pair[0].time) == (pair[1].user, pair[1].time));
    if has_ties && !spec.order.is_empty() {
        let keys = (0..spec.order.len()).map(|n| column(&order_column(n)).cloned()).collect::<Result<Vec<_>>>()?;
        let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(&keys)?;
        let row = |event: &Event| rows.row(event.row as usize);
        order.sort_by(|a, b| (a.user, a.time).cmp(&(b.user, b.time)).then_with(|| row(a).cmp(&row(b))));
    }

    let limit = spec.longest.unwrap_or(i64::MAX);
    let mut sessions: Vec<(usize, i64)> = Vec::new();
    for (place, event) in order.iter().enumerate() {
        let number = match (place.checked_sub(1).map(|before| &order[before]), sessions.last()) {
            (Some(before), Some((start, number))) if before.user == event.user => {
                let is_far = event.time.saturating_sub(before.time) > spec.gap;
                let is_long = event.time.saturating_sub(order[*start].time) > limit;
                if !is_far && !is_long {
                    continue;
                }
                number + 1
            }
            _ => 1,
        };
        sessions.push((place, number));
    }
    let ends: Vec<usize> = sessions.iter().skip(1).map(|(start, _)| *start).chain((!order.is_empty()).then_some(order.len())).collect();
    let at = |places: &mut dyn Iterator<Item = usize>| UInt32Array::from_iter_values(places.map(|place| order[place].row));
    let starts: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values(sessions.iter().map(|(start, _)| order[*start].time)).with_timezone("UTC"));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(sessions.iter().map(|(_, number)| *number)));
    let columns = match &spec.give {
        Sessions::Events => {
            let rows = at(&mut (0..order.len()));
            let of_event = UInt32Array::from_iter_values(
                (0_u32..)
                    .zip(sessions.iter().zip(&ends))
                    .flat_map(|(session, ((start, _), end))| std::iter::repeat_n(session, end - start)),
            );
            let own = schema.fields().iter().map(|field| match field.name().as_str() {
                "xt_session" => Ok(take(&numbers, &of_event, None)?),
                "xt_session_start" => Ok(take(&starts, &of_event, None)?),
                name => Ok(take(column(name)?, &rows, None)?),
            });
            own.collect::<Result<Vec<_>>>()?
        }
        Sessions::Sessions(names) => {
            let first = at(&mut sessions.iter().map(|(start, _)| *start));
            let last = at(&mut ends.iter().map(|end| end - 1));
            let batches = column("xt_batch_id")?.as_primitive::<Int64Type>();
            let greatest = sessions.iter().zip(&ends).map(|((start, _), end)| {
                let ids = order[*start..*end].iter().map(|event| batches.value(event.row as usize));
                ids.max().unwrap_or_default()
            });
            let time_of = |end: &usize| order[end - 1].time;
            let mut columns: Vec<ArrayRef> = vec![
                take(column(&spec.user)?, &first, None)?,
                numbers.clone(),
                starts,
                Arc::new(TimestampMicrosecondArray::from_iter_values(ends.iter().map(time_of)).with_timezone("UTC")),
                Arc::new(Int64Array::from_iter_values(
                    sessions.iter().zip(&ends).map(|((start, _), end)| i64::try_from(end - start).unwrap_or(i64::MAX)),
                )),
                Arc::new(Int64Array::from_iter_values(greatest)),
            ];
            for name in names {
                columns.push(take(column(name)?, &first, None)?);
                columns.push(take(column(name)?, &last, None)?);
            }
            columns
        }
    };
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// A number for each row, the same for the same user.
fn numbered(users: &ArrayRef) -> Result<Vec<u32>> {
    let fresh = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    if let Some(ids) = users.as_primitive_opt::<Int64Type>() {
        let mut known: HashMap<i64, u32> = HashMap::new();
        return Ok(ids
            .values()
            .iter()
            .map(|id| {
                let next = fresh(known.len());
                *known.entry(*id).or_insert(next)
            })
            .collect());
    }
    if let Some(texts) = users.as_string_view_opt() {
        let mut known: HashMap<&str, u32> = HashMap::new();
        return Ok((0..texts.len())
            .map(|row| {
                let next = fresh(known.len());
                *known.entry(texts.value(row)).or_insert(next)
            })
            .collect());
    }
    let rows = RowConverter::new(vec![SortField::new(users.data_type().clone())])?.convert_columns(std::slice::from_ref(users))?;
    let mut known = HashMap::new();
    Ok(rows
        .iter()
        .map(|row| {
            let next = fresh(known.len());
            *known.entry(row).or_insert(next)
        })
        .collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
