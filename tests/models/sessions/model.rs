//! What the tables of a sessionization flow hold: the specification once more, as plain slow loops over all batches.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::{Column, OnNullKey, Row, Value, is_bad};

/// A flow's options. Columns are named by their position in `columns`; times are in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub columns: Vec<Column>,
    pub user: usize,
    pub timestamp: usize,
    /// In the order that the flow declares. Empty: every row is an event of its own.
    pub key: Vec<usize>,
    pub session_timeout_seconds: Option<i64>,
    pub session_gap_threshold_seconds: Option<i64>,
    pub session_max_duration_seconds: Option<i64>,
    /// `None`: all but the user and the timestamp.
    pub session_columns: Option<Vec<usize>>,
    pub session_events: bool,
    pub session_id_format: IdFormat,
    pub on_null_key: OnNullKey,
    /// Rows that do not fit are set aside; else there are none.
    pub parks_bad: bool,
}

/// What follows the user in a session's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdFormat {
    /// Its number among the user's sessions, from 1.
    Number,
    /// Its start, in microseconds since 1970.
    Start,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The batch is in.
    Succeeded,
    /// A replay with the same content.
    Unchanged,
    /// NULL in a column that must not have it.
    Rejected,
}

/// A flow and the batches it has accepted. Its tables are worked out when asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub options: Options,
    pub batches: BTreeMap<i64, Batch>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The rows of each file, in order.
    pub files: Vec<Vec<Row>>,
    /// The recorded execution time, in microseconds since 1970.
    pub processed_at: i64,
}

/// A dataset's rows; they have no order.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// A landed row and where it was read.
struct Landed<'a> {
    row: &'a Row,
    batch_id: i64,
    /// In its file, from 1.
    row_number: i64,
}

/// Events of one user, never none, each as near to the one before as the limits want.
struct Session<'a> {
    id: String,
    events: Vec<&'a Landed<'a>>,
}

const MICROS: i64 = 1_000_000;

impl Options {
    pub fn parks(&self) -> bool {
        self.on_null_key == OnNullKey::Park
    }

    /// The greatest distance to the event before, in microseconds.
    pub fn limit(&self) -> i64 {
        let both = [self.session_timeout_seconds, self.session_gap_threshold_seconds];
        both.into_iter().flatten().min().unwrap_or(1800) * MICROS
    }

    /// The greatest distance to the session's start, in microseconds.
    pub fn max_duration(&self) -> Option<i64> {
        self.session_max_duration_seconds.map(|seconds| seconds * MICROS)
    }

    /// The columns that a session has the first and the last value of.
    fn carried(&self) -> Vec<usize> {
        let others = (0..self.columns.len()).filter(|column| ![self.user, self.timestamp].contains(column));
        self.session_columns.clone().unwrap_or_else(|| others.collect())
    }
}

impl Model {
    pub fn new(options: Options) -> Self {
        Self { options, batches: BTreeMap::new() }
    }

    /// Executes a batch; one that is rejected leaves everything as it was. Without an execution time, a known batch keeps its own.
    pub fn execute(&mut self, batch_id: i64, files: Vec<Vec<Row>>, execution_date: Option<i64>) -> Outcome {
        if !self.options.parks() && files.iter().flatten().any(|row| !is_bad(row) && self.has_null_key(row)) {
            return Outcome::Rejected;
        }
        let known = self.batches.get(&batch_id);
        if known.is_some_and(|known| is_same_content(&known.files, &files)) {
            return Outcome::Unchanged;
        }
        let processed_at = execution_date.or(known.map(|known| known.processed_at)).expect("a first run is given its execution time");
        self.batches.insert(batch_id, Batch { files, processed_at });
        Outcome::Succeeded
    }

