//! Which files wait for the ingestions of a standard flow, and which batch they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use globset::GlobBuilder;
use qetl_core::{
    Problem, Problems,
    load::OnChangedFile,
    standard::{Ingestion, Rendered, StandardFlow, StandardTask, TaskWork, TemplateContext, Variable},
};

use crate::{
    error::{Place, RunError},
    natural,
    records::{BatchRecord, FileRecord, FlowRecords},
    waiting::{JobFile, Missed, Request, Roots, if_changed, look_at, shown, walk, with_landed},
};

/// A batch of a standard flow to execute.
#[derive(Debug, Clone, PartialEq)]
pub struct StandardJob {
    pub batch_id: i64,
    /// Microseconds since 1970.
    pub processed_at: i64,
    /// What templates get from the command line, now or when the batch was executed first.
    pub vars: BTreeMap<String, Variable>,
    /// The files of each ingestion, by the task's id; an ingestion without files lands nothing.
    pub files: BTreeMap<String, Vec<JobFile>>,
    /// The batch is known already.
    pub replay: bool,
}

impl StandardJob {
    /// The files that are read from disk, each once; the rows of the others are landed already.
    pub fn read_files(&self) -> Vec<JobFile> {
        self.all_files().into_iter().filter(|file| file.landed_at.is_none()).collect()
    }

    /// Each file once, in reading order.
    pub fn all_files(&self) -> Vec<JobFile> {
        let mut all: Vec<JobFile> = Vec::new();
        for file in self.files.values().flatten() {
            if !all.iter().any(|other| other.source.name == file.source.name) {
                all.push(file.clone());
            }
        }
        all
    }

    /// `quote`: around names in the engine's SQL.
    pub(super) fn context(&self, quote: char) -> TemplateContext<'_> {
        TemplateContext { batch_id: self.batch_id, execution_date: self.processed_at, vars: &self.vars, quote }
    }
}

/// The values of `--var` that a batch was recorded with, below those of now.
pub(super) fn vars_of(record: Option<&BatchRecord>, request: &Request) -> BTreeMap<String, Variable> {
    let recorded = record.and_then(|record| record.shape.get("vars")).and_then(|vars| vars.as_object());
    let mut vars: BTreeMap<String, Variable> =
        recorded.into_iter().flatten().map(|(name, value)| (name.clone(), Variable::of_json(value))).collect();
    vars.extend(request.vars.clone());
    vars
}

/// The job that a batch id stands for, without files yet.
pub(super) fn empty_job(batch_id: i64, records: &FlowRecords, request: &Request, now: i64) -> StandardJob {
    let record = records.batch(batch_id);
    StandardJob {
        batch_id,
        processed_at: request.execution_date.or(record.map(|batch| batch.processed_at)).unwrap_or(now),
        vars: vars_of(record, request),
        files: BTreeMap::new(),
        replay: record.is_some(),
    }
}

pub(super) struct Finder<'a> {
    pub(super) flow: &'a StandardFlow,
    pub(super) id: &'a str,
    pub(super) roots: &'a Roots,
    pub(super) records: &'a FlowRecords,
    pub(super) request: &'a Request,
    /// Microseconds since 1970.
    pub(super) now: i64,
}

/// Where a format could be named.
const SECTION: &str = "`[tasks.config]`";

/// What a file is to the ledger.
enum Found {
    AsItWas,
    New(JobFile),
    /// It changed, and its batch is read again.
    Again(i64, JobFile),
}

fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '[', '{'])
}

/// A path's folder, up to its first part that is a pattern, and the rest.
fn split(text: &str) -> (&str, &str) {
    let cut = text.split('/').take_while(|part| !is_pattern(part)).map(|part| part.len() + 1).sum::<usize>();
    text.split_at(cut)
}

/// What a path names.
struct Listed {
    files: Vec<JobFile>,
    /// It names one file, which may be absent.
    single: bool,
}

