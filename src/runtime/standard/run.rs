//! The run of a standard flow: its files are landed, its tasks run in their order, and all of it is published at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use futures::{StreamExt, stream::FuturesUnordered};
use qetl_core::{
    Column, DatasetName, Flow,
    plan::{InputType, Known},
    standard::{StandardFlow, StandardTask, StatementKind, TaskWork, WriteMode},
};
use qetl_ingest::SourceFile;

use super::{
    bench::{Bench, From, Moment, Target},
    check::{self, TaskText},
    files::{StandardJob, vars_of},
    prepare::{PlannedStandard, differs, prepare},
    script::{self, Script},
    types,
};
use crate::{
    Engine, FlowLock, Place, RunError,
    engine::{LandError, Landed, Publish},
    progress::{Event, Progress},
    records::{BatchDetails, BatchRecord, FlowRecords, RunRecord},
    report::{BatchReport, Status, StepReport},
    run::{failure_status, fingerprints, refuse_changed_files},
    waiting::{Request, Roots, micros},
};

/// How many tasks run at once when nobody says: scripts and queries share the machine's memory.
const DEFAULT_JOBS: usize = 4;

pub(crate) struct StandardRun<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) flow: &'a Flow,
    pub(crate) roots: &'a Roots,
    pub(crate) request: &'a Request,
    pub(crate) progress: &'a Progress,
    pub(crate) run_id: &'a str,
    pub(crate) refreshed: Vec<i64>,
    pub(crate) batches: Vec<BatchReport>,
}

/// What the run of a batch goes by.
struct Batch<'a> {
    planned: &'a PlannedStandard,
    job: &'a StandardJob,
    started: Instant,
    /// Microseconds since 1970.
    started_at: i64,
}

