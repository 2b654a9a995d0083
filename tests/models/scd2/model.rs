//! What an scd2 flow's tables hold: the specification once more, as plain slow loops over all batches.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::{self, BatchMode, ColumnType, OnDuplicateKey, OnNullKey, Row, Sorted, Value};

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
    /// Without effective times, execution times must rise with the batch ids.
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

/// A row that a batch shows of a key.
#[derive(Debug, Clone)]
struct Observation {
    time: Value,
    batch_id: i64,
    row: Row,
}

/// A stay of a key in the data: from the batch that brings it to the batch that deletes it.
#[derive(Debug, Clone, Default)]
struct Life {
    /// By batch; never empty.
    observations: Vec<Observation>,
    closed: Option<Closing>,
}

#[derive(Debug, Clone)]
struct Closing {
    batch_id: i64,
    time: Value,
}

impl Model {
    pub fn new(options: Options) -> Self {
        Self { feed: oracle::Model::new(options.feed.clone()), options, executed: BTreeMap::new() }
    }

    /// Executes a batch; one that is rejected leaves everything as it was. Only a known batch can do without `execution_date`.
    pub fn execute(&mut self, batch_id: i64, rows: &[Row], execution_date: Option<i64>, accept_guards: bool) -> Outcome {
        let options = &self.options.feed;
        if options.on_null_key == OnNullKey::Fail && rows.iter().any(|row| self.feed.has_null_key(row)) {
            return Outcome::Rejected(Reason::NullKey);
        }
        if self.feed.batches.get(&batch_id).is_some_and(|known| self.feed.is_same_content(known, rows)) {
            return Outcome::Unchanged;
        }
        let executed = execution_date.or_else(|| self.executed.get(&batch_id).copied()).expect("a new batch's execution date");
        let rises = |(other, time): (&i64, &i64)| other.cmp(&batch_id) == time.cmp(&executed);
        if self.options.effective.is_none() && !self.executed.iter().filter(|(other, _)| **other != batch_id).all(rises) {
            return Outcome::Rejected(Reason::ExecutionTime);
        }
        if options.batch_mode == BatchMode::Snapshot && rows.is_empty() && !options.allow_empty_snapshot && !accept_guards {
            return Outcome::Rejected(Reason::EmptySnapshot);
        }
        if options.on_duplicate_key == OnDuplicateKey::Fail && !self.sorted(rows).conflicting.is_empty() {
            return Outcome::Rejected(Reason::DuplicateKey);
        }
        let mut after = self.clone();
        after.feed.batches.insert(batch_id, rows.to_vec());
        after.executed.insert(batch_id, executed);
        if let (Some(most), false) = (options.max_delete_ratio, accept_guards) {
            let lives: Vec<Life> = after.lives().into_values().flatten().collect();
            let closed_in = |life: &Life| life.closed.as_ref().map(|closing| closing.batch_id);
            let deleted = lives.iter().filter(|life| closed_in(life) == Some(batch_id)).count();
            let lives_before = lives.iter().filter(|life| life.observations[0].batch_id < batch_id);
            let live = lives_before.filter(|life| closed_in(life).is_none_or(|closed| closed >= batch_id)).count();
            if deleted as f64 > most * live as f64 {
                return Outcome::Rejected(Reason::DeleteRatio);
            }
        }
        *self = after;
        Outcome::Succeeded { derived_again: Vec::new() }
    }

    /// `{p}_scd2`, by key and version.
    pub fn versions(&self) -> Vec<Version> {
        self.lives().into_values().flat_map(|lives| self.versions_of(lives)).collect()
    }

    /// `{p}_parked`: the input columns, `xt_parked_reason` and `xt_batch_id`, by batch, then in file order.
    pub fn parked(&self) -> Vec<(Row, &'static str, i64)> {
        let mut parked = Vec::new();
        for (batch_id, rows) in &self.feed.batches {
            let (conflicting, identity) = (self.sorted(rows).conflicting, self.identity(rows));
            for row in rows {
                if self.feed.has_null_key(row) {
                    parked.push((row.clone(), "null_key", *batch_id));
                } else if conflicting.contains(&identity(row)) {
                    parked.push((row.clone(), "duplicate_key", *batch_id));
                }
            }
        }
        parked
    }

