//! How large the SQL of authors may be. Parsers, planners and databases call themselves for what nests, and take more than their
//! share of time for it; a bound that all of them stay below is told before one of them fails.

use std::ops::ControlFlow;

use sqlparser::{
    ast::{Expr, Select, Statement, Visit, Visitor},
    dialect::Dialect,
    parser::Parser,
};

/// The most operators that follow one another, as in `a + b + c`, or nest.
pub const OPERATORS: usize = 2000;

/// The most SELECTs, as those of a UNION.
pub const SELECTS: usize = 1000;

/// The stack that deep SQL may use. It is address space; memory is what is touched of it.
const STACK: usize = 256 << 20;

/// Runs what calls itself for what nests in SQL, or drops what does, on a stack of its own.
pub fn deep<T>(run: impl FnOnce() -> T) -> T {
    stacker::grow(STACK, run)
}

#[derive(Default)]
struct Size {
    depth: usize,
    deepest: usize,
    selects: usize,
}

impl Visitor for Size {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        self.selects += 1;
        ControlFlow::Continue(())
    }
}

/// What is too large about the statements, and what to do about it.
pub fn too_large(statements: &[Statement]) -> Option<(String, &'static str)> {
    let mut size = Size::default();
    for statement in statements {
        let _ = statement.visit(&mut size);
    }
    if size.deepest > OPERATORS + 1 {
        let what = format!("the SQL has {} operators after or in one another, and {OPERATORS} are the most", size.deepest - 1);
        return Some((what, "put values into `IN (…)` or a table to join with, or work the result out in several steps"));
    }
    (size.selects > SELECTS).then(|| {
        let what = format!("the SQL has {} SELECTs, and {SELECTS} are the most", size.selects);
        (what, "put values into `VALUES (…), (…)` or a file, or work the result out in several steps")
    })
}

/// The same of a text; one that cannot be read is left to who reads it.
pub fn text_too_large(text: &str, syntax: &dyn Dialect) -> Option<(String, &'static str)> {
    deep(|| {
        let statements = Parser::new(syntax).try_with_sql(text).and_then(|mut parser| parser.parse_statements()).ok()?;
        too_large(&statements)
    })
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::GenericDialect;

    use super::*;

    fn refused(sql: &str) -> Option<String> {
        text_too_large(sql, &GenericDialect {}).map(|(what, _)| what)
    }

    #[test]
    fn what_is_too_large_is_told_and_ends_nothing() {
        assert_eq!(refused(&format!("SELECT 1{}", " + 1".repeat(OPERATORS))), None);
        let many = refused(&format!("SELECT 1{}", " + 1".repeat(20_000))).unwrap();
        assert_eq!(many, "the SQL has 20000 operators after or in one another, and 2000 are the most");
        assert_eq!(refused(&format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(SELECTS - 1))), None);
        let many = refused(&format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(10_000))).unwrap();
        assert_eq!(many, "the SQL has 10001 SELECTs, and 1000 are the most");
        assert!(refused(&format!("SELECT 'a'{}", " || 'a'".repeat(10_000))).is_some());
        assert!(refused(&format!("SELECT 1 WHERE 1 = 1{}", " OR 1 = 1".repeat(10_000))).is_some());
        assert_eq!(refused(&format!("SELECT 1 WHERE 1 IN (1{})", ", 1".repeat(10_000))), None);
        assert_eq!(refused(&format!("SELECT CASE{} END", " WHEN 1 = 1 THEN 1".repeat(1_000))), None);
        assert_eq!(refused(&format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000))), None, "no parser takes it");
    }
}