impl StandardRun<'_> {
    pub(crate) async fn all(&mut self, standard: &StandardFlow, wait: Duration) -> Result<(), RunError> {
        let place = Place::flow(self.flow.id());
        let lock = self.engine.lock(self.flow.id(), wait).await.map_err(|error| error.at(&place))?;
        let mut planned = prepare(self.engine, self.flow, standard, self.roots, self.request).await.map_err(|error| error.at(&place))?;
        if !planned.jobs.is_empty() || self.request.full_refresh {
            planned.absent.clone().or(())?;
        }
        self.refuse_type_changes(&planned).await.map_err(|error| error.at(&place))?;
        if self.request.full_refresh && !planned.records.batches.is_empty() {
            self.refresh(&mut planned, &*lock).await.map_err(|error| error.at(&place))?;
            // All else that makes work is done by that.
            let has_files = |job: &StandardJob| job.files.values().any(|files| !files.is_empty());
            planned.jobs.retain(|job| has_files(job) || self.request.batch_id.is_some());
        }
        for job in planned.jobs.clone() {
            let (started, started_at) = (Instant::now(), micros(SystemTime::now()));
            let mut report = BatchReport {
                batch_id: job.batch_id,
                status: Status::Succeeded,
                files: job.all_files().into_iter().map(|file| file.source.name).collect(),
                source_dataset: None,
                steps: Vec::new(),
                derived_again: Vec::new(),
                warnings: planned.warnings.0.iter().map(|warning| format!("{}: {warning}", warning.place())).collect(),
                error: None,
            };
            let outcome = self.batch(&*lock, &mut planned, &job, (started, started_at), &mut report).await;
            let outcome = outcome.map_err(|error| error.at(&place.batch(job.batch_id)));
            if let Err(error) = &outcome {
                (report.status, report.error) = (failure_status(error), Some(error.into()));
            }
            if report.status != Status::Succeeded {
                let message = report.error.as_ref().map_or("", |error| &error.message);
                let run = self.run_record(Some(job.batch_id), report.status, started_at, started, 0, message);
                // What the run did not achieve is already told; that it could not be recorded must not hide that.
                if let Err(error) = self.engine.record_run(&run).await {
                    let message = format!("the run could not be recorded: {error}");
                    self.progress.tell(Event::Warning { flow: self.flow.id().to_owned(), message });
                }
            }
            self.batches.push(report);
            outcome?;
        }
        Ok(())
    }

    fn run_record(&self, batch_id: Option<i64>, status: Status, started_at: i64, started: Instant, rows: u64, message: &str) -> RunRecord {
        RunRecord {
            run_id: self.run_id.to_owned(),
            flow: self.flow.id().to_owned(),
            batch_id,
            status: status.name().to_owned(),
            started_at,
            seconds: started.elapsed().as_secs_f64(),
            rows: i64::try_from(rows).unwrap_or(i64::MAX),
            message: message.to_owned(),
        }
    }

    /// A declared type may replace the recorded one only if every stored value fits it.
    async fn refuse_type_changes(&self, planned: &PlannedStandard) -> Result<(), RunError> {
        for (task, types) in ingestions(planned) {
            for column in types {
                let Some(old) = types::recorded(&task.target, &column.name, &planned.records).filter(|old| *old != column.ty) else {
                    continue;
                };
                let misfits = self.engine.misfits(&task.target, &Column::new(&column.name, column.ty)).await?;
                if misfits > 0 {
                    let message = format!(
                        "column `{}` of `{}` was {old} and is declared {} now, which {misfits} stored values do not fit",
                        column.name, task.target, column.ty
                    );
                    return Err(RunError::usage(message, "set the type back, or load the column under another name"));
                }
            }
        }
        Ok(())
    }

    async fn batch(
        &self,
        lock: &dyn FlowLock,
        planned: &mut PlannedStandard,
        job: &StandardJob,
        (started, started_at): (Instant, i64),
        report: &mut BatchReport,
    ) -> Result<(), RunError> {
        let flow = self.flow.id().to_owned();
        let known = planned.records.batch(job.batch_id).cloned();
        self.progress.tell(Event::BatchStarted { flow: flow.clone(), batch_id: job.batch_id, files: report.files.clone(), dataset: None });
        let all_files = job.all_files();
        let files = fingerprints(all_files.clone(), micros(SystemTime::now())).await?;
        let is_last = planned.records.greatest_id().is_none_or(|greatest| greatest <= job.batch_id) && known.is_none();
        // What merged rows were before this batch is not stored: so it is worked out from the first batch on.
        let anew = !is_last && planned.merges();
        let own: Vec<DatasetName> = planned.flow.tasks.iter().map(|task| task.target.clone()).collect();
        let bench = self.engine.bench(&flow, &own, lock, self.run_id, anew).await?;
        let landed = self.land(&*bench, planned, job, report).await?;
        refuse_changed_files(&all_files)?;

        let mut shape = planned.shape.clone();
        shape["vars"] = job.vars.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
        if let Some(known) = &known {
            let same_rows = (known.content_hash, known.rows) == (landed.content_hash, i64::try_from(landed.rows).unwrap_or(i64::MAX));
            let same_rest =
                known.processed_at == job.processed_at && ["", "vars", "sources"].iter().all(|key| !differs(known, &shape, key));
            if same_rows && same_rest {
                report.status = Status::Unchanged;
                return Ok(());
            }
        }
        let batch = Batch { planned, job, started, started_at };
        report.derived_again = self.derive_all(&*bench, &batch, anew, &mut report.steps).await?;

        let record = BatchRecord {
            batch_id: job.batch_id,
            generation: known.map_or(1, |known| known.generation + 1),
            processed_at: job.processed_at,
            rows: i64::try_from(landed.rows).unwrap_or(i64::MAX),
            content_hash: landed.content_hash,
            shape,
            files,
            details: BatchDetails::default(),
        };
        let columns = types::pinned(ingestions(planned).map(|(task, types)| (&task.target, types)), &planned.records);
        let run = self.run_record(Some(job.batch_id), Status::Succeeded, batch.started_at, batch.started, landed.rows, "");
        let details = planned.records.details.clone();
        bench.publish(Publish { flow, batches: vec![record.clone()], columns: columns.clone(), details, run }).await?;
        published(&mut planned.records, record, columns);
        Ok(())
    }

    /// Derives the batch, and those that build on it: later ones, or all of them.
    async fn derive_all(
        &self,
        bench: &dyn Bench,
        batch: &Batch<'_>,
        anew: bool,
        steps: &mut Vec<StepReport>,
    ) -> Result<Vec<i64>, RunError> {
        let (planned, job) = (batch.planned, batch.job);
        let others = planned.records.batches.iter().filter(|other| other.batch_id != job.batch_id);
        let mut moments: Vec<StandardJob> =
            others.filter(|other| anew || other.batch_id > job.batch_id).map(|other| of_record(other, &Request::default())).collect();
        let again = moments.iter().map(|other| other.batch_id).collect();
        moments.push(job.clone());
        moments.sort_by_key(|moment| moment.batch_id);
        for (index, moment) in moments.iter().enumerate() {
            let last = index + 1 == moments.len();
            let mut done =
                self.derive(bench, planned, moment, last).await.map_err(|error| error.at(&Place::default().batch(moment.batch_id)))?;
            if moment.batch_id == job.batch_id || last {
                steps.append(&mut done);
            }
        }
        Ok(again)
    }

    /// Lands the files of every ingestion.
    async fn land(
        &self,
        bench: &dyn Bench,
        planned: &mut PlannedStandard,
        job: &StandardJob,
        report: &mut BatchReport,
    ) -> Result<Landed, RunError> {
        let mut all = Landed::default();
        for task in &planned.flow.tasks {
            let TaskWork::Ingestion(ingestion) = &task.work else { continue };
            let files = job.files.get(&task.id.value).map(Vec::as_slice).unwrap_or_default();
            let sources: Vec<SourceFile> = files.iter().map(|file| file.source.clone()).collect();
            let Some(input) = planned.inputs.get_mut(&task.id.value) else {
                let message = format!("task `{}` never had a file, so the columns of `{}` are not known", task.id.value, task.target);
                return Err(RunError::usage(message, "list them in the task's `columns`, or put a file where its `path` finds it"));
            };
            let step = task.target.to_string();
            let place = Place::default().step(&step);
            let started = Instant::now();
            self.step_started(job.batch_id, &step);
            let landed = loop {
                match bench.land(job.batch_id, &task.target, &sources, &types::read_spec(ingestion, input), self.progress).await {
                    Ok(landed) => break landed,
                    Err(LandError::Run(error)) => return Err(error.at(&place)),
                    Err(LandError::Widen { column, to }) => {
                        let widened: &mut InputType = &mut input[column];
                        let what = format!("column `{}` was {} and is {to} from now on: a value needs it", widened.name, widened.ty);
                        report.warnings.push(what);
                        (widened.ty, widened.known) = (to, Known::Inferred);
                    }
                }
            };
            all.rows += landed.rows;
            // The order of the tasks is the same in every run of one text.
            all.content_hash = all.content_hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b).wrapping_add(landed.content_hash);
            report.warnings.extend(landed.warnings);
            let done = StepReport { step, rows: landed.rows, seconds: started.elapsed().as_secs_f64(), counts: BTreeMap::new() };
            self.step_done(job.batch_id, &done);
            report.steps.push(done);
        }
        Ok(all)
    }

    fn step_started(&self, batch_id: i64, step: &str) {
        self.progress.tell(Event::StepStarted { flow: self.flow.id().to_owned(), batch_id, step: step.to_owned() });
    }

    fn step_done(&self, batch_id: i64, report: &StepReport) {
        self.progress.tell(Event::StepDone { flow: self.flow.id().to_owned(), batch_id, report: report.clone() });
    }

    /// Runs SQL and scripts for one batch, several at once where they may. After a failure nothing new begins; what runs
    /// goes on to its end.
    async fn derive(
        &self,
        bench: &dyn Bench,
        planned: &PlannedStandard,
        job: &StandardJob,
        last: bool,
    ) -> Result<Vec<StepReport>, RunError> {
        let tasks = tasks_of(planned, last);
        let most = if self.request.jobs == 0 { DEFAULT_JOBS } else { self.request.jobs };
        let mut left: BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        let mut waiting = tasks.clone();
        let mut running = FuturesUnordered::new();
        let (mut done, mut failure): (Vec<(usize, StepReport)>, Option<RunError>) = (Vec::new(), None);
        loop {
            while failure.is_none() && running.len() < most {
                let is_free = |task: &&StandardTask| task.after.iter().all(|id| !left.contains(id.as_str()));
                let Some(next) = waiting.iter().position(is_free) else { break };
                running.push(self.task(bench, planned, job, waiting.remove(next)));
            }
            let Some((task, outcome)) = running.next().await else { break };
            match outcome {
                Ok(report) => {
                    left.remove(task.id.as_str());
                    self.step_done(job.batch_id, &report);
                    done.push((tasks.iter().position(|other| other.id.value == task.id.value).unwrap_or(0), report));
                }
                // The cause is told, not what ended with it.
                Err(error) => failure = failure.filter(|first| !matches!(first, RunError::Abandoned)).or(Some(error)),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        done.sort_by_key(|(place, _)| *place);
        Ok(done.into_iter().map(|(_, report)| report).collect())
    }

    async fn task<'t>(
        &self,
        bench: &dyn Bench,
        planned: &PlannedStandard,
        job: &StandardJob,
        task: &'t StandardTask,
    ) -> (&'t StandardTask, Result<StepReport, RunError>) {
        let step = task.target.to_string();
        let started = Instant::now();
        self.step_started(job.batch_id, &step);
        let rows = self.run_task(bench, planned, job, task).await;
        let report =
            rows.map(|rows| StepReport { step: step.clone(), rows, seconds: started.elapsed().as_secs_f64(), counts: BTreeMap::new() });
        (task, report.map_err(|error| error.at(&Place::default().step(&step))))
    }

    async fn run_task(
        &self,
        bench: &dyn Bench,
        planned: &PlannedStandard,
        job: &StandardJob,
        task: &StandardTask,
    ) -> Result<u64, RunError> {
        let moment = Moment { batch_id: job.batch_id, processed_at: job.processed_at };
        let TaskText { rendered, statement, mode } = check::text(self.engine, &planned.flow, task, &job.context(self.engine.quote()))?;
        let target = |keys: &[qetl_core::decode::Sp<String>]| Target {
            dataset: task.target.clone(),
            mode: mode.unwrap_or(WriteMode::ReplaceBatch),
            unique_key: keys.iter().map(|key| key.value.clone()).collect(),
            append: planned.flow.tasks.iter().take_while(|other| other.id.value != task.id.value).any(|other| other.target == task.target),
        };
        match (&task.work, &statement) {
            (TaskWork::Sql(work), Some(statement)) => {
                // An INSERT lists the columns that it fills; the query alone is run.
                debug_assert!(statement.kind == StatementKind::Insert || statement.columns.is_empty());
                let from = From::Query { sql: &rendered, statement, scope: work.scope };
                bench.fill(moment, from, &target(&work.write.unique_key), self.progress).await
            }
            (TaskWork::Script(work), _) => {
                let script = Script { flow: self.flow, task, text: &rendered, scope: work.scope, job, variables: &planned.flow.variables };
                let made = script::run(bench, moment, &script, self.roots, self.progress).await?;
                bench.fill(moment, From::File(&made.file), &target(&work.write.unique_key), self.progress).await
            }
            (TaskWork::Ingestion(_) | TaskWork::Sql(_), _) => Ok(0),
        }
    }

    /// Derives every batch again from what was landed, in one publish.
    async fn refresh(&mut self, planned: &mut PlannedStandard, lock: &dyn FlowLock) -> Result<(), RunError> {
        let (started, started_at) = (Instant::now(), micros(SystemTime::now()));
        let own: Vec<DatasetName> = planned.flow.tasks.iter().map(|task| task.target.clone()).collect();
        let bench = self.engine.bench(self.flow.id(), &own, lock, self.run_id, true).await?;
        let mut batches = planned.records.batches.clone();
        let count = batches.len();
        for (index, batch) in batches.iter_mut().enumerate() {
            let job = of_record(batch, self.request);
            let outcome = self.derive(&*bench, planned, &job, index + 1 == count).await;
            outcome.map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            batch.generation += 1;
            batch.shape = planned.shape.clone();
            batch.shape["vars"] = job.vars.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
        }
        let columns = types::pinned(ingestions(planned).map(|(task, types)| (&task.target, types)), &planned.records);
        let rows = batches.iter().map(|batch| u64::try_from(batch.rows).unwrap_or(0)).sum();
        let run = self.run_record(None, Status::Succeeded, started_at, started, rows, "full refresh");
        let publish = Publish {
            flow: self.flow.id().to_owned(),
            batches: batches.clone(),
            columns: columns.clone(),
            details: planned.records.details.clone(),
            run,
        };
        bench.publish(publish).await?;
        self.refreshed = batches.iter().map(|batch| batch.batch_id).collect();
        (planned.records.batches, planned.records.columns) = (batches, columns);
        Ok(())
    }
}

