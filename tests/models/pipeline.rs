//! Two flows of tasks as plain Rust: one that reads files and writes in every way, and one that reads what it made, batch by batch.

use std::collections::{BTreeMap, BTreeSet};

use crate::text::TextRow;

/// A row of `k` and `v`.
pub type Row = (i64, Option<i64>);

/// Batches of the first flow, by id.
pub type Batches = BTreeMap<i64, Vec<Row>>;

fn texts(values: &[Option<i64>]) -> TextRow {
    values.iter().map(|value| value.map(|value| value.to_string())).collect()
}

fn sum(values: impl Iterator<Item = i64>) -> Option<i64> {
    values.fold(None, |sum, value| Some(sum.unwrap_or(0) + value))
}

/// The first flow's tables, each with its columns and `xt_batch_id`.
pub fn maker(batches: &Batches) -> Vec<(&'static str, &'static str, Vec<TextRow>)> {
    let (mut t, mut cleaned, mut running, mut from_summary, mut beside) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // What each key's row is, and of which batch; all cleaned rows so far.
    let (mut latest, mut all) = (BTreeMap::<i64, (i64, i64)>::new(), Vec::<(i64, i64)>::new());
    let summed = |all: &[(i64, i64)]| {
        let mut summary = BTreeMap::<i64, (i64, i64)>::new();
        for (k, v) in all {
            let (n, total) = summary.entry(*k).or_default();
            (*n, *total) = (*n + 1, *total + v);
        }
        summary
    };
    for (batch, rows) in batches {
        t.extend(rows.iter().map(|(k, v)| texts(&[Some(*k), *v, Some(*batch)])));
        let own: Vec<(i64, i64)> = rows.iter().filter_map(|(k, v)| Some((*k, (*v)?))).collect();
        cleaned.extend(own.iter().map(|(k, v)| texts(&[Some(*k), Some(*v), Some(*batch)])));
        all.extend(&own);
        running.push(texts(&[Some(all.len() as i64), sum(all.iter().map(|(_, v)| *v)), Some(*batch)]));
        for k in own.iter().map(|(k, _)| *k).collect::<BTreeSet<i64>>() {
            let greatest = own.iter().filter(|(other, _)| *other == k).map(|(_, v)| *v).max().unwrap();
            latest.insert(k, (greatest, *batch));
        }
        for (k, (n, _)) in summed(&all) {
            from_summary.push(texts(&[Some(k), Some(n), Some(latest[&k].0), Some(*batch)]));
        }
        beside.extend(own.iter().map(|(k, v)| texts(&[Some(*k), Some(*v), Some(latest[k].0), Some(*batch)])));
    }
    let greatest = batches.keys().next_back().copied();
    let summary = summed(&all).into_iter().map(|(k, (n, total))| texts(&[Some(k), Some(n), Some(total), greatest])).collect();
    let latest = latest.into_iter().map(|(k, (v, batch))| texts(&[Some(k), Some(v), Some(batch)])).collect();
    vec![
        ("t", "k, v", t),
        ("cleaned", "k, v", cleaned),
        ("running", "n, v", running),
        ("latest", "k, v", latest),
        ("summary", "k, n, v", summary),
        ("from_summary", "k, n, v", from_summary),
        ("beside", "k, v, l", beside),
    ]
}

/// The first flow's batches, and how often each changed since it had rows first: one that never had any is none of its dataset's.
#[derive(Debug, Clone, Default)]
pub struct Made {
    pub batches: Batches,
    versions: BTreeMap<i64, u32>,
}

impl Made {
    pub fn load(&mut self, batch: i64, rows: &[Row]) {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        let before = self.batches.insert(batch, rows.clone());
        if before.unwrap_or_default() != rows {
            *self.versions.entry(batch).or_default() += 1;
        }
    }

    fn now(&self, batch: i64) -> (u32, Vec<Row>) {
        (self.versions[&batch], self.batches[&batch].clone())
    }
}

/// Which batches of the first flow the second one has read in which of its own: in which version, and what their rows were.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    pub batches: BTreeMap<i64, BTreeMap<i64, (u32, Vec<Row>)>>,
}

impl Reader {
    /// The batches that it has not read, or that changed since.
    pub fn waiting(&self, made: &Made) -> BTreeSet<i64> {
        let read: BTreeMap<i64, u32> = self.batches.values().flatten().map(|(batch, (version, _))| (*batch, *version)).collect();
        made.versions.iter().filter(|(batch, version)| read.get(batch) != Some(version)).map(|(batch, _)| *batch).collect()
    }

    /// A new batch of its own reads what waits; others give it up.
    pub fn read(&mut self, own: i64, made: &Made) {
        let reads = self.waiting(made);
        for batches in self.batches.values_mut() {
            batches.retain(|batch, _| !reads.contains(batch));
        }
        self.batches.insert(own, reads.into_iter().map(|batch| (batch, made.now(batch))).collect());
    }

    /// A batch of its own, and all later ones, are derived again.
    pub fn again(&mut self, first: i64, made: &Made) {
        for (batch, read) in self.batches.range_mut(first..).flat_map(|(_, batches)| batches) {
            *read = made.now(*batch);
        }
    }

    /// The second flow's tables.
    pub fn tables(&self) -> Vec<(&'static str, &'static str, Vec<TextRow>)> {
        let (mut kept, mut sums) = (Vec::new(), BTreeMap::<i64, (i64, Option<i64>)>::new());
        for (own, batches) in &self.batches {
            for (k, v) in batches.values().flat_map(|(_, rows)| rows) {
                kept.push(texts(&[Some(*k), *v, Some(*own)]));
                let (n, total) = sums.entry(*k).or_default();
                (*n, *total) = (*n + 1, sum(total.iter().chain(v).copied()));
            }
        }
        let greatest = self.batches.keys().next_back().copied();
        let sums = sums.into_iter().map(|(k, (n, total))| texts(&[Some(k), Some(n), total, greatest])).collect();
        vec![("kept", "k, v", kept), ("sums", "k, n, v", sums)]
    }
}
