//! The run of one flow: its batches, ascending.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use qetl_core::{
    Flow,
    plan::{InputType, LateBatches},
};

use qetl_ingest::SourceFile;

use super::{
    Done,
    derive::{Part, Told, context_of, known_batches},
    failure_status,
    history::History,
    landing::{fingerprints, refuse_bad_rows, refuse_changed_files},
    planned::{Planned, plan_flow},
};
use crate::{
    engine::{Engine, FlowLock, KnownBatch, Publish},
    error::{Place, RunError},
    panics,
    progress::{Event, Progress},
    records::{BatchDetails, BatchRecord, FileRecord, FlowRecords},
    report::{BatchReport, Status},
    types,
    waiting::{Job, JobInput, Request, Roots, micros},
    warnings,
};

pub(super) struct FlowRun<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) flow: &'a Flow,
    pub(super) project: &'a [&'a Flow],
    pub(super) roots: &'a Roots,
    pub(super) request: &'a Request,
    pub(super) progress: &'a Progress,
    pub(super) run_id: &'a str,
    /// What is read from the batch on that is executed now.
    pub(super) waiting: Vec<SourceFile>,
    pub(super) history: History<'a>,
    pub(super) done: Done,
}

impl FlowRun<'_> {
    pub(super) async fn all(&mut self, wait: Duration) -> Result<(), RunError> {
        let place = Place::flow(self.flow.id());
        let lock = self.engine.lock(self.flow.id(), wait).await.map_err(|error| error.at(&place))?;
        let planned = plan_flow(self.engine, self.flow, self.project, self.roots, self.request).await?;
        planned.obstacles.clone().or(())?;
        self.refuse_type_changes(&planned).await.map_err(|error| error.at(&place))?;
        let Planned { plan, jobs, mut records, source, .. } = planned;
        if let Some(source) = source.filter(|source| source.batches.is_empty()) {
            let message = format!("nothing of `{}` is published yet: execute flow `{}` first", source.dataset, source.maker);
            self.progress.tell(Event::Warning { flow: self.flow.id().to_owned(), message });
        }
        if !jobs.is_empty() || self.request.full_refresh {
            warnings::once(self.flow, &mut records.details, self.request, self.progress);
        }
        let mut input = plan.input.clone();
        if self.request.full_refresh && !records.batches.is_empty() {
            self.history.begin(&*lock, None).await.map_err(|error| error.at(&place))?;
            self.refresh(&plan, &*lock, &mut records).await.map_err(|error| error.at(&place))?;
            self.history.end(Status::Succeeded, "").await;
            self.done.refreshed = records.batches.iter().map(|batch| batch.batch_id).collect();
        }
        for (index, job) in jobs.iter().enumerate() {
            self.waiting = jobs[index..].iter().flat_map(Job::read_files).map(|file| file.source.clone()).collect();
            self.request.interrupt.check()?;
            let mut report = BatchReport {
                batch_id: job.batch_id,
                status: Status::Succeeded,
                files: job.read_files().map(|file| file.source.name.clone()).collect(),
                landed_before: job.files().len() - job.read_files().count(),
                source_dataset: job.dataset().map(ToString::to_string),
                steps: Vec::new(),
                derived_again: Vec::new(),
                warnings: Vec::new(),
                error: None,
            };
            let outcome = match self.history.begin(&*lock, Some(job.batch_id)).await {
                Ok(()) => panics::caught(self.batch(&*lock, &mut records, &mut input, job, &mut report)).await,
                Err(error) => Err(error),
            };
            let outcome = outcome.map_err(|error| error.at(&place.batch(job.batch_id)));
            if let Err(error) = &outcome {
                (report.status, report.error) = (failure_status(error), Some(error.into()));
            }
            self.history.end(report.status, report.error.as_ref().map_or("", |error| &error.message)).await;
            self.done.batches.push(report);
            outcome?;
        }
        Ok(())
    }

    async fn batch(
        &self,
        lock: &dyn FlowLock,
        records: &mut FlowRecords,
        input: &mut [InputType],
        job: &Job,
        report: &mut BatchReport,
    ) -> Result<(), RunError> {
        let (flow, known) = (self.flow.id().to_owned(), records.batch(job.batch_id).cloned());
        self.progress.tell(Event::BatchStarted {
            flow: flow.clone(),
            batch_id: job.batch_id,
            files: report.files.clone(),
            landed_before: report.landed_before,
            dataset: job.dataset().cloned(),
        });
        let now = micros(SystemTime::now());
        let processed_at = self.request.execution_date.or(known.as_ref().map(|batch| batch.processed_at)).unwrap_or(now);
        self.refuse_late(records, job, known.is_some())?;
        let had = columns_of(input, known.as_ref(), job);
        let lacks = input.iter().map(|column| column.name.clone()).filter(|name| !had.contains(name)).collect();
        let own = KnownBatch { batch_id: job.batch_id, processed_at, files: job.source_names(), lacks };
        let known_batches = known_batches(self.flow, records, input, Some(own));
        let context = context_of(&known_batches, job.batch_id);
        let files = match &job.input {
            JobInput::Files(files) => {
                let folders = types::of_folders(&self.flow.reader, self.flow.input.columns.iter().map(|column| &column.value));
                fingerprints(files.clone(), folders, now).await?
            }
            JobInput::Dataset(batch) => vec![batch.record(now)],
        };
        let (mut plan, mut work, mut landed) = self.land(lock, input, job, &context, report).await?;
        refuse_changed_files(job.files(), &files)?;
        for (_, column) in input.iter().enumerate().filter(|(index, _)| landed.filled.has(*index)) {
            report.warnings.extend(types::settles(column, records.columns.iter().find(|old| old.name == column.name)));
        }
        if let Some(known) = &known {
            let mut open = Some(work);
            let is_unchanged = match Self::is_as_recorded(known, &landed) {
                Some(is_unchanged) => is_unchanged,
                None => {
                    // Nobody else may read a table that this work has altered, and it has replaced the batch's rows itself.
                    open = open.filter(|_| !is_altered(records, input));
                    self.is_as_stored(&plan, &context, known, input, &landed).await?
                }
            };
            if is_unchanged {
                report.status = Status::Unchanged;
                // Its transaction would keep the records from being written.
                drop(open);
                return self.read_again(lock, records, job, known, files).await;
            }
            work = match open {
                Some(work) => work,
                None => {
                    // It tells what the first landing told.
                    let told = (report.steps.len(), report.warnings.len());
                    (plan, work, landed) = self.land(lock, input, job, &context, report).await?;
                    report.steps.truncate(told.0);
                    report.warnings.truncate(told.1);
                    work
                }
            };
        }
        refuse_bad_rows(&self.flow.reader, &landed)?;
        self.refuse_times_that_fall(&known_batches, job.batch_id)?;
        let builds = self.flow.properties.batches(self.flow).build_on_earlier;
        let later: Vec<BatchRecord> = records.batches.iter().filter(|batch| builds && batch.batch_id > job.batch_id).cloned().collect();
        if known.is_some() {
            self.refuse_late(records, job, false)?;
        }
        let mut told = Told { steps: &mut report.steps, warnings: &mut report.warnings };
        self.derive(&plan, &mut *work, &context, job, Part::Batch { own: true }, &mut told).await?;
        for batch in &later {
            let context = context_of(&known_batches, batch.batch_id);
            let nothing = &mut Told { steps: &mut Vec::new(), warnings: &mut Vec::new() };
            self.derive(&plan, &mut *work, &context, job, Part::Batch { own: false }, nothing)
                .await
                .map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            report.derived_again.push(batch.batch_id);
        }
        let all = !later.is_empty() || records.batches.is_empty();
        self.derive(&plan, &mut *work, &context, job, Part::Whole { own: true, all }, &mut told).await?;
        let record = BatchRecord {
            batch_id: job.batch_id,
            generation: known.map_or(1, |known| known.generation + 1),
            processed_at,
            rows: i64::try_from(landed.rows).unwrap_or(i64::MAX),
            content_hash: landed.content_hash,
            shape: self.flow.shape.clone(),
            files,
            details: BatchDetails { columns: Some(had), ..BatchDetails::default() },
        };
        let roles = if landed.rows > 0 { types::roles(self.flow, input) } else { BTreeMap::new() };
        let columns = types::pinned(input, &roles, records, Some(&landed));
        let details = records.details_now();
        let run = self.history.succeeded(landed.rows, "");
        let publish = Publish { flow, batches: vec![record.clone()], columns: columns.clone(), details: details.clone(), run };
        self.request.interrupt.publish(work.publish(publish)).await?;
        for column in input.iter_mut() {
            column.role = columns.iter().find(|pinned| pinned.name == column.name).and_then(|pinned| pinned.details.role.clone());
        }
        (records.columns, records.details) = (columns, details);
        records.ledger.extend(record.files.iter().map(|file| (record.batch_id, file.clone())));
        records.batches.retain(|batch| batch.batch_id != record.batch_id);
        records.batches.push(record);
        records.batches.sort_by_key(|batch| batch.batch_id);
        Ok(())
    }

    /// Records what an unchanged batch was read from, which would be looked at again by each run otherwise. A batch that was named is
    /// as it was.
    async fn read_again(
        &self,
        lock: &dyn FlowLock,
        records: &mut FlowRecords,
        job: &Job,
        known: &BatchRecord,
        mut files: Vec<FileRecord>,
    ) -> Result<(), RunError> {
        let content = |file: &FileRecord| (file.name.clone(), file.content_hash);
        let is_told = known.files.iter().map(content).eq(files.iter().map(content));
        if is_told || (self.request.batch_id.is_some() && job.dataset().is_none()) {
            return Ok(());
        }
        // A dataset in place of files leaves them known.
        files.extend(known.files.iter().filter(|file| !job.source_names().contains(&file.name)).cloned());
        self.engine.read_again(self.flow.id(), lock, job.batch_id, &files).await?;
        records.ledger.extend(files.iter().map(|file| (job.batch_id, file.clone())));
        if let Some(batch) = records.batches.iter_mut().find(|batch| batch.batch_id == job.batch_id) {
            batch.files = files;
        }
        Ok(())
    }

    /// Where batches that come late are not taken: refused before it is landed, unless it may be what it was. A known batch that is
    /// replaced comes late, too.
    fn refuse_late(&self, records: &FlowRecords, job: &Job, may_be_unchanged: bool) -> Result<(), RunError> {
        let builds = self.flow.properties.batches(self.flow).build_on_earlier;
        let last = records.greatest_id().filter(|last| builds && *last > job.batch_id);
        let (Some(last), LateBatches::Reject, false) = (last, self.flow.properties.late_batches(), may_be_unchanged) else {
            return Ok(());
        };
        let id = job.batch_id;
        let what = if records.batch(id).is_some() { "would be replaced with other content" } else { "arrives late" };
        let message = format!("batch {id} {what}: batch {last} is published already, and `late_batches` is `reject`");
        let next = match job.read_files().next() {
            Some(_) => format!(" (`--batch-id {} --input FILE`)", last + 1),
            None => String::new(),
        };
        let help = format!("load it as a new batch{next}, or set `late_batches = \"cascade\"` to derive the later batches again");
        Err(RunError::refused(Place::default(), message, help))
    }
}

/// Whether the columns are not those of the stored tables.
fn is_altered(records: &FlowRecords, input: &[InputType]) -> bool {
    let is_stored = |column: &InputType| records.columns.iter().any(|stored| stored.name == column.name && stored.ty == column.ty);
    !input.iter().all(is_stored)
}

/// The columns that the batch's rows have: those of the flow; and where rows of it are landed already and stay, those that it had.
fn columns_of(input: &[InputType], known: Option<&BatchRecord>, job: &Job) -> Vec<String> {
    let stays = job.files().iter().any(|file| file.landed_at.is_some());
    let had = |name: &String| known.and_then(|known| known.details.columns.as_ref()).is_none_or(|had| had.contains(name));
    let has = |column: &&InputType| !column.gone || (stays && had(&column.name));
    input.iter().filter(has).map(|column| column.name.clone()).collect()
}
