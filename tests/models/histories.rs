//! Random lives of a change feed: options, batches in any order, replays, and everything rows can get wrong.

pub mod cuts;
mod flow;

use std::{collections::BTreeMap, ops::Range};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select, subsequence},
};

use self::flow::unusual;
use crate::oracle::{BatchMode, Column, ColumnType, LateBatches, OnDuplicateKey, OnNullKey, Options, Row, Value};

pub use flow::{column_names, first_flow_toml, flow_text, flow_toml, properties_toml, toml_text, type_name};
pub(crate) use flow::{csv_text, usual};

/// What happens to one flow, from its first batch on.
#[derive(Debug, Clone)]
pub struct History {
    pub options: Options,
    pub arrivals: Vec<Arrival>,
    pub added: Option<Added>,
}

/// A column that the flow has from the arrival of that place on.
#[derive(Debug, Clone)]
pub struct Added {
    pub column: usize,
    pub from: usize,
}

/// One execution of one batch: a batch id seen before is a replay.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub batch_id: i64,
    /// In file order.
    pub rows: Vec<Row>,
    pub accept_guards: bool,
    /// How many rows each file holds, in order; one or two files.
    pub files: Vec<usize>,
    /// Whether the files write the values in an unusual way, such as `1.5` for 1.50.
    pub respelled: bool,
}

impl Arrival {
    /// The same where the flow has not that column yet.
    #[must_use]
    pub fn without(&self, column: usize) -> Self {
        let mut arrival = self.clone();
        arrival.rows.iter_mut().for_each(|row| row[column] = Value::Null);
        arrival
    }

    /// The text of each file.
    pub fn csv(&self, columns: &[Column]) -> Vec<String> {
        let spelled = if self.respelled { unusual } else { usual };
        let mut rest = self.rows.as_slice();
        let mut texts = Vec::new();
        for count in &self.files {
            let (rows, more) = rest.split_at(*count);
            // A row that does not fit is what its text is.
            let spelled = |row: &Row| if row.contains(&Value::Unreadable) { usual } else { spelled };
            texts.push(csv_text(columns, rows, spelled));
            rest = more;
        }
        texts
    }
}

/// Histories most of whose batches are accepted. Without `floats` no value is NaN or ±∞, which some engines cannot hold.
pub fn history(floats: bool) -> impl Strategy<Value = History> {
    table(floats).prop_flat_map(|table| {
        options(&table).prop_flat_map(move |options| {
            (arrivals(&table, &options), added(&table, &options)).prop_map(move |(arrivals, added)| {
                // The first arrivals are without the column.
                let added = added.filter(|added| added.from < arrivals.len());
                History { options: options.clone(), arrivals, added }
            })
        })
    })
}

/// Histories of a flow that sets rows aside that do not fit, some of whose rows do not.
pub fn history_with_bad_rows(floats: bool) -> impl Strategy<Value = History> {
    (history(floats), bad_places()).prop_map(|(mut history, places)| {
        history.options.parks_bad = true;
        let needed = [history.options.key.as_slice(), &history.options.sequence].concat();
        spoil(history.arrivals.iter_mut().collect(), &history.options.columns, &needed, &places);
        history
    })
}

/// The places of values that shall not fit: batch, row and column.
pub type BadPlaces = Vec<(Index, Index, Index)>;

pub fn bad_places() -> impl Strategy<Value = BadPlaces> {
    vec((any::<Index>(), any::<Index>(), any::<Index>()), 1..=4)
}

/// Makes values that do not fit, in replays too, which are often the same. `needed`: where NULL is a fault of another kind.
pub fn spoil(mut arrivals: Vec<&mut Arrival>, columns: &[Column], needed: &[usize], places: &[(Index, Index, Index)]) {
    // A text is always one.
    let typed: Vec<usize> = (0..columns.len()).filter(|column| columns[*column].ty != ColumnType::Text).collect();
    if arrivals.is_empty() || typed.is_empty() {
        return;
    }
    for (batch, row, column) in places {
        let batch_id = batch.get(&arrivals).batch_id;
        for arrival in arrivals.iter_mut().filter(|arrival| arrival.batch_id == batch_id && !arrival.rows.is_empty()) {
            let row = row.get_mut(&mut arrival.rows);
            if !needed.iter().any(|column| row[*column] == Value::Null) {
                row[*column.get(&typed)] = Value::Unreadable;
            }
        }
    }
}

