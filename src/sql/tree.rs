//! Nodes of the syntax tree. Skeletons are parsed from constant texts, so that a node's many rare parts are the parser's.
#![expect(clippy::wildcard_enum_match_arm, reason = "the parser's syntax tree has many nodes, of which few are made here")]

use qetl_core::schema::Type;
use sqlparser::{
    ast::{self, Ident, ObjectName, Query, Select, SelectItem, SetExpr, TableFactor},
    dialect::GenericDialect,
    parser::Parser,
};

/// Parses a constant text.
pub(crate) fn skeleton(text: &'static str) -> Query {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_query());
    match parsed {
        Ok(query) => *query,
        Err(error) => unreachable!("`{text}` is constant, and valid: {error}"),
    }
}

/// Parses a constant expression.
pub(crate) fn skeleton_expr(text: &'static str) -> ast::Expr {
    match Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_expr()) {
        Ok(expr) => expr,
        Err(error) => unreachable!("`{text}` is constant, and valid: {error}"),
    }
}

/// Parses a type's name, which a dialect gives.
pub(crate) fn data_type(text: &str, ty: Type) -> ast::DataType {
    match Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_data_type()) {
        Ok(parsed) => parsed,
        Err(error) => unreachable!("a dialect's name for {ty} is a type: {error}"),
    }
}

/// The `SELECT` of a skeleton.
pub(crate) fn select_of(query: &mut Query) -> &mut Select {
    match &mut *query.body {
        SetExpr::Select(select) => select,
        _ => unreachable!("the skeleton is a SELECT"),
    }
}

/// `SELECT items FROM table AS alias`.
pub(crate) fn select(items: Vec<SelectItem>, from: TableFactor) -> Query {
    let mut query = skeleton("SELECT 1 FROM t");
    let select = select_of(&mut query);
    select.projection = items;
    select.from[0].relation = from;
    query
}

pub(crate) fn named_table(name: ObjectName, alias: Option<&str>, quote: char) -> TableFactor {
    let mut query = skeleton("SELECT 1 FROM t AS a");
    let factor = &mut select_of(&mut query).from[0].relation;
    if let TableFactor::Table { name: place, alias: as_name, .. } = factor {
        *place = name;
        match alias {
            Some(alias) => as_name.iter_mut().for_each(|place| place.name = ident(quote, alias)),
            None => *as_name = None,
        }
    }
    factor.clone()
}

pub(crate) fn derived_table(inner: Query, alias: &str, quote: char) -> TableFactor {
    let mut query = skeleton("SELECT 1 FROM (SELECT 1) AS a");
    let factor = &mut select_of(&mut query).from[0].relation;
    if let TableFactor::Derived { subquery, alias: as_name, .. } = factor {
        **subquery = inner;
        as_name.iter_mut().for_each(|place| place.name = ident(quote, alias));
    }
    factor.clone()
}

/// A quoted name. The printer takes two quotes in a row for one that is escaped already.
pub fn ident(quote: char, name: &str) -> Ident {
    Ident::with_quote(quote, name.replace(quote, &format!("{quote}{quote}")))
}

pub(crate) fn and(left: Option<ast::Expr>, right: ast::Expr) -> ast::Expr {
    match left {
        Some(left) => binary(left, ast::BinaryOperator::And, right),
        None => right,
    }
}

/// Both sides stand in parentheses unless they are simple: printed text must not be read otherwise.
pub(crate) fn binary(left: ast::Expr, op: ast::BinaryOperator, right: ast::Expr) -> ast::Expr {
    ast::Expr::BinaryOp { left: Box::new(nested(left)), op, right: Box::new(nested(right)) }
}

pub(crate) fn nested(expr: ast::Expr) -> ast::Expr {
    match expr {
        simple @ (ast::Expr::Identifier(_)
        | ast::Expr::CompoundIdentifier(_)
        | ast::Expr::Value(_)
        | ast::Expr::Function(_)
        | ast::Expr::Nested(_)
        | ast::Expr::Cast { .. }) => simple,
        other => ast::Expr::Nested(Box::new(other)),
    }
}

pub(crate) fn text(value: &str) -> ast::Expr {
    // The printer takes two quotes in a row for one that is escaped already.
    ast::Expr::Value(ast::Value::SingleQuotedString(value.replace('\'', "''")).into())
}

pub(crate) fn number(value: impl ToString) -> ast::Expr {
    ast::Expr::Value(ast::Value::Number(value.to_string(), false).into())
}

/// A call of a function by its constant name.
pub(crate) fn call(skeleton: &'static str, arguments: Vec<ast::Expr>) -> ast::Expr {
    // The parser knows SUBSTR and others as syntax of their own, so that the name is put in by itself.
    let mut expr = skeleton_expr("F(a)");
    if let ast::Expr::Function(function) = &mut expr
        && let ast::FunctionArguments::List(list) = &mut function.args
    {
        function.name = ObjectName::from(vec![Ident::new(skeleton.split('(').next().unwrap_or_default())]);
        list.args = arguments.into_iter().map(|argument| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))).collect();
    }
    expr
}
