//! Rows that are deleted one by one: files of their places beside the data files, which stay as they are.
//!
//! The shape is the DuckLake format's: for a data file at most one live Parquet file with the columns `file_path` and
//! `pos`, a row a deleted row. DuckDB adds a third column when it deletes from a file twice: the version of each deletion.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
    sync::{Arc, Mutex},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchReader, StringViewArray},
    compute,
    datatypes::{DataType, Int64Type},
    row::{RowConverter, SortField},
};
use datafusion::{
    common::HashSet,
    datasource::physical_plan::parquet::ParquetRowSelection,
    error::Result as PlanResult,
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
    prelude::SessionContext,
};
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection},
};
use qetl_runtime::{RunError, panics};

use crate::{
    catalog::{DataFile, DeleteFile},
    error,
    lower::column,
    session::Limits,
    stage::{DELETED_ROW, GROUP_ROWS, Layout, StagedFile, Stager, remove},
    staging::{drain, external, lock, take},
};

/// What DuckDB calls the version in which a row was deleted.
const DELETED_IN: &str = "_ducklake_internal_snapshot_id";

/// Once so many files of a table are smaller than a row group, they are written anew as one: each costs a scan as much
/// as many rows do.
const SMALL_FILES: usize = 16;

/// Deletions that are written at once.
const WRITTEN_ROWS: usize = 64 * 1024;

/// What a key takes beside its bytes: the pointer to them, its place in the table, the allocation.
const KEY_BYTES: usize = 64;

/// The places of the deleted rows, ascending.
pub(crate) fn positions(deletes: &DeleteFile) -> Result<Vec<u64>, RunError> {
    error::named(&deletes.path, || read_positions(deletes))
}

fn read_positions(deletes: &DeleteFile) -> Result<Vec<u64>, RunError> {
    let failed = |why: &dyn std::fmt::Display| error::file(&deletes.path, why);
    let names = [Some(DELETED_ROW.1), deletes.until.map(|_| DELETED_IN)];
    let names: Vec<&str> = names.into_iter().flatten().collect();
    let reader = reader(&deletes.path, &names)?.ok_or_else(|| failed(&format!("it has no columns `{}`", names.join("`, `"))))?;
    let mut positions = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|why| failed(&why))?;
        let numbers = |name: &str| {
            let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
            column.filter(|column| column.null_count() == 0).ok_or_else(|| failed(&format!("`{name}` is not a number in each row")))
        };
        let places = numbers(DELETED_ROW.1)?.values().iter();
        let places: Result<Vec<u64>, _> = match deletes.until {
            None => places.map(|place| u64::try_from(*place)).collect(),
            Some(until) => {
                let versions = numbers(DELETED_IN)?.values().iter();
                places.zip(versions).filter(|(_, version)| **version <= until).map(|(place, _)| u64::try_from(*place)).collect()
            }
        };
        positions.extend(places.map_err(|why| failed(&why))?);
    }
    positions.sort_unstable();
    positions.dedup();
    Ok(positions)
}

/// The rows of a file that are not deleted, as its reader wants to be told.
pub(crate) fn selection(file: &DataFile, deletes: &DeleteFile) -> PlanResult<ParquetRowSelection> {
    let positions = positions(deletes).map_err(external)?;
    let rows = file.all_rows();
    if positions.len() as u64 != deletes.rows || positions.last().is_some_and(|last| *last >= rows) {
        let why = format!("it should name {} rows below {rows}, each once", deletes.rows);
        return Err(external(error::file(&deletes.path, why)));
    }
    let place = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
    let starts = std::iter::once(0).chain(positions.iter().map(|position| place(*position) + 1));
    let ends = positions.iter().map(|position| place(*position)).chain([place(rows)]);
    let kept = starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end);
    Ok(RowSelection::from_consecutive_ranges(kept, place(rows)).into())
}

/// What becomes of a table's files when the rows of some keys are replaced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edit {
    /// The files that it was made for, each with its file of deletes, in the order of their ids.
    pub(crate) of: Vec<(i64, Option<i64>)>,
    /// Data files of which nothing remains, or what remains is among the new ones.
    pub(crate) ended: BTreeSet<i64>,
    /// Data files of which rows are deleted, with all their deletions.
    pub(crate) deletes: BTreeMap<i64, StagedFile>,
    pub(crate) new: Vec<StagedFile>,
}

