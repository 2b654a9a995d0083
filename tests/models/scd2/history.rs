//! Random lives of an scd2 flow: late and equal effective times, batches in any order, replays, deletions and returns.

use std::collections::BTreeMap;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use super::model::{OnDelete, Options};
use crate::{
    histories::{self, bad_places, flow_text, spoil, toml_text},
    oracle::{self, BatchMode, Column, ColumnType, LateBatches, OnDuplicateKey, OnNullKey, Row, Value},
};

/// What happens to one flow, from its first batch on.
#[derive(Debug, Clone)]
pub struct History {
    pub options: Options,
    pub arrivals: Vec<Arrival>,
}

/// Histories of a flow that sets rows aside that do not fit, some of whose rows do not.
pub fn history_with_bad_rows() -> impl Strategy<Value = History> {
    (history(), bad_places()).prop_map(|(mut history, places)| {
        let options = &mut history.options;
        options.feed.parks_bad = true;
        let needed: Vec<usize> = options.feed.key.iter().chain(&options.effective).chain(&options.sequence).copied().collect();
        spoil(history.arrivals.iter_mut().map(|arrival| &mut arrival.batch).collect(), &options.feed.columns, &needed, &places);
        history
    })
}

/// One execution of one batch.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub batch: histories::Arrival,
    /// Microseconds since 1970.
    execution_date: i64,
    /// A replay without `--execution-date`.
    keeps_time: bool,
}

impl Arrival {
    /// What `--execution-date` says; a batch that is not known yet always has one.
    pub fn execution_date(&self, is_known: bool) -> Option<i64> {
        (!is_known || !self.keeps_time).then_some(self.execution_date)
    }
}

/// The flow file of a history; its datasets are `h_scd2`, `h_landing` and `h_parked`.
pub fn flow_toml(options: &Options) -> String {
    let name = |column: &usize| toml_text(&options.feed.columns[*column].name);
    let mut properties = String::new();
    if let Some(column) = &options.effective {
        properties += &format!("effective_date_column = {}\n", name(column));
    }
    if options.from_batch {
        properties += "effective_from_batch = true\n";
    }
    if let Some(tracked) = &options.feed.change_detection_columns {
        properties += &format!("change_detection_columns = [{}]\n", tracked.iter().map(name).collect::<Vec<_>>().join(", "));
    }
    if !options.type1.is_empty() {
        properties += &format!("type1_columns = [{}]\n", options.type1.iter().map(name).collect::<Vec<_>>().join(", "));
    }
    if options.on_delete == OnDelete::Ignore {
        properties += "on_delete = \"ignore\"\n";
    }
    let mut input = String::new();
    for (key, columns) in [("sequence_columns", &options.sequence), ("snapshot_of", &options.snapshot_of)] {
        if !columns.is_empty() {
            input += &format!("{key} = [{}]\n", columns.iter().map(name).collect::<Vec<_>>().join(", "));
        }
    }
    let text = flow_text("id = \"h\"\nflow_type = \"scd2\"", &options.feed, &properties);
    text.replacen("[input]\n", &format!("[input]\n{input}"), 1)
}

/// Histories most of whose batches are accepted. Nothing depends on what was drawn before, so that cases shrink well.
pub fn history() -> impl Strategy<Value = History> {
    (shape(), rules(), vec(step(), 1..=9)).prop_map(|(shape, rules, steps)| {
        let table = Table::new(shape);
        let options = rules.options(&table);
        History { arrivals: arrivals(&table, &options, steps), options }
    })
}

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Key(usize),
    Effective,
    Sequence(usize),
    Value { at: usize, role: Role },
    Mark,
}

/// What a value is there for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Tracked,
    /// Neither compared nor overwritten, where some other column is tracked.
    Carried,
    Type1,
}

