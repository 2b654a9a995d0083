//! Long chains of operators in parentheses: DuckDB takes time by the cube of a chain's length, minutes for a thousand terms, and MariaDB has not
//! the stack for it.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many operators, few are chained")]

use std::ops::ControlFlow;

use sqlparser::{
    ast::{BinaryOperator, Expr, Statement, Value, VisitMut, VisitorMut},
    dialect::Dialect,
    parser::Parser,
    tokenizer::Tokenizer,
};

use crate::{size, tree};

/// The longest chain that stays as it is written.
const LONG: usize = 64;

/// The query with its long chains of `+`, `-`, `*` and `||` in groups; `None` if there are none.
pub fn grouped(text: &str, syntax: &dyn Dialect) -> Option<String> {
    size::deep(|| {
        // Names and texts keep their escapes, and are printed as they are written.
        let tokens = Tokenizer::new(syntax, text).with_unescape(false).tokenize_with_location().ok()?;
        let mut statements = Parser::new(syntax).with_tokens_with_locations(tokens).parse_statements().ok()?;
        let [Statement::Query(query)] = statements.as_mut_slice() else { return None };
        let mut group = Group { changed: false };
        let _ = query.visit(&mut group);
        group.changed.then(|| query.to_string())
    })
}

struct Group {
    changed: bool,
}

impl VisitorMut for Group {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::BinaryOp { op, .. } = expr else { return ControlFlow::Continue(()) };
        let is_link: fn(&BinaryOperator) -> bool = match op {
            BinaryOperator::Plus | BinaryOperator::Minus => |op| matches!(op, BinaryOperator::Plus | BinaryOperator::Minus),
            BinaryOperator::Multiply => |op| *op == BinaryOperator::Multiply,
            BinaryOperator::StringConcat => |op| *op == BinaryOperator::StringConcat,
            _ => return ControlFlow::Continue(()),
        };
        let (mut length, mut rest) = (0, &*expr);
        while let Expr::BinaryOp { left, op, .. } = rest
            && is_link(op)
        {
            length += 1;
            rest = left;
        }
        if length <= LONG {
            return ControlFlow::Continue(());
        }
        self.changed = true;
        let mut terms = Vec::with_capacity(length + 1);
        let mut rest = std::mem::replace(expr, Expr::Value(Value::Null.into()));
        while let Expr::BinaryOp { left, op, right } = rest {
            if !is_link(&op) {
                rest = Expr::BinaryOp { left, op, right };
                break;
            }
            terms.push((op, *right));
            rest = *left;
        }
        terms.push((BinaryOperator::Plus, rest));
        terms.reverse();
        *expr = group(terms, false);
        ControlFlow::Continue(())
    }
}

/// The terms, each with the operator before it, in groups of groups; the first one's operator is the caller's. `flipped`: a minus
/// stands before all of them.
fn group(mut terms: Vec<(BinaryOperator, Expr)>, flipped: bool) -> Expr {
    if terms.len() == 1 {
        return terms.pop().map_or_else(|| Expr::Value(Value::Null.into()), |(_, term)| term);
    }
    let right = terms.split_off(terms.len() / 2);
    let first = right[0].0.clone();
    let op = match (&first, flipped) {
        (BinaryOperator::Plus, true) => BinaryOperator::Minus,
        (BinaryOperator::Minus, true) => BinaryOperator::Plus,
        _ => first.clone(),
    };
    let right = group(right, first == BinaryOperator::Minus);
    Expr::BinaryOp { left: Box::new(tree::nested(group(terms, flipped))), op, right: Box::new(tree::nested(right)) }
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::{DuckDbDialect, MySqlDialect};

    use super::*;

    /// The value of groups of small numbers.
    fn value(text: &str) -> i64 {
        let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) else { return text.parse().unwrap() };
        let (mut depth, mut at) = (0, None);
        for (place, letter) in inner.char_indices() {
            match letter {
                '(' => depth += 1,
                ')' => depth -= 1,
                '+' | '-' if depth == 0 => at = Some(place),
                _ => (),
            }
        }
        let at = at.unwrap();
        let (left, right) = (value(inner[..at].trim()), value(inner[at + 1..].trim()));
        if inner[at..].starts_with('+') { left + right } else { left - right }
    }

    #[test]
    fn groups_have_the_value_of_the_chain() {
        for length in [65_i64, 100, 1000] {
            let (mut text, mut expected) = ("1".to_owned(), 1);
            for n in 0..length {
                let (op, sign) = if n * n % 7 < 3 { ('-', -1) } else { ('+', 1) };
                text.push_str(&format!(" {op} {n}"));
                expected += sign * n;
            }
            let grouped = grouped(&format!("SELECT {text}"), &DuckDbDialect {}).unwrap();
            assert_eq!(value(&format!("({})", grouped.strip_prefix("SELECT ").unwrap())), expected);
        }
        assert_eq!(grouped("SELECT 1 + 2 - 3", &DuckDbDialect {}), None);
        assert!(grouped(&format!("SELECT 'a'{}", " || 'b'".repeat(100)), &DuckDbDialect {}).is_some());
    }

    #[test]
    fn names_and_texts_stay_as_they_are_written() {
        let check = |written: [&str; 2], syntax: &dyn Dialect| {
            let chain = format!("SELECT {}{}", written.join(" + "), " + 1".repeat(100));
            let grouped = grouped(&chain, syntax).unwrap();
            assert!(written.iter().all(|part| grouped.contains(part)), "{grouped}");
        };
        check([r#""a\""b""""#, r"'\'''"], &DuckDbDialect {});
        check([r"'a\\b\'c'", r"`a``b\`"], &MySqlDialect {});
    }
}
