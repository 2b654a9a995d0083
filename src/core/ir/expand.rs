//! The definition of the operators at the level of meaning, in plain ones.
#![expect(clippy::wildcard_enum_match_arm, reason = "relations that are names already need no step")]

mod classify;

use self::classify::classified;
use super::{
    AggregateFunction, AsOf, Classify, Expr, Function, Gone, JoinKind, LatestPerKey, Op, Order, Rel, RelError, Sessionize, Sessions, Steps,
    WindowFunction,
};

/// The same steps with plain operators only; what an operator needs in between becomes a step before its own.
pub fn expand(steps: &Steps) -> Result<Steps, RelError> {
    let mut plain = Steps::default();
    for step in &steps.0 {
        let rel = expand_rel(&step.name, &step.rel, &mut plain)?;
        if step.small {
            plain.add_small(&step.name, rel)
        } else {
            plain.add(&step.name, rel)
        };
    }
    Ok(plain)
}

fn expand_rel(step: &str, rel: &Rel, steps: &mut Steps) -> Result<Rel, RelError> {
    let mut go = |input: &Rel| expand_rel(step, input, steps);
    match &*rel.op {
        Op::Scan { .. } | Op::Ref { .. } | Op::Batches => Ok(rel.clone()),
        Op::Periods { bounds, period, name } => {
            let bounds = go(bounds)?;
            let bounds = steps.add(&format!("{step}_bounds"), bounds);
            Rel::periods(bounds, *period, name)
        }
        Op::Sessionize(sessionize) => {
            let input = go(&sessionize.input)?;
            sessionized(step, sessionize, input, steps)
        }
        Op::Filter { input, predicate } => go(input)?.filter(predicate.clone()),
        Op::Project { input, columns } => go(input)?.project(columns.clone()),
        Op::Join { kind: JoinKind::Semi, left, right, on, .. } => go(left)?.semi(go(right)?, &names(on)),
        Op::Join { kind: JoinKind::Anti, left, right, on, .. } => go(left)?.anti(go(right)?, &names(on)),
        Op::Join { kind, left, right, on, columns } => go(left)?.join(*kind, go(right)?, on, columns.clone()),
        Op::Union(inputs) => Rel::union(inputs.iter().map(go).collect::<Result<_, _>>()?),
        Op::Aggregate { input, keys, columns } => go(input)?.aggregate(keys, columns.clone()),
        Op::Window { input, columns, partition, order } => go(input)?.windows(columns.clone(), partition, order),
        Op::Sort { input, order } => go(input)?.sort(order.clone()),
        Op::Limit { input, rows } => go(input)?.limit(*rows),
        Op::Follow { input, begin, on } => go(input)?.follow(begin.clone(), on),
        Op::LatestPerKey(latest) => {
            let input = go(&latest.input)?;
            let gaps = latest.gaps.as_ref().map(&mut go).transpose()?;
            latest_per_key(step, &LatestPerKey { input, gaps, ..latest.clone() }, steps)
        }
        Op::Classify(classify) => {
            let (current, state) = (go(&classify.current)?, go(&classify.state)?);
            let gone = match &classify.gone {
                Gone::AllExcept(rel) => Gone::AllExcept(rel.as_ref().map(&mut go).transpose()?),
                Gone::Only(rel) => Gone::Only(rel.as_ref().map(&mut go).transpose()?),
            };
            classified(step, &Classify { current, state, gone, ..classify.clone() }, steps)
        }
    }
}

fn names(on: &[(String, String)]) -> Vec<String> {
    on.iter().map(|(name, _)| name.clone()).collect()
}