/// How a table looks.
#[derive(Debug, Clone)]
struct Shape {
    keys: Vec<ColumnType>,
    effective: Option<ColumnType>,
    sequences: Vec<ColumnType>,
    values: Vec<(ColumnType, Role)>,
    has_mark: bool,
    /// Where each column stands.
    order: Vec<u8>,
    odd_names: bool,
    /// The first day of the story, since 1970-01-01.
    epoch: i64,
    /// Microseconds between two moments of the story.
    moment: i64,
    /// Whether the batch ids are days, or hours.
    dated: Option<Dated>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Dated {
    Days,
    Hours,
}

fn shape() -> impl Strategy<Value = Shape> {
    let key = prop_oneof![2 => Just(ColumnType::Text), 1 => Just(ColumnType::Int)];
    let value = prop_oneof![
        2 => Just(ColumnType::Int),
        2 => Just(ColumnType::Text),
        1 => Just(ColumnType::Float),
        1 => Just(ColumnType::Decimal),
        1 => Just(ColumnType::Bool),
    ];
    let effective = prop_oneof![2 => Just(Some(ColumnType::Date)), 2 => Just(Some(ColumnType::Timestamp)), 1 => Just(None)];
    let sequence = prop_oneof![2 => Just(ColumnType::Int), 1 => Just(ColumnType::Text), 1 => Just(ColumnType::Decimal)];
    let sequences = prop_oneof![2 => Just(Vec::new()), 1 => vec(sequence, 1..=2)];
    let role = prop_oneof![6 => Just(Role::Tracked), 2 => Just(Role::Carried), 3 => Just(Role::Type1)];
    let order = prop_oneof![1 => Just(vec![0; 8]), 1 => vec(any::<u8>(), 8)];
    let values = vec((value, role), 0..=3);
    let epoch = prop_oneof![4 => Just(19_722), 1 => Just(-3), 1 => Just(-25_567)];
    let moment = select(vec![DAY, HOUR, 1]);
    let dated = prop_oneof![6 => Just(None), 1 => Just(Some(Dated::Days)), 1 => Just(Some(Dated::Hours))];
    let columns = (vec(key, 1..=2), effective, sequences, values, prop::bool::weighted(0.4));
    (columns, order, any::<bool>(), epoch, moment, dated)
        .prop_map(|((keys, effective, sequences, values, has_mark), order, odd_names, epoch, moment, dated)| Shape {
            keys,
            effective,
            // They say an order among rows of one effective time.
            sequences: if effective.is_some() { sequences } else { Vec::new() },
            values,
            has_mark,
            order,
            odd_names,
            epoch: if dated.is_some() { 19_722 } else { epoch },
            moment: match (effective, dated) {
                // A date knows no shorter time.
                (Some(ColumnType::Date), _) | (_, Some(Dated::Days)) => DAY,
                (_, Some(Dated::Hours)) => HOUR,
                _ => moment,
            },
            dated,
        })
        // A line of a single NULL would be an empty line.
        .prop_filter("two columns", |shape| shape.keys.len() + shape.values.len() > 1 || shape.has_mark || shape.effective.is_some())
}

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

struct Table {
    shape: Shape,
    columns: Vec<Column>,
    parts: Vec<Part>,
}

impl Table {
    fn new(shape: Shape) -> Self {
        let mut parts: Vec<(Part, ColumnType, &str, &str)> = Vec::new();
        let keys = [("id", "a b"), ("part", "select")].into_iter().zip(&shape.keys).enumerate();
        parts.extend(keys.map(|(at, ((plain, odd), ty))| (Part::Key(at), *ty, plain, odd)));
        parts.extend(shape.effective.map(|ty| (Part::Effective, ty, "since", "quo\"te")));
        let values = [("city", "Ünï"), ("amount", "order"), ("note", "it's")].into_iter().zip(&shape.values).enumerate();
        parts.extend(values.map(|(at, ((plain, odd), (ty, role)))| (Part::Value { at, role: *role }, *ty, plain, odd)));
        let sequences = [("lsn", "rank"), ("step", "window")].into_iter().zip(&shape.sequences).enumerate();
        parts.extend(sequences.map(|(at, ((plain, odd), ty))| (Part::Sequence(at), *ty, plain, odd)));
        parts.extend(shape.has_mark.then_some((Part::Mark, ColumnType::Text, "op", "Mixed")));
        let mut ordered: Vec<_> = shape.order.iter().chain([&0; 9]).zip(parts).collect();
        ordered.sort_by_key(|(place, _)| **place);
        let name = |plain: &str, odd: &str| if shape.odd_names { odd } else { plain }.to_owned();
        let columns = ordered.iter().map(|(_, (_, ty, plain, odd))| Column { name: name(plain, odd), ty: *ty }).collect();
        let parts = ordered.iter().map(|(_, (part, ..))| *part).collect();
        Self { shape, columns, parts }
    }

    fn positions(&self, of: impl Fn(&Part) -> bool) -> Vec<usize> {
        (0..self.parts.len()).filter(|at| of(&self.parts[*at])).collect()
    }

