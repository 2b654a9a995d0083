//! Which files wait for the ingestions of a standard flow, and which batch they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use globset::GlobBuilder;
use qetl_core::{
    load::OnChangedFile,
    standard::{Ingestion, Rendered, StandardFlow, StandardTask, TaskWork, TemplateContext, Variable},
};

use crate::{
    error::{Place, RunError},
    natural,
    records::{BatchRecord, FlowRecords},
    waiting::{JobFile, Request, Roots, if_changed, look_at, walk},
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

/// What a path names.
struct Listed {
    files: Vec<JobFile>,
    /// It names one file, which may be absent.
    single: bool,
}

impl Finder<'_> {
    /// The batch that was named.
    pub(super) fn named(&self, batch_id: i64) -> Result<StandardJob, RunError> {
        let mut job = empty_job(batch_id, self.records, self.request, self.now);
        if !self.request.inputs.is_empty() {
            job.files.insert(self.only_ingestion()?.id.value.clone(), self.inputs()?);
            return Ok(job);
        }
        if let Some(record) = self.records.batch(batch_id) {
            return self.again(record, job);
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

    /// The files that a batch was read from, once more.
    pub(super) fn again(&self, record: &BatchRecord, mut job: StandardJob) -> Result<StandardJob, RunError> {
        let ingestions: Vec<_> = self.ingestions().collect();
        let mut left: BTreeSet<&str> = record.files.iter().map(|file| file.name.as_str()).collect();
        for (task, ingestion) in &ingestions {
            let rendered = self.flow.render(task, &job.context('"'))?;
            let glob = GlobBuilder::new(&rendered.text).literal_separator(true).build().map_err(|error| self.no_pattern(task, &error))?;
            let glob = glob.compile_matcher();
            let mut files = Vec::new();
            for file in &record.files {
                let path = self.roots.project.join(&file.name);
                let is_named = |name: &str| name == rendered.text || path == self.roots.project.join(&rendered.text);
                // Files of one ingestion alone may also have come by `--input`.
                if ingestions.len() == 1 || glob.is_match(&file.name) || is_named(&file.name) {
                    left.remove(file.name.as_str());
                    files.push(look_at(&path, ingestion.format, self.roots, "`[tasks.config]`").map_err(|error| {
                        let message = format!("`{}`, which batch {} was read from, cannot be read: {error}", file.name, record.batch_id);
                        RunError::usage(message, "put it back, or name the batch's files with `--input`")
                    })?);
                }
            }
            job.files.insert(task.id.value.clone(), files);
        }
        match left.first() {
            None => Ok(job),
            Some(name) => {
                let message = format!("no ingestion reads `{name}` any more, which batch {} was read from", record.batch_id);
                Err(RunError::usage(message, "set the `path` back, or load the file as a new batch"))
            }
        }
    }

    /// New files, as the next batch, and batches whose files changed and are to be executed again.
    pub(super) fn waiting(&self) -> Result<(StandardJob, BTreeSet<i64>), RunError> {
        let next = self.records.greatest_id().unwrap_or(0) + 1;
        let mut job = empty_job(next, self.records, self.request, self.now);
        let mut again = BTreeSet::new();
        for (task, ingestion) in self.ingestions() {
            let rendered = self.flow.render(task, &job.context('"'))?;
            let listed = self.list(task, ingestion, &rendered)?;
            let is_fixed = rendered.text == ingestion.path.text.value;
            if listed.single && listed.files.is_empty() && is_fixed && self.records.batches.is_empty() {
                let message = format!("{}: `path = \"{}\"` is not there", self.at(task), rendered.text);
                return Err(RunError::usage(message, "paths are relative to the project's folder"));
            }
            let mut new = Vec::new();
            for file in listed.files {
                let Some((batch, known)) = self.records.file(&file.source.name) else {
                    new.push(file);
                    continue;
                };
                let Some(changed) = if_changed(&file, known)? else { continue };
                let default = if listed.single { OnChangedFile::NewBatch } else { OnChangedFile::Fail };
                match ingestion.on_changed_file.unwrap_or(default) {
                    OnChangedFile::NewBatch => new.push(changed),
                    OnChangedFile::Replay => {
                        again.insert(batch);
                    }
                    OnChangedFile::Fail => {
                        let message = format!("`{}` was read as batch {batch} and has other content now", changed.source.name);
                        let help = format!(
                            "restore it, or execute the batch again with `--batch-id {batch}`, or say what a changed file means with \
                             `on_changed_file = \"replay\"` or `\"new_batch\"`"
                        );
                        return Err(RunError::refused(Place::flow(self.id), message, help));
                    }
                }
            }
            job.files.insert(task.id.value.clone(), new);
        }
        Ok((job, again))
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
            look_at(input, format, self.roots, "`[tasks.config]`").map_err(|error| {
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
            let shown = path.strip_prefix(&self.roots.project).unwrap_or(path).display();
            RunError::usage(format!("{}: `{shown}` cannot be read: {error}", self.at(task)), "narrow the path, or set `format`")
        };
        let is_pattern = |part: &str| part.contains(['*', '?', '[', '{']);
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
            let cut = text.split('/').take_while(|part| !is_pattern(part)).map(|part| part.len() + 1).sum::<usize>();
            let (folder, pattern) = (self.roots.project.join(&text[..cut]), &text[cut..]);
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
            files.push(look_at(&path, ingestion.format, self.roots, "`[tasks.config]`").map_err(|error| unreadable(&path, &error))?);
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
