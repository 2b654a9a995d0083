//! What a flow is expanded to: datasets, a DAG and tasks of instructions.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    flow::Flow,
    ir::{AsOf, Expr, Rel, RelError, Steps, Value},
    problem::{Problem, Problems, Span},
    schema::{Column, Schema, Type},
};

/// A dataset's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatasetName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace == "main" { f.write_str(&self.name) } else { write!(f, "{}.{}", self.namespace, self.name) }
    }
}

/// A dataset that a flow publishes.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub name: DatasetName,
    pub schema: Schema,
    pub kind: DatasetKind,
    /// What it holds, for people.
    pub about: String,
}

/// How a dataset comes to be.
#[derive(Debug, Clone, PartialEq)]
pub enum DatasetKind {
    /// A batch's rows as they were read, with where they were read.
    Landing,
    /// Rows of a batch, derived by a task.
    Derived,
    /// Nothing is stored: a query over other datasets.
    View(Rel),
}

impl Dataset {
    pub fn is_stored(&self) -> bool {
        !matches!(self.kind, DatasetKind::View(_))
    }
}

/// Which dataset is made from which, in an order in which they can be made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dag(pub Vec<DagNode>);

#[derive(Debug, Clone, PartialEq)]
pub struct DagNode {
    pub dataset: DatasetName,
    pub from: Vec<DatasetName>,
}

/// How a task's rows stand to what the target holds.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteMode {
    /// They replace the rows of this batch. The task runs once for each batch that is derived.
    ReplaceBatch,
    /// They replace all rows. The task runs once for each publish, after the tasks that run for each batch.
    ReplaceAll,
    /// They replace the rows of some keys; all rows when everything is derived again. When it runs is as for `ReplaceAll`.
    ReplaceKeys(Box<ReplaceKeys>),
}

/// The keys whose rows a task replaces.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplaceKeys {
    pub keys: Vec<String>,
    /// The step of the task that gives them.
    pub touched: String,
    /// The instructions for all keys.
    pub whole: Steps,
}

impl WriteMode {
    /// Whether the task runs once for each batch that is derived.
    pub fn is_of_batch(&self) -> bool {
        matches!(self, WriteMode::ReplaceBatch)
    }
}

impl fmt::Display for WriteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteMode::ReplaceBatch => f.write_str("replace batch"),
            WriteMode::ReplaceAll => f.write_str("replace all"),
            WriteMode::ReplaceKeys(replaced) => write!(f, "replace keys ({})", replaced.keys.join(", ")),
        }
    }
}

/// A node of the DAG: one target and the instructions that fill it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub target: DatasetName,
    /// The last step is what is written.
    pub steps: Steps,
    pub write_mode: WriteMode,
    /// The column whose values are counted in reports, if any.
    pub count_by: Option<String>,
    /// Rules that the batch must meet before it is published, judged when this task has run.
    pub checks: Vec<Check>,
}

/// What happens when a batch arrives after a later one, or again with other content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LateBatches {
    /// It and every later batch are derived again, in one publish.
    #[default]
    Cascade,
    /// It is refused.
    Reject,
}

/// A rule that a batch must meet; `steps` end in rows that break it, or in the figures it is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub rule: Rule,
    pub steps: Steps,
    /// Judged only for the batch being executed, never for a batch that is derived again because of it.
    pub guard: bool,
}

/// What a check judges. The row columns it needs stand in its steps' last relation.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Rows of one key that differ: key columns, then file and row number. Must be empty.
    DuplicateKey { keys: Vec<String> },
    /// One row with the column `n`: how many rows were landed. Must not be 0.
    NotEmpty,
    /// One row with the columns `deleted` and `live`: how many live keys the batch deletes.
    MaxDeleteRatio(f64),
    /// Rows that must not be; the columns are shown. `problem` says what is wrong with them, `help` the way out.
    None { problem: String, help: String },
    /// Rows of which people are told; the batch goes through.
    Warn(String),
}

impl Check {
    /// Whether it judges what was landed, so that the task need not have run.
    pub fn is_of_landing(&self) -> bool {
        match self.rule {
            Rule::DuplicateKey { .. } | Rule::NotEmpty => true,
            Rule::MaxDeleteRatio(_) | Rule::None { .. } | Rule::Warn(_) => false,
        }
    }

    /// Whether a batch may be refused by it.
    pub fn refuses(&self) -> bool {
        !matches!(self.rule, Rule::Warn(_))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::DuplicateKey { keys } => write!(f, "no two different rows of one key ({})", keys.join(", ")),
            Rule::NotEmpty => f.write_str("the batch has rows"),
            Rule::MaxDeleteRatio(most) => write!(f, "at most {most} of the live keys are deleted"),
            Rule::None { problem, .. } => write!(f, "none of this: {problem}"),
            Rule::Warn(what) => write!(f, "a warning if {what}"),
        }
    }
}

