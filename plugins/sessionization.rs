//! Splits each user's events into sessions wherever the silence between two events is too long.

use qetl_core::{
    Dataset, DatasetName, Flow, FlowType, Problems, Schema, Task, Type,
    decode::Sp,
    ir::{Expr, Function, JoinKind, Rel, RelError, Sessionize, Sessions, Steps, Value},
    plan::{Check, Dag, DagNode, DatasetKind, Expand, InputType, Invariant, Known, ReplaceKeys, WriteMode},
    problem::{Problem, Span},
    register_flow_type,
    registry::BatchRules,
    schema::{Column, refuse_column_name},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::events::{self, Events, Named};

mod invariants;

/// `[properties]` of a sessionization flow.
#[derive(Debug, Deserialize, JsonSchema)]
struct Sessionization {
    /// The column that says whose event it is; `user_id` without it.
    user_id_field: Option<Sp<String>>,
    /// The same as `user_id_field`.
    user_id_column: Option<Sp<String>>,
    /// The column that says when an event happened, a timestamp; `timestamp` without it.
    timestamp_field: Option<Sp<String>>,
    /// The same as `timestamp_field`.
    timestamp_column: Option<Sp<String>>,
    /// The greatest distance to the user's previous event within a session, in seconds; 1800 when neither this nor
    /// `session_gap_threshold_seconds` is given. The smaller of the two wins.
    #[schemars(extend("exclusiveMinimum" = 0))]
    session_timeout_seconds: Option<Sp<f64>>,
    /// The same limit under another name; the smaller wins.
    #[schemars(extend("exclusiveMinimum" = 0))]
    session_gap_threshold_seconds: Option<Sp<f64>>,
    /// An event later than this, in seconds, after its session's start begins a new one.
    #[schemars(extend("exclusiveMinimum" = 0))]
    session_max_duration_seconds: Option<Sp<f64>>,
    /// The columns of which a session has the first and the last value; all but user and time without it.
    session_columns: Option<Vec<Sp<String>>>,
    /// Whether there is a dataset of the events, each with its session.
    #[serde(default)]
    session_events: bool,
    /// What follows the user in a session's id.
    #[serde(default)]
    session_id_format: IdFormat,
}

/// What follows the user in a session's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum IdFormat {
    /// The session's number among the user's, from 1, in the order of time.
    #[default]
    Number,
    /// The session's start, in microseconds since 1970.
    Start,
}

const MICROS: i64 = 1_000_000;

/// When the flow does not say, a session ends after half an hour of silence.
const DEFAULT_GAP: i64 = 1800 * MICROS;

/// What a session has beside its user and the columns that it carries.
const SESSION_COLUMNS: [(&str, Type); 5] = [
    ("session_id", Type::Text),
    ("start_time", Type::Timestamp),
    ("end_time", Type::Timestamp),
    ("duration_seconds", Type::Float),
    ("event_count", Type::Int),
];

const BATCH_COLUMNS: [(&str, Type); 2] = [("xt_batch_id", Type::Int), ("xt_processed_at", Type::Timestamp)];

