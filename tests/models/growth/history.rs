//! Random lives of a growth accounting flow: events around midnight and around the threshold, late batches and replays.

use std::collections::BTreeMap;

use chrono::{Duration, NaiveDate, TimeZone};
use chrono_tz::Tz;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select, subsequence},
};

use super::model::{ChurnRule, DEFAULT_MAX_PERIODS, Options, PeriodType};
use crate::{
    histories::{Arrival, bad_places, spoil, toml_text, type_name},
    oracle::{Column, ColumnType, OnNullKey, Row, Value},
};

/// What happens to one flow, from its first batch on.
#[derive(Debug, Clone)]
pub struct History {
    pub options: Options,
    pub arrivals: Vec<Arrival>,
    /// Whether the tables are looked at after every arrival, not after the last one alone.
    pub look_often: bool,
}

/// The same rows in the same order: as one batch, and as several that arrive in any order. None of them is refused.
#[derive(Debug, Clone)]
pub struct Split {
    pub options: Options,
    pub whole: Arrival,
    pub parts: Vec<Arrival>,
}

/// Histories most of whose batches are accepted.
pub fn history() -> impl Strategy<Value = History> {
    table().prop_flat_map(|table| {
        let options = table.options.clone();
        (arrivals(&table), prop::bool::weighted(0.2)).prop_map(move |(arrivals, look_often)| History {
            options: options.clone(),
            arrivals,
            look_often,
        })
    })
}

/// The same of a flow that sets rows aside that do not fit, some of whose rows do not.
pub fn history_with_bad_rows() -> impl Strategy<Value = History> {
    (history(), bad_places()).prop_map(|(mut history, places)| {
        let options = &mut history.options;
        options.parks_bad = true;
        let needed = [&[options.user, options.time], options.key.as_slice()].concat();
        spoil(history.arrivals.iter_mut().collect(), &options.columns, &needed, &places);
        history
    })
}

