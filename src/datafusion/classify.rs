//! `classify` in two stages, which read little.
//!
//! The first compares keys and row hashes: the state is held in memory without its values, the current rows pass by.
//! New and unchanged rows are complete then. The second fetches the old values of the others, which are few, to say
//! what changed and what a deleted row was last known to be.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not row by row is not looked into")]

use std::collections::HashSet;

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::Schema,
};
use datafusion::{
    common::{JoinType, Result},
    functions::expr_fn::coalesce,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, case, lit},
    scalar::ScalarValue,
};
use qetl_core::{
    Column,
    ir::{Classify, Expr as IrExpr, Gone, Op, Rel, Steps},
};

use crate::{
    hash::row_hash,
    lower::{Lowering, Scope, column, column_of, filter, has_hash, join, pairs, project},
    stage::ROW_HASH,
};

/// Names inside the comparison; input columns never begin with `xt_`.
const STATE_HASH: &str = "xt_state_hash";
const STATE_DELETED: &str = "xt_state_deleted";

/// Steps that end in the rows of one classification: those before it, it, and those after, which work row by row.
pub(crate) struct Parts<'a> {
    pub(crate) before: Steps,
    pub(crate) name: &'a str,
    pub(crate) classify: &'a Classify,
    pub(crate) after: Steps,
}

/// The parts of steps that can run in two stages; `None` when they do something else.
pub(crate) fn parts(steps: &Steps) -> Option<Parts<'_>> {
    let at = steps.0.iter().position(|step| matches!(&*step.rel.op, Op::Classify(_)))?;
    let Op::Classify(classify) = &*steps.0[at].rel.op else { unreachable!("it was found as one") };
    let after = Steps(steps.0[at + 1..].to_vec());
    let row_by_row = after.0.iter().all(|step| is_row_by_row(&step.rel));
    row_by_row.then(|| Parts { before: Steps(steps.0[..at].to_vec()), name: &steps.0[at].name, classify, after })
}

fn is_row_by_row(rel: &Rel) -> bool {
    match &*rel.op {
        Op::Ref { .. } => true,
        Op::Filter { input, .. } | Op::Project { input, .. } => is_row_by_row(input),
        _ => false,
    }
}

/// The hash of the tracked columns, taken along or computed.
fn tracked_hash(plan: &LogicalPlan, classify: &Classify, argument: impl Fn(&str) -> Expr) -> Expr {
    if has_hash(plan) {
        return argument(ROW_HASH);
    }
    let tracked: HashSet<&String> = classify.tracked.iter().collect();
    let columns: Vec<Column> = classify.columns().filter(|column| tracked.contains(&column.name)).cloned().collect();
    if columns.is_empty() {
        return lit(ScalarValue::FixedSizeBinary(16, Some(vec![0; 16])));
    }
    row_hash(&columns, argument)
}

fn text(value: &str) -> Expr {
    lit(ScalarValue::Utf8View(Some(value.to_owned())))
}

/// The first stage: every key of the current rows and every key that is gone, with its record type and the hash.
/// Deleted rows have their key, and what the row that deletes them says of the deletion.
pub(crate) fn compare(lowering: &Lowering<'_>, classify: &Classify) -> Result<LogicalPlan> {
    let state = lowering.rel(&classify.state)?;
    let state_hash = tracked_hash(&state, classify, column).alias(STATE_HASH);
    let is_deleted = column("xt_record_type").eq(text("DELETED")).alias(STATE_DELETED);
    let narrow = classify.keys.iter().map(|key| column(key).alias(key)).chain([state_hash, is_deleted]);
    let mut state = project(state, narrow)?;

    let current = lowering.rel(&classify.current)?;
    let hash = tracked_hash(&current, classify, column).alias(ROW_HASH);
    let own = classify.current.column_names().map(|name| column(name).alias(name));
    let current = project(current, own.chain([hash]))?;

    let keys = pairs(&classify.keys);
    match &classify.gone {
        Gone::AllExcept(kept) => {
            if let Some(kept) = kept {
                let kept = LogicalPlanBuilder::new(lowering.rel(kept)?);
                state = join(kept, state, JoinType::RightAnti, &keys)?.build()?;
            }
            compared(state, current, JoinType::Full, classify)
        }
        Gone::Only(None) => compared(state, current, JoinType::Right, classify),
        Gone::Only(Some(named)) => {
            let there = compared(state.clone(), current.clone(), JoinType::Right, classify)?;
            let live = filter(state, column(STATE_DELETED).is_false())?;
            let named = join(LogicalPlanBuilder::new(lowering.rel(named)?), live, JoinType::RightSemi, &keys)?;
            let gone = join(named, current, JoinType::LeftAnti, &keys)?.build()?;
            let gone = only_keys(gone, &there, classify)?;
            LogicalPlanBuilder::new(there).union(gone)?.build()
        }
    }
}

/// Deleted rows, of which nothing but the key is known yet, with the columns of the others.
fn only_keys(gone: LogicalPlan, like: &LogicalPlan, classify: &Classify) -> Result<LogicalPlan> {
    let columns = like.schema().fields().iter().map(|field| {
        let name = field.name();
        let value = match name.as_str() {
            "xt_record_type" => text("DELETED"),
            name if classify.keys.iter().any(|key| key == name) => column(name),
            _ => lit(ScalarValue::try_new_null(field.data_type())?),
        };
        Ok(value.alias(name))
    });
    project(gone, columns.collect::<Result<Vec<_>>>()?)
}

