//! What a change feed's tables hold: the specification once more, as plain slow loops over all batches.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
};

/// A typed value. NULL equals NULL, NaN equals NaN, −0.0 is 0.0; all else is equal when it is the same.
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    /// Hundredths.
    Decimal(i128),
    Bool(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    Float(f64),
}

impl Value {
    /// Equal for equal values and ordered as they are: the variant, then its number or text.
    fn rank(&self) -> (u8, i128, &str) {
        match self {
            Value::Null => (0, 0, ""),
            Value::Int(value) => (1, i128::from(*value), ""),
            Value::Text(text) => (2, 0, text),
            Value::Decimal(value) => (3, *value, ""),
            Value::Bool(value) => (4, i128::from(*value), ""),
            Value::Date(days) => (5, i128::from(*days), ""),
            Value::Timestamp(micros) => (6, i128::from(*micros), ""),
            Value::Float(value) if value.is_nan() => (7, i128::MAX, ""),
            Value::Float(value) if *value < 0.0 => (7, -i128::from(value.abs().to_bits()), ""),
            Value::Float(value) => (7, i128::from(value.abs().to_bits()), ""),
        }
    }

    /// As `qetl query --format csv` prints it, before quoting: NULL and the empty text are both empty here.
    pub fn text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Int(value) => value.to_string(),
            Value::Text(text) => text.clone(),
            Value::Decimal(value) => {
                let sign = if *value < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}", value.unsigned_abs() / 100, value.unsigned_abs() % 100)
            }
            Value::Bool(value) => value.to_string(),
            Value::Date(days) => date_text(i64::from(*days)),
            Value::Timestamp(micros) => {
                let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
                let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
                format!("{}T{:02}:{:02}:{:02}.{fraction:06}Z", date_text(day), second / 3600, second / 60 % 60, second % 60)
            }
            Value::Float(value) if value.is_nan() => "NaN".to_owned(),
            Value::Float(value) if value.is_infinite() => if *value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            Value::Float(value) if *value == 0.0 => "0".to_owned(),
            Value::Float(value) if (1e-7..1e21).contains(&value.abs()) => value.to_string(),
            Value::Float(value) => format!("{value:e}"),
        }
    }
}

/// ISO 8601, found by counting from 0001-01-01, the first day there is.
fn date_text(days: i64) -> String {
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut month, mut left) = (1, 1, days + 719_162);
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    for length in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
    }
}

/// A row's values in column order.
pub type Row = Vec<Value>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Int,
    Text,
    Decimal,
    Bool,
    Date,
    Timestamp,
    Float,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub ty: ColumnType,
}

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
    /// `None`: all but the key and the delete column.
    pub change_detection_columns: Option<Vec<usize>>,
    pub emit_stale: bool,
    pub batch_mode: BatchMode,
    /// The delete column and the values that mark a deletion.
    pub delete: Option<(usize, Vec<Value>)>,
    pub on_duplicate_key: OnDuplicateKey,
    pub on_null_key: OnNullKey,
    pub allow_empty_snapshot: bool,
    pub max_delete_ratio: Option<f64>,
    pub late_batches: LateBatches,
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
}

/// A batch's rows that have a key, by what becomes of them.
#[derive(Default)]
pub struct Sorted {
    /// L(N).
    pub live: BTreeMap<Row, Row>,
    pub marked: BTreeSet<Row>,
    /// Keys with rows that differ, where neither the first nor the last of them counts.
    pub conflicting: BTreeSet<Row>,
}

impl Options {
    /// Whether there is a dataset of parked rows.
    pub fn parks(&self) -> bool {
        self.on_duplicate_key == OnDuplicateKey::Park || self.on_null_key == OnNullKey::Park
    }

    /// Whether a column's values are compared.
    pub fn is_tracked(&self, column: usize) -> bool {
        let carried = self.key.contains(&column) || self.delete.as_ref().is_some_and(|(delete, _)| *delete == column);
        self.change_detection_columns.as_ref().map_or(!carried, |chosen| chosen.contains(&column))
    }
}

