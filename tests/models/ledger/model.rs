//! What a ledger holds: the specification of `delta_publishing` once more, as plain slow loops over the whole change feed.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::{ColumnType, FeedRow, Model, Options, Outcome, RecordType, Row, Value};
use crate::text::float_text;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    ReverseReplay,
    DeltaCorrection,
}

/// What a ledger's flow has beside the options of its change feed. Columns are named by their position.
#[derive(Debug, Clone, PartialEq)]
pub struct Booking {
    /// `None`: chosen by their types.
    pub measure_columns: Option<Vec<usize>>,
    pub attribute_columns: Vec<usize>,
    pub method: Method,
}

impl Booking {
    /// The amounts, in column order.
    pub fn measures(&self, options: &Options) -> Vec<usize> {
        if let Some(chosen) = &self.measure_columns {
            return (0..options.columns.len()).filter(|column| chosen.contains(column)).collect();
        }
        let booked = self.booked(options);
        let with_fraction = |column: &usize| matches!(options.columns[*column].ty, ColumnType::Decimal | ColumnType::Float);
        let chosen: Vec<usize> = booked.iter().copied().filter(with_fraction).collect();
        if !chosen.is_empty() {
            return chosen;
        }
        let counts = |column: &usize| options.columns[*column].ty == ColumnType::Int && !options.columns[*column].name.ends_with("_id");
        booked.into_iter().filter(counts).collect()
    }

    /// What an amount belongs to: neither key, nor measure, nor attribute.
    pub fn dimensions(&self, options: &Options) -> Vec<usize> {
        let measures = self.measures(options);
        self.booked(options).into_iter().filter(|column| !measures.contains(column)).collect()
    }

    /// Measures and dimensions: what is neither key nor attribute. What is not compared is an attribute.
    fn booked(&self, options: &Options) -> Vec<usize> {
        (0..options.columns.len()).filter(|column| options.is_tracked(*column) && !self.attribute_columns.contains(column)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionType {
    InitialBooking,
    Reversal,
    DeltaCorrection,
    Republish,
}

impl TransactionType {
    pub fn name(self) -> &'static str {
        match self {
            TransactionType::InitialBooking => "INITIAL_BOOKING",
            TransactionType::Reversal => "REVERSAL",
            TransactionType::DeltaCorrection => "DELTA_CORRECTION",
            TransactionType::Republish => "REPUBLISH",
        }
    }

    /// The last part of an id.
    fn leg(self) -> char {
        match self {
            TransactionType::InitialBooking | TransactionType::Republish => 'B',
            TransactionType::Reversal => 'R',
            TransactionType::DeltaCorrection => 'D',
        }
    }

    /// Whether it opens a position.
    fn opens(self) -> bool {
        matches!(self, TransactionType::InitialBooking | TransactionType::Republish)
    }
}

/// A row of `{p}_delta_transaction`.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    pub row: Row,
    pub id: String,
    pub transaction_type: TransactionType,
    pub refers_to: Option<String>,
    pub batch_id: i64,
}

/// A flow of type `delta_publishing` and the batches it has accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    pub feed: Model,
    pub booking: Booking,
}

impl Ledger {
    pub fn new(options: Options, booking: Booking) -> Self {
        Self { feed: Model::new(options), booking }
    }

    pub fn execute(&mut self, batch_id: i64, rows: &[Row], accept_guards: bool) -> Outcome {
        self.feed.execute(batch_id, rows, accept_guards)
    }

    /// `{p}_delta_transaction`, by batch and key.
    pub fn transactions(&self) -> Vec<Transaction> {
        let history = self.feed.history();
        let mut transactions: Vec<Transaction> = Vec::new();
        for now in &history {
            let key = self.feed.key(&now.row);
            let earlier = history.iter().filter(|row| row.batch_id < now.batch_id && self.feed.key(&row.row) == key);
            let last = earlier.max_by_key(|row| row.batch_id).map(|last| &last.row);
            let own: Vec<&Transaction> = transactions.iter().filter(|earlier| self.feed.key(&earlier.row) == key).collect();
            let posted = self.posted(now, last, &own);
            transactions.extend(posted);
        }
        transactions
    }

