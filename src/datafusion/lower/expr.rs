//! Expressions.

use arrow::datatypes::DataType;
use datafusion::{
    common::{Result, plan_err},
    functions::expr_fn::{coalesce, concat_ws, nullif, replace},
    logical_expr::{Expr as Lowered, Operator, binary_expr, cast, conditional_expressions::CaseBuilder, lit},
    scalar::ScalarValue,
};
use qetl_core::{
    Type,
    ir::{BinaryOp, Expr, Function, Param, Side, Value},
};
use qetl_ingest::arrow_type;
use qetl_runtime::BatchContext;

use super::{column, column_of};
use crate::functions;

/// What an expression's columns and parameters mean.
pub(crate) struct Scope<'a> {
    batch: &'a BatchContext,
    is_join: bool,
}

impl<'a> Scope<'a> {
    pub(crate) fn of(batch: &'a BatchContext) -> Self {
        Self { batch, is_join: false }
    }

    pub(crate) fn of_join(batch: &'a BatchContext) -> Self {
        Self { batch, is_join: true }
    }

    pub(crate) fn lower(&self, expr: &Expr) -> Result<Lowered> {
        match expr {
            Expr::Column { side, name } => Ok(match (side, self.is_join) {
                (Some(Side::Right), _) => column_of("r", name),
                (Some(Side::Left), _) | (None, true) => column_of("l", name),
                (None, false) => column(name),
            }),
            Expr::Literal(value) => literal(value),
            Expr::Param(Param::BatchId) => Ok(lit(self.batch.batch_id)),
            Expr::Param(Param::ProcessedAt) => {
                Ok(lit(ScalarValue::TimestampMicrosecond(Some(self.batch.processed_at), Some("UTC".into()))))
            }
            Expr::Binary { op, left, right } => Ok(binary_expr(self.lower(left)?, operator(*op), self.lower(right)?)),
            Expr::Not(expr) => Ok(Lowered::Not(Box::new(self.lower(expr)?))),
            Expr::IsNull(expr) => Ok(self.lower(expr)?.is_null()),
            Expr::Case { branches, otherwise } => {
                let whens = branches.iter().map(|(when, _)| self.lower(when)).collect::<Result<Vec<_>>>()?;
                let thens = branches.iter().map(|(_, then)| self.lower(then)).collect::<Result<Vec<_>>>()?;
                if whens.is_empty() {
                    return plan_err!("a case without branches");
                }
                let mut case = CaseBuilder::new(None, whens, thens, None);
                match otherwise {
                    Some(expr) => case.otherwise(self.lower(expr)?),
                    None => case.end(),
                }
            }
            Expr::Cast { expr, ty } => Ok(cast(self.lower(expr)?, arrow_type(*ty))),
            Expr::JoinText { separator, parts } => {
                let parts = parts.iter().map(|part| self.lower(part)).collect::<Result<Vec<_>>>()?;
                if parts.is_empty() {
                    return literal(&Value::Null(Type::Text));
                }
                // No part is empty text, so that an empty result means that all were NULL.
                Ok(cast(nullif(concat_ws(text(separator), parts), text("")), arrow_type(Type::Text)))
            }
            Expr::Call { function: Function::BatchHas { column }, arguments } => {
                let [batch] = arguments.as_slice() else { return plan_err!("a function lacks an argument") };
                self.lower(&batch.clone().is_outside(&self.batch.lacking(column)))
            }
            Expr::Call { function, arguments } => {
                let arguments = arguments.iter().map(|argument| self.lower(argument)).collect::<Result<Vec<_>>>()?;
                self.call(function, arguments)
            }
        }
    }

    fn call(&self, function: &Function, arguments: Vec<Lowered>) -> Result<Lowered> {
        let mut arguments = arguments.into_iter();
        let mut next = || arguments.next().map_or_else(|| plan_err!("a function lacks an argument"), Ok);
        let days = |date: Lowered| cast(date, DataType::Int32);
        Ok(match function {
            Function::CanonicalText(_) => functions::canonical_text(next()?),
            Function::Concat => {
                let first = next()?;
                arguments.fold(first, |all, part| binary_expr(all, Operator::StringConcat, part))
            }
            Function::Replace { from, to } => cast(replace(next()?, text(from), text(to)), arrow_type(Type::Text)),
            Function::Coalesce => coalesce(arguments.collect()),
            Function::Micros => cast(next()?, DataType::Int64),
            Function::AddDays(more) => {
                cast(days(next()?) + lit(i32::try_from(*more).or_else(|_| plan_err!("too many days"))?), DataType::Date32)
            }
            Function::DaysBetween => cast(days(next()?) - days(next()?), DataType::Int64),
            Function::DateIn { zone } => functions::date_in(zone, next()?)?,
            Function::PeriodStart(period) => functions::period_start(*period, next()?),
            Function::NextPeriod(period) => functions::next_period(*period, next()?),
            Function::BatchHas { .. } => return plan_err!("it is lowered before its arguments are"),
            Function::FilePosition => {
                let (batch, file) = (next()?, next()?);
                let several = self.batch.known.iter().filter(|known| known.files.len() > 1);
                let (mut whens, mut thens) = (Vec::new(), Vec::new());
                for known in several {
                    for (name, position) in known.files.iter().zip(0_i64..).skip(1) {
                        whens.push(batch.clone().eq(lit(known.batch_id)).and(file.clone().eq(text(name))));
                        thens.push(lit(position));
                    }
                }
                // Files that stand first in their batch need no branch.
                if whens.is_empty() { lit(0_i64) } else { CaseBuilder::new(None, whens, thens, None).otherwise(lit(0_i64))? }
            }
        })
    }
}

fn text(value: &str) -> Lowered {
    lit(ScalarValue::Utf8View(Some(value.to_owned())))
}

fn literal(value: &Value) -> Result<Lowered> {
    Ok(match value {
        Value::Null(ty) => lit(ScalarValue::try_new_null(&arrow_type(*ty))?),
        Value::Text(value) => text(value),
        Value::Int(value) => lit(*value),
        Value::Float(value) => lit(*value),
        Value::Bool(value) => lit(*value),
    })
}

fn operator(op: BinaryOp) -> Operator {
    match op {
        BinaryOp::Eq => Operator::Eq,
        BinaryOp::NotEq => Operator::NotEq,
        BinaryOp::Lt => Operator::Lt,
        BinaryOp::LtEq => Operator::LtEq,
        BinaryOp::Gt => Operator::Gt,
        BinaryOp::GtEq => Operator::GtEq,
        BinaryOp::And => Operator::And,
        BinaryOp::Or => Operator::Or,
        BinaryOp::Plus => Operator::Plus,
        BinaryOp::Minus => Operator::Minus,
        BinaryOp::Divide => Operator::Divide,
        BinaryOp::IsDistinct => Operator::IsDistinctFrom,
        BinaryOp::IsNotDistinct => Operator::IsNotDistinctFrom,
    }
}