impl FlowType for Sessionization {
    const NAME: &'static str = "sessionization";
    const SUMMARY: &'static str = "each user's events, cut into sessions where the silence between two is too long";
    const INPUT_KEYS: &'static [&'static str] = &["primary_key", "on_null_key"];

    fn problems(&self, flow: &Flow) -> Problems {
        let mut problems = self.user().problems(flow);
        problems.append(self.time().problems(flow));
        if self.user().name() == self.time().name() {
            let what = format!("`{}` is both the user and the time of an event", self.user().name());
            problems.push(Problem::new("qetl::decode::two_roles", self.time().span(flow), what).help("name two columns"));
        }
        for (key, seconds) in self.limits() {
            if let Some(Err(problem)) = seconds.map(|seconds| micros(key, seconds)) {
                problems.push(problem);
            }
        }
        for (index, column) in self.session_columns.iter().flatten().enumerate() {
            flow.input.check_column(column, "session_columns", &mut problems);
            if self.session_columns.iter().flatten().take(index).any(|other| other.value == column.value) {
                let what = format!("`{}` stands twice in `session_columns`", column.value);
                problems.push(Problem::new("qetl::decode::duplicate_column", column.span, what).label("here again"));
            }
            let role = [(self.user(), "the user"), (self.time(), "the time")].into_iter().find(|(named, _)| named.name() == column.value);
            if let Some((_, role)) = role {
                let what = format!("`{}` is {role} of an event, which every session has already", column.value);
                problems.push(Problem::new("qetl::decode::two_roles", column.span, what).help("take it out of `session_columns`"));
            }
        }
        problems.append(self.name_problems(flow));
        problems.0.extend(events::nothing_to_read(flow, "sessions are made of events that were loaded"));
        problems
    }

    /// Every table is made from all events, whatever batch they came in. Row order decides which of two rows of one key
    /// counts, and which of two events of one time is the first.
    fn batches(&self, _flow: &Flow) -> BatchRules {
        BatchRules { build_on_earlier: false, row_order_counts: true, ..BatchRules::default() }
    }

    fn key_columns(&self, flow: &Flow) -> Vec<String> {
        events::needed_columns(flow, self.user().name(), self.time().name())
    }

    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems> {
        self.in_context(cx, |work| {
            let derived = |name: &DatasetName, schema: Schema, about: &str| Dataset {
                name: name.clone(),
                schema,
                kind: DatasetKind::Derived,
                about: about.to_owned(),
            };
            let mut datasets = vec![work.cx.landing()?];
            datasets.extend(work.all_columns()?.parked_dataset(work.cx)?);
            datasets.push(derived(&work.sessions, work.session_schema()?, "the sessions of each user, over all events"));
            if let Some(events) = &work.events {
                datasets.push(derived(events, work.event_schema()?, "the events, each with its session"));
            }
            Ok(datasets)
        })
    }

    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems> {
        let landing = cx.dataset("landing");
        let others = self.datasets(cx)?.into_iter().map(|dataset| dataset.name).filter(|name| *name != landing);
        let derived = others.map(|dataset| DagNode { dataset, from: vec![landing.clone()] });
        Ok(Dag(std::iter::once(DagNode { dataset: landing.clone(), from: Vec::new() }).chain(derived).collect()))
    }

    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems> {
        self.in_context(cx, |work| {
            let all_columns = work.all_columns()?;
            let mut tasks: Vec<Task> = all_columns.parked_task(work.cx)?.into_iter().collect();
            let narrow = Events::of(work.cx, work.user, work.time, &work.carried)?;
            let checks = narrow.checks()?;
            tasks.push(work.task(&work.sessions, &narrow, checks, |events| work.sessions_of(events))?);
            if let Some(target) = &work.events {
                tasks.push(work.task(target, &all_columns, Vec::new(), |events| work.events_of(events))?);
            }
            Ok(tasks)
        })
    }

    fn invariants(&self, cx: &Expand<'_>) -> Result<Vec<Invariant>, Problems> {
        self.in_context(cx, invariants::of)
    }
}

