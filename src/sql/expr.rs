//! Expressions.
#![expect(clippy::wildcard_enum_match_arm, reason = "few forms are special; the dialect writes all others")]

use chrono::DateTime;
use qetl_core::{
    Type,
    ir::{AggregateFunction, BinaryOp, Expr, Function, Order, Param, RelError, Side, Value, WindowFunction},
};
use sqlparser::ast;

use crate::{
    Of, Sql, Unsupported,
    block::{Block, Computation, Computed, computed_place, is_constant},
    dialects::{Fold, operator},
    tree,
};

/// What an expression's columns and parameters mean.
pub(crate) struct Scope<'a> {
    pub(crate) sql: &'a Sql<'a>,
    pub(crate) block: &'a Block,
    /// What the block's sources are called.
    pub(crate) labels: Vec<String>,
    /// Whether columns are named with their source.
    pub(crate) qualified: bool,
}

impl Scope<'_> {
    pub(crate) fn lower(&self, expr: &Expr) -> Result<ast::Expr, Unsupported> {
        let dialect = self.sql.dialect;
        match expr {
            Expr::Column { side: None, name } => match computed_place(name).and_then(|place| self.block.computed.get(place)) {
                Some(computed) => self.computed(computed),
                None => Ok(self.sql.column(name)),
            },
            Expr::Column { side: Some(side), name } => Ok(self.column(*side, name)),
            Expr::Literal(value) => self.literal(value),
            Expr::Param(Param::BatchId) => Ok(self.sql.batch_id()),
            Expr::Param(Param::ProcessedAt) => match self.sql.batch {
                Of::Batch(batch) => dialect.timestamp(&iso(batch.processed_at)),
                Of::Parameters(parameters) => dialect.cast(tree::placeholder(&parameters.processed_at), Type::Text, Type::Timestamp),
            },
            Expr::Binary { op: BinaryOp::IsDistinct, left, right } => {
                Ok(dialect.is_distinct(self.ty(left), self.lower(left)?, self.lower(right)?))
            }
            Expr::Binary { op: BinaryOp::IsNotDistinct, left, right } => {
                Ok(dialect.is_not_distinct(self.ty(left), self.lower(left)?, self.lower(right)?))
            }
            Expr::Binary { op: op @ (BinaryOp::And | BinaryOp::Or), .. } => {
                let mut conditions = Vec::new();
                flatten(*op, expr, &mut conditions);
                let conditions = conditions.into_iter().map(|condition| self.lower(condition)).collect::<Result<_, _>>()?;
                let chain = tree::chain(&operator(*op), conditions);
                Ok(chain.unwrap_or_else(|| unreachable!("it has two sides")))
            }
            // What is not told apart from the column beside it is told by all its digits.
            Expr::Binary { op, left, right } => {
                dialect.binary(*op, wider(self.ty(left), self.ty(right)), self.lower(left)?, self.lower(right)?)
            }
            Expr::Not(expr) => match &**expr {
                Expr::IsNull(expr) => Ok(ast::Expr::IsNotNull(Box::new(tree::nested(self.lower(expr)?)))),
                Expr::Binary { op: BinaryOp::IsDistinct, left, right } => {
                    self.lower(&left.clone().binary(BinaryOp::IsNotDistinct, *right.clone()))
                }
                Expr::Binary { op: BinaryOp::IsNotDistinct, left, right } => {
                    self.lower(&left.clone().binary(BinaryOp::IsDistinct, *right.clone()))
                }
                Expr::Literal(Value::Bool(value)) => self.literal(&Value::Bool(!value)),
                _ => Ok(ast::Expr::UnaryOp { op: ast::UnaryOperator::Not, expr: Box::new(tree::nested(self.lower(expr)?)) }),
            },
            Expr::IsNull(expr) => Ok(ast::Expr::IsNull(Box::new(tree::nested(self.lower(expr)?)))),
            Expr::Case { branches, otherwise } => {
                let branches = branches.iter().map(|(when, then)| Ok((self.lower(when)?, self.lower(then)?)));
                let otherwise = otherwise.as_ref().filter(|expr| !matches!(&***expr, Expr::Literal(Value::Null(_))));
                let otherwise = otherwise.map(|expr| self.lower(expr)).transpose()?;
                let cases = branches.collect::<Result<_, Unsupported>>()?;
                tree::case(cases, otherwise).ok_or_else(|| self.sql.unsupported("a case without branches"))
            }
            Expr::Cast { expr: inner, ty } => match (&**inner, *ty) {
                (Expr::Literal(Value::Text(text)), Type::Text) => self.text(text),
                (Expr::Literal(Value::Null(_)), _) => dialect.null(*ty),
                _ => dialect.cast(self.lower(inner)?, self.ty(inner), *ty),
            },
            Expr::JoinText { parts, .. } if parts.is_empty() => dialect.null(Type::Text),
            Expr::JoinText { separator, parts } => {
                dialect.join_text(separator, parts.iter().map(|part| self.lower(part)).collect::<Result<_, _>>()?)
            }
            Expr::Call { function: Function::BatchHas { column }, arguments } => {
                let [batch] = arguments.as_slice() else { unreachable!("it has one argument") };
                self.lower(&batch.clone().is_outside(self.sql.batch.lacking(column)))
            }
            Expr::Call { function, arguments } => {
                let lowered = arguments.iter().map(|argument| self.lower(argument)).collect::<Result<Vec<_>, _>>()?;
                match function {
                    Function::FilePosition => self.file_position(lowered),
                    other => dialect.call(other, lowered),
                }
            }
        }
    }

    /// What a SELECT gives, or a function takes: a NULL alone has no type otherwise.
    pub(crate) fn result(&self, expr: &Expr) -> Result<ast::Expr, Unsupported> {
        match expr {
            Expr::Literal(Value::Null(ty)) => self.sql.dialect.null(*ty),
            _ => self.lower(expr),
        }
    }

    pub(crate) fn column(&self, side: Side, name: &str) -> ast::Expr {
        let place = usize::from(side == Side::Right);
        match self.labels.get(place).filter(|_| self.qualified) {
            Some(label) => ast::Expr::CompoundIdentifier(vec![self.sql.ident(label), self.sql.ident(name)]),
            None => self.sql.column(name),
        }
    }

    fn computed(&self, computed: &Computed) -> Result<ast::Expr, Unsupported> {
        let dialect = self.sql.dialect;
        let fold = |function: &'static str, kind: Fold, expr: &Expr| {
            let ty = self.ty(expr);
            let function = if kind == Fold::Sum { dialect.sum(ty) } else { function };
            let call = tree::call(function, vec![dialect.operand(kind, ty, self.result(expr)?)?]);
            Ok((call, kind, ty))
        };
        match &computed.what {
            Computation::Aggregate(function) => {
                let (call, kind, ty) = match function {
                    AggregateFunction::Count => return Ok(tree::skeleton_expr("COUNT(*)")),
                    AggregateFunction::Sum(expr) => fold("SUM", Fold::Sum, expr)?,
                    AggregateFunction::Min(expr) => fold("MIN", Fold::Extreme, expr)?,
                    AggregateFunction::Max(expr) => fold("MAX", Fold::Extreme, expr)?,
                };
                dialect.folded(kind, ty, call)
            }
            Computation::Window { function, partition, order } => {
                let plain = |call: ast::Expr| (call, Fold::Extreme, Type::Int);
                let running = "SUM(a) OVER (PARTITION BY a ORDER BY a ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)";
                let beyond = "MIN(a) OVER (PARTITION BY a ORDER BY a RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)";
                let (over, (call, kind, ty)) = match function {
                    WindowFunction::RowNumber => {
                        ("ROW_NUMBER() OVER (PARTITION BY a ORDER BY a)", plain(tree::call("ROW_NUMBER", Vec::new())))
                    }
                    WindowFunction::Lag(expr) => {
                        ("LAG(a) OVER (PARTITION BY a ORDER BY a)", plain(tree::call("LAG", vec![self.result(expr)?])))
                    }
                    WindowFunction::Lead(expr) => {
                        ("LAG(a) OVER (PARTITION BY a ORDER BY a)", plain(tree::call("LEAD", vec![self.result(expr)?])))
                    }
                    WindowFunction::First(expr) => (dialect.first_value(), plain(tree::call("FIRST_VALUE", vec![self.result(expr)?]))),
                    WindowFunction::RunningSum(expr) => (running, fold("SUM", Fold::Sum, expr)?),
                    WindowFunction::RunningMax(expr) => (running, fold("MAX", Fold::Extreme, expr)?),
                    WindowFunction::MinBeyond { of, .. } => (beyond, fold("MIN", Fold::Extreme, of)?),
                };
                let mut window = tree::skeleton_expr(over);
                if let (ast::Expr::Function(place), ast::Expr::Function(called)) = (&mut window, call) {
                    (place.name, place.args) = (called.name, called.args);
                    if let Some(ast::WindowType::WindowSpec(spec)) = &mut place.over {
                        spec.partition_by =
                            partition.iter().filter(|key| !is_constant(key)).map(|key| self.lower(key)).collect::<Result<_, _>>()?;
                        spec.order_by = self.order(order)?;
                        if let (Some(frame), WindowFunction::MinBeyond { distance, .. }) = (&mut spec.window_frame, function) {
                            frame.start_bound = ast::WindowFrameBound::Following(Some(Box::new(tree::number(distance.saturating_add(1)))));
                        }
                    }
                }
                match function {
                    WindowFunction::RowNumber | WindowFunction::Lag(_) | WindowFunction::Lead(_) | WindowFunction::First(_) => Ok(window),
                    _ => dialect.folded(kind, ty, window),
                }
            }
        }
    }

    pub(crate) fn order(&self, order: &[Order]) -> Result<Vec<ast::OrderByExpr>, Unsupported> {
        let mut keys = Vec::new();
        for key in order {
            let lowered = self.lower(&key.by)?;
            // A number would be taken for a column's place.
            if !matches!(lowered, ast::Expr::Value(_)) {
                keys.extend(self.sql.dialect.order(lowered, self.ty(&key.by), key.descending));
            }
        }
        Ok(keys)
    }

    /// Files that stand first in their batch need no branch.
    fn file_position(&self, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        let [batch, file] = <[ast::Expr; 2]>::try_from(arguments).unwrap_or_else(|_| unreachable!("it has two arguments"));
        let Of::Batch(known) = self.sql.batch else { unreachable!("the recorded positions are joined beforehand") };
        let mut branches = Vec::new();
        for (id, names) in &known.files {
            for (name, place) in names.iter().zip(0_i64..).skip(1) {
                let of_batch = tree::binary(batch.clone(), ast::BinaryOperator::Eq, tree::number(id));
                let named = tree::binary(file.clone(), ast::BinaryOperator::Eq, self.text(name)?);
                branches.push((tree::and(Some(of_batch), named), tree::number(place)));
            }
        }
        Ok(tree::case(branches, Some(tree::number(0))).unwrap_or_else(|| tree::number(0)))
    }

    fn text(&self, value: &str) -> Result<ast::Expr, Unsupported> {
        if value.contains('\0') { Err(self.sql.unsupported("a NUL character in a text")) } else { Ok(self.sql.dialect.text(value)) }
    }

    fn literal(&self, value: &Value) -> Result<ast::Expr, Unsupported> {
        match value {
            // Typed by what stands beside it.
            Value::Null(_) => Ok(ast::Expr::Value(ast::Value::Null.into())),
            Value::Text(value) => self.text(value),
            Value::Int(value) => Ok(tree::number(value)),
            Value::Float(value) if value.is_finite() => Ok(tree::number(format!("{value:e}"))),
            Value::Float(_) => Err(self.sql.unsupported("NaN or an infinity")),
            Value::Bool(value) => Ok(ast::Expr::Value(ast::Value::Boolean(*value).into())),
        }
    }

    /// The type; of a decimal with no more digits than its value can have.
    fn ty(&self, expr: &Expr) -> Type {
        match expr {
            Expr::Cast { expr: inner, ty: Type::Decimal { precision, scale } } => match (self.ty(inner), &**inner) {
                (Type::Decimal { precision: from, scale: old }, _) if old <= *scale => {
                    Type::Decimal { precision: (from + (scale - old)).min(*precision), scale: *scale }
                }
                (Type::Int, Expr::Literal(Value::Int(0))) => Type::Decimal { precision: (*scale).max(1), scale: *scale },
                _ => Type::Decimal { precision: *precision, scale: *scale },
            },
            Expr::Binary { op: BinaryOp::Plus | BinaryOp::Minus, left, right } => match wider(self.ty(left), self.ty(right)) {
                Type::Decimal { precision, scale } => Type::Decimal { precision: precision.saturating_add(1).min(38), scale },
                other => other,
            },
            Expr::Call { function: Function::Coalesce, arguments } => {
                arguments.iter().map(|argument| self.ty(argument)).reduce(wider).unwrap_or(Type::Text)
            }
            Expr::Case { branches, otherwise } => {
                let results = branches.iter().map(|(_, then)| then).chain(otherwise.as_deref());
                let typed = results.filter(|expr| !matches!(expr, Expr::Literal(Value::Null(_))));
                typed.map(|expr| self.ty(expr)).reduce(wider).unwrap_or_else(|| self.declared(expr))
            }
            _ => self.declared(expr),
        }
    }

    fn declared(&self, expr: &Expr) -> Type {
        let of_source = |place: usize, name: &str| Some(self.block.sources.get(place)?.schema.column(name)?.ty);
        let column = |side: Option<Side>, name: &str| {
            let found = match side {
                Some(Side::Left) => of_source(0, name),
                Some(Side::Right) => of_source(1, name),
                None => computed_place(name).and_then(|place| self.block.computed.get(place)).map(|computed| computed.ty),
            };
            found.ok_or_else(|| RelError::NoColumn(name.to_owned(), Vec::new()))
        };
        expr.ty_over(&column).unwrap_or_else(|why| unreachable!("relations are checked when they are built: {why}"))
    }
}

/// The conditions that an operator joins, in order.
fn flatten<'e>(op: BinaryOp, expr: &'e Expr, conditions: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Binary { op: own, left, right } if *own == op => {
            flatten(op, left, conditions);
            flatten(op, right, conditions);
        }
        other => conditions.push(other),
    }
}

/// The decimal that holds both.
fn wider(a: Type, b: Type) -> Type {
    match (a, b) {
        (Type::Decimal { precision, scale }, Type::Decimal { precision: other, .. }) => {
            Type::Decimal { precision: precision.max(other), scale }
        }
        _ => a,
    }
}

/// An instant in ISO 8601.
pub(crate) fn iso(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
