//! Random lives of a sessionization flow: options, batches in any order, replays, and events exactly at the limits.

use std::{collections::BTreeMap, ops::Range};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select, subsequence},
};

use super::model::{IdFormat, Options};
use crate::{
    histories::{Arrival, bad_places, spoil, toml_text, type_name},
    oracle::{Column, ColumnType, OnNullKey, Row, Value},
};

/// What happens to one flow, from its first batch on.
#[derive(Debug, Clone)]
pub struct History {
    pub options: Options,
    /// Whether the properties are called `…_column`, not `…_field`.
    pub column_words: bool,
    pub arrivals: Vec<Arrival>,
}

/// Histories most of whose batches are accepted.
pub fn history() -> impl Strategy<Value = History> {
    (table(), limits()).prop_flat_map(|(table, limits)| {
        let points = points(limits);
        (options(&table, limits), points, any::<bool>(), Just(table)).prop_flat_map(|(options, points, column_words, table)| {
            arrivals(&World { table, points }, &options).prop_map(move |arrivals| History {
                options: options.clone(),
                column_words,
                arrivals,
            })
        })
    })
}

/// The same of a flow that sets rows aside that do not fit, some of whose rows do not.
pub fn history_with_bad_rows() -> impl Strategy<Value = History> {
    (history(), bad_places()).prop_map(|(mut history, places)| {
        let options = &mut history.options;
        options.parks_bad = true;
        let needed = [&[options.user, options.timestamp], options.key.as_slice()].concat();
        spoil(history.arrivals.iter_mut().collect(), &options.columns, &needed, &places);
        history
    })
}

/// The flow file of a history; its datasets begin with `h_`.
pub fn flow_toml(history: &History) -> String {
    let options = &history.options;
    let name = |column: &usize| toml_text(&options.columns[*column].name);
    let names = |columns: &[usize]| columns.iter().map(name).collect::<Vec<_>>().join(", ");
    let columns = options
        .columns
        .iter()
        .map(|column| format!("    {{ name = {}, schema_type = \"{}\" }},\n", toml_text(&column.name), type_name(column.ty)));
    let mut input = format!("columns = [\n{}]\n", columns.collect::<String>());
    let mut properties = String::new();
    if !options.key.is_empty() {
        input += &format!("primary_key = [{}]\n", names(&options.key));
    }
    if options.parks() {
        input += "on_null_key = \"park\"\n";
    }
    let word = if history.column_words { "column" } else { "field" };
    for (property, default, column) in [("user_id", "user_id", options.user), ("timestamp", "timestamp", options.timestamp)] {
        if options.columns[column].name != default {
            properties += &format!("{property}_{word} = {}\n", name(&column));
        }
    }
    for (property, seconds) in [
        ("session_timeout_seconds", options.session_timeout_seconds),
        ("session_gap_threshold_seconds", options.session_gap_threshold_seconds),
        ("session_max_duration_seconds", options.session_max_duration_seconds),
    ] {
        properties += &seconds.map_or_else(String::new, |seconds| format!("{property} = {seconds}\n"));
    }
    if let Some(columns) = &options.session_columns {
        properties += &format!("session_columns = [{}]\n", names(columns));
    }
    if options.session_events {
        properties += "session_events = true\n";
    }
    if options.session_id_format == IdFormat::Start {
        properties += "session_id_format = \"start\"\n";
    }
    format!(
        "id = \"h\"\nflow_type = \"sessionization\"\n\n[input]\n{input}\n[properties]\n{properties}\n\
         [properties.load]\nsource_path = \"data\"\nformat = \"csv\"\n{}",
        if options.parks_bad { "on_bad_row = \"park\"\n" } else { "" }
    )
}

/// What stands in a column, by the part of the row that fills it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    User,
    Timestamp,
    Event(usize),
    Value(usize),
}

/// A table's columns and the few values that its rows are made of.
#[derive(Debug, Clone)]
struct Table {
    columns: Vec<Column>,
    parts: Vec<Part>,
    /// What makes the key, in its order; none where every row counts.
    key: Vec<Part>,
    users: Vec<Value>,
    /// What the columns that name an event hold together.
    events: Vec<Vec<Value>>,
    /// What the other columns hold together.
    variants: Vec<Vec<Value>>,
}

impl Table {
    fn position(&self, part: &Part) -> usize {
        self.parts.iter().position(|other| other == part).expect("a key is made of the table's columns")
    }
}

/// A table and the times at which things happen.
#[derive(Debug, Clone)]
struct World {
    table: Table,
    points: Vec<i64>,
}

