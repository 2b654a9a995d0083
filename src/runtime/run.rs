//! A run: for each flow its waiting batches, one after another, each published whole or not at all.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use qetl_core::{
    Flow, Plan,
    input::OnDuplicateKey,
    plan::{self, InputType, Known, LateBatches},
};
use uuid::Uuid;

use crate::{
    engine::{BatchContext, BatchSource, Engine, FlowLock, KnownBatch, LandError, Landed, Publish, Work},
    error::{Place, RunError},
    flows::{self, Readers},
    progress::{Event, Progress},
    records::{BatchDetails, BatchRecord, FileDetails, FileRecord, FlowRecords, RunRecord},
    report::{BatchReport, ErrorReport, FlowReport, RunReport, Status, StepReport},
    standard::StandardRun,
    types,
    waiting::{Job, JobFile, JobInput, Request, Roots, micros},
};

mod judge;
mod planned;

pub(crate) use judge::shown;
pub(crate) use planned::plan_of;
pub use planned::{Planned, plan_flow};

/// Runs flows of a project, each with its request. A flow that fails keeps those from going on that read what it makes.
pub async fn execute(
    engine: &dyn Engine,
    flows: &[&Flow],
    project: &[&Flow],
    roots: &Roots,
    request: &Request,
    wait: Duration,
    progress: &Progress,
) -> Result<RunReport, RunError> {
    let run_id = Uuid::now_v7().to_string();
    let mut reports: Vec<FlowReport> = Vec::new();
    let readers = Readers::new(project);
    for flow in flows::in_order(flows, project) {
        let failed = |maker: &&str| reports.iter().find(|report| report.flow == *maker && flow_exit_code(report) != 0);
        if let Some(maker) = readers.makers_of(flow.id()).iter().find_map(failed) {
            let report = skipped(flow, maker);
            reports.push(report);
            continue;
        }
        let (refreshed, batches, outcome) = match flow.standard() {
            Some(tasks) => {
                let mut run =
                    StandardRun { engine, flow, roots, request, progress, run_id: &run_id, refreshed: Vec::new(), batches: Vec::new() };
                let outcome = run.all(&tasks, wait).await;
                (run.refreshed, run.batches, outcome)
            }
            None => {
                let (refreshed, batches) = (Vec::new(), Vec::new());
                let mut run = FlowRun { engine, flow, project, roots, request, progress, run_id: &run_id, refreshed, batches };
                let outcome = run.all(wait).await;
                (run.refreshed, run.batches, outcome)
            }
        };
        if let Err(RunError::Interrupted) = outcome {
            return Err(RunError::Interrupted);
        }
        reports.push(flow_report(flow, refreshed, batches, outcome));
    }
    let status = overall(reports.iter().map(|report| report.status));
    Ok(RunReport { run_id, status, flows: reports })
}

/// The exit code of a run: that of its failures if they agree and nothing succeeded beside them, else 1.
pub fn exit_code(report: &RunReport) -> i32 {
    let codes: Vec<i32> = report.flows.iter().map(flow_exit_code).collect();
    let worst = codes.iter().copied().find(|code| *code != 0).unwrap_or(0);
    if codes.iter().all(|code| *code == worst) { worst } else { 1 }
}

fn flow_exit_code(flow: &FlowReport) -> i32 {
    let errors = flow.batches.iter().filter_map(|batch| batch.error.as_ref()).chain(&flow.error);
    errors.map(|error| error.exit_code).next().unwrap_or(0)
}

fn overall(statuses: impl Iterator<Item = Status>) -> Status {
    let statuses: Vec<Status> = statuses.collect();
    let has = |status: Status| statuses.contains(&status);
    [Status::Failed, Status::Rejected, Status::Succeeded, Status::Unchanged]
        .into_iter()
        .find(|status| has(*status))
        .unwrap_or(Status::UpToDate)
}

/// A flow that reads what another could not make.
fn skipped(flow: &Flow, maker: &FlowReport) -> FlowReport {
    let message = format!("flow `{}` was skipped: `{}`, whose datasets it reads, failed", flow.id(), maker.flow);
    let error = ErrorReport { message, help: String::new(), exit_code: flow_exit_code(maker) };
    FlowReport { flow: flow.id().to_owned(), status: maker.status, refreshed: Vec::new(), batches: Vec::new(), error: Some(error) }
}