pub fn split() -> impl Strategy<Value = Split> {
    let accepted = |mut table: Table| {
        table.options.max_periods = DEFAULT_MAX_PERIODS;
        table.options.on_null_key = OnNullKey::Park;
        table
    };
    table().prop_map(accepted).prop_flat_map(|table| {
        let rows = vec(any::<Index>(), 0..=16).prop_map(move |picked| pick(&picked, &table.pool));
        (Just(table.options), rows, vec(any::<Index>(), 1..=4)).prop_flat_map(|(options, rows, cuts)| {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).chain([0, rows.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<Arrival> = (1..).zip(cuts.windows(2)).map(|(id, cut)| arrival(id, rows[cut[0]..cut[1]].to_vec())).collect();
            Just(parts).prop_shuffle().prop_map(move |parts| Split { options: options.clone(), whole: arrival(1, rows.clone()), parts })
        })
    })
}

/// The flow file. What is the default is left out.
pub fn flow_toml(options: &Options) -> String {
    let name = |column: usize| toml_text(&options.columns[column].name);
    let column = |column: &Column| format!("    {{ name = {}, schema_type = \"{}\" }},\n", toml_text(&column.name), type_name(column.ty));
    let mut input = format!("columns = [\n{}]\n", options.columns.iter().map(column).collect::<String>());
    if !options.key.is_empty() {
        let key: Vec<String> = options.key.iter().map(|column| name(*column)).collect();
        input += &format!("primary_key = [{}]\n", key.join(", "));
    }
    if options.on_null_key == OnNullKey::Park {
        input += "on_null_key = \"park\"\n";
    }
    let mut properties = format!("period_type = \"{}\"\n", options.period_type.name());
    // Either name of a key is accepted.
    let suffix = if options.columns.len().is_multiple_of(2) { "column" } else { "field" };
    if options.columns[options.user].name != "user_id" {
        properties += &format!("user_id_{suffix} = {}\n", name(options.user));
    }
    if options.columns[options.time].name != "timestamp" {
        properties += &format!("timestamp_{suffix} = {}\n", name(options.time));
    }
    match options.churn {
        ChurnRule::Days(30) => {}
        ChurnRule::Days(days) => properties += &format!("churn_threshold_days = {days}\n"),
        ChurnRule::Period => properties += "churn = \"period\"\n",
    }
    if options.timezone != Tz::UTC {
        properties += &format!("timezone = \"{}\"\n", options.timezone.name());
    }
    if let Some(as_of) = options.as_of {
        properties += &format!("as_of = \"{as_of}\"\n");
    }
    if options.max_periods != DEFAULT_MAX_PERIODS {
        properties += &format!("max_periods = {}\n", options.max_periods);
    }
    format!(
        "id = \"h\"\nflow_type = \"growth_accounting\"\n\n[input]\n{input}\n[properties]\n{properties}\n\
         [properties.load]\nsource_path = \"data\"\nformat = \"csv\"\n{}",
        if options.parks_bad { "on_bad_row = \"park\"\n" } else { "" }
    )
}

/// Time zones, each with a day near which something happens there or in the calendar. The plainest comes first.
fn places() -> Vec<(Tz, NaiveDate)> {
    [
        (Tz::UTC, (2024, 1, 1)),
        (Tz::UTC, (2023, 12, 28)),
        (Tz::UTC, (2024, 2, 27)),
        (Tz::UTC, (2023, 2, 27)),
        (Tz::UTC, (1969, 12, 29)),
        (Tz::UTC, (1900, 2, 26)),
        (Tz::UTC, (2000, 2, 28)),
        (Tz::Europe__Berlin, (2024, 3, 29)),
        (Tz::Europe__Berlin, (2024, 10, 25)),
        (Tz::Europe__Berlin, (1900, 1, 1)),
        (Tz::America__New_York, (2024, 3, 9)),
        (Tz::America__New_York, (2024, 11, 1)),
        (Tz::America__New_York, (1969, 12, 30)),
        (Tz::Asia__Kolkata, (2024, 2, 28)),
        (Tz::Asia__Kolkata, (1899, 12, 30)),
        (Tz::Asia__Kathmandu, (1985, 12, 30)),
        (Tz::America__St_Johns, (2006, 10, 27)),
        (Tz::Australia__Lord_Howe, (2024, 4, 5)),
        (Tz::Australia__Lord_Howe, (2024, 10, 4)),
        (Tz::Pacific__Kiritimati, (2024, 12, 30)),
        // These clocks go forward at midnight: the day begins at one o'clock.
        (Tz::America__Sao_Paulo, (2018, 11, 2)),
        (Tz::Africa__Cairo, (2024, 4, 25)),
        // There was no 30 December.
        (Tz::Pacific__Apia, (2011, 12, 28)),
    ]
    .map(|(zone, (year, month, day))| (zone, NaiveDate::from_ymd_opt(year, month, day).unwrap()))
    .to_vec()
}

/// Distances from a day's first moment, in minutes.
const MINUTES: [i64; 8] = [0, 12 * 60, 30, -30, 2 * 60 + 30, 23 * 60, 5 * 60 + 30, -60];

/// A day's first moment by the zone's clocks; where there is none, the first after it.
fn midnight(zone: Tz, day: NaiveDate) -> i64 {
    let midnight = day.and_hms_opt(0, 0, 0).unwrap();
    let found = (0..=100).find_map(|quarter| zone.from_local_datetime(&(midnight + Duration::minutes(15 * quarter))).earliest());
    found.unwrap().timestamp_micros()
}

fn date_value(day: NaiveDate) -> Value {
    Value::Date(day.signed_duration_since(NaiveDate::default()).num_days() as i32)
}

/// A flow and the few rows that its batches are made of, so that events come twice, in a batch and in several.
#[derive(Debug, Clone)]
struct Table {
    options: Options,
    pool: Vec<Row>,
}

/// The columns of a flow, by what stands in them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    User,
    Time,
    EventId,
    Payload,
}

#[derive(Debug, Clone)]
struct Columns {
    parts: Vec<(Part, Column)>,
    key: Vec<Part>,
}

impl Columns {
    fn position(&self, part: Part) -> usize {
        self.parts.iter().position(|(other, _)| *other == part).unwrap()
    }
}

fn columns() -> impl Strategy<Value = Columns> {
    let user = select(vec![ColumnType::Text, ColumnType::Int]);
    let time = prop_oneof![3 => Just(ColumnType::Timestamp), 1 => Just(ColumnType::Date)];
    let key = prop_oneof![
        2 => Just(vec![]),
        3 => Just(vec![Part::User, Part::Time]),
        2 => Just(vec![Part::EventId]),
        1 => Just(vec![Part::EventId, Part::Time]),
        1 => Just(vec![Part::User, Part::EventId]),
    ];
    let names = prop_oneof![
        3 => Just(["user_id", "timestamp"]),
        1 => select(vec![["Customer", "at"], ["quo\"te", "order"], ["a b", "day"], ["ünï", "it's"], ["timestamp", "user_id"]]),
    ];
    (user, time, key, names, any::<bool>(), any::<bool>(), any::<bool>()).prop_flat_map(
        |(user, time, key, [user_name, time_name], has_id, has_payload, shuffled)| {
            let column = |part, name: &str, ty| (part, Column { name: name.to_owned(), ty });
            let mut parts = vec![column(Part::User, user_name, user), column(Part::Time, time_name, time)];
            if has_id || key.contains(&Part::EventId) {
                parts.push(column(Part::EventId, "event_id", ColumnType::Int));
            }
            if has_payload {
                parts.push(column(Part::Payload, "kind", ColumnType::Text));
            }
            let parts = if shuffled { Just(parts).prop_shuffle().boxed() } else { Just(parts).boxed() };
            parts.prop_map(move |parts| Columns { parts, key: key.clone() })
        },
    )
}