    /// What one row of the feed posts, given the key's last state and its earlier transactions.
    fn posted(&self, now: &FeedRow, last: Option<&Row>, own: &[&Transaction]) -> Vec<Transaction> {
        let transaction = |transaction_type: TransactionType, row: Row, refers_to: Option<String>| Transaction {
            id: format!("{}#{}#{}", self.key_text(&row), now.batch_id, transaction_type.leg()),
            row,
            transaction_type,
            refers_to,
            batch_id: now.batch_id,
        };
        let open = || Some(open_booking(own).expect("a live key has an open booking").id.clone());
        let last = || last.expect("only a new key has no last state");
        let reversal = || transaction(TransactionType::Reversal, self.with_measures(last(), negative), open());
        let booking = || transaction(TransactionType::InitialBooking, now.row.clone(), None);
        match now.record_type {
            RecordType::New => vec![booking()],
            RecordType::Stale => vec![],
            RecordType::Deleted => vec![reversal()],
            RecordType::Reactivated => {
                let reversals = own.iter().filter(|earlier| earlier.transaction_type == TransactionType::Reversal);
                let closed_by = reversals.max_by_key(|earlier| earlier.batch_id).expect("a deleted key was reversed").id.clone();
                vec![transaction(TransactionType::Republish, now.row.clone(), Some(closed_by))]
            }
            RecordType::Changed => {
                let options = &self.feed.options;
                let differs = |columns: Vec<usize>| columns.into_iter().any(|column| last()[column] != now.row[column]);
                let (measures, dimensions) = (differs(self.booking.measures(options)), differs(self.booking.dimensions(options)));
                match self.booking.method {
                    _ if !measures && !dimensions => vec![],
                    Method::DeltaCorrection if !dimensions => {
                        let mut row = now.row.clone();
                        for column in self.booking.measures(options) {
                            row[column] = sum(&now.row[column], &negative(&last()[column]));
                        }
                        vec![transaction(TransactionType::DeltaCorrection, row, open())]
                    }
                    Method::ReverseReplay | Method::DeltaCorrection => vec![reversal(), booking()],
                }
            }
        }
    }

    fn with_measures(&self, row: &Row, change: fn(&Value) -> Value) -> Row {
        let measures = self.booking.measures(&self.feed.options);
        row.iter().enumerate().map(|(column, value)| if measures.contains(&column) { change(value) } else { value.clone() }).collect()
    }

    /// The key's values, so joined that different keys have different texts.
    fn key_text(&self, row: &Row) -> String {
        let text = |value: &Value| match value {
            Value::Decimal(_) => value.text().trim_end_matches('0').trim_end_matches('.').to_owned(),
            Value::Float(float) => float_text(if *float == 0.0 { 0.0 } else { *float }),
            Value::Null | Value::Int(_) | Value::Text(_) | Value::Bool(_) | Value::Date(_) | Value::Timestamp(_) | Value::Unreadable => {
                value.text()
            }
        };
        let escaped = |value: &Value| text(value).replace('\\', "\\\\").replace('|', "\\|");
        self.feed.key(row).iter().map(escaped).collect::<Vec<_>>().join("|")
    }

    /// Checks what must hold of every ledger, whatever made it.
    pub fn assert_sound(&self) {
        let transactions = self.transactions();
        let by_id: BTreeMap<&str, &Transaction> = transactions.iter().map(|posted| (posted.id.as_str(), posted)).collect();
        assert_eq!(by_id.len(), transactions.len(), "an id names one transaction: {transactions:#?}");
        for posted in &transactions {
            let referred = posted.refers_to.as_deref().map(|id| by_id.get(id).unwrap_or_else(|| panic!("{posted:?} refers to nothing")));
            match (posted.transaction_type, referred) {
                (TransactionType::InitialBooking, None) => {}
                (TransactionType::Republish, Some(referred)) => assert_eq!(referred.transaction_type, TransactionType::Reversal),
                (TransactionType::Reversal | TransactionType::DeltaCorrection, Some(referred)) => {
                    assert!(referred.transaction_type.opens(), "{posted:?} refers to {referred:?}");
                }
                (_, referred) => panic!("{posted:?} refers to {referred:?}"),
            }
            if let Some(referred) = referred {
                assert!(
                    referred.batch_id < posted.batch_id && self.feed.key(&referred.row) == self.feed.key(&posted.row),
                    "{posted:?} refers to {referred:?}, which is no earlier transaction of its key"
                );
            }
        }
        self.assert_closed_bookings_are_zero(&transactions);
        self.assert_positions_are_the_state(&transactions);
    }

