//! Dialects: each file is what one differs in from standard SQL.
#![expect(clippy::wildcard_enum_match_arm, reason = "a dialect says what it can")]

mod ansi;
mod bigquery;
mod clickhouse;
mod databricks;
pub mod decimals;
mod duckdb;
mod mysql;
mod postgres;
mod snowflake;
mod sqlite;
mod trino;

use qetl_core::{
    ir::{BinaryOp, Function, Period},
    schema::Type,
};
use sqlparser::ast::{self, BinaryOperator};

use crate::{Parameters, Unsupported, tree};

pub use ansi::Ansi;
pub use bigquery::BigQuery;
pub use clickhouse::ClickHouse;
pub use databricks::Databricks;
pub use duckdb::DuckDb;
pub use mysql::MySql;
pub use postgres::Postgres;
pub use snowflake::Snowflake;
pub use sqlite::Sqlite;
pub use trino::Trino;

/// Every dialect, by name.
pub const DIALECTS: [&dyn Dialect; 10] =
    [&Ansi, &BigQuery, &ClickHouse, &Databricks, &DuckDb::SHELL, &MySql::SHELL, &Postgres, &Snowflake, &Sqlite::SHELL, &Trino];

/// A function that qetl's engines add to embedded databases, which know no time zones: the date that an instant has in a zone.
/// DuckDB's instant is in microseconds.
pub const DATE_IN: &str = "qetl_date_in";

/// A table that qetl's engine for MySQL adds, as the server's own tables of time zones may be empty: `seconds` is how much a zone's
/// clocks are ahead of UTC from `since` on, in microseconds since 1970.
pub const ZONES: &str = "qetl_zones";

/// The last year that the table of time zones tells of.
pub const LAST_YEAR: i32 = 2499;

/// The dialect of that name.
pub fn dialect(name: &str) -> Option<&'static dyn Dialect> {
    DIALECTS.into_iter().find(|dialect| dialect.name() == name)
}

/// What is made of many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    Sum,
    /// The least or the greatest of them.
    Extreme,
}

/// How many columns a database takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostColumns {
    pub table: usize,
    pub result: usize,
}

/// What a table is that lives no longer than the work on a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scratch {
    Temporary,
    /// Temporary, and dropped as such: dropping another table would commit.
    TemporaryDropped,
    /// A table like others, as there are no temporary ones.
    Plain,
}

/// A way to write SQL. The defaults are standard SQL.
pub trait Dialect: Sync {
    fn name(&self) -> &'static str;