/// Thresholds, most of them small.
fn threshold() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 1..=4_u32, 2 => 5..=14_u32, 2 => Just(30_u32), 1 => 15..=40_u32]
}

/// By period as often as by one of the thresholds.
fn churn_rule(threshold: u32) -> impl Strategy<Value = ChurnRule> {
    prop_oneof![Just(ChurnRule::Days(threshold)), Just(ChurnRule::Period)]
}

/// A day's distance from the first one: anywhere nearby, or a few thresholds away and a day more or less.
fn distance(threshold: u32) -> impl Strategy<Value = i64> {
    let far = (1..=3_i64, -1..=2_i64).prop_map(move |(times, more)| times * i64::from(threshold) + more);
    prop_oneof![1 => -3..=10_i64, 2 => far]
}

fn table() -> impl Strategy<Value = Table> {
    let period_type = select(vec![PeriodType::Daily, PeriodType::Weekly, PeriodType::Monthly]);
    let max_periods = prop_oneof![11 => Just(DEFAULT_MAX_PERIODS), 1 => 1..=8_usize];
    let on_null_key = select(vec![OnNullKey::Fail, OnNullKey::Park]);
    (columns(), threshold(), period_type, select(places()), max_periods, on_null_key).prop_flat_map(
        |(columns, threshold, period_type, (zone, first), max_periods, on_null_key)| {
            // `timezone` says nothing about dates.
            let is_date = columns.parts[columns.position(Part::Time)].1.ty == ColumnType::Date;
            let zone = if is_date { Tz::UTC } else { zone };
            let as_of = prop_oneof![
                3 => Just(None),
                1 => (-5..=3 * i64::from(threshold) + 5).prop_map(move |days| Some(first + Duration::days(days))),
            ];
            let pool = pool(&columns, threshold, zone, first, on_null_key);
            (pool, as_of, churn_rule(threshold)).prop_map(move |(pool, as_of, churn)| {
                let options = Options {
                    columns: columns.parts.iter().map(|(_, column)| column.clone()).collect(),
                    key: columns.key.iter().map(|part| columns.position(*part)).collect(),
                    user: columns.position(Part::User),
                    time: columns.position(Part::Time),
                    on_null_key,
                    parks_bad: false,
                    period_type,
                    churn,
                    timezone: zone,
                    as_of,
                    max_periods,
                };
                Table { options, pool }
            })
        },
    )
}

fn users(ty: ColumnType) -> Vec<Vec<Value>> {
    if ty == ColumnType::Int {
        return [[1, 2, 3, 10], [0, i64::MAX, i64::MIN, -1]].map(|values| values.map(Value::Int).to_vec()).to_vec();
    }
    [["u1", "u2", "u3", "u10"], ["a", "A", "a ", ""], ["ä", "a\u{308}", "a|b", "a,\"b\"\n"], ["1", "01", "NULL", "-1"]]
        .map(|texts| texts.map(|text| Value::Text(text.to_owned())).to_vec())
        .to_vec()
}

fn pool(columns: &Columns, threshold: u32, zone: Tz, first: NaiveDate, on_null_key: OnNullKey) -> impl Strategy<Value = Vec<Row>> + use<> {
    let types: Vec<(Part, ColumnType)> = columns.parts.iter().map(|(part, column)| (*part, column.ty)).collect();
    let user_type = columns.parts[columns.position(Part::User)].1.ty;
    let is_date = columns.parts[columns.position(Part::Time)].1.ty == ColumnType::Date;
    let users = select(users(user_type)).prop_flat_map(|values| subsequence(values, 1..=4));
    let days = vec(distance(threshold), 1..=6);
    // A microsecond on either side of the minute.
    let moments = vec((select(MINUTES.to_vec()), -1..=1_i64), 1..=4);
    let null = if on_null_key == OnNullKey::Park { 0.2 } else { 0.004 };
    let picked = (any::<Index>(), any::<Index>(), any::<Index>(), 1..=6_i64, 0..=2_usize, prop::option::weighted(null, any::<Index>()));
    (users, days, moments, vec(picked, 1..=14)).prop_map(move |(users, days, moments, picked)| {
        let row = |(user, day, moment, event_id, payload, null): &(Index, Index, Index, i64, usize, Option<Index>)| {
            let day = first + Duration::days(*day.get(&days));
            let (minutes, micros) = moment.get(&moments);
            let value = |part: Part| match part {
                Part::User => user.get(&users).clone(),
                Part::Time if is_date => date_value(day),
                Part::Time => Value::Timestamp(midnight(zone, day) + minutes * 60_000_000 + micros),
                Part::EventId => Value::Int(*event_id),
                Part::Payload => [Value::Text("view".to_owned()), Value::Null, Value::Text(String::new())][*payload].clone(),
            };
            let mut row: Row = types.iter().map(|(part, _)| value(*part)).collect();
            if let Some(column) = null {
                row[column.index(types.len())] = Value::Null;
            }
            row
        };
        picked.iter().map(row).collect()
    })
}

