//! Expressions.
#![expect(clippy::wildcard_enum_match_arm, reason = "the dialect writes all other functions")]

use chrono::DateTime;
use qetl_core::{
    Type,
    ir::{BinaryOp, Expr, Function, Param, Side, Value},
};
use sqlparser::ast::{self, BinaryOperator, CaseWhen};

use crate::{Batch, Dialect, Unsupported, tree};

/// What an expression's columns and parameters mean.
pub(crate) struct Scope<'a> {
    pub(crate) dialect: &'a dyn Dialect,
    pub(crate) batch: &'a Batch,
    /// The alias of the relation whose columns need no side; empty for bare names.
    pub(crate) alias: &'a str,
}

impl Scope<'_> {
    pub(crate) fn column(&self, alias: &str, name: &str) -> ast::Expr {
        let ident = |name: &str| tree::ident(self.dialect.quote(), name);
        if alias.is_empty() { ast::Expr::Identifier(ident(name)) } else { ast::Expr::CompoundIdentifier(vec![ident(alias), ident(name)]) }
    }

    pub(crate) fn lower(&self, expr: &Expr) -> Result<ast::Expr, Unsupported> {
        match expr {
            Expr::Column { side, name } => Ok(match side {
                None => self.column(self.alias, name),
                Some(Side::Left) => self.column("l", name),
                Some(Side::Right) => self.column("r", name),
            }),
            Expr::Literal(value) => self.literal(value),
            Expr::Param(Param::BatchId) => Ok(tree::number(self.batch.batch_id)),
            Expr::Param(Param::ProcessedAt) => {
                let time = DateTime::from_timestamp_micros(self.batch.processed_at).unwrap_or_default();
                self.dialect.timestamp(&time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
            }
            Expr::Binary { op: BinaryOp::IsDistinct, left, right } => Ok(self.dialect.is_distinct(self.lower(left)?, self.lower(right)?)),
            Expr::Binary { op: BinaryOp::IsNotDistinct, left, right } => {
                Ok(self.dialect.is_not_distinct(self.lower(left)?, self.lower(right)?))
            }
            Expr::Binary { op, left, right } => Ok(tree::binary(self.lower(left)?, operator(*op), self.lower(right)?)),
            Expr::Not(expr) => Ok(ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(tree::nested(self.lower(expr)?)) }),
            Expr::IsNull(expr) => Ok(ast::Expr::IsNull(Box::new(tree::nested(self.lower(expr)?)))),
            Expr::Case { branches, otherwise } => {
                let branches = branches.iter().map(|(when, then)| Ok(CaseWhen { condition: self.lower(when)?, result: self.lower(then)? }));
                let otherwise = otherwise.as_ref().map(|expr| self.lower(expr)).transpose()?;
                case(branches.collect::<Result<_, _>>()?, otherwise).ok_or_else(|| self.unsupported("a case without branches"))
            }
            Expr::Cast { expr, ty } => self.dialect.cast(self.lower(expr)?, *ty),
            Expr::JoinText { parts, .. } if parts.is_empty() => self.literal(&Value::Null(Type::Text)),
            Expr::JoinText { separator, parts } => {
                Ok(self.dialect.join_text(separator, parts.iter().map(|part| self.lower(part)).collect::<Result<_, _>>()?))
            }
            Expr::Call { function, arguments } => {
                let lowered = arguments.iter().map(|argument| self.lower(argument)).collect::<Result<Vec<_>, _>>()?;
                match function {
                    Function::FilePosition => Ok(self.file_position(lowered)),
                    other => self.dialect.call(other, lowered),
                }
            }
        }
    }

    /// Files that stand first in their batch need no branch.
    fn file_position(&self, arguments: Vec<ast::Expr>) -> ast::Expr {
        let [batch, file] = <[ast::Expr; 2]>::try_from(arguments).unwrap_or_else(|_| unreachable!("it has two arguments"));
        let files =
            self.batch.files.iter().flat_map(|(id, names)| names.iter().zip(0..).skip(1).map(move |(name, place)| (id, name, place)));
        let branches = files.map(|(id, name, place)| {
            let of_batch = tree::binary(batch.clone(), BinaryOperator::Eq, tree::number(id));
            let named = tree::binary(file.clone(), BinaryOperator::Eq, tree::text(name));
            CaseWhen { condition: tree::and(Some(of_batch), named), result: tree::number(place) }
        });
        case(branches.collect(), Some(tree::number(0))).unwrap_or_else(|| tree::number(0))
    }

    fn unsupported(&self, what: &str) -> Unsupported {
        Unsupported { dialect: self.dialect.name(), what: what.to_owned() }
    }

    fn literal(&self, value: &Value) -> Result<ast::Expr, Unsupported> {
        match value {
            // Typed by its context: every NULL of the IR stands beside a value of its type, or in a column of a union.
            Value::Null(_) => Ok(ast::Expr::Value(ast::Value::Null.into())),
            Value::Text(value) if value.contains('\0') => Err(self.unsupported("a NUL character in a text")),
            Value::Text(value) => Ok(tree::text(value)),
            Value::Int(value) => Ok(tree::number(value)),
            Value::Float(value) if value.is_finite() => Ok(tree::number(format!("{value:e}"))),
            Value::Float(_) => Err(self.unsupported("NaN or an infinity")),
            Value::Bool(value) => Ok(ast::Expr::Value(ast::Value::Boolean(*value).into())),
        }
    }
}

fn case(conditions: Vec<CaseWhen>, otherwise: Option<ast::Expr>) -> Option<ast::Expr> {
    if conditions.is_empty() {
        return None;
    }
    let mut expr = tree::skeleton_expr("CASE WHEN a THEN b END");
    if let ast::Expr::Case { conditions: place, else_result, .. } = &mut expr {
        *place = conditions;
        *else_result = otherwise.map(Box::new);
    }
    Some(expr)
}

fn operator(op: BinaryOp) -> BinaryOperator {
    match op {
        BinaryOp::Eq => BinaryOperator::Eq,
        BinaryOp::NotEq => BinaryOperator::NotEq,
        BinaryOp::Lt => BinaryOperator::Lt,
        BinaryOp::LtEq => BinaryOperator::LtEq,
        BinaryOp::Gt => BinaryOperator::Gt,
        BinaryOp::GtEq => BinaryOperator::GtEq,
        BinaryOp::And => BinaryOperator::And,
        BinaryOp::Or => BinaryOperator::Or,
        BinaryOp::Plus => BinaryOperator::Plus,
        BinaryOp::Minus => BinaryOperator::Minus,
        BinaryOp::Divide => BinaryOperator::Divide,
        BinaryOp::IsDistinct | BinaryOp::IsNotDistinct => unreachable!("the dialect writes them"),
    }
}
