//! DuckDB.

use qetl_core::schema::Type;

use super::Dialect;
use crate::Unsupported;

#[derive(Debug)]
pub struct DuckDb;

impl Dialect for DuckDb {
    fn name(&self) -> &'static str {
        "duckdb"
    }

    fn type_name(&self, ty: Type) -> Result<String, Unsupported> {
        Ok(match ty {
            Type::Text => "VARCHAR".to_owned(),
            Type::Int => "BIGINT".to_owned(),
            Type::Float => "DOUBLE".to_owned(),
            Type::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            Type::Bool => "BOOLEAN".to_owned(),
            Type::Date => "DATE".to_owned(),
            Type::Timestamp => "TIMESTAMP WITH TIME ZONE".to_owned(),
        })
    }
}