/// The plain names come first, so that a failing case shrinks to them.
const NAMES: [&str; 16] =
    ["id", "part", "status", "amount", "note", "place", "flag", "order", "a b", "Ünï", "quo\"te", "n", "Mixed", "a.b", "it's", "select"];

/// Few values each, that are easily mixed up.
pub fn domains(ty: ColumnType, floats: bool) -> Vec<Vec<Value>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| Value::Text((*text).to_owned())).collect::<Vec<_>>();
    let float = |values: &[f64]| values.iter().copied().map(Value::Float).collect::<Vec<_>>();
    match ty {
        ColumnType::Int => {
            [[1, 2, 3, 10, -1], [0, i64::MAX, i64::MIN, i64::MAX - 1, -1], [1 << 53, (1 << 53) + 1, (1 << 53) - 1, 0, -(1 << 53) - 1]]
                .map(|values| values.map(Value::Int).to_vec())
                .to_vec()
        }
        ColumnType::Text => vec![
            texts(&["open", "paid", "shut", "Open", "open "]),
            texts(&["a", " a", "a ", "A", ""]),
            texts(&["a", "ab", "bc", "c", ""]),
            texts(&["ä", "a\u{308}", "日本", "🦀", "Ä"]),
            texts(&["a,b", "a\"b", "a\nb", "a\r\nb", "|"]),
            texts(&["1", "01", "1.0", "NULL", "\\N"]),
            texts(&["%", "_", "'", "\\", "a\tb"]),
        ],
        ColumnType::Decimal => {
            let most = 999_999_999_999_999_999;
            [[100, 150, 0, -5, 15_000], [most, most - 1, -most, 1, -1]].map(|values| values.map(Value::Decimal).to_vec()).to_vec()
        }
        ColumnType::Bool => vec![[false, true].map(Value::Bool).to_vec()],
        // 1969-12-31, 1970-01-01, 1900-01-01, 2038-01-20, 9999-12-31; a leap day and its neighbours.
        ColumnType::Date => {
            [[-1, 0, -25_567, 24_856, 2_932_896], [19_781, 19_782, 19_783, 0, -1]].map(|values| values.map(Value::Date).to_vec()).to_vec()
        }
        // Around 1970, 1900 and 2039, and one microsecond apart in 2024.
        ColumnType::Timestamp => {
            let ten = 1_704_103_200_000_000;
            let far = [-1, 0, -2_208_988_800_000_000, 2_200_000_000_000_000, ten];
            [far, [ten, ten + 1, ten - 1, ten + 3_600_000_000, 0]].map(|values| values.map(Value::Timestamp).to_vec()).to_vec()
        }
        ColumnType::Float => {
            let mut domains = vec![float(&[0.5, 1.0, -0.0, 0.0, -2.25]), float(&[0.3, 0.1 + 0.2, 1e300, 1e-300, 1e21])];
            if floats {
                domains.push(float(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0]));
            }
            domains
        }
    }
}

pub fn column_type() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        4 => Just(ColumnType::Text),
        3 => Just(ColumnType::Int),
        2 => Just(ColumnType::Decimal),
        1 => Just(ColumnType::Date),
        1 => Just(ColumnType::Timestamp),
        1 => Just(ColumnType::Bool),
        1 => Just(ColumnType::Float),
    ]
}

/// What stands in a column, by the part of the row that fills it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    Key(usize),
    Value(usize),
    Mark,
    Sequence(usize),
}

/// A table's columns and the few keys and values that its rows are made of.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    pub parts: Vec<Part>,
    keys: Vec<Vec<Value>>,
    /// What the other columns hold together; rows of a few kinds are often equal.
    variants: Vec<Vec<Value>>,
    /// Values of the delete column: those that mark a deletion, and the others.
    marks: Option<(Vec<Value>, Vec<Value>)>,
    /// What the sequence columns hold together.
    sequences: Vec<Vec<Value>>,
}

impl Table {
    fn row(&self, row: &PickedRow) -> Row {
        let key = row.key.get(&self.keys);
        let variant = row.variant.get(&self.variants);
        let mark = self.marks.as_ref().map(|(dead, live)| row.mark.get(if row.marked { dead } else { live }));
        let value = |part: &Part| match part {
            Part::Key(at) => key[*at].clone(),
            Part::Value(at) => variant[*at].clone(),
            Part::Mark => mark.cloned().unwrap_or(Value::Null),
            Part::Sequence(at) => row.sequence.get(&self.sequences)[*at].clone(),
        };
        self.parts.iter().map(value).collect()
    }

