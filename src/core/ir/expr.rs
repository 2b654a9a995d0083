//! Scalars.
#![expect(clippy::wildcard_enum_match_arm, reason = "only one type is right there")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{Schema, Type};

use super::RelError;

/// Which relation of a join a column is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Left,
    Right,
}

/// A literal. NULL carries its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null(Type),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

impl Value {
    pub fn ty(&self) -> Type {
        match self {
            Value::Null(ty) => *ty,
            Value::Text(_) => Type::Text,
            Value::Int(_) => Type::Int,
            Value::Float(_) => Type::Float,
            Value::Bool(_) => Type::Bool,
        }
    }
}

/// What is known only when a batch is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// The id of the batch that is derived.
    BatchId,
    /// The recorded execution time of the batch that is derived.
    ProcessedAt,
}

impl Param {
    pub fn ty(self) -> Type {
        match self {
            Param::BatchId => Type::Int,
            Param::ProcessedAt => Type::Timestamp,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    Eq,
    NotEq,
    Lt,
    LtEq,
    Gt,
    GtEq,
    And,
    Or,
    Plus,
    Minus,
    /// Of floats; a decimal or an integer is cast first.
    Divide,
    /// NULL differs from every value and equals NULL.
    IsDistinct,
    IsNotDistinct,
}

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Period {
    #[default]
    #[serde(rename = "daily")]
    Day,
    /// From Monday on, as ISO 8601 has it.
    #[serde(rename = "weekly")]
    Week,
    #[serde(rename = "monthly")]
    Month,
}

/// A scalar function. NULL in any argument gives NULL, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Function {
    /// The text of a value of that type, the same on every engine: as `query --format csv` prints it, decimals without
    /// trailing zeros.
    CanonicalText(Type),
    /// All texts, one after another.
    Concat,
    /// The text with each `from` replaced by `to`; neither is empty.
    Replace { from: String, to: String },
    /// The first argument that is not NULL.
    Coalesce,
    /// A timestamp's microseconds since 1970.
    Micros,
    /// A date that many days later.
    AddDays(i64),
    /// Days from the second date to the first.
    DaysBetween,
    /// The date of an instant in a time zone, by its IANA name.
    DateIn { zone: String },
    /// The first day of the period that a date is in.
    PeriodStart(Period),
    /// The first day of the period after the one that a date is in.
    NextPeriod(Period),
    /// Of a batch id and a source file's name: the file's position among the files of that batch, from 0.
    FilePosition,
    /// Of a batch id: whether the rows of that batch had the column when they were landed. In those that had not, it is NULL.
    BatchHas { column: String },
}

/// A scalar expression over the columns of one relation, or of the two of a join.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Column {
        side: Option<Side>,
        name: String,
    },
    Literal(Value),
    Param(Param),
    Binary {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    /// The first branch whose condition is true; NULL conditions are not.
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Cast {
        expr: Box<Expr>,
        ty: Type,
    },
    /// The texts that are not NULL, joined by the separator; NULL when all are.
    JoinText {
        separator: String,
        parts: Vec<Expr>,
    },
    Call {
        function: Function,
        arguments: Vec<Expr>,
    },
}

/// What gives the type of a column.
pub type TypeOfColumn<'a> = dyn Fn(Option<Side>, &str) -> Result<Type, RelError> + 'a;

impl Expr {
    pub fn column(name: &str) -> Self {
        Expr::Column { side: None, name: name.to_owned() }
    }

    pub fn left(name: &str) -> Self {
        Expr::Column { side: Some(Side::Left), name: name.to_owned() }
    }

    pub fn right(name: &str) -> Self {
        Expr::Column { side: Some(Side::Right), name: name.to_owned() }
    }

    pub fn text(value: &str) -> Self {
        Expr::Literal(Value::Text(value.to_owned()))
    }

    pub fn int(value: i64) -> Self {
        Expr::Literal(Value::Int(value))
    }

    pub fn null(ty: Type) -> Self {
        Expr::Literal(Value::Null(ty))
    }

    pub fn batch_id() -> Self {
        Expr::Param(Param::BatchId)
    }

    pub fn processed_at() -> Self {
        Expr::Param(Param::ProcessedAt)
    }

    pub fn binary(self, op: BinaryOp, right: Expr) -> Self {
        Expr::Binary { op, left: Box::new(self), right: Box::new(right) }
    }