/// A distance to the event before that is too great begins a session; their running number is the session's. Where a session
/// may last too long, such a stretch of events is cut again.
fn sessionized(step: &str, sessionize: &Sessionize, input: Rel, steps: &mut Steps) -> Result<Rel, RelError> {
    let Sessionize { user, time, order, gap, longest, give, .. } = sessionize;
    let names: Vec<String> = input.column_names().map(str::to_owned).collect();
    let by = || std::slice::from_ref(user);
    let first = |expr: Expr| Order { by: expr, descending: false };
    let in_time: Vec<Order> = std::iter::once(Expr::column(time)).chain(order.iter().cloned()).map(first).collect();
    let distance = Expr::column(time).call(Function::Micros).minus(Expr::column("xt_before").call(Function::Micros));
    let begins = Expr::column("xt_before").is_null().or(distance.gt(Expr::int(*gap)));
    let before = ("xt_before".to_owned(), WindowFunction::Lag(Expr::column(time)));
    let placed = input.windows([before, ("xt_place".to_owned(), WindowFunction::RowNumber)], by(), &in_time)?;
    let placed = steps.add(&format!("{step}_placed"), placed);
    let kept = names.iter().map(|name| (name.clone(), Expr::column(name)));
    let marked = placed.project(
        kept.chain([
            ("xt_place".to_owned(), Expr::column("xt_place")),
            ("xt_begins".to_owned(), Expr::case(vec![(begins.clone(), Expr::int(1))], Some(Expr::int(0)))),
            ("xt_began".to_owned(), Expr::case(vec![(begins, Expr::column(time))], None)),
        ])
        .collect(),
    )?;
    let mut marked = steps.add(&format!("{step}_begins"), marked);
    if let Some(longest) = longest {
        marked = cut_again(step, sessionize, *longest, marked, steps)?;
    }
    let sessions = [
        ("xt_session".to_owned(), WindowFunction::RunningSum(Expr::column("xt_begins"))),
        ("xt_session_start".to_owned(), WindowFunction::RunningMax(Expr::column("xt_began"))),
    ];
    let events = marked.windows(sessions, by(), &[first(Expr::column("xt_place"))])?;
    let columns = match give {
        Sessions::Events => {
            let more = ["xt_session", "xt_session_start"];
            return events.select(names.iter().map(String::as_str).chain(more));
        }
        Sessions::Sessions(columns) => columns,
    };
    let events = steps.add(&format!("{step}_events"), events);
    let column = |name: &str, function: AggregateFunction| (name.to_owned(), function);
    let sessions = events.clone().aggregate(
        &[user.clone(), "xt_session".to_owned()],
        vec![
            column("xt_session_start", AggregateFunction::Min(Expr::column(time))),
            column("xt_session_end", AggregateFunction::Max(Expr::column(time))),
            column("xt_events", AggregateFunction::Count),
            column("xt_batch_id", AggregateFunction::Max(Expr::column("xt_batch_id"))),
            column("xt_first_place", AggregateFunction::Min(Expr::column("xt_place"))),
            column("xt_last_place", AggregateFunction::Max(Expr::column("xt_place"))),
        ],
    )?;
    let base = [user.as_str(), "xt_session", "xt_session_start", "xt_session_end", "xt_events", "xt_batch_id"];
    if columns.is_empty() {
        return sessions.select(base);
    }
    let sessions = steps.add(&format!("{step}_spans"), sessions);
    let end_of = |sessions: Rel, end: &str, kept: &[String]| {
        let on = [(user.clone(), user.clone()), (format!("xt_{end}_place"), "xt_place".to_owned())];
        let own = kept.iter().map(|name| (name.clone(), Expr::left(name)));
        let ends = columns.iter().map(|name| (format!("{end}_{name}"), Expr::right(name)));
        sessions.join(JoinKind::Inner, events.clone(), &on, own.chain(ends).collect())
    };
    let mut kept: Vec<String> = base.iter().chain(&["xt_last_place"]).map(|name| (*name).to_owned()).collect();
    let first = steps.add(&format!("{step}_first"), end_of(sessions, "first", &kept)?);
    kept.retain(|name| name != "xt_last_place");
    kept.extend(columns.iter().map(|name| format!("first_{name}")));
    let both = end_of(first, "last", &kept)?;
    let each = columns.iter().flat_map(|name| [format!("first_{name}"), format!("last_{name}")]);
    both.select(base.iter().map(|name| (*name).to_owned()).chain(each))
}

