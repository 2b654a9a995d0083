//! What a snapshot of some values is a snapshot of.

use qetl_core::{
    Type,
    ir::{AsOf, Expr, Rel, RelError, Value},
    plan::Expand,
};

/// The values of the columns of `snapshot_of`, as columns that are never NULL: so that NULL is a value like others.
pub(crate) fn of_values(cx: &Expand<'_>) -> Vec<(String, Expr)> {
    let input = &cx.flow.input;
    let keys = input.key_names();
    let mut values = Vec::new();
    for (place, column) in input.snapshot_of.iter().enumerate() {
        let value = Expr::column(column);
        let name = format!("xt_of_{place}");
        if keys.contains(&column.value) {
            values.push((name, value));
            continue;
        }
        let ty = cx.input.iter().find(|input| input.name == column.value).map_or(Type::Text, |input| input.ty);
        values.push((name, Expr::coalesce(vec![value.clone(), some_value(ty)])));
        let is_null = Expr::case(vec![(value.is_null(), Expr::int(1))], Some(Expr::int(0)));
        values.push((format!("xt_null_{place}"), is_null));
    }
    values
}

/// The same of what the folders of files say, with `xt_batch_id`; `None` where they do not say it all. A batch has these values whether
/// or not the files have rows.
pub(crate) fn of_folders(cx: &Expand<'_>, as_of: AsOf) -> Result<Option<Rel>, RelError> {
    let Some(said) = cx.folders(as_of)? else { return Ok(None) };
    let keys = cx.flow.input.key_names();
    let in_key = cx.flow.sweeping_folders().into_iter().filter(|column| keys.iter().any(|key| key == column));
    // No row has NULL there.
    let said = said.filter(Expr::all(in_key.map(|column| Expr::column(column).is_null().not())))?;
    let batch = ("xt_batch_id".to_owned(), Expr::column("xt_batch_id"));
    said.project(of_values(cx).into_iter().chain([batch]).collect()).map(Some)
}

/// A value that stands where NULL is, which another column tells.
fn some_value(ty: Type) -> Expr {
    match ty {
        Type::Text => Expr::text(""),
        Type::Int => Expr::int(0),
        Type::Float => Expr::Literal(Value::Float(0.0)),
        Type::Bool => Expr::Literal(Value::Bool(false)),
        Type::Decimal { .. } => Expr::int(0).cast(ty),
        Type::Date => Expr::text("1970-01-01").cast(ty),
        Type::Timestamp => Expr::text("1970-01-01T00:00:00.000000Z").cast(ty),
    }
}
