//! Which files wait, and which batch each of them is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use globset::GlobBuilder;
use qetl_core::{
    DatasetName, Flow,
    format::Format,
    load::{Load, OnChangedFile},
    standard::Variable,
};
use qetl_ingest::SourceFile;
use regex::Regex;

use crate::{
    error::{Place, RunError},
    interrupt::Interrupt,
    natural,
    records::{FileRecord, FlowRecords},
    source::DatasetBatch,
};

/// What a run is asked to do with a flow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    pub batch_id: Option<i64>,
    /// The whole content of the batch; relative to the current folder.
    pub inputs: Vec<PathBuf>,
    /// Derive everything again from what was landed.
    pub full_refresh: bool,
    /// Microseconds since 1970.
    pub execution_date: Option<i64>,
    /// Lets the batch through its guards.
    pub accept_guards: bool,
    /// Values for the templates of standard flows.
    pub vars: BTreeMap<String, Variable>,
    /// How many tasks of a standard flow may run at once; 0 leaves it to qetl.
    pub jobs: usize,
    /// Ends the run early.
    pub interrupt: Interrupt,
}

/// A batch to execute.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub batch_id: i64,
    pub input: JobInput,
    /// The batch is known already.
    pub replay: bool,
}

/// Where a batch's rows stand.
#[derive(Debug, Clone, PartialEq)]
pub enum JobInput {
    /// In reading order.
    Files(Vec<JobFile>),
    Dataset(DatasetBatch),
}

impl Job {
    /// The files, if it reads any.
    pub fn files(&self) -> &[JobFile] {
        match &self.input {
            JobInput::Files(files) => files,
            JobInput::Dataset(_) => &[],
        }
    }

    /// The dataset, if it reads one.
    pub fn dataset(&self) -> Option<&DatasetName> {
        match &self.input {
            JobInput::Files(_) => None,
            JobInput::Dataset(batch) => Some(&batch.dataset),
        }
    }

    /// What `xt_source_file` says of its rows.
    pub fn source_names(&self) -> Vec<String> {
        let files = self.files().iter().map(|file| file.source.name.clone());
        files.chain(self.dataset().map(ToString::to_string)).collect()
    }
}

/// A file of a batch, as it is on disk now.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFile {
    pub source: SourceFile,
    pub size: u64,
    pub modified: i64,
    /// `None` until it is read.
    pub content_hash: Option<u128>,
}

/// Where a project's files may be, and what runs its scripts.
#[derive(Debug, Clone)]
pub struct Roots {
    pub project: PathBuf,
    pub allowed: Vec<PathBuf>,
    /// The Python of scripts: a program's name, or a path.
    pub python: PathBuf,
}

/// The batches that a flow would execute now, ascending.
pub fn jobs(flow: &Flow, roots: &Roots, records: &FlowRecords, request: &Request) -> Result<Vec<Job>, RunError> {
    let finder = Finder { flow, roots, records };
    if request.batch_id.is_some_and(|id| id < 1) {
        return Err(RunError::usage("a batch id is an integer from 1", "give another `--batch-id`"));
    }
    match (request.batch_id, request.inputs.is_empty()) {
        (Some(batch_id), false) => finder.named(batch_id, &request.inputs),
        (Some(batch_id), true) => finder.numbered(batch_id),
        (None, false) => {
            let help = "add `--batch-id N`: the files are the whole content of that batch";
            Err(RunError::usage("`--input` needs a batch to belong to", help))
        }
        (None, true) => finder.waiting(),
    }
}

struct Finder<'a> {
    flow: &'a Flow,
    roots: &'a Roots,
    records: &'a FlowRecords,
}