/// The state on the left, held; the current rows on the right, passing by.
fn compared(state: LogicalPlan, current: LogicalPlan, kind: JoinType, classify: &Classify) -> Result<LogicalPlan> {
    let key = &classify.keys[0];
    let mut is_gone = column_of("r", key).is_null();
    if let Some(marked) = &classify.marked {
        is_gone = is_gone.or(column_of("r", marked));
    }
    let differs = binary_expr(column_of("l", STATE_HASH), Operator::IsDistinctFrom, column_of("r", ROW_HASH));
    let record_type = datafusion::logical_expr::when(is_gone.clone(), text("DELETED"))
        .when(column_of("l", key).is_null(), text("NEW"))
        .when(column_of("l", STATE_DELETED), text("REACTIVATED"))
        .when(differs, text("CHANGED"))
        .otherwise(text("STALE"))?;
    let columns = classify.columns().map(|found| {
        let name = &found.name;
        let value =
            if classify.keys.contains(name) { coalesce(vec![column_of("r", name), column_of("l", name)]) } else { column_of("r", name) };
        value.alias(name)
    });
    let columns: Vec<Expr> = columns
        .chain([
            record_type.alias("xt_record_type"),
            lit(ScalarValue::Utf8View(None)).alias("xt_changed_columns"),
            column_of("r", ROW_HASH).alias(ROW_HASH),
        ])
        .collect();
    let mut joined = join(LogicalPlanBuilder::new(state), current, kind, &pairs(&classify.keys))?.build()?;
    if kind == JoinType::Full || classify.marked.is_some() {
        // A key that was not live before and is gone has no row.
        let was_dead = coalesce(vec![column_of("l", STATE_DELETED), lit(true)]);
        joined = filter(joined, is_gone.and(was_dead).is_not_true())?;
    }
    project(joined, columns)
}

/// The rows that the first stage completed, and those that need their old values.
pub(crate) fn split(batch: &RecordBatch) -> Result<[RecordBatch; 2]> {
    by_record_type(batch, |word| matches!(word, "NEW" | "STALE"))
}

/// The rows of keys that are there, and those of deleted ones.
pub(crate) fn deleted_apart(batch: &RecordBatch) -> Result<[RecordBatch; 2]> {
    by_record_type(batch, |word| word != "DELETED")
}

fn by_record_type(batch: &RecordBatch, first: impl Fn(&str) -> bool) -> Result<[RecordBatch; 2]> {
    let types = batch.column_by_name("xt_record_type").and_then(|column| column.as_string_view_opt());
    let Some(types) = types else { return datafusion::common::internal_err!("the rows have no record type") };
    let is_first: BooleanArray = types.iter().map(|word| Some(word.is_some_and(&first))).collect();
    if is_first.true_count() == is_first.len() {
        return Ok([batch.clone(), batch.slice(0, 0)]);
    }
    let rest = arrow::compute::not(&is_first)?;
    Ok([filter_record_batch(batch, &is_first)?, filter_record_batch(batch, &rest)?])
}

/// The second stage: `open` are the rows that the first one left open.
pub(crate) fn complete(lowering: &Lowering<'_>, classify: &Classify, open: LogicalPlan) -> Result<LogicalPlan> {
    let state = lowering.rel(&classify.state)?;
    let old_hash = tracked_hash(&state, classify, |name| column_of("r", name));
    let is_deleted = || column_of("l", "xt_record_type").eq(text("DELETED"));
    let choose = |old: Expr, new: Expr| -> Result<Expr> { case(is_deleted()).when(lit(true), old).otherwise(new) };
    let scope = Scope::of_join(lowering.batch);
    let differs = |name: &String| (classify.differs(name), IrExpr::text(name));
    let changed = IrExpr::JoinText {
        separator: ",".to_owned(),
        parts: classify.tracked.iter().map(|name| IrExpr::case(vec![differs(name)], None)).collect(),
    };
    let changed = scope.lower(&changed)?;
    // The hashes told only that something may differ: columns that are added are carried, or NULL before and after.
    let record_type = column_of("l", "xt_record_type");
    let is_stale = record_type.clone().eq(text("CHANGED")).and(changed.clone().is_null());
    let record_type = case(is_stale).when(lit(true), text("STALE")).otherwise(record_type)?;
    let changed = choose(lit(ScalarValue::Utf8View(None)), changed)?;
    let mut columns = Vec::new();
    for name in classify.columns().map(|column| &column.name) {
        let (old, new) = (column_of("r", name), column_of("l", name));
        let value = if classify.keys.contains(name) {
            new
        } else if classify.of_mark.contains(name) {
            choose(coalesce(vec![new.clone(), old]), new)?
        } else {
            choose(old, new)?
        };
        columns.push(value.alias(name));
    }
    columns.push(record_type.alias("xt_record_type"));
    columns.push(changed.alias("xt_changed_columns"));
    columns.push(choose(old_hash, column_of("l", ROW_HASH))?.alias(ROW_HASH));
    project(join(LogicalPlanBuilder::new(open), state, JoinType::Inner, &pairs(&classify.keys))?.build()?, columns)
}

/// Bytes that the first stage holds for that many keys of the state, roughly: to choose how to join.
pub(crate) fn held_bytes(schema: &Schema, keys: &[String], rows: u64) -> u64 {
    let width = |key: &String| match schema.field_with_name(key).map(|field| field.data_type().clone()) {
        Ok(ty) => ty.primitive_width().map_or(40, |width| width as u64),
        Err(_) => 40,
    };
    // The hash, the flag, and the join's own table of hashes.
    let one = keys.iter().map(width).sum::<u64>() + 16 + 1 + 24;
    rows * one
}
