//! Deltas whose rows say their order: what comes too late, and deletions of what is not there.

mod promises;

use qetl_core::{
    Problems, Type,
    input::{BatchMode, Input},
    ir::{AsOf, Expr, JoinKind, LatestPerKey, Rel, Steps},
    plan::Expand,
};

use super::{MARKED, Names};
use crate::keyed::{self, Parked};

/// The row is older than what is known of its key.
const SUPERSEDED: &str = "superseded";
/// The row deletes a key that never was.
const UNKNOWN_KEY: &str = "unknown_key";
/// The row deletes a key that was deleted before.
const ALREADY_DELETED: &str = "already_deleted";

/// Whether rows are held against what earlier batches said of their key.
pub(super) fn is_sequenced_delta(input: &Input) -> bool {
    input.batch_mode == BatchMode::Delta && !input.sequence_columns.is_empty()
}

/// The parked rows whose sequence counts: deletions of keys that were not live.
pub(super) fn buried(cx: &Expand<'_>, names: &Names, as_of: AsOf) -> Result<Option<Rel>, Problems> {
    let Some(parked) = names.parked.as_ref().filter(|_| cx.flow.input.delete_column.is_some()) else { return Ok(None) };
    let is = |reason: &str| Expr::column("xt_parked_reason").eq(Expr::text(reason));
    Ok(Some(keyed::parked_rows(cx, parked, as_of)?.filter(is(UNKNOWN_KEY).or(is(ALREADY_DELETED)))?))
}

/// The rows that are no older than what is known of their key and, if they delete it, delete a live one. All others are parked.
///
/// `rows` and `state` have one row per key.
pub(super) fn in_order(
    cx: &Expand<'_>,
    names: &Names,
    steps: &mut Steps,
    parked: &mut Parked<'_>,
    rows: Rel,
    state: &Rel,
    mark: Option<&Expr>,
) -> Result<Rel, Problems> {
    let input = &cx.flow.input;
    let (keys, sequence) = (input.key_names(), input.sequence_names());
    let on: Vec<(String, String)> = keys.iter().map(|key| (key.clone(), key.clone())).collect();
    let marked = (MARKED.to_owned(), mark.cloned().unwrap_or_else(|| Expr::any([])));
    let own = keys.iter().chain(&sequence).map(|name| (name.clone(), Expr::column(name)));
    let mut placed = rows.clone().project(own.chain([marked]).collect())?;
    // What is known of each key, beside it: the row of the feed, then the deletion that the feed has no row of.
    let mut beside = |known: Rel, more: &[&str], prefix: &str| -> Result<(), Problems> {
        let own: Vec<String> = placed.column_names().map(str::to_owned).collect();
        let own = own.iter().map(|name| (name.clone(), Expr::left(name)));
        let known_sequence = sequence.iter().map(|name| (format!("{prefix}{name}"), Expr::right(name)));
        let more = more.iter().map(|name| ((*name).to_owned(), Expr::right(name)));
        placed = placed.clone().join(JoinKind::Left, known, &on, own.chain(known_sequence).chain(more).collect())?;
        Ok(())
    };
    let is_older = |prefix: &str| is_less(&sequence, Expr::column, |name| Expr::column(&format!("{prefix}{name}")));
    let mut older = vec![is_older("xt_state_")];
    beside(state.clone(), &["xt_record_type"], "xt_state_")?;
    if let Some(buried) = buried(cx, names, AsOf::BeforeThisBatch)? {
        let buried = buried.semi(rows.clone().select(&keys)?, &keys)?;
        let latest = LatestPerKey { input: buried, keys: keys.clone(), by: "xt_batch_id".to_owned(), dead: None, gaps: None };
        beside(steps.add_small("buried", Rel::latest_per_key(latest)?), &[], "xt_buried_")?;
        older.push(is_older("xt_buried_"));
    }
    let (marked, was) = (|| Expr::column(MARKED), || Expr::column("xt_record_type"));
    let reason = Expr::case(
        vec![
            (Expr::any(older), Expr::text(SUPERSEDED)),
            (marked().and(was().is_null()), Expr::text(UNKNOWN_KEY)),
            (marked().and(was().eq(Expr::text("DELETED"))), Expr::text(ALREADY_DELETED)),
        ],
        Some(Expr::null(Type::Text)),
    );
    let placed = steps.add("placed", placed);
    let own = keys.iter().map(|key| (key.clone(), Expr::column(key)));
    let judged = steps.add("judged", placed.project(own.chain([("xt_reason".to_owned(), reason)]).collect())?);
    let unfit = steps.add_small("unfit", judged.filter(Expr::column("xt_reason").is_null().not())?);
    let columns: Vec<String> = rows.column_names().map(str::to_owned).collect();
    let with_reason = columns.iter().map(|name| (name.clone(), Expr::right(name)));
    let with_reason = with_reason.chain([("xt_reason".to_owned(), Expr::left("xt_reason"))]).collect();
    parked.add(unfit.clone().join(JoinKind::Inner, rows.clone(), &on, with_reason)?, &Expr::column("xt_reason"))?;
    Ok(steps.add("in_order", rows.anti(unfit, &keys)?))
}

/// Whether one sequence is less than another one, compared column by column. NULL, where nothing is known, is not.
fn is_less(sequence: &[String], own: impl Fn(&str) -> Expr, other: impl Fn(&str) -> Expr) -> Expr {
    let mut is_less: Option<Expr> = None;
    for name in sequence.iter().rev() {
        is_less = Some(match is_less {
            None => own(name).lt(other(name)),
            Some(behind) => own(name).lt(other(name)).or(own(name).eq(other(name)).and(behind)),
        });
    }
    is_less.unwrap_or_else(|| Expr::any([]))
}
