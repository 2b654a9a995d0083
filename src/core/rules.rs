//! The rules by which tables are made, and what has changed in them.
//!
//! A flow's records say by which rules its tables were made. A flow type whose rules change says so in
//! [`FlowType::rule_changes`](crate::FlowType::rule_changes), and says which batches the change concerns: a flow with such
//! batches stops until everything is derived again, all others go on.

use crate::ir::Steps;

/// The rules of this program: one more with each release that changes some.
pub const RULES: u32 = 1;

/// A change of the rules by which a flow type's tables are made.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleChange {
    /// The first rules that have it.
    pub since: u32,
    /// What holds now, for people: `a row that is marked deleted acts at its own effective time`.
    pub about: String,
    pub concerns: Concerns,
}

/// The batches whose rows the rules of today would make otherwise.
#[derive(Debug, Clone, PartialEq)]
pub enum Concerns {
    All,
    /// All but the first.
    Later,
    /// All, if the last step has rows, asked of the tables as they are stored.
    AllIf(Steps),
    /// Those whose ids the rows of the last step have as `xt_batch_id`, asked of the tables as they are stored.
    Batches(Steps),
}
