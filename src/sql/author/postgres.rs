//! Averages of decimals on PostgreSQL, which rounds them to a number of digits that depends on the values: here they have as
//! many as on qetl's other engines, rounded half away from zero.

use qetl_core::Type;
use sqlparser::ast::{Expr, Function, Ident, ObjectName};

use super::{
    Case, Kinds, Rules, Wrong,
    types::{self, DIGITS, arguments, decimal, plain_number, scale_of_average},
};
use crate::tree;

/// Gives averages of decimals the digits that they have on other engines.
#[derive(Debug, Default)]
pub struct PostgresRules {
    changed: bool,
}

impl Rules for PostgresRules {
    fn case(&self) -> Case {
        Case::Lower
    }

    fn changed(&self) -> bool {
        self.changed
    }

    fn expression(&mut self, expr: &mut Expr, kinds: &Kinds) -> Result<Option<Type>, Wrong> {
        let ty = match plain_number(expr) {
            Some((_, scale)) if scale > 0 => Some(decimal(scale)),
            _ => types::of(expr, kinds),
        };
        if let Expr::Function(function) = expr
            && types::name(function) == "avg"
            && let Some(Type::Decimal { scale, .. }) = arguments(function).first().and_then(|first| kinds.of(first))
        {
            let called = |name: &str| Expr::Function(Function { name: ObjectName::from(vec![Ident::new(name)]), ..function.clone() });
            let scale = scale_of_average(scale);
            let one = tree::number(format!("1{}", "0".repeat(usize::from(scale))));
            let last = tree::number(format!("0.{:0>1$}", 1, usize::from(scale)));
            // What DIV and products give is exact, whatever the number of digits.
            let average = tree::fill("DIV(2 * a * c + SIGN(a) * b, 2 * b) * d", &[called("SUM"), called("COUNT"), one, last]);
            self.changed = true;
            *expr = Expr::Cast {
                kind: sqlparser::ast::CastKind::Cast,
                expr: Box::new(average),
                data_type: tree::raw_type(&format!("NUMERIC({DIGITS},{scale})")),
                array: false,
                format: None,
            };
            return Ok(Some(decimal(scale)));
        }
        Ok(ty)
    }

    fn result_name(&self, expr: &Expr) -> Option<String> {
        matches!(expr, Expr::Function(function) if types::name(function) == "avg").then(|| "avg".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::PostgreSqlDialect;

    use super::super::{Named, Table, prepare};
    use super::*;

    #[test]
    fn averages_of_decimals_have_four_digits_more() {
        let column = |name: &str, ty: Type| Named { name: name.to_owned(), ty: Some(ty) };
        let table = Table { name: vec!["t".to_owned()], columns: vec![column("n", Type::Int), column("amount", decimal(2))] };
        let written =
            |sql: &str| prepare(sql, &PostgreSqlDialect {}, &|_| Some(table.clone()), &mut PostgresRules::default()).unwrap().text;
        assert_eq!(written("SELECT avg(n) FROM t"), "SELECT avg(n) FROM t");
        assert!(written("SELECT avg(amount * 0.01) AS a FROM t").ends_with("AS NUMERIC(38,8)) AS a FROM t"));
        assert_eq!(
            written("SELECT avg(amount) FROM t"),
            "SELECT CAST(DIV(2 * SUM(amount) * 1000000 + SIGN(SUM(amount)) * COUNT(amount), 2 * COUNT(amount)) * 0.000001 \
             AS NUMERIC(38,6)) AS \"avg\" FROM t"
        );
    }
}
