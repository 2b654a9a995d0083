//! Nodes of the syntax tree. Skeletons are parsed from constant texts, so that a node's many rare parts are the parser's.
#![expect(clippy::wildcard_enum_match_arm, reason = "the parser's syntax tree has many nodes, of which few are made here")]

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

/// Parses a constant statement.
pub(crate) fn statement(text: &'static str) -> ast::Statement {
    match Parser::new(&GenericDialect {}).try_with_sql(text).and_then(|mut parser| parser.parse_statement()) {
        Ok(statement) => statement,
        Err(error) => unreachable!("`{text}` is constant, and valid: {error}"),
    }
}

/// A type, as a dialect writes it.
pub(crate) fn raw_type(text: &str) -> ast::DataType {
    ast::DataType::Custom(ObjectName::from(vec![Ident::new(text)]), Vec::new())
}

/// Several values as one; one as it is.
pub(crate) fn tuple(mut values: Vec<ast::Expr>) -> ast::Expr {
    if values.len() == 1 { values.swap_remove(0) } else { ast::Expr::Tuple(values) }
}

/// A text that stands as it is.
pub(crate) fn placeholder(text: &str) -> ast::Expr {
    ast::Expr::Value(ast::Value::Placeholder(text.to_owned()).into())
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

/// The operands stand in parentheses where it would be read otherwise without, or only by who knows the order by heart.
pub(crate) fn binary(left: ast::Expr, op: ast::BinaryOperator, right: ast::Expr) -> ast::Expr {
    use ast::BinaryOperator::{And, Or, Plus, StringConcat};
    let is_chain = |expr: &ast::Expr| matches!(expr, ast::Expr::BinaryOp { op: own, .. } if *own == op && matches!(op, And | Or | Plus | StringConcat));
    let is_clear = |expr: &ast::Expr| match (&op, expr) {
        (And | Or, ast::Expr::BinaryOp { op: own, .. }) => !matches!(own, And | Or),
        (And | Or, ast::Expr::IsNull(_) | ast::Expr::IsNotNull(_) | ast::Expr::Exists { .. } | ast::Expr::InSubquery { .. }) => true,
        (And | Or, ast::Expr::IsDistinctFrom(..) | ast::Expr::IsNotDistinctFrom(..) | ast::Expr::UnaryOp { .. }) => true,
        _ => false,
    };
    let left = if is_chain(&left) || is_clear(&left) { left } else { nested(left) };
    let associates = matches!(op, And | Or) && is_chain(&right);
    let right = if associates || is_clear(&right) { right } else { nested(right) };
    ast::Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// How many operands stand in a row, and arguments in a call: some databases bound both, at 100 and more.
pub(crate) const IN_A_ROW: usize = 64;

/// Operands of one associative operator. Many of them stand in groups, as databases bound how deep an expression is.
pub(crate) fn chain(op: &ast::BinaryOperator, operands: Vec<ast::Expr>) -> Option<ast::Expr> {
    let operands = match operands.len() > IN_A_ROW {
        true => grouped(operands, |group| chain(op, group).map(nested)),
        false => operands,
    };
    operands.into_iter().reduce(|all, next| binary(all, op.clone(), next))
}

/// Each group's expression in place of its own, until they are few.
pub(crate) fn grouped(mut exprs: Vec<ast::Expr>, join: impl Fn(Vec<ast::Expr>) -> Option<ast::Expr>) -> Vec<ast::Expr> {
    while exprs.len() > IN_A_ROW {
        let mut rest = exprs.into_iter().peekable();
        let mut groups = Vec::new();
        while rest.peek().is_some() {
            groups.extend(join(rest.by_ref().take(IN_A_ROW).collect()));
        }
        exprs = groups;
    }
    exprs
}

pub(crate) fn nested(expr: ast::Expr) -> ast::Expr {
    match expr {
        simple @ (ast::Expr::Identifier(_)
        | ast::Expr::CompoundIdentifier(_)
        | ast::Expr::Value(_)
        | ast::Expr::Function(_)
        | ast::Expr::Nested(_)
        | ast::Expr::Case { .. }
        | ast::Expr::Extract { .. }
        | ast::Expr::Trim { .. }
        | ast::Expr::Cast { .. }) => simple,
        other => ast::Expr::Nested(Box::new(other)),
    }
}

/// `CASE WHEN … END`; `None` without branches.
pub(crate) fn case(branches: Vec<(ast::Expr, ast::Expr)>, otherwise: Option<ast::Expr>) -> Option<ast::Expr> {
    if branches.is_empty() {
        return None;
    }
    let mut expr = skeleton_expr("CASE WHEN a THEN b END");
    if let ast::Expr::Case { conditions, else_result, .. } = &mut expr {
        *conditions = branches.into_iter().map(|(condition, result)| ast::CaseWhen { condition, result }).collect();
        *else_result = otherwise.map(Box::new);
    }
    Some(expr)
}

/// A constant expression in which `a`, `b`, `c` and `d` stand for others.
pub(crate) fn fill(text: &'static str, arguments: &[ast::Expr]) -> ast::Expr {
    let mut expr = skeleton_expr(text);
    let _ = ast::VisitMut::visit(&mut expr, &mut Fill(arguments));
    expr
}

/// The same of a query's skeleton, whose only column gets a name.
pub(crate) fn fill_query(query: &mut Query, arguments: &[ast::Expr], column: Ident) {
    let _ = ast::VisitMut::visit(query, &mut Fill(arguments));
    if let Some(SelectItem::ExprWithAlias { alias, .. }) = select_of(query).projection.first_mut() {
        *alias = column;
    }
}

struct Fill<'a>(&'a [ast::Expr]);

impl ast::VisitorMut for Fill<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> std::ops::ControlFlow<()> {
        if let ast::Expr::Identifier(Ident { value, quote_style: None, .. }) = expr
            && let Some(place) = ["a", "b", "c", "d"].iter().position(|name| name == value)
            && let Some(argument) = self.0.get(place)
        {
            *expr = nested(argument.clone());
        }
        std::ops::ControlFlow::Continue(())
    }
}