impl World {
    fn row(&self, row: &PickedRow) -> Row {
        let table = &self.table;
        let (event, variant) = (row.event.get(&table.events), row.variant.get(&table.variants));
        let value = |part: &Part| match part {
            Part::User => row.user.get(&table.users).clone(),
            Part::Timestamp => Value::Timestamp(*row.point.get(&self.points)),
            Part::Event(at) => event[*at].clone(),
            Part::Value(at) => variant[*at].clone(),
        };
        table.parts.iter().map(value).collect()
    }

    /// The row without its user, its time or a part of its key.
    fn without(&self, mut row: Row, which: &Index) -> Row {
        let needed: Vec<Part> = [Part::User, Part::Timestamp].into_iter().chain(self.table.key.iter().copied()).collect();
        row[self.table.position(which.get(&needed))] = Value::Null;
        row
    }
}

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::Text((*text).to_owned())).collect()
}

/// Few users each, that are easily mixed up: with each other, or with their sessions.
fn users() -> impl Strategy<Value = (ColumnType, Vec<Value>)> {
    let text = prop_oneof![
        3 => Just(texts(&["u1", "u2", "u10", "U1"])),
        1 => Just(texts(&["u", "u_1", "u_1_1", "_"])),
        1 => Just(texts(&["", " ", "a ", "a"])),
        1 => Just(texts(&["ä", "a\u{308}", "日本", "🦀"])),
        1 => Just(texts(&["a,b", "a\"b", "a\nb", "'"])),
        1 => Just(texts(&["1", "01", "1.0", "-1"])),
    ];
    let int = select(vec![vec![1, 2, 10, -1], vec![0, i64::MAX, i64::MIN, 1 << 53], vec![(1 << 53) + 1, 1 << 53, 1_000_000, 7]]);
    let int = int.prop_map(|values| values.into_iter().map(Value::Int).collect());
    let of = |ty, values: Vec<Value>| subsequence(values, 1..=3).prop_map(move |values| (ty, values));
    prop_oneof![2 => text.prop_flat_map(move |values| of(ColumnType::Text, values)), 1 => int.prop_flat_map(move |values: Vec<Value>| of(ColumnType::Int, values))]
}

/// The columns that name an event, what they hold, and the key.
type Events = (Vec<ColumnType>, Vec<Vec<Value>>, Vec<Part>);

fn events() -> impl Strategy<Value = Events> {
    // Sorted byte by byte, or as numbers.
    let names = texts(&["e1", "e2", "e10", "E1", "e1 ", "e", "é", "a|b", "z", "a", "b", "c"]);
    let numbers: Vec<Value> = [1, 2, 10, -1, 0, i64::MAX, i64::MIN, 3, 4, 20, 100, -2].map(Value::Int).to_vec();
    let alone = |values: Vec<Value>| values.into_iter().map(|value| vec![value]).collect::<Vec<_>>();
    let pair = |a: &Value| texts(&["c", "bc", "", "b"]).into_iter().map(|b| vec![a.clone(), b]).collect::<Vec<_>>();
    let pairs: Vec<Vec<Value>> = texts(&["a", "ab", "abc"]).iter().flat_map(pair).collect();
    let keys = vec![
        (vec![], vec![vec![]], vec![]),
        (vec![ColumnType::Text], alone(names.clone()), vec![]),
        (vec![ColumnType::Text], alone(names.clone()), vec![Part::Event(0)]),
        (vec![ColumnType::Int], alone(numbers), vec![Part::Event(0)]),
        (vec![ColumnType::Text; 2], pairs, vec![Part::Event(0), Part::Event(1)]),
        (vec![ColumnType::Text], alone(names), vec![Part::User, Part::Event(0)]),
        (vec![], vec![vec![]], vec![Part::User, Part::Timestamp]),
    ];
    (select(keys), any::<bool>()).prop_map(|((types, values, mut key), reversed)| {
        if reversed {
            key.reverse();
        }
        (types, values, key)
    })
}

/// A column that is only carried: its type and the values it may have.
fn carried() -> impl Strategy<Value = (ColumnType, Vec<Value>)> {
    let ten = 1_704_103_200_000_000;
    select(vec![
        (ColumnType::Text, texts(&["home", "cart", "", "Home"])),
        (ColumnType::Int, [0, 1, -1, i64::MAX].map(Value::Int).to_vec()),
        (ColumnType::Decimal, [100, 150, -5, 0].map(Value::Decimal).to_vec()),
        (ColumnType::Bool, [true, false].map(Value::Bool).to_vec()),
        (ColumnType::Date, [0, -1, 19_782].map(Value::Date).to_vec()),
        (ColumnType::Timestamp, [0, ten, ten + 1].map(Value::Timestamp).to_vec()),
    ])
}

/// The plain names come first, so that a failing case shrinks to them.
const NAMES: [&str; 12] = ["id", "part", "page", "device", "note", "a b", "Ünï", "quo\"te", "order", "Mixed", "a.b", "it's"];