/// The ingestions whose columns are known.
fn ingestions(planned: &PlannedStandard) -> impl Iterator<Item = (&StandardTask, &[InputType])> {
    planned.flow.tasks.iter().filter_map(|task| Some((task, planned.inputs.get(&task.id.value)?.as_slice())))
}

/// A recorded batch, to be derived again: with its time and its own values, below those of the request.
fn of_record(record: &BatchRecord, request: &Request) -> StandardJob {
    StandardJob {
        batch_id: record.batch_id,
        processed_at: record.processed_at,
        vars: vars_of(Some(record), request),
        files: BTreeMap::new(),
        replay: true,
    }
}

/// The tasks to run for a batch. Those that replace everything run for the last one alone, unless rows of each batch come
/// from what they make.
fn tasks_of(planned: &PlannedStandard, last: bool) -> Vec<&StandardTask> {
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for task in planned.flow.tasks.iter().rev() {
        let replaces = planned.tasks.iter().any(|own| own.id == task.id.value && own.mode == WriteMode::Replace);
        let builds_on = |other: &StandardTask| other.after.contains(&task.id.value) || other.target == task.target;
        let feeds = planned.flow.tasks.iter().any(|other| needed.contains(other.id.as_str()) && builds_on(other));
        if last || !replaces || feeds {
            needed.insert(&task.id);
        }
    }
    let runs = |task: &&StandardTask| !matches!(task.work, TaskWork::Ingestion(_)) && needed.contains(task.id.as_str());
    planned.flow.tasks.iter().filter(runs).collect()
}

fn published(records: &mut FlowRecords, record: BatchRecord, columns: Vec<crate::records::PinnedColumn>) {
    records.columns = columns;
    records.ledger.extend(record.files.iter().map(|file| (record.batch_id, file.clone())));
    records.batches.retain(|batch| batch.batch_id != record.batch_id);
    records.batches.push(record);
    records.batches.sort_by_key(|batch| batch.batch_id);
}
