//! `+`, `-`, `*`, `/` and `%` of integers and decimals, and the negative.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the engine's types and operators, few are exact")]

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Datum, Decimal128Array, Scalar},
    compute::kernels::numeric::{add, div, mul, neg, rem, sub},
    datatypes::{DataType, Decimal128Type, DecimalType, Field, FieldRef, i256},
    error::ArrowError,
};
use datafusion::{
    common::{
        DFSchema,
        config::ConfigOptions,
        internal_err,
        tree_node::{Transformed, TreeNode},
    },
    error::{DataFusionError, Result},
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, Volatility, expr::ScalarFunction, expr_rewriter::NamePreserver, type_coercion::binary::BinaryTypeCoercer,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
};

use super::bound;

/// Puts checked arithmetic in the place of the engine's own, which wraps around. Both operands have their types already.
#[derive(Debug)]
pub(super) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(rewritten).map(|plan| plan.data)
    }
}

fn rewritten(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let checked = expr.transform_up(|expr| checked(expr, &schema))?;
        Ok(checked.update_data(|expr| name.restore(expr)))
    })
}

/// An operator, or the sign before a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Op {
    Plus,
    Minus,
    Multiply,
    Divide,
    Modulo,
    Negative,
}

impl Op {
    fn of(op: Operator) -> Option<Self> {
        Some(match op {
            Operator::Plus => Op::Plus,
            Operator::Minus => Op::Minus,
            Operator::Multiply => Op::Multiply,
            Operator::Divide => Op::Divide,
            Operator::Modulo => Op::Modulo,
            _ => return None,
        })
    }

    pub(super) fn of_symbol(symbol: char) -> Option<Self> {
        Some(match symbol {
            '+' => Op::Plus,
            '-' => Op::Minus,
            '*' => Op::Multiply,
            '/' => Op::Divide,
            '%' => Op::Modulo,
            _ => return None,
        })
    }

    pub(super) fn operator(self) -> Operator {
        match self {
            Op::Plus => Operator::Plus,
            Op::Minus | Op::Negative => Operator::Minus,
            Op::Multiply => Operator::Multiply,
            Op::Divide => Operator::Divide,
            Op::Modulo => Operator::Modulo,
        }
    }
}

fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (op, arguments) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match Op::of(op) {
            // The right side tells what the left one is, and is the short one where there are many.
            Some(own) if is_exact(own, &right.get_type(schema)?) => (own, vec![*left, *right]),
            _ => return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
        },
        Expr::Negative(inner) if is_exact(Op::Negative, &inner.get_type(schema)?) => (Op::Negative, vec![*inner]),
        other => return Ok(Transformed::no(other)),
    };
    let function = Arc::new(ScalarUDF::new_from_impl(Checked { op, signature: Signature::any(arguments.len(), Volatility::Immutable) }));
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))))
}

fn is_exact(op: Op, ty: &DataType) -> bool {
    match ty {
        DataType::Decimal128(..) => op != Op::Negative,
        // The engine's own division checks for zero and overflow.
        _ => ty.is_integer() && !matches!(op, Op::Divide | Op::Modulo),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Op,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Op::Plus => "checked_add",
            Op::Minus => "checked_subtract",
            Op::Multiply => "checked_multiply",
            Op::Divide => "exact_divide",
            Op::Modulo => "exact_modulo",
            Op::Negative => "checked_negative",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [ty] => Ok(ty.clone()),
            [left, right] => BinaryTypeCoercer::new(left, &self.op.operator(), right).get_result_type(),
            _ => internal_err!("{} takes one or two arguments", self.name()),
        }
    }

    /// As with the operator, only NULL gives NULL.
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ty = args.return_field.data_type();
        match args.args.as_slice() {
            [only] => {
                let (array, one) = values(only)?;
                whole(neg(&array).map_err(|why| told(&why, ty))?, one)
            }
            [left, right] => compute(self.op, left, right, ty),
            _ => internal_err!("{} takes one or two arguments", self.name()),
        }
    }
}

/// The result of two values that have the types that the operator wants.
pub(super) fn compute(op: Op, left: &ColumnarValue, right: &ColumnarValue, ty: &DataType) -> Result<ColumnarValue> {
    let ((left, one), (right, other)) = (values(left)?, values(right)?);
    let (left, right) = (datum(&left, one), datum(&right, other));
    let result = match (op, ty) {
        (Op::Divide, DataType::Decimal128(precision, scale)) => divided(&*left, &*right, *precision, *scale),
        (Op::Plus, _) => add(&*left, &*right),
        (Op::Minus | Op::Negative, _) => sub(&*left, &*right),
        (Op::Multiply, _) => mul(&*left, &*right),
        (Op::Divide, _) => div(&*left, &*right),
        (Op::Modulo, _) => rem(&*left, &*right),
    };
    whole(result.and_then(|array| within(array, ty)).map_err(|why| told(&why, ty))?, one && other)
}