/// What always holds of a flow's stored tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Invariant {
    /// A short name, such as `one_current_version`.
    pub name: String,
    /// What it says, for people.
    pub about: String,
    /// The last step's rows break it.
    pub steps: Steps,
}

/// A flow, expanded.
#[derive(Debug, Clone)]
pub struct Plan {
    pub flow: Flow,
    /// The input columns with their types.
    pub input: Vec<InputType>,
    pub datasets: Vec<Dataset>,
    pub dag: Dag,
    pub tasks: Vec<Task>,
    pub warnings: Problems,
}

/// The type of an input column and how it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct InputType {
    pub name: String,
    pub ty: Type,
    pub known: Known,
    pub required: bool,
    /// The flow has it no more: it stays in the stored tables, and is NULL in what is read from now on.
    pub gone: bool,
    /// What the flow type decided of the column when its batches were made first: see [`crate::FlowType::roles`].
    pub role: Option<String>,
}

impl InputType {
    pub fn new(name: &str, ty: Type, known: Known) -> Self {
        Self { name: name.to_owned(), ty, known, required: false, gone: false, role: None }
    }
}

/// How a column's type is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It stands in the flow file.
    Declared,
    /// It was inferred at the flow's first run and holds since.
    Pinned,
    /// It was inferred from the files that wait now.
    Inferred,
    /// Nothing is known yet: text is presumed until there is data to look at.
    Presumed,
}

/// What a flow type needs to expand: the flow, the types of its columns, the names of its datasets.
#[derive(Debug)]
pub struct Expand<'a> {
    pub flow: &'a Flow,
    pub input: &'a [InputType],
}

impl Expand<'_> {
    /// The full name of the dataset `{prefix}_{suffix}`.
    pub fn dataset(&self, suffix: &str) -> DatasetName {
        DatasetName { namespace: self.flow.namespace().to_owned(), name: format!("{}_{suffix}", self.flow.dataset_prefix) }
    }

    /// The input columns, then `more`.
    pub fn schema(&self, more: &[(&str, Type)]) -> Result<Schema, Problems> {
        let input = self.input.iter().map(|column| Column::new(&column.name, column.ty));
        let more = more.iter().map(|(name, ty)| Column::new(name, *ty));
        Schema::new(input.chain(more).collect()).map_err(|name| {
            let span = self.flow.input.columns.iter().find(|column| *column.name == name).map_or(Span::default(), |c| c.span);
            Problem::new("qetl::expand::column_name", span, format!("column `{name}` has the name of a column that qetl adds")).into()
        })
    }

    /// Whether the batch of a row had the column, if the flow has it no more.
    pub fn batch_had(&self, column: &str) -> Expr {
        match self.input.iter().any(|input| input.gone && input.name == column) {
            true => Expr::batch_has(column),
            false => Expr::Literal(Value::Bool(true)),
        }
    }

    /// The landed rows of these batches that fit.
    pub fn landed(&self, as_of: AsOf) -> Result<Rel, Problems> {
        Ok(self.landed_rows()?.good(as_of)?)
    }

    /// How landed rows are read.
    pub fn landed_rows(&self) -> Result<LandedRows, Problems> {
        let landing = self.landing()?;
        Ok(LandedRows { name: landing.name, schema: landing.schema, has_bad: self.flow.reader.parks_bad_rows() })
    }

    /// The landing dataset of a flow that loads files.
    pub fn landing(&self) -> Result<Dataset, Problems> {
        let bad = self.flow.reader.parks_bad_rows().then_some(BAD_COLUMNS);
        Ok(Dataset {
            name: self.dataset("landing"),
            schema: self.schema(&bad.into_iter().flatten().chain(LANDING_COLUMNS).collect::<Vec<_>>())?,
            kind: DatasetKind::Landing,
            about: "every row that was read, batch by batch".to_owned(),
        })
    }
}

/// What landing adds to the input columns.
pub const LANDING_COLUMNS: [(&str, Type); 4] =
    [("xt_batch_id", Type::Int), ("xt_loaded_at", Type::Timestamp), ("xt_source_file", Type::Text), ("xt_row_number", Type::Int)];

/// What is wrong with a row that does not fit.
pub const ERROR: &str = "xt_error";

/// What landing adds before these where rows that do not fit are set aside: the row's text, and what is wrong with it. Both are NULL
/// in rows that fit.
pub const BAD_COLUMNS: [(&str, Type); 2] = [("xt_row_text", Type::Text), (ERROR, Type::Text)];

/// The same where such rows have a dataset of their own, with the reason.
pub const PARKED_COLUMNS: [(&str, Type); 3] = [("xt_parked_reason", Type::Text), BAD_COLUMNS[0], BAD_COLUMNS[1]];