fn flow_report(flow: &Flow, refreshed: Vec<i64>, batches: Vec<BatchReport>, outcome: Result<(), RunError>) -> FlowReport {
    let of_batch = batches.iter().any(|batch| batch.error.is_some());
    let error = outcome.as_ref().err().filter(|_| !of_batch).map(ErrorReport::from);
    let status = match &outcome {
        Ok(()) => overall(batches.iter().map(|batch| batch.status).chain((!refreshed.is_empty()).then_some(Status::Succeeded))),
        Err(error) => failure_status(error),
    };
    FlowReport { flow: flow.id().to_owned(), status, refreshed, batches, error }
}

pub(crate) fn failure_status(error: &RunError) -> Status {
    if error.exit_code() == 3 { Status::Rejected } else { Status::Failed }
}

struct FlowRun<'a> {
    engine: &'a dyn Engine,
    flow: &'a Flow,
    project: &'a [&'a Flow],
    roots: &'a Roots,
    request: &'a Request,
    progress: &'a Progress,
    run_id: &'a str,
    refreshed: Vec<i64>,
    batches: Vec<BatchReport>,
}

impl FlowRun<'_> {
    async fn all(&mut self, wait: Duration) -> Result<(), RunError> {
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
        let mut input = plan.input.clone();
        if self.request.full_refresh && !records.batches.is_empty() {
            self.refresh(&plan, &*lock, &mut records).await.map_err(|error| error.at(&place))?;
            self.refreshed = records.batches.iter().map(|batch| batch.batch_id).collect();
        }
        for job in jobs {
            let started = Instant::now();
            let started_at = micros(SystemTime::now());
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
            let outcome = self.batch(&*lock, &mut records, &mut input, &job, started_at, started, &mut report).await;
            let outcome = outcome.map_err(|error| error.at(&place.batch(job.batch_id)));
            if let Err(error) = &outcome {
                (report.status, report.error) = (failure_status(error), Some(error.into()));
            }
            if report.status != Status::Succeeded {
                let run =
                    self.run_record(&job, report.status, started_at, started, 0, report.error.as_ref().map_or("", |error| &error.message));
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

    fn run_record(&self, job: &Job, status: Status, started_at: i64, started: Instant, rows: u64, message: &str) -> RunRecord {
        RunRecord {
            run_id: self.run_id.to_owned(),
            flow: self.flow.id().to_owned(),
            batch_id: Some(job.batch_id),
            status: status.name().to_owned(),
            started_at,
            seconds: started.elapsed().as_secs_f64(),
            rows: i64::try_from(rows).unwrap_or(i64::MAX),
            message: message.to_owned(),
        }
    }

    /// A declared type may replace the recorded one only if every stored value fits it.
    async fn refuse_type_changes(&self, planned: &Planned) -> Result<(), RunError> {
        let Some(landing) = planned.plan.landing() else { return Ok(()) };
        for column in &planned.plan.input {
            let Some(old) = planned.records.columns.iter().find(|old| old.name == column.name && old.ty != column.ty) else { continue };
            let wanted = qetl_core::Column::new(&column.name, column.ty);
            let misfits = self.engine.misfits(&landing.name, &wanted).await?;
            if misfits > 0 {
                let message = format!(
                    "column `{}` was {} and is declared {} now, which {misfits} stored values do not fit",
                    column.name, old.ty, column.ty
                );
                return Err(RunError::usage(message, "set the type back, or load the column under another name"));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the state of a flow's run, passed on to one batch of it")]
    async fn batch(
        &self,
        lock: &dyn FlowLock,
        records: &mut FlowRecords,
        input: &mut [InputType],
        job: &Job,
        started_at: i64,
        started: Instant,
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
        let own = KnownBatch { batch_id: job.batch_id, processed_at, files: job.source_names() };
        let known_batches = known_batches(records, Some(own));
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
            details: BatchDetails::default(),
        };
        let columns = types::pinned(input, records);
        let run = self.run_record(job, Status::Succeeded, started_at, started, landed.rows, "");
        let publish = Publish { flow, batches: vec![record.clone()], columns: columns.clone(), details: records.details.clone(), run };
        work.publish(publish).await?;
        records.columns = columns;
        records.ledger.extend(record.files.iter().map(|file| (record.batch_id, file.clone())));
        records.batches.retain(|batch| batch.batch_id != record.batch_id);
        records.batches.push(record);
        records.batches.sort_by_key(|batch| batch.batch_id);
        Ok(())
    }

    /// Lands the batch; a value that needs a wider inferred type widens it, and landing begins again.
    async fn land(
        &self,
        lock: &dyn FlowLock,
        input: &mut [InputType],
        job: &Job,
        context: &BatchContext,
        report: &mut BatchReport,
    ) -> Result<(Arc<Plan>, Box<dyn Work>, Landed), RunError> {
        let ordered = matches!(self.flow.input.on_duplicate_key, OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast)
            || self.flow.properties.batches(self.flow).row_order_counts;
        let source = match &job.input {
            JobInput::Files(files) => BatchSource::Files(files.iter().map(|file| file.source.clone()).collect()),
            JobInput::Dataset(batch) => BatchSource::Dataset(batch.dataset.clone()),
        };
        loop {
            let plan = Arc::new(plan::expand(self.flow, input.to_vec())?);
            let step = plan.landing().map_or_else(|| "landing".to_owned(), |landing| landing.name.to_string());
            let place = Place::default().step(&step);
            self.progress.tell(Event::StepStarted { flow: self.flow.id().to_owned(), batch_id: job.batch_id, step: step.clone() });
            let started = Instant::now();
            let mut work = self.engine.begin(plan.clone(), lock, self.run_id).await?;
            match work.land(context, &source, &types::read_spec(self.flow, input), ordered, self.progress).await {
                Ok(landed) => {
                    report.warnings.extend(landed.warnings.iter().cloned());
                    let done = StepReport { step, rows: landed.rows, seconds: started.elapsed().as_secs_f64(), counts: Default::default() };
                    self.step_done(job.batch_id, done, &mut report.steps);
                    return Ok((plan, work, landed));
                }
                Err(LandError::Run(error)) => return Err(self.with_flow_help(error, job).at(&place)),
                Err(LandError::Widen { column, to }) => {
                    let widened = &mut input[column];
                    report.warnings.push(format!("column `{}` was {} and is {to} from now on: a value needs it", widened.name, widened.ty));
                    (widened.ty, widened.known) = (to, Known::Inferred);
                }
            }
        }
    }

    /// What the flow's own settings say of a value that was refused.
    fn with_flow_help(&self, mut error: RunError, job: &Job) -> RunError {
        let RunError::Data { problem, .. } = &mut error else { return error };
        if let Some(dataset) = job.dataset() {
            problem.help = match problem.code {
                "qetl::ingest::null" => format!("mend the batch in `{dataset}`, or take the column out of `primary_key` or its `required`"),
                "qetl::ingest::value" => format!("mend the batch in `{dataset}`, or declare another `schema_type`"),
                _ => std::mem::take(&mut problem.help),
            };
        }
        let reader = &self.flow.reader;
        let is_key = self.flow.input.primary_key.iter().any(|key| problem.place.column.as_deref() == Some(key.as_str()));
        let more = match (problem.code, problem.help.as_str()) {
            ("qetl::ingest::null", _) if is_key => "`on_null_key = \"park\"` sets rows without a key aside".to_owned(),
            (_, help) if help.contains("`date_format`") && reader.date_format.is_some() => {
                format!("this flow also reads `date_format = \"{}\"`", reader.date_format.as_deref().unwrap_or_default())
            }
            (_, help) if help.contains("`timestamp_format`") && reader.timestamp_format.is_some() => {
                format!("this flow also reads `timestamp_format = \"{}\"`", reader.timestamp_format.as_deref().unwrap_or_default())
            }
            (_, help) if help.starts_with("numbers are") && reader.decimal_separator != b'.' => {
                "but this flow has `decimal_separator = \",\"`, so `-12,5`".to_owned()
            }
            _ => return error,
        };
        problem.help = format!("{}; {more}", problem.help);
        error
    }

    fn step_done(&self, batch_id: i64, done: StepReport, steps: &mut Vec<StepReport>) {
        self.progress.tell(Event::StepDone { flow: self.flow.id().to_owned(), batch_id, report: done.clone() });
        steps.push(done);
    }

    /// Runs a part of the flow's tasks and judges them.
    async fn derive(
        &self,
        plan: &Plan,
        work: &mut dyn Work,
        context: &BatchContext,
        job: &Job,
        part: Part,
        steps: &mut Vec<StepReport>,
    ) -> Result<(), RunError> {
        let (of_batch, own, all) = match part {
            Part::Batch { own } => (true, own, false),
            Part::Whole { own, all } => (false, own, all),
        };
        for task in plan.tasks.iter().filter(|task| task.write_mode.is_of_batch() == of_batch) {
            let step = task.target.to_string();
            let place = Place::default().step(&step);
            self.progress.tell(Event::StepStarted { flow: self.flow.id().to_owned(), batch_id: context.batch_id, step: step.clone() });
            // Rules for what was landed come before the work on it; the share of deletions is known only after.
            let (before, after): (Vec<_>, Vec<_>) = task.checks.iter().partition(|check| check.is_of_landing());
            let judged = |check: &&&plan::Check| !check.guard || (own && !self.request.accept_guards);
            for check in before.iter().filter(judged) {
                let rows = work.rows(context, &check.steps).await.map_err(|error| error.at(&place))?;
                judge::judge(self.flow, &plan.input, check, &rows, job).map_err(|error| error.at(&place))?;
            }
            let done = work.run(context, task, all, self.progress).await.map_err(|error| error.at(&place))?;
            for check in after.iter().filter(judged) {
                let rows = work.rows(context, &check.steps).await.map_err(|error| error.at(&place))?;
                judge::judge(self.flow, &plan.input, check, &rows, job).map_err(|error| error.at(&place))?;
            }
            self.step_done(context.batch_id, done, steps);
        }
        Ok(())
    }

    /// Where batches take effect at their execution times, these rise with the ids.
    fn refuse_times_that_fall(&self, known: &[KnownBatch], batch_id: i64) -> Result<(), RunError> {
        if !self.flow.properties.batches(self.flow).times_rise {
            return Ok(());
        }
        let Some(place) = known.iter().position(|batch| batch.batch_id == batch_id) else { return Ok(()) };
        let (before, after) = (place.checked_sub(1).and_then(|place| known.get(place)), known.get(place + 1));
        let own = known[place].processed_at;
        let rises = before.is_none_or(|other| other.processed_at < own) && after.is_none_or(|other| own < other.processed_at);
        if rises {
            return Ok(());
        }
        let time = |micros: i64| {
            chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
        };
        let say = |side: &str, other: &KnownBatch| format!("{side} {} (batch {})", time(other.processed_at), other.batch_id);
        let sides: Vec<String> =
            before.map(|other| say("after", other)).into_iter().chain(after.map(|other| say("before", other))).collect();
        let message = format!(
            "the batch's execution time, {}, does not stand between its neighbours': it must be {}",
            time(own),
            sides.join(" and ")
        );
        let help = "its rows take effect at that time; give one that fits with `--execution-date`, or name an `effective_date_column`";
        Err(RunError::refused(Place::default(), message, help))
    }

    /// Derives every batch again from what was landed, in one publish.
    async fn refresh(&self, plan: &Arc<Plan>, lock: &dyn FlowLock, records: &mut FlowRecords) -> Result<(), RunError> {
        for name in ["namespace", "dataset_prefix"] {
            if let Some(last) = records.batches.last().filter(|last| last.shape.get(name) != self.flow.shape.get(name)) {
                let was = last.shape.get(name).and_then(|value| value.as_str()).unwrap_or_default();
                let message = format!("`{name}` was `{was}`: the datasets stand under that name, and a full refresh does not move them");
                return Err(RunError::usage(message, "set it back, or load the data with a new flow id"));
            }
        }
        let (started, started_at) = (Instant::now(), micros(SystemTime::now()));
        let mut work = self.engine.begin(plan.clone(), lock, self.run_id).await?;
        let mut batches = records.batches.clone();
        let known = known_batches(records, None);
        let mut last = None;
        for batch in &mut batches {
            let job = Job { batch_id: batch.batch_id, input: JobInput::Files(Vec::new()), replay: true };
            let context = context_of(&known, batch.batch_id, batch.processed_at);
            self.derive(plan, &mut *work, &context, &job, Part::Batch { own: false }, &mut Vec::new())
                .await
                .map_err(|error| error.at(&Place::default().batch(batch.batch_id)))?;
            batch.generation += 1;
            batch.shape = self.flow.shape.clone();
            last = Some((context, job));
        }
        if let Some((context, job)) = &last {
            let part = Part::Whole { own: false, all: true };
            self.derive(plan, &mut *work, context, job, part, &mut Vec::new()).await?;
        }
        let columns = types::pinned(&plan.input, records);
        let job = Job { batch_id: 0, input: JobInput::Files(Vec::new()), replay: true };
        let rows = batches.iter().map(|batch| u64::try_from(batch.rows).unwrap_or(0)).sum();
        let run = RunRecord { batch_id: None, ..self.run_record(&job, Status::Succeeded, started_at, started, rows, "full refresh") };
        work.publish(Publish {
            flow: self.flow.id().to_owned(),
            batches: batches.clone(),
            columns: columns.clone(),
            details: records.details.clone(),
            run,
        })
        .await?;
        (records.batches, records.columns) = (batches, columns);
        Ok(())
    }
}

/// The files as they will be recorded.
pub(crate) async fn fingerprints(files: Vec<JobFile>, now: i64) -> Result<Vec<FileRecord>, RunError> {
    blocking(move || {
        let record = |file: &JobFile| {
            let content_hash = match file.content_hash {
                Some(hash) => hash,
                None => {
                    qetl_ingest::fingerprint(&file.source.path)
                        .map_err(|error| RunError::failed(format!("`{}` cannot be read: {error}", file.source.name)))?
                        .1
                }
            };
            Ok(FileRecord {
                name: file.source.name.clone(),
                size: file.size,
                modified: file.modified,
                content_hash,
                loaded_at: now,
                details: FileDetails::default(),
            })
        };
        files.iter().map(record).collect()
    })
    .await
}

/// Which tasks are run.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Those of a batch; `own`: the one that is being executed.
    Batch { own: bool },
    /// Those of all batches, once; `all`: nothing of what they made before is kept.
    Whole { own: bool, all: bool },
}

/// The batches that there will be, ascending: those that there are, one of them replaced or one more.
pub(crate) fn known_batches(records: &FlowRecords, own: Option<KnownBatch>) -> Arc<Vec<KnownBatch>> {
    let known = |batch: &BatchRecord| KnownBatch {
        batch_id: batch.batch_id,
        processed_at: batch.processed_at,
        files: batch.files.iter().map(|file| file.name.clone()).collect(),
    };
    let others = records.batches.iter().filter(|batch| own.as_ref().is_none_or(|own| own.batch_id != batch.batch_id));
    let mut all: Vec<KnownBatch> = others.map(known).chain(own.clone()).collect();
    all.sort_by_key(|batch| batch.batch_id);
    Arc::new(all)
}

pub(crate) fn context_of(known: &Arc<Vec<KnownBatch>>, batch_id: i64, processed_at: i64) -> BatchContext {
    let previous = known.iter().map(|batch| batch.batch_id).filter(|id| *id < batch_id).max();
    BatchContext { batch_id, previous, processed_at, known: known.clone() }
}

/// A file that was written to while it was read may have been read half old, half new.
pub(crate) fn refuse_changed_files(files: &[JobFile]) -> Result<(), RunError> {
    for file in files {
        let now = std::fs::metadata(&file.source.path).and_then(|meta| Ok((meta.len(), micros(meta.modified()?))));
        if now.ok() != Some((file.size, file.modified)) {
            return Err(RunError::Failed {
                place: Place::default(),
                message: format!("`{}` was changed while it was read", file.source.name),
                help: "run again when it is complete; write files under another name and rename them when they are done".to_owned(),
            });
        }
    }
    Ok(())
}

/// Runs work that blocks beside the async threads.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RunError> + Send + 'static) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(RunError::failed(format!("a thread ended early: {panic}"))))
}
