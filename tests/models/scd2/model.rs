//! What an scd2 flow's tables hold: the specification once more, as plain slow loops over all batches.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::{self, BatchMode, ColumnType, OnDuplicateKey, OnNullKey, Row, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    Close,
    Ignore,
}

/// A flow's options. Columns are named by their position in `feed.columns`.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What a change feed has too; what a change feed alone has stands at its default.
    pub feed: oracle::Options,
    /// A date or a timestamp, never NULL.
    pub effective: Option<usize>,
    /// Never NULL; only with `effective`.
    pub sequence: Vec<usize>,
    pub snapshot_of: Vec<usize>,
    /// The date or hour that a batch id is stands for its execution time.
    pub from_batch: bool,
    pub type1: Vec<usize>,
    pub on_delete: OnDelete,
}

/// A row of `{p}_scd2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub row: Row,
    pub version: i64,
    pub from: Value,
    /// `None`: open, and so the current one.
    pub to: Option<Value>,
    pub batch_id: i64,
    /// Microseconds since 1970.
    pub processed_at: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Succeeded { derived_again: Vec<i64> },
    Unchanged,
    Rejected(Reason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NullKey,
    /// Where absence deletes, and without effective times, execution times must rise with the batch ids.
    ExecutionTime,
    EmptySnapshot,
    DuplicateKey,
    DeleteRatio,
}

/// A flow and the batches it has accepted. Its tables are worked out when asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub options: Options,
    /// Keeps the batches, and knows what they have in common with a change feed's.
    pub feed: oracle::Model,
    /// When each batch was executed, as recorded: microseconds since 1970.
    pub executed: BTreeMap<i64, i64>,
}

/// A batch's rows, by what becomes of them.
#[derive(Default)]
struct Sorted {
    /// One for each key, effective time and sequence.
    accepted: Vec<Row>,
    /// With the reason, in file order.
    parked: Vec<(Row, &'static str)>,
}

/// What batches say of a key.
#[derive(Default)]
struct Known {
    /// By batch; none of the lists is empty.
    rows: BTreeMap<i64, Vec<Row>>,
    /// The batches with a row that was parked.
    parked: BTreeSet<i64>,
}

/// A row that acts on a key's versions.
#[derive(Debug, Clone)]
struct Event {
    /// When it acts.
    time: Value,
    sequence: Row,
    batch_id: i64,
    /// The effective time that its row has.
    own: Value,
    row: Row,
    deletes: bool,
}

impl Model {
    pub fn new(options: Options) -> Self {
        Self { feed: oracle::Model::new(options.feed.clone()), options, executed: BTreeMap::new() }
    }

    /// Executes a batch; one that is rejected leaves everything as it was. Only a known batch can do without `execution_date`.
    pub fn execute(&mut self, batch_id: i64, rows: &[Row], execution_date: Option<i64>, accept_guards: bool) -> Outcome {
        let options = &self.options.feed;
        if options.on_null_key == OnNullKey::Fail && rows.iter().any(|row| !oracle::is_bad(row) && self.lacks(row)) {
            return Outcome::Rejected(Reason::NullKey);
        }
        if self.feed.batches.get(&batch_id).is_some_and(|known| self.feed.is_same_content(known, rows)) {
            return Outcome::Unchanged;
        }
        let recorded = self.executed.get(&batch_id).copied();
        let mut after = self.clone();
        after.feed.batches.insert(batch_id, rows.to_vec());
        after.executed.insert(batch_id, execution_date.or(recorded).expect("a new batch's execution date"));
        let rise = after.executed.keys().zip(after.executed.keys().skip(1)).all(|(a, b)| after.micros(*a) < after.micros(*b));
        if (self.options.effective.is_none() || self.absence_deletes()) && !rise {
            return Outcome::Rejected(Reason::ExecutionTime);
        }
        let is_whole = options.batch_mode == BatchMode::Snapshot && self.options.snapshot_of.is_empty();
        if is_whole && rows.is_empty() && !options.allow_empty_snapshot && !accept_guards {
            return Outcome::Rejected(Reason::EmptySnapshot);
        }
        let is_conflict = |(_, reason): &(Row, &str)| *reason == "duplicate_key";
        if options.on_duplicate_key == OnDuplicateKey::Fail && self.sorted(rows).parked.iter().any(is_conflict) {
            return Outcome::Rejected(Reason::DuplicateKey);
        }
        if let (Some(most), false) = (options.max_delete_ratio, accept_guards) {
            let (deleted, live) = after.deletions(batch_id);
            if deleted as f64 > most * live as f64 {
                return Outcome::Rejected(Reason::DeleteRatio);
            }
        }
        *self = after;
        Outcome::Succeeded { derived_again: Vec::new() }
    }