    fn position(&self, part: Part) -> Option<usize> {
        self.parts.iter().position(|other| *other == part)
    }
}

pub(crate) fn table(floats: bool) -> impl Strategy<Value = Table> {
    let key_types = prop_oneof![3 => vec(column_type(), 1), 2 => vec(column_type(), 2), 1 => Just(vec![ColumnType::Text; 2])];
    let names = prop_oneof![2 => Just(NAMES.to_vec()), 1 => Just(NAMES.to_vec()).prop_shuffle()];
    let value_types = prop_oneof![1 => vec(column_type(), 0), 9 => vec(column_type(), 1..=3)];
    (key_types, value_types, prop_oneof![2 => Just(None), 1 => marks().prop_map(Some)], sequence_types(), names)
        // A line of a single NULL would be an empty line.
        .prop_filter("two columns", |(keys, values, marks, ..)| keys.len() + values.len() + usize::from(marks.is_some()) > 1)
        .prop_flat_map(move |(key_types, value_types, marks, sequences, names)| {
            let most = if key_types.len() == 1 { 5 } else { 3 };
            let keys = key_types.iter().map(|ty| some_of(domains(*ty, floats), most)).collect();
            let variants: Vec<_> = value_types.iter().map(|ty| some_of(domains(*ty, floats), 3)).collect();
            let variants = variants.prop_flat_map(|columns| vec(variant(columns), 1..=4));
            table_of(Types { keys: key_types, values: value_types, marks, sequences }, names, keys, variants.boxed())
        })
}

/// The types of the columns that say the order of rows, if there are any.
pub fn sequence_types() -> impl Strategy<Value = Vec<ColumnType>> {
    let types = [ColumnType::Int, ColumnType::Decimal, ColumnType::Date, ColumnType::Timestamp, ColumnType::Text];
    prop_oneof![5 => Just(Vec::new()), 2 => vec(select(types.to_vec()), 1), 1 => vec(select(types.to_vec()), 2)]
}

/// Few values each, in an order that is not that of their texts, or of another alphabet.
fn sequence_domain(ty: ColumnType) -> Vec<Value> {
    match ty {
        ColumnType::Int => [2, 9, 10, 1_000_000_000_000, -1].map(Value::Int).to_vec(),
        ColumnType::Decimal => [900, 1000, 1050, -200, -1000].map(Value::Decimal).to_vec(),
        ColumnType::Date => [19_782, 19_783, -1, 2_932_896].map(Value::Date).to_vec(),
        ColumnType::Timestamp => {
            let ten = 1_704_103_200_000_000;
            [ten, ten + 1, ten + 10_000_000, -1].map(Value::Timestamp).to_vec()
        }
        ColumnType::Text => ["9", "10", "a", "B", "é", "e\u{301}", "a ", ""].map(|text| Value::Text(text.to_owned())).to_vec(),
        ColumnType::Bool | ColumnType::Float => unreachable!("they say no order"),
    }
}

/// What columns of these types hold together.
fn sequences(types: &[ColumnType]) -> BoxedStrategy<Vec<Vec<Value>>> {
    let columns: Vec<_> = types.iter().map(|ty| some_of(vec![sequence_domain(*ty)], 5)).collect();
    columns.prop_flat_map(|columns| vec(columns.into_iter().map(select).collect::<Vec<_>>(), 2..=6)).boxed()
}

/// One value of each column's, or NULL.
pub fn variant(columns: Vec<Vec<Value>>) -> impl Strategy<Value = Vec<Value>> {
    let value = |values: Vec<Value>| prop_oneof![1 => Just(Value::Null), 5 => select(values)].boxed();
    columns.into_iter().map(value).collect::<Vec<_>>()
}

/// A delete column's type, the values that mark, and the others.
pub type Marks = (ColumnType, (Vec<Value>, Vec<Value>));

/// The types of a table's columns, by the parts that fill them.
pub struct Types {
    pub keys: Vec<ColumnType>,
    pub values: Vec<ColumnType>,
    pub marks: Option<Marks>,
    pub sequences: Vec<ColumnType>,
}