    pub fn eq(self, right: Expr) -> Self {
        self.binary(BinaryOp::Eq, right)
    }

    pub fn not_eq(self, right: Expr) -> Self {
        self.binary(BinaryOp::NotEq, right)
    }

    pub fn gt(self, right: Expr) -> Self {
        self.binary(BinaryOp::Gt, right)
    }

    pub fn lt(self, right: Expr) -> Self {
        self.binary(BinaryOp::Lt, right)
    }

    pub fn lt_eq(self, right: Expr) -> Self {
        self.binary(BinaryOp::LtEq, right)
    }

    pub fn and(self, right: Expr) -> Self {
        self.binary(BinaryOp::And, right)
    }

    pub fn or(self, right: Expr) -> Self {
        self.binary(BinaryOp::Or, right)
    }

    pub fn plus(self, right: Expr) -> Self {
        self.binary(BinaryOp::Plus, right)
    }

    pub fn minus(self, right: Expr) -> Self {
        self.binary(BinaryOp::Minus, right)
    }

    pub fn cast(self, ty: Type) -> Self {
        Expr::Cast { expr: Box::new(self), ty }
    }

    /// The function with this as its only argument.
    pub fn call(self, function: Function) -> Self {
        Expr::Call { function, arguments: vec![self] }
    }

    pub fn concat(parts: Vec<Expr>) -> Self {
        Expr::Call { function: Function::Concat, arguments: parts }
    }

    /// The position of a source file, as landing records it, among the files of its batch, from 0.
    pub fn file_position() -> Self {
        Expr::Call { function: Function::FilePosition, arguments: vec![Expr::column("xt_batch_id"), Expr::column("xt_source_file")] }
    }

    /// Whether the batch that a row is of had the column. Not for views, whose text is of no batch.
    pub fn batch_has(column: &str) -> Self {
        Expr::column("xt_batch_id").call(Function::BatchHas { column: column.to_owned() })
    }

    /// What [`Function::BatchHas`] is, where the batches that lacked the column are those of the id ranges, ends included.
    pub fn is_outside(self, ranges: &[(i64, i64)]) -> Self {
        let within = |(first, last): &(i64, i64)| {
            let from = self.clone().binary(BinaryOp::GtEq, Expr::int(*first));
            from.and(self.clone().lt_eq(Expr::int(*last)))
        };
        if ranges.is_empty() { Expr::Literal(Value::Bool(true)) } else { Expr::any(ranges.iter().map(within)).not() }
    }

    pub fn coalesce(parts: Vec<Expr>) -> Self {
        Expr::Call { function: Function::Coalesce, arguments: parts }
    }

    pub fn is_distinct(self, right: Expr) -> Self {
        self.binary(BinaryOp::IsDistinct, right)
    }

    pub fn is_null(self) -> Self {
        Expr::IsNull(Box::new(self))
    }

    #[expect(clippy::should_implement_trait, reason = "it builds a tree, as the others do")]
    pub fn not(self) -> Self {
        Expr::Not(Box::new(self))
    }

    /// All of the conditions; true for none.
    pub fn all(conditions: impl IntoIterator<Item = Expr>) -> Self {
        Self::fold(conditions, BinaryOp::And, true)
    }

    /// Any of the conditions; false for none.
    pub fn any(conditions: impl IntoIterator<Item = Expr>) -> Self {
        Self::fold(conditions, BinaryOp::Or, false)
    }

    /// Many conditions make a tree that is wide, not deep: whoever walks through it does so by recursion.
    fn fold(conditions: impl IntoIterator<Item = Expr>, op: BinaryOp, none: bool) -> Self {
        fn halved(conditions: &mut dyn ExactSizeIterator<Item = Expr>, count: usize, op: BinaryOp) -> Option<Expr> {
            if count < 2 {
                return conditions.next();
            }
            let left = halved(conditions, count.div_ceil(2), op)?;
            Some(left.binary(op, halved(conditions, count / 2, op)?))
        }
        let conditions: Vec<Expr> = conditions.into_iter().collect();
        let count = conditions.len();
        halved(&mut conditions.into_iter(), count, op).unwrap_or(Expr::Literal(Value::Bool(none)))
    }

    /// `when` → `then`, in order, else `otherwise`.
    pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Self {
        Expr::Case { branches, otherwise: otherwise.map(Box::new) }
    }