    /// `{p}_scd2`, by key and version.
    pub fn versions(&self) -> Vec<Version> {
        self.known().values().flat_map(|known| self.versions_of(known)).collect()
    }

    /// `{p}_parked`: the input columns, `xt_parked_reason` and `xt_batch_id`, by batch, then in file order.
    pub fn parked(&self) -> Vec<(Row, &'static str, i64)> {
        let of = |(batch_id, rows): (&i64, &Vec<Row>)| {
            let batch_id = *batch_id;
            self.sorted(rows).parked.into_iter().map(move |(row, reason)| (row, reason, batch_id))
        };
        self.feed.batches.iter().flat_map(of).collect()
    }

    /// One row for each key, effective time and sequence; what has no such thing, or several that differ, is parked.
    fn sorted(&self, rows: &[Row]) -> Sorted {
        let identity = |row: &Row| -> Row {
            let columns = self.options.feed.key.iter().chain(&self.options.effective).chain(&self.options.sequence);
            columns.map(|column| row[*column].clone()).collect()
        };
        let mut sorted = Sorted::default();
        let mut done: BTreeSet<Row> = BTreeSet::new();
        for row in rows {
            if oracle::is_bad(row) {
                sorted.parked.push((row.clone(), "bad_row"));
                continue;
            }
            if self.lacks(row) {
                sorted.parked.push((row.clone(), "null_key"));
                continue;
            }
            let alike: Vec<&Row> =
                rows.iter().filter(|other| !oracle::is_bad(other) && !self.lacks(other) && identity(other) == identity(row)).collect();
            let differ = alike.iter().any(|other| *other != row);
            match self.options.feed.on_duplicate_key {
                OnDuplicateKey::Fail | OnDuplicateKey::Park if differ => sorted.parked.push((row.clone(), "duplicate_key")),
                _ if !done.insert(identity(row)) => (),
                OnDuplicateKey::KeepLast => sorted.accepted.push(alike[alike.len() - 1].clone()),
                OnDuplicateKey::KeepFirst | OnDuplicateKey::Fail | OnDuplicateKey::Park => sorted.accepted.push(alike[0].clone()),
            }
        }
        sorted
    }

    /// Whether a row has NULL where it must not.
    fn lacks(&self, row: &Row) -> bool {
        self.feed.has_null_key(row) || self.options.effective.iter().chain(&self.options.sequence).any(|column| row[*column] == Value::Null)
    }

    /// What batches say of each key.
    fn known(&self) -> BTreeMap<Row, Known> {
        let mut keys: BTreeMap<Row, Known> = BTreeMap::new();
        for (batch_id, rows) in &self.feed.batches {
            let sorted = self.sorted(rows);
            for row in sorted.accepted {
                keys.entry(self.feed.key(&row)).or_default().rows.entry(*batch_id).or_default().push(row);
            }
            for (row, _) in
                sorted.parked.iter().filter(|(row, _)| !self.feed.has_null_key(row) && !self.feed.key(row).contains(&Value::Unreadable))
            {
                keys.entry(self.feed.key(row)).or_default().parked.insert(*batch_id);
            }
        }
        keys
    }

    fn absence_deletes(&self) -> bool {
        self.options.feed.batch_mode == BatchMode::Snapshot && self.options.on_delete == OnDelete::Close
    }

    /// The batches in which a key that was there before is missing.
    fn absences(&self, known: &Known) -> Vec<i64> {
        let is_absent = |batch_id: &&i64| {
            let was_there = known.rows.range(..**batch_id).any(|(_, rows)| rows.iter().any(|row| !self.feed.is_marked(row)));
            let is_shown = known.rows.contains_key(batch_id) || known.parked.contains(batch_id);
            let may_miss_it = self.concerns(**batch_id, known) && !self.is_unreadable(**batch_id);
            self.options.feed.batch_mode == BatchMode::Snapshot && was_there && !is_shown && may_miss_it
        };
        self.feed.batches.keys().filter(is_absent).copied().collect()
    }

