//! Filters that DataFusion pushes down by the names of columns.
//!
//! Of two columns of one name it takes the first one, and rows are lost: <https://github.com/apache/datafusion/issues/25296>. A
//! release with its mend makes this file needless.

use std::{collections::HashSet, sync::Arc};

use datafusion::{
    common::{Result, config::ConfigOptions},
    physical_optimizer::{PhysicalOptimizerRule, filter_pushdown::FilterPushdown, optimizer::PhysicalOptimizer},
    physical_plan::ExecutionPlan,
};

/// The rules of the engine, of which those that go by names leave alone what has a name twice.
pub(crate) fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let pushes_down = FilterPushdown::new();
    let guarded = |rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>| -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
        if rule.name().starts_with(pushes_down.name()) { Arc::new(IfNamesAreUnique(rule)) } else { rule }
    };
    PhysicalOptimizer::new().rules.into_iter().map(guarded).collect()
}

#[derive(Debug)]
struct IfNamesAreUnique(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for IfNamesAreUnique {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        if are_unique(&plan) { self.0.optimize(plan, config) } else { Ok(plan) }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Whether no part of the plan has two columns of one name.
fn are_unique(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let mut names = HashSet::new();
    schema.fields().iter().all(|field| names.insert(field.name())) && plan.children().into_iter().all(are_unique)
}