    /// The lives of each key that ever lived, in order.
    fn lives(&self) -> BTreeMap<Row, Vec<Life>> {
        let mut keys: BTreeMap<Row, Vec<Life>> = BTreeMap::new();
        for (batch_id, rows) in &self.feed.batches {
            let executed = self.executed[batch_id];
            let Sorted { live, marked, conflicting } = self.sorted(rows);
            for row in live.into_values() {
                let lives = keys.entry(self.feed.key(&row)).or_default();
                if lives.last().is_none_or(|life| life.closed.is_some()) {
                    lives.push(Life::default());
                }
                let time = self.options.effective.map_or_else(|| self.time(executed), |column| row[column].clone());
                lives.last_mut().unwrap().observations.push(Observation { time, batch_id: *batch_id, row });
            }
            let of_keys = |identities: BTreeSet<Row>| -> BTreeSet<Row> {
                identities.into_iter().map(|identity| identity[..self.options.feed.key.len()].to_vec()).collect()
            };
            let (marked, conflicting) = (of_keys(marked), of_keys(conflicting));
            for (key, lives) in &mut keys {
                let last = lives.last().unwrap();
                let is_shown = last.observations.last().unwrap().batch_id == *batch_id || conflicting.contains(key);
                let is_gone = !is_shown && (self.options.feed.batch_mode == BatchMode::Snapshot || marked.contains(key));
                if is_gone && last.closed.is_none() {
                    let observed = lives.iter().flat_map(|life| &life.observations).map(|observation| &observation.time);
                    let closed = lives.iter().filter_map(|life| life.closed.as_ref()).map(|closing| &closing.time);
                    let time = observed.chain(closed).chain([&self.time(executed)]).max().cloned().unwrap();
                    lives.last_mut().unwrap().closed = Some(Closing { batch_id: *batch_id, time });
                }
            }
        }
        keys
    }

    fn versions_of(&self, mut lives: Vec<Life>) -> Vec<Version> {
        if self.options.on_delete == OnDelete::Ignore {
            let observations = lives.into_iter().flat_map(|life| life.observations).collect();
            lives = vec![Life { observations, closed: None }];
        }
        let mut versions: Vec<Version> = Vec::new();
        let mut latest = Row::new();
        let mut begin: Option<Value> = None;
        for life in lives {
            // What is said of each time in the end, and the first batch that said so without being contradicted.
            let mut said: BTreeMap<Value, Observation> = BTreeMap::new();
            for observation in life.observations {
                if said.get(&observation.time).is_none_or(|other| self.differs(&other.row, &observation.row, true)) {
                    said.insert(observation.time.clone(), observation);
                }
            }
            latest.clone_from(&said.last_key_value().unwrap().1.row);
            // No life begins before the one before it was closed: of what is said of earlier times, the last counts.
            let points: BTreeMap<Value, Observation> =
                said.into_iter().map(|(time, observation)| (Some(time).max(begin.clone()).unwrap(), observation)).collect();
            let end = life.closed.map(|closing| closing.time);
            let mut running: Option<Version> = None;
            // What would begin at the end of the life never was in effect.
            for (from, Observation { batch_id, row, .. }) in points.into_iter().filter(|(from, _)| Some(from) != end.as_ref()) {
                if running.as_ref().is_some_and(|version| !self.differs(&version.row, &row, false)) {
                    continue;
                }
                let next = Version { row, version: 0, from: from.clone(), to: None, batch_id, processed_at: self.executed[&batch_id] };
                versions.extend(running.replace(next).map(|version| Version { to: Some(from), ..version }));
            }
            versions.extend(running.map(|version| Version { to: end.clone(), ..version }));
            begin = end;
        }
        for (version, number) in versions.iter_mut().zip(1..) {
            version.version = number;
            for column in &self.options.type1 {
                version.row[*column] = latest[*column].clone();
            }
        }
        versions
    }

