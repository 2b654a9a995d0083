//! What one batch says of its keys.

use std::collections::{BTreeMap, BTreeSet};

use super::{Model, OnDuplicateKey, Row, Value, is_bad};

/// What a batch says of a key: its row that counts.
pub(super) enum Said {
    Live(Row),
    /// A row that marks the key as deleted.
    Deleted(Row),
}

impl Said {
    pub(super) fn row(&self) -> &Row {
        match self {
            Said::Live(row) | Said::Deleted(row) => row,
        }
    }
}

#[derive(Default)]
pub(super) struct Batch {
    pub(super) said: BTreeMap<Row, Said>,
    /// Keys of which a row was set aside: nothing is said of them, and their state stands.
    pub(super) standing: BTreeSet<Row>,
    /// With the reason.
    pub(super) parked: Vec<(Row, &'static str)>,
    /// Of some key, rows differ that would both count.
    pub(super) is_in_conflict: bool,
    /// By absence: a snapshot is not known to be whole when a row that may be any key's was set aside; of NULL in a key that holds
    /// for snapshots of some values alone.
    pub(super) deletes_nothing: bool,
}

impl Model {
    pub(super) fn batch(&self, rows: &[Row]) -> Batch {
        let mut batch = Batch::default();
        for row in rows.iter().filter(|row| is_bad(row)) {
            batch.parked.push((row.clone(), "bad_row"));
            batch.deletes_nothing |= self.is_of_nobody(row);
            let key = self.key(row);
            if !key.iter().any(|value| matches!(value, Value::Null | Value::Unreadable)) {
                batch.standing.insert(key);
            }
        }
        for row in rows.iter().filter(|row| self.is_lacking(row)) {
            batch.parked.push((row.clone(), "null_key"));
            if self.has_null_key(row) {
                batch.deletes_nothing |= !self.options.snapshot_of.is_empty();
            } else {
                batch.standing.insert(self.key(row));
            }
        }
        let whole: Vec<&Row> = rows.iter().filter(|row| !self.is_lacking(row) && !is_bad(row)).collect();
        let keys: BTreeSet<Row> = whole.iter().map(|row| self.key(row)).collect();
        for key in keys {
            let own: Vec<&Row> = whole.iter().copied().filter(|row| self.key(row) == key).collect();
            let greatest = own.iter().map(|row| self.sequence(row)).max();
            let newest: Vec<&Row> = own.into_iter().filter(|row| Some(self.sequence(row)) == greatest).collect();
            let differ = newest.iter().any(|row| *row != newest[0]);
            let row = match self.options.on_duplicate_key {
                OnDuplicateKey::Fail | OnDuplicateKey::Park if differ => {
                    batch.is_in_conflict = true;
                    batch.parked.extend(newest.iter().map(|row| ((*row).clone(), "duplicate_key")));
                    batch.standing.insert(key);
                    continue;
                }
                OnDuplicateKey::KeepLast => newest[newest.len() - 1],
                OnDuplicateKey::Fail | OnDuplicateKey::Park | OnDuplicateKey::KeepFirst => newest[0],
            };
            let said = if self.is_marked(row) { Said::Deleted(row.clone()) } else { Said::Live(row.clone()) };
            batch.said.insert(key, said);
        }
        // Whatever its other rows say.
        batch.said.retain(|key, _| !batch.standing.contains(key));
        batch
    }
}

/// A batch's rows that have a key, by what becomes of them.
#[derive(Default)]
pub struct Sorted {
    pub live: BTreeMap<Row, Row>,
    pub marked: BTreeSet<Row>,
    /// Keys with rows that differ, where neither the first nor the last of them counts.
    pub conflicting: BTreeSet<Row>,
}

impl Model {
    /// Where something else than the key is what no two different rows of a batch may share.
    pub fn sorted_by(&self, rows: &[Row], identity: impl Fn(&Row) -> Row) -> Sorted {
        let mut by_key: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
        for row in rows.iter().filter(|row| !self.has_null_key(row)) {
            by_key.entry(identity(row)).or_default().push(row);
        }
        let mut sorted = Sorted::default();
        for (key, rows) in by_key {
            let (first, last) = (rows[0], rows[rows.len() - 1]);
            let differ = rows.iter().any(|row| *row != first);
            let row = match self.options.on_duplicate_key {
                OnDuplicateKey::Fail | OnDuplicateKey::Park if differ => {
                    sorted.conflicting.insert(key);
                    continue;
                }
                OnDuplicateKey::KeepLast => last,
                OnDuplicateKey::Fail | OnDuplicateKey::Park | OnDuplicateKey::KeepFirst => first,
            };
            if self.is_marked(row) {
                sorted.marked.insert(key);
            } else {
                sorted.live.insert(key, row.clone());
            }
        }
        sorted
    }
}
