//! Which batches of other flows' datasets a task reads in which of its own batches.
//!
//! A batch of another flow belongs to the batch of this one that read it last: read again because it was replaced, it moves
//! there, and the batch that had it is derived again without it. So each is read once, and a batch that is derived again
//! reads the same.

use std::collections::{BTreeMap, BTreeSet};

use qetl_core::{
    DatasetName,
    standard::{SourceScope, same_dataset},
};

use crate::{
    Engine, RunError,
    records::{BatchRecord, DatasetRead, TaskReads},
};

/// A dataset of another flow, as it is stored.
#[derive(Debug, Clone, Default)]
struct Foreign {
    /// In which it changed last.
    version: i64,
    /// Its batches, each with the version in which it changed last.
    batches: BTreeMap<i64, i64>,
}

/// Who reads what.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    foreign: BTreeMap<DatasetName, Foreign>,
    /// What the batches of the flow have read, as far as it is recorded.
    recorded: BTreeMap<i64, TaskReads>,
    /// Which of them has a batch of a dataset, and in which version it was read; by the task and the dataset.
    owners: BTreeMap<(String, String), BTreeMap<i64, (i64, i64)>>,
    /// The versions of datasets that batches of an older qetl were recorded with, by name.
    older: BTreeMap<i64, BTreeMap<String, i64>>,
}

/// A dataset of another flow that a task reads.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ForeignRead {
    pub(super) task: String,
    pub(super) dataset: DatasetName,
    pub(super) scope: SourceScope,
}

impl Reads {
    /// Looks at what is stored of these datasets of other flows.
    pub(super) async fn new(engine: &dyn Engine, datasets: &[DatasetName], batches: &[BatchRecord]) -> Result<Self, RunError> {
        let mut foreign = BTreeMap::new();
        for (name, version) in engine.changed(datasets).await? {
            let batches = engine.stored(&name).await?.map(|stored| stored.batches).unwrap_or_default();
            foreign.insert(name, Foreign { version, batches });
        }
        let (mut recorded, mut older) = (BTreeMap::new(), BTreeMap::new());
        for batch in batches {
            match &batch.details.reads {
                Some(reads) => {
                    recorded.insert(batch.batch_id, reads.clone());
                }
                None => {
                    let versions = batch.shape.get("sources").and_then(|sources| sources.as_object()).into_iter().flatten();
                    let versions = versions.filter_map(|(name, version)| Some((name.clone(), version.as_i64()?)));
                    older.insert(batch.batch_id, versions.collect());
                }
            }
        }
        let mut owners: BTreeMap<(String, String), BTreeMap<i64, (i64, i64)>> = BTreeMap::new();
        for (own, tasks) in &recorded {
            for ((task, dataset), read) in tasks.iter().flat_map(|(task, read)| read.iter().map(move |(name, read)| ((task, name), read))) {
                let batches = read.batches.iter().flatten().map(|(batch, version)| (*batch, (*own, *version)));
                owners.entry((task.clone(), dataset.clone())).or_default().extend(batches);
            }
        }
        Ok(Self { foreign, recorded, owners, older })
    }

    /// Whether all of them are stored.
    pub(super) fn are_there(&self, datasets: &[DatasetName]) -> bool {
        datasets.iter().all(|dataset| self.foreign(dataset).is_some())
    }

    /// The dataset as it is stored, whatever its name's case in the flow.
    pub(super) fn name(&self, dataset: &DatasetName) -> DatasetName {
        self.foreign.keys().find(|name| same_dataset(name, dataset)).unwrap_or(dataset).clone()
    }

    fn foreign(&self, dataset: &DatasetName) -> Option<&Foreign> {
        self.foreign.iter().find(|(name, _)| same_dataset(name, dataset)).map(|(_, foreign)| foreign)
    }

    fn version(&self, dataset: &DatasetName) -> i64 {
        self.foreign(dataset).map_or(0, |foreign| foreign.version)
    }

    fn of(&self, batch_id: i64, read: &ForeignRead) -> Option<&DatasetRead> {
        self.recorded.get(&batch_id)?.get(&read.task)?.get(&read.dataset.to_string())
    }

    /// The version of the dataset that the task of a batch found; `None`: it did not read it.
    fn found(&self, batch_id: i64, read: &ForeignRead) -> Option<i64> {
        let older = || self.older.get(&batch_id)?.get(&read.dataset.to_string()).copied();
        self.of(batch_id, read).map(|read| read.version).or_else(older)
    }

    /// The batches of the dataset that some batch of the flow has: which, and the version that it was read in.
    fn owned(&self, read: &ForeignRead) -> &BTreeMap<i64, (i64, i64)> {
        const NONE: &BTreeMap<i64, (i64, i64)> = &BTreeMap::new();
        self.owners.get(&(read.task.clone(), read.dataset.to_string())).unwrap_or(NONE)
    }

    /// The batches of the dataset that the task has not read, or that were replaced since; each with its version.
    fn waiting(&self, read: &ForeignRead) -> BTreeMap<i64, i64> {
        let owned = self.owned(read);
        let is_whole = |batch_id: &i64| self.of(*batch_id, read).is_none_or(|read| read.batches.is_none());
        let whole = self.recorded.keys().chain(self.older.keys()).copied().filter(is_whole);
        let seen = whole.filter_map(|batch_id| self.found(batch_id, read)).max().unwrap_or(0);
        let waits = |(batch, version): &(&i64, &i64)| owned.get(batch).map_or(**version > seen, |(_, read)| read != *version);
        self.stored(read).filter(waits).map(|(batch, version)| (*batch, *version)).collect()
    }

