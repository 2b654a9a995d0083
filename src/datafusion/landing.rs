//! Landing: source files are read in order, and their rows written with what says where they came from.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arrow::array::RecordBatch;
use qetl_ingest::{ReadSpec, RowHasher, SourceFile, content_hash, with_place};
use qetl_runtime::{
    RunError,
    engine::{LandError, Landed},
    progress::{Event, Progress},
};

use crate::stage::{Layout, StagedFile, Stager, remove};

/// Tells a thread to stop when nobody waits for it any more.
pub(crate) struct StopWhenDropped(pub(crate) Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads the files in order and writes their rows with several writers, each its own files.
#[expect(clippy::too_many_arguments, reason = "all that landing needs, handed to a thread of its own")]
pub(crate) fn land(
    files: &[SourceFile],
    spec: &ReadSpec,
    batch_id: i64,
    ordered: bool,
    layout: &Arc<Layout>,
    writers: usize,
    progress: &Progress,
    stop: &AtomicBool,
) -> Result<(Landed, Vec<StagedFile>), LandError> {
    let loaded_at = chrono::Utc::now().timestamp_micros();
    let total: u64 = files.iter().filter_map(|file| std::fs::metadata(&file.path).ok()).map(|meta| meta.len()).sum();
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
        let (mut turn, mut read_before) = (0, 0);
        let mut read = || -> Result<(), LandError> {
            for file in files {
                let mut rows_of_file = 0_i64;
                let mut reader = qetl_ingest::read(file, spec)?;
                while let Some(batch) = reader.next() {
                    if stop.load(Ordering::Relaxed) {
                        return Err(LandError::Run(RunError::Interrupted));
                    }
                    let batch = batch?;
                    let rows = batch.num_rows();
                    let batch = with_place(&batch, batch_id, loaded_at, &file.name, rows_of_file).map_err(RunError::failed)?;
                    rows_of_file += i64::try_from(rows).unwrap_or(i64::MAX);
                    // A writer that failed is no longer there; its error is told below.
                    if senders[turn % writers].send((batch, landed.rows)).is_err() {
                        return Ok(());
                    }
                    landed.rows += rows as u64;
                    turn += 1;
                    let share = (total > 0).then(|| (read_before + reader.bytes_read()) as f64 / total as f64);
                    progress.tell(Event::Rows { rows: landed.rows, share });
                }
                read_before += std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
                landed.warnings.extend(reader.warnings().iter().cloned());
            }
            Ok(())
        };
        let outcome = read();
        drop(senders);
        let mut staged = Vec::new();
        let mut failure = outcome.err();
        for thread in threads {
            match thread.join().unwrap_or_else(|_| Err(RunError::failed("a writer ended early"))) {
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
