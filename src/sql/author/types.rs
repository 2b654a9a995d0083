//! The types of expressions, as far as decimals ask for them. A type that is not told here is not known.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, few are typed")]

use qetl_core::Type;
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator,
    Value,
};

use super::Kinds;

/// The most digits of a decimal.
pub(crate) const DIGITS: u8 = 38;

/// A decimal of all digits.
pub(crate) fn decimal(scale: u8) -> Type {
    Type::Decimal { precision: DIGITS, scale }
}

/// How many digits the average of decimals has behind the point.
pub(crate) fn scale_of_average(scale: u8) -> u8 {
    (scale + 4).min(DIGITS)
}

/// A number as it is written, without an exponent: its digits and how many stand behind the point.
pub(crate) fn plain_number(expr: &Expr) -> Option<(String, u8)> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => plain_decimal(text),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => plain_number(expr).map(|(text, scale)| (format!("-{text}"), scale)),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } | Expr::Nested(expr) => plain_number(expr),
        _ => None,
    }
}

/// The text as a decimal has it.
pub(crate) fn plain_decimal(text: &str) -> Option<(String, u8)> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let scale = u8::try_from(fraction.len()).ok().filter(|scale| whole.len() + usize::from(*scale) <= usize::from(DIGITS))?;
    let whole = if whole.is_empty() { "0" } else { whole };
    Some((if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }, scale))
}

/// The type of an expression whose parts are known, and which no rule writes otherwise.
pub(crate) fn of(expr: &Expr, kinds: &Kinds) -> Option<Type> {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => kinds.of(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => kinds.of(expr),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(Type::Int),
            Value::Number(..) => Some(Type::Float),
            Value::SingleQuotedString(_) => Some(Type::Text),
            Value::Boolean(_) => Some(Type::Bool),
            _ => None,
        },
        Expr::BinaryOp { left, op, right } => arithmetic(op, kinds.of(left), kinds.of(right)),
        Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, .. } => cast_to(data_type),
        Expr::Case { conditions, else_result, .. } => {
            let results = conditions.iter().map(|when| &when.result).chain(else_result.as_deref());
            common(results.filter(|result| !is_null(result)), kinds)
        }
        Expr::Function(function) => call(function, kinds),
        _ => None,
    }
}

pub(crate) fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => value.value == Value::Null,
        Expr::Nested(inner) => is_null(inner),
        _ => false,
    }
}

/// The type that holds all of them.
pub(crate) fn common<'a>(exprs: impl Iterator<Item = &'a Expr>, kinds: &Kinds) -> Option<Type> {
    exprs.map(|expr| beside(expr, kinds)).reduce(wider).flatten()
}

/// The type of an expression beside decimals, where a number with a point is one.
pub(crate) fn beside(expr: &Expr, kinds: &Kinds) -> Option<Type> {
    match plain_number(expr) {
        Some((_, scale)) if scale > 0 => Some(decimal(scale)),
        _ => kinds.of(expr),
    }
}

fn arithmetic(op: &BinaryOperator, left: Option<Type>, right: Option<Type>) -> Option<Type> {
    use BinaryOperator as B;
    match op {
        B::Plus | B::Minus | B::Modulo => wider(left, right).map(of_all_digits).filter(|ty| ty.is_numeric()),
        B::Multiply => match (left?, right?) {
            (Type::Decimal { scale, .. }, Type::Int) | (Type::Int, Type::Decimal { scale, .. }) => Some(decimal(scale)),
            (Type::Decimal { scale, .. }, Type::Decimal { scale: other, .. }) => (scale + other <= DIGITS).then(|| decimal(scale + other)),
            (a, b) => wider(Some(a), Some(b)).filter(|ty| ty.is_numeric()),
        },
        _ => None,
    }
}

fn of_all_digits(ty: Type) -> Type {
    if let Type::Decimal { scale, .. } = ty { decimal(scale) } else { ty }
}

/// A type as a CAST names it; `None` where its digits are not said.
pub(crate) fn cast_to(ty: &DataType) -> Option<Type> {
    let exact = |info: &ExactNumberInfo| match info {
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            let (precision, scale) = (u8::try_from(*precision).ok()?, u8::try_from(*scale).ok()?);
            (1..=DIGITS).contains(&precision).then_some(Type::Decimal { precision, scale }).filter(|_| scale <= precision)
        }
        ExactNumberInfo::Precision(precision) => u8::try_from(*precision)
            .ok()
            .filter(|digits| (1..=DIGITS).contains(digits))
            .map(|precision| Type::Decimal { precision, scale: 0 }),
        ExactNumberInfo::None => None,
    };
    match ty {
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => exact(info),
        DataType::Int(_) | DataType::Integer(_) | DataType::BigInt(_) | DataType::SmallInt(_) | DataType::Int8(_) | DataType::Int4(_) => {
            Some(Type::Int)
        }
        DataType::Float(_) | DataType::Real | DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => Some(Type::Float),
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) | DataType::String(_) | DataType::CharacterVarying(_) => Some(Type::Text),
        _ => None,
    }
}

/// The arguments of a call that are plain expressions.
pub(crate) fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let plain = |argument: &'_ FunctionArg| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)));
    let all = list.args.iter().filter(|argument| plain(argument));
    all.filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
    .collect()
}

pub(crate) fn arguments_mut(function: &mut Function) -> Vec<&mut Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return Vec::new() };
    list.args
        .iter_mut()
        .filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}

/// What stands there, to be put back in other words.
pub(crate) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

/// The type that holds values of both; `None`: nobody knows.
pub(super) fn wider(a: Option<Type>, b: Option<Type>) -> Option<Type> {
    match (a?, b?) {
        (a, b) if a == b => Some(a),
        (Type::Decimal { precision: p, scale: s }, Type::Decimal { precision, scale }) => {
            let (whole, scale) = ((p - s).max(precision - scale), s.max(scale));
            Some(Type::Decimal { precision: (whole + scale).min(38), scale })
        }
        (decimal @ Type::Decimal { .. }, Type::Int) | (Type::Int, decimal @ Type::Decimal { .. }) => {
            let Type::Decimal { precision, scale } = decimal else { return None };
            Some(Type::Decimal { precision: precision.max(19 + scale).min(38), scale })
        }
        (Type::Float, other) | (other, Type::Float) if other.is_numeric() => Some(Type::Float),
        _ => None,
    }
}

/// A function's name in lower case.
pub(crate) fn name(function: &Function) -> String {
    function.name.to_string().to_lowercase()
}

pub(crate) fn call(function: &Function, kinds: &Kinds) -> Option<Type> {
    let arguments = arguments(function);
    let first = arguments.first().and_then(|first| kinds.of(first));
    match name(function).as_str() {
        "sum" => match first? {
            Type::Decimal { scale, .. } => Some(decimal(scale)),
            other => Some(other),
        },
        "avg" => match first? {
            Type::Decimal { scale, .. } => Some(decimal(scale_of_average(scale))),
            _ => None,
        },
        "min" | "max" | "greatest" | "least" | "coalesce" | "ifnull" => {
            common(arguments.into_iter().filter(|argument| !is_null(argument)), kinds)
        }
        "iif" | "if" => common(arguments.into_iter().skip(1).filter(|argument| !is_null(argument)), kinds),
        "nullif" | "abs" | "lag" | "lead" | "first_value" | "last_value" | "nth_value" => first,
        "count" | "row_number" | "rank" | "dense_rank" | "ntile" | "length" => Some(Type::Int),
        "total" | "random" | "percent_rank" | "cume_dist" => None,
        _ => None,
    }
}