    /// Every dataset that the flow has, by the ending of its name.
    pub fn tables(&self) -> BTreeMap<&'static str, Table> {
        let landed = self.landed();
        let events = self.events(&landed);
        let sessions = self.sessions(&events);
        let mut tables = BTreeMap::from([("landing", self.landing(&landed)), ("sessions", self.session_table(&sessions))]);
        if self.options.session_events {
            tables.insert("session_events", self.session_events(&sessions));
        }
        if self.options.parks() || self.options.parks_bad {
            tables.insert("parked", self.parked(&landed));
        }
        tables
    }

    /// All landed rows by batch id, then in file order.
    fn landed(&self) -> Vec<Landed<'_>> {
        let mut landed = Vec::new();
        for (batch_id, batch) in &self.batches {
            for file in &batch.files {
                landed.extend((1..).zip(file).map(|(row_number, row)| Landed { row, batch_id: *batch_id, row_number }));
            }
        }
        landed
    }

    /// The rows that count: those that have what they need, and of each key the first.
    fn events<'a>(&self, landed: &'a [Landed<'a>]) -> Vec<&'a Landed<'a>> {
        let mut seen = BTreeSet::new();
        let whole = landed.iter().filter(|landed| !is_bad(landed.row) && !self.has_null_key(landed.row));
        whole.filter(|landed| self.options.key.is_empty() || seen.insert(self.key(landed.row))).collect()
    }

    /// All sessions, user by user, each in the order of its events.
    fn sessions<'a>(&self, events: &[&'a Landed<'a>]) -> Vec<Session<'a>> {
        let user = |event: &Landed<'_>| event.row[self.options.user].clone();
        let users: BTreeSet<Value> = events.iter().map(|event| user(event)).collect();
        let mut sessions = Vec::new();
        for owner in users {
            let mut own: Vec<&Landed<'_>> = events.iter().copied().filter(|event| user(event) == owner).collect();
            // Events that are equal here stay as they are: by batch, then in file order.
            own.sort_by_key(|event| (self.time(event), self.key(event.row)));
            let mut groups: Vec<Vec<&Landed<'_>>> = Vec::new();
            for event in own {
                match groups.last_mut() {
                    Some(group) if self.stays(group, event) => group.push(event),
                    _ => groups.push(vec![event]),
                }
            }
            for (number, events) in (1..).zip(groups) {
                let ending = match self.options.session_id_format {
                    IdFormat::Number => number,
                    IdFormat::Start => self.time(events[0]),
                };
                sessions.push(Session { id: format!("{}_{ending}", owner.text()), events });
            }
        }
        sessions
    }

    /// Whether an event belongs to the session of the events before it.
    fn stays(&self, session: &[&Landed<'_>], event: &Landed<'_>) -> bool {
        let (start, previous, now) = (self.time(session[0]), self.time(session[session.len() - 1]), self.time(event));
        now - previous <= self.options.limit() && self.options.max_duration().is_none_or(|most| now - start <= most)
    }

    fn session_table(&self, sessions: &[Session<'_>]) -> Table {
        let name = |column: usize| &self.options.columns[column].name;
        let carried = self.options.carried();
        let mut columns = vec!["session_id".to_owned(), name(self.options.user).clone()];
        columns.extend(["start_time", "end_time", "duration_seconds", "event_count"].map(str::to_owned));
        columns.extend(carried.iter().flat_map(|column| [format!("first_{}", name(*column)), format!("last_{}", name(*column))]));
        columns.extend(["xt_batch_id", "xt_processed_at"].map(str::to_owned));
        let row = |session: &Session<'_>| {
            let (first, last) = (session.events[0], session.events[session.events.len() - 1]);
            let (start, end) = (self.time(first), self.time(last));
            let mut row = vec![Value::Text(session.id.clone()), first.row[self.options.user].clone()];
            row.extend([Value::Timestamp(start), Value::Timestamp(end), Value::Float((end - start) as f64 / MICROS as f64)]);
            row.push(Value::Int(session.events.len() as i64));
            row.extend(carried.iter().flat_map(|column| [first.row[*column].clone(), last.row[*column].clone()]));
            let latest = session.events.iter().map(|event| event.batch_id).max().expect("a session has events");
            row.extend(self.batch_values(latest));
            row
        };
        Table { columns, rows: sessions.iter().map(row).collect() }
    }

    /// One row per event, with the batch that brought it.
    fn session_events(&self, sessions: &[Session<'_>]) -> Table {
        let mut rows = Vec::new();
        for session in sessions {
            for event in &session.events {
                let own = [Value::Text(session.id.clone())].into_iter().chain(self.batch_values(event.batch_id));
                rows.push(event.row.iter().cloned().chain(own).collect());
            }
        }
        Table { columns: self.columns(&["session_id", "xt_batch_id", "xt_processed_at"]), rows }
    }

    /// The rows without a user, a timestamp or a key.
    fn parked(&self, landed: &[Landed<'_>]) -> Table {
        let row = |landed: &Landed<'_>| {
            let reason = if is_bad(landed.row) { "bad_row" } else { "null_key" };
            let place = [Value::Text(reason.to_owned()), Value::Int(landed.row_number)];
            landed.row.iter().cloned().chain(place).chain(self.batch_values(landed.batch_id)).collect()
        };
        let columns = self.columns(&["xt_parked_reason", "xt_row_number", "xt_batch_id", "xt_processed_at"]);
        Table { columns, rows: landed.iter().filter(|landed| is_bad(landed.row) || self.has_null_key(landed.row)).map(row).collect() }
    }

    fn landing(&self, landed: &[Landed<'_>]) -> Table {
        let row =
            |landed: &Landed<'_>| landed.row.iter().cloned().chain([Value::Int(landed.row_number), Value::Int(landed.batch_id)]).collect();
        Table { columns: self.columns(&["xt_row_number", "xt_batch_id"]), rows: landed.iter().map(row).collect() }
    }

    /// The input columns, then `more`.
    fn columns(&self, more: &[&str]) -> Vec<String> {
        self.options.columns.iter().map(|column| column.name.as_str()).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// `xt_batch_id` and `xt_processed_at` of what a batch caused.
    fn batch_values(&self, batch_id: i64) -> [Value; 2] {
        [Value::Int(batch_id), Value::Timestamp(self.batches[&batch_id].processed_at)]
    }

    /// Microseconds since 1970.
    fn time(&self, event: &Landed<'_>) -> i64 {
        let Value::Timestamp(micros) = event.row[self.options.timestamp] else { panic!("an event without a time: {:?}", event.row) };
        micros
    }

    fn key(&self, row: &Row) -> Row {
        self.options.key.iter().map(|column| row[*column].clone()).collect()
    }

    fn has_null_key(&self, row: &Row) -> bool {
        let needed = [self.options.user, self.options.timestamp];
        needed.iter().chain(&self.options.key).any(|column| row[*column] == Value::Null)
    }
}

/// The same rows in the same order, which says which row of a key counts and which of two events of one time is the first;
/// how they are split into files does not count.
fn is_same_content(known: &[Vec<Row>], files: &[Vec<Row>]) -> bool {
    known.concat() == files.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::ColumnType;

    fn options() -> Options {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty };
        Options {
            columns: vec![
                column("event_id", ColumnType::Text),
                column("user_id", ColumnType::Text),
                column("timestamp", ColumnType::Timestamp),
                column("page", ColumnType::Text),
            ],
            user: 1,
            timestamp: 2,
            key: vec![0],
            session_timeout_seconds: Some(1800),
            session_gap_threshold_seconds: None,
            session_max_duration_seconds: None,
            session_columns: None,
            session_events: false,
            session_id_format: IdFormat::Number,
            on_null_key: OnNullKey::Fail,
            parks_bad: false,
        }
    }

    /// Microseconds of `10:30:00`, `0:10:00.000001` or, on the next day, `24:10:00`.
    fn micros(text: &str) -> i64 {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let seconds = whole.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap());
        seconds * MICROS + fraction.parse::<i64>().unwrap()
    }

    /// Rows such as `e1 u1 10:00:00 home, e2 u1 ∅ home`; the page may be left out.
    fn rows(text: &str) -> Vec<Row> {
        let text_of = |word: Option<&str>| word.filter(|word| *word != "∅").map_or(Value::Null, |word| Value::Text(word.to_owned()));
        let row = |row: &str| {
            let mut words = row.split_whitespace();
            let (key, user, time, page) = (words.next(), words.next(), words.next(), words.next());
            let time = time.filter(|time| *time != "∅").map_or(Value::Null, |time| Value::Timestamp(micros(time)));
            vec![text_of(key), text_of(user), time, text_of(page)]
        };
        text.split(',').filter(|row| !row.trim().is_empty()).map(row).collect()
    }

    fn flow(options: Options, batches: &[(i64, &str)]) -> Model {
        let mut model = Model::new(options);
        for (batch_id, text) in batches {
            assert_eq!(model.execute(*batch_id, vec![rows(text)], Some(*batch_id)), Outcome::Succeeded);
        }
        model
    }

    /// Lines such as `u1_1 10:00:00.000000–10:30:00.000000 2 b1`: id, start, end, events, batch.
    fn lines(model: &Model) -> Vec<String> {
        let time = |value: &Value| value.text()[11..26].trim_end_matches('0').trim_end_matches('.').to_owned();
        let line = |row: &Row| {
            let batch = &row[row.len() - 2];
            format!("{} {}–{} {} b{}", row[0].text(), time(&row[2]), time(&row[3]), row[5].text(), batch.text())
        };
        model.tables()["sessions"].rows.iter().map(line).collect()
    }

    /// The values of one column of a table.
    fn column(model: &Model, table: &str, name: &str) -> Vec<String> {
        let table = &model.tables()[table];
        let at = table.columns.iter().position(|column| column == name).unwrap();
        table.rows.iter().map(|row| if row[at] == Value::Null { "∅".to_owned() } else { row[at].text() }).collect()
    }

    const BATCH_1: &str = "e1 u1 10:00:00, e2 u1 10:30:00, e3 u1 11:00:01, e4 u1 11:00:01, e5 u2 23:50:00";
    const BATCH_2: &str = "e6 u2 24:10:00, e7 u1 10:45:00, e8 u1 12:00:00, e1 u1 10:00:00";
    const BATCH_3: &str = "e9 u1 9:00:00";

    #[test]
    fn worked_example() {
        let mut model = flow(options(), &[(1, BATCH_1)]);
        let first = ["u1_1 10:00:00–10:30:00 2 b1", "u1_2 11:00:01–11:00:01 2 b1", "u2_1 23:50:00–23:50:00 1 b1"];
        assert_eq!(lines(&model), first);
        model.execute(2, vec![rows(BATCH_2)], Some(2));
        assert_eq!(lines(&model), ["u1_1 10:00:00–11:00:01 5 b2", "u1_2 12:00:00–12:00:00 1 b2", "u2_1 23:50:00–00:10:00 2 b2"]);
        model.execute(3, vec![rows(BATCH_3)], Some(3));
        let all =
            ["u1_1 09:00:00–09:00:00 1 b3", "u1_2 10:00:00–11:00:01 5 b2", "u1_3 12:00:00–12:00:00 1 b2", "u2_1 23:50:00–00:10:00 2 b2"];
        assert_eq!(lines(&model), all);
        assert_eq!(column(&model, "sessions", "duration_seconds"), ["0", "3601", "0", "1200"]);
        assert_eq!(lines(&flow(options(), &[(3, BATCH_3), (2, BATCH_2), (1, BATCH_1)])), all);
    }

    #[test]
    fn worked_example_with_a_gap_of_600_seconds() {
        let options = Options { session_gap_threshold_seconds: Some(600), session_events: true, ..options() };
        let model = flow(options, &[(1, BATCH_1), (2, BATCH_2), (3, BATCH_3)]);
        let events = column(&model, "session_events", "event_id").into_iter().zip(column(&model, "session_events", "session_id"));
        let events: Vec<String> = events.map(|(event, session)| format!("{event} {session}")).collect();
        assert_eq!(events, ["e9 u1_1", "e1 u1_2", "e2 u1_3", "e7 u1_4", "e3 u1_5", "e4 u1_5", "e8 u1_6", "e5 u2_1", "e6 u2_2"]);
        assert_eq!(column(&model, "session_events", "xt_batch_id"), ["3", "1", "1", "2", "1", "1", "2", "1", "2"]);
    }

    #[test]
    fn limits_hold_to_the_microsecond() {
        let check = |timeout, max, text: &str, expected: &[&str]| {
            let options = Options { session_timeout_seconds: timeout, session_max_duration_seconds: max, ..options() };
            let model = flow(options, &[(1, text)]);
            assert_eq!(column(&model, "sessions", "event_count"), expected, "{text}");
        };
        check(Some(10), None, "a u 0:00:00, b u 0:00:10.000000", &["2"]);
        check(Some(10), None, "a u 0:00:00, b u 0:00:10.000001", &["1", "1"]);
        check(None, None, "a u 0:00:00, b u 0:30:00, c u 1:00:00.000001", &["2", "1"]);
        // The maximum counts from the start of the session, not of what was one without it.
        check(
            Some(10),
            Some(15),
            "a u 0:00:00, b u 0:00:10, c u 0:00:15, d u 0:00:15.000001, e u 0:00:25, f u 0:00:30.000002",
            &["3", "2", "1"],
        );
        check(Some(10), Some(1), "a u 0:00:00, b u 0:00:01, c u 0:00:02", &["2", "1"]);
    }

    #[test]
    fn the_smaller_limit_wins() {
        let limit =
            |timeout, gap| Options { session_timeout_seconds: timeout, session_gap_threshold_seconds: gap, ..options() }.limit() / MICROS;
        assert_eq!([limit(Some(5), Some(7)), limit(Some(7), Some(5)), limit(None, Some(9_000)), limit(None, None)], [5, 5, 9_000, 1800]);
    }

    #[test]
    fn the_first_occurrence_of_an_event_counts() {
        // `a` is of u2 until the batch before it is there.
        let mut model = flow(options(), &[(2, "a u2 5:00:00 late, a u2 5:00:00 again, b u2 6:00:00 x")]);
        assert_eq!(column(&model, "sessions", "first_page"), ["late", "x"]);
        model.execute(1, vec![rows("a u1 4:00:00 early")], Some(1));
        assert_eq!(lines(&model), ["u1_1 04:00:00–04:00:00 1 b1", "u2_1 06:00:00–06:00:00 1 b2"]);
        model.execute(1, vec![Vec::new()], Some(1));
        assert_eq!(lines(&model), ["u2_1 05:00:00–05:00:00 1 b2", "u2_2 06:00:00–06:00:00 1 b2"]);
        let every_row = flow(Options { key: Vec::new(), ..options() }, &[(1, "a u 0:00:00, a u 0:00:00"), (2, "a u 0:00:00")]);
        assert_eq!(lines(&every_row), ["u_1 00:00:00–00:00:00 3 b2"]);
    }

    #[test]
    fn first_and_last_values_are_those_of_the_first_and_last_event() {
        let check = |key: Vec<usize>, batches: &[(i64, &str)], first: &str, last: &str| {
            let model = flow(Options { key, ..options() }, batches);
            assert_eq!(
                (column(&model, "sessions", "first_page"), column(&model, "sessions", "last_page")),
                (vec![first.into()], vec![last.into()])
            );
        };
        check(vec![0], &[(1, "a u 0:00:00 ∅, b u 0:00:01 x, c u 0:00:02 ∅")], "∅", "∅");
        // Ties: the key, else the batch, then the place in it.
        check(vec![0], &[(1, "e2 u 0:00:00 x, e10 u 0:00:00 y"), (2, "E3 u 0:00:00 z")], "z", "x");
        check(vec![], &[(2, "e2 u 0:00:00 x, e10 u 0:00:00 y"), (1, "e3 u 0:00:00 z, e3 u 0:00:00 w")], "z", "y");
    }

    #[test]
    fn ids_may_tell_the_start() {
        let model = flow(Options { session_id_format: IdFormat::Start, ..options() }, &[(1, "a u_1 0:00:00.000007, b u_1 2:00:00")]);
        assert_eq!(column(&model, "sessions", "session_id"), ["u_1_7", "u_1_7200000000"]);
    }

    #[test]
    fn rows_without_a_user_a_time_or_a_key_are_refused_or_parked() {
        let mut model = Model::new(options());
        for batch in ["a ∅ 0:00:00", "a u ∅", "∅ u 0:00:00"] {
            assert_eq!(model.execute(1, vec![rows(batch)], Some(1)), Outcome::Rejected);
            assert!(model.batches.is_empty());
        }
        // A parked row is no event: the next row of its key is the first.
        let parked =
            flow(Options { on_null_key: OnNullKey::Park, ..options() }, &[(1, "a u ∅, b u 0:00:00, ∅ u 0:00:00"), (2, "a u 0:00:00")]);
        assert_eq!(lines(&parked), ["u_1 00:00:00–00:00:00 2 b2"]);
        assert_eq!(column(&parked, "parked", "xt_row_number"), ["1", "3"]);
        assert_eq!(column(&parked, "parked", "xt_parked_reason"), ["null_key", "null_key"]);
        assert_eq!(column(&parked, "landing", "xt_row_number"), ["1", "2", "3", "1"]);
    }

    #[test]
    fn rows_in_another_order_are_other_content() {
        let mut model = flow(options(), &[(1, "a u1 0:00:00 first, a u2 0:00:00 second")]);
        assert_eq!(model.execute(1, vec![rows("a u2 0:00:00 second, a u1 0:00:00 first")], Some(2)), Outcome::Succeeded);
        assert_eq!(lines(&model), ["u2_1 00:00:00–00:00:00 1 b1"]);
    }

    #[test]
    fn a_replay_with_other_content_replaces_its_batch() {
        let mut model = flow(options(), &[(1, BATCH_1), (2, BATCH_2)]);
        let again = rows(BATCH_2);
        let before = model.clone();
        assert_eq!(model.execute(2, vec![again[..2].to_vec(), again[2..].to_vec()], Some(9)), Outcome::Unchanged);
        assert_eq!(model, before);
        // Without e7 the session falls apart, and its parts are of the first batch again.
        assert_eq!(model.execute(2, vec![rows("e6 u2 24:10:00")], None), Outcome::Succeeded);
        assert_eq!(lines(&model), ["u1_1 10:00:00–10:30:00 2 b1", "u1_2 11:00:01–11:00:01 2 b1", "u2_1 23:50:00–00:10:00 2 b2"]);
        assert_eq!(column(&model, "sessions", "xt_processed_at")[2], Value::Timestamp(2).text());
        model.execute(2, vec![rows("e6 u2 24:10:01")], Some(7));
        assert_eq!(column(&model, "sessions", "xt_processed_at")[2], Value::Timestamp(7).text());
    }
}