    fn row(&self, picked: &PickedRow) -> Row {
        let value = |(part, column): (&Part, &Column)| match part {
            Part::Key(at) if picked.null_key && *at == picked.key.index(self.shape.keys.len()) => Value::Null,
            Part::Key(at) => {
                // Of two columns, each has a value that two keys share.
                let n = if self.shape.keys.len() == 1 { picked.key.index(3) } else { [[0, 0], [1, 0], [0, 1]][picked.key.index(3)][*at] };
                if column.ty == ColumnType::Int { Value::Int([0, 1, -1][n]) } else { Value::Text(["A", "a", "A "][n].to_owned()) }
            }
            Part::Effective | Part::Sequence(_) if picked.null_order => Value::Null,
            Part::Effective => self.effective_time(picked.moment),
            Part::Sequence(at) => sequence(column.ty, picked.sequence[*at]),
            Part::Value { at, .. } => picked.values[*at].get(&domain(column.ty)).clone(),
            Part::Mark if picked.marked => Value::Text("D".to_owned()),
            Part::Mark => picked.mark.get(&[Value::Null, Value::Text("U".to_owned()), Value::Text(String::new())]).clone(),
        };
        self.parts.iter().zip(&self.columns).map(value).collect()
    }

    fn effective_time(&self, moment: i64) -> Value {
        match self.shape.effective {
            Some(ColumnType::Date) => Value::Date(i32::try_from(self.shape.epoch + moment).unwrap()),
            _ => Value::Timestamp(self.shape.epoch * DAY + moment * self.shape.moment),
        }
    }

    /// Execution times among the effective ones, at two a moment; with dates, also late in the day.
    fn execution_time(&self, half_moments: i64, late: bool) -> i64 {
        let half = self.shape.moment / 2;
        self.shape.epoch * DAY + half_moments * half.max(1) + if late { (half - 1).max(0) } else { 0 }
    }
}

fn sequence(ty: ColumnType, n: i64) -> Value {
    match ty {
        ColumnType::Int => Value::Int(n),
        ColumnType::Decimal => Value::Decimal(i128::from(n) * 45),
        // By bytes, whatever a language says.
        ColumnType::Text | ColumnType::Bool | ColumnType::Date | ColumnType::Timestamp | ColumnType::Float => {
            Value::Text(["B", "a", "b"][usize::try_from(n).unwrap()].to_owned())
        }
    }
}

/// Few values, that are easily mixed up.
fn domain(ty: ColumnType) -> Vec<Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    match ty {
        ColumnType::Int => vec![Value::Int(1), Value::Int(2), Value::Null],
        ColumnType::Text => vec![text("x"), text(""), Value::Null],
        ColumnType::Float => vec![Value::Float(0.0), Value::Float(-0.0), Value::Float(f64::NAN)],
        ColumnType::Decimal => vec![Value::Decimal(100), Value::Decimal(-5), Value::Null],
        ColumnType::Bool => vec![Value::Bool(false), Value::Bool(true), Value::Null],
        ColumnType::Date | ColumnType::Timestamp => unreachable!("only effective times are of these types"),
    }
}

/// Options, as far as the table allows them.
#[derive(Debug, Clone)]
struct Rules {
    batch_mode: BatchMode,
    on_duplicate_key: OnDuplicateKey,
    on_null_key: OnNullKey,
    allow_empty_snapshot: bool,
    max_delete_ratio: Option<f64>,
    on_delete: OnDelete,
    snapshot_of: Option<Index>,
}

fn rules() -> impl Strategy<Value = Rules> {
    let duplicates = prop_oneof![
        2 => Just(OnDuplicateKey::Fail),
        1 => Just(OnDuplicateKey::KeepFirst),
        1 => Just(OnDuplicateKey::KeepLast),
        2 => Just(OnDuplicateKey::Park),
    ];
    let modes = prop_oneof![3 => Just(BatchMode::Snapshot), 2 => Just(BatchMode::Delta)];
    let ratio = prop_oneof![6 => Just(None), 1 => select(vec![0.0, 0.5]).prop_map(Some)];
    let on_delete = prop_oneof![4 => Just(OnDelete::Close), 1 => Just(OnDelete::Ignore)];
    let snapshot_of = prop::option::weighted(0.3, any::<Index>());
    let nulls = select(vec![OnNullKey::Fail, OnNullKey::Park]);
    (modes, duplicates, nulls, any::<bool>(), ratio, on_delete, snapshot_of).prop_map(
        |(batch_mode, on_duplicate_key, on_null_key, allow_empty_snapshot, max_delete_ratio, on_delete, snapshot_of)| Rules {
            batch_mode,
            on_duplicate_key,
            on_null_key,
            allow_empty_snapshot,
            max_delete_ratio,
            on_delete,
            snapshot_of,
        },
    )
}