    /// Whether a batch is a snapshot of the values that a key belongs to, which are those of its latest row before.
    fn concerns(&self, batch_id: i64, known: &Known) -> bool {
        let of = |row: &Row| -> Row { self.options.snapshot_of.iter().map(|column| row[*column].clone()).collect() };
        let Some((_, rows)) = known.rows.range(..batch_id).next_back() else { return false };
        let latest = rows.iter().max_by_key(|row| self.order(row)).unwrap();
        self.options.snapshot_of.is_empty() || self.sorted(&self.feed.batches[&batch_id]).accepted.iter().any(|row| of(row) == of(latest))
    }

    /// Whether a snapshot has a row whose key cannot be read or, if it is one of some values, a row without a key: which may have been
    /// any.
    fn is_unreadable(&self, batch_id: i64) -> bool {
        let is_of_nobody = |row: &Row| {
            let said = self.options.feed.key.iter().chain(&self.options.snapshot_of).map(|column| &row[*column]);
            oracle::is_bad(row) && said.into_iter().any(|value| matches!(value, Value::Null | Value::Unreadable))
        };
        if self.feed.batches[&batch_id].iter().any(is_of_nobody) {
            return true;
        }
        !self.options.snapshot_of.is_empty() && self.feed.batches[&batch_id].iter().any(|row| self.feed.has_null_key(row))
    }

    /// The effective time and sequence of a row, as far as it has them.
    fn order(&self, row: &Row) -> Row {
        self.options.effective.iter().chain(&self.options.sequence).map(|column| row[*column].clone()).collect()
    }

    /// How many keys a batch deletes, and how many are live before it, of those that it may delete.
    fn deletions(&self, batch_id: i64) -> (usize, usize) {
        let (mut deleted, mut live) = (0, 0);
        for known in self.known().values() {
            let absences = self.absences(known);
            let is_live = |rows: &Vec<Row>| !self.feed.is_marked(rows.iter().max_by_key(|row| self.order(row)).unwrap());
            let before = known.rows.range(..batch_id).next_back();
            let was_live =
                before.is_some_and(|(last, rows)| is_live(rows) && !absences.iter().any(|absent| last < absent && *absent < batch_id));
            let is_marked = known.rows.get(&batch_id).is_some_and(|rows| !is_live(rows));
            let is_whole = self.options.feed.batch_mode == BatchMode::Delta || self.options.snapshot_of.is_empty();
            if was_live && (is_whole || is_marked || self.concerns(batch_id, known)) {
                live += 1;
                deleted += usize::from(is_marked || absences.contains(&batch_id));
            }
        }
        (deleted, live)
    }

    /// The rows of a key that act, with the time at which each does.
    fn events(&self, known: &Known, absences: &[i64]) -> Vec<Event> {
        let mut events = Vec::new();
        for (batch_id, rows) in &known.rows {
            let (batch_id, gone) = (*batch_id, absences.iter().filter(|absent| *absent < batch_id).max());
            let mut returning: Option<Event> = None;
            for row in rows {
                let own = self.options.effective.map_or_else(|| self.time(batch_id), |column| row[column].clone());
                let sequence = self.options.sequence.iter().map(|column| row[*column].clone()).collect();
                let deletes = self.feed.is_marked(row);
                let event = Event { time: own.clone(), sequence, batch_id, own, row: row.clone(), deletes };
                match gone {
                    // It was not there in between.
                    Some(gone) if !deletes && event.own <= self.time(*gone) => {
                        let shows_it = |(_, rows): &(&i64, &Vec<Row>)| rows.iter().any(|row| !self.feed.is_marked(row));
                        let (first, _) = known.rows.range(gone..).find(shows_it).unwrap();
                        let event = Event { time: self.time(*first), ..event };
                        let rank = |event: &Event| (event.own.clone(), event.sequence.clone());
                        if returning.as_ref().is_none_or(|other| rank(other) < rank(&event)) {
                            returning = Some(event);
                        }
                    }
                    _ => events.push(event),
                }
            }
            events.extend(returning);
        }
        let is_ended = |event: &Event| absences.iter().any(|absent| *absent > event.batch_id && self.time(*absent) <= event.time);
        events.retain(|event| event.deletes || !is_ended(event));
        events
    }