/// Takes away parentheses that stand in others, or alone.
pub(crate) fn tidy(query: &mut Query) {
    let _ = ast::visit_expressions_mut(query, |expr| {
        let bare = |inner: &mut ast::Expr| {
            if let ast::Expr::Nested(within) = inner {
                *inner = (**within).clone();
            }
        };
        match expr {
            ast::Expr::Function(function) => {
                if let ast::FunctionArguments::List(list) = &mut function.args {
                    for argument in &mut list.args {
                        if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(inner)) = argument {
                            bare(inner);
                        }
                    }
                }
            }
            ast::Expr::Cast { expr, .. } => bare(expr),
            ast::Expr::Case { conditions, else_result, .. } => {
                for when in conditions {
                    bare(&mut when.condition);
                    bare(&mut when.result);
                }
                else_result.iter_mut().for_each(|otherwise| bare(otherwise));
            }
            _ => (),
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}

pub(crate) fn text(value: &str) -> ast::Expr {
    // The printer takes two quotes in a row for one that is escaped already.
    ast::Expr::Value(ast::Value::SingleQuotedString(value.replace('\'', "''")).into())
}

/// A text where a backslash escapes what stands behind it.
pub(crate) fn text_with_backslashes(value: &str) -> ast::Expr {
    let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
    ast::Expr::Value(ast::Value::SingleQuotedString(escaped).into())
}

pub(crate) fn number(value: impl ToString) -> ast::Expr {
    ast::Expr::Value(ast::Value::Number(value.to_string(), false).into())
}

/// A call of a function by its constant name.
pub(crate) fn call(name: &'static str, arguments: Vec<ast::Expr>) -> ast::Expr {
    // The parser knows SUBSTR and others as syntax of their own, so that the name is put in by itself.
    let mut expr = skeleton_expr("F(a)");
    if let ast::Expr::Function(function) = &mut expr
        && let ast::FunctionArguments::List(list) = &mut function.args
    {
        function.name = ObjectName::from(vec![Ident::new(name)]);
        list.args = arguments.into_iter().map(|argument| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))).collect();
    }
    expr
}
