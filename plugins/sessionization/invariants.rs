//! What always holds of sessions: the promises of the flow type, each as the rows that break it.

use qetl_core::{
    Problems,
    ir::{AggregateFunction, AsOf, Expr, Function, JoinKind, Order, Rel, RelError, Steps, WindowFunction},
    plan::Invariant,
};

use super::{IdFormat, Work, seconds};
use crate::events::Events;

/// The invariants of a flow; those on events and parked rows where it has such datasets.
pub(super) fn of(work: &Work<'_>) -> Result<Vec<Invariant>, Problems> {
    let sessions = Rel::scan(&work.sessions, &work.session_schema()?, AsOf::AllBatches);
    let mut invariants = vec![
        once(sessions.clone())?,
        named(work, sessions.clone())?,
        apart(work, sessions.clone())?,
        figures(work, sessions.clone())?,
        of_a_batch(sessions.clone())?,
        every_event(work, sessions.clone())?,
    ];
    if !work.carried.is_empty() {
        invariants.push(ends(work, sessions.clone())?);
    }
    if let Some(dataset) = &work.events {
        let events = Rel::scan(dataset, &work.event_schema()?, AsOf::AllBatches);
        invariants.push(events_of_sessions(work, sessions, events.clone())?);
        invariants.push(no_silence(work, events)?);
    }
    if let Some(dataset) = work.all_columns()?.parked_dataset(work.cx)? {
        let landed = work.cx.landed(AsOf::AllBatches)?;
        invariants.push(parked(work, landed, Rel::scan(&dataset.name, &dataset.schema, AsOf::AllBatches))?);
    }
    Ok(invariants)
}

fn invariant(name: &str, about: &str, mut steps: Steps, broken: Rel) -> Invariant {
    steps.add("broken", broken);
    Invariant { name: name.to_owned(), about: about.to_owned(), steps }
}

fn own(names: &[&str]) -> Vec<(String, Expr)> {
    names.iter().map(|name| ((*name).to_owned(), Expr::column(name))).collect()
}

fn ascending(name: &str) -> Vec<Order> {
    vec![Order { by: Expr::column(name), descending: false }]
}

/// From the instant in the second column to that in the first, in microseconds.
fn distance(later: &str, earlier: &str) -> Expr {
    let micros = |name: &str| Expr::column(name).call(Function::Micros);
    micros(later).minus(micros(earlier))
}

fn once(sessions: Rel) -> Result<Invariant, RelError> {
    let counted = sessions.aggregate(&["session_id".to_owned()], vec![("xt_rows".to_owned(), AggregateFunction::Count)])?;
    let broken = counted.filter(Expr::column("xt_rows").gt(Expr::int(1)))?;
    Ok(invariant("session_id_once", "no two sessions have one id", Steps::default(), broken))
}

fn named(work: &Work<'_>, sessions: Rel) -> Result<Invariant, RelError> {
    let numbered = sessions.window("xt_number", WindowFunction::RowNumber, &[work.user.to_owned()], ascending("start_time"))?;
    let ending = match work.ids {
        IdFormat::Number => Expr::column("xt_number"),
        IdFormat::Start => Expr::column("start_time").call(Function::Micros),
    };
    let user = Expr::column(work.user).call(Function::CanonicalText(work.ty(work.user)));
    let ending = ending.call(Function::CanonicalText(qetl_core::Type::Int));
    let mut columns = own(&["session_id", work.user, "start_time"]);
    columns.push(("xt_expected_id".to_owned(), Expr::concat(vec![user, Expr::text("_"), ending])));
    let broken = numbered.project(columns)?.filter(Expr::column("session_id").is_distinct(Expr::column("xt_expected_id")))?;
    let about = match work.ids {
        IdFormat::Number => "a session's id is its user and its number, counted in the order of time",
        IdFormat::Start => "a session's id is its user and its start",
    };
    Ok(invariant("session_id_as_said", about, Steps::default(), broken))
}

fn apart(work: &Work<'_>, sessions: Rel) -> Result<Invariant, RelError> {
    let next = WindowFunction::Lead(Expr::column("start_time"));
    let pairs = sessions.window("xt_next_start", next, &[work.user.to_owned()], ascending("start_time"))?;
    let silence = distance("xt_next_start", "end_time").gt(Expr::int(work.gap));
    let late = work.longest.map(|longest| distance("xt_next_start", "start_time").gt(Expr::int(longest)));
    let is_right = Expr::column("xt_next_start").gt(Expr::column("end_time")).and(Expr::any(std::iter::once(silence).chain(late)));
    let broken = pairs.filter(Expr::column("xt_next_start").is_null().not().and(is_right.not()))?;
    let broken = broken.select(["session_id", work.user, "start_time", "end_time", "xt_next_start"])?;
    Ok(invariant("sessions_apart", "a user's next session begins where the limits end the one before", Steps::default(), broken))
}