fn table() -> impl Strategy<Value = Table> {
    let names = prop_oneof![2 => Just(NAMES.to_vec()), 1 => Just(NAMES.to_vec()).prop_shuffle()];
    let own_names = (prop::bool::weighted(0.4), prop::bool::weighted(0.4));
    (users(), events(), vec(carried(), 0..=3), names, own_names).prop_flat_map(|(users, events, carried, names, own_names)| {
        let (event_types, event_values, key) = events;
        let mut parts = vec![(Part::User, users.0), (Part::Timestamp, ColumnType::Timestamp)];
        parts.extend(event_types.iter().enumerate().map(|(at, ty)| (Part::Event(at), *ty)));
        parts.extend(carried.iter().enumerate().map(|(at, (ty, _))| (Part::Value(at), *ty)));
        let parts = prop_oneof![1 => Just(parts.clone()), 1 => Just(parts).prop_shuffle()];
        let value = |(_, values): (ColumnType, Vec<Value>)| prop_oneof![1 => Just(Value::Null), 3 => select(values)].boxed();
        let variants = vec(carried.into_iter().map(value).collect::<Vec<_>>(), 1..=4);
        (parts, variants).prop_map(move |(parts, variants)| {
            let mut names = names.iter();
            let mut name = |part: Part| match part {
                Part::User if !own_names.0 => "user_id",
                Part::Timestamp if !own_names.1 => "timestamp",
                Part::User | Part::Timestamp | Part::Event(_) | Part::Value(_) => names.next().expect("there are names enough"),
            };
            Table {
                columns: parts.iter().map(|(part, ty)| Column { name: name(*part).to_owned(), ty: *ty }).collect(),
                parts: parts.iter().map(|(part, _)| *part).collect(),
                key: key.clone(),
                users: users.1.clone(),
                events: event_values.clone(),
                variants,
            }
        })
    })
}

/// Timeout, gap and longest duration, in seconds.
type Limits = (Option<i64>, Option<i64>, Option<i64>);

fn limits() -> impl Strategy<Value = Limits> {
    let limit = || prop_oneof![1 => Just(None), 2 => select(vec![30, 1, 10, 600, 1800, 90_000]).prop_map(Some)];
    // Of a session's longest duration, in thirds of its limit; shorter than the limit, too.
    let max = prop_oneof![1 => Just(None), 1 => select(vec![3, 1, 4, 6, 9]).prop_map(Some)];
    (limit(), limit(), max).prop_map(|(timeout, gap, thirds)| {
        let limit = timeout.into_iter().chain(gap).min().unwrap_or(1800);
        (timeout, gap, thirds.map(|thirds: i64| (limit * thirds / 3).max(1)))
    })
}

fn options(table: &Table, (timeout, gap, max): Limits) -> impl Strategy<Value = Options> + use<> {
    let is_other = |part: &Part| matches!(part, Part::Event(_) | Part::Value(_));
    let others: Vec<usize> = (0..table.parts.len()).filter(|at| is_other(&table.parts[*at])).collect();
    let session_columns = match others.len() {
        0 => Just(None).boxed(),
        count => prop_oneof![2 => Just(None), 1 => subsequence(others, 1..=count).prop_shuffle().prop_map(Some)].boxed(),
    };
    let ids = prop_oneof![2 => Just(IdFormat::Number), 1 => Just(IdFormat::Start)];
    let nulls = select(vec![OnNullKey::Fail, OnNullKey::Park]);
    let table = table.clone();
    (session_columns, any::<bool>(), ids, nulls).prop_map(move |(session_columns, session_events, session_id_format, on_null_key)| {
        Options {
            columns: table.columns.clone(),
            user: table.position(&Part::User),
            timestamp: table.position(&Part::Timestamp),
            key: table.key.iter().map(|part| table.position(part)).collect(),
            session_timeout_seconds: timeout,
            session_gap_threshold_seconds: gap,
            session_max_duration_seconds: max,
            session_columns,
            session_events,
            session_id_format,
            on_null_key,
            parks_bad: false,
        }
    })
}

