//! A chain of arithmetic as one call: `a + b - c` as `qetl_chain('+-', a, b, c)`.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{Result, internal_err},
    logical_expr::{
        ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility, type_coercion::binary::BinaryTypeCoercer,
    },
    scalar::ScalarValue,
};

use super::arithmetic::{Op, compute};

/// The function's name.
pub(crate) const CHAIN: &str = "qetl_chain";

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Chain {
    signature: Signature,
}

impl Chain {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn operators(first: Option<&ScalarValue>) -> Result<Vec<Op>> {
    let text = match first {
        Some(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text))) => text,
        Some(_) | None => return internal_err!("a chain lacks its operators"),
    };
    let op = |symbol| match Op::of_symbol(symbol) {
        Some(op) => Ok(op),
        None => internal_err!("`{symbol}` is no operator of a chain"),
    };
    text.chars().map(op).collect()
}

fn result(left: &DataType, op: Op, right: &DataType) -> Result<DataType> {
    BinaryTypeCoercer::new(left, &op.operator(), right).get_result_type()
}

impl ScalarUDFImpl for Chain {
    fn name(&self) -> &str {
        CHAIN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("the type of a chain goes by its operators")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let operators = operators(args.scalar_arguments.first().copied().flatten())?;
        let mut types = args.arg_fields.iter().skip(1).map(|field| field.data_type().clone());
        let Some(first) = types.next() else { return internal_err!("a chain of nothing") };
        let ty = operators.into_iter().zip(types).try_fold(first, |left, (op, right)| result(&left, op, &right))?;
        Ok(Field::new(CHAIN, ty, true).into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let operators = match args.args.first() {
            Some(ColumnarValue::Scalar(first)) => operators(Some(first))?,
            _ => return internal_err!("a chain lacks its operators"),
        };
        let mut operands = args.args.into_iter().skip(1);
        let Some(first) = operands.next() else { return internal_err!("a chain of nothing") };
        operators.into_iter().zip(operands).try_fold(first, |left, (op, right)| {
            let (l, r) = (left.data_type(), right.data_type());
            let operator = op.operator();
            let coercer = BinaryTypeCoercer::new(&l, &operator, &r);
            let (to_left, to_right) = coercer.get_input_types()?;
            compute(op, &left.cast_to(&to_left, None)?, &right.cast_to(&to_right, None)?, &coercer.get_result_type()?)
        })
    }
}
