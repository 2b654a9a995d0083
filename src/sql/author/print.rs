//! A query as text. sqlparser's own printing takes `\"` and `""` within a value for a quote that is escaped already, though the
//! parser takes escapes away: so every quote is doubled first.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArguments, Ident, JoinConstraint, JoinOperator, NamedWindowExpr, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableAlias, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut, WindowType,
};

use super::parts::{alias_of, constraint, ident_mut};

/// The text of a query whose names and values are as they are, without escapes.
pub(super) fn printed(query: &Query) -> String {
    let mut query = query.clone();
    let _ = query.visit(&mut Escape);
    query.to_string()
}

struct Escape;

fn double(text: &mut String, quote: char) {
    if text.contains(quote) {
        *text = text.replace(quote, &format!("{quote}{quote}"));
    }
}

fn ident(ident: &mut Ident) {
    if let Some(quote @ ('"' | '\'' | '`')) = ident.quote_style {
        double(&mut ident.value, quote);
    }
}

fn name(name: &mut ObjectName) {
    name.0.iter_mut().filter_map(ident_mut).for_each(ident);
}

fn alias(alias: &mut TableAlias) {
    ident(&mut alias.name);
    alias.columns.iter_mut().for_each(|column| ident(&mut column.name));
}

fn window(window: &mut WindowType) {
    match window {
        WindowType::NamedWindow(name) => ident(name),
        WindowType::WindowSpec(spec) => spec.window_name.iter_mut().for_each(ident),
    }
}

/// `JOIN … USING (…)`.
fn using(join: &mut JoinOperator) {
    if let Some(JoinConstraint::Using(names)) = constraint(join) {
        names.iter_mut().for_each(name);
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, these hold names or values")]
impl VisitorMut for Escape {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        query.with.iter_mut().flat_map(|with| &mut with.cte_tables).for_each(|table| alias(&mut table.alias));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => ident(alias),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), _) => name(table),
                _ => (),
            }
        }
        select.from.iter_mut().flat_map(|from| &mut from.joins).for_each(|join| using(&mut join.join_operator));
        for definition in &mut select.named_window {
            ident(&mut definition.0);
            match &mut definition.1 {
                NamedWindowExpr::NamedWindow(other) => ident(other),
                NamedWindowExpr::WindowSpec(spec) => spec.window_name.iter_mut().for_each(ident),
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        name(relation);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            table_with_joins.joins.iter_mut().for_each(|join| using(&mut join.join_operator));
        }
        alias_of(factor).into_iter().for_each(alias);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(only) => ident(only),
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(ident),
            Expr::QualifiedWildcard(table, _) => name(table),
            Expr::Collate { collation, .. } => name(collation),
            Expr::Function(function) => {
                name(&mut function.name);
                function.over.iter_mut().for_each(window);
                if let FunctionArguments::List(list) = &mut function.args {
                    for argument in &mut list.args {
                        if let FunctionArg::Named { name, .. } = argument {
                            ident(name);
                        }
                    }
                }
            }
            _ => (),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::SingleQuotedString(text) = &mut value.value {
            double(text, '\'');
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::{
        ast::Statement,
        dialect::{Dialect, PostgreSqlDialect, SQLiteDialect},
        parser::Parser,
    };

    use super::*;

    fn query(sql: &str, syntax: &dyn Dialect) -> Box<Query> {
        let statements = Parser::parse_sql(syntax, sql).unwrap_or_else(|why| panic!("{why}: {sql}"));
        let Ok([Statement::Query(query)]) = <[Statement; 1]>::try_from(statements) else { panic!("one query: {sql}") };
        query
    }

    /// All texts of up to so many of some letters.
    fn texts(most: u32) -> impl Iterator<Item = String> {
        const LETTERS: [char; 5] = ['a', '\\', '"', '\'', '`'];
        let text =
            |length: u32, number: usize| (0..length).map(move |at| LETTERS[number / LETTERS.len().pow(at) % LETTERS.len()]).collect();
        (1..=most).flat_map(move |length| (0..LETTERS.len().pow(length)).map(move |number| text(length, number)))
    }

    #[test]
    fn names_and_texts_are_what_they_were() {
        for name in texts(4) {
            let n = format!("\"{}\"", name.replace('"', "\"\""));
            let text = format!("'{}'", name.replace('\'', "''"));
            let sql = format!(
                "WITH {n} ({n}) AS (SELECT {n} AS {n} FROM {n}.{n} AS {n} WHERE {n}.{n} = {text}) \
                 SELECT {n}.*, {n}.{n} AS {n}, {n}(x) OVER {n}, SUM(x) OVER ({n} ORDER BY {n}) FROM {n} \
                 JOIN (SELECT 1 AS {n} UNION SELECT {text} COLLATE {n}) AS {n} ({n}) USING({n}) \
                 LEFT JOIN ({n} AS {n} JOIN {n} USING({n})) ON {n}.{n} = {n}.{n} \
                 WINDOW {n} AS (PARTITION BY {n}) ORDER BY {n}"
            );
            for syntax in [&SQLiteDialect {} as &dyn Dialect, &PostgreSqlDialect {}] {
                assert_eq!(printed(&query(&sql, syntax)), sql);
            }
        }
    }
}
