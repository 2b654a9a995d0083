//! Running plans into staged files.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::array::{AsArray, RecordBatch};
use datafusion::{
    error::{DataFusionError, Result as PlanResult},
    logical_expr::LogicalPlan,
    physical_plan::execute_stream_partitioned,
    prelude::SessionContext,
};
use futures::StreamExt;
use qetl_runtime::{
    RunError, panics,
    progress::{Event, Progress},
};
use tokio::task::JoinSet;

use crate::{
    deletes::Edit,
    stage::{Layout, StagedFile, Stager},
};

/// What a task wrote.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) files: Vec<StagedFile>,
    /// When the target's other rows stay: what becomes of its files. What is new is there then, not in `files`.
    pub(crate) edit: Option<Edit>,
}

impl Written {
    fn count(&mut self, batch: &RecordBatch, by: Option<&str>) {
        self.rows += batch.num_rows() as u64;
        let Some(words) = by.and_then(|by| batch.column_by_name(by)).and_then(|column| column.as_string_view_opt()) else { return };
        let mut run: Option<(&str, u64)> = None;
        for word in words.iter().flatten() {
            match &mut run {
                Some((last, count)) if *last == word => *count += 1,
                _ => {
                    if let Some((last, count)) = run.replace((word, 1)) {
                        *self.counts.entry(last.to_owned()).or_default() += count;
                    }
                }
            }
        }
        if let Some((last, count)) = run {
            *self.counts.entry(last.to_owned()).or_default() += count;
        }
    }

    pub(crate) fn add(&mut self, other: Written) {
        self.rows += other.rows;
        self.files.extend(other.files);
        for (word, count) in other.counts {
            *self.counts.entry(word).or_default() += count;
        }
    }
}

/// Runs a plan into staged files; counts rows by the column that is named.
pub(crate) async fn write(
    session: &SessionContext,
    plan: LogicalPlan,
    layout: Arc<Layout>,
    count_by: Option<&str>,
    progress: &Progress,
) -> PlanResult<Written> {
    write_apart(session, plan, layout, count_by, |batch| Ok([batch.clone(), batch.slice(0, 0)]), progress).await
}

/// As `write`, the two parts of each batch going to files of their own.
pub(crate) async fn write_apart(
    session: &SessionContext,
    plan: LogicalPlan,
    layout: Arc<Layout>,
    count_by: Option<&str>,
    split: fn(&RecordBatch) -> PlanResult<[RecordBatch; 2]>,
    progress: &Progress,
) -> PlanResult<Written> {
    let written = Arc::new(Mutex::new(Written::default()));
    let count_by = count_by.map(str::to_owned);
    let physical = session.state().create_physical_plan(&plan).await?;
    let streams = execute_stream_partitioned(physical, session.task_ctx())?;
    let mut tasks = JoinSet::new();
    for mut stream in streams {
        let (layout, written, count_by, progress) = (layout.clone(), written.clone(), count_by.clone(), progress.clone());
        tasks.spawn(async move {
            let mut stagers = [Stager::new(layout.clone()), Stager::new(layout)];
            while let Some(batch) = stream.next().await {
                let batch = batch?;
                for (stager, part) in stagers.iter_mut().zip(split(&batch)?) {
                    stager.write(&part).map_err(external)?;
                }
                let rows = {
                    let mut written = lock(&written);
                    written.count(&batch, count_by.as_deref());
                    written.rows
                };
                progress.tell(Event::Rows { rows, share: None });
            }
            for stager in stagers {
                lock(&written).files.extend(stager.finish().map_err(external)?);
            }
            Ok::<(), DataFusionError>(())
        });
    }
    join_all(tasks).await?;
    Ok(take(written))
}

/// Executes a plan and gives its batches away, from several threads.
pub(crate) async fn drain(
    session: &SessionContext,
    plan: LogicalPlan,
    give: impl Fn(RecordBatch) -> PlanResult<()> + Clone + Send + 'static,
) -> PlanResult<()> {
    let physical = session.state().create_physical_plan(&plan).await?;
    let mut tasks = JoinSet::new();
    for mut stream in execute_stream_partitioned(physical, session.task_ctx())? {
        let give = give.clone();
        tasks.spawn(async move {
            while let Some(batch) = stream.next().await {
                give(batch?)?;
            }
            Ok::<(), DataFusionError>(())
        });
    }
    join_all(tasks).await
}

pub(crate) async fn join_all(mut tasks: JoinSet<PlanResult<()>>) -> PlanResult<()> {
    while let Some(done) = tasks.join_next().await {
        done.map_err(|panic| external(panics::joined(panic)))??;
    }
    Ok(())
}

pub(crate) fn external(error: RunError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A thread that panicked while it held the lock has failed the run already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn take<T>(shared: Arc<Mutex<T>>) -> T {
    let Ok(mutex) = Arc::try_unwrap(shared) else { unreachable!("every task that shared it has ended") };
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