    /// Statements that a connection runs before any other.
    fn session(&self) -> &'static [&'static str] {
        &[]
    }

    /// The character around names.
    fn quote(&self) -> char {
        '"'
    }

    /// What a type is called in a cast.
    fn type_name(&self, ty: Type) -> Result<String, Unsupported>;

    /// What a type is called where a table is made; with a collation that compares text byte by byte.
    fn column_type(&self, ty: Type) -> Result<String, Unsupported> {
        self.type_name(ty)
    }

    /// A column as a part of an index's key; `None` where there are no indexes.
    fn index_key(&self, column: ast::Ident, _ty: Type) -> Option<ast::Expr> {
        Some(ast::Expr::Identifier(column))
    }

    /// How many columns the database takes; `None` for as many as one likes.
    fn most_columns(&self) -> Option<MostColumns> {
        None
    }

    /// Whether a query's column of that name can be read by it from another query.
    fn keeps_name(&self, _name: &str) -> bool {
        true
    }

    /// Puts to a `CREATE TABLE` what the database needs besides.
    fn finish_table(&self, _create: &mut ast::CreateTable) {}

    /// Puts to a query what the database needs besides.
    fn finish_query(&self, _query: &mut ast::Query) {}

    fn scratch(&self) -> Scratch {
        Scratch::Temporary
    }

    /// Whether a statement may read a scratch table in several places.
    fn rereads_scratch(&self) -> bool {
        true
    }

    /// The condition of a DELETE of every row, where there must be one.
    fn every_row(&self) -> Option<ast::Expr> {
        None
    }

    /// How a script in this dialect names one of the batch's values: `:batch_id` and the like.
    fn parameter(&self, name: &str) -> String {
        format!(":{name}")
    }

    /// The parameters `batch_id`, `previous_batch_id` and `processed_at` of a script that works on any batch.
    fn parameters(&self, flow: &str, batches: ast::ObjectName, files: ast::ObjectName) -> Parameters {
        let [batch_id, previous, processed_at] = ["batch_id", "previous_batch_id", "processed_at"].map(|name| self.parameter(name));
        Parameters { batch_id, previous, processed_at, flow: flow.to_owned(), batches, files }
    }

    /// Whether there are full outer joins; without them they are written as unions.
    fn full_join(&self) -> Option<()> {
        Some(())
    }

    /// Whether what NOT EXISTS asks is worked out for each row that it is asked of, unless it is grouped.
    fn repeats_anti_joins(&self) -> bool {
        false
    }

    /// Whether an expression may hold window functions among others.
    fn computes_with_windows(&self) -> bool {
        true
    }

    /// Refuses a table expression that reads itself.
    fn recursion(&self) -> Result<(), Unsupported> {
        Ok(())
    }

    /// Whether the database copies a table expression that is read twice, and so forgets what it knows of a table behind it,
    /// unless it is told not to.
    fn copies_tables(&self) -> bool {
        false
    }

    /// Whether a table expression that reads itself must name its columns.
    fn names_recursive_columns(&self) -> bool {
        false
    }

    /// The first days of periods, from `a`, which is one, to `b`, selected from one row; `None` where they are written as
    /// recursion.
    fn periods(&self, _period: Period) -> Option<ast::Query> {
        None
    }

    fn text(&self, value: &str) -> ast::Expr {
        tree::text(value)
    }

    /// Whether the columns have the values of the same columns in a row of the table.
    fn among(&self, columns: Vec<ast::Expr>, table: ast::TableFactor) -> ast::Expr {
        let items = columns.iter().cloned().map(ast::SelectItem::UnnamedExpr).collect();
        let subquery = Box::new(tree::select(items, table));
        ast::Expr::InSubquery { expr: Box::new(tree::tuple(columns)), subquery, negated: false }
    }

    /// A NULL that is a column.
    fn null(&self, ty: Type) -> Result<ast::Expr, Unsupported> {
        self.plain_cast(ast::Expr::Value(ast::Value::Null.into()), ty)
    }

    /// Whether two values differ, NULL being a value.
    fn is_distinct(&self, _ty: Type, left: ast::Expr, right: ast::Expr) -> ast::Expr {
        ast::Expr::IsDistinctFrom(Box::new(tree::nested(left)), Box::new(tree::nested(right)))
    }

    fn is_not_distinct(&self, _ty: Type, left: ast::Expr, right: ast::Expr) -> ast::Expr {
        ast::Expr::IsNotDistinctFrom(Box::new(tree::nested(left)), Box::new(tree::nested(right)))
    }

    /// Any other operator, of operands of that type.
    fn binary(&self, op: BinaryOp, _ty: Type, left: ast::Expr, right: ast::Expr) -> Result<ast::Expr, Unsupported> {
        Ok(tree::binary(left, operator(op), right))
    }

    /// The value in a window's first row, which may be NULL.
    fn first_value(&self) -> &'static str {
        "FIRST_VALUE(a) OVER (PARTITION BY a ORDER BY a)"
    }

    /// A sort key; NULL first.
    fn order(&self, key: ast::Expr, _ty: Type, descending: bool) -> Vec<ast::OrderByExpr> {
        vec![ordered(key, descending, Some(true))]
    }

    /// The function that sums values of that type.
    fn sum(&self, _ty: Type) -> &'static str {
        "SUM"
    }

    /// What stands in the parentheses of a SUM, MIN or MAX.
    fn operand(&self, _fold: Fold, _ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        Ok(value)
    }

    /// The result of a SUM, MIN or MAX, of the type that was summed.
    fn folded(&self, _fold: Fold, _ty: Type, value: ast::Expr) -> Result<ast::Expr, Unsupported> {
        Ok(value)
    }

    /// An instant, given as ISO 8601 text in UTC with microseconds.
    fn timestamp(&self, iso: &str) -> Result<ast::Expr, Unsupported> {
        self.plain_cast(self.text(iso), Type::Timestamp)
    }

    /// A value as one of another type. Instants and dates are told in UTC.
    fn cast(&self, expr: ast::Expr, from: Type, to: Type) -> Result<ast::Expr, Unsupported> {
        if from == to { Ok(expr) } else { self.plain_cast(expr, to) }
    }

    /// `CAST(expr AS type)`.
    fn plain_cast(&self, expr: ast::Expr, ty: Type) -> Result<ast::Expr, Unsupported> {
        Ok(cast_as(expr, &self.type_name(ty)?))
    }

    /// A call of a function, but for those that the batch answers.
    fn call(&self, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        standard_call(self, function, arguments)
    }

    /// The texts that are not NULL, joined; NULL when all are. None of them is empty.
    fn join_text(&self, separator: &str, parts: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
        let with_separator = |part| tree::fill("COALESCE(a || b, '')", &[self.text(separator), part]);
        let all = tree::chain(&BinaryOperator::StringConcat, parts.into_iter().map(with_separator).collect());
        let all = all.unwrap_or_else(|| self.text(""));
        Ok(tree::fill("NULLIF(SUBSTR(a, b), '')", &[all, tree::number(separator.chars().count() + 1)]))
    }
}