/// The files that an ingestion has read for a batch.
type Recorded<'f, 'r> = (&'f StandardTask, &'f Ingestion, Vec<&'r FileRecord>);

impl Finder<'_> {
    /// The batch that was named.
    pub(super) fn named(&self, batch_id: i64) -> Result<StandardJob, RunError> {
        let mut job = empty_job(batch_id, self.records, self.request, self.now);
        if !self.request.inputs.is_empty() {
            job.files.insert(self.only_ingestion()?.id.value.clone(), self.inputs()?);
            return Ok(job);
        }
        if let Some(record) = self.records.batch(batch_id) {
            for (task, ingestion, files) in self.recorded(record, &job)? {
                let look = |file: &FileRecord| {
                    let path = self.roots.project.join(&file.name);
                    look_at(&path, None, ingestion.format, self.roots, SECTION).map_err(|error| {
                        let message = format!("`{}`, which batch {batch_id} was read from, cannot be read: {error}", file.name);
                        RunError::usage(message, "put it back, or name the batch's files with `--input`")
                    })
                };
                job.files.insert(task.id.value.clone(), files.into_iter().map(look).collect::<Result<_, _>>()?);
            }
            return Ok(job);
        }
        for (task, ingestion) in self.ingestions() {
            let rendered = self.flow.render(task, &job.context('"'))?;
            let listed = self.list(task, ingestion, &rendered)?;
            if listed.single && listed.files.is_empty() {
                let message = format!("{}: `{}` is not there, and batch {batch_id} is to be read from it", self.at(task), rendered.text);
                return Err(RunError::usage(message, "put the file there, or name another batch"));
            }
            let new = listed.files.into_iter().filter(|file| self.records.file(&file.source.name).is_none()).collect();
            job.files.insert(task.id.value.clone(), new);
        }
        Ok(job)
    }

    /// A batch that gets these files, be they new or others than they were: its other files' rows are landed already, and stay.
    fn with_landed(&self, record: &BatchRecord, mut new: BTreeMap<String, Vec<JobFile>>) -> Result<StandardJob, RunError> {
        let mut job = empty_job(record.batch_id, self.records, self.request, self.now);
        for (task, _, files) in self.recorded(record, &job)? {
            let own = BatchRecord { files: files.into_iter().cloned().collect(), ..record.clone() };
            let new = new.remove(&task.id.value).unwrap_or_default();
            job.files.insert(task.id.value.clone(), with_landed(Some(&own), new, self.roots));
        }
        Ok(job)
    }

    /// The files that each ingestion has read for a batch.
    fn recorded<'r>(&self, record: &'r BatchRecord, job: &StandardJob) -> Result<Vec<Recorded<'_, 'r>>, RunError> {
        let ingestions: Vec<_> = self.ingestions().collect();
        let mut left: BTreeSet<&str> = record.files.iter().map(|file| file.name.as_str()).collect();
        let mut recorded = Vec::new();
        for (task, ingestion) in &ingestions {
            let rendered = self.flow.render(task, &job.context('"'))?;
            let glob = GlobBuilder::new(&rendered.text).literal_separator(true).build().map_err(|error| self.no_pattern(task, &error))?;
            let glob = glob.compile_matcher();
            let path = |name: &str| self.roots.project.join(name);
            let is_of = |file: &FileRecord| match &file.details.landed_in {
                Some(dataset) => *dataset == task.target.to_string(),
                // Files of one ingestion alone may also have come by `--input`.
                None => ingestions.len() == 1 || glob.is_match(&file.name) || path(&file.name) == path(&rendered.text),
            };
            let files: Vec<&FileRecord> = record.files.iter().filter(|file| is_of(file)).collect();
            left.retain(|name| !files.iter().any(|file| file.name == *name));
            recorded.push((*task, *ingestion, files));
        }
        match left.first() {
            None => Ok(recorded),
            Some(name) => {
                let message = format!("no ingestion reads `{name}` any more, which batch {} was read from", record.batch_id);
                Err(RunError::usage(message, "set the `path` back, or load the file as a new batch"))
            }
        }
    }

    /// New files, as the next batch; batches that get further files, or whose files changed and are to be read again; and what is wrong
    /// with where files are looked for.
    pub(super) fn waiting(&self) -> Result<(StandardJob, Vec<StandardJob>, Problems), RunError> {
        let next = self.records.greatest_id().unwrap_or(0) + 1;
        let mut job = empty_job(next, self.records, self.request, self.now);
        let mut again: BTreeMap<i64, BTreeMap<String, Vec<JobFile>>> = BTreeMap::new();
        let mut problems = Problems::default();
        for (task, ingestion) in self.ingestions() {
            let rendered = self.flow.render(task, &job.context('"'))?;
            let is_fixed = rendered.text == ingestion.path.text.value;
            let listed = self.list(task, ingestion, &rendered)?;
            if is_fixed && listed.files.is_empty() && !ingestion.may_be_missing && !self.has_read(&rendered.text) {
                problems.push(self.never_matched(task, &rendered, listed.single));
            }
            let mut new = Vec::new();
            for file in listed.files {
                let default = if listed.single { OnChangedFile::NewBatch } else { OnChangedFile::Fail };
                match self.look(file, ingestion.on_changed_file.unwrap_or(default))? {
                    Found::AsItWas => (),
                    Found::New(file) => new.push(file),
                    Found::Again(batch, file) => again.entry(batch).or_default().entry(task.id.value.clone()).or_default().push(file),
                }
            }
            if !is_fixed {
                self.further(task, ingestion, &rendered.text, &new, &mut again)?;
            }
            job.files.insert(task.id.value.clone(), new);
        }
        let known = again.into_iter().filter_map(|(batch, files)| Some((self.records.batch(batch)?, files)));
        let again = known.map(|(record, files)| self.with_landed(record, files)).collect::<Result<Vec<_>, _>>()?;
        Ok((job, again, problems))
    }

    /// Files that a path with a template names for batches that there are: new ones add to their batch, the latest that names them.
    fn further(
        &self,
        task: &StandardTask,
        ingestion: &Ingestion,
        next: &str,
        taken: &[JobFile],
        again: &mut BTreeMap<i64, BTreeMap<String, Vec<JobFile>>>,
    ) -> Result<(), RunError> {
        let mut seen: BTreeSet<String> = BTreeSet::from([next.to_owned()]);
        let mut named: BTreeSet<String> = taken.iter().map(|file| file.source.name.clone()).collect();
        for record in self.records.batches.iter().rev() {
            let own = empty_job(record.batch_id, self.records, &Request::default(), self.now);
            let rendered = self.flow.render(task, &own.context('"'))?;
            if !seen.insert(rendered.text.clone()) {
                continue;
            }
            for file in self.list(task, ingestion, &rendered)?.files {
                if !named.insert(file.source.name.clone()) {
                    continue;
                }
                let found = match self.look(file, ingestion.on_changed_file.unwrap_or(OnChangedFile::Fail))? {
                    Found::AsItWas => continue,
                    Found::New(file) => (record.batch_id, file),
                    Found::Again(batch, file) => (batch, file),
                };
                again.entry(found.0).or_default().entry(task.id.value.clone()).or_default().push(found.1);
            }
        }
        Ok(())
    }

    /// What a file is to the ledger.
    fn look(&self, file: JobFile, on_changed: OnChangedFile) -> Result<Found, RunError> {
        let Some((batch, known)) = self.records.file(&file.source.name) else { return Ok(Found::New(file)) };
        let Some(changed) = if_changed(&file, known)? else { return Ok(Found::AsItWas) };
        match on_changed {
            OnChangedFile::NewBatch => Ok(Found::New(changed)),
            OnChangedFile::Replay => Ok(Found::Again(batch, changed)),
            OnChangedFile::Fail => {
                let message = format!("`{}` was read as batch {batch} and has other content now", changed.source.name);
                let help = format!(
                    "restore it, or execute the batch again with `--batch-id {batch}`, or say what a changed file means with \
                     `on_changed_file = \"replay\"` or `\"new_batch\"`"
                );
                Err(RunError::refused(Place::flow(self.id), message, help))
            }
        }
    }

    /// Whether the ledger has a file that the path names.
    fn has_read(&self, text: &str) -> bool {
        let glob = GlobBuilder::new(text).literal_separator(true).build().map(|glob| glob.compile_matcher());
        let path = |name: &str| self.roots.project.join(name);
        let is_named = |name: &str| path(name) == path(text) || glob.as_ref().is_ok_and(|glob| glob.is_match(name));
        self.records.ledger.iter().any(|(_, file)| is_named(&file.name))
    }

    /// The problem of a path that names nothing, and never has.
    fn never_matched(&self, task: &StandardTask, rendered: &Rendered, single: bool) -> Problem {
        let text = rendered.text.as_str();
        let (folder, pattern) = if single { text.rsplit_once('/').unwrap_or((".", text)) } else { split(text) };
        let root = self.roots.project.join(folder);
        let span = task.template().text.span;
        if !root.is_dir() {
            let help = "paths are relative to the project's folder; `may_be_missing = true` says that it may not be there yet";
            return Problem::new("qetl::plan::no_files", span, format!("`{folder}`, where `{text}` is looked for, is not there"))
                .help(help);
        }
        let glob = GlobBuilder::new(pattern).literal_separator(true).build().or_else(|_| GlobBuilder::new("*").build());
        let glob = glob.unwrap_or_else(|_| unreachable!("`*` is a pattern")).compile_matcher();
        let missed = Missed::of(&root, folder.trim_end_matches('/'), pattern, &glob);
        Problem::new("qetl::plan::no_files", span, missed.message).label("no file, and never one").help(missed.help)
    }

    fn ingestions(&self) -> impl Iterator<Item = (&StandardTask, &Ingestion)> {
        self.flow.tasks.iter().filter_map(|task| match &task.work {
            TaskWork::Ingestion(ingestion) => Some((task, ingestion)),
            TaskWork::Sql(_) | TaskWork::Script(_) => None,
        })
    }

    fn only_ingestion(&self) -> Result<&StandardTask, RunError> {
        let mut tasks = self.ingestions().map(|(task, _)| task);
        match (tasks.next(), tasks.next()) {
            (Some(task), None) => Ok(task),
            (None, _) => Err(RunError::usage(format!("flow `{}` reads no files", self.id), "leave `--input` out")),
            (Some(_), Some(_)) => {
                let message = format!("flow `{}` has several ingestions, and `--input` does not say which one reads the file", self.id);
                Err(RunError::usage(message, "put the files where the ingestions' paths find them"))
            }
        }
    }

    fn inputs(&self) -> Result<Vec<JobFile>, RunError> {
        let format = self.ingestions().next().and_then(|(_, ingestion)| ingestion.format);
        let look = |input: &std::path::PathBuf| {
            look_at(input, None, format, self.roots, SECTION).map_err(|error| {
                let message = format!("`--input {}` cannot be read: {error}", input.display());
                RunError::usage(message, "name a file that is there; paths are relative to the current folder")
            })
        };
        self.request.inputs.iter().map(look).collect()
    }

    /// Where the task's path stands.
    fn at(&self, task: &StandardTask) -> String {
        let (line, column) = self.flow.source.place(task.template().text.span.start);
        format!("{}:{line}:{column}", self.flow.source.name())
    }

    fn no_pattern(&self, task: &StandardTask, error: &globset::Error) -> RunError {
        RunError::usage(format!("{}: this is not a path or a pattern of paths: {error}", self.at(task)), "such as `data/orders_*.csv`")
    }

    /// The files of a path, in natural order of their names.
    fn list(&self, task: &StandardTask, ingestion: &Ingestion, rendered: &Rendered) -> Result<Listed, RunError> {
        let text = rendered.text.as_str();
        let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
            let shown = shown(path, &self.roots.project);
            RunError::usage(format!("{}: `{shown}` cannot be read: {error}", self.at(task)), "narrow the path, or set `format`")
        };
        let single = !is_pattern(text);
        let mut paths = Vec::new();
        if single {
            let path = self.roots.project.join(text);
            if path.is_dir() {
                return Err(RunError::usage(format!("{}: `{text}` is a folder", self.at(task)), format!("name its files: `{text}/*.csv`")));
            }
            if path.exists() {
                paths.push(path);
            }
        } else {
            let (folder, pattern) = split(text);
            let folder = self.roots.project.join(folder);
            let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| self.no_pattern(task, &error))?;
            if folder.is_dir() {
                self.refuse_outside(task, &folder)?;
                walk(&folder, &folder, pattern.contains('/'), &glob.compile_matcher(), &mut paths)
                    .map_err(|error| unreadable(&folder, &error))?;
            }
        }
        let mut files = Vec::new();
        for path in paths {
            self.refuse_outside(task, &path)?;
            files.push(look_at(&path, None, ingestion.format, self.roots, SECTION).map_err(|error| unreadable(&path, &error))?);
        }
        files.sort_by(|a, b| natural::compare(&a.source.name, &b.source.name));
        Ok(Listed { files, single })
    }

    fn refuse_outside(&self, task: &StandardTask, path: &Path) -> Result<(), RunError> {
        let real = path.canonicalize().map_err(|error| RunError::failed(format!("`{}` cannot be read: {error}", path.display())))?;
        if self.roots.is_allowed(&real) {
            return Ok(());
        }
        let message = format!("{}: `{}` is outside the project", self.at(task), path.display());
        Err(RunError::usage(message, "allow its folder in `qetl.toml`: `[project] allowed_paths = [\"…\"]`"))
    }
}