    /// The batches of the dataset, each with the version in which it changed last.
    fn stored(&self, read: &ForeignRead) -> impl Iterator<Item = (&i64, &i64)> {
        self.foreign(&read.dataset).into_iter().flat_map(|foreign| &foreign.batches)
    }

    /// Whether there is something to read for a new batch, given what the newest one has read.
    pub(super) fn is_new(&self, read: &ForeignRead, newest: i64) -> bool {
        match read.scope {
            SourceScope::All => self.found(newest, read).is_some_and(|found| found != self.version(&read.dataset)),
            SourceScope::Batch => !self.waiting(read).is_empty(),
        }
    }

    /// Settles what a batch of the flow reads now: a known one the same as it did, a new one what waits. The other batches
    /// that have to be derived again, because they do not read something any more.
    pub(super) fn settle(&mut self, batch_id: i64, reads: &[ForeignRead]) -> BTreeSet<i64> {
        let known = self.recorded.contains_key(&batch_id) || self.older.contains_key(&batch_id);
        let (mut own, mut bereft) = (TaskReads::new(), BTreeSet::new());
        for read in reads {
            let batches = match (read.scope, known) {
                (SourceScope::All, _) => None,
                (SourceScope::Batch, false) => Some(self.waiting(read)),
                (SourceScope::Batch, true) => Some(self.again(batch_id, read)),
            };
            for (batch, version) in batches.iter().flatten() {
                bereft.extend(self.take(batch_id, read, *batch, *version));
            }
            let version = if batches.is_some() { 0 } else { self.version(&read.dataset) };
            own.entry(read.task.clone()).or_default().insert(read.dataset.to_string(), DatasetRead { version, batches });
        }
        self.older.remove(&batch_id);
        self.recorded.insert(batch_id, own);
        bereft
    }

    /// What a known batch reads again.
    fn again(&self, batch_id: i64, read: &ForeignRead) -> BTreeMap<i64, i64> {
        let now =
            |batch: &i64, then: i64| self.foreign(&read.dataset).and_then(|foreign| foreign.batches.get(batch)).copied().unwrap_or(then);
        if let Some(batches) = self.of(batch_id, read).and_then(|read| read.batches.as_ref()) {
            return batches.iter().map(|(batch, then)| (*batch, now(batch, *then))).collect();
        }
        // It read all, or nobody knows: what was published between the batch before it and this one.
        let Some(until) = self.found(batch_id, read) else { return BTreeMap::new() };
        let ids = self.recorded.keys().chain(self.older.keys()).copied();
        let earlier = |other: &i64| self.found(*other, read).map(|version| (version, *other)).filter(|found| *found < (until, batch_id));
        let since = ids.filter_map(|other| earlier(&other)).max().map_or(0, |(version, _)| version);
        let owned = self.owned(read);
        let between = self.stored(read).filter(|(batch, version)| since < **version && **version <= until && !owned.contains_key(batch));
        between.map(|(batch, version)| (*batch, *version)).collect()
    }

    /// Gives a batch of the dataset to a batch of the flow; the one that had it, if another did.
    fn take(&mut self, batch_id: i64, read: &ForeignRead, batch: i64, version: i64) -> Option<i64> {
        let name = read.dataset.to_string();
        let owners = self.owners.entry((read.task.clone(), name.clone())).or_default();
        let (other, _) = owners.insert(batch, (batch_id, version)).filter(|(other, _)| *other != batch_id)?;
        self.recorded.get_mut(&other)?.get_mut(&read.task)?.get_mut(&name)?.batches.as_mut()?.remove(&batch);
        Some(other)
    }

    /// What is recorded of a batch; `None`: its tasks read nothing of other flows.
    pub(super) fn record(&self, batch_id: i64) -> Option<TaskReads> {
        self.recorded.get(&batch_id).filter(|reads| !reads.is_empty()).cloned()
    }

    /// The batches of a dataset that a task reads in a batch of the flow.
    pub(super) fn batches(&self, batch_id: i64, task: &str, dataset: &DatasetName) -> BTreeSet<i64> {
        let read = ForeignRead { task: task.to_owned(), dataset: dataset.clone(), scope: SourceScope::Batch };
        let read = self.of(batch_id, &read).and_then(|read| read.batches.as_ref());
        read.into_iter().flatten().map(|(batch, _)| *batch).collect()
    }

    /// Whether what a known batch was recorded with says the same of what it reads.
    pub(super) fn is_as_recorded(&self, record: &BatchRecord, batch_id: i64) -> bool {
        match &record.details.reads {
            Some(reads) => self.record(batch_id).as_ref() == Some(reads),
            None => {
                let versions: BTreeMap<String, i64> =
                    self.foreign.iter().map(|(name, foreign)| (name.to_string(), foreign.version)).collect();
                let older = record.shape.get("sources").and_then(|sources| sources.as_object()).into_iter().flatten();
                older.filter_map(|(name, version)| Some((name.clone(), version.as_i64()?))).collect::<BTreeMap<_, _>>() == versions
            }
        }
    }
}