/// The array, or the value that stands for all rows.
fn whole(array: ArrayRef, one: bool) -> Result<ColumnarValue> {
    Ok(match one {
        true => ColumnarValue::Scalar(datafusion::scalar::ScalarValue::try_from_array(&array, 0)?),
        false => ColumnarValue::Array(array),
    })
}

/// The values, and whether one stands for all rows.
fn values(value: &ColumnarValue) -> Result<(ArrayRef, bool)> {
    Ok(match value {
        ColumnarValue::Array(array) => (array.clone(), false),
        ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
    })
}

fn datum(array: &ArrayRef, one: bool) -> Box<dyn Datum> {
    if one { Box::new(Scalar::new(array.clone())) } else { Box::new(array.clone()) }
}

/// The array, if no decimal in it has more digits than the type.
fn within(array: ArrayRef, ty: &DataType) -> Result<ArrayRef, ArrowError> {
    let (DataType::Decimal128(precision, _), Some(decimals)) = (ty, array.as_primitive_opt::<Decimal128Type>()) else { return Ok(array) };
    let bound = bound(*precision);
    match decimals.iter().flatten().any(|value| value >= bound || value <= -bound) {
        true => Err(ArrowError::ArithmeticOverflow(String::new())),
        false => Ok(array),
    }
}

/// What is too great is told in the words of flows.
fn told(error: &ArrowError, ty: &DataType) -> DataFusionError {
    match error {
        ArrowError::ArithmeticOverflow(_) => overflow(ty),
        ArrowError::DivideByZero => DataFusionError::Execution("division by zero".to_owned()),
        other => DataFusionError::Execution(other.to_string()),
    }
}

/// The error of a result that the type cannot hold.
pub(super) fn overflow(ty: &DataType) -> DataFusionError {
    let what = match ty {
        DataType::Decimal128(..) | DataType::Decimal256(..) => "decimal overflow: a result has more than 38 digits".to_owned(),
        ty if ty.is_integer() => {
            let bits = ty.primitive_width().unwrap_or(8) * 8;
            format!("integer overflow: a result has more than {bits} bits")
        }
        ty => format!("overflow of {ty}"),
    };
    DataFusionError::ArrowError(Box::new(ArrowError::ArithmeticOverflow(what)), None)
}

/// Decimals divided, rounded half away from zero.
fn divided(left: &dyn Datum, right: &dyn Datum, precision: u8, scale: i8) -> Result<ArrayRef, ArrowError> {
    let ((left, one), (right, other)) = (left.get(), right.get());
    let (Some(a), Some(b)) = (left.as_primitive_opt::<Decimal128Type>(), right.as_primitive_opt::<Decimal128Type>()) else {
        return Err(ArrowError::ComputeError("decimals are divided by decimals".to_owned()));
    };
    let more = i32::from(scale) - i32::from(a.scale()) + i32::from(b.scale());
    let power = i256::from_i128(10).wrapping_pow(more.unsigned_abs());
    let length = if one { b.len() } else { a.len() };
    let quotient = |row: usize| -> Result<Option<i128>, ArrowError> {
        let (at, by) = (if one { 0 } else { row }, if other { 0 } else { row });
        if a.is_null(at) || b.is_null(by) {
            return Ok(None);
        }
        let (dividend, divisor) = (i256::from_i128(a.value(at)), i256::from_i128(b.value(by)));
        if divisor == i256::ZERO {
            return Err(ArrowError::DivideByZero);
        }
        let too_great = || ArrowError::ArithmeticOverflow(String::new());
        let (dividend, divisor) = match more >= 0 {
            true => (dividend.checked_mul(power).ok_or_else(too_great)?, divisor),
            false => (dividend, divisor.checked_mul(power).ok_or_else(too_great)?),
        };
        rounded(dividend, divisor).to_i128().ok_or_else(too_great).map(Some)
    };
    let values: Decimal128Array = (0..length).map(quotient).collect::<Result<_, _>>()?;
    Decimal128Type::validate_decimal_precision(0, precision, scale)?;
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// Divided, rounded half away from zero.
pub(super) fn rounded(dividend: i256, divisor: i256) -> i256 {
    let (quotient, rest) = (dividend.wrapping_div(divisor), dividend.wrapping_rem(divisor));
    if rest.wrapping_abs().wrapping_mul(i256::from_i128(2)) < divisor.wrapping_abs() {
        return quotient;
    }
    let negative = (dividend < i256::ZERO) != (divisor < i256::ZERO);
    quotient.wrapping_add(if negative { i256::MINUS_ONE } else { i256::ONE })
}