/// A table of these columns: rows have one of a few values for each part of the key, and one of the variants.
pub fn table_of(
    types: Types,
    names: Vec<&'static str>,
    keys: Vec<BoxedStrategy<Vec<Value>>>,
    variants: BoxedStrategy<Vec<Vec<Value>>>,
) -> impl Strategy<Value = Table> {
    let mut parts: Vec<(Part, ColumnType)> = Vec::new();
    parts.extend(types.keys.iter().enumerate().map(|(at, ty)| (Part::Key(at), *ty)));
    parts.extend(types.values.iter().enumerate().map(|(at, ty)| (Part::Value(at), *ty)));
    parts.extend(types.marks.iter().map(|(ty, _)| (Part::Mark, *ty)));
    parts.extend(types.sequences.iter().enumerate().map(|(at, ty)| (Part::Sequence(at), *ty)));
    assert!(parts.len() <= names.len(), "each column has a name");
    let parts = prop_oneof![2 => Just(parts.clone()), 1 => Just(parts).prop_shuffle()];
    let sequences = sequences(&types.sequences);
    (parts, keys, variants, Just(types.marks), sequences, Just(names)).prop_map(|(parts, keys, variants, marks, sequences, names)| {
        let column = |((_, ty), name): (&(Part, ColumnType), &str)| Column { name: name.to_owned(), ty: *ty };
        let mut all_keys = vec![Vec::new()];
        for values in keys {
            all_keys = all_keys
                .iter()
                .flat_map(|key| values.iter().map(move |value| [key.as_slice(), std::slice::from_ref(value)].concat()))
                .collect();
        }
        all_keys.truncate(6);
        Table {
            columns: parts.iter().zip(names).map(column).collect(),
            parts: parts.iter().map(|(part, _)| *part).collect(),
            keys: all_keys,
            variants,
            marks: marks.map(|(_, values)| values),
            sequences,
        }
    })
}

/// At most `most` values of one of the domains.
pub fn some_of(domains: Vec<Vec<Value>>, most: usize) -> BoxedStrategy<Vec<Value>> {
    select(domains)
        .prop_flat_map(move |values| {
            let most = most.min(values.len());
            subsequence(values, 1..=most)
        })
        .boxed()
}

/// NULL never marks.
pub fn marks() -> impl Strategy<Value = Marks> {
    let texts = ["D", "", "d", " D", "x"].map(|text| Value::Text(text.to_owned())).to_vec();
    let marks = |ty, values: Vec<Value>| {
        let most = values.len() - 1;
        let dead = subsequence(values.clone(), 1..=most.min(2));
        dead.prop_map(move |dead| {
            let live = std::iter::once(Value::Null).chain(values.iter().filter(|value| !dead.contains(value)).cloned()).collect();
            (ty, (dead, live))
        })
    };
    // Every value does.
    let times = [0, 1_704_103_200_000_000].map(Value::Timestamp).to_vec();
    prop_oneof![
        3 => marks(ColumnType::Text, texts.clone()),
        1 => Just((ColumnType::Timestamp, (times, vec![Value::Null]))),
        1 => Just((ColumnType::Text, (texts, vec![Value::Null]))),
        1 => marks(ColumnType::Int, [1, 0, -1].map(Value::Int).to_vec()),
        1 => marks(ColumnType::Bool, [true, false].map(Value::Bool).to_vec()),
    ]
}

