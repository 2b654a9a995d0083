//! Which files wait, and which batch each of them is.

mod files;
mod ids;
mod list;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use qetl_core::{DatasetName, Flow, Problems, load::OnChangedFile, plan::LateBatches, standard::Variable};

pub use self::files::{JobFile, micros};
pub(crate) use self::{
    files::{content_of, if_changed, is_as_it_was, look_at, shown},
    list::{Missed, walk},
};
use crate::{
    engine::{BatchSource, FilePart},
    error::{Place, RunError},
    interrupt::Interrupt,
    natural,
    records::{BatchRecord, FlowRecords},
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
    /// The files, if it has any.
    pub fn files(&self) -> &[JobFile] {
        match &self.input {
            JobInput::Files(files) => files,
            JobInput::Dataset(_) => &[],
        }
    }

    /// The files that are read from disk; the rows of the others are landed already.
    pub fn read_files(&self) -> impl Iterator<Item = &JobFile> {
        self.files().iter().filter(|file| file.landed_at.is_none())
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

    pub(crate) fn source(&self) -> BatchSource {
        match &self.input {
            JobInput::Files(files) => BatchSource::Files(parts(files)),
            JobInput::Dataset(batch) => BatchSource::Dataset(batch.dataset.clone()),
        }
    }
}

/// Where each file's rows are read from.
pub(crate) fn parts(files: &[JobFile]) -> Vec<FilePart> {
    let part = |file: &JobFile| match file.landed_at {
        None => FilePart::Read(file.source.clone()),
        Some(_) => FilePart::Landed(file.source.name.clone()),
    };
    files.iter().map(part).collect()
}

/// Where a project's files may be, and what runs its scripts.
#[derive(Debug, Clone)]
pub struct Roots {
    pub project: PathBuf,
    pub allowed: Vec<PathBuf>,
    /// The Python of scripts: a program's name, or a path.
    pub python: PathBuf,
}

/// The batches that a flow would execute now, ascending; and what is wrong with where it looks for them.
pub fn jobs(flow: &Flow, roots: &Roots, records: &FlowRecords, request: &Request) -> Result<(Vec<Job>, Problems), RunError> {
    let finder = Finder { flow, roots, records };
    if request.batch_id.is_some_and(|id| id < 1) {
        return Err(RunError::usage("a batch id is an integer from 1", "give another `--batch-id`"));
    }
    let none = |jobs: Vec<Job>| (jobs, Problems::default());
    match (request.batch_id, request.inputs.is_empty()) {
        (Some(batch_id), false) => finder.named(batch_id, &request.inputs).map(none),
        (Some(batch_id), true) => finder.numbered(batch_id).map(none),
        (None, false) => {
            let help = "add `--batch-id N`: the files are the whole content of that batch";
            Err(RunError::usage("`--input` needs a batch to belong to", help))
        }
        (None, true) => finder.waiting(request.full_refresh),
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

    /// A batch that gets these files, be they new or others than they were: its other files' rows are landed already, and stay.
    fn with_landed(&self, batch_id: i64, files: Vec<JobFile>) -> Job {
        self.job(batch_id, with_landed(self.records.batch(batch_id), files, self.roots))
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
        let listed = self.list()?;
        let waiting = self.new_files(&listed.files);
        if let Some(pattern) = self.id_pattern() {
            let mut files = Vec::new();
            for file in waiting {
                if ids::of(&pattern, &file)? == batch_id {
                    files.push(file);
                }
            }
            return match files.is_empty() {
                true => Err(self.nothing_for(batch_id, listed.missed)),
                false => Ok(vec![self.job(batch_id, files)]),
            };
        }
        match waiting.len() {
            0 => Err(self.nothing_for(batch_id, listed.missed)),
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

    fn nothing_for(&self, batch_id: i64, missed: Option<Missed>) -> RunError {
        let message = format!("no file waits for batch {batch_id} of flow `{}`", self.flow.id());
        let name = format!("name its files: `--batch-id {batch_id} --input FILE`");
        let help = missed.map_or_else(|| name.clone(), |missed| format!("{}; {name}", missed.help));
        RunError::usage(message, help)
    }

    /// New and changed files, each in its batch.
    fn waiting(&self, refresh: bool) -> Result<(Vec<Job>, Problems), RunError> {
        if self.flow.load.is_none() {
            return Ok((Vec::new(), Problems::default()));
        }
        let listed = self.list()?;
        let missed = listed.missed.filter(|_| !refresh).map(|missed| self.never_matched(&missed));
        let all = listed.files;
        let mut new = self.new_files(&all);
        let mut replays: BTreeMap<i64, Vec<JobFile>> = BTreeMap::new();
        for file in self.changed_files(&all)? {
            let (batch, _) = self.records.file(&file.source.name).unwrap_or_else(|| unreachable!("a changed file is a known one"));
            match self.flow.on_changed_file(self.is_single_file()) {
                OnChangedFile::NewBatch => new.push(file),
                OnChangedFile::Replay => replays.entry(batch).or_default().push(file),
                OnChangedFile::Fail => return Err(self.changed(batch, &file)),
            }
        }
        let mut batches = match self.id_pattern() {
            Some(pattern) => self.by_id(&pattern, new)?,
            None => self.by_order(new)?,
        };
        for (batch_id, files) in replays {
            batches.entry(batch_id).or_default().extend(files);
        }
        if self.id_pattern().is_some() {
            ids::refuse_mixture(self.records.batches.iter().map(|batch| batch.batch_id), batches.keys().copied())?;
        }
        let jobs = batches.into_iter().map(|(batch_id, files)| self.with_landed(batch_id, files)).collect();
        Ok((jobs, missed.map(Problems::from).unwrap_or_default().in_source(&self.flow.source)))
    }

    /// A file that is not what was read, where that is not meant to be.
    fn changed(&self, batch: i64, file: &JobFile) -> RunError {
        let name = &file.source.name;
        let message = format!("`{name}` was read as batch {batch} and has other content now");
        let last = self.records.greatest_id().unwrap_or(batch);
        let help = match self.flow.properties.late_batches() {
            LateBatches::Reject if batch < last => format!(
                "restore it; batch {batch} cannot be replaced, as batch {last} is published already and `late_batches` is `reject`: load the \
                 file as a new batch with `--batch-id {} --input {name}` or `on_changed_file = \"new_batch\"`, or set \
                 `late_batches = \"cascade\"` to derive the later batches again",
                last + 1
            ),
            LateBatches::Reject | LateBatches::Cascade => format!(
                "restore it, or replay the batch with {}, or say what a changed file means with `on_changed_file = \"replay\"` or \
                 `\"new_batch\"`",
                self.replay_of(batch)
            ),
        };
        RunError::refused(Place::flow(self.flow.id()), message, help)
    }

    /// The command that reads all files of a batch again.
    fn replay_of(&self, batch: i64) -> String {
        let Some(known) = self.records.batch(batch) else { return format!("`--batch-id {batch}`") };
        match known.files.iter().all(|file| self.roots.project.join(&file.name).is_file()) {
            true => format!("`--batch-id {batch}`"),
            false => format!("`--batch-id {batch}` and `--input` for each of its files"),
        }
    }

    /// The new files of each id.
    fn by_id(&self, pattern: &regex::Regex, new: Vec<JobFile>) -> Result<BTreeMap<i64, Vec<JobFile>>, RunError> {
        let mut batches: BTreeMap<i64, Vec<JobFile>> = BTreeMap::new();
        for file in new {
            batches.entry(ids::of(pattern, &file)?).or_default().push(file);
        }
        Ok(batches)
    }

    /// Each new file is one batch, numbered on from the greatest known id.
    fn by_order(&self, mut new: Vec<JobFile>) -> Result<BTreeMap<i64, Vec<JobFile>>, RunError> {
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
        Ok((next..).zip(new).map(|(id, file)| (id, vec![file])).collect())
    }

    fn id_pattern(&self) -> Option<regex::Regex> {
        let pattern = self.flow.load.as_ref()?.batch_id_from.as_ref()?;
        Some(regex::Regex::new(pattern).unwrap_or_else(|_| unreachable!("decoding refused it")))
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
}

/// The files of a batch that gets these: those that it has, and the others, whose rows are landed already, between them. All in the
/// natural order of their paths, unless `--input` had given another one: then new ones stand last.
pub(crate) fn with_landed(record: Option<&BatchRecord>, files: Vec<JobFile>, roots: &Roots) -> Vec<JobFile> {
    let by_name = |a: &JobFile, b: &JobFile| natural::compare(&a.source.name, &b.source.name);
    let known = record.map_or(&[] as &[_], |record| &record.files);
    let is_natural = known.is_sorted_by(|a, b| natural::compare(&a.name, &b.name).is_le());
    let mut files: BTreeMap<String, JobFile> = files.into_iter().map(|file| (file.source.name.clone(), file)).collect();
    let kept: BTreeSet<&String> = known.iter().map(|file| &file.name).collect();
    let mut all: Vec<JobFile> = known.iter().map(|file| files.remove(&file.name).unwrap_or_else(|| JobFile::landed(file, roots))).collect();
    debug_assert_eq!(kept.len(), all.len(), "a batch has each file once");
    let mut new: Vec<JobFile> = files.into_values().collect();
    new.sort_by(by_name);
    all.extend(new);
    if is_natural {
        all.sort_by(by_name);
    }
    all
}