fn figures(work: &Work<'_>, sessions: Rel) -> Result<Invariant, RelError> {
    let duration = distance("end_time", "start_time");
    let (nothing, column) = (Expr::int(0), Expr::column);
    let too_long = work.longest.map(|longest| duration.clone().gt(Expr::int(longest)));
    let wrong = [
        duration.clone().lt(nothing),
        column("duration_seconds").is_distinct(seconds(duration.clone().cast(qetl_core::Type::Float))),
        column("event_count").lt(Expr::int(1)),
        column("event_count").eq(Expr::int(1)).and(duration.not_eq(Expr::int(0))),
    ];
    let broken = sessions.filter(Expr::any(wrong.into_iter().chain(too_long)))?;
    let broken = broken.select(["session_id", work.user, "start_time", "end_time", "duration_seconds", "event_count"])?;
    let about = "a session has events, ends no earlier than it starts, is as long as it says, and no longer than it may be";
    Ok(invariant("session_figures", about, Steps::default(), broken))
}

fn of_a_batch(sessions: Rel) -> Result<Invariant, RelError> {
    let mut columns: Vec<(String, Expr)> =
        ["session_id", "xt_batch_id", "xt_processed_at"].map(|name| (name.to_owned(), Expr::left(name))).to_vec();
    columns.push(("xt_expected".to_owned(), Expr::right("xt_processed_at")));
    let batch = "xt_batch_id".to_owned();
    let both = sessions.join(JoinKind::Left, Rel::batches(), &[(batch.clone(), batch)], columns)?;
    let broken = both.filter(Expr::column("xt_processed_at").is_distinct(Expr::column("xt_expected")))?;
    Ok(invariant("session_of_a_batch", "a session's batch is recorded, with its execution time", Steps::default(), broken))
}

/// Two summaries by `key`, which is never NULL, with the columns `xt_events`, `xt_start`, `xt_end` and `xt_batch`; the keys
/// of which they say different things.
fn differing(key: &str, left: Rel, right: Rel) -> Result<Rel, RelError> {
    let mut columns = vec![(key.to_owned(), Expr::coalesce(vec![Expr::left(key), Expr::right(key)]))];
    let figures = ["events", "start", "end", "batch"];
    for figure in figures {
        columns.push((format!("xt_{figure}"), Expr::left(&format!("xt_{figure}"))));
        columns.push((format!("xt_expected_{figure}"), Expr::right(&format!("xt_{figure}"))));
    }
    let both = left.join(JoinKind::Full, right, &[(key.to_owned(), key.to_owned())], columns)?;
    let differs = |figure: &str| Expr::column(&format!("xt_{figure}")).is_distinct(Expr::column(&format!("xt_expected_{figure}")));
    both.filter(Expr::any(figures.map(differs)))
}

/// Number of events, first and last time and greatest batch of each `key`.
fn summary(rel: Rel, key: &str, events: AggregateFunction, start: &str, end: &str) -> Result<Rel, RelError> {
    let start = AggregateFunction::Min(Expr::column(start));
    let end = AggregateFunction::Max(Expr::column(end));
    let batch = AggregateFunction::Max(Expr::column("xt_batch_id"));
    let figures = [("xt_events", events), ("xt_start", start), ("xt_end", end), ("xt_batch", batch)];
    rel.aggregate(&[key.to_owned()], figures.map(|(name, figure)| (name.to_owned(), figure)).to_vec())
}

fn every_event(work: &Work<'_>, sessions: Rel) -> Result<Invariant, Problems> {
    let mut steps = Steps::default();
    let events = Events::of(work.cx, work.user, work.time, &[])?.all(&mut steps)?;
    let landed = steps.add("landed", summary(events, work.user, AggregateFunction::Count, work.time, work.time)?);
    let counted = AggregateFunction::Sum(Expr::column("event_count"));
    let held = steps.add("held", summary(sessions, work.user, counted, "start_time", "end_time")?);
    let about = "a user's sessions hold all of the user's landed events, each once, from the first to the last";
    Ok(invariant("every_event_in_a_session", about, steps, differing(work.user, held, landed)?))
}