impl Edit {
    pub(crate) fn files(&self) -> impl Iterator<Item = &StagedFile> {
        self.deletes.values().chain(&self.new)
    }

    /// Removes what was never published.
    pub(crate) fn remove(&self) {
        self.files().for_each(|file| remove(std::slice::from_ref(file)));
    }

    /// A file of the table as it is from now on.
    pub(crate) fn applied(&self, file: DataFile) -> Option<DataFile> {
        let Some(id) = file.id else { return Some(file) };
        if self.ended.contains(&id) {
            return None;
        }
        let Some(staged) = self.deletes.get(&id) else { return Some(file) };
        Some(file.with_deletes(DeleteFile { id: None, path: staged.path.clone(), rows: staged.rows, bytes: staged.bytes, until: None }))
    }
}

/// Decides for each file whether it stays, has rows deleted, or is written anew; the last ones are given back, of which
/// the rows of other keys are to be written.
///
/// A file that holds none of the keys stays. Up to a share of its rows are listed as deleted. With more of them, with too
/// many keys to hold, or with many small files, what remains is written anew.
pub(crate) async fn part(files: Vec<DataFile>, keys: Option<Keys>, layout: &Layout, limits: &Limits) -> PlanResult<(Edit, Vec<DataFile>)> {
    let id = |file: &DataFile| file.id.unwrap_or_default();
    let mut edit =
        Edit { of: files.iter().map(|file| (id(file), file.deletes.as_ref().and_then(|deletes| deletes.id))).collect(), ..Edit::default() };
    let is_small = |file: &DataFile| file.rows < GROUP_ROWS as u64;
    let many_small = files.iter().filter(|file| is_small(file)).count() > SMALL_FILES;
    let (keys, layout) = (Arc::new(keys), Arc::new(Layout::of_deletes(layout.folder.clone())));
    let judged = futures::stream::iter(files).map(|file| {
        let (keys, layout, share, anew) = (keys.clone(), layout.clone(), limits.tuning.most_deleted, many_small && is_small(&file));
        async move {
            let judge = move || match &*keys {
                Some(keys) if !anew => error::named(&file.path, || fate(&file, keys, share, layout)).map(|fate| (file, fate)),
                Some(_) | None => Ok((file, Fate::Anew)),
            };
            let judged = tokio::task::spawn_blocking(judge).await;
            judged.map_err(|panic| external(panics::joined(panic)))?.map_err(external)
        }
    });
    let judged: Vec<(DataFile, Fate)> = judged.buffered(limits.threads.max(1)).try_collect().await?;
    let mut anew = Vec::new();
    for (file, fate) in judged {
        match fate {
            Fate::Stays => (),
            Fate::Deletes(staged) => {
                edit.deletes.insert(id(&file), staged);
            }
            Fate::Ends => {
                edit.ended.insert(id(&file));
            }
            Fate::Anew => {
                edit.ended.insert(id(&file));
                anew.push(file);
            }
        }
    }
    Ok((edit, anew))
}

enum Fate {
    Stays,
    Deletes(StagedFile),
    Ends,
    Anew,
}

fn fate(file: &DataFile, keys: &Keys, share: f64, layout: Arc<Layout>) -> Result<Fate, RunError> {
    if !keys.may_be_in(file.bounds.as_ref()) {
        return Ok(Fate::Stays);
    }
    let Some(mut found) = keys.finder(&file.path)? else { return Ok(Fate::Anew) };
    let mut deleted = file.deletes.as_ref().map_or_else(|| Ok(Vec::new()), positions)?;
    let most = (file.all_rows() as f64 * share) as usize;
    let (mut rows, mut new) = (0, Vec::new());
    let mut gone = deleted.iter().copied().peekable();
    while let Some((count, places)) = found.next()? {
        for place in places.into_iter().map(|place| rows + place) {
            while gone.next_if(|gone| *gone < place).is_some() {}
            if gone.peek() != Some(&place) {
                new.push(place);
            }
        }
        rows += count;
        if deleted.len() + new.len() > most {
            return Ok(Fate::Anew);
        }
    }
    if rows != file.all_rows() {
        return Err(error::file(&file.path, format!("it has {rows} rows, not {}", file.all_rows())));
    }
    if new.is_empty() {
        return Ok(Fate::Stays);
    }
    deleted.extend(new);
    if deleted.len() as u64 == rows {
        return Ok(Fate::Ends);
    }
    deleted.sort_unstable();
    write_deletes(&file.path, &deleted, layout).map(Fate::Deletes)
}