    /// Whether two rows of a key say different things; of the effective time and the type-1 columns only with `wholly`.
    fn differs(&self, a: &Row, b: &Row, wholly: bool) -> bool {
        let options = &self.options;
        let is_compared = |column: &usize| {
            let is_mark = options.feed.delete.as_ref().is_some_and(|(delete, _)| delete == column);
            let is_overwritten = options.type1.contains(column) || options.effective == Some(*column);
            !options.feed.key.contains(column) && !is_mark && (wholly || !is_overwritten)
        };
        (0..a.len()).filter(is_compared).any(|column| a[column] != b[column])
    }

    fn sorted(&self, rows: &[Row]) -> Sorted {
        self.feed.sorted_by(rows, self.identity(rows))
    }

    /// What no two different rows of a batch may share: key and effective time, or the key alone where one of its rows marks a deletion.
    fn identity(&self, rows: &[Row]) -> impl Fn(&Row) -> Row {
        let marked: BTreeSet<Row> = rows.iter().filter(|row| self.feed.is_marked(row)).map(|row| self.feed.key(row)).collect();
        move |row| {
            let mut identity = self.feed.key(row);
            if let (Some(column), false) = (self.options.effective, marked.contains(&identity)) {
                identity.push(row[column].clone());
            }
            identity
        }
    }

