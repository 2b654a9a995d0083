//! Landing a batch, and the files that it is read from.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use qetl_core::{
    Plan,
    format::ReaderOptions,
    input::OnDuplicateKey,
    plan::{self, InputType},
};

use qetl_ingest::SourceFile;

use super::{blocking, flow::FlowRun};
use crate::{
    engine::{BatchContext, FlowLock, LandError, Landed, Work},
    error::{Place, RunError},
    progress::Event,
    records::{BatchRecord, FileRecord},
    report::{BatchReport, StepReport},
    types,
    waiting::{Job, JobFile, content_of, is_as_it_was},
};

impl FlowRun<'_> {
    /// Lands the batch; a value that needs a wider inferred type widens it, and landing begins again.
    pub(super) async fn land(
        &self,
        lock: &dyn FlowLock,
        input: &mut [InputType],
        job: &Job,
        context: &BatchContext,
        report: &mut BatchReport,
    ) -> Result<(Arc<Plan>, Box<dyn Work>, Landed), RunError> {
        let ordered = self.order_counts();
        let source = job.source();
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
                Err(LandError::Untyped(columns)) => {
                    drop(work);
                    let (flow, types, files) = (self.flow.clone(), input.to_vec(), self.waiting.clone());
                    let (found, _) = blocking(move || types::infer(&flow, types, &files)).await.map_err(|error| error.at(&place))?;
                    input.clone_from_slice(&found);
                    types::refuse_untyped(input, &columns)?;
                }
                Err(LandError::Widen(columns)) => {
                    // What it has open may keep what is stored from being read.
                    drop(work);
                    let landing = plan.landing().map(|landing| &landing.name);
                    let told = types::widen(self.engine, landing, input, columns).await.map_err(|error| error.at(&place))?;
                    report.warnings.extend(told);
                }
            }
        }
    }

    /// Whether the order of a batch's rows is part of its content.
    fn order_counts(&self) -> bool {
        matches!(self.flow.input.on_duplicate_key, OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast)
            || self.flow.properties.batches(self.flow).row_order_counts
    }

    /// Whether the batch has the content that it has already, as far as what is recorded tells. Where columns or their types are
    /// others since, only the rows that are stored can tell: `None`.
    pub(super) fn is_as_recorded(known: &BatchRecord, landed: &Landed) -> Option<bool> {
        if i64::try_from(landed.rows) != Ok(known.rows) {
            return Some(false);
        }
        (known.content_hash == landed.content_hash).then_some(true)
    }

    /// Whether the rows that are stored of the batch have that content.
    pub(super) async fn is_as_stored(
        &self,
        plan: &Arc<Plan>,
        context: &BatchContext,
        known: &BatchRecord,
        input: &[InputType],
        landed: &Landed,
    ) -> Result<bool, RunError> {
        let today = types::read_spec(self.flow, input).present();
        let files: Vec<String> = known.files.iter().map(|file| file.name.clone()).collect();
        let stored = self.engine.look(plan.clone()).await?.landed(context, &files, &today, self.order_counts()).await?;
        Ok((stored.rows, stored.content_hash) == (landed.rows, landed.content_hash))
    }

    /// What the flow's own settings say of a value that was refused.
    fn with_flow_help(&self, mut error: RunError, job: &Job) -> RunError {
        let RunError::Data { problem, .. } = &mut error else { return error };
        if let Some(dataset) = job.dataset() {
            problem.help = match problem.code {
                "qetl::ingest::null" => format!("mend the batch in `{dataset}`, or take out the column's `required`"),
                "qetl::ingest::value" => format!("mend the batch in `{dataset}`, or declare another `schema_type`"),
                _ => std::mem::take(&mut problem.help),
            };
        }
        let reader = &self.flow.reader;
        let column = problem.place.column.as_deref().unwrap_or_default();
        let more = match (problem.code, problem.help.as_str()) {
            ("qetl::ingest::null", _) if self.flow.properties.key_columns(self.flow).iter().any(|key| key == column) => {
                let what = if job.dataset().is_some() { "the batch" } else { "the file" };
                problem.help = format!("mend {what}, or set the rows without a value in `{column}` aside: `on_null_key = \"park\"`");
                return error;
            }
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
}

/// The files as they will be recorded. `partition_columns`: each with what its folders call it.
pub(crate) async fn fingerprints(
    files: Vec<JobFile>,
    partition_columns: Vec<(String, String)>,
    now: i64,
) -> Result<Vec<FileRecord>, RunError> {
    blocking(move || {
        let record = |file: &JobFile| {
            let content_hash = match file.content_hash {
                Some(hash) => hash,
                None => content_of(file)?,
            };
            let mut record = file.record(content_hash, now);
            if file.landed_at.is_none() {
                record.details.folders = folders_of(&file.source, &partition_columns);
            }
            Ok(record)
        };
        files.iter().map(record).collect()
    })
    .await
}

/// What the folders of a file tell of columns; what is wrong with them is told when it is read.
fn folders_of(file: &SourceFile, columns: &[(String, String)]) -> BTreeMap<String, Option<String>> {
    let value = |(column, folder): &(String, String)| Some((column.clone(), qetl_ingest::folder_value(&file.path, folder)?.ok()?));
    columns.iter().filter_map(value).collect()
}

/// A batch may have only so many rows that do not fit.
pub(crate) fn refuse_bad_rows(reader: &ReaderOptions, landed: &Landed) -> Result<(), RunError> {
    let (bad, rows, most) = (landed.bad_rows, landed.rows, reader.max_bad_ratio);
    if bad as f64 <= most * rows as f64 {
        return Ok(());
    }
    let lines: String = landed.bad.iter().map(|line| format!("\n  {line}")).collect();
    let verb = if bad == 1 { "does" } else { "do" };
    let message = format!("{bad} of the batch's {rows} rows {verb} not fit, more than `max_bad_ratio = {most}` allows:{lines}");
    Err(RunError::refused(Place::default(), message, "mend the file, or raise `max_bad_ratio`"))
}

/// A file that was written to while it was read may have been read half old, half new. `records`: what it was before.
pub(crate) fn refuse_changed_files(files: &[JobFile], records: &[FileRecord]) -> Result<(), RunError> {
    for (file, record) in files.iter().zip(records).filter(|(file, _)| file.landed_at.is_none()) {
        if !is_as_it_was(file, record.content_hash) {
            return Err(RunError::Failed {
                place: Place::default(),
                message: format!("`{}` was changed while it was read", file.source.name),
                help: "run again when it is complete; write files under another name and rename them when they are done".to_owned(),
            });
        }
    }
    Ok(())
}
