//! The run of one flow: its batches, ascending.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use qetl_core::{
    Flow,
    plan::{InputType, LateBatches},
};

use super::{
    Done,
    derive::{Part, context_of, known_batches},
    failure_status,
    history::History,
    landing::{fingerprints, refuse_changed_files},
    planned::{Planned, plan_flow},
};
use crate::{
    engine::{Engine, FlowLock, KnownBatch, Publish},
    error::{Place, RunError},
    panics,
    progress::{Event, Progress},
    records::{BatchDetails, BatchRecord, FlowRecords},
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
        for job in jobs {
            self.request.interrupt.check()?;
            let mut report = BatchReport {
                batch_id: job.batch_id,
                status: Status::Succeeded,
                files: job.files().iter().map(|file| file.source.name.clone()).collect(),
                source_dataset: job.dataset().map(ToString::to_string),
                steps: Vec::new(),
                derived_again: Vec::new(),
                warnings: Vec::new(),
                error: None,
            };
            let outcome = match self.history.begin(&*lock, Some(job.batch_id)).await {
                Ok(()) => panics::caught(self.batch(&*lock, &mut records, &mut input, &job, &mut report)).await,
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
            dataset: job.dataset().cloned(),
        });
        let now = micros(SystemTime::now());
        let processed_at = self.request.execution_date.or(known.as_ref().map(|batch| batch.processed_at)).unwrap_or(now);
        let own = KnownBatch { batch_id: job.batch_id, processed_at, files: job.source_names(), lacks: Vec::new() };
        let known_batches = known_batches(records, input, Some(own));
        let context = context_of(&known_batches, job.batch_id, processed_at);
        let files = match &job.input {
            JobInput::Files(files) => fingerprints(files.clone(), now).await?,
            JobInput::Dataset(batch) => vec![batch.record(now)],
        };
        let (plan, mut work, landed) = self.land(lock, input, job, &context, report).await?;
        refuse_changed_files(job.files())?;
        if let Some(known) = &known
            && (known.content_hash, known.rows) == (landed.content_hash, i64::try_from(landed.rows).unwrap_or(i64::MAX))
        {
            report.status = Status::Unchanged;
            // Its transaction would keep the records from being written.
            drop(work);
            return match job.input {
                JobInput::Files(_) => Ok(()),
                // Else it would be looked at again by each run.
                JobInput::Dataset(_) => self.engine.read_again(&flow, lock, job.batch_id, &files).await,
            };
        }
        self.refuse_times_that_fall(&known_batches, job.batch_id)?;
        let builds = self.flow.properties.batches(self.flow).build_on_earlier;
        let later: Vec<BatchRecord> = records.batches.iter().filter(|batch| builds && batch.batch_id > job.batch_id).cloned().collect();
        if let (Some(last), LateBatches::Reject) = (later.last(), self.flow.properties.late_batches()) {
            let what = if known.is_some() { "would be replaced with other content" } else { "arrives late" };
            let message =
                format!("batch {} {what}: batch {} is published already, and `late_batches` is `reject`", job.batch_id, last.batch_id);
            let help = "load it as a new batch, or set `late_batches = \"cascade\"` to derive the later batches again";
            return Err(RunError::refused(Place::default(), message, help));
        }
        self.derive(&plan, &mut *work, &context, job, Part::Batch { own: true }, &mut report.steps).await?;
        for batch in &later {
            let context = context_of(&known_batches, batch.batch_id, batch.processed_at);
            self.derive(&plan, &mut *work, &context, job, Part::Batch { own: false }, &mut Vec::new())
                .await
                .map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            report.derived_again.push(batch.batch_id);
        }
        let all = !later.is_empty() || records.batches.is_empty();
        self.derive(&plan, &mut *work, &context, job, Part::Whole { own: true, all }, &mut report.steps).await?;
        let record = BatchRecord {
            batch_id: job.batch_id,
            generation: known.map_or(1, |known| known.generation + 1),
            processed_at,
            rows: i64::try_from(landed.rows).unwrap_or(i64::MAX),
            content_hash: landed.content_hash,
            shape: self.flow.shape.clone(),
            files,
            details: BatchDetails { columns: Some(input.iter().map(|column| column.name.clone()).collect()), ..BatchDetails::default() },
        };
        let roles = if landed.rows > 0 { types::roles(self.flow, input) } else { BTreeMap::new() };
        let columns = types::pinned(input, &roles, records);
        let details = records.details_now();
        let run = self.history.succeeded(landed.rows, "");
        let publish = Publish { flow, batches: vec![record.clone()], columns: columns.clone(), details: details.clone(), run };
        self.request.interrupt.publish(work.publish(publish)).await?;
        (records.columns, records.details) = (columns, details);
        records.ledger.extend(record.files.iter().map(|file| (record.batch_id, file.clone())));
        records.batches.retain(|batch| batch.batch_id != record.batch_id);
        records.batches.push(record);
        records.batches.sort_by_key(|batch| batch.batch_id);
        Ok(())
    }
}