fn write_deletes(file: &Path, positions: &[u64], layout: Arc<Layout>) -> Result<StagedFile, RunError> {
    let schema = layout.schema().clone();
    let mut stager = Stager::new(layout);
    let file = file.to_string_lossy();
    for part in positions.chunks(WRITTEN_ROWS) {
        let files: ArrayRef = Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(&file, part.len())));
        let places = Int64Array::from_iter_values(part.iter().map(|place| i64::try_from(*place).unwrap_or(i64::MAX)));
        stager.write(&RecordBatch::try_new(schema.clone(), vec![files, Arc::new(places)]).map_err(RunError::failed)?)?;
    }
    let Ok([staged]) = <[StagedFile; 1]>::try_from(stager.finish()?) else { unreachable!("some rows are written, too few for two files") };
    Ok(staged)
}

/// Keys, few enough to be held.
pub(crate) struct Keys {
    names: Vec<String>,
    types: Vec<DataType>,
    /// In the form in which rows are compared. A key with a NULL is none: it is equal to no other.
    rows: HashSet<Box<[u8]>>,
    bytes: usize,
    bounds: Option<Bounds>,
}

/// The least and the greatest value of the first column.
enum Bounds {
    Int(i64, i64),
    Text(String, String),
    /// Of another type, whose bounds are not compared.
    Unknown,
}