pub fn options(table: &Table) -> impl Strategy<Value = Options> + use<> {
    let value_columns: Vec<usize> = (0..table.parts.len()).filter(|at| matches!(table.parts[*at], Part::Value(_))).collect();
    let tracked = match value_columns.len() {
        0 => Just(None).boxed(),
        count => prop_oneof![1 => Just(None), 1 => subsequence(value_columns, 1..=count).prop_shuffle().prop_map(Some)].boxed(),
    };
    let modes = (select(vec![BatchMode::Snapshot, BatchMode::Delta]), prop_oneof![3 => Just(true), 2 => Just(false)], any::<bool>());
    let duplicates = prop_oneof![
        2 => Just(OnDuplicateKey::Fail),
        1 => Just(OnDuplicateKey::KeepFirst),
        1 => Just(OnDuplicateKey::KeepLast),
        2 => Just(OnDuplicateKey::Park),
    ];
    let ratio = prop_oneof![5 => Just(None), 1 => select(vec![0.0, 0.25, 0.5, 0.75, 1.0]).prop_map(Some)];
    let late = prop_oneof![4 => Just(LateBatches::Cascade), 1 => Just(LateBatches::Reject)];
    let rules = (duplicates, select(vec![OnNullKey::Fail, OnNullKey::Park]), ratio, late);
    let parts: Vec<usize> = (0..table.parts.len()).filter(|at| matches!(table.parts[*at], Part::Key(_) | Part::Value(_))).collect();
    let most = parts.len().min(2);
    let snapshot_of = prop_oneof![3 => Just(Vec::new()), 1 => subsequence(parts, 1..=most)];
    let of_columns = (snapshot_of, any::<bool>());
    let table = table.clone();
    (tracked, modes, rules, of_columns).prop_map(move |(change_detection_columns, modes, rules, (snapshot_of, carried_when_added))| {
        let (batch_mode, emit_stale, empty) = modes;
        let (on_duplicate_key, on_null_key, max_delete_ratio, late_batches) = rules;
        let is_snapshot = batch_mode == BatchMode::Snapshot;
        let snapshot_of = if is_snapshot { snapshot_of } else { Vec::new() };
        let all_but_null = |live: &[Value]| live == [Value::Null];
        let marks = table.marks.as_ref().map(|(dead, live)| if all_but_null(live) { Vec::new() } else { dead.clone() });
        Options {
            columns: table.columns.clone(),
            key: (0..).map_while(|at| table.position(Part::Key(at))).collect(),
            change_detection_columns,
            emit_stale,
            batch_mode,
            delete: table.position(Part::Mark).zip(marks),
            sequence: (0..).map_while(|at| table.position(Part::Sequence(at))).collect(),
            on_duplicate_key,
            on_null_key,
            // What does nothing is refused.
            allow_empty_snapshot: empty && is_snapshot && snapshot_of.is_empty(),
            max_delete_ratio: max_delete_ratio.filter(|_| is_snapshot || table.marks.is_some()),
            snapshot_of,
            carried_when_added,
            late_batches,
            parks_bad: false,
        }
    })
}

/// A column that may come later: one that no other option speaks of.
fn added(table: &Table, options: &Options) -> BoxedStrategy<Option<Added>> {
    let is_free = |column: &usize| matches!(table.parts[*column], Part::Value(_)) && !options.snapshot_of.contains(column);
    let free: Vec<usize> = (0..table.parts.len()).filter(is_free).collect();
    // A line of a single NULL would be an empty line.
    if options.change_detection_columns.is_some() || free.is_empty() || table.parts.len() < 3 {
        return Just(None).boxed();
    }
    prop_oneof![3 => Just(None), 2 => (select(free), 1..4_usize).prop_map(|(column, from)| Some(Added { column, from }))].boxed()
}

/// A row, as places in the table's lists.
#[derive(Debug, Clone)]
struct PickedRow {
    key: Index,
    variant: Index,
    marked: bool,
    mark: Index,
    sequence: Index,
}

/// A row beside the one that a key has.
#[derive(Debug, Clone)]
enum Extra {
    /// Of a row that is there.
    Copy(Index),
    /// Often of a key that has another row.
    Other(PickedRow),
    /// Without its key, half of it, or its order.
    NullKey(PickedRow, Index),
}

fn picked() -> impl Strategy<Value = PickedRow> {
    let places = (any::<Index>(), any::<Index>(), any::<Index>(), any::<Index>());
    (places, prop::bool::weighted(0.2)).prop_map(|((key, variant, mark, sequence), marked)| PickedRow {
        key,
        variant,
        marked,
        mark,
        sequence,
    })
}

/// A batch's rows in file order, at most eight.
pub(crate) fn content(table: &Table, options: &Options) -> BoxedStrategy<Vec<Row>> {
    let rows: Vec<_> = (0..table.keys.len()).map(|_| prop::option::weighted(0.7, picked())).collect();
    // With an order, few rows are in conflict.
    let other = if options.on_duplicate_key == OnDuplicateKey::Fail && options.sequence.is_empty() { 1 } else { 12 };
    let null = if options.on_null_key == OnNullKey::Fail { 1 } else { 8 };
    let extra = prop_oneof![
        12 => any::<Index>().prop_map(Extra::Copy),
        other => picked().prop_map(Extra::Other),
        null => (picked(), any::<Index>()).prop_map(|(row, at)| Extra::NullKey(row, at)),
    ];
    let extras = prop_oneof![2 => vec(extra.clone(), 0), 1 => vec(extra, 1..=2)];
    let (table, key, needed) = (table.clone(), options.key.clone(), [options.key.as_slice(), &options.sequence].concat());
    let rows = (rows, extras).prop_map(move |(picked, extras)| {
        let with_key = |(at, row): (usize, PickedRow)| {
            let mut row = table.row(&row);
            for (column, value) in key.iter().zip(&table.keys[at]) {
                row[*column] = value.clone();
            }
            row
        };
        let mut rows: Vec<Row> = picked.into_iter().enumerate().filter_map(|(at, row)| Some((at, row?))).map(with_key).collect();
        for extra in extras {
            match extra {
                Extra::Copy(of) if !rows.is_empty() => rows.push(of.get(&rows).clone()),
                Extra::Copy(_) => {}
                Extra::Other(row) => rows.push(table.row(&row)),
                Extra::NullKey(row, at) => {
                    let mut row = table.row(&row);
                    row[*at.get(&needed)] = Value::Null;
                    rows.push(row);
                }
            }
        }
        rows
    });
    prop_oneof![1 => Just(Vec::new()), 24 => rows.prop_shuffle()].boxed()
}

