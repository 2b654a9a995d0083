//! The run of a standard flow: its files are landed, its tasks run in their order, and all of it is published at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use futures::{StreamExt, stream::FuturesUnordered};
use qetl_core::{
    Column, DatasetName, Flow,
    plan::{BAD_ROW, InputType},
    standard::{StandardFlow, StandardTask, StatementKind, TaskWork, WriteMode},
};
use qetl_ingest::{BadRows, SourceFile};

use super::{
    bench::{Bench, Filled, From, Moment, Target},
    check::{self, TaskText},
    files::{StandardJob, vars_of},
    hold::hold,
    prepare::{self, PlannedStandard},
    script::{self, Script},
    settle::{reads_otherwise, scopes_of},
    types,
    work::differs,
};
use crate::{
    Engine, FlowLock, Place, RunError,
    engine::{FilePart, LandError, Landed, Publish},
    panics,
    progress::{Event, Progress},
    records::{BatchDetails, BatchRecord, FileRecord, FlowRecords},
    report::{BatchReport, Status, StepReport},
    run::{Done, History, blocking, failure_status, fingerprints, refuse_bad_rows, refuse_changed_files, stored_values},
    types as flow_types,
    waiting::{JobFile, Request, Roots, micros, parts},
    warnings,
};

/// How many tasks run at once when nobody says: scripts and queries share the machine's memory.
const DEFAULT_JOBS: usize = 4;

pub(crate) struct StandardRun<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) flow: &'a Flow,
    pub(crate) project: &'a [&'a Flow],
    pub(crate) roots: &'a Roots,
    pub(crate) request: &'a Request,
    pub(crate) progress: &'a Progress,
    pub(crate) run_id: &'a str,
    pub(crate) history: History<'a>,
    /// Warnings of this text were not told yet.
    pub(crate) tells: bool,
    pub(crate) done: Done,
}

/// What the tasks of a batch made.
struct Derived {
    steps: Vec<StepReport>,
    /// What is doubtful about their texts.
    warnings: Vec<String>,
}

