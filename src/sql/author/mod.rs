//! The SQL of authors: what each name in it leads to, and of what type its expressions are, as far as that is known.
//!
//! A name is what stands where a name can stand: a column `Group` is no reason to read `GROUP BY` otherwise. Names are found
//! whatever their case; how they are written decides where two differ in case only.

mod calendar;
mod chains;
mod keys;
mod parts;
mod postgres;
mod print;
mod scope;
mod sqlite;
mod types;
mod walk;

use qetl_core::Type;
use sqlparser::{
    ast::{Expr, Ident, ObjectName, Query, Statement},
    dialect::Dialect,
    parser::Parser,
    tokenizer::Span,
};

use crate::size;

pub use chains::grouped;
pub use postgres::PostgresRules;
pub use scope::Named;
pub use sqlite::SqliteRules;
pub use walk::Kinds;

/// A table that a query may read.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// As it is called, in as many parts as the query says of it.
    pub name: Vec<String>,
    pub columns: Vec<Named>,
}

/// What is wrong with a query, and where in its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrong {
    pub code: &'static str,
    pub span: Span,
    pub message: String,
    pub label: &'static str,
    pub help: String,
}

/// How a database takes names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// As they are written: every name of the query is written as what it leads to is called.
    Exact,
    /// Whatever their case.
    Ignored,
    /// In lower case, unless they are quoted.
    Lower,
}

/// What becomes of a query's expressions.
pub trait Rules {
    fn case(&self) -> Case;

    /// Whether anything is written otherwise.
    fn changed(&self) -> bool {
        false
    }

    /// Looks at an expression after all of its parts, and may write it otherwise; what type it is of.
    fn expression(&mut self, expr: &mut Expr, kinds: &Kinds) -> Result<Option<Type>, Wrong>;

    /// The same for a key that rows are sorted by.
    fn sort_key(&mut self, _key: &mut Expr, _ty: Option<Type>) {}

    /// Brings a result of that type to another one: those of a UNION's parts differ.
    fn widened(&mut self, _expr: &mut Expr, _from: Option<Type>, _to: Type) -> Result<(), Wrong> {
        Ok(())
    }

    /// Columns of these types are compared as USING or NATURAL say.
    fn compared(&self, _left: Option<Type>, _right: Option<Type>, _name: &Ident) -> Result<(), Wrong> {
        Ok(())
    }

    /// What the database calls a result without a name, which it keeps when its expression is written otherwise.
    fn result_name(&self, _expr: &Expr) -> Option<String> {
        None
    }
}

/// Finds what the names of a query lead to, and applies the rules to it. The columns that it gives; `None`: nobody knows them.
///
/// # Errors
/// A name may be one of several things, or the rules refuse something.
pub fn read(query: &mut Query, tables: &dyn Fn(&ObjectName) -> Option<Table>, rules: &mut dyn Rules) -> Result<Option<Vec<Named>>, Wrong> {
    walk::Walk::new(tables, rules).query(query)
}

/// A query as a database gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub text: String,
    /// The columns that it gives; empty: nobody knows them.
    pub columns: Vec<Named>,
}

/// Applies the rules to the text of a query. What only the database can read stays as it is.
///
/// # Errors
/// As [`read`].
pub fn prepare(
    text: &str,
    syntax: &dyn Dialect,
    tables: &dyn Fn(&ObjectName) -> Option<Table>,
    rules: &mut dyn Rules,
) -> Result<Prepared, Wrong> {
    size::deep(|| prepared(text, syntax, tables, rules))
}

fn prepared(
    text: &str,
    syntax: &dyn Dialect,
    tables: &dyn Fn(&ObjectName) -> Option<Table>,
    rules: &mut dyn Rules,
) -> Result<Prepared, Wrong> {
    let as_it_is = || Prepared { text: text.to_owned(), columns: Vec::new() };
    let Ok(mut statements) = Parser::new(syntax).try_with_sql(text).and_then(|mut parser| parser.parse_statements()) else {
        return Ok(as_it_is());
    };
    let [Statement::Query(query)] = statements.as_mut_slice() else { return Ok(as_it_is()) };
    let columns = read(query, tables, rules)?.unwrap_or_default();
    Ok(Prepared { text: if rules.changed() { print::printed(query) } else { text.to_owned() }, columns })
}

/// Whether a name of a query is that name.
pub fn is_named(name: &str, written: &Ident, case: Case) -> bool {
    scope::is_named(name, written, case)
}

/// Names alone: for an engine that takes them as they are written.
#[derive(Debug)]
pub struct ExactNames;

impl Rules for ExactNames {
    fn case(&self) -> Case {
        Case::Exact
    }

    fn expression(&mut self, _expr: &mut Expr, _kinds: &Kinds) -> Result<Option<Type>, Wrong> {
        Ok(None)
    }
}