impl Finder<'_> {
    fn job(&self, batch_id: i64, files: Vec<JobFile>) -> Job {
        Job { batch_id, input: JobInput::Files(files), replay: self.records.batch(batch_id).is_some() }
    }

    fn named(&self, batch_id: i64, inputs: &[PathBuf]) -> Result<Vec<Job>, RunError> {
        let mut files = Vec::new();
        for input in inputs {
            let file = self.look_at(input).map_err(|error| {
                RunError::usage(
                    format!("`--input {}` cannot be read: {error}", input.display()),
                    "name a file that is there; paths are relative to the current folder",
                )
            })?;
            if files.iter().any(|other: &JobFile| other.source.name == file.source.name) {
                return Err(RunError::usage(format!("`--input {}` is given twice", input.display()), "name each file once"));
            }
            files.push(file);
        }
        Ok(vec![self.job(batch_id, files)])
    }

    fn numbered(&self, batch_id: i64) -> Result<Vec<Job>, RunError> {
        if let Some(known) = self.records.batch(batch_id) {
            let mut files = Vec::new();
            for file in &known.files {
                let path = self.roots.project.join(&file.name);
                let found = self.look_at(&path).map_err(|error| {
                    let message = format!("`{}`, which batch {batch_id} was read from, cannot be read: {error}", file.name);
                    RunError::usage(message, "put it back, or name the batch's files with `--input`")
                })?;
                files.push(found);
            }
            return Ok(vec![self.job(batch_id, files)]);
        }
        let waiting = self.new_files(&self.list()?);
        if let Some(pattern) = self.id_pattern() {
            let mut files = Vec::new();
            for file in waiting {
                if self.id_of(&pattern, &file)? == batch_id {
                    files.push(file);
                }
            }
            return match files.is_empty() {
                true => Err(self.nothing_for(batch_id)),
                false => Ok(vec![self.job(batch_id, files)]),
            };
        }
        match waiting.len() {
            0 => Err(self.nothing_for(batch_id)),
            1 => Ok(vec![self.job(batch_id, waiting)]),
            count => {
                let names = waiting.iter().take(3).map(|file| format!("`{}`", file.source.name)).collect::<Vec<_>>().join(", ");
                let message = format!(
                    "{count} files wait ({names}{}), and `--batch-id {batch_id}` does not say which of them it is",
                    if count > 3 { ", …" } else { "" }
                );
                Err(RunError::usage(message, format!("name it: `--batch-id {batch_id} --input FILE`")))
            }
        }
    }

    fn nothing_for(&self, batch_id: i64) -> RunError {
        let message = format!("no file waits for batch {batch_id} of flow `{}`", self.flow.id());
        RunError::usage(message, format!("name its files: `--batch-id {batch_id} --input FILE`"))
    }

    /// New and changed files, each in its batch.
    fn waiting(&self) -> Result<Vec<Job>, RunError> {
        if self.flow.load.is_none() {
            return Ok(Vec::new());
        }
        let all = self.list()?;
        let mut new = self.new_files(&all);
        let mut replays: BTreeSet<i64> = BTreeSet::new();
        for file in self.changed_files(&all)? {
            match self.flow.on_changed_file(self.is_single_file()) {
                OnChangedFile::NewBatch => new.push(file),
                OnChangedFile::Replay => {
                    replays.extend(self.records.file(&file.source.name).map(|(batch, _)| batch));
                }
                OnChangedFile::Fail => {
                    let (batch, _) = self.records.file(&file.source.name).unwrap_or_else(|| unreachable!("a changed file is a known one"));
                    let message = format!("`{}` was read as batch {batch} and has other content now", file.source.name);
                    let help = format!(
                        "restore it, or replay the batch with `--batch-id {batch} --input {}`, or say what a changed file means with `on_changed_file = \"replay\"` or `\"new_batch\"`",
                        file.source.name
                    );
                    return Err(RunError::refused(Place::flow(self.flow.id()), message, help));
                }
            }
        }
        let mut jobs = match self.id_pattern() {
            Some(pattern) => self.by_id(&pattern, new, &all)?,
            None => self.by_order(new)?,
        };
        for batch_id in replays {
            if !jobs.iter().any(|job| job.batch_id == batch_id) {
                jobs.extend(self.numbered(batch_id)?);
            }
        }
        jobs.sort_by_key(|job| job.batch_id);
        Ok(jobs)
    }

    /// The files of each id; a batch that gets a further file is the whole of them again.
    fn by_id(&self, pattern: &Regex, new: Vec<JobFile>, all: &[JobFile]) -> Result<Vec<Job>, RunError> {
        let mut batches: BTreeMap<i64, Vec<JobFile>> = BTreeMap::new();
        for file in new {
            batches.entry(self.id_of(pattern, &file)?).or_default();
        }
        for file in all {
            if let Some(files) = batches.get_mut(&self.id_of(pattern, file)?) {
                files.push(file.clone());
            }
        }
        Ok(batches.into_iter().map(|(id, files)| self.job(id, files)).collect())
    }

    /// Each new file is one batch, numbered on from the greatest known id.
    fn by_order(&self, mut new: Vec<JobFile>) -> Result<Vec<Job>, RunError> {
        new.sort_by(|a, b| natural::compare(&a.source.name, &b.source.name));
        if !self.is_single_file()
            && let Some(first) = new.iter().find(|file| self.records.file(&file.source.name).is_none())
        {
            let folder = |name: &str| name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
            let loaded = self.records.ledger.iter().map(|(_, file)| file);
            let beside = loaded.filter(|file| folder(&file.name) == folder(&first.source.name));
            if let Some(later) = beside
                .max_by(|a, b| natural::compare(&a.name, &b.name))
                .filter(|last| natural::compare(&first.source.name, &last.name).is_lt())
            {
                let message = format!(
                    "`{}` stands before `{}`, which is loaded already: its batch id is not the next one",
                    first.source.name, later.name
                );
                let help = "say which batch it is with `--batch-id N --input FILE`, or take ids from the file names with `batch_id_from`";
                return Err(RunError::usage(message, help));
            }
        }
        let next = self.records.greatest_id().unwrap_or(0) + 1;
        Ok((next..).zip(new).map(|(id, file)| self.job(id, vec![file])).collect())
    }

    fn id_pattern(&self) -> Option<Regex> {
        let pattern = self.flow.load.as_ref()?.batch_id_from.as_ref()?;
        Some(Regex::new(pattern).unwrap_or_else(|_| unreachable!("decoding refused it")))
    }

    fn id_of(&self, pattern: &Regex, file: &JobFile) -> Result<i64, RunError> {
        let name = file.source.name.rsplit('/').next().unwrap_or(&file.source.name);
        let text = pattern.captures(name).and_then(|found| found.get(1)).map(|group| group.as_str());
        let digits: Option<String> = text.map(|text| text.chars().filter(char::is_ascii_digit).collect());
        let is_number_or_date = text.is_some_and(|text| text.chars().all(|c| c.is_ascii_digit()) || is_date(text));
        match digits.filter(|_| is_number_or_date).and_then(|digits| digits.parse::<i64>().ok()) {
            Some(id) if id >= 1 => Ok(id),
            _ => {
                let message = match text {
                    Some(text) => format!("`batch_id_from` finds `{text}` in `{name}`, which is not a batch id"),
                    None => format!("`batch_id_from = '{pattern}'` finds no batch id in `{name}`"),
                };
                Err(RunError::usage(
                    message,
                    "a batch id is an integer from 1, or a date; narrow `file_pattern` if the file is none of the flow's",
                ))
            }
        }
    }

    fn new_files(&self, all: &[JobFile]) -> Vec<JobFile> {
        all.iter().filter(|file| self.records.file(&file.source.name).is_none()).cloned().collect()
    }

    /// Known files whose content is not what was read.
    fn changed_files(&self, all: &[JobFile]) -> Result<Vec<JobFile>, RunError> {
        let mut changed = Vec::new();
        for file in all {
            if let Some((_, known)) = self.records.file(&file.source.name) {
                changed.extend(if_changed(file, known)?);
            }
        }
        Ok(changed)
    }

    fn load(&self) -> Result<&Load, RunError> {
        self.flow.load.as_ref().ok_or_else(|| {
            let message = format!("flow `{}` names no files to read", self.flow.id());
            RunError::usage(message, "add `[properties.load]`, or name files with `--batch-id N --input FILE`")
        })
    }

    fn is_single_file(&self) -> bool {
        self.flow.load.as_ref().is_some_and(|load| self.roots.project.join(load.source_path.as_str()).is_file())
    }

    /// The flow's files, in natural order of their names.
    fn list(&self) -> Result<Vec<JobFile>, RunError> {
        let load = self.load()?;
        let root = self.roots.project.join(load.source_path.as_str());
        let missing = |error: std::io::Error| {
            let (line, column) = self.flow.source.place(load.source_path.span.start);
            let message = format!(
                "{}:{line}:{column}: `source_path = \"{}\"` cannot be read: {error}",
                self.flow.source.name(),
                load.source_path.value
            );
            let is_pattern = load.source_path.contains(['*', '?']);
            RunError::usage(
                message,
                if is_pattern {
                    "name the folder, and the files in it with `file_pattern`"
                } else {
                    "paths are relative to the project's folder"
                },
            )
        };
        let real = root.canonicalize().map_err(missing)?;
        if !self.roots.is_allowed(&real) {
            let (line, column) = self.flow.source.place(load.source_path.span.start);
            let message = format!(
                "{}:{line}:{column}: `source_path = \"{}\"` is outside the project",
                self.flow.source.name(),
                load.source_path.value
            );
            return Err(RunError::usage(message, "allow its folder in `qetl.toml`: `[project] allowed_paths = [\"…\"]`"));
        }
        let mut paths = Vec::new();
        if real.is_file() {
            paths.push(root);
        } else {
            let pattern = load.file_pattern.as_ref().map_or("*", |pattern| pattern.as_str());
            let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| {
                RunError::usage(format!("`file_pattern = \"{pattern}\"` is not a pattern: {error}"), "such as `orders_*.csv`")
            })?;
            walk(&root, &root, pattern.contains('/'), &glob.compile_matcher(), &mut paths).map_err(missing)?;
        }
        let look = |path: &PathBuf| {
            let named = |error: &dyn std::fmt::Display, help: &str| {
                RunError::usage(format!("`{}` {error}", path.strip_prefix(&self.roots.project).unwrap_or(path).display()), help)
            };
            let real = path
                .canonicalize()
                .map_err(|error| named(&format!("cannot be read: {error}"), "take it out of the folder, or narrow `file_pattern`"))?;
            if !self.roots.is_allowed(&real) {
                return Err(named(
                    &"is a link that leads outside the project",
                    "allow the folder it leads to in `qetl.toml`: `[project] allowed_paths = [\"…\"]`",
                ));
            }
            self.look_at(path)
                .map_err(|error| named(&format!("cannot be read: {error}"), "take it out of the folder, or narrow `file_pattern`"))
        };
        let mut files = paths.iter().map(look).collect::<Result<Vec<_>, _>>()?;
        files.sort_by(|a, b| natural::compare(&a.source.name, &b.source.name));
        Ok(files)
    }

    fn look_at(&self, path: &Path) -> std::io::Result<JobFile> {
        let format = self.flow.load.as_ref().and_then(|load| load.format.as_ref()).map(|format| format.value);
        look_at(path, format, self.roots, "`[properties.load]`")
    }
}

