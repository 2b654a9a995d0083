//! Landing: the rows of files, or of a dataset's batch, are read in order and written with what says where they came from.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arrow::array::RecordBatch;
use datafusion::error::Result as PlanResult;
use qetl_core::Type;
use qetl_ingest::{DatasetRows, Misfits, Places, ReadSpec, RowHasher, Rows as ReadRows, SourceFile, bad_rows, content_hash, with_place};
use qetl_runtime::{
    RunError,
    engine::{FilePart, LandError, Landed, landed_whole},
    panics,
    progress::{Event, Progress},
};
use tokio::sync::mpsc;

use crate::{
    error,
    landed::LandedRows,
    stage::{Layout, StagedFile, Stager, remove},
};

/// Tells a thread to stop when nobody waits for it any more.
pub(crate) struct StopWhenDropped(pub(crate) Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is landed.
pub(crate) enum Rows {
    /// In reading order; and the rows of those that were landed before.
    Files(Vec<FilePart>, Option<LandedRows>),
    Dataset(BatchRows),
}

/// The rows that a dataset has of a batch, as they come.
pub(crate) struct BatchRows {
    pub(crate) dataset: String,
    /// The types that the wanted columns have there.
    pub(crate) types: Vec<Type>,
    /// How many rows there are.
    pub(crate) rows: u64,
    pub(crate) receiver: mpsc::Receiver<PlanResult<RecordBatch>>,
}

/// Reads rows in order and writes them with several writers, each its own files.
#[expect(clippy::too_many_arguments, reason = "all that landing needs, handed to a thread of its own")]
pub(crate) fn land(
    rows: Rows,
    spec: &ReadSpec,
    batch_id: i64,
    ordered: bool,
    layout: &Arc<Layout>,
    writers: usize,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<(Landed, Vec<StagedFile>), LandError> {
    let loaded_at = chrono::Utc::now().timestamp_micros();
    let hasher = RowHasher::new(spec.content_columns());
    std::thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..writers {
            let (sender, receiver) = std::sync::mpsc::sync_channel::<(RecordBatch, u64)>(2);
            let (hasher, columns) = (&hasher, spec.columns.len() + spec.bad_columns().len());
            threads.push(scope.spawn(move || -> Result<(u128, Vec<StagedFile>), RunError> {
                let mut stager = Stager::new(layout.clone());
                let (mut sum, mut hashes) = (0_u128, Vec::new());
                for (batch, first) in receiver {
                    hashes.clear();
                    let input = batch.project(&(0..columns).collect::<Vec<_>>()).map_err(RunError::failed)?;
                    hasher.hash(&input, &mut hashes).map_err(RunError::failed)?;
                    for (place, hash) in (first..).zip(&hashes) {
                        sum = sum.wrapping_add(content_hash(*hash, ordered.then_some(place)));
                    }
                    stager.write(&batch)?;
                }
                Ok((sum, stager.finish()?))
            }));
            senders.push(sender);
        }
        let mut landed = Landed::default();
        let (mut turn, width) = (0, spec.columns.len());
        // Whether to go on: a writer that failed is no longer there; its error is told below.
        let mut give = |rows: Given<'_>, share: Option<f64>| -> Result<bool, LandError> {
            if stop.load(Ordering::Relaxed) {
                return Err(LandError::Run(RunError::interrupted()));
            }
            let (placed, first) = match rows {
                Given::New { rows, source, first } => {
                    (with_place(&rows.good, batch_id, loaded_at, source, rows.numbers()).map_err(RunError::failed)?, first)
                }
                Given::Landed { rows, first } => (rows, first),
            };
            landed.filled.see(&placed, width);
            landed.rows += placed.num_rows() as u64;
            landed.bad_rows += bad_rows(&placed);
            if senders[turn % writers].send((placed, first)).is_err() {
                return Ok(false);
            }
            turn += 1;
            progress.tell(Event::Rows { rows: landed.rows, share });
            Ok(true)
        };
        let mut told = Told::default();
        let outcome = match rows {
            Rows::Files(parts, landed) => read_files(&parts, landed, spec, &mut give, &mut told),
            Rows::Dataset(rows) => read_dataset(rows, spec, &mut give, &mut told),
        };
        landed.bad = told.misfits.parked().to_vec();
        let outcome = outcome.and_then(|()| landed_whole(told.misfits));
        (landed.warnings, landed.emptied) = (told.warnings, told.emptied);
        drop(senders);
        let mut staged = Vec::new();
        let mut failure = outcome.err();
        for thread in threads {
            match thread.join().unwrap_or_else(|panic| Err(panics::error(&*panic))) {
                Ok((sum, files)) => {
                    landed.content_hash = landed.content_hash.wrapping_add(sum);
                    staged.extend(files);
                }
                Err(error) => failure = failure.or(Some(error.into())),
            }
        }
        match failure {
            None => Ok((landed, staged)),
            Some(failure) => {
                remove(&staged);
                Err(failure)
            }
        }
    })
}

