//! The worked examples, and what is refused.

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
        sequence: Vec::new(),
        snapshot_of: Vec::new(),
        carried_when_added: false,
        on_duplicate_key: OnDuplicateKey::Fail,
        on_null_key: OnNullKey::Fail,
        allow_empty_snapshot: false,
        max_delete_ratio: None,
        late_batches: LateBatches::Cascade,
        parks_bad: false,
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
        let words: Vec<String> = row.row.iter().map(|value| if *value == Value::Null { "∅".to_owned() } else { value.text() }).collect();
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
    expected[4] =
        "E | 1 NEW open 10 | 2 CHANGED open ∅ (amount) | 3 STALE open ∅ | 4 STALE open ∅ | 5 CHANGED open 10 (amount) | 6 STALE open 10";
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
    check(3, "∅ x 1", true, Some(Reason::Late));
    check(2, "∅ x 1", true, Some(Reason::NullKey));
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
        assert_eq!(reasons, ["1 null_key", "2 duplicate_key", "1 duplicate_key", "2 duplicate_key"]);
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

/// Of the worked example of sequences: `id lsn v op`.
fn ordered() -> Options {
    let column = |name: &str, ty| Column { name: name.to_owned(), ty };
    let int = ColumnType::Int;
    Options {
        columns: vec![column("id", ColumnType::Text), column("lsn", int), column("v", int), column("op", ColumnType::Text)],
        batch_mode: BatchMode::Delta,
        delete: Some((3, vec![Value::Text("D".to_owned())])),
        sequence: vec![1],
        ..options()
    }
}

fn parked(model: &Model) -> Vec<String> {
    let line = |(row, reason, batch): ParkedRow| format!("{batch} {} {} {reason}", row[0].text(), row[1].text());
    model.parked().into_iter().map(line).collect()
}

#[test]
fn worked_example_of_sequences() {
    let mut model = Model::new(ordered());
    let batches = ["A 5 1 ∅, A 7 2 ∅", "A 6 9 ∅", "A 8 2 ∅", "A 9 3 ∅", "A 11 ∅ D, B 4 ∅ D", "A 10 7 ∅, B 3 1 ∅"];
    for (batch_id, batch) in (1..).zip(batches) {
        assert!(matches!(model.execute(batch_id, &rows(batch), false), Outcome::Succeeded { .. }));
    }
    assert_eq!(table(&model), ["A | 1 NEW 7 2 ∅ | 3 STALE 8 2 ∅ | 4 CHANGED 9 3 ∅ (v) | 5 DELETED 11 3 ∅"]);
    assert_eq!(parked(&model), ["2 A 6 superseded", "5 B 4 unknown_key", "6 A 10 superseded", "6 B 3 superseded"]);
    assert_eq!(state(&model), Vec::<String>::new());
}

/// However changes with sequences of their own are dealt to batches, the newest of each key is its state.
#[test]
fn the_state_does_not_depend_on_the_batches() {
    let changes = rows("A 1 1 ∅, A 2 2 ∅, A 3 ∅ D, A 4 4 ∅, B 1 ∅ D, B 2 5 ∅, C 1 1 ∅, C 2 ∅ D");
    let mut dealt = 0_u32;
    for seed in 0..2_000_u32 {
        let mut model = Model::new(ordered());
        let mut batches: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
        for change in &changes {
            dealt = dealt.wrapping_mul(1_664_525).wrapping_add(1_013_904_223 + seed);
            batches.entry(i64::from(dealt >> 29) + 1).or_default().push(change.clone());
        }
        for (batch_id, rows) in &batches {
            model.execute(*batch_id, rows, false);
        }
        let live: Vec<String> =
            model.state().into_iter().map(|(row, _)| row.iter().map(Value::text).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(live, ["A 4 4 ", "B 2 5 "], "{batches:?}");
    }
}

#[test]
fn in_a_snapshot_sequences_decide_within_the_batch() {
    let park =
        Options { on_duplicate_key: OnDuplicateKey::Park, on_null_key: OnNullKey::Park, batch_mode: BatchMode::Snapshot, ..ordered() };
    let mut model = Model::new(park);
    model.execute(1, &rows("A 5 1 ∅, A 4 2 ∅, B 1 1 ∅, C 1 1 ∅, D 1 1 ∅"), false);
    model.execute(2, &rows("A 3 1 ∅, A 2 ∅ D, B 9 ∅ D, C 2 1 ∅, C 2 2 ∅, C 1 3 ∅, D ∅ 4 ∅, D 9 5 ∅"), false);
    let expected = ["A | 1 NEW 5 1 ∅ | 2 STALE 3 1 ∅", "B | 1 NEW 1 1 ∅ | 2 DELETED 9 1 ∅", "C | 1 NEW 1 1 ∅", "D | 1 NEW 1 1 ∅"];
    assert_eq!(table(&model), expected);
    assert_eq!(parked(&model), ["2 D  null_key", "2 C 2 duplicate_key", "2 C 2 duplicate_key"]);
}

#[test]
fn a_snapshot_of_some_values_deletes_among_them() {
    let mut model = Model::new(Options { snapshot_of: vec![1], max_delete_ratio: Some(0.5), ..options() });
    let mut execute = |batch_id, batch| model.execute(batch_id, &rows(batch), false);
    execute(1, "A x 1, B x 1, C y 1, D ∅ 1, E ∅ 1");
    assert!(matches!(execute(2, ""), Outcome::Succeeded { .. }));
    assert_eq!(execute(3, "F x 1"), Outcome::Rejected(Reason::DeleteRatio));
    execute(3, "A x 1, E ∅ 1, C z 1");
    execute(4, "G y 1, C z 1");
    let expected = [
        "A | 1 NEW x 1 | 3 STALE x 1",
        "B | 1 NEW x 1 | 3 DELETED x 1",
        "C | 1 NEW y 1 | 3 CHANGED z 1 (status) | 4 STALE z 1",
        "D | 1 NEW ∅ 1 | 3 DELETED ∅ 1",
        "E | 1 NEW ∅ 1 | 3 STALE ∅ 1",
        "G | 4 NEW y 1",
    ];
    assert_eq!(table(&model), expected);
}
