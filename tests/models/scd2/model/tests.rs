//! The examples of the specification, in every order of arrival.

use super::*;
use crate::oracle::{Column, LateBatches};

const DAY: i64 = 86_400_000_000;

/// `key v note op`, then `since lsn` with an effective time, a date; `D` in `op` marks a deletion. Words of a row that are
/// left out are NULL; `since` is the batch's day then.
fn model(mode: BatchMode, effective: bool) -> Model {
    let column = |(name, ty): (&str, ColumnType)| Column { name: name.to_owned(), ty };
    let text = |name| (name, ColumnType::Text);
    let columns = [text("key"), text("v"), text("note"), text("op"), ("since", ColumnType::Date), ("lsn", ColumnType::Int)];
    let feed = oracle::Options {
        columns: columns.into_iter().take(if effective { 6 } else { 4 }).map(column).collect(),
        key: vec![0],
        change_detection_columns: Some(vec![1]),
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
        parks_bad: false,
    };
    let effective = effective.then_some(4);
    let (sequence, snapshot_of, type1) = (Vec::new(), Vec::new(), Vec::new());
    Model::new(Options { feed, effective, sequence, snapshot_of, from_batch: false, type1, on_delete: OnDelete::Close })
}

fn rows(model: &Model, text: &str, day: i64) -> Vec<Row> {
    let one = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let value = |(at, column): (usize, &Column)| match (column.ty, words.get(at)) {
            (ColumnType::Date, word) => Value::Date(word.map_or(day, |word| word.parse().unwrap()).try_into().unwrap()),
            (_, None | Some(&"∅")) => Value::Null,
            (ColumnType::Int, Some(word)) => Value::Int(word.parse().unwrap()),
            (_, Some(word)) => Value::Text((*word).to_owned()),
        };
        model.options.feed.columns.iter().enumerate().map(value).collect()
    };
    text.split(',').filter(|row| !row.trim().is_empty()).map(one).collect()
}

/// Executes a batch at noon of a day.
fn execute(model: &mut Model, batch_id: i64, day: i64, text: &str) -> Outcome {
    let rows = rows(model, text, day);
    model.execute(batch_id, &rows, Some(day * DAY + DAY / 2), false)
}

/// Id, day, rows.
type Batch<'a> = (i64, i64, &'a str);

fn accept(model: &mut Model, batches: &[Batch<'_>]) {
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
        Value::Null | Value::Int(_) | Value::Text(_) | Value::Decimal(_) | Value::Bool(_) | Value::Float(_) | Value::Unreadable => {
            value.text()
        }
    };
    let line = |found: Version| {
        let words: Vec<String> = found.row[..3].iter().map(Value::text).filter(|text| !text.is_empty()).collect();
        let to = found.to.as_ref().map_or_else(|| "open".to_owned(), day);
        format!("{}: {} {}-{to} #{}", words.join(" "), found.version, day(&found.from), found.batch_id)
    };
    model.versions().into_iter().map(line).collect()
}