/// Times whose distances are the limits, or a microsecond from them.
fn points((timeout, gap, max): Limits) -> impl Strategy<Value = Vec<i64>> {
    let second = 1_000_000;
    let limit = timeout.into_iter().chain(gap).min().unwrap_or(1800) * second;
    let mut steps = vec![limit, limit + 1, limit - 1, 1, limit / 2, limit / 3, 3 * limit];
    steps.extend(max.into_iter().flat_map(|max| [max * second, max * second + 1, max * second - 1]));
    // What the other limit would allow.
    steps.extend(timeout.max(gap).map(|longer| longer * second));
    let before_ten = 1_704_103_200_000_000;
    let midnight = 1_709_164_799_999_999;
    let starts = select(vec![before_ten, midnight, -limit, -1, 0, -2_208_988_800_000_000]);
    let extras = match max {
        None => Just(Vec::new()).boxed(),
        Some(_) => vec((any::<Index>(), -1..=1_i64), 0..=2).boxed(),
    };
    (starts, vec(select(steps), 1..=7), extras).prop_map(move |(start, steps, extras)| {
        let mut points = vec![start];
        for step in steps {
            points.push(points[points.len() - 1] + step);
        }
        for (from, distance) in extras {
            points.push(from.get(&points) + max.unwrap_or(0) * second + distance);
        }
        points
    })
}

/// A row, as places in the lists of its world.
#[derive(Debug, Clone)]
struct PickedRow {
    user: Index,
    point: Index,
    event: Index,
    variant: Index,
}

fn picked() -> impl Strategy<Value = PickedRow> {
    (any::<Index>(), any::<Index>(), any::<Index>(), any::<Index>()).prop_map(|(user, point, event, variant)| PickedRow {
        user,
        point,
        event,
        variant,
    })
}

/// A batch's rows in file order, at most eight. Rows of `pool` stand in more than one batch, and more than once in one.
fn content(world: &World, pool: &[Row], parks: bool) -> BoxedStrategy<Vec<Row>> {
    let (fresh, broken) = (world.clone(), world.clone());
    let fresh = picked().prop_map(move |row| fresh.row(&row));
    let row = prop_oneof![1 => select(pool.to_vec()), 1 => fresh];
    let broken = (row.clone(), any::<Index>()).prop_map(move |(row, which)| broken.without(row, &which));
    let (whole, nulls) = if parks { (8, 1) } else { (150, 1) };
    prop_oneof![1 => Just(Vec::new()), 16 => vec(prop_oneof![whole => row, nulls => broken], 1..=8)].boxed()
}

/// What a replay brings.
#[derive(Debug, Clone)]
enum Replay {
    Same,
    Reordered,
    /// One row fewer.
    Shorter,
    /// The first row twice.
    Longer,
    Other(Vec<Row>),
}

impl Replay {
    fn rows(self, mut known: Vec<Row>) -> Vec<Row> {
        match self {
            Replay::Same => {}
            Replay::Reordered => known.reverse(),
            Replay::Shorter => drop(known.pop()),
            Replay::Longer => known.extend(known.first().cloned()),
            Replay::Other(rows) => return rows,
        }
        known
    }
}

fn arrivals(world: &World, options: &Options) -> BoxedStrategy<Vec<Arrival>> {
    let (world, parks) = (world.clone(), options.parks());
    vec(picked(), 2..=10)
        .prop_flat_map(move |pool| {
            let pool: Vec<Row> = pool.iter().map(|row| world.row(row)).collect();
            arrivals_of(content(&world, &pool, parks))
        })
        .boxed()
}

/// All arrivals and rows are kept, until a failing case shrinks: then each of them is tried without.
fn arrivals_of(content: BoxedStrategy<Vec<Row>>) -> BoxedStrategy<Vec<Arrival>> {
    let some = |count| subsequence(vec![1, 2, 3, 4, 5, 7, 10, 20, 20_240_229], count);
    let ids = prop_oneof![1 => some(1..=2), 4 => some(3..=5)];
    let ordered = prop_oneof![1 => ids.clone(), 1 => ids.prop_shuffle()];
    let replay = prop_oneof![
        1 => Just(Replay::Same),
        1 => Just(Replay::Reordered),
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
                arrival(batch_id, rows)
            };
            steps.into_iter().map(arrival).collect::<Vec<_>>()
        })
        .prop_map(|arrivals| arrivals.into_iter().flatten().collect())
        .boxed()
}

/// The rows in one to three files, some of them empty.
fn arrival(batch_id: i64, rows: Vec<Row>) -> impl Strategy<Value = Option<Arrival>> {
    let count = rows.len();
    let cuts = prop_oneof![2 => vec(0..=count, 0), 1 => vec(0..=count, 1..=2)];
    let kept = (prop::bool::weighted(1.0), vec(prop::bool::weighted(1.0), count));
    (cuts, kept, prop::bool::weighted(0.2)).prop_map(move |(mut cuts, (arrives, kept), respelled)| {
        cuts.sort_unstable();
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([count]);
        let kept_of = |range: Range<usize>| kept[range].iter().filter(|kept| **kept).count();
        let files = starts.zip(ends).map(|(start, end)| kept_of(start..end)).collect();
        let rows = rows.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(row, _)| row.clone()).collect();
        arrives.then_some(Arrival { batch_id, rows, accept_guards: false, files, respelled })
    })
}