impl Sessionization {
    fn user(&self) -> Named<'_> {
        let given = [self.user_id_field.as_ref(), self.user_id_column.as_ref()];
        Named { keys: ["user_id_field", "user_id_column"], given, default: "user_id" }
    }

    fn time(&self) -> Named<'_> {
        let given = [self.timestamp_field.as_ref(), self.timestamp_column.as_ref()];
        Named { keys: ["timestamp_field", "timestamp_column"], given, default: "timestamp" }
    }

    fn limits(&self) -> [(&'static str, Option<&Sp<f64>>); 3] {
        [
            ("session_timeout_seconds", self.session_timeout_seconds.as_ref()),
            ("session_gap_threshold_seconds", self.session_gap_threshold_seconds.as_ref()),
            ("session_max_duration_seconds", self.session_max_duration_seconds.as_ref()),
        ]
    }

    /// The greatest distance to the event before, and to the session's start; in microseconds.
    fn gap_and_longest(&self) -> (i64, Option<i64>) {
        let [timeout, gap, longest] = self.limits().map(|(key, seconds)| seconds.and_then(|seconds| micros(key, seconds).ok()));
        (timeout.into_iter().chain(gap).min().unwrap_or(DEFAULT_GAP), longest)
    }

    /// The columns that a session has the first and the last value of.
    fn carried(&self, flow: &Flow) -> Vec<String> {
        let (user, time) = (self.user().name(), self.time().name());
        match &self.session_columns {
            Some(columns) => columns.iter().map(|column| column.value.clone()).collect(),
            None => flow.input.column_names().filter(|name| *name != user && *name != time).map(str::to_owned).collect(),
        }
    }

    /// Names that would stand twice in a table, and carried columns whose two names would be too long.
    fn name_problems(&self, flow: &Flow) -> Problems {
        let mut problems = Problems::default();
        let user = self.user().name();
        let is_user = |name: &str| name.eq_ignore_ascii_case(user);
        let clash = |what: String| {
            Problem::new("qetl::decode::column_name", self.user().span(flow), what).help("give the column another name in the source")
        };
        if SESSION_COLUMNS.iter().any(|(name, _)| is_user(name)) {
            problems.push(clash(format!("the user column `{user}` has the name of a column that every session has")));
        }
        let place = |name: &str| {
            let given = self.session_columns.iter().flatten().find(|column| column.value == name).map(|column| column.span);
            given.or_else(|| flow.input.columns.iter().find(|column| *column.name == *name).map(|column| column.name.span))
        };
        for name in self.carried(flow) {
            let both = ["first", "last"].map(|end| format!("{end}_{name}"));
            if let Some(twice) = both.iter().find(|both| is_user(both)) {
                problems.push(clash(format!("the user column `{user}` has the name of `{twice}`, the value of `{name}` in a session")));
            }
            if refuse_column_name(&name).is_none() && both.iter().any(|both| refuse_column_name(both).is_some()) {
                let what = format!("`{name}` is too long a name for `first_{name}`: a column name has at most 63 bytes");
                let help = "leave it out of `session_columns`, or give it a shorter name in the source";
                problems.push(Problem::new("qetl::decode::column_name", place(&name).unwrap_or_default(), what).help(help));
            }
        }
        let session_id = flow.input.columns.iter().find(|column| column.name.eq_ignore_ascii_case("session_id"));
        if let Some(column) = session_id.filter(|column| self.session_events && !is_user(&column.name)) {
            let what = "`session_events` adds a column `session_id`, which the input has already".to_owned();
            let help = "give the column another name in the source, or remove `session_events`";
            problems.push(Problem::new("qetl::decode::column_name", column.name.span, what).help(help));
        }
        problems
    }

    /// Does something with the flow's names, columns and limits, once the time is known to be a timestamp.
    fn in_context<T>(&self, cx: &Expand<'_>, with: impl FnOnce(&Work<'_>) -> Result<T, Problems>) -> Result<T, Problems> {
        let input = events::presume_timestamp(cx.input, self.time().name());
        let cx = Expand { flow: cx.flow, input: &input };
        let time = self.time().name();
        if let Some(column) = input.iter().find(|column| column.name == time && column.ty != Type::Timestamp) {
            return Err(not_a_timestamp(column, self.time().span(cx.flow)).into());
        }
        let (gap, longest) = self.gap_and_longest();
        with(&Work {
            cx: &cx,
            user: self.user().name(),
            time,
            carried: self.carried(cx.flow),
            gap,
            longest,
            ids: self.session_id_format,
            sessions: cx.dataset("sessions"),
            events: self.session_events.then(|| cx.dataset("session_events")),
        })
    }
}