impl Model {
    pub fn new(options: Options) -> Self {
        Self { options, batches: BTreeMap::new() }
    }

    /// Executes a batch; one that is rejected leaves everything as it was.
    pub fn execute(&mut self, batch_id: i64, rows: &[Row], accept_guards: bool) -> Outcome {
        let options = &self.options;
        if options.on_null_key == OnNullKey::Fail && rows.iter().any(|row| self.has_null_key(row)) {
            return Outcome::Rejected(Reason::NullKey);
        }
        if self.batches.get(&batch_id).is_some_and(|known| self.is_same_content(known, rows)) {
            return Outcome::Unchanged;
        }
        let later: Vec<i64> = self.batches.keys().copied().filter(|id| *id > batch_id).collect();
        if options.late_batches == LateBatches::Reject && !later.is_empty() {
            return Outcome::Rejected(Reason::Late);
        }
        if options.batch_mode == BatchMode::Snapshot && rows.is_empty() && !options.allow_empty_snapshot && !accept_guards {
            return Outcome::Rejected(Reason::EmptySnapshot);
        }
        if options.on_duplicate_key == OnDuplicateKey::Fail && !self.sorted(rows).conflicting.is_empty() {
            return Outcome::Rejected(Reason::DuplicateKey);
        }
        let mut after = self.clone();
        after.batches.insert(batch_id, rows.to_vec());
        let history = after.history();
        let mut counts = BTreeMap::new();
        for row in history.iter().filter(|row| row.batch_id == batch_id) {
            *counts.entry(row.record_type).or_insert(0) += 1;
        }
        if let (Some(most), false) = (options.max_delete_ratio, accept_guards) {
            let before: Vec<FeedRow> = history.into_iter().filter(|row| row.batch_id < batch_id).collect();
            let live = self.latest(&before).values().filter(|row| row.record_type != RecordType::Deleted).count();
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

    /// `{p}_state`: the input columns and `xt_batch_id`, by key.
    pub fn state(&self) -> Vec<(Row, i64)> {
        let latest = self.latest(&self.history());
        latest.into_values().filter(|last| last.record_type != RecordType::Deleted).map(|last| (last.row, last.batch_id)).collect()
    }

    /// `{p}_parked`: the input columns, `xt_parked_reason` and `xt_batch_id`, by batch, then in file order.
    pub fn parked(&self) -> Vec<(Row, &'static str, i64)> {
        let mut parked = Vec::new();
        for (batch_id, rows) in &self.batches {
            let conflicting = self.sorted(rows).conflicting;
            for row in rows {
                if self.has_null_key(row) {
                    parked.push((row.clone(), "null_key", *batch_id));
                } else if conflicting.contains(&self.key(row)) {
                    parked.push((row.clone(), "duplicate_key", *batch_id));
                }
            }
        }
        parked
    }

    /// `{p}_landing`: the input columns and `xt_batch_id`, by batch, then in file order.
    pub fn landing(&self) -> Vec<(Row, i64)> {
        self.batches.iter().flat_map(|(batch_id, rows)| rows.iter().map(|row| (row.clone(), *batch_id))).collect()
    }

    /// What became of every key in every batch, STALE rows included.
    pub fn history(&self) -> Vec<FeedRow> {
        let mut history: Vec<FeedRow> = Vec::new();
        for (batch_id, rows) in &self.batches {
            let before = self.latest(&history);
            let batch = self.sorted(rows);
            let keys: BTreeSet<&Row> = before.keys().chain(batch.live.keys()).collect();
            for key in keys {
                if batch.conflicting.contains(key) {
                    continue;
                }
                let absence_deletes = self.options.batch_mode == BatchMode::Snapshot || batch.marked.contains(key);
                let (record_type, row, changed_columns) = match (batch.live.get(key), before.get(key)) {
                    (Some(now), None) => (RecordType::New, now, None),
                    (Some(now), Some(last)) => {
                        let changed = self.changed_columns(&last.row, now);
                        match (last.record_type, &changed) {
                            (RecordType::Deleted, _) => (RecordType::Reactivated, now, changed),
                            (_, Some(_)) => (RecordType::Changed, now, changed),
                            (_, None) => (RecordType::Stale, now, None),
                        }
                    }
                    (None, Some(last)) if last.record_type != RecordType::Deleted && absence_deletes => {
                        (RecordType::Deleted, &last.row, None)
                    }
                    (None, _) => continue,
                };
                history.push(FeedRow { batch_id: *batch_id, record_type, row: row.clone(), changed_columns });
            }
        }
        history
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

    fn sorted(&self, rows: &[Row]) -> Sorted {
        self.sorted_by(rows, |row| self.key(row))
    }

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

    pub fn is_marked(&self, row: &Row) -> bool {
        self.options.delete.as_ref().is_some_and(|(column, values)| values.contains(&row[*column]))
    }

    pub fn key(&self, row: &Row) -> Row {
        self.options.key.iter().map(|column| row[*column].clone()).collect()
    }

    pub fn has_null_key(&self, row: &Row) -> bool {
        self.key(row).contains(&Value::Null)
    }

    /// The tracked columns that differ, in column order; `None` when there are none.
    fn changed_columns(&self, old: &Row, new: &Row) -> Option<String> {
        let columns = &self.options.columns;
        let differing = (0..columns.len()).filter(|column| self.options.is_tracked(*column) && old[*column] != new[*column]);
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

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Of the worked example.
    pub fn options() -> Options {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty };
        Options {
            columns: vec![column("id", ColumnType::Text), column("status", ColumnType::Text), column("amount", ColumnType::Int)],
            key: vec![0],
            change_detection_columns: None,
            emit_stale: true,
            batch_mode: BatchMode::Snapshot,
            delete: None,
            on_duplicate_key: OnDuplicateKey::Fail,
            on_null_key: OnNullKey::Fail,
            allow_empty_snapshot: false,
            max_delete_ratio: None,
            late_batches: LateBatches::Cascade,
        }
    }

    /// Rows such as `A open 100, E open ∅`.
    pub fn rows(text: &str) -> Vec<Row> {
        let row = |row: &str| row.split_whitespace().map(value).collect();
        text.split(',').filter(|row| !row.trim().is_empty()).map(row).collect()
    }

    fn value(word: &str) -> Value {
        match word.parse() {
            Ok(number) => Value::Int(number),
            Err(_) if word == "∅" => Value::Null,
            Err(_) => Value::Text(word.to_owned()),
        }
    }

    /// A line a key: `C | 1 NEW open 50 | 2 DELETED open 50`.
    fn table(model: &Model) -> Vec<String> {
        let mut lines: BTreeMap<String, String> = BTreeMap::new();
        for row in model.feed() {
            let words: Vec<String> =
                row.row.iter().map(|value| if *value == Value::Null { "∅".to_owned() } else { value.text() }).collect();
            let changed = row.changed_columns.map_or_else(String::new, |columns| format!(" ({columns})"));
            let cell = format!(" | {} {} {}{changed}", row.batch_id, row.record_type.name(), words[1..].join(" "));
            lines.entry(words[0].clone()).or_default().push_str(&cell);
        }
        lines.into_iter().map(|(key, cells)| key + &cells).collect()
    }

    fn state(model: &Model) -> Vec<String> {
        model
            .state()
            .into_iter()
            .map(|(row, batch)| row.iter().map(Value::text).chain([batch.to_string()]).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn worked_example() {
        let mut model = Model::new(options());
        for (batch_id, batch) in [
            (1, "A open 100, B open 100, C open 50, D open 70, E open 10"),
            (2, "A open 100, B open 150, E open ∅"),
            (4, "A open 100, B open 150, D open 75, E open ∅, F open 20"),
            (5, "A open 100, B paid 150, C open 50, D open 75, E open 10, F open 20, F open 20"),
            (6, "A open 100, B paid 150, C open 50, E open 10, F open 25"),
        ] {
            assert!(
                matches!(model.execute(batch_id, &rows(batch), false), Outcome::Succeeded { derived_again, .. } if derived_again.is_empty())
            );
        }
        let mut expected = [
            "A | 1 NEW open 100 | 2 STALE open 100 | 4 STALE open 100 | 5 STALE open 100 | 6 STALE open 100",
            "B | 1 NEW open 100 | 2 CHANGED open 150 (amount) | 4 STALE open 150 | 5 CHANGED paid 150 (status) | 6 STALE paid 150",
            "C | 1 NEW open 50 | 2 DELETED open 50 | 5 REACTIVATED open 50 | 6 STALE open 50",
            "D | 1 NEW open 70 | 2 DELETED open 70 | 4 REACTIVATED open 75 (amount) | 5 STALE open 75 | 6 DELETED open 75",
            "E | 1 NEW open 10 | 2 CHANGED open ∅ (amount) | 4 STALE open ∅ | 5 CHANGED open 10 (amount) | 6 STALE open 10",
            "F | 4 NEW open 20 | 5 STALE open 20 | 6 CHANGED open 25 (amount)",
        ];
        assert_eq!(table(&model), expected);
        assert_eq!(state(&model), ["A open 100 6", "B paid 150 6", "C open 50 6", "E open 10 6", "F open 25 6"]);

        let late = model.execute(3, &rows("A open 100, B open 120, C open 50, E open ∅"), false);
        let counts = BTreeMap::from([(RecordType::Changed, 1), (RecordType::Reactivated, 1), (RecordType::Stale, 2)]);
        assert_eq!(late, Outcome::Succeeded { counts, derived_again: vec![4, 5, 6] });
        expected[0] = "A | 1 NEW open 100 | 2 STALE open 100 | 3 STALE open 100 | 4 STALE open 100 | 5 STALE open 100 | 6 STALE open 100";
        expected[1] = "B | 1 NEW open 100 | 2 CHANGED open 150 (amount) | 3 CHANGED open 120 (amount) | 4 CHANGED open 150 (amount) \
                       | 5 CHANGED paid 150 (status) | 6 STALE paid 150";
        expected[2] =
            "C | 1 NEW open 50 | 2 DELETED open 50 | 3 REACTIVATED open 50 | 4 DELETED open 50 | 5 REACTIVATED open 50 | 6 STALE open 50";
        expected[4] = "E | 1 NEW open 10 | 2 CHANGED open ∅ (amount) | 3 STALE open ∅ | 4 STALE open ∅ | 5 CHANGED open 10 (amount) | 6 STALE open 10";
        assert_eq!(table(&model), expected);

        let five = rows("F open 20, A open 100, B paid 155, C open 50, D open 75, E open 10, F open 20");
        assert!(matches!(model.execute(5, &five, false), Outcome::Succeeded { derived_again, .. } if derived_again == [6]));
        expected[1] = "B | 1 NEW open 100 | 2 CHANGED open 150 (amount) | 3 CHANGED open 120 (amount) | 4 CHANGED open 150 (amount) \
                       | 5 CHANGED paid 155 (status,amount) | 6 CHANGED paid 150 (amount)";
        assert_eq!(table(&model), expected);
        assert_eq!(model.execute(5, &five.into_iter().rev().collect::<Vec<_>>(), false), Outcome::Unchanged);
    }

    #[test]
    fn refusals_change_nothing_and_come_in_their_order() {
        let mut model = Model::new(Options { late_batches: LateBatches::Reject, max_delete_ratio: Some(0.5), ..options() });
        let mut check = |batch_id, batch, accept_guards, reason: Option<Reason>| {
            let before = model.clone();
            let outcome = model.execute(batch_id, &rows(batch), accept_guards);
            match reason {
                Some(reason) => assert_eq!((outcome, &model), (Outcome::Rejected(reason), &before)),
                None => assert!(matches!(outcome, Outcome::Succeeded { .. } | Outcome::Unchanged), "{outcome:?}"),
            }
        };
        check(2, "", false, Some(Reason::EmptySnapshot));
        check(2, "A x 1, A x 2", true, Some(Reason::DuplicateKey));
        check(2, "A x 1, B x 1", false, None);
        check(4, "∅ x 1, A x 1, A x 2", true, Some(Reason::NullKey));
        check(4, "", false, Some(Reason::EmptySnapshot));
        check(4, "C x 1", false, Some(Reason::DeleteRatio));
        check(4, "A x 1", false, None);
        check(5, "C x 1", true, None);
        check(3, "", false, Some(Reason::Late));
        check(2, "A x 1", true, Some(Reason::Late));
        check(2, "B x 1, A x 1", false, None);
        check(5, "C x 1", false, None);
        check(5, "C x 2", false, Some(Reason::DeleteRatio));
    }

    #[test]
    fn parked_keys_stand_and_marked_keys_go() {
        let delete = Some((1, vec![Value::Text("D".to_owned())]));
        let park = Options { delete, on_duplicate_key: OnDuplicateKey::Park, on_null_key: OnNullKey::Park, emit_stale: false, ..options() };
        let mut snapshot = Model::new(park.clone());
        let mut delta = Model::new(Options { batch_mode: BatchMode::Delta, ..park });
        for model in [&mut snapshot, &mut delta] {
            model.execute(1, &rows("A x 1, B x 1, C x 1"), false);
            model.execute(2, &rows("A x 2, A D 1, A x 2, ∅ x 1, B D 9, Z D 1"), false);
            model.execute(3, &rows("A y 1, B x 1"), false);
            let reasons: Vec<_> = model.parked().into_iter().map(|(row, reason, _)| format!("{} {reason}", row[2].text())).collect();
            assert_eq!(reasons, ["2 duplicate_key", "1 duplicate_key", "2 duplicate_key", "1 null_key"]);
        }
        let b = "B | 1 NEW x 1 | 2 DELETED x 1 | 3 REACTIVATED x 1";
        assert_eq!(table(&snapshot), ["A | 1 NEW x 1", b, "C | 1 NEW x 1 | 2 DELETED x 1"]);
        assert_eq!(table(&delta), ["A | 1 NEW x 1", b, "C | 1 NEW x 1"]);
        assert_eq!(
            (state(&snapshot), state(&delta)),
            (vec!["A y 1 3".into(), "B x 1 3".into()], vec!["A y 1 3".into(), "B x 1 3".into(), "C x 1 1".into()])
        );
    }

    #[test]
    fn values() {
        assert_eq!(Value::Float(-f64::NAN), Value::Float(f64::NAN));
        assert_eq!(Value::Float(-0.0), Value::Float(0.0));
        assert!(Value::Float(-2.0) < Value::Float(-1.0) && Value::Float(f64::INFINITY) < Value::Float(f64::NAN));
        assert!(Value::Null != Value::Text(String::new()) && Value::Text("a ".into()) != Value::Text("a".into()));
        let texts =
            [Value::Date(-719_162), Value::Date(-1), Value::Date(19_782), Value::Date(2_932_896), Value::Timestamp(-1), Value::Decimal(-5)];
        let expected = ["0001-01-01", "1969-12-31", "2024-02-29", "9999-12-31", "1969-12-31T23:59:59.999999Z", "-0.05"];
        assert_eq!(texts.map(|value| value.text()), expected);
        assert_eq!([-0.0, 0.1, 5.0, 1e21, -2.5e-9].map(|value| Value::Float(value).text()), ["0", "0.1", "5", "1e21", "-2.5e-9"]);
        assert_eq!(Value::Timestamp(1_704_103_200_000_000).text(), "2024-01-01T10:00:00.000000Z");
    }
}
