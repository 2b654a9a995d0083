//! Functions of text that also take other values, cast to text, as databases do: `TRIM` of a date.

use std::{ops::ControlFlow, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    error::Result,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        simplify::{ExprSimplifyResult, SimplifyContext},
        type_coercion::functions::fields_with_udf,
    },
    prelude::SessionContext,
    sql::sqlparser::ast::{Expr as Ast, Query, Value, visit_expressions_mut},
};

/// Functions whose first argument is text, as the engine calls them.
pub(super) const TEXT_FUNCTIONS: [&str; 14] = [
    "btrim",
    "ltrim",
    "rtrim",
    "upper",
    "lower",
    "substr",
    "left",
    "right",
    "lpad",
    "rpad",
    "replace",
    "split_part",
    "starts_with",
    "ends_with",
];

pub(super) fn is_text(ty: &DataType) -> bool {
    let is = |ty: &DataType| matches!(ty, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null);
    is(ty) || matches!(ty, DataType::Dictionary(_, values) if is(values))
}

/// Lets the session's functions of text take any value.
pub(crate) fn register(session: &SessionContext) {
    let functions: Vec<Arc<ScalarUDF>> =
        TEXT_FUNCTIONS.iter().filter_map(|name| session.state().scalar_functions().get(*name).cloned()).collect();
    for inner in functions {
        let signature = Signature::user_defined(inner.signature().volatility);
        session.register_udf(ScalarUDF::new_from_impl(Lenient { inner, signature }));
    }
}

/// Writes `SUBSTRING(…)`, which is syntax, as a call: the planner would take the engine's own function.
pub(super) fn as_calls(query: &mut Query) {
    let _ = visit_expressions_mut(query, |expr| {
        if let Ast::Substring { expr: text, substring_from, substring_for, .. } = expr {
            let from = substring_from.take().map_or_else(|| Ast::Value(Value::Number("1".to_owned(), false).into()), |from| *from);
            let text = std::mem::replace(&mut **text, Ast::Value(Value::Null.into()));
            let arguments = [text, from].into_iter().chain(substring_for.take().map(|length| *length));
            *expr = super::call("substr", arguments);
        }
        ControlFlow::<()>::Continue(())
    });
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Lenient {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Lenient {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(arguments)
    }

    fn simplify(&self, arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(arguments, info)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let field = |(place, ty): (usize, &DataType)| {
            let ty = if place == 0 && !is_text(ty) { DataType::Utf8 } else { ty.clone() };
            Arc::new(Field::new("argument", ty, true))
        };
        let fields: Vec<FieldRef> = arguments.iter().enumerate().map(field).collect();
        Ok(fields_with_udf(&fields, self.inner.as_ref())?.iter().map(|field| field.data_type().clone()).collect())
    }
}