    /// Nothing is reversed twice, and what was reversed comes to nothing.
    fn assert_closed_bookings_are_zero(&self, transactions: &[Transaction]) {
        let mut open: BTreeMap<Row, usize> = BTreeMap::new();
        for booking in transactions.iter().filter(|posted| posted.transaction_type.opens()) {
            let referring: Vec<&Transaction> =
                transactions.iter().filter(|other| other.refers_to.as_deref() == Some(booking.id.as_str())).collect();
            let reversals = referring.iter().filter(|other| other.transaction_type == TransactionType::Reversal).count();
            assert!(reversals <= 1, "{booking:?} is reversed {reversals} times");
            if reversals == 0 {
                *open.entry(self.feed.key(&booking.row)).or_default() += 1;
                continue;
            }
            for column in self.booking.measures(&self.feed.options) {
                let left = referring.iter().fold(booking.row[column].clone(), |total, other| sum(&total, &other.row[column]));
                assert!(is_nothing(&left), "{booking:?} is closed and comes to {left:?}");
            }
        }
        let live: BTreeMap<Row, usize> = self.feed.state().iter().map(|(row, _)| (self.feed.key(row), 1)).collect();
        assert_eq!(open, live, "each live key has one open booking, and no other key has any");
    }

    /// Per key and dimension values, the sum of each measure is that of the latest snapshot.
    fn assert_positions_are_the_state(&self, transactions: &[Transaction]) {
        let options = &self.feed.options;
        let (measures, dimensions) = (self.booking.measures(options), self.booking.dimensions(options));
        let place = |row: &Row| (self.feed.key(row), dimensions.iter().map(|column| row[*column].clone()).collect::<Row>());
        let state: BTreeMap<(Row, Row), Row> = self.feed.state().into_iter().map(|(row, _)| (place(&row), row)).collect();
        let places: BTreeSet<(Row, Row)> = transactions.iter().map(|posted| place(&posted.row)).chain(state.keys().cloned()).collect();
        for at in places {
            for column in &measures {
                let here = transactions.iter().filter(|posted| place(&posted.row) == at);
                let position = here.fold(Value::Null, |total, posted| sum(&total, &posted.row[*column]));
                let latest = state.get(&at).map_or(Value::Null, |row| row[*column].clone());
                assert!(is_nothing(&sum(&position, &negative(&latest))), "{at:?}: the position is {position:?}, the state has {latest:?}");
            }
        }
    }
}

/// A key's latest booking that no reversal refers to.
fn open_booking<'t>(own: &[&'t Transaction]) -> Option<&'t Transaction> {
    let reversed =
        |id: &str| own.iter().any(|other| other.transaction_type == TransactionType::Reversal && other.refers_to.as_deref() == Some(id));
    own.iter().copied().filter(|earlier| earlier.transaction_type.opens() && !reversed(&earlier.id)).max_by_key(|earlier| earlier.batch_id)
}

/// NULL counts as nothing, and nothing and nothing is NULL.
fn sum(left: &Value, right: &Value) -> Value {
    match (left, right) {
        (Value::Null, value) | (value, Value::Null) => value.clone(),
        (Value::Int(left), Value::Int(right)) => Value::Int(left.checked_add(*right).expect("the histories have no such amounts")),
        (Value::Decimal(left), Value::Decimal(right)) => Value::Decimal(left + right),
        (Value::Float(left), Value::Float(right)) => Value::Float(left + right),
        (left, right) => panic!("{left:?} and {right:?} are no amounts"),
    }
}

fn negative(amount: &Value) -> Value {
    match amount {
        Value::Null => Value::Null,
        Value::Int(amount) => Value::Int(amount.checked_neg().expect("the histories have no such amounts")),
        Value::Decimal(amount) => Value::Decimal(-amount),
        Value::Float(amount) => Value::Float(-amount),
        Value::Text(_) | Value::Bool(_) | Value::Date(_) | Value::Timestamp(_) | Value::Unreadable => panic!("{amount:?} is no amount"),
    }
}