impl StandardRun<'_> {
    pub(crate) async fn all(&mut self, standard: &StandardFlow, wait: Duration) -> Result<(), RunError> {
        let place = Place::flow(self.flow.id());
        let lock = self.engine.lock(self.flow.id(), wait).await.map_err(|error| error.at(&place))?;
        let mut planned = prepare::prepare(self.engine, self.flow, standard, self.project, self.roots, self.request)
            .await
            .map_err(|error| error.at(&place))?;
        planned.obstacles.clone().or(())?;
        if !planned.jobs.is_empty() || self.request.full_refresh {
            planned.absent.clone().or(())?;
        }
        self.refuse_type_changes(&planned).await.map_err(|error| error.at(&place))?;
        let mut warnings = planned.changes.clone();
        self.tells = (!planned.jobs.is_empty() || self.request.full_refresh)
            && warnings::once(self.flow, &mut planned.records.details, self.request, self.progress);
        if self.tells {
            warnings.extend(planned.warnings.0.iter().map(|warning| format!("{}: {warning}", warning.place())));
        }
        if self.request.full_refresh && !planned.records.batches.is_empty() {
            self.history.begin(&*lock, None).await.map_err(|error| error.at(&place))?;
            self.refresh(&mut planned, &*lock).await.map_err(|error| error.at(&place))?;
            self.history.end(Status::Succeeded, "").await;
            // All else that makes work is done by that.
            let has_files = |job: &StandardJob| job.files.values().any(|files| !files.is_empty());
            let more = self.has_more(&planned)?;
            planned.jobs.retain(|job| has_files(job) || self.request.batch_id.is_some() || (more && !job.replay));
        }
        for job in planned.jobs.clone() {
            self.request.interrupt.check()?;
            let mut report = BatchReport {
                batch_id: job.batch_id,
                status: Status::Succeeded,
                files: job.read_files().into_iter().map(|file| file.source.name).collect(),
                landed_before: job.all_files().len() - job.read_files().len(),
                source_dataset: None,
                steps: Vec::new(),
                derived_again: Vec::new(),
                warnings: std::mem::take(&mut warnings),
                error: None,
            };
            let outcome = match self.history.begin(&*lock, Some(job.batch_id)).await {
                Ok(()) => panics::caught(self.batch(&*lock, &mut planned, &job, &mut report)).await,
                Err(error) => Err(error),
            };
            let outcome = outcome.map_err(|error| error.at(&place.batch(job.batch_id)));
            if let Err(error) = &outcome {
                (report.status, report.error) = (failure_status(error), Some(error.into()));
            }
            self.history.end(report.status, report.error.as_ref().map_or("", |error| &error.message)).await;
            self.done.batches.push(report);
            outcome?;
            self.tells = false;
        }
        Ok(())
    }

    /// A declared type may replace the recorded one only if every stored value fits it.
    async fn refuse_type_changes(&self, planned: &PlannedStandard) -> Result<(), RunError> {
        for (task, types) in ingestions(planned) {
            for column in types {
                let old = types::recorded(&task.target, &column.name, &planned.records);
                let Some(old) = old.filter(|old| old.ty != column.ty && !old.details.open).map(|old| old.ty) else { continue };
                let misfits = self.engine.misfits(&task.target, &Column::new(&column.name, column.ty)).await?;
                if misfits > 0 {
                    let message = format!(
                        "column `{}` of `{}` was {old} and is declared {} now, which {} not fit",
                        column.name,
                        task.target,
                        column.ty,
                        stored_values(misfits)
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
        report: &mut BatchReport,
    ) -> Result<(), RunError> {
        let flow = self.flow.id().to_owned();
        let known = planned.records.batch(job.batch_id).cloned();
        let (files, landed_before) = (report.files.clone(), report.landed_before);
        self.progress.tell(Event::BatchStarted { flow: flow.clone(), batch_id: job.batch_id, files, landed_before, dataset: None });
        let all_files = job.all_files();
        let files = self.fingerprints(planned, job, &all_files).await?;
        let bereft = self.settle(planned, job)?;
        let is_last = planned.records.greatest_id().is_none_or(|greatest| greatest <= job.batch_id) && known.is_none() && bereft.is_empty();
        // What merged rows were before this batch is not stored: so it is worked out from the first batch on.
        let anew = !is_last && planned.merges();
        let first = bereft.first().map_or(job.batch_id, |first| job.batch_id.min(*first));
        let others = planned.records.batches.iter().filter(|other| other.batch_id != job.batch_id && (anew || other.batch_id >= first));
        let again: Vec<StandardJob> = others.map(|other| of_record(other, &Request::default())).collect();
        for other in &again {
            self.settle(planned, other)?;
        }
        let own: Vec<DatasetName> = planned.flow.tasks.iter().flat_map(StandardTask::makes).collect();
        let bench = self.engine.bench(&flow, &own, lock, self.run_id, anew).await?;
        let (landed, by_task) = self.land(&*bench, planned, job, report).await?;
        refuse_changed_files(&all_files, &files)?;

        let mut shape = planned.shape.clone();
        shape["vars"] = job.vars.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
        if let Some(known) = &known {
            let same_rows = (known.content_hash, known.rows) == (landed.content_hash, i64::try_from(landed.rows).unwrap_or(i64::MAX));
            let same_rest = known.processed_at == job.processed_at && ["", "vars"].iter().all(|key| !differs(known, &shape, key));
            if same_rows && same_rest && planned.reads.is_as_recorded(known, job.batch_id) {
                report.status = Status::Unchanged;
                let content = |file: &FileRecord| (file.name.clone(), file.content_hash);
                let is_told = known.files.iter().map(content).eq(files.iter().map(content));
                if !is_told && self.request.batch_id.is_none() {
                    // Its transaction would keep the records from being written.
                    drop(bench);
                    // Else they would be looked at again by each run.
                    self.engine.read_again(&flow, lock, job.batch_id, &files).await?;
                    published(&mut planned.records, BatchRecord { files, ..known.clone() });
                }
                return Ok(());
            }
        }
        for task in &planned.flow.tasks {
            if let (TaskWork::Ingestion(ingestion), Some(landed)) = (&task.work, by_task.get(&task.id.value)) {
                refuse_bad_rows(&ingestion.reader, landed).map_err(|error| error.at(&Place::default().step(&task.target.to_string())))?;
            }
        }
        self.derive_all(&*bench, planned, job, &again, report).await?;
        report.derived_again = again.iter().map(|other| other.batch_id).collect();

        let record = BatchRecord {
            batch_id: job.batch_id,
            generation: known.map_or(1, |known| known.generation + 1),
            processed_at: job.processed_at,
            rows: i64::try_from(landed.rows).unwrap_or(i64::MAX),
            content_hash: landed.content_hash,
            shape,
            files,
            details: BatchDetails {
                columns: Some(types::landed_names(ingestions(planned).map(|(task, types)| (&task.target, types)))),
                reads: planned.reads.record(job.batch_id),
            },
        };
        let mut records = vec![record];
        records.extend(again.iter().filter_map(|other| reads_otherwise(planned, other.batch_id)));
        let inputs = ingestions(planned).map(|(task, types)| (&task.target, types, by_task.get(&task.id.value)));
        let columns = types::pinned(inputs, &planned.records);
        let run = self.history.succeeded(landed.rows, "");
        let details = planned.records.details_now();
        let publish = Publish { flow, batches: records.clone(), columns: columns.clone(), details: details.clone(), run };
        self.request.interrupt.publish(bench.publish(publish)).await?;
        records.into_iter().for_each(|record| published(&mut planned.records, record));
        (planned.records.columns, planned.records.details) = (columns, details);
        Ok(())
    }

    /// Derives the batch, and those that are derived again because of it.
    async fn derive_all(
        &self,
        bench: &dyn Bench,
        planned: &PlannedStandard,
        job: &StandardJob,
        again: &[StandardJob],
        report: &mut BatchReport,
    ) -> Result<(), RunError> {
        let mut moments: Vec<StandardJob> = again.to_vec();
        moments.push(job.clone());
        moments.sort_by_key(|moment| moment.batch_id);
        for (index, moment) in moments.iter().enumerate() {
            let last = index + 1 == moments.len();
            let done =
                self.derive(bench, planned, moment, last).await.map_err(|error| error.at(&Place::default().batch(moment.batch_id)))?;
            if moment.batch_id == job.batch_id || last {
                report.steps.extend(done.steps);
            }
            if moment.batch_id == job.batch_id && self.tells {
                report.warnings.extend(done.warnings);
            }
        }
        Ok(())
    }

    /// The files as they will be recorded, each once.
    async fn fingerprints(&self, planned: &PlannedStandard, job: &StandardJob, all: &[JobFile]) -> Result<Vec<FileRecord>, RunError> {
        let now = micros(SystemTime::now());
        let mut records = Vec::new();
        for task in &planned.flow.tasks {
            let (TaskWork::Ingestion(ingestion), Some(files)) = (&task.work, job.files.get(&task.id.value)) else { continue };
            let folders = flow_types::of_folders(&ingestion.reader, ingestion.columns.iter());
            for mut record in fingerprints(files.clone(), folders, now).await? {
                record.details.landed_in = Some(task.target.to_string());
                records.push(record);
            }
        }
        // A file that several ingestions read is one of the batch's.
        let first = |file: &JobFile| records.iter().find(|record: &&FileRecord| record.name == file.source.name).cloned();
        let mut found: Vec<FileRecord> = all.iter().filter_map(first).collect();
        for record in &mut found {
            if records.iter().filter(|other| other.name == record.name).count() > 1 {
                record.details.landed_in = None;
            }
        }
        Ok(found)
    }

    /// Lands the files of every ingestion: what all of them have, and each.
    async fn land(
        &self,
        bench: &dyn Bench,
        planned: &mut PlannedStandard,
        job: &StandardJob,
        report: &mut BatchReport,
    ) -> Result<(Landed, BTreeMap<String, Landed>), RunError> {
        let (mut all, mut by_task) = (Landed::default(), BTreeMap::new());
        for task in &planned.flow.tasks {
            let TaskWork::Ingestion(ingestion) = &task.work else { continue };
            let files = job.files.get(&task.id.value).map(Vec::as_slice).unwrap_or_default();
            let sources = parts(files);
            let Some(input) = planned.inputs.get_mut(&task.id.value) else {
                let message = format!("task `{}` never had a file, so the columns of `{}` are not known", task.id.value, task.target);
                return Err(RunError::usage(message, "list them in the task's `columns`, or put a file where its `path` finds it"));
            };
            let step = task.target.to_string();
            let place = Place::default().step(&step);
            let started = Instant::now();
            self.step_started(job.batch_id, &step);
            let mut landed = loop {
                match bench
                    .land(job.batch_id, &task.target, &sources, &types::read_spec(ingestion, input, BadRows::LeftOut), self.progress)
                    .await
                {
                    Ok(landed) => break landed,
                    Err(LandError::Run(error)) => return Err(error.at(&place)),
                    Err(LandError::Untyped(columns)) => {
                        let later = planned.jobs.iter().filter(|other| other.batch_id > job.batch_id);
                        let files = files.iter().chain(later.filter_map(|other| other.files.get(&task.id.value)).flatten());
                        let files: Vec<SourceFile> =
                            files.filter(|file| file.landed_at.is_none()).map(|file| file.source.clone()).collect();
                        let (ingestion, known) = (ingestion.clone(), Some(input.clone()));
                        let found = blocking(move || types::infer(&ingestion, known, &files)).await.map_err(|error| error.at(&place))?;
                        *input = found.unwrap_or_default();
                        flow_types::refuse_untyped(input, &columns)?;
                    }
                    Err(LandError::Widen(columns)) => {
                        let told = flow_types::widen(self.engine, Some(&task.target), input, columns).await;
                        report.warnings.extend(told.map_err(|error| error.at(&place))?);
                    }
                }
            };
            if let Some(parked) = task.parked() {
                // Files are read once more only for rows that do not fit.
                let again = |part: &&FilePart| !landed.bad.is_empty() || matches!(part, FilePart::Landed(_));
                let sources: Vec<FilePart> = sources.iter().filter(again).cloned().collect();
                let spec = types::read_spec(ingestion, input, BadRows::Alone);
                let bad = match bench.land(job.batch_id, &parked, &sources, &spec, self.progress).await {
                    Ok(bad) => bad,
                    Err(LandError::Run(error)) => return Err(error.at(&place)),
                    Err(LandError::Untyped(_) | LandError::Widen(_)) => {
                        return Err(RunError::failed("a file was changed while it was read").at(&place));
                    }
                };
                landed.rows += bad.rows;
                landed.bad_rows = bad.rows;
                landed.content_hash = landed.content_hash.wrapping_add(bad.content_hash);
            }
            all.rows += landed.rows;
            // The order of the tasks is the same in every run of one text.
            all.content_hash = all.content_hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b).wrapping_add(landed.content_hash);
            report.warnings.extend(landed.warnings.iter().cloned());
            for (_, column) in input.iter().enumerate().filter(|(index, _)| landed.filled.has(*index)) {
                report.warnings.extend(flow_types::settles(column, types::recorded(&task.target, &column.name, &planned.records)));
            }
            let rows = landed.rows - landed.bad_rows;
            let done = StepReport { step, rows, seconds: started.elapsed().as_secs_f64(), counts: BTreeMap::new() };
            self.step_done(job.batch_id, &done);
            report.steps.push(done);
            if let Some(parked) = task.parked().filter(|_| landed.bad_rows > 0) {
                let counts = BTreeMap::from([(BAD_ROW.to_owned(), landed.bad_rows)]);
                let done = StepReport { step: parked.to_string(), rows: landed.bad_rows, seconds: 0.0, counts };
                self.step_done(job.batch_id, &done);
                report.steps.push(done);
            }
            by_task.insert(task.id.value.clone(), landed);
        }
        Ok((all, by_task))
    }

    fn step_started(&self, batch_id: i64, step: &str) {
        self.progress.tell(Event::StepStarted { flow: self.flow.id().to_owned(), batch_id, step: step.to_owned() });
    }

    fn step_done(&self, batch_id: i64, report: &StepReport) {
        self.progress.tell(Event::StepDone { flow: self.flow.id().to_owned(), batch_id, report: report.clone() });
    }

    /// Runs SQL and scripts for one batch, several at once where they may. After a failure nothing new begins; what runs
    /// goes on to its end.
    async fn derive(&self, bench: &dyn Bench, planned: &PlannedStandard, job: &StandardJob, last: bool) -> Result<Derived, RunError> {
        let tasks = tasks_of(planned, last);
        let most = if self.request.jobs == 0 { DEFAULT_JOBS } else { self.request.jobs };
        let mut left: BTreeSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        let mut waiting = tasks.clone();
        let mut running = FuturesUnordered::new();
        let (mut done, mut failure): (Vec<(usize, StepReport)>, Option<RunError>) = (Vec::new(), None);
        let mut warnings = Vec::new();
        loop {
            while failure.is_none() && running.len() < most {
                let is_free = |task: &&StandardTask| task.after.iter().all(|id| !left.contains(id.as_str()));
                let Some(next) = waiting.iter().position(is_free) else { break };
                running.push(self.task(bench, planned, job, waiting.remove(next)));
            }
            let Some((task, outcome)) = running.next().await else { break };
            match outcome {
                Ok((report, told)) => {
                    left.remove(task.id.as_str());
                    warnings.extend(told.into_iter().map(|warning| format!("task `{}`: {warning}", task.id.value)));
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
        Ok(Derived { steps: done.into_iter().map(|(_, report)| report).collect(), warnings })
    }

    async fn task<'t>(
        &self,
        bench: &dyn Bench,
        planned: &PlannedStandard,
        job: &StandardJob,
        task: &'t StandardTask,
    ) -> (&'t StandardTask, Result<(StepReport, Vec<String>), RunError>) {
        let step = task.target.to_string();
        let started = Instant::now();
        self.step_started(job.batch_id, &step);
        let report = panics::caught(self.run_task(bench, planned, job, task)).await.map(|Filled { rows, warnings }| {
            (StepReport { step: step.clone(), rows, seconds: started.elapsed().as_secs_f64(), counts: BTreeMap::new() }, warnings)
        });
        (task, report.map_err(|error| error.at(&Place::default().step(&step))))
    }

    async fn run_task(
        &self,
        bench: &dyn Bench,
        planned: &PlannedStandard,
        job: &StandardJob,
        task: &StandardTask,
    ) -> Result<Filled, RunError> {
        let moment = Moment { batch_id: job.batch_id, processed_at: job.processed_at };
        let text = check::text(self.engine, &planned.flow, task, &job.context(self.engine.quote()))?;
        let (read, problems) = planned.keeping.reads(&planned.flow, task, &text);
        problems.or(())?;
        let scopes = scopes_of(planned, task, job.batch_id, &read);
        let TaskText { rendered, statement, mode } = text;
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
                let from = From::Query { sql: &rendered, statement, scopes: &scopes };
                bench.fill(moment, from, &target(&work.write.unique_key), self.progress).await
            }
            (TaskWork::Script(work), _) => {
                let script = Script { flow: self.flow, task, text: &rendered, scopes: &scopes, job, variables: &planned.flow.variables };
                let made = script::run(bench, moment, &script, self.roots, self.progress).await?;
                bench.fill(moment, From::File(&made.file), &target(&work.write.unique_key), self.progress).await
            }
            (TaskWork::Ingestion(_) | TaskWork::Sql(_), _) => Ok(Filled::default()),
        }
    }

    /// Derives every batch again from what was landed, in one publish.
    async fn refresh(&mut self, planned: &mut PlannedStandard, lock: &dyn FlowLock) -> Result<(), RunError> {
        hold(self.engine, planned).await?;
        let own: Vec<DatasetName> = planned.flow.tasks.iter().map(|task| task.target.clone()).collect();
        let bench = self.engine.bench(self.flow.id(), &own, lock, self.run_id, true).await?;
        let mut batches = planned.records.batches.clone();
        let count = batches.len();
        for batch in &batches {
            self.settle(planned, &of_record(batch, self.request))?;
        }
        for (index, batch) in batches.iter_mut().enumerate() {
            let job = of_record(batch, self.request);
            let outcome = self.derive(&*bench, planned, &job, index + 1 == count).await;
            let done = outcome.map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            if self.tells && index + 1 == count {
                let warning = |message| Event::Warning { flow: self.flow.id().to_owned(), message };
                done.warnings.into_iter().for_each(|message| self.progress.tell(warning(message)));
            }
            batch.generation += 1;
            batch.shape = planned.shape.clone();
            batch.shape["vars"] = job.vars.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
            batch.details.reads = planned.reads.record(batch.batch_id);
        }
        let columns = types::pinned(ingestions(planned).map(|(task, types)| (&task.target, types, None)), &planned.records);
        let rows = batches.iter().map(|batch| u64::try_from(batch.rows).unwrap_or(0)).sum();
        let run = self.history.succeeded(rows, "full refresh");
        let (flow, details) = (self.flow.id().to_owned(), planned.records.details_now());
        let publish = Publish { flow, batches: batches.clone(), columns: columns.clone(), details: details.clone(), run };
        self.request.interrupt.publish(bench.publish(publish)).await?;
        self.done.refreshed = batches.iter().map(|batch| batch.batch_id).collect();
        (planned.records.batches, planned.records.columns, planned.records.details) = (batches, columns, details);
        Ok(())
    }
}

/// The ingestions whose columns are known.
pub(super) fn ingestions(planned: &PlannedStandard) -> impl Iterator<Item = (&StandardTask, &[InputType])> {
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

fn published(records: &mut FlowRecords, record: BatchRecord) {
    records.ledger.extend(record.files.iter().map(|file| (record.batch_id, file.clone())));
    records.batches.retain(|batch| batch.batch_id != record.batch_id);
    records.batches.push(record);
    records.batches.sort_by_key(|batch| batch.batch_id);
}
