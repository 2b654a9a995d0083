//! What a change feed's tables hold: the specification once more, as plain slow loops over all batches.

mod batch;
#[cfg(test)]
pub mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};

pub use batch::Sorted;
pub use value::{Column, ColumnType, Row, Value};

use self::batch::Said;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchMode {
    Snapshot,
    Delta,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicateKey {
    Fail,
    KeepFirst,
    KeepLast,
    Park,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnNullKey {
    Fail,
    Park,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateBatches {
    Cascade,
    Reject,
}

/// A flow's options. Columns are named by their position in `columns`.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub columns: Vec<Column>,
    pub key: Vec<usize>,
    /// `None`: all but the key and what is carried anyway.
    pub change_detection_columns: Option<Vec<usize>>,
    pub emit_stale: bool,
    pub batch_mode: BatchMode,
    /// The delete column and the values that mark a deletion; none: all but NULL do.
    pub delete: Option<(usize, Vec<Value>)>,
    /// Never NULL.
    pub sequence: Vec<usize>,
    pub snapshot_of: Vec<usize>,
    /// Columns that do not differ from rows of batches that lacked them.
    pub carried_when_added: bool,
    pub on_duplicate_key: OnDuplicateKey,
    pub on_null_key: OnNullKey,
    pub allow_empty_snapshot: bool,
    pub max_delete_ratio: Option<f64>,
    pub late_batches: LateBatches,
    /// Rows that do not fit are set aside; else there are none.
    pub parks_bad: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordType {
    New,
    Changed,
    Deleted,
    Stale,
    Reactivated,
}

impl RecordType {
    pub fn name(self) -> &'static str {
        match self {
            RecordType::New => "NEW",
            RecordType::Changed => "CHANGED",
            RecordType::Deleted => "DELETED",
            RecordType::Stale => "STALE",
            RecordType::Reactivated => "REACTIVATED",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedRow {
    pub batch_id: i64,
    pub record_type: RecordType,
    pub row: Row,
    pub changed_columns: Option<String>,
}

impl FeedRow {
    fn is_live(&self) -> bool {
        self.record_type != RecordType::Deleted
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The batch is in. STALE rows are counted whether or not they are emitted; types without rows are left out.
    Succeeded {
        counts: BTreeMap<RecordType, usize>,
        derived_again: Vec<i64>,
    },
    /// A replay with the same content.
    Unchanged,
    Rejected(Reason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    DuplicateKey,
    NullKey,
    EmptySnapshot,
    DeleteRatio,
    Late,
}

/// A flow and the batches it has accepted, each with its rows in file order. Its tables are worked out when asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub options: Options,
    pub batches: BTreeMap<i64, Vec<Row>>,
    /// The columns that the flow has not yet: rows have NULL there.
    pub lacks: BTreeSet<usize>,
    /// The columns that it had not when a batch was executed.
    lacked: BTreeMap<i64, BTreeSet<usize>>,
}

/// A row that was set aside, with the reason and the batch.
pub type ParkedRow = (Row, &'static str, i64);

/// What became of every row and key, batch by batch.
#[derive(Default)]
struct Told {
    feed: Vec<FeedRow>,
    parked: Vec<ParkedRow>,
}

impl Options {
    /// Whether there is a dataset of parked rows.
    pub fn parks(&self) -> bool {
        self.on_duplicate_key == OnDuplicateKey::Park || self.on_null_key == OnNullKey::Park || self.is_ordered() || self.parks_bad
    }

    /// Whether rows are held against the sequences of earlier batches.
    pub fn is_ordered(&self) -> bool {
        self.batch_mode == BatchMode::Delta && !self.sequence.is_empty()
    }

    /// Whether a column's values are compared.
    pub fn is_tracked(&self, column: usize) -> bool {
        let is_mark = self.delete.as_ref().is_some_and(|(delete, _)| *delete == column);
        let carried = self.key.contains(&column) || is_mark || self.sequence.contains(&column);
        self.change_detection_columns.as_ref().map_or(!carried, |chosen| chosen.contains(&column))
    }
}

/// Whether a value of the row is none of its column's type.
pub fn is_bad(row: &Row) -> bool {
    row.contains(&Value::Unreadable)
}

impl Model {
    pub fn new(options: Options) -> Self {
        Self { options, batches: BTreeMap::new(), lacks: BTreeSet::new(), lacked: BTreeMap::new() }
    }

    /// Executes a batch; one that is rejected leaves everything as it was.
    pub fn execute(&mut self, batch_id: i64, rows: &[Row], accept_guards: bool) -> Outcome {
        let options = &self.options;
        let later: Vec<i64> = self.batches.keys().copied().filter(|id| *id > batch_id).collect();
        let is_late = options.late_batches == LateBatches::Reject && !later.is_empty();
        // A batch that is not known cannot be what it was: its rows are not even read.
        if is_late && !self.batches.contains_key(&batch_id) {
            return Outcome::Rejected(Reason::Late);
        }
        if options.on_null_key == OnNullKey::Fail && rows.iter().any(|row| self.is_lacking(row)) {
            return Outcome::Rejected(Reason::NullKey);
        }
        if self.batches.get(&batch_id).is_some_and(|known| self.is_same_content(known, rows)) {
            return Outcome::Unchanged;
        }
        if is_late {
            return Outcome::Rejected(Reason::Late);
        }
        let is_whole = options.batch_mode == BatchMode::Snapshot && options.snapshot_of.is_empty();
        if is_whole && rows.is_empty() && !options.allow_empty_snapshot && !accept_guards {
            return Outcome::Rejected(Reason::EmptySnapshot);
        }
        if self.batch(rows).is_in_conflict && options.on_duplicate_key == OnDuplicateKey::Fail {
            return Outcome::Rejected(Reason::DuplicateKey);
        }
        let mut after = self.clone();
        after.batches.insert(batch_id, rows.to_vec());
        after.lacked.insert(batch_id, self.lacks.clone());
        let history = after.history();
        let mut counts = BTreeMap::new();
        for row in history.iter().filter(|row| row.batch_id == batch_id) {
            *counts.entry(row.record_type).or_insert(0) += 1;
        }
        if let (Some(most), false) = (options.max_delete_ratio, accept_guards) {
            let before: Vec<FeedRow> = history.into_iter().filter(|row| row.batch_id < batch_id).collect();
            let live = self.deletable(&self.latest(&before), rows);
            let deleted = counts.get(&RecordType::Deleted).copied().unwrap_or(0);
            if deleted as f64 > most * live as f64 {
                return Outcome::Rejected(Reason::DeleteRatio);
            }
        }
        *self = after;
        Outcome::Succeeded { counts, derived_again: later }
    }

    /// `{p}_change_feed`, by batch and key.
    pub fn feed(&self) -> Vec<FeedRow> {
        self.history().into_iter().filter(|row| self.options.emit_stale || row.record_type != RecordType::Stale).collect()
    }

    /// `{p}_state`: the live keys' latest rows, and the batch of each.
    pub fn state(&self) -> Vec<(Row, i64)> {
        let latest = self.latest(&self.history());
        latest.into_values().filter(FeedRow::is_live).map(|last| (last.row, last.batch_id)).collect()
    }

    /// `{p}_parked`: the input columns, `xt_parked_reason` and `xt_batch_id`.
    pub fn parked(&self) -> Vec<ParkedRow> {
        self.told().parked
    }

    /// `{p}_landing`: the input columns and `xt_batch_id`, by batch, then in file order.
    pub fn landing(&self) -> Vec<(Row, i64)> {
        self.batches.iter().flat_map(|(batch_id, rows)| rows.iter().map(|row| (row.clone(), *batch_id))).collect()
    }

    /// What became of every key in every batch, STALE rows included.
    pub fn history(&self) -> Vec<FeedRow> {
        self.told().feed
    }

    fn told(&self) -> Told {
        let mut told = Told::default();
        let mut state: BTreeMap<Row, FeedRow> = BTreeMap::new();
        // The greatest sequence that counts of each key.
        let mut known: BTreeMap<Row, Row> = BTreeMap::new();
        for (batch_id, rows) in &self.batches {
            let batch = self.batch(rows);
            told.parked.extend(batch.parked.into_iter().map(|(row, reason)| (row, reason, *batch_id)));
            let mut now: Vec<FeedRow> = Vec::new();
            let mut tell = |record_type, row: &Row, changed_columns| {
                now.push(FeedRow { batch_id: *batch_id, record_type, row: row.clone(), changed_columns });
            };
            for (key, said) in &batch.said {
                let last = state.get(key);
                if self.options.is_ordered() {
                    let sequence = self.sequence(said.row());
                    if known.get(key).is_some_and(|known| sequence < *known) {
                        told.parked.push((said.row().clone(), "superseded", *batch_id));
                        continue;
                    }
                    known.insert(key.clone(), sequence);
                }
                match (said, last) {
                    (Said::Live(row), None) => tell(RecordType::New, row, None),
                    (Said::Live(row), Some(last)) => {
                        let changed = self.changed_columns(last, row);
                        match changed {
                            changed if !last.is_live() => tell(RecordType::Reactivated, row, changed),
                            Some(_) => tell(RecordType::Changed, row, changed),
                            None => tell(RecordType::Stale, row, None),
                        }
                    }
                    (Said::Deleted(row), Some(last)) if last.is_live() => {
                        let mut values = last.row.clone();
                        for column in &self.options.sequence {
                            values[*column] = row[*column].clone();
                        }
                        tell(RecordType::Deleted, &values, None);
                    }
                    (Said::Deleted(row), last) if self.options.is_ordered() => {
                        let reason = if last.is_none() { "unknown_key" } else { "already_deleted" };
                        told.parked.push((row.clone(), reason, *batch_id));
                    }
                    (Said::Deleted(_), _) => (),
                }
            }
            for (key, last) in state.iter().filter(|(_, last)| last.is_live()) {
                let is_absent = !batch.said.contains_key(key) && !batch.standing.contains(key);
                if is_absent && !batch.deletes_nothing && self.is_of(&last.row, &batch.said) {
                    tell(RecordType::Deleted, &last.row, None);
                }
            }
            state.extend(now.iter().map(|row| (self.key(&row.row), row.clone())));
            now.sort_by_key(|row| self.key(&row.row));
            told.feed.extend(now);
        }
        told
    }

    /// Whether a batch that says this is a snapshot of what a row belongs to.
    fn is_of(&self, row: &Row, said: &BTreeMap<Row, Said>) -> bool {
        let values = |row: &Row| -> Row { self.options.snapshot_of.iter().map(|column| row[*column].clone()).collect() };
        match self.options.batch_mode {
            BatchMode::Delta => false,
            BatchMode::Snapshot if self.options.snapshot_of.is_empty() => true,
            BatchMode::Snapshot => said.values().any(|said| values(said.row()) == values(row)),
        }
    }

    /// How many live keys there are that a batch may delete.
    fn deletable(&self, state: &BTreeMap<Row, FeedRow>, rows: &[Row]) -> usize {
        let said = self.batch(rows).said;
        let is_marked = |key: &Row| matches!(said.get(key), Some(Said::Deleted(_)));
        let counts = |(key, last): &(&Row, &FeedRow)| {
            let is_in_sight = self.options.batch_mode == BatchMode::Delta || self.is_of(&last.row, &said) || is_marked(key);
            last.is_live() && is_in_sight
        };
        state.iter().filter(counts).count()
    }

    /// Each key's row of the greatest batch id.
    fn latest(&self, history: &[FeedRow]) -> BTreeMap<Row, FeedRow> {
        let mut latest: BTreeMap<Row, FeedRow> = BTreeMap::new();
        for row in history {
            let key = self.key(&row.row);
            if latest.get(&key).is_none_or(|other| other.batch_id < row.batch_id) {
                latest.insert(key, row.clone());
            }
        }
        latest
    }

    pub fn is_marked(&self, row: &Row) -> bool {
        self.options.delete.as_ref().is_some_and(|(column, values)| match values.as_slice() {
            [] => row[*column] != Value::Null,
            values => values.contains(&row[*column]),
        })
    }

    pub fn key(&self, row: &Row) -> Row {
        self.options.key.iter().map(|column| row[*column].clone()).collect()
    }

    fn sequence(&self, row: &Row) -> Row {
        self.options.sequence.iter().map(|column| row[*column].clone()).collect()
    }

    pub fn has_null_key(&self, row: &Row) -> bool {
        self.key(row).contains(&Value::Null)
    }

    /// Whether the row lacks a key, or its order.
    fn is_lacking(&self, row: &Row) -> bool {
        !is_bad(row) && (self.has_null_key(row) || self.sequence(row).contains(&Value::Null))
    }

    /// Whether it cannot be told whose a row that does not fit is.
    pub fn is_of_nobody(&self, row: &Row) -> bool {
        let said = self.options.key.iter().chain(&self.options.snapshot_of);
        is_bad(row) && said.map(|column| &row[*column]).any(|value| matches!(value, Value::Null | Value::Unreadable))
    }

    /// The tracked columns that differ, in column order; `None` when there are none.
    fn changed_columns(&self, last: &FeedRow, new: &Row) -> Option<String> {
        let columns = &self.options.columns;
        let is_new = |column: &usize| {
            self.options.carried_when_added && self.lacked.get(&last.batch_id).is_some_and(|lacked| lacked.contains(column))
        };
        let differs = |column: &usize| last.row[*column] != new[*column] && !is_new(column);
        let differing = (0..columns.len()).filter(|column| self.options.is_tracked(*column) && differs(column));
        let names: Vec<&str> = differing.map(|column| columns[column].name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// Row order counts only where it decides which row does.
    pub fn is_same_content(&self, known: &[Row], rows: &[Row]) -> bool {
        let (mut known, mut rows) = (known.to_vec(), rows.to_vec());
        if !matches!(self.options.on_duplicate_key, OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast) {
            known.sort();
            rows.sort();
        }
        known == rows
    }
}