impl Rules {
    fn options(self, table: &Table) -> Options {
        let first = |part: Part| table.positions(|other| *other == part).first().copied();
        let is_snapshot = self.batch_mode == BatchMode::Snapshot;
        let deletes = is_snapshot || table.shape.has_mark;
        let with_role = |role: Role| table.positions(|part| matches!(part, Part::Value { role: own, .. } if *own == role));
        // Such that few keys have each.
        let has_values = |at: &usize| matches!(table.columns[*at].ty, ColumnType::Int | ColumnType::Text);
        let of =
            table.positions(|part| matches!(part, Part::Key(_) | Part::Value { .. })).into_iter().filter(has_values).collect::<Vec<_>>();
        let snapshot_of: Vec<usize> = self.snapshot_of.filter(|_| is_snapshot).map(|picked| *picked.get(&of)).into_iter().collect();
        let tracked = with_role(Role::Tracked);
        let feed = oracle::Options {
            columns: table.columns.clone(),
            key: (0..).map_while(|at| first(Part::Key(at))).collect(),
            change_detection_columns: (!tracked.is_empty() && !with_role(Role::Carried).is_empty()).then_some(tracked),
            emit_stale: true,
            batch_mode: self.batch_mode,
            delete: first(Part::Mark).map(|column| (column, vec![Value::Text("D".to_owned())])),
            sequence: Vec::new(),
            snapshot_of: Vec::new(),
            carried_when_added: false,
            on_duplicate_key: self.on_duplicate_key,
            on_null_key: self.on_null_key,
            // What does nothing is refused.
            allow_empty_snapshot: self.allow_empty_snapshot && is_snapshot && snapshot_of.is_empty(),
            max_delete_ratio: self.max_delete_ratio.filter(|_| deletes),
            late_batches: LateBatches::Cascade,
            parks_bad: false,
        };
        Options {
            feed,
            effective: first(Part::Effective),
            sequence: (0..).map_while(|at| first(Part::Sequence(at))).collect(),
            snapshot_of,
            from_batch: table.shape.dated.is_some(),
            type1: with_role(Role::Type1),
            on_delete: if deletes { self.on_delete } else { OnDelete::Close },
        }
    }
}

/// A row, as places in the lists of what may stand in it.
#[derive(Debug, Clone)]
struct PickedRow {
    key: Index,
    null_key: bool,
    /// When it takes effect.
    moment: i64,
    sequence: Vec<i64>,
    /// Neither an effective time nor a sequence.
    null_order: bool,
    values: Vec<Index>,
    marked: bool,
    mark: Index,
}

#[derive(Debug, Clone)]
enum Content {
    Rows(Vec<PickedRow>),
    /// The batch's rows again, as they were or the other way round.
    Same {
        reversed: bool,
    },
}

#[derive(Debug, Clone)]
struct Step {
    /// Which of the batch ids it has.
    rank: usize,
    content: Content,
    /// Below this percentage, rows may contradict each other.
    tidiness: u8,
    copy: Option<Index>,
    /// Where execution times are free.
    moment: i64,
    late: bool,
    /// Below this percentage, the time does not rise with the batch id where it must.
    order: u8,
    keeps_time: bool,
    accept_guards: bool,
    first_file: Option<Index>,
    respelled: bool,
}

fn batch_ids(dated: Option<Dated>) -> [i64; 6] {
    match dated {
        None => [1, 2, 3, 5, 8, 20_240_229],
        Some(Dated::Days) => [20_231_230, 20_231_231, 20_240_101, 20_240_103, 20_240_104, 20_240_107],
        Some(Dated::Hours) => [2_023_123_023, 2_023_123_100, 2_023_123_101, 2_023_123_103, 2_023_123_104, 2_023_123_106],
    }
}

fn step() -> impl Strategy<Value = Step> {
    let nulls = (prop::bool::weighted(0.04), prop::bool::weighted(0.04));
    let marks = (prop::bool::weighted(0.2), any::<Index>());
    let picked = (any::<Index>(), nulls, 0..=6_i64, vec(0..3_i64, 2), vec(any::<Index>(), 3), marks).prop_map(
        |(key, (null_key, null_order), moment, sequence, values, (marked, mark))| PickedRow {
            key,
            null_key,
            moment,
            sequence,
            null_order,
            values,
            marked,
            mark,
        },
    );
    let content = prop_oneof![
        8 => vec(picked, 0..=6).prop_map(Content::Rows),
        1 => any::<bool>().prop_map(|reversed| Content::Same { reversed }),
    ];
    let rows = (content, 0..100_u8, prop::option::weighted(0.2, any::<Index>()));
    let time = (0..=14_i64, any::<bool>(), 0..100_u8, any::<bool>());
    let files = (prop::bool::weighted(0.1), prop::option::weighted(0.3, any::<Index>()), prop::bool::weighted(0.2));
    (0..6_usize, rows, time, files).prop_map(
        |(rank, (content, tidiness, copy), (moment, late, order, keeps_time), (accept_guards, first_file, respelled))| Step {
            rank,
            content,
            tidiness,
            copy,
            moment,
            late,
            order,
            keeps_time,
            accept_guards,
            first_file,
            respelled,
        },
    )
}