/// A file as it is on disk now. Without a format its ending tells it; `section` of the flow file could.
pub(crate) fn look_at(path: &Path, format: Option<Format>, roots: &Roots, section: &str) -> std::io::Result<JobFile> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    let real = path.canonicalize()?;
    let name = name_of(path, &real, &roots.project);
    let unknown = || std::io::Error::other(format!("its ending does not tell its format: set `format` in {section}"));
    let format = format.or_else(|| Format::of_file(&name)).ok_or_else(unknown)?;
    let modified = meta.modified().map_or(0, micros);
    Ok(JobFile { source: SourceFile { path: path.to_owned(), name, format }, size: meta.len(), modified, content_hash: None })
}

impl Roots {
    /// Whether a path, without links in it, is in the project or in a folder that it allows.
    pub(crate) fn is_allowed(&self, real: &Path) -> bool {
        std::iter::once(&self.project).chain(&self.allowed).any(|allowed| real.starts_with(allowed))
    }
}

/// The file with its fingerprint, if its content is not what was read.
pub(crate) fn if_changed(file: &JobFile, known: &FileRecord) -> Result<Option<JobFile>, RunError> {
    if is_untouched(file, known) {
        return Ok(None);
    }
    let (_, hash) = qetl_ingest::fingerprint(&file.source.path)
        .map_err(|error| RunError::failed(format!("`{}` cannot be read: {error}", file.source.name)))?;
    Ok((hash != known.content_hash).then(|| JobFile { content_hash: Some(hash), ..file.clone() }))
}