impl Keys {
    /// The keys that a plan gives; `None` when they would take more memory than that.
    pub(crate) async fn collect(
        session: &SessionContext,
        plan: &LogicalPlan,
        names: &[String],
        most_bytes: usize,
    ) -> PlanResult<Option<Self>> {
        let plan = LogicalPlanBuilder::new(plan.clone()).project(names.iter().map(|name| column(name)))?.build()?;
        let types = plan.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        let keys = Self { names: names.to_vec(), types, rows: HashSet::new(), bytes: 0, bounds: None };
        let shared = Arc::new(Mutex::new(Some(keys)));
        let keys = shared.clone();
        drain(session, plan, move |batch| {
            let mut keys = lock(&keys);
            if let Some(known) = &mut *keys {
                known.add(&batch)?;
                if known.bytes > most_bytes {
                    *keys = None;
                }
            }
            Ok(())
        })
        .await?;
        Ok(take(shared))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The places of the rows of a file that have one of the keys and are not deleted; `None` when its columns are not theirs.
    pub(crate) fn places_in(&self, file: &DataFile) -> Result<Option<Vec<u64>>, RunError> {
        if !self.may_be_in(file.bounds.as_ref()) {
            return Ok(Some(Vec::new()));
        }
        let Some(mut found) = self.finder(&file.path)? else { return Ok(None) };
        let deleted = file.deletes.as_ref().map_or_else(|| Ok(Vec::new()), positions)?;
        let mut gone = deleted.into_iter().peekable();
        let (mut rows, mut places) = (0, Vec::new());
        while let Some((count, in_part)) = found.next()? {
            for place in in_part.into_iter().map(|place| rows + place) {
                while gone.next_if(|gone| *gone < place).is_some() {}
                if gone.peek() != Some(&place) {
                    places.push(place);
                }
            }
            rows += count;
        }
        if rows != file.all_rows() {
            return Err(error::file(&file.path, format!("it has {rows} rows, not {}", file.all_rows())));
        }
        Ok(Some(places))
    }

    fn converter(&self) -> Result<RowConverter, arrow::error::ArrowError> {
        RowConverter::new(self.types.iter().cloned().map(SortField::new).collect())
    }

    fn add(&mut self, batch: &RecordBatch) -> PlanResult<()> {
        let rows = self.converter()?.convert_columns(batch.columns())?;
        for (place, row) in rows.iter().enumerate() {
            let is_key = batch.columns().iter().all(|column| column.is_valid(place));
            if is_key && self.rows.insert(row.as_ref().into()) {
                self.bytes += row.as_ref().len() + KEY_BYTES;
            }
        }
        let Some(first) = batch.columns().first() else { return Ok(()) };
        let of_batch = if let Some(numbers) = first.as_primitive_opt::<Int64Type>() {
            compute::min(numbers).zip(compute::max(numbers)).map(|(least, greatest)| Bounds::Int(least, greatest))
        } else if let Some(texts) = first.as_string_view_opt() {
            let (least, greatest) = (compute::min_string_view(texts), compute::max_string_view(texts));
            least.zip(greatest).map(|(least, greatest)| Bounds::Text(least.to_owned(), greatest.to_owned()))
        } else {
            Some(Bounds::Unknown)
        };
        self.bounds = match (self.bounds.take(), of_batch) {
            (Some(Bounds::Int(a, b)), Some(Bounds::Int(c, d))) => Some(Bounds::Int(a.min(c), b.max(d))),
            (Some(Bounds::Text(a, b)), Some(Bounds::Text(c, d))) => Some(Bounds::Text(a.min(c), b.max(d))),
            (None, bounds) | (bounds, None) => bounds,
            (Some(_), Some(_)) => Some(Bounds::Unknown),
        };
        Ok(())
    }

    /// Whether one of them can be in a file whose first key column is within these bounds.
    fn may_be_in(&self, file: Option<&(String, String)>) -> bool {
        let number = |text: &String| text.parse::<i64>();
        match (&self.bounds, file) {
            (None, _) => false,
            (Some(Bounds::Int(least, greatest)), Some((from, to))) => match (number(from), number(to)) {
                (Ok(from), Ok(to)) => *least <= to && from <= *greatest,
                (Err(_), _) | (_, Err(_)) => true,
            },
            (Some(Bounds::Text(least, greatest)), Some((from, to))) => least <= to && from <= greatest,
            (Some(Bounds::Unknown), _) | (_, None) => true,
        }
    }

    /// Looks for the keys in a file, from its first row to its last; `None` when its columns are not theirs.
    fn finder<'a>(&'a self, path: &'a Path) -> Result<Option<Finder<'a>>, RunError> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let Some(reader) = reader(path, &names)? else { return Ok(None) };
        let has_type = |(name, ty): (&&str, &DataType)| reader.schema().field_with_name(name).is_ok_and(|field| field.data_type() == ty);
        if !names.iter().zip(&self.types).all(has_type) {
            return Ok(None);
        }
        let converter = self.converter().map_err(RunError::failed)?;
        Ok(Some(Finder { keys: self, path, converter, reader }))
    }
}

/// One pass over a data file.
struct Finder<'a> {
    keys: &'a Keys,
    path: &'a Path,
    converter: RowConverter,
    reader: ParquetRecordBatchReader,
}

impl Finder<'_> {
    /// How many rows come next, and the places among them of those that have one of the keys.
    fn next(&mut self) -> Result<Option<(u64, Vec<u64>)>, RunError> {
        let failed = |why: arrow::error::ArrowError| error::file(self.path, why);
        let Some(batch) = self.reader.next().transpose().map_err(failed)? else { return Ok(None) };
        let columns = self.keys.names.iter().filter_map(|name| batch.column_by_name(name).cloned());
        let rows = self.converter.convert_columns(&columns.collect::<Vec<_>>()).map_err(failed)?;
        let found = (0_u64..).zip(&rows).filter(|(_, row)| self.keys.rows.contains(row.as_ref()));
        Ok(Some((batch.num_rows() as u64, found.map(|(place, _)| place).collect())))
    }
}

/// Reads columns of a file in its order, all rows of it; `None` when it lacks one.
fn reader(path: &Path, names: &[&str]) -> Result<Option<ParquetRecordBatchReader>, RunError> {
    let open = || -> Result<Option<ParquetRecordBatchReader>, Box<dyn std::error::Error>> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
        let places: Option<Vec<usize>> = names.iter().map(|name| builder.schema().index_of(name).ok()).collect();
        let Some(places) = places else { return Ok(None) };
        let columns = ProjectionMask::roots(builder.parquet_schema(), places);
        Ok(Some(builder.with_projection(columns).with_batch_size(8192).build()?))
    };
    open().map_err(|why| error::file(path, why))
}