/// [`Dialect::join_text`] where `CONCAT_WS` leaves NULL out.
fn concat_ws(dialect: &(impl Dialect + ?Sized), separator: &str, parts: Vec<ast::Expr>) -> ast::Expr {
    let joined = |parts: Vec<ast::Expr>| {
        let arguments = std::iter::once(dialect.text(separator)).chain(parts).collect();
        tree::call("NULLIF", vec![tree::call("CONCAT_WS", arguments), dialect.text("")])
    };
    joined(tree::grouped(parts, |group| Some(joined(group))))
}

/// The functions that every dialect writes alike.
fn standard_call<D: Dialect + ?Sized>(dialect: &D, function: &Function, arguments: Vec<ast::Expr>) -> Result<ast::Expr, Unsupported> {
    Ok(match function {
        Function::Concat => {
            let joined = tree::chain(&BinaryOperator::StringConcat, arguments);
            joined.unwrap_or_else(|| dialect.text(""))
        }
        Function::Replace { from, to } => {
            tree::call("REPLACE", arguments.into_iter().chain([dialect.text(from), dialect.text(to)]).collect())
        }
        Function::Coalesce => tree::call("COALESCE", arguments),
        other => return Err(unsupported(dialect, &said(other))),
    })
}

fn unsupported<D: Dialect + ?Sized>(dialect: &D, what: &str) -> Unsupported {
    Unsupported { dialect: dialect.name(), what: what.to_owned() }
}

/// A function in words.
fn said(function: &Function) -> String {
    match function {
        Function::Micros => "an instant as a number of microseconds".to_owned(),
        Function::DaysBetween => "the days between two dates".to_owned(),
        Function::PeriodStart(period) | Function::NextPeriod(period) => format!("the first day of a period: {period:?}"),
        Function::CanonicalText(ty) => format!("the canonical text of a {ty}"),
        Function::DateIn { zone } => format!("the date of an instant in the time zone {zone}"),
        other => format!("{other:?}"),
    }
}

fn cast_as(expr: ast::Expr, ty: &str) -> ast::Expr {
    let mut cast = tree::skeleton_expr("CAST(x AS INTEGER)");
    if let ast::Expr::Cast { expr: inner, data_type, .. } = &mut cast {
        **inner = expr;
        *data_type = tree::raw_type(ty);
    }
    cast
}

fn ordered(expr: ast::Expr, descending: bool, nulls_first: Option<bool>) -> ast::OrderByExpr {
    let options = ast::OrderByOptions { asc: descending.then_some(false), nulls_first };
    ast::OrderByExpr { expr, options, with_fill: None }
}

/// `true` or `false`.
fn bool_text(dialect: &(impl Dialect + ?Sized), value: &ast::Expr) -> ast::Expr {
    tree::fill("CASE WHEN a THEN b WHEN NOT a THEN c END", &[value.clone(), dialect.text("true"), dialect.text("false")])
}

pub(crate) fn operator(op: BinaryOp) -> BinaryOperator {
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
        BinaryOp::IsDistinct | BinaryOp::IsNotDistinct => unreachable!("the dialect has words of its own for them"),
    }
}
