//! Which columns batches had of which an older qetl did not say so: those that have a value in them.

use std::sync::Arc;

use arrow::{array::AsArray, datatypes::Int64Type};
use qetl_core::{
    Flow, Plan, Problems,
    ir::{AggregateFunction, AsOf, Expr, Rel, RelError, Steps},
    plan::InputType,
};

use crate::{
    engine::Engine,
    error::RunError,
    records::FlowRecords,
    run::{context_of, known_batches},
};

/// Looks at what is landed, where that has to be known: for columns that the flow has no more, and in a full refresh for those that it
/// requires.
pub(crate) async fn find(
    engine: &dyn Engine,
    flow: &Flow,
    plan: &Arc<Plan>,
    records: &mut FlowRecords,
    refresh: bool,
) -> Result<(), RunError> {
    let asked = |column: &&InputType| column.gone || (refresh && column.required);
    let columns: Vec<&str> = plan.input.iter().filter(asked).map(|column| column.name.as_str()).collect();
    let unsaid = |records: &FlowRecords| -> Vec<i64> {
        let batches = records.batches.iter().filter(|batch| batch.details.columns.is_none());
        batches.map(|batch| batch.batch_id).filter(|id| refresh || !records.details.lacked.contains_key(id)).collect()
    };
    let (Some(last), Some(landing), false) = (records.batches.last(), plan.landing(), columns.is_empty()) else { return Ok(()) };
    let unsaid = unsaid(records);
    if unsaid.is_empty() {
        return Ok(());
    }
    let steps = || -> Result<Steps, RelError> {
        let has = |name: &&str| {
            let value = Expr::case(vec![(Expr::column(name).is_null(), Expr::int(0))], Some(Expr::int(1)));
            ((*name).to_owned(), AggregateFunction::Max(value))
        };
        let rows = Rel::scan(&landing.name, &landing.schema, AsOf::AllBatches);
        let mut steps = Steps::default();
        steps.add("had", rows.aggregate(&["xt_batch_id".to_owned()], columns.iter().map(has).collect())?);
        Ok(steps)
    };
    let context = context_of(&known_batches(flow, records, &plan.input, None), last.batch_id);
    let found = engine.look(plan.clone()).await?.rows(&context, &steps().map_err(Problems::from)?).await?;
    for id in unsaid {
        records.details.lacked.insert(id, Vec::new());
    }
    for rows in &found {
        let of = |name: &str| rows.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let Some(ids) = of("xt_batch_id") else { continue };
        for column in &columns {
            let Some(has) = of(column) else { continue };
            for row in (0..rows.num_rows()).filter(|row| has.value(*row) == 0) {
                if let Some(lacked) = records.details.lacked.get_mut(&ids.value(row)) {
                    lacked.push((*column).to_owned());
                }
            }
        }
    }
    Ok(())
}
