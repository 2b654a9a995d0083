//! What a snapshot of some values is a snapshot of.

use qetl_core::{
    Type,
    ir::{Expr, Value},
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