/// What a replay brings.
#[derive(Debug, Clone)]
enum Replay {
    Same,
    Reordered,
    /// One row fewer.
    Shorter,
    /// One row twice; fewer rows where there is no room.
    Longer,
    Other(Vec<Row>),
}

impl Replay {
    fn rows(self, mut known: Vec<Row>) -> Vec<Row> {
        match self {
            Replay::Same => {}
            Replay::Reordered => known.reverse(),
            Replay::Shorter => drop(known.pop()),
            Replay::Longer if known.len() < 8 => known.extend(known.first().cloned()),
            Replay::Longer => known.truncate(4),
            Replay::Other(rows) => return rows,
        }
        known
    }
}

/// All arrivals and rows are kept, until a failing case shrinks: then each of them is tried without.
pub fn arrivals(table: &Table, options: &Options) -> BoxedStrategy<Vec<Arrival>> {
    let content = content(table, options);
    let some = |count| subsequence(vec![1, 2, 3, 4, 5, 7, 8, 20, 20_240_229], count);
    let ids = prop_oneof![1 => some(1..=2), 4 => some(3..=6)];
    let shuffled = if options.late_batches == LateBatches::Reject { 1 } else { 6 };
    let ordered = prop_oneof![4 => ids.clone(), shuffled => ids.prop_shuffle()];
    let replay = prop_oneof![
        2 => Just(Replay::Same),
        2 => Just(Replay::Reordered),
        1 => Just(Replay::Shorter),
        1 => Just(Replay::Longer),
        3 => content.clone().prop_map(Replay::Other),
    ];
    // When it comes and which of the batches before it comes again.
    let replays = vec((any::<Index>(), any::<Index>(), replay), 0..=3);
    let firsts = ordered.prop_flat_map(move |ids| ids.into_iter().map(|id| (Just(id), content.clone()).boxed()).collect::<Vec<_>>());
    (firsts, replays)
        .prop_flat_map(|(firsts, replays)| {
            let mut steps: Vec<(i64, Replay)> = firsts.into_iter().map(|(id, rows)| (id, Replay::Other(rows))).collect();
            for (when, which, replay) in replays {
                let at = when.index(steps.len()) + 1;
                let batch_id = which.get(&steps[..at]).0;
                steps.insert(at, (batch_id, replay));
            }
            let mut known: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
            let arrival = |(batch_id, replay): (i64, Replay)| {
                let rows = replay.rows(known.get(&batch_id).cloned().unwrap_or_default());
                known.insert(batch_id, rows.clone());
                let count = rows.len();
                let first_file = prop_oneof![2 => Just(None), 1 => (0..=count).prop_map(Some)];
                let kept = (prop::bool::weighted(1.0), vec(prop::bool::weighted(1.0), count));
                let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.2));
                (first_file, kept, flags).prop_map(move |(first_file, (arrives, kept), (accept_guards, respelled))| {
                    let kept_of = |range: Range<usize>| kept[range].iter().filter(|kept| **kept).count();
                    let rows = rows.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(row, _)| row.clone()).collect();
                    let files = first_file.map_or_else(|| vec![kept_of(0..count)], |first| vec![kept_of(0..first), kept_of(first..count)]);
                    arrives.then_some(Arrival { batch_id, rows, accept_guards, files, respelled })
                })
            };
            steps.into_iter().map(arrival).collect::<Vec<_>>()
        })
        .prop_map(|arrivals| arrivals.into_iter().flatten().collect())
        .boxed()
}