    fn versions_of(&self, known: &Known) -> Vec<Version> {
        let closes = self.options.on_delete == OnDelete::Close;
        let absences = if closes { self.absences(known) } else { Vec::new() };
        let mut events = self.events(known, &absences);
        events.retain(|event| closes || !event.deletes);
        let deletions: BTreeSet<Value> = absences.iter().map(|absent| self.time(*absent)).collect();
        let times: BTreeSet<Value> = events.iter().map(|event| event.time.clone()).chain(deletions.iter().cloned()).collect();

        let mut versions: Vec<Version> = Vec::new();
        // The versions since the last deletion begin here.
        let mut life = 0;
        let mut last: Option<Row> = None;
        for time in times {
            let here: Vec<&Event> = events.iter().filter(|event| event.time == time).collect();
            let counts = here.iter().max_by_key(|event| (&event.sequence, event.batch_id, &event.own)).copied();
            let end = |versions: &mut Vec<Version>| {
                versions.iter_mut().filter(|version| version.to.is_none()).for_each(|version| version.to = Some(time.clone()));
            };
            if deletions.contains(&time) || here.iter().any(|event| event.deletes) {
                end(&mut versions);
                (life, last) = (versions.len(), None);
            }
            let Some(counts) = counts.filter(|event| !event.deletes) else { continue };
            if last.as_ref().is_none_or(|last| self.differs(last, &counts.row)) {
                end(&mut versions);
                let says_so = |event: &&&Event| !event.deletes && !self.differs(&event.row, &counts.row);
                let earliest = here.iter().filter(says_so).map(|event| event.batch_id).min().unwrap();
                let of_it = here.iter().filter(says_so).filter(|event| event.batch_id == earliest);
                let said = of_it.max_by_key(|event| (&event.sequence, &event.own)).unwrap();
                let processed_at = self.micros(said.batch_id);
                versions.push(Version { row: said.row.clone(), version: 0, from: time, to: None, batch_id: said.batch_id, processed_at });
            }
            for version in &mut versions[life..] {
                self.options.type1.iter().for_each(|column| version.row[*column] = counts.row[*column].clone());
            }
            last = Some(counts.row.clone());
        }
        for (version, number) in versions.iter_mut().zip(1..) {
            version.version = number;
        }
        versions
    }

    /// Whether a tracked column differs.
    fn differs(&self, a: &Row, b: &Row) -> bool {
        let Options { feed, effective, sequence, type1, .. } = &self.options;
        let is_tracked = |column: &usize| match &feed.change_detection_columns {
            Some(chosen) => chosen.contains(column),
            None => feed.is_tracked(*column) && *effective != Some(*column) && !sequence.contains(column) && !type1.contains(column),
        };
        (0..a.len()).filter(is_tracked).any(|column| a[column] != b[column])
    }

    /// What stands for the execution time of a batch: microseconds since 1970.
    pub fn micros(&self, batch_id: i64) -> i64 {
        if !self.options.from_batch {
            return self.executed[&batch_id];
        }
        let (day, hour) = if batch_id > 99_999_999 { (batch_id / 100, batch_id % 100) } else { (batch_id, 0) };
        let day = chrono::NaiveDate::parse_from_str(&day.to_string(), "%Y%m%d").unwrap();
        day.and_hms_opt(u32::try_from(hour).unwrap(), 0, 0).unwrap().and_utc().timestamp_micros()
    }

    /// The same as an effective time.
    fn time(&self, batch_id: i64) -> Value {
        let micros = self.micros(batch_id);
        match self.options.effective.map(|column| self.options.feed.columns[column].ty) {
            Some(ColumnType::Date) => Value::Date(i32::try_from(micros.div_euclid(86_400_000_000)).unwrap()),
            _ => Value::Timestamp(micros),
        }
    }
}

#[cfg(test)]
mod tests;