/// What is told of the rows, beside them.
#[derive(Default)]
struct Told {
    warnings: Vec<String>,
    emptied: Vec<usize>,
    misfits: Misfits,
}

/// Rows on their way to a writer; `first`: the place of the first one among all rows of the batch.
enum Given<'a> {
    New {
        rows: &'a ReadRows,
        source: &'a str,
        first: u64,
    },
    /// With what landing had added to them.
    Landed {
        rows: RecordBatch,
        first: u64,
    },
}

/// Takes rows, and the share of all that is read.
type Give<'a> = dyn FnMut(Given<'_>, Option<f64>) -> Result<bool, LandError> + 'a;

/// Once something does not fit, the rest is read only to tell what else does not.
fn read_files(
    parts: &[FilePart],
    landed: Option<LandedRows>,
    spec: &ReadSpec,
    give: &mut Give<'_>,
    told: &mut Told,
) -> Result<(), LandError> {
    let size = |file: &SourceFile| std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
    let sizes = parts.iter().map(|part| if let FilePart::Read(file) = part { size(file) } else { 0 });
    let (total, mut read_before) = (sizes.sum::<u64>(), 0);
    let mut places = Places::default();
    for part in parts {
        let file = match part {
            FilePart::Read(file) => file,
            FilePart::Landed(name) => {
                places.add(name, landed.as_ref().and_then(|landed| landed.counts.get(name)).copied().unwrap_or(0));
                continue;
            }
        };
        let (mut rows_of_file, first) = (0, places.rows());
        let mut reader = qetl_ingest::read(file, spec)?;
        while let Some(rows) = reader.next() {
            let rows = told.misfits.take(rows?, spec);
            let share = (total > 0).then(|| (read_before + reader.bytes_read()) as f64 / total as f64);
            let first = first + rows_of_file;
            rows_of_file += rows.good.num_rows() as u64;
            if told.misfits.is_empty() && reader.has_right_types() && !give(Given::New { rows: &rows, source: &file.name, first }, share)? {
                return Ok(());
            }
        }
        places.add(&file.name, rows_of_file);
        read_before += size(file);
        told.misfits.widen(&reader.wider());
        told.misfits.settle(&reader.untyped());
        told.emptied.extend(reader.emptied());
        told.warnings.extend(reader.warnings().iter().cloned());
    }
    match landed {
        Some(landed) if told.misfits.is_empty() => {
            landed.each(&places.firsts(), &mut |rows, first| give(Given::Landed { rows, first }, None))
        }
        Some(_) | None => Ok(()),
    }
}

fn read_dataset(mut from: BatchRows, spec: &ReadSpec, give: &mut Give<'_>, told: &mut Told) -> Result<(), LandError> {
    let mut wanted = DatasetRows::new(&from.dataset, spec, &from.types)?;
    let mut read = 0;
    while let Some(batch) = from.receiver.blocking_recv() {
        let rows = told.misfits.take(wanted.conform(&batch.map_err(error::engine)?)?, spec);
        read += rows.count();
        let share = (from.rows > 0).then(|| read as f64 / from.rows as f64);
        let given = Given::New { rows: &rows, source: &from.dataset, first: read - rows.count() };
        if told.misfits.is_empty() && wanted.has_right_types() && !give(given, share)? {
            return Ok(());
        }
    }
    told.misfits.widen(&wanted.wider());
    told.misfits.settle(&wanted.untyped());
    // Rows that end early look like the end.
    match read == from.rows {
        true => Ok(()),
        false => Err(RunError::failed(format!("{read} of the {} rows of `{}` could be read", from.rows, from.dataset)).into()),
    }
}