    /// The expression's type over the given columns; `right` are those of a join's right relation.
    pub fn ty(&self, left: &Schema, right: &Schema) -> Result<Type, RelError> {
        self.ty_over(&|side, name| {
            let columns = if side == Some(Side::Right) { right } else { left };
            let found = columns.column(name).map(|column| column.ty);
            found.ok_or_else(|| RelError::NoColumn(name.to_owned(), columns.names().map(str::to_owned).collect()))
        })
    }

    /// The expression's type, where `column` gives that of a column.
    pub fn ty_over(&self, column: &TypeOfColumn<'_>) -> Result<Type, RelError> {
        let same = |exprs: &[&Expr]| -> Result<Type, RelError> {
            let types = exprs.iter().map(|expr| expr.ty_over(column)).collect::<Result<Vec<_>, _>>()?;
            match types.iter().find(|ty| **ty != types[0]) {
                Some(other) => Err(RelError::Types { what: self.to_string(), left: types[0], right: *other }),
                None => Ok(types[0]),
            }
        };
        let boolean = |expr: &Expr| match expr.ty_over(column)? {
            Type::Bool => Ok(Type::Bool),
            other => Err(RelError::Types { what: self.to_string(), left: Type::Bool, right: other }),
        };
        match self {
            Expr::Column { side, name } => column(*side, name),
            Expr::Literal(value) => Ok(value.ty()),
            Expr::Param(param) => Ok(param.ty()),
            Expr::Binary { op, left: a, right: b } => match op {
                BinaryOp::And | BinaryOp::Or => boolean(a).and_then(|_| boolean(b)),
                BinaryOp::Plus | BinaryOp::Minus => same(&[a, b]),
                BinaryOp::Divide => match same(&[a, b])? {
                    Type::Float => Ok(Type::Float),
                    other => Err(RelError::Types { what: self.to_string(), left: Type::Float, right: other }),
                },
                BinaryOp::Eq | BinaryOp::NotEq | BinaryOp::Lt | BinaryOp::LtEq | BinaryOp::Gt | BinaryOp::GtEq => {
                    same(&[a, b]).map(|_| Type::Bool)
                }
                BinaryOp::IsDistinct | BinaryOp::IsNotDistinct => same(&[a, b]).map(|_| Type::Bool),
            },
            Expr::Not(expr) => boolean(expr),
            Expr::IsNull(expr) => expr.ty_over(column).map(|_| Type::Bool),
            Expr::Case { branches, otherwise } => {
                branches.iter().try_for_each(|(when, _)| boolean(when).map(|_| ()))?;
                let results: Vec<&Expr> = branches.iter().map(|(_, then)| then).chain(otherwise.as_deref()).collect();
                same(&results)
            }
            Expr::Cast { expr, ty } => expr.ty_over(column).map(|_| *ty),
            Expr::JoinText { parts, .. } => {
                for part in parts {
                    let ty = part.ty_over(column)?;
                    if ty != Type::Text {
                        return Err(RelError::Types { what: self.to_string(), left: Type::Text, right: ty });
                    }
                }
                Ok(Type::Text)
            }
            Expr::Call { function, arguments } => {
                let types = arguments.iter().map(|argument| argument.ty_over(column)).collect::<Result<Vec<_>, _>>()?;
                let takes = |wanted: &[Type], result: Type| match wanted.iter().zip(&types).find(|(wanted, found)| wanted != found) {
                    Some((wanted, found)) => Err(RelError::Types { what: self.to_string(), left: *wanted, right: *found }),
                    None => Ok(result),
                };
                match function {
                    Function::CanonicalText(ty) => takes(&[*ty], Type::Text),
                    Function::Concat => takes(&vec![Type::Text; types.len()], Type::Text),
                    Function::Replace { .. } => takes(&[Type::Text], Type::Text),
                    Function::Coalesce => same(&arguments.iter().collect::<Vec<_>>()),
                    Function::Micros => takes(&[Type::Timestamp], Type::Int),
                    Function::AddDays(_) | Function::PeriodStart(_) | Function::NextPeriod(_) => takes(&[Type::Date], Type::Date),
                    Function::DaysBetween => takes(&[Type::Date, Type::Date], Type::Int),
                    Function::DateIn { .. } => takes(&[Type::Timestamp], Type::Date),
                    Function::FilePosition => takes(&[Type::Int, Type::Text], Type::Int),
                    Function::BatchHas { .. } => takes(&[Type::Int], Type::Bool),
                }
            }
        }
    }
}
