//! The row hash as a function of the engine: its definition is `qetl_ingest::hash`.

use std::{hash::Hash, sync::Arc};

use arrow::{
    array::{ArrayRef, FixedSizeBinaryArray, RecordBatch},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    common::Result,
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, expr::ScalarFunction},
};
use qetl_core::Column;
use qetl_ingest::{RowHasher, arrow_type};

/// Hashes the values of these columns, which are its arguments in the same order.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RowHash {
    names: Vec<String>,
    types: Vec<DataType>,
    signature: Signature,
}

/// The hash of a row's values in `columns`; `argument` gives the expression of each.
pub(crate) fn row_hash(columns: &[Column], argument: impl Fn(&str) -> Expr) -> Expr {
    let names = columns.iter().map(|column| column.name.clone()).collect();
    let types: Vec<DataType> = columns.iter().map(|column| arrow_type(column.ty)).collect();
    let signature = Signature::any(columns.len(), Volatility::Immutable);
    let function = ScalarUDF::new_from_impl(RowHash { names, types, signature });
    let arguments = columns.iter().map(|column| argument(&column.name)).collect();
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), arguments))
}

impl ScalarUDFImpl for RowHash {
    fn name(&self) -> &str {
        "row_hash"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(16))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let fields: Vec<Field> = self.names.iter().zip(&self.types).map(|(name, ty)| Field::new(name, ty.clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)?;
        let mut hashes = Vec::new();
        RowHasher::new(self.names.iter().map(String::as_str)).hash(&batch, &mut hashes)?;
        let bytes: Vec<u8> = hashes.into_iter().flat_map(u128::to_be_bytes).collect();
        let hashes = FixedSizeBinaryArray::try_new(16, Buffer::from(bytes), None)?;
        Ok(ColumnarValue::Array(Arc::new(hashes) as ArrayRef))
    }
}
