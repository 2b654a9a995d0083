//! Instructions over tables as they are stored: what looks at them does not make them follow the flow first.

use qetl_core::{
    ir::{Expr, Op, Rel, RelError, Step, Steps, Value},
    schema::Schema,
};

use crate::{database::Failure, records::Stored};

/// The same instructions, where a column that a table has not is NULL, and a table that is not there has no rows.
pub(crate) fn as_stored(steps: &Steps, stored: &[Stored]) -> Result<Steps, Failure> {
    let mut problem = None;
    let steps = steps.0.iter().map(|step| Step { rel: mapped(&step.rel, stored, &mut problem), ..step.clone() }).collect();
    match problem {
        None => Ok(Steps(steps)),
        Some(why) => Err(Failure::Other(format!("{why}"))),
    }
}

fn mapped(rel: &Rel, stored: &[Stored], problem: &mut Option<RelError>) -> Rel {
    let rel = rel.map_inputs(&mut |input| mapped(input, stored, problem));
    scan(&rel, stored).unwrap_or_else(|why| {
        *problem = Some(why);
        rel.clone()
    })
}

fn scan(rel: &Rel, stored: &[Stored]) -> Result<Rel, RelError> {
    let Op::Scan { dataset, as_of } = &*rel.op else { return Ok(rel.clone()) };
    let table = stored.iter().find(|stored| stored.name == *dataset);
    let is_there = |name: &str| table.is_some_and(|table| table.columns.iter().any(|column| column.name == name));
    if rel.columns().iter().all(|column| is_there(&column.name)) {
        return Ok(rel.clone());
    }
    let value = |name: &str, ty| if is_there(name) { Expr::column(name) } else { Expr::null(ty) };
    let columns = rel.columns().iter().map(|column| (column.name.clone(), value(&column.name, column.ty))).collect();
    let there = rel.columns().iter().filter(|column| is_there(&column.name)).cloned().collect();
    let rows = match table {
        Some(_) => Rel::scan(dataset, &Schema::new(there).unwrap_or_default(), *as_of),
        None => Rel::batches().filter(Expr::Literal(Value::Bool(false)))?,
    };
    rows.project(columns)
}