/// Why a row that does not fit is parked.
pub const BAD_ROW: &str = "bad_row";

/// How the landing dataset of a flow is read.
#[derive(Debug, Clone)]
pub struct LandedRows {
    name: DatasetName,
    schema: Schema,
    /// Rows that do not fit are landed beside the others.
    has_bad: bool,
}

impl LandedRows {
    /// All rows of these batches.
    pub fn all(&self, as_of: AsOf) -> Rel {
        Rel::scan(&self.name, &self.schema, as_of)
    }

    /// Those that fit.
    pub fn good(&self, as_of: AsOf) -> Result<Rel, RelError> {
        if !self.has_bad {
            return Ok(self.all(as_of));
        }
        let is_added = |name: &str| BAD_COLUMNS.iter().any(|(added, _)| *added == name);
        let good = self.all(as_of).filter(Expr::column(ERROR).is_null())?;
        good.select(self.schema.names().filter(|name| !is_added(name)))
    }

    /// Those that do not, if there may be any.
    pub fn bad(&self, as_of: AsOf) -> Result<Option<Rel>, RelError> {
        let bad = || self.all(as_of).filter(Expr::column(ERROR).is_null().not());
        self.has_bad.then(bad).transpose()
    }
}

/// Expands a flow whose column types are given. Relations that the flow type built wrongly are its own broken promise.
///
/// Columns that are gone are in all that is stored, as if the flow still had them; not in views.
pub fn expand(flow: &Flow, input: Vec<InputType>) -> Result<Plan, Problems> {
    let (gone, there): (Vec<_>, Vec<_>) = input.iter().cloned().partition(|column| column.gone);
    if gone.is_empty() {
        return expand_all(flow, input);
    }
    let today = expand_all(flow, there)?;
    let mut plan = expand_all(&flow.with_columns(&gone, &input), input)?;
    for dataset in plan.datasets.iter_mut().filter(|dataset| !dataset.is_stored()) {
        if let Some(own) = today.dataset(&dataset.name) {
            *dataset = own.clone();
        }
    }
    Ok(Plan { flow: flow.clone(), warnings: today.warnings, ..plan })
}

fn expand_all(flow: &Flow, input: Vec<InputType>) -> Result<Plan, Problems> {
    let cx = Expand { flow, input: &input };
    let put = |problems: Problems| problems.in_source(&flow.source);
    let datasets = flow.properties.datasets(&cx).map_err(put)?;
    let dag = with_source(flow, flow.properties.dag(&cx).map_err(put)?, &datasets);
    let tasks = flow.properties.instructions(&cx).map_err(put)?;
    let mut warnings = flow.warnings.clone();
    warnings.append(put(flow.properties.warnings(&cx)));
    Ok(Plan { flow: flow.clone(), datasets, dag, tasks, warnings, input })
}

/// What is landed comes from the dataset that the flow reads instead of files.
fn with_source(flow: &Flow, mut dag: Dag, datasets: &[Dataset]) -> Dag {
    let landing = datasets.iter().find(|dataset| dataset.kind == DatasetKind::Landing);
    if let (Some(source), Some(landing)) = (&flow.source_dataset, landing) {
        for node in dag.0.iter_mut().filter(|node| node.dataset == landing.name) {
            node.from.push(source.value.clone());
        }
    }
    dag
}

/// The names of the datasets that a flow publishes, as far as it can be expanded.
pub fn dataset_names(flow: &Flow, input: &[InputType]) -> Vec<DatasetName> {
    let datasets = flow.properties.datasets(&Expand { flow, input }).unwrap_or_default();
    datasets.into_iter().map(|dataset| dataset.name).collect()
}

impl Plan {
    /// What always holds of the stored tables.
    pub fn invariants(&self) -> Result<Vec<Invariant>, Problems> {
        let gone: Vec<InputType> = self.input.iter().filter(|column| column.gone).cloned().collect();
        let flow = if gone.is_empty() { self.flow.clone() } else { self.flow.with_columns(&gone, &self.input) };
        let cx = Expand { flow: &flow, input: &self.input };
        flow.properties.invariants(&cx).map_err(|problems| problems.in_source(&flow.source))
    }

    pub fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.name == *name)
    }

    /// The landing dataset, if the flow loads data.
    pub fn landing(&self) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.kind == DatasetKind::Landing)
    }
}

impl From<RelError> for Problems {
    fn from(error: RelError) -> Self {
        Problem::new("qetl::expand::types", Span::default(), error.to_string()).into()
    }
}

/// Every row-wise value of a task's target that qetl itself adds.
pub fn batch_columns() -> [(&'static str, Expr); 2] {
    [("xt_batch_id", Expr::batch_id()), ("xt_processed_at", Expr::processed_at())]
}
