//! Rewrites of relations for databases that lack something, and for scripts that know no batch yet.

use qetl_core::{
    DatasetName, Schema,
    ir::{AsOf, Expr, Function, JoinKind, Op, Order, Rel, RelError, Side, Step, Steps},
    schema::{Column, Type},
};

/// The name that the recorded files are scanned by.
pub(crate) const FILES: &str = "recorded_files";

fn map(steps: &Steps, change: impl Fn(Rel) -> Result<Rel, RelError>) -> Result<Steps, RelError> {
    fn deep(rel: &Rel, change: &impl Fn(Rel) -> Result<Rel, RelError>) -> Result<Rel, RelError> {
        let mut problem = None;
        let mapped = rel.map_inputs(&mut |input| {
            deep(input, change).unwrap_or_else(|why| {
                problem = Some(why);
                input.clone()
            })
        });
        problem.map_or(Ok(()), Err)?;
        change(mapped)
    }
    let steps = steps.0.iter().map(|step| Ok(Step { rel: deep(&step.rel, &change)?, ..step.clone() }));
    Ok(Steps(steps.collect::<Result<_, RelError>>()?))
}

/// A full join as what the left join gives, and the right rows without a match.
pub(crate) fn without_full_joins(steps: &Steps) -> Result<Steps, RelError> {
    map(steps, |rel| {
        let Op::Join { kind: JoinKind::Full, left, right, on, columns } = &*rel.op else { return Ok(rel) };
        let matched = left.clone().join(JoinKind::Left, right.clone(), on, columns.clone())?;
        // Under the names of the left keys, so that the join without a match can be said.
        let renamed = |name: &str| on.iter().find(|(_, b)| b == name).map_or_else(|| format!("xt_right_{name}"), |(a, _)| a.clone());
        let names = right.column_names().map(|name| (renamed(name), Expr::column(name))).collect();
        let keys: Vec<String> = on.iter().map(|(a, _)| a.clone()).collect();
        let alone = right.clone().project(names)?.anti(left.clone(), &keys)?;
        let only_right = |expr: &Expr| {
            crate::block::map_columns(expr, &mut |side, name| match side {
                Some(Side::Right) => Expr::column(&renamed(name)),
                Some(Side::Left) | None => Expr::null(left.schema().column(name).map_or(Type::Text, |column| column.ty)),
            })
        };
        let alone = alone.project(columns.iter().map(|(name, expr)| (name.clone(), only_right(expr))).collect())?;
        Rel::union(vec![matched, alone])
    })
}

/// Where an anti join looks, each key once. MariaDB works what stands in NOT EXISTS out again for every row outside, unless it is
/// grouped.
pub(crate) fn with_grouped_anti_joins(steps: &Steps) -> Result<Steps, RelError> {
    map(steps, |rel| {
        let Op::Join { kind: JoinKind::Anti, left, right, on, .. } = &*rel.op else { return Ok(rel) };
        let keys: Vec<String> = on.iter().map(|(key, _)| key.clone()).collect();
        if keys.is_empty() || is_made_once(steps, right) {
            return Ok(rel);
        }
        left.clone().anti(right.clone().aggregate(&keys, Vec::new())?, &keys)
    })
}

fn is_made_once(steps: &Steps, rel: &Rel) -> bool {
    match &*rel.op {
        Op::Aggregate { .. } | Op::Window { .. } | Op::Union(_) => true,
        Op::Filter { input, .. } | Op::Project { input, .. } => is_made_once(steps, input),
        Op::Ref { step } => steps.0.iter().any(|known| known.name == *step && is_made_once(steps, &known.rel)),
        Op::Scan { .. } | Op::Join { .. } | Op::Sort { .. } | Op::Limit { .. } | Op::Batches | Op::Periods { .. } | Op::Follow { .. } => {
            false
        }
        Op::LatestPerKey(_) | Op::Classify(_) | Op::Sessionize(_) => false,
    }
}

/// The positions of files, which a known batch lists, are looked up in the records.
pub(crate) fn with_file_positions(steps: &Steps) -> Result<Steps, RelError> {
    map(steps, |rel| {
        let Op::Window { input, columns: functions, partition, order } = &*rel.op else { return Ok(rel) };
        let is_position = |key: &Order| matches!(&key.by, Expr::Call { function: Function::FilePosition, .. });
        if !order.iter().any(is_position) {
            return Ok(rel);
        }
        let columns = [("xt_batch_id", Type::Int), ("xt_source_file", Type::Text), ("xt_position", Type::Int)];
        let schema = Schema::new(columns.iter().map(|(name, ty)| Column::new(name, *ty)).collect()).map_err(RelError::Twice)?;
        let files = Rel::scan(&DatasetName { namespace: String::new(), name: FILES.to_owned() }, &schema, AsOf::AllBatches);
        let on = ["xt_batch_id", "xt_source_file"].map(|name| (name.to_owned(), name.to_owned()));
        let own: Vec<String> = input.column_names().map(str::to_owned).collect();
        let position = ("xt_position".to_owned(), Expr::right("xt_position"));
        let columns = own.iter().map(|name| (name.clone(), Expr::left(name))).chain([position]).collect();
        let placed = input.clone().join(JoinKind::Left, files, &on, columns)?;
        let order =
            order.iter().map(|key| if is_position(key) { Order { by: Expr::column("xt_position"), ..key.clone() } } else { key.clone() });
        let numbered = placed.windows(functions.clone(), partition, &order.collect::<Vec<_>>())?;
        numbered.select(own.iter().chain(functions.iter().map(|(name, _)| name)))
    })
}