fn not_a_timestamp(column: &InputType, span: Span) -> Problem {
    let InputType { name, ty, known, .. } = column;
    let (verb, help) = match known {
        Known::Declared => ("is", format!("declare it as `{{ name = \"{name}\", schema_type = \"timestamp\" }}`")),
        Known::Pinned | Known::Inferred | Known::Presumed => {
            let how = "and say how its values are written with `timestamp_format` in `[properties.load]`";
            ("was inferred to be", format!("declare it as `{{ name = \"{name}\", schema_type = \"timestamp\" }}`, {how}"))
        }
    };
    let what = format!("`{name}`, the time of an event, {verb} of type {ty}");
    Problem::new("qetl::expand::timestamp", span, what).label("must be a timestamp").help(help)
}

/// Seconds in microseconds.
fn micros(key: &str, seconds: &Sp<f64>) -> Result<i64, Problem> {
    // The shortest text that is the number again: its digits are those that were written.
    let text = seconds.value.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let problem = |what: &str| Problem::new("qetl::decode::range", seconds.span, format!("`{key}` is {what}"));
    if fraction.len() > 6 {
        return Err(problem("finer than a microsecond").label("at most six decimals"));
    }
    let whole = if seconds.value > 0.0 { whole } else { "" };
    let micros =
        whole.parse::<i64>().ok().and_then(|whole| whole.checked_mul(MICROS)?.checked_add(format!("{fraction:0<6}").parse().ok()?));
    micros.filter(|micros| *micros > 0).ok_or_else(|| problem("out of range").label("must be greater than 0, and a duration"))
}

/// A flow, resolved: names, columns, limits.
struct Work<'a> {
    cx: &'a Expand<'a>,
    user: &'a str,
    time: &'a str,
    carried: Vec<String>,
    /// Microseconds, as `longest` is.
    gap: i64,
    longest: Option<i64>,
    ids: IdFormat,
    sessions: DatasetName,
    /// Only with `session_events`.
    events: Option<DatasetName>,
}