/// Trusted without reading it: same size and time of change, and read well after it was changed.
fn is_untouched(file: &JobFile, known: &FileRecord) -> bool {
    const CLOCK_GRAIN: i64 = 2_000_000;
    file.size == known.size && file.modified == known.modified && known.modified + CLOCK_GRAIN < known.loaded_at
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    bytes.len() == 10 && digits(0..4) && digits(5..7) && digits(8..10) && bytes[4] == bytes[7] && matches!(bytes[4], b'-' | b'_' | b'.')
}

/// How records call a file: relative to the project if it stands there, with `/` between folders.
fn name_of(path: &Path, real: &Path, project: &Path) -> String {
    let inside = path.strip_prefix(project).ok().filter(|rest| rest.components().all(|part| matches!(part, Component::Normal(_))));
    let inside = inside.or_else(|| real.strip_prefix(project).ok()).unwrap_or(real);
    let parts: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/").replacen("//", "/", 1)
}

/// The files below a folder that match, hidden ones left out; `deep`: in folders below it too.
pub(crate) fn walk(root: &Path, folder: &Path, deep: bool, glob: &globset::GlobMatcher, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, hidden) = (entry.path(), entry.file_name().to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            // A link to a folder could lead round in circles.
            if deep && !entry.file_type()?.is_symlink() {
                walk(root, &path, deep, glob, paths)?;
            }
        } else if glob.is_match(path.strip_prefix(root).unwrap_or(&path)) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Microseconds since 1970.
pub fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}
