//! Landing: the rows of files, or of a dataset's batch, are read in order and written with what says where they came from.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arrow::array::RecordBatch;
use datafusion::error::Result as PlanResult;
use qetl_core::Type;
use qetl_ingest::{DatasetRows, ReadSpec, RowHasher, SourceFile, content_hash, with_place};
use qetl_runtime::{
    RunError,
    engine::{LandError, Landed},
    panics,
    progress::{Event, Progress},
};
use tokio::sync::mpsc;

use crate::{
    error,
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
    /// In reading order.
    Files(Vec<SourceFile>),
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
    let hasher = RowHasher::new(spec.columns.iter().map(|column| column.name.as_str()));
    std::thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..writers {
            let (sender, receiver) = std::sync::mpsc::sync_channel::<(RecordBatch, u64)>(2);
            let (hasher, columns) = (&hasher, spec.columns.len());
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
        let (mut turn, mut warnings) = (0, Vec::new());
        // Whether to go on: a writer that failed is no longer there; its error is told below.
        let mut give = |batch: &RecordBatch, source: &str, rows_before: i64, share: Option<f64>| -> Result<bool, LandError> {
            if stop.load(Ordering::Relaxed) {
                return Err(LandError::Run(RunError::interrupted()));
            }
            let placed = with_place(batch, batch_id, loaded_at, source, rows_before).map_err(RunError::failed)?;
            if senders[turn % writers].send((placed, landed.rows)).is_err() {
                return Ok(false);
            }
            landed.rows += batch.num_rows() as u64;
            turn += 1;
            progress.tell(Event::Rows { rows: landed.rows, share });
            Ok(true)
        };
        let outcome = match rows {
            Rows::Files(files) => read_files(&files, spec, &mut give, &mut warnings),
            Rows::Dataset(rows) => read_dataset(rows, spec, &mut give),
        };
        landed.warnings = warnings;
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

/// Takes rows with the name of their source, how many rows of it came before, and the share of all that is read.
type Give<'a> = dyn FnMut(&RecordBatch, &str, i64, Option<f64>) -> Result<bool, LandError> + 'a;

fn read_files(files: &[SourceFile], spec: &ReadSpec, give: &mut Give<'_>, warnings: &mut Vec<String>) -> Result<(), LandError> {
    let size = |file: &SourceFile| std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
    let (total, mut read_before) = (files.iter().map(size).sum::<u64>(), 0);
    for file in files {
        let mut rows_of_file = 0_i64;
        let mut reader = qetl_ingest::read(file, spec)?;
        while let Some(batch) = reader.next() {
            let batch = batch?;
            let share = (total > 0).then(|| (read_before + reader.bytes_read()) as f64 / total as f64);
            if !give(&batch, &file.name, rows_of_file, share)? {
                return Ok(());
            }
            rows_of_file += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        }
        read_before += size(file);
        warnings.extend(reader.warnings().iter().cloned());
    }
    Ok(())
}

fn read_dataset(mut from: BatchRows, spec: &ReadSpec, give: &mut Give<'_>) -> Result<(), LandError> {
    let mut wanted = DatasetRows::new(&from.dataset, spec, &from.types)?;
    let mut read = 0_i64;
    while let Some(batch) = from.receiver.blocking_recv() {
        let batch = wanted.conform(&batch.map_err(error::engine)?)?;
        let before = read;
        read += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        let share = (from.rows > 0).then(|| read as f64 / from.rows as f64);
        if !give(&batch, &from.dataset, before, share)? {
            return Ok(());
        }
    }
    // Rows that end early look like the end.
    match u64::try_from(read) == Ok(from.rows) {
        true => Ok(()),
        false => Err(RunError::failed(format!("{read} of the {} rows of `{}` could be read", from.rows, from.dataset)).into()),
    }
}
