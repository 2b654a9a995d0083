//! Long chains of operators and of SELECTs: a planner that looks at a chain anew from each of its links takes more than its share of
//! time. A chain of arithmetic becomes one call, those of AND, OR, `||` and UNION become trees of little depth; what they say stays.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query, SetExpr, SetOperator, SetQuantifier, Value, VisitMut, VisitorMut};

use crate::exact::CHAIN;

/// The longest chain that stays as it is.
const LONG: usize = 16;

/// Shortens what is long.
pub(super) fn shorten(query: &mut Query) {
    let _ = query.visit(&mut Shorten);
}

struct Shorten;

impl VisitorMut for Shorten {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        shorten_unions(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::BinaryOp { op, .. } = expr else { return ControlFlow::Continue(()) };
        let own = op.clone();
        let is_link: fn(&BinaryOperator, &BinaryOperator) -> bool = match own {
            BinaryOperator::And | BinaryOperator::Or | BinaryOperator::StringConcat => |own, other| own == other,
            _ if symbol(&own).is_some() => |_, other| symbol(other).is_some(),
            _ => return ControlFlow::Continue(()),
        };
        if length(expr, |other| is_link(&own, other)) <= LONG {
            return ControlFlow::Continue(());
        }
        let (operands, ops) = links(expr, |other| is_link(&own, other));
        *expr = if symbol(&own).is_some() { call(operands, &ops) } else { tree(operands, &own) };
        ControlFlow::Continue(())
    }
}

/// An operator of arithmetic as [`CHAIN`] names it.
fn symbol(op: &BinaryOperator) -> Option<char> {
    Some(match op {
        BinaryOperator::Plus => '+',
        BinaryOperator::Minus => '-',
        BinaryOperator::Multiply => '*',
        BinaryOperator::Divide => '/',
        BinaryOperator::Modulo => '%',
        _ => return None,
    })
}

fn length(mut expr: &Expr, is_link: impl Fn(&BinaryOperator) -> bool) -> usize {
    let mut length = 0;
    while let Expr::BinaryOp { left, op, .. } = expr
        && is_link(op)
    {
        length += 1;
        expr = left;
    }
    length
}

fn nothing() -> Expr {
    Expr::Value(Value::Null.into())
}

/// The operands from left to right, and the operators between them.
fn links(expr: &mut Expr, is_link: impl Fn(&BinaryOperator) -> bool) -> (Vec<Expr>, Vec<BinaryOperator>) {
    let (mut operands, mut ops) = (Vec::new(), Vec::new());
    let mut rest = std::mem::replace(expr, nothing());
    loop {
        match rest {
            Expr::BinaryOp { left, op, right } if is_link(&op) => {
                operands.push(*right);
                ops.push(op);
                rest = *left;
            }
            first => {
                operands.push(first);
                break;
            }
        }
    }
    operands.reverse();
    ops.reverse();
    (operands, ops)
}

/// Operands of one operator that may be taken in any grouping.
fn tree(mut operands: Vec<Expr>, op: &BinaryOperator) -> Expr {
    while operands.len() > 1 {
        let mut pairs = operands.into_iter();
        let mut next = Vec::new();
        while let Some(left) = pairs.next() {
            next.push(match pairs.next() {
                Some(right) => Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) },
                None => left,
            });
        }
        operands = next;
    }
    operands.pop().unwrap_or_else(nothing)
}

fn call(operands: Vec<Expr>, ops: &[BinaryOperator]) -> Expr {
    let ops: String = ops.iter().filter_map(symbol).collect();
    let first = Expr::Value(Value::SingleQuotedString(ops).into());
    super::call(CHAIN, std::iter::once(first).chain(operands))
}

/// SELECTs that are united in any grouping.
fn shorten_unions(body: &mut SetExpr) {
    let SetExpr::SetOperation { op: own, set_quantifier: quantifier, .. } = body else { return };
    let (own, quantifier) = (*own, *quantifier);
    let is_link = |op: SetOperator, of: SetQuantifier| op == own && of == quantifier;
    if matches!(own, SetOperator::Except | SetOperator::Minus) {
        return;
    }
    let (mut length, mut rest) = (0, &*body);
    while let SetExpr::SetOperation { left, op, set_quantifier, .. } = rest
        && is_link(*op, *set_quantifier)
    {
        length += 1;
        rest = left;
    }
    if length <= LONG {
        return;
    }
    let empty = || SetExpr::Values(datafusion::sql::sqlparser::ast::Values { explicit_row: false, value_keyword: false, rows: Vec::new() });
    let mut parts = Vec::new();
    let mut rest = std::mem::replace(body, empty());
    loop {
        match rest {
            SetExpr::SetOperation { left, op, set_quantifier, right } if is_link(op, set_quantifier) => {
                parts.push(*right);
                rest = *left;
            }
            first => {
                parts.push(first);
                break;
            }
        }
    }
    parts.reverse();
    while parts.len() > 1 {
        let mut pairs = parts.into_iter();
        let mut next = Vec::new();
        while let Some(left) = pairs.next() {
            next.push(match pairs.next() {
                Some(right) => SetExpr::SetOperation { left: Box::new(left), op: own, set_quantifier: quantifier, right: Box::new(right) },
                None => left,
            });
        }
        parts = next;
    }
    *body = parts.pop().unwrap_or_else(empty);
}