fn pick(picked: &[Index], pool: &[Row]) -> Vec<Row> {
    picked.iter().map(|index| index.get(pool).clone()).collect()
}

/// A batch in one file.
fn arrival(batch_id: i64, rows: Vec<Row>) -> Arrival {
    let files = vec![rows.len()];
    Arrival { batch_id, rows, accept_guards: false, files, respelled: false }
}

/// What a replay brings.
#[derive(Debug, Clone)]
enum Replay {
    Same,
    Reordered,
    Shorter,
    /// Without the rows of the latest time, so that `as_of` may go back.
    Earlier,
    Other(Vec<Row>),
}

impl Replay {
    fn rows(self, mut known: Vec<Row>, time: usize) -> Vec<Row> {
        match self {
            Replay::Same => {}
            Replay::Reordered => known.reverse(),
            Replay::Shorter => drop(known.pop()),
            Replay::Earlier => {
                let latest = known.iter().map(|row| row[time].clone()).max();
                known.retain(|row| Some(&row[time]) != latest.as_ref());
            }
            Replay::Other(rows) => return rows,
        }
        known
    }
}

/// All arrivals and rows are kept, until a failing case shrinks: then each of them is tried without.
fn arrivals(table: &Table) -> BoxedStrategy<Vec<Arrival>> {
    let (pool, time) = (table.pool.clone(), table.options.time);
    let content = prop_oneof![1 => vec(any::<Index>(), 0), 10 => vec(any::<Index>(), 1..=8)];
    let content = content.prop_map(move |picked| pick(&picked, &pool));
    let some = |count| subsequence(vec![1, 2, 3, 4, 5, 7, 8, 20, 20_240_229], count);
    let ids = prop_oneof![1 => some(1..=2), 4 => some(3..=5)];
    let ordered = prop_oneof![1 => ids.clone(), 1 => ids.prop_shuffle()];
    let replay = prop_oneof![
        2 => Just(Replay::Same),
        1 => Just(Replay::Reordered),
        1 => Just(Replay::Shorter),
        3 => Just(Replay::Earlier),
        3 => content.clone().prop_map(Replay::Other),
    ];
    // When it comes and which of the batches before it comes again.
    let replays = vec((any::<Index>(), any::<Index>(), replay), 0..=3);
    let firsts = ordered.prop_flat_map(move |ids| ids.into_iter().map(|id| (Just(id), content.clone()).boxed()).collect::<Vec<_>>());
    (firsts, replays)
        .prop_flat_map(move |(firsts, replays)| {
            let mut steps: Vec<(i64, Replay)> = firsts.into_iter().map(|(id, rows)| (id, Replay::Other(rows))).collect();
            for (when, which, replay) in replays {
                let at = when.index(steps.len()) + 1;
                let batch_id = which.get(&steps[..at]).0;
                steps.insert(at, (batch_id, replay));
            }
            let mut known: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
            let one = |(batch_id, replay): (i64, Replay)| {
                let rows = replay.rows(known.get(&batch_id).cloned().unwrap_or_default(), time);
                known.insert(batch_id, rows.clone());
                let kept = (prop::bool::weighted(1.0), vec(prop::bool::weighted(1.0), rows.len()));
                let files = prop_oneof![2 => Just(None), 1 => any::<Index>().prop_map(Some)];
                (kept, files, prop::bool::weighted(0.2)).prop_map(move |((arrives, kept), cut, respelled)| {
                    let rows: Vec<Row> = rows.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(row, _)| row.clone()).collect();
                    let count = rows.len();
                    let files = cut.map_or(vec![count], |cut| vec![cut.index(count + 1), count - cut.index(count + 1)]);
                    arrives.then_some(Arrival { files, respelled, ..arrival(batch_id, rows) })
                })
            };
            steps.into_iter().map(one).collect::<Vec<_>>()
        })
        .prop_map(|arrivals| arrivals.into_iter().flatten().collect())
        .boxed()
}