/// Of several events at one time any may be it: their order is looked at by who makes the sessions.
fn ends(work: &Work<'_>, sessions: Rel) -> Result<Invariant, Problems> {
    let columns = &work.carried;
    let values: Vec<String> = (0..columns.len()).map(|place| format!("xt_value_{place}")).collect();
    let shape = |rel: Rel, time: &str, said: i64, name: &dyn Fn(&str) -> String| {
        let place = [(work.user.to_owned(), Expr::column(work.user)), ("xt_time".to_owned(), Expr::column(time))];
        let values = values.iter().zip(columns).map(|(value, column)| (value.clone(), Expr::column(&name(column))));
        let sides = [("xt_said".to_owned(), Expr::int(said)), ("xt_there".to_owned(), Expr::int(1 - said))];
        rel.project(place.into_iter().chain(values).chain(sides).collect())
    };
    let mut steps = Steps::default();
    let events = Events::of(work.cx, work.user, work.time, columns)?.all(&mut steps)?;
    let all = vec![
        shape(sessions.clone(), "start_time", 1, &|column| format!("first_{column}"))?,
        shape(sessions, "end_time", 1, &|column| format!("last_{column}"))?,
        shape(events, work.time, 0, &str::to_owned)?,
    ];
    let keys: Vec<String> = [work.user.to_owned(), "xt_time".to_owned()].into_iter().chain(values.iter().cloned()).collect();
    let sum = |name: &str| (name.to_owned(), AggregateFunction::Sum(Expr::column(name)));
    let counted = Rel::union(all)?.aggregate(&keys, vec![sum("xt_said"), sum("xt_there")])?;
    let broken = counted.filter(Expr::column("xt_there").eq(Expr::int(0)))?;
    let place = [(work.user.to_owned(), Expr::column(work.user)), ("xt_time".to_owned(), Expr::column("xt_time"))];
    let shown = values.iter().zip(columns).map(|(value, column)| (column.clone(), Expr::column(value)));
    let shown = place.into_iter().chain(shown).collect();
    let about = "the first and last values of a session are those of an event of its user at its start and its end";
    Ok(invariant("ends_are_events", about, steps, broken.project(shown)?))
}

fn events_of_sessions(work: &Work<'_>, sessions: Rel, events: Rel) -> Result<Invariant, RelError> {
    let mut steps = Steps::default();
    let held = steps.add("held", summary(events, "session_id", AggregateFunction::Count, work.time, work.time)?);
    let mut columns = own(&["session_id"]);
    columns.extend(
        [("xt_events", "event_count"), ("xt_start", "start_time"), ("xt_end", "end_time"), ("xt_batch", "xt_batch_id")]
            .map(|(name, column)| (name.to_owned(), Expr::column(column))),
    );
    let said = steps.add("said", sessions.project(columns)?);
    let about = "the events of a session are as many as it says, from its start to its end";
    Ok(invariant("events_of_their_session", about, steps, differing("session_id", held, said)?))
}

fn no_silence(work: &Work<'_>, events: Rel) -> Result<Invariant, RelError> {
    let before = WindowFunction::Lag(Expr::column(work.time));
    let placed = events.window("xt_before", before, &["session_id".to_owned()], ascending(work.time))?;
    let broken = placed.filter(distance(work.time, "xt_before").gt(Expr::int(work.gap)))?;
    let broken = broken.select(["session_id", work.user, work.time, "xt_before"])?;
    Ok(invariant("no_silence_in_a_session", "no event is later after the one before than the limit", Steps::default(), broken))
}

fn parked(work: &Work<'_>, landed: Rel, parked: Rel) -> Result<Invariant, RelError> {
    let needed = crate::events::needed_columns(work.cx.flow, work.user, work.time);
    let lacking = |rel: Rel| rel.filter(Expr::any(needed.iter().map(|column| Expr::column(column).is_null())));
    let count = |rel: Rel| rel.aggregate(&["xt_batch_id".to_owned()], vec![("xt_rows".to_owned(), AggregateFunction::Count)]);
    let mut steps = Steps::default();
    let expected = steps.add("expected", count(lacking(landed)?)?);
    let lacking_something = Expr::column("xt_parked_reason").eq(Expr::text("null_key"));
    let found = steps.add("found", count(parked.filter(lacking_something)?)?);
    let columns = vec![
        ("xt_batch_id".to_owned(), Expr::coalesce(vec![Expr::left("xt_batch_id"), Expr::right("xt_batch_id")])),
        ("xt_parked".to_owned(), Expr::left("xt_rows")),
        ("xt_expected".to_owned(), Expr::right("xt_rows")),
    ];
    let both = found.join(JoinKind::Full, expected, &[("xt_batch_id".to_owned(), "xt_batch_id".to_owned())], columns)?;
    let broken = both.filter(Expr::column("xt_parked").is_distinct(Expr::column("xt_expected")))?;
    Ok(invariant("what_lacks_something_is_parked", "each batch has parked as many rows as lack a user, a time or a key", steps, broken))
}