impl Work<'_> {
    fn ty(&self, name: &str) -> Type {
        self.cx.input.iter().find(|column| column.name == name).map_or(Type::Text, |column| column.ty)
    }

    fn all_columns(&self) -> Result<Events, Problems> {
        let columns: Vec<String> = self.cx.flow.input.column_names().map(str::to_owned).collect();
        Events::of(self.cx, self.user, self.time, &columns)
    }

    fn session_schema(&self) -> Result<Schema, Problems> {
        let column = |(name, ty): &(&str, Type)| Column::new(name, *ty);
        let [id, rest @ ..] = &SESSION_COLUMNS;
        let mut columns = vec![column(id), Column::new(self.user, self.ty(self.user))];
        columns.extend(rest.iter().map(column));
        for name in &self.carried {
            columns.extend(["first", "last"].map(|end| Column::new(&format!("{end}_{name}"), self.ty(name))));
        }
        columns.extend(BATCH_COLUMNS.iter().map(column));
        Schema::new(columns).map_err(|name| RelError::Twice(name).into())
    }

    fn event_schema(&self) -> Result<Schema, Problems> {
        let [id, ..] = SESSION_COLUMNS;
        self.cx.schema(&[[id].as_slice(), &BATCH_COLUMNS].concat())
    }

    /// A task that derives `rows` of the events of the users that a batch touches.
    fn task(
        &self,
        target: &DatasetName,
        events: &Events,
        checks: Vec<Check>,
        rows: impl Fn(Rel) -> Result<Rel, RelError>,
    ) -> Result<Task, Problems> {
        let name = if *target == self.sessions { "sessions" } else { "session_events" };
        let mut steps = Steps::default();
        let touched = events.touched(&mut steps)?;
        let theirs = events.of_touched(&mut steps, &touched)?;
        let theirs = steps.add("events", theirs);
        steps.add(name, rows(theirs)?);
        let mut whole = Steps::default();
        let all = events.all(&mut whole)?;
        let all = whole.add("events", all);
        whole.add(name, rows(all)?);
        let replaced = ReplaceKeys { keys: vec![self.user.to_owned()], touched: "touched".to_owned(), whole };
        Ok(Task { target: target.clone(), steps, write_mode: WriteMode::ReplaceKeys(Box::new(replaced)), count_by: None, checks })
    }

    fn sessionize(&self, events: Rel, give: Sessions) -> Result<Rel, RelError> {
        let keys = self.cx.flow.input.key_names();
        // No two events have one key, so that nothing else need order them.
        let order = if keys.is_empty() { events::arrival().to_vec() } else { keys.iter().map(|key| Expr::column(key)).collect() };
        let (user, time) = (self.user.to_owned(), self.time.to_owned());
        Rel::sessionize(Sessionize { input: events, user, time, order, gap: self.gap, longest: self.longest, give })
    }

    fn sessions_of(&self, events: Rel) -> Result<Rel, RelError> {
        let sessions = self.sessionize(events, Sessions::Sessions(self.carried.clone()))?;
        let micros = |name: &str| Expr::left(name).call(Function::Micros);
        let duration = micros("xt_session_end").minus(micros("xt_session_start")).cast(Type::Float);
        let mut columns = vec![
            ("session_id".to_owned(), self.session_id()),
            (self.user.to_owned(), Expr::left(self.user)),
            ("start_time".to_owned(), Expr::left("xt_session_start")),
            ("end_time".to_owned(), Expr::left("xt_session_end")),
            ("duration_seconds".to_owned(), seconds(duration)),
            ("event_count".to_owned(), Expr::left("xt_events")),
        ];
        let ends = self.carried.iter().flat_map(|name| ["first", "last"].map(|end| format!("{end}_{name}")));
        columns.extend(ends.map(|name| (name.clone(), Expr::left(&name))));
        with_batches(sessions, columns)
    }

    fn events_of(&self, events: Rel) -> Result<Rel, RelError> {
        let events = self.sessionize(events, Sessions::Events)?;
        let own = self.cx.flow.input.column_names().map(|name| (name.to_owned(), Expr::left(name)));
        with_batches(events, own.chain([("session_id".to_owned(), self.session_id())]).collect())
    }

    /// The user, and the session's number or start.
    fn session_id(&self) -> Expr {
        let ending = match self.ids {
            IdFormat::Number => Expr::left("xt_session"),
            IdFormat::Start => Expr::left("xt_session_start").call(Function::Micros),
        };
        let user = Expr::left(self.user).call(Function::CanonicalText(self.ty(self.user)));
        Expr::concat(vec![user, Expr::text("_"), ending.call(Function::CanonicalText(Type::Int))])
    }
}

/// Microseconds, as a float, in seconds.
fn seconds(micros: Expr) -> Expr {
    micros.binary(qetl_core::ir::BinaryOp::Divide, Expr::Literal(Value::Float(MICROS as f64)))
}

/// The columns, then the batch and its execution time.
fn with_batches(rows: Rel, mut columns: Vec<(String, Expr)>) -> Result<Rel, RelError> {
    let batch = "xt_batch_id".to_owned();
    columns.push((batch.clone(), Expr::left("xt_batch_id")));
    columns.push(("xt_processed_at".to_owned(), Expr::right("xt_processed_at")));
    rows.join(JoinKind::Inner, Rel::batches(), &[(batch.clone(), batch)], columns)
}

register_flow_type!(Sessionization);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_to_the_microsecond() {
        let check = |value: f64, expected: Option<i64>| {
            let seconds = Sp { value, ..Sp::default() };
            assert_eq!(micros("session_timeout_seconds", &seconds).ok(), expected, "{value}");
        };
        check(1800.0, Some(1_800_000_000));
        check(0.1, Some(100_000));
        check(1.000_001, Some(1_000_001));
        check(4503599627.370496, Some(4_503_599_627_370_496));
        for wrong in [0.0, -1.0, -0.5, 1e-7, 1e300, f64::NAN, f64::INFINITY] {
            check(wrong, None);
        }
    }
}
