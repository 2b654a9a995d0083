//! From flows to code of other programs: SQL scripts, a dbt project, an Airflow file. Texts alone: the same flows give the
//! same bytes, and no engine, clock or file is looked at.

mod airflow;
mod dbt;
mod expand;
pub mod folder;
mod naming;
mod script;
mod templates;

use std::collections::BTreeMap;

use qetl_core::{Flow, Problems};

/// Generated files: what each holds, by its path from the folder, with `/` between the parts.
pub type Files = BTreeMap<String, String>;

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// For each flow, scripts that a database's own shell runs.
    Sql,
    /// A dbt project.
    Dbt,
    /// A file of DAGs that call qetl.
    Airflow,
}

impl Target {
    pub const ALL: [Target; 3] = [Target::Sql, Target::Dbt, Target::Airflow];

    pub fn name(self) -> &'static str {
        match self {
            Target::Sql => "sql",
            Target::Dbt => "dbt",
            Target::Airflow => "airflow",
        }
    }

    /// The dialects that it is generated in; none where no SQL is written.
    pub fn dialects(self) -> Vec<&'static str> {
        match self {
            Target::Sql => script::dialects(),
            Target::Dbt => dbt::dialects(),
            Target::Airflow => Vec::new(),
        }
    }
}

/// Why nothing is generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Flows that cannot be said in the target or the dialect, each with its place.
    #[error("{0}")]
    Problems(Problems),
    #[error("`{}` is not generated in the dialect `{dialect}`", target.name())]
    Dialect { target: Target, dialect: String },
}

impl From<Problems> for GenerateError {
    fn from(problems: Problems) -> Self {
        GenerateError::Problems(problems)
    }
}

/// The files of a target for these flows. `project` is the project's name; `reads` says which of the flows one reads from,
/// by their ids.
pub fn generate(
    flows: &[&Flow],
    target: Target,
    dialect: &str,
    project: &str,
    reads: &dyn Fn(&Flow) -> Vec<String>,
) -> Result<Files, GenerateError> {
    let refused = || GenerateError::Dialect { target, dialect: dialect.to_owned() };
    match target {
        Target::Sql => script::generate(flows, script::shell(dialect).ok_or_else(refused)?),
        Target::Dbt => dbt::generate(flows, dbt::adapter(dialect).ok_or_else(refused)?, project),
        Target::Airflow => Ok(airflow::generate(flows, reads)),
    }
}