    /// An execution time as an effective time.
    fn time(&self, micros: i64) -> Value {
        match self.options.effective.map(|column| self.options.feed.columns[column].ty) {
            Some(ColumnType::Date) => Value::Date(i32::try_from(micros.div_euclid(86_400_000_000)).unwrap()),
            _ => Value::Timestamp(micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Column, LateBatches};

    /// Days of a story become dates with `effective`, and else midnights.
    const DAY: i64 = 86_400_000_000;

    /// `key v note op`, and `since` with an effective time; `note` is a type-1 column, `D` in `op` marks a deletion.
    fn model(mode: BatchMode, effective: bool) -> Model {
        let column = |(name, ty): (&str, ColumnType)| Column { name: name.to_owned(), ty };
        let text = |name| (name, ColumnType::Text);
        let columns = [text("key"), text("v"), text("note"), text("op"), ("since", ColumnType::Date)];
        let feed = oracle::Options {
            columns: columns.into_iter().take(if effective { 5 } else { 4 }).map(column).collect(),
            key: vec![0],
            change_detection_columns: None,
            emit_stale: true,
            batch_mode: mode,
            delete: Some((3, vec![Value::Text("D".to_owned())])),
            sequence: Vec::new(),
            snapshot_of: Vec::new(),
            carried_when_added: false,
            on_duplicate_key: OnDuplicateKey::Fail,
            on_null_key: OnNullKey::Fail,
            allow_empty_snapshot: true,
            max_delete_ratio: None,
            late_batches: LateBatches::Cascade,
        };
        Model::new(Options { feed, effective: effective.then_some(4), type1: vec![2], on_delete: OnDelete::Close })
    }

    /// Rows such as `K v1 note U 3, L v1`: what is left out is NULL, or day `day` in `since`.
    fn rows(model: &Model, text: &str, day: i64) -> Vec<Row> {
        let row = |row: &str| {
            let mut row: Row = row.split_whitespace().map(|word| Value::Text(word.to_owned())).collect();
            row.resize(4, Value::Null);
            row
        };
        let with_time = |words: &str| {
            let mut words: Vec<&str> = words.split_whitespace().collect();
            let since = if words.len() == 5 { words.pop().unwrap().parse().unwrap() } else { day };
            let mut row = row(&words.join(" "));
            row.extend(model.options.effective.map(|_| Value::Date(i32::try_from(since).unwrap())));
            row
        };
        text.split(',').filter(|row| !row.trim().is_empty()).map(with_time).collect()
    }

    /// Executes a batch at noon of a day.
    fn execute(model: &mut Model, batch_id: i64, day: i64, text: &str) -> Outcome {
        let rows = rows(model, text, day);
        model.execute(batch_id, &rows, Some(day * DAY + DAY / 2), false)
    }

    fn accept(model: &mut Model, batches: &[(i64, i64, &str)]) {
        for (batch_id, day, text) in batches {
            let outcome = execute(model, *batch_id, *day, text);
            assert!(matches!(outcome, Outcome::Succeeded { .. }), "{batch_id}: {outcome:?}");
        }
    }

    /// A line a version, such as `K v1 note: 1 1-3 #1`: version, days, batch.
    fn table(model: &Model) -> Vec<String> {
        let day = |value: &Value| match value {
            Value::Timestamp(micros) => micros.div_euclid(DAY).to_string(),
            Value::Date(days) => days.to_string(),
            Value::Null | Value::Int(_) | Value::Text(_) | Value::Decimal(_) | Value::Bool(_) | Value::Float(_) => value.text(),
        };
        let line = |found: Version| {
            let words: Vec<String> = found.row[..3].iter().map(Value::text).filter(|text| !text.is_empty()).collect();
            let to = found.to.as_ref().map_or_else(|| "open".to_owned(), day);
            format!("{}: {} {}-{to} #{}", words.join(" "), found.version, day(&found.from), found.batch_id)
        };
        model.versions().into_iter().map(line).collect()
    }

    const EXAMPLE: [(i64, i64, &str); 5] = [(1, 1, "K v1"), (2, 2, "K v1"), (3, 3, "K v2"), (4, 4, ""), (5, 5, "K v2")];

    #[test]
    fn worked_example_in_every_order() {
        let expected = ["K v1: 1 1-3 #1", "K v2: 2 3-4 #3", "K v2: 3 5-open #5"];
        for effective in [true, false] {
            for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [3, 4, 0, 2, 1]] {
                let mut model = model(BatchMode::Snapshot, effective);
                accept(&mut model, &order.map(|at| EXAMPLE[at]));
                assert_eq!(table(&model), expected, "{effective} {order:?}");
            }
        }
    }

    #[test]
    fn ignored_deletions_split_nothing() {
        let mut model = model(BatchMode::Snapshot, true);
        model.options.on_delete = OnDelete::Ignore;
        accept(&mut model, &EXAMPLE);
        assert_eq!(table(&model), ["K v1: 1 1-3 #1", "K v2: 2 3-open #3"]);
    }

    #[test]
    fn a_late_effective_time_splits_an_interval_and_equal_ones_are_replaced() {
        let mut model = model(BatchMode::Snapshot, true);
        accept(&mut model, &[(1, 9, "K v1 a U 1"), (2, 9, "K v2 b U 5"), (3, 9, "K v3 c U 3")]);
        assert_eq!(table(&model), ["K v1 b: 1 1-3 #1", "K v3 b: 2 3-5 #3", "K v2 b: 3 5-open #2"]);
        accept(&mut model, &[(4, 9, "K v1 d U 3")]);
        assert_eq!(table(&model), ["K v1 b: 1 1-5 #1", "K v2 b: 2 5-open #2"]);
        accept(&mut model, &[(5, 9, "K v2 e U 5, K v0 f U 7")]);
        assert_eq!(table(&model), ["K v1 f: 1 1-5 #1", "K v2 f: 2 5-7 #5", "K v0 f: 3 7-open #5"]);
        // What a batch says again is no news.
        accept(&mut model, &[(6, 9, "K v2 e U 5, K v0 f U 7")]);
        assert_eq!(table(&model), ["K v1 f: 1 1-5 #1", "K v2 f: 2 5-7 #5", "K v0 f: 3 7-open #5"]);
    }

    #[test]
    fn deletions_close_at_the_later_time_and_a_return_is_a_new_version() {
        let check = |batches: &[(i64, i64, &str)], expected: &[&str]| {
            let mut model = model(BatchMode::Snapshot, true);
            accept(&mut model, batches);
            assert_eq!(table(&model), expected, "{batches:?}");
        };
        check(&[(1, 1, "K v1 a U 1"), (2, 4, "")], &["K v1 a: 1 1-4 #1"]);
        check(&[(1, 1, "K v1 a U 1, K v2 a U 6"), (2, 4, "")], &["K v1 a: 1 1-6 #1"]);
        check(&[(1, 1, "K v1 a U 6"), (2, 4, "")], &[]);
        check(&[(1, 1, "K v1 a U 6"), (2, 4, ""), (3, 5, "K v1 a U 2")], &["K v1 a: 1 6-open #3"]);
        check(&[(1, 1, "K v1 a U 1"), (2, 4, ""), (3, 5, "K v1 a U 1")], &["K v1 a: 1 1-4 #1", "K v1 a: 2 4-open #3"]);
        // Of two times before the closing, the later one counts, in one batch and in two.
        let back = ["K v1 c: 1 1-4 #1", "K v3 c: 2 4-open #3"];
        check(&[(1, 1, "K v1 a U 1"), (2, 4, ""), (3, 5, "K v3 c U 3, K v2 b U 2")], &back);
        check(&[(1, 1, "K v1 a U 1"), (2, 4, ""), (3, 5, "K v3 c U 3"), (4, 6, "K v2 b U 2")], &back);
        // A second closing is not before the first one, whenever it was executed.
        check(&[(1, 1, "K v1 a U 1"), (2, 4, ""), (3, 5, "K v2 a U 2"), (4, 3, "")], &["K v1 a: 1 1-4 #1"]);
    }

    #[test]
    fn marks_and_contradictions() {
        let mut model = model(BatchMode::Delta, true);
        accept(&mut model, &[(1, 1, "K v1 a U 1, L v1 a U 1"), (2, 2, ""), (3, 3, "K v1 a D 9")]);
        assert_eq!(table(&model), ["K v1 a: 1 1-3 #1", "L v1 a: 1 1-open #1"]);
        for contradiction in ["L v1 a U 4, L v2 a U 4", "L v1 a U 4, L v1 a D 5", "L v1 a D 4, L v1 a D 5"] {
            assert_eq!(execute(&mut model, 4, 4, contradiction), Outcome::Rejected(Reason::DuplicateKey), "{contradiction}");
        }
        model.options.feed.on_duplicate_key = OnDuplicateKey::Park;
        model.feed.options.on_duplicate_key = OnDuplicateKey::Park;
        model.options.feed.batch_mode = BatchMode::Snapshot;
        accept(&mut model, &[(4, 4, "L v2 a U 4, L v3 a U 4, L v4 a U 5")]);
        assert_eq!(table(&model)[1..], ["L v1 a: 1 1-2 #1", "L v4 a: 2 5-open #4"]);
        assert_eq!(
            model.parked().into_iter().map(|(row, reason, _)| format!("{} {reason}", row[1].text())).collect::<Vec<_>>(),
            ["v2 duplicate_key", "v3 duplicate_key"]
        );
        accept(&mut model, &[(5, 7, "L v5 a U 7, L v5 a D 8")]);
        assert_eq!(table(&model)[1..], ["L v1 a: 1 1-2 #1", "L v4 a: 2 5-open #4"]);
    }

    #[test]
    fn without_effective_times_execution_times_rise() {
        let mut model = model(BatchMode::Snapshot, false);
        accept(&mut model, &[(2, 4, "K v1"), (4, 8, "K v2")]);
        for (batch_id, day) in [(3, 4), (3, 8), (3, 9), (1, 5), (5, 7), (2, 9)] {
            assert_eq!(execute(&mut model, batch_id, day, "K v3"), Outcome::Rejected(Reason::ExecutionTime), "{batch_id} {day}");
        }
        accept(&mut model, &[(3, 6, "K v3")]);
        assert_eq!(table(&model), ["K v1: 1 4-6 #2", "K v3: 2 6-8 #3", "K v2: 3 8-open #4"]);
        let replay = rows(&model, "K v0", 0);
        assert_eq!(model.execute(3, &replay, None, false), Outcome::Succeeded { derived_again: Vec::new() });
        assert_eq!(table(&model)[1], "K v0: 2 6-8 #3");
        assert_eq!(model.execute(3, &replay, Some(0), false), Outcome::Unchanged);
    }
}
