//! Parts of a query that several of the parser's nodes have.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, few have them")]

use sqlparser::ast::{Ident, JoinConstraint, JoinOperator, ObjectNamePart, TableAlias, TableFactor};

/// What a join compares.
pub(super) fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(own) | J::Inner(own) | J::Left(own) | J::LeftOuter(own) | J::Right(own) | J::RightOuter(own) => Some(own),
        J::FullOuter(own) | J::CrossJoin(own) | J::Semi(own) | J::LeftSemi(own) | J::RightSemi(own) | J::Anti(own) => Some(own),
        J::LeftAnti(own) | J::RightAnti(own) | J::StraightJoin(own) => Some(own),
        _ => None,
    }
}

pub(super) fn ident_mut(part: &mut ObjectNamePart) -> Option<&mut Ident> {
    match part {
        ObjectNamePart::Identifier(ident) => Some(ident),
        ObjectNamePart::Function(_) => None,
    }
}

pub(super) fn alias_of(factor: &mut TableFactor) -> Option<&mut TableAlias> {
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::NestedJoin { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::JsonTable { alias, .. }
        | TableFactor::Pivot { alias, .. }
        | TableFactor::Unpivot { alias, .. } => alias.as_mut(),
        _ => None,
    }
}