fn arrivals(table: &Table, options: &Options, steps: Vec<Step>) -> Vec<Arrival> {
    let mut known: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    let mut arrivals = Vec::new();
    let must_rise = options.effective.is_none() || options.feed.batch_mode == BatchMode::Snapshot && options.on_delete == OnDelete::Close;
    for step in steps {
        let batch_id = batch_ids(table.shape.dated)[step.rank];
        let rows = match (&step.content, known.get(&batch_id)) {
            (Content::Rows(picked), _) => rows(table, options, picked, &step),
            (Content::Same { reversed: false }, Some(rows)) => rows.clone(),
            (Content::Same { reversed: true }, Some(rows)) => rows.iter().rev().cloned().collect(),
            (Content::Same { .. }, None) => continue,
        };
        known.insert(batch_id, rows.clone());
        // Some within a day, and some days apart.
        let rank = [0, 1, 3, 5, 6, 11][step.rank];
        let moment = if must_rise && step.order >= 8 { rank } else { step.moment };
        let files = step.first_file.map_or_else(
            || vec![rows.len()],
            |first| {
                let first = first.index(rows.len() + 1);
                vec![first, rows.len() - first]
            },
        );
        let (accept_guards, respelled) = (step.accept_guards, step.respelled);
        arrivals.push(Arrival {
            batch: histories::Arrival { batch_id, rows, accept_guards, files, respelled },
            execution_date: table.execution_time(moment, step.late),
            keeps_time: step.keeps_time,
        });
    }
    arrivals
}

/// The rows of a batch in file order; those of a tidy one contradict nobody.
fn rows(table: &Table, options: &Options, picked: &[PickedRow], step: &Step) -> Vec<Row> {
    let may_contradict = step.tidiness < if options.feed.on_duplicate_key == OnDuplicateKey::Fail { 5 } else { 50 };
    let may_lack_key = step.tidiness < 5 || options.feed.on_null_key == OnNullKey::Park;
    let identity = |row: &Row| -> Row {
        options.feed.key.iter().chain(&options.effective).chain(&options.sequence).map(|column| row[*column].clone()).collect()
    };
    let mut rows: Vec<Row> = Vec::new();
    for row in picked.iter().map(|picked| table.row(picked)) {
        let lacks_key = identity(&row).contains(&Value::Null);
        if (may_lack_key || !lacks_key) && (may_contradict || !rows.iter().any(|other| identity(&row) == identity(other))) {
            rows.push(row);
        }
    }
    if let (Some(copy), false) = (step.copy, rows.is_empty()) {
        rows.push(copy.get(&rows).clone());
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::scd2::model::{Model, Outcome, Version};

    /// Versions are numbered 1 to n and follow each other; the last one alone may be open.
    fn follow(versions: &[Version]) -> bool {
        let in_order = |pair: &[Version]| pair[0].to.as_ref().is_some_and(|to| *to <= pair[1].from);
        versions
            .iter()
            .zip(1..)
            .all(|(version, number)| version.version == number && version.to.as_ref().is_none_or(|to| version.from < *to))
            && versions.windows(2).all(in_order)
    }

    #[test]
    fn versions_of_a_key_never_overlap_and_batches_are_mostly_accepted() {
        let (accepted, rejected) = (Cell::new(0), Cell::new(0));
        proptest!(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }, |(history in history())| {
            let mut model = Model::new(history.options.clone());
            for arrival in &history.arrivals {
                let date = arrival.execution_date(model.executed.contains_key(&arrival.batch.batch_id));
                match model.execute(arrival.batch.batch_id, &arrival.batch.rows, date, arrival.batch.accept_guards) {
                    Outcome::Rejected(_) => rejected.set(rejected.get() + 1),
                    Outcome::Succeeded { .. } | Outcome::Unchanged => accepted.set(accepted.get() + 1),
                }
            }
            let mut by_key: BTreeMap<Row, Vec<Version>> = BTreeMap::new();
            for version in model.versions() {
                by_key.entry(model.feed.key(&version.row)).or_default().push(version);
            }
            prop_assert!(by_key.values().all(|versions| follow(versions)), "{:#?}", by_key);
        });
        assert!(accepted > Cell::new(4 * rejected.get()), "{accepted:?} accepted, {rejected:?} rejected");
    }
}