/// The batches in every order give these versions.
fn check(model: &Model, batches: &[Batch<'_>], expected: &[&str]) {
    let mut orders: Vec<Vec<Batch<'_>>> = vec![Vec::new()];
    for batch in batches {
        let placed = |order: &Vec<_>| (0..=order.len()).map(|at| [&order[..at], &[*batch], &order[at..]].concat()).collect::<Vec<_>>();
        orders = orders.iter().flat_map(placed).collect();
    }
    for order in orders {
        let mut model = model.clone();
        accept(&mut model, &order);
        assert_eq!(table(&model), expected, "{order:?}");
    }
}

fn snapshots() -> Model {
    model(BatchMode::Snapshot, true)
}

fn delta() -> Model {
    model(BatchMode::Delta, true)
}

const EXAMPLE: [Batch<'_>; 5] = [(1, 1, "K v1"), (2, 2, "K v1"), (3, 3, "K v2"), (4, 4, ""), (5, 5, "K v2")];

#[test]
fn worked_example() {
    for effective in [true, false] {
        let expected = ["K v1: 1 1-3 #1", "K v2: 2 3-4 #3", "K v2: 3 5-open #5"];
        check(&model(BatchMode::Snapshot, effective), &EXAMPLE, &expected);
    }
}

#[test]
fn marked_deletions_act_at_their_own_time() {
    let batches =
        [(1, 40, "K v ∅ U 1"), (2, 41, "K v ∅ D 10"), (3, 42, "K w ∅ U 4"), (4, 43, "K x ∅ U 12, L y ∅ D 2"), (5, 44, "L y ∅ U 1")];
    let expected = ["K v: 1 1-4 #1", "K w: 2 4-10 #3", "K x: 3 12-open #4", "L y: 1 1-2 #5"];
    check(&delta(), &batches, &expected);
    // In snapshots too; the key is not absent then.
    check(&snapshots(), &[(1, 40, "K v ∅ U 1, L v ∅ U 1"), (2, 41, "K v ∅ D 10, L v ∅ U 1")], &["K v: 1 1-10 #1", "L v: 1 1-open #1"]);
    // Several events of one batch.
    check(&delta(), &[(1, 40, "K v ∅ D 5, K v ∅ U 1, K w ∅ U 7")], &["K v: 1 1-5 #1", "K w: 2 7-open #1"]);
    // At one time the later batch wins; a return then begins a version.
    check(&delta(), &[(1, 40, "K v ∅ U 1"), (2, 41, "K w ∅ U 5"), (3, 42, "K w ∅ D 5")], &["K v: 1 1-5 #1"]);
    check(&delta(), &[(1, 40, "K v ∅ U 1"), (2, 41, "K v ∅ D 5"), (3, 42, "K v ∅ U 5")], &["K v: 1 1-5 #1", "K v: 2 5-open #3"]);
}

#[test]
fn absence_ends_what_is_or_would_become_effective() {
    check(&snapshots(), &[(1, 31, "M v ∅ U 1, M w ∅ U 60"), (2, 32, "")], &["M v: 1 1-32 #1"]);
    check(&snapshots(), &[(1, 31, "M v ∅ U 60"), (2, 32, "")], &[]);
    // What was ended stays so when the key is back.
    let back = (3, 33, "M x ∅ U 33");
    check(&snapshots(), &[(1, 31, "M v ∅ U 1, M w ∅ U 60"), (2, 32, ""), back], &["M v: 1 1-32 #1", "M x: 2 33-open #3"]);
}

#[test]
fn the_gap_of_an_absence_stays() {
    let (key, absent) = ("K k ∅ U 1, L c ∅ U 1", "K k ∅ U 1");
    let expected = ["K k: 1 1-open #1", "L c: 1 1-2 #1", "L c: 2 4-open #4"];
    check(&snapshots(), &[(1, 1, key), (2, 2, absent), (3, 3, absent), (4, 4, key)], &expected);
    check(&snapshots(), &[(1, 1, key), (2, 2, absent), (3, 3, absent), (4, 4, key), (5, 5, key)], &expected);
    // A time between the last absence and the return is the row's own.
    let expected = ["L c: 1 1-2 #1", "L c: 2 6-open #4"];
    check(&snapshots(), &[(1, 1, "L c ∅ U 1"), (2, 2, ""), (3, 5, ""), (4, 9, "L c ∅ U 6")], &expected);
    let expected = ["L c: 1 1-2 #1", "L c: 2 9-open #4"];
    check(&snapshots(), &[(1, 1, "L c ∅ U 1"), (2, 2, ""), (3, 5, ""), (4, 9, "L c ∅ U 4")], &expected);
    // Of several old times the greatest counts, in a batch; then the later batch.
    let old = (3, 5, "L d ∅ U 1, L e ∅ U 2, L f ∅ U 7");
    check(&snapshots(), &[(1, 1, "L c ∅ U 1"), (2, 2, ""), old], &["L c: 1 1-2 #1", "L e: 2 5-7 #3", "L f: 3 7-open #3"]);
    check(
        &snapshots(),
        &[(1, 1, "L c ∅ U 1"), (2, 2, ""), old, (4, 6, "L g ∅ U 1")],
        &["L c: 1 1-2 #1", "L g: 2 5-7 #4", "L f: 3 7-open #3"],
    );
}

#[test]
fn a_deletion_and_a_return_on_one_day_begin_a_version() {
    let mut model = snapshots();
    accept(&mut model, &[(1, 1, "K v ∅ U 1")]);
    for (batch_id, hour, text) in [(2, 1, ""), (3, 2, "K v ∅ U 1")] {
        let rows = rows(&model, text, 0);
        model.execute(batch_id, &rows, Some(4 * DAY + hour), false);
    }
    assert_eq!(table(&model), ["K v: 1 1-4 #1", "K v: 2 4-open #3"]);
}

#[test]
fn ignored_deletions_split_nothing() {
    let mut model = snapshots();
    model.options.on_delete = OnDelete::Ignore;
    check(&model, &EXAMPLE, &["K v1: 1 1-3 #1", "K v2: 2 3-open #3"]);
    check(&model, &[(1, 9, "K v ∅ U 1"), (2, 3, "K v ∅ D 4")], &["K v: 1 1-open #1"]);
}

#[test]
fn a_late_effective_time_splits_an_interval() {
    let batches = [(1, 9, "K v1 a U 1"), (2, 10, "K v2 b U 5"), (3, 11, "K v3 c U 3")];
    check(&delta(), &batches, &["K v1 a: 1 1-3 #1", "K v3 c: 2 3-5 #3", "K v2 b: 3 5-open #2"]);
    // At one time the later batch wins; the first of those that say so has the version, with what it carries.
    let batches = [(1, 9, "K v1 a U 1"), (2, 10, "K v2 b U 1"), (3, 11, "K v1 c U 1")];
    check(&delta(), &batches, &["K v1 a: 1 1-open #1"]);
    check(&delta(), &batches[..2], &["K v2 b: 1 1-open #2"]);
}

#[test]
fn carried_and_overwritten_columns() {
    // Rows of two batches that differ in `note` alone.
    let batches = [(1, 9, "K v 39 U 1"), (2, 10, "K v 41 U 1, K v 42 U 3, K w 43 U 5")];
    check(&delta(), &batches, &["K v 39: 1 1-5 #1", "K w 43: 2 5-open #2"]);
    let mut model = delta();
    model.options.type1 = vec![2];
    check(&model, &batches, &["K v 43: 1 1-5 #1", "K w 43: 2 5-open #2"]);
    // Since the last deletion, of what is in effect.
    let more = [(1, 9, "K v 39 U 1, K v 40 U 3"), (2, 10, "K v ∅ D 5"), (3, 11, "K v 41 U 7, K w 42 U 8"), (4, 12, "K w 43 U 8")];
    check(&model, &more, &["K v 40: 1 1-5 #1", "K v 43: 2 7-8 #3", "K w 43: 3 8-open #3"]);
    model.options.feed.batch_mode = BatchMode::Snapshot;
    model.feed.options.batch_mode = BatchMode::Snapshot;
    check(&model, &[(1, 9, "K v 39 U 1, K w 40 U 12"), (2, 10, "")], &["K v 39: 1 1-10 #1"]);
}

#[test]
fn sequences_decide_at_one_time_before_the_batch() {
    let mut model = delta();
    model.options.sequence = vec![5];
    check(&model, &[(1, 9, "K v a U 1 7"), (2, 10, "K w b U 1 5"), (3, 11, "K x c U 2 1")], &["K v a: 1 1-2 #1", "K x c: 2 2-open #3"]);
    check(&model, &[(1, 9, "K v a U 1 1, K v a D 3 2, K v b U 3 3")], &["K v a: 1 1-3 #1", "K v b: 2 3-open #1"]);
    check(&model, &[(1, 9, "K v a U 1 1, K w a U 1 2")], &["K w a: 1 1-open #1"]);
    assert_eq!(execute(&mut model, 1, 9, "K v a U 1 1, K w a U 1 1"), Outcome::Rejected(Reason::DuplicateKey));
    assert_eq!(execute(&mut model, 1, 9, "K v a U 1 ∅"), Outcome::Rejected(Reason::NullKey));
}

#[test]
fn contradictions_and_parked_keys() {
    let mut model = delta();
    for contradiction in ["L v1 a U 4, L v2 a U 4", "L v1 a U 4, L v1 a D 4"] {
        assert_eq!(execute(&mut model, 4, 4, contradiction), Outcome::Rejected(Reason::DuplicateKey), "{contradiction}");
    }
    let mut model = snapshots();
    model.options.feed.on_duplicate_key = OnDuplicateKey::Park;
    model.feed.options.on_duplicate_key = OnDuplicateKey::Park;
    accept(&mut model, &[(1, 1, "L v1 a U 1, K v1 a U 1"), (2, 2, "L v2 a U 4, L v3 a U 4, L v4 a U 5"), (3, 3, "L v2 a U 6, L v3 a U 6")]);
    assert_eq!(table(&model), ["K v1 a: 1 1-2 #1", "L v1 a: 1 1-5 #1", "L v4 a: 2 5-open #2"]);
    let parked = model.parked().into_iter().map(|(row, reason, batch)| format!("{} {reason} {batch}", row[1].text()));
    assert_eq!(parked.collect::<Vec<_>>(), ["v2 duplicate_key 2", "v3 duplicate_key 2", "v2 duplicate_key 3", "v3 duplicate_key 3"]);
}

#[test]
fn snapshots_of_some_values() {
    let mut model = snapshots();
    model.options.snapshot_of = vec![2];
    let batches = [(1, 1, "K v a, L v b"), (2, 2, "M v a"), (3, 3, "K v b"), (4, 4, "N v b")];
    let expected = ["K v a: 1 1-2 #1", "K v b: 2 3-4 #3", "L v b: 1 1-3 #1", "M v a: 1 2-open #2", "N v b: 1 4-open #4"];
    check(&model, &batches, &expected);
    // A batch without values deletes nothing.
    check(&model, &[(1, 1, "K v a"), (2, 2, "")], &["K v a: 1 1-open #1"]);
}

#[test]
fn the_batch_id_stands_for_the_execution_time() {
    let mut model = model(BatchMode::Snapshot, false);
    model.options.from_batch = true;
    let batches = [(19_700_102, 9, "K v1"), (19_700_103, 9, "K v2"), (19_700_105, 9, "")];
    check(&model, &batches, &["K v1: 1 1-2 #19700102", "K v2: 2 2-4 #19700103"]);
}

#[test]
fn execution_times_rise_where_they_count() {
    for (effective, mode, on_delete, rises) in [
        (false, BatchMode::Delta, OnDelete::Close, true),
        (true, BatchMode::Snapshot, OnDelete::Close, true),
        (true, BatchMode::Snapshot, OnDelete::Ignore, false),
        (true, BatchMode::Delta, OnDelete::Close, false),
    ] {
        let mut model = model(mode, effective);
        model.options.on_delete = on_delete;
        accept(&mut model, &[(2, 4, "K v1"), (4, 8, "K v2")]);
        for (batch_id, day) in [(3, 4), (3, 8), (3, 9), (1, 5), (5, 7), (2, 9)] {
            let rejected = execute(&mut model.clone(), batch_id, day, "K v3") == Outcome::Rejected(Reason::ExecutionTime);
            assert_eq!(rejected, rises, "{batch_id} {day}");
        }
        accept(&mut model, &[(3, 6, "K v3")]);
        assert_eq!(table(&model), ["K v1: 1 4-6 #2", "K v3: 2 6-8 #3", "K v2: 3 8-open #4"]);
        // A replay keeps its time.
        let replay = rows(&model, "K v0", 6);
        assert_eq!(model.execute(3, &replay, None, false), Outcome::Succeeded { derived_again: Vec::new() });
        assert_eq!(table(&model)[1], "K v0: 2 6-8 #3");
        assert_eq!(model.execute(3, &replay, Some(0), false), Outcome::Unchanged);
    }
}