fn is_nothing(amount: &Value) -> bool {
    [Value::Null, Value::Int(0), Value::Decimal(0), Value::Float(0.0)].contains(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{
        Column, LateBatches, Reason,
        tests::{options, rows},
    };

    fn booking(method: Method) -> Booking {
        Booking { measure_columns: None, attribute_columns: vec![], method }
    }

    /// A line a transaction: `B#2#R REVERSAL open -100 B#1#B`.
    fn lines(ledger: &Ledger) -> Vec<String> {
        let line = |posted: &Transaction| {
            let values = posted.row[ledger.feed.options.key.len()..].iter();
            let values = values.map(|value| if *value == Value::Null { "∅".to_owned() } else { value.text() });
            let words = [posted.id.clone(), posted.transaction_type.name().to_owned()];
            words.into_iter().chain(values).chain(posted.refers_to.clone()).collect::<Vec<_>>().join(" ")
        };
        ledger.transactions().iter().map(line).collect()
    }

    /// Executes batches such as `(1, "A open 100")`, each of which must be accepted.
    fn ledger(options: Options, booking: Booking, batches: &[(i64, &str)]) -> Ledger {
        let mut ledger = Ledger::new(options, booking);
        for (batch_id, batch) in batches {
            let outcome = ledger.execute(*batch_id, &rows(batch), false);
            assert!(matches!(outcome, Outcome::Succeeded { .. }), "{batch_id}: {outcome:?}");
            ledger.assert_sound();
        }
        ledger
    }

    const EXAMPLE: [(i64, &str); 5] = [
        (1, "A open 100, B open 100, C open 50, D open 70, E open 10"),
        (2, "A open 100, B open 150, E open ∅"),
        (4, "A open 100, B open 150, D open 75, E open ∅, F open 20"),
        (5, "A open 100, B paid 150, C open 50, D open 75, E open 10, F open 20, F open 20"),
        (6, "A open 100, B paid 150, C open 50, E open 10, F open 25"),
    ];
    const THREE: (i64, &str) = (3, "A open 100, B open 120, C open 50, E open ∅");

    #[test]
    fn worked_example_of_reverse_replay() {
        let expected = [
            "A#1#B INITIAL_BOOKING open 100",
            "B#1#B INITIAL_BOOKING open 100",
            "C#1#B INITIAL_BOOKING open 50",
            "D#1#B INITIAL_BOOKING open 70",
            "E#1#B INITIAL_BOOKING open 10",
            "B#2#R REVERSAL open -100 B#1#B",
            "B#2#B INITIAL_BOOKING open 150",
            "C#2#R REVERSAL open -50 C#1#B",
            "D#2#R REVERSAL open -70 D#1#B",
            "E#2#R REVERSAL open -10 E#1#B",
            "E#2#B INITIAL_BOOKING open ∅",
            "D#4#B REPUBLISH open 75 D#2#R",
            "F#4#B INITIAL_BOOKING open 20",
            "B#5#R REVERSAL open -150 B#2#B",
            "B#5#B INITIAL_BOOKING paid 150",
            "C#5#B REPUBLISH open 50 C#2#R",
            "E#5#R REVERSAL open ∅ E#2#B",
            "E#5#B INITIAL_BOOKING open 10",
            "D#6#R REVERSAL open -75 D#4#B",
            "F#6#R REVERSAL open -20 F#4#B",
            "F#6#B INITIAL_BOOKING open 25",
        ];
        assert_eq!(lines(&ledger(options(), booking(Method::ReverseReplay), &EXAMPLE)), expected);
        let without_stale = Options { emit_stale: false, ..options() };
        assert_eq!(lines(&ledger(without_stale, booking(Method::ReverseReplay), &EXAMPLE)), expected);
    }

    #[test]
    fn worked_example_of_delta_correction() {
        let expected = [
            "A#1#B INITIAL_BOOKING open 100",
            "B#1#B INITIAL_BOOKING open 100",
            "C#1#B INITIAL_BOOKING open 50",
            "D#1#B INITIAL_BOOKING open 70",
            "E#1#B INITIAL_BOOKING open 10",
            "B#2#D DELTA_CORRECTION open 50 B#1#B",
            "C#2#R REVERSAL open -50 C#1#B",
            "D#2#R REVERSAL open -70 D#1#B",
            "E#2#D DELTA_CORRECTION open -10 E#1#B",
            "D#4#B REPUBLISH open 75 D#2#R",
            "F#4#B INITIAL_BOOKING open 20",
            "B#5#R REVERSAL open -150 B#1#B",
            "B#5#B INITIAL_BOOKING paid 150",
            "C#5#B REPUBLISH open 50 C#2#R",
            "E#5#D DELTA_CORRECTION open 10 E#1#B",
            "D#6#R REVERSAL open -75 D#4#B",
            "F#6#D DELTA_CORRECTION open 5 F#4#B",
        ];
        assert_eq!(lines(&ledger(options(), booking(Method::DeltaCorrection), &EXAMPLE)), expected);
    }

    #[test]
    fn late_batches_cascade_or_are_refused() {
        for method in [Method::ReverseReplay, Method::DeltaCorrection] {
            let mut late = EXAMPLE.to_vec();
            late.push(THREE);
            let late = ledger(options(), booking(method), &late);
            let mut ordered = EXAMPLE.to_vec();
            ordered.insert(2, THREE);
            assert_eq!(lines(&late), lines(&ledger(options(), booking(method), &ordered)));
            let closing = lines(&late).into_iter().filter(|line| line.starts_with("C#") && line.contains("C#3#"));
            assert_eq!(closing.collect::<Vec<_>>(), ["C#3#B REPUBLISH open 50 C#2#R", "C#4#R REVERSAL open -50 C#3#B"]);

            let mut strict = ledger(Options { late_batches: LateBatches::Reject, ..options() }, booking(method), &EXAMPLE);
            let before = strict.clone();
            assert_eq!(strict.execute(THREE.0, &rows(THREE.1), false), Outcome::Rejected(Reason::Late));
            assert_eq!(strict.execute(5, &rows("A open 1"), true), Outcome::Rejected(Reason::Late));
            assert_eq!(strict.execute(EXAMPLE[3].0, &rows(EXAMPLE[3].1), false), Outcome::Unchanged);
            assert_eq!(strict, before);
            assert!(matches!(strict.execute(6, &rows("A open 1"), true), Outcome::Succeeded { .. }));
            strict.assert_sound();
        }
    }

    /// A flow with the key `id` and these columns.
    fn columns(names: &[(&str, ColumnType)]) -> Options {
        let column = |(name, ty): &(&str, ColumnType)| Column { name: (*name).to_owned(), ty: *ty };
        let columns = [("id", ColumnType::Text)].iter().chain(names).map(column).collect();
        Options { columns, ..options() }
    }

    #[test]
    fn attributes_are_carried_and_never_booked() {
        // `note` is compared and an attribute, `place` is not compared.
        let options = Options {
            change_detection_columns: Some(vec![1, 2, 3]),
            ..columns(&[("status", ColumnType::Text), ("amount", ColumnType::Int), ("note", ColumnType::Text), ("place", ColumnType::Text)])
        };
        let batches =
            [(1, "A open 5 x here"), (2, "A open 5 y here"), (3, "A open 5 y there"), (4, "A open 7 y yonder"), (5, "B open 1 x here")];
        let booking = |method| Booking { attribute_columns: vec![3], ..booking(method) };
        let corrected = ledger(options.clone(), booking(Method::DeltaCorrection), &batches);
        let feed: Vec<_> = corrected.feed.feed().iter().map(|row| row.record_type.name()).collect();
        assert_eq!(feed, ["NEW", "CHANGED", "STALE", "CHANGED", "DELETED", "NEW"]);
        let expected = [
            "A#1#B INITIAL_BOOKING open 5 x here",
            "A#4#D DELTA_CORRECTION open 2 y yonder A#1#B",
            "A#5#R REVERSAL open -7 y yonder A#1#B",
            "B#5#B INITIAL_BOOKING open 1 x here",
        ];
        assert_eq!(lines(&corrected), expected);
        let replayed = ledger(options, booking(Method::ReverseReplay), &batches);
        let expected = [
            "A#1#B INITIAL_BOOKING open 5 x here",
            "A#4#R REVERSAL open -5 y there A#1#B",
            "A#4#B INITIAL_BOOKING open 7 y yonder",
            "A#5#R REVERSAL open -7 y yonder A#4#B",
            "B#5#B INITIAL_BOOKING open 1 x here",
        ];
        assert_eq!(lines(&replayed), expected);
    }

    #[test]
    fn nulls_count_as_nothing_in_differences_and_sums() {
        let options = columns(&[("debit", ColumnType::Int), ("credit", ColumnType::Int)]);
        let batches = [(1, "A ∅ 5"), (2, "A ∅ ∅"), (3, "A 0 ∅"), (4, "A ∅ 3"), (5, "B 1 1")];
        let expected = [
            "A#1#B INITIAL_BOOKING ∅ 5",
            "A#2#D DELTA_CORRECTION ∅ -5 A#1#B",
            "A#3#D DELTA_CORRECTION 0 ∅ A#1#B",
            "A#4#D DELTA_CORRECTION 0 3 A#1#B",
            "A#5#R REVERSAL ∅ -3 A#1#B",
            "B#5#B INITIAL_BOOKING 1 1",
        ];
        assert_eq!(lines(&ledger(options, booking(Method::DeltaCorrection), &batches)), expected);
    }

    #[test]
    fn measures_are_chosen_by_type_unless_named() {
        let all = [("account_id", ColumnType::Int), ("n", ColumnType::Int), ("fee", ColumnType::Decimal), ("rate", ColumnType::Float)];
        let names = |options: &Options, columns: Vec<usize>| -> Vec<String> {
            columns.into_iter().map(|column| options.columns[column].name.clone()).collect()
        };
        let check = |options: &Options, booking: &Booking, measures: &[&str], dimensions: &[&str]| {
            assert_eq!(names(options, booking.measures(options)), measures);
            assert_eq!(names(options, booking.dimensions(options)), dimensions);
        };
        let default = booking(Method::ReverseReplay);
        check(&columns(&all), &default, &["fee", "rate"], &["account_id", "n"]);
        check(&columns(&all[..2]), &default, &["n"], &["account_id"]);
        check(&columns(&all[..1]), &default, &[], &["account_id"]);
        check(&columns(&all), &Booking { attribute_columns: vec![3], ..default.clone() }, &["rate"], &["account_id", "n"]);
        let untracked = Options { change_detection_columns: Some(vec![4, 1]), ..columns(&all) };
        check(&untracked, &default, &["rate"], &["account_id"]);
        let deleting = Options { delete: Some((2, vec![Value::Int(1)])), ..columns(&all[..2]) };
        check(&deleting, &default, &[], &["account_id"]);
        check(&columns(&all), &Booking { measure_columns: Some(vec![4, 1]), ..default }, &["account_id", "rate"], &["n", "fee"]);
    }

    #[test]
    fn ids_tell_keys_apart() {
        let key_text = |values: &[Value]| {
            let options = Options { key: (0..values.len()).collect(), ..options() };
            Ledger::new(options, booking(Method::ReverseReplay)).key_text(&values.to_vec())
        };
        let texts = |texts: &[&str]| key_text(&texts.iter().map(|text| Value::Text((*text).to_owned())).collect::<Vec<_>>());
        assert_eq!([texts(&["a|", "b"]), texts(&["a", "|b"]), texts(&["a|b"])], ["a\\||b", "a|\\|b", "a\\|b"]);
        assert_eq!([texts(&["a\\", "b"]), texts(&["a\\|b"]), texts(&["", ""])], ["a\\\\|b", "a\\\\\\|b", "|"]);
        assert_eq!(texts(&["A#1#R"]), "A#1#R");
        let decimals = [15_000, 150, 101, 0, -5].map(Value::Decimal);
        assert_eq!(key_text(&decimals), "150|1.5|1.01|0|-0.05");
        let floats = [-0.0, 5.0, 1e21, 1e-300, f64::NAN].map(Value::Float);
        assert_eq!(key_text(&floats), "0.0|5.0|1e21|1e-300|NaN");
        let others = [Value::Bool(true), Value::Date(19_723), Value::Timestamp(1_704_103_200_000_000), Value::Int(-1)];
        assert_eq!(key_text(&others), "true|2024-01-01|2024-01-01T10:00:00.000000Z|-1");
    }

    #[test]
    fn what_is_wrong_is_found() {
        let ledger = ledger(options(), booking(Method::DeltaCorrection), &EXAMPLE);
        let check = |spoil: fn(&mut Vec<Transaction>)| {
            let mut transactions = ledger.transactions();
            spoil(&mut transactions);
            std::panic::catch_unwind(|| {
                ledger.assert_closed_bookings_are_zero(&transactions);
                ledger.assert_positions_are_the_state(&transactions);
            })
        };
        assert!(check(|_| ()).is_ok());
        assert!(check(|transactions| drop(transactions.pop())).is_err(), "a correction is missing");
        assert!(check(|transactions| transactions[6].row[1] = Value::Text("shut".to_owned())).is_err(), "a reversal of another status");
        assert!(check(|transactions| transactions[11].row[2] = Value::Int(-100)).is_err(), "only the first booking is reversed");
        assert!(check(|transactions| transactions[15].refers_to = Some("A#1#B".to_owned())).is_err(), "another key is reversed");
    }
}