/// From the first event of a stretch, the next session begins at the first event that is more than `longest` later, and so on.
fn cut_again(step: &str, sessionize: &Sessionize, longest: i64, marked: Rel, steps: &mut Steps) -> Result<Rel, RelError> {
    let Sessionize { user, time, .. } = sessionize;
    let names: Vec<String> = marked.column_names().map(str::to_owned).collect();
    let kept = |side: fn(&str) -> Expr| names.iter().map(move |name| (name.clone(), side(name)));
    let by = |more: &[&str]| -> Vec<String> { std::iter::once(user.as_str()).chain(more.iter().copied()).map(str::to_owned).collect() };
    let ascending = |name: &str| vec![Order { by: Expr::column(name), descending: false }];
    let timed =
        marked.project(kept(Expr::column).chain([("xt_micros".to_owned(), Expr::column(time).call(Function::Micros))]).collect())?;
    let stretch = WindowFunction::RunningSum(Expr::column("xt_begins"));
    let stretches = steps.add(&format!("{step}_stretches"), timed.window("xt_stretch", stretch, &by(&[]), ascending("xt_place"))?);
    let next = WindowFunction::MinBeyond { of: Expr::column("xt_place"), distance: longest };
    let reach = steps.add(&format!("{step}_reach"), stretches.window("xt_next", next, &by(&["xt_stretch"]), ascending("xt_micros"))?);
    let begins = Expr::column("xt_begins").eq(Expr::int(1));
    let on_next = [(user.clone(), user.clone()), ("xt_next".to_owned(), "xt_place".to_owned())];
    let starts = steps.add(&format!("{step}_starts"), reach.clone().follow(begins, &on_next)?);
    let starts = starts.project(vec![(user.clone(), Expr::column(user)), ("xt_place".to_owned(), Expr::column("xt_place"))])?;
    let is_start = Expr::right("xt_place").is_null().not();
    let columns = kept(Expr::left).map(|(name, expr)| {
        let expr = match name.as_str() {
            "xt_begins" => Expr::case(vec![(is_start.clone(), Expr::int(1))], Some(Expr::int(0))),
            "xt_began" => Expr::case(vec![(is_start.clone(), Expr::left(time))], None),
            _ => expr,
        };
        (name, expr)
    });
    let on: Vec<(String, String)> = by(&["xt_place"]).into_iter().map(|name| (name.clone(), name)).collect();
    Ok(steps.add(&format!("{step}_cut"), reach.join(JoinKind::Left, starts, &on, columns.collect())?))
}

/// With a promise of where the latest rows are: the rows of the previous batch, and of the keys that it does not hold the
/// latest among the older rows that the promise leaves.
fn latest_per_key(step: &str, latest: &LatestPerKey, steps: &mut Steps) -> Result<Rel, RelError> {
    let LatestPerKey { input, keys, dead: Some(dead), .. } = latest else { return greatest_per_key(step, latest, steps) };
    let mut older = vec![input.clone().filter(dead.clone())?];
    if let Some(gaps) = &latest.gaps {
        let is_live = dead.clone().not().or(dead.clone().is_null());
        older.push(input.clone().semi(gaps.clone(), keys)?.filter(is_live)?);
    }
    let older = steps.add(&format!("{step}_older"), if older.len() > 1 { Rel::union(older)? } else { older.remove(0) });
    let older = greatest_per_key(step, &LatestPerKey { input: older, dead: None, gaps: None, ..latest.clone() }, steps)?;
    let previous = steps.add(&format!("{step}_previous"), input.history_as_of(AsOf::PreviousBatch));
    Rel::union(vec![previous.clone(), older.anti(previous, keys)?])
}

/// The greatest `by` of each key, and back to the row that has it. (A window would sort the whole history.)
fn greatest_per_key(step: &str, latest: &LatestPerKey, steps: &mut Steps) -> Result<Rel, RelError> {
    let rows = match &*latest.input.op {
        Op::Scan { .. } | Op::Ref { .. } => latest.input.clone(),
        _ => steps.add(&format!("{step}_rows"), latest.input.clone()),
    };
    let greatest = (latest.by.clone(), AggregateFunction::Max(Expr::column(&latest.by)));
    let greatest = steps.add(&format!("{step}_versions"), rows.clone().aggregate(&latest.keys, vec![greatest])?);
    let on: Vec<(String, String)> = latest.keys.iter().chain([&latest.by]).map(|name| (name.clone(), name.clone())).collect();
    let columns = rows.column_names().map(|name| (name.to_owned(), Expr::left(name))).collect();
    rows.join(JoinKind::Inner, greatest, &on, columns)
}
